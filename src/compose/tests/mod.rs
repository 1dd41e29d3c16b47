//! The rules of composition, on records made by hand.

mod contract;
mod layers;
mod links;

use std::collections::BTreeSet;
use std::io::Read as _;

use proptest::prelude::*;

use super::*;
use crate::record::{Content, Node, Output, StorePath, Tree};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn store_path(name: &str) -> StorePath {
    let hash: String = digest(name)
        .hex()
        .chars()
        .map(|c| if c == 'e' { 'z' } else { c })
        .take(32)
        .collect();
    format!("/nix/store/{hash}-{name}").parse().unwrap()
}

fn tree(paths: &[&str]) -> Tree {
    let mut root = Tree::new();
    for path in paths {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut entries = &mut root;
        for level in above.split('/').filter(|level| !level.is_empty()) {
            let node = entries
                .entry(level.to_owned())
                .or_insert_with(|| Node::Directory(Tree::new()));
            let Node::Directory(inner) = node else {
                panic!("{path} goes through a file")
            };
            entries = inner;
        }
        entries.insert(name.to_owned(), Node::Leaf(()));
    }
    root
}

fn layer(name: &str, tail: bool, unpacked: u64) -> Layer {
    Layer {
        packed: Packed {
            digest: digest(&format!("{name} packed")),
            size: unpacked / 3,
            diff_id: digest(name),
            unpacked,
            compression: Compression::Gzip,
        },
        tail,
        contents: vec![Content {
            path: store_path(name),
            nar_hash: format!("sha256:{name}"),
            nar_size: unpacked,
        }],
    }
}

/// A package with these files, a layer of its own, a tail, and glibc below both.
fn package(attribute: &str, files: &[&str]) -> Package {
    Package {
        attribute: attribute.parse().unwrap(),
        name: format!("{}-1.0", attribute.to_lowercase()),
        version: Some("1.0".to_owned()),
        description: None,
        licenses: vec!["MIT".to_owned()],
        homepage: None,
        main_program: None,
        priority: 5,
        outputs: vec![Output {
            path: store_path(attribute),
            tree: tree(files),
        }],
        layers: vec![
            layer("glibc", false, 30_000_000),
            layer(attribute, false, 5_000_000),
            layer(&format!("{attribute}-tail"), true, 1000 + attribute.len() as u64),
        ],
    }
}

fn base() -> Vec<Package> {
    vec![
        package("bashInteractive", &["bin/bash", "bin/sh", "share/doc/bash"]),
        package("cacert", &["etc/ssl/certs/ca-bundle.crt"]),
        package("coreutils", &["bin/env", "bin/ls"]),
        package("iana-etc", &["etc/protocols", "etc/services"]),
    ]
}

fn outcome(packages: &[Package], base: &[Package], merged: &BTreeMap<LayerKey, Packed>) -> Outcome {
    let source = "path:/set".parse().unwrap();
    let revision = "1".repeat(40).parse().unwrap();
    let recipe = Recipe {
        source: &source,
        revision: &revision,
        system: System::Amd64,
        packages,
        base,
    };
    compose(&recipe, merged)
}

fn image(packages: &[Package]) -> Composed {
    match outcome(packages, &base(), &BTreeMap::new()) {
        Outcome::Image(image) => *image,
        Outcome::Merge(_) => panic!("{} packages need a union", packages.len()),
    }
}

/// The entries of the root layer: path → (kind, mode, uid, link or content).
fn root(image: &Composed) -> BTreeMap<String, (char, u32, u64, String)> {
    let mut tar = Vec::new();
    let mut decoder = libdeflater::Decompressor::new();
    let mut buffer = vec![0; 4 << 20];
    let size = decoder.gzip_decompress(&image.root.bytes, &mut buffer).unwrap();
    tar.extend_from_slice(&buffer[..size]);
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry
            .path()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        let (mode, uid) = (entry.header().mode().unwrap(), entry.header().uid().unwrap());
        let (kind, what) = match entry.link_name().unwrap() {
            Some(target) => ('l', target.to_str().unwrap().to_owned()),
            None if entry.header().entry_type().is_dir() => ('d', String::new()),
            None => {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                ('f', text)
            }
        };
        assert!(
            entries.insert(path.clone(), (kind, mode, uid, what)).is_none(),
            "{path} twice"
        );
    }
    entries
}

fn config(image: &Composed) -> serde_json::Value {
    serde_json::from_slice(&image.config.bytes).unwrap()
}

fn link(entries: &BTreeMap<String, (char, u32, u64, String)>, path: &str) -> String {
    let (kind, _, _, target) = entries.get(path).unwrap_or_else(|| panic!("no {path}"));
    assert_eq!(*kind, 'l', "{path}");
    target.clone()
}

fn many(count: usize) -> Vec<Package> {
    (0..count)
        .map(|n| package(&format!("p{n:03}"), &[&format!("bin/p{n}")]))
        .collect()
}
