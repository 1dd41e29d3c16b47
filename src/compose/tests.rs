//! The rules of composition, on records made by hand.

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

/// Fault 14 of the predecessor: `/tmp` that only root can write, no users, no certificates, a shell by luck.
#[test]
fn every_image_keeps_the_contract() {
    let image = image(&[package("hello", &["bin/hello", "share/doc/hello"])]);
    let root = root(&image);
    for (path, mode, owner) in [
        ("tmp", 0o1777, 0),
        ("var/tmp", 0o1777, 0),
        ("root", 0o700, 0),
        ("home/user", 0o755, 1000),
        ("etc", 0o755, 0),
        ("proc", 0o555, 0),
        ("sys", 0o555, 0),
        ("dev", 0o755, 0),
        ("run", 0o755, 0),
        ("usr/bin", 0o755, 0),
    ] {
        assert_eq!(root.get(path), Some(&('d', mode, owner, String::new())), "{path}");
    }
    let store = |name: &str, path: &str| format!("{}/{path}", store_path(name));
    assert_eq!(link(&root, "bin/sh"), store("bashInteractive", "bin/sh"));
    assert_eq!(link(&root, "usr/bin/env"), store("coreutils", "bin/env"));
    assert_eq!(link(&root, "bin/hello"), store("hello", "bin/hello"));
    assert_eq!(
        link(&root, "share"),
        store("hello", "share"),
        "one package: one link"
    );
    assert!(
        !root.contains_key("bin/ls") && !root.contains_key("bin/bash"),
        "the base stays off the path"
    );
    for bundle in [
        "ssl/certs/ca-bundle.crt",
        "ssl/certs/ca-certificates.crt",
        "ssl/cert.pem",
        "pki/tls/certs/ca-bundle.crt",
    ] {
        assert_eq!(
            link(&root, &format!("etc/{bundle}")),
            store("cacert", "etc/ssl/certs/ca-bundle.crt")
        );
    }
    assert_eq!(link(&root, "etc/services"), store("iana-etc", "etc/services"));
    for (file, text) in [
        ("etc/passwd", "user:x:1000:1000"),
        ("etc/group", "nobody:x:65534"),
        ("etc/nsswitch.conf", "hosts: files dns"),
    ] {
        assert!(root[file].3.contains(text), "{file}");
    }
    for mounted in ["etc/hosts", "etc/resolv.conf", "etc/hostname"] {
        assert!(!root.contains_key(mounted));
    }
    let config = &config(&image)["config"];
    let env: Vec<_> = config["Env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    assert_eq!(
        env[1..],
        [
            "LANG=C.UTF-8",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt",
            "NIX_SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt"
        ]
    );
    assert!(env[0].starts_with("PATH=/usr/local/sbin:") && env[0].ends_with(":/bin"));
}

#[test]
fn packages_that_were_asked_for_come_before_the_base() {
    let mut sh = package("dash", &["bin/sh", "bin/env"]);
    sh.priority = 3;
    let root = root(&image(&[sh]));
    assert_eq!(link(&root, "bin"), format!("{}/bin", store_path("dash")));
    assert_eq!(
        link(&root, "usr/bin/env"),
        format!("{}/bin/env", store_path("dash"))
    );
}

#[test]
fn an_image_without_a_base_still_is_one() {
    let Outcome::Image(image) = outcome(&[package("hello", &["bin/hello"])], &[], &BTreeMap::new()) else {
        panic!()
    };
    let root = root(&image);
    assert!(!root.contains_key("bin/sh") && !root.contains_key("usr/bin/env"));
    assert_eq!(config(&image)["config"]["Cmd"][0], "/bin/hello");
}

#[test]
fn directories_merge_and_collisions_have_a_winner() {
    let mut a = package("a", &["bin/tool", "share/man/a", "share/x/deep/1", "lib"]);
    let b = package(
        "b",
        &[
            "bin/tool",
            "share/man/b",
            "share/x/deep/2",
            "lib/b.so",
            "share/only/b",
        ],
    );
    let root_of = |a: &Package| root(&image(&[b.clone(), a.clone()]));
    let root = root_of(&a);
    assert_eq!(
        link(&root, "bin/tool"),
        format!("{}/bin/tool", store_path("a")),
        "same priority: by name"
    );
    assert_eq!(
        link(&root, "share/x/deep/1"),
        format!("{}/share/x/deep/1", store_path("a"))
    );
    assert_eq!(
        link(&root, "share/x/deep/2"),
        format!("{}/share/x/deep/2", store_path("b"))
    );
    assert_eq!(
        link(&root, "share/only"),
        format!("{}/share/only", store_path("b"))
    );
    assert_eq!(
        link(&root, "lib"),
        format!("{}/lib", store_path("a")),
        "a file that wins hides a directory"
    );
    a.priority = 6;
    let root = root_of(&a);
    assert_eq!(
        link(&root, "bin/tool"),
        format!("{}/bin/tool", store_path("b")),
        "the lower priority wins"
    );
    assert_eq!(link(&root, "lib"), format!("{}/lib", store_path("b")));
}

#[test]
fn a_package_cannot_take_the_place_of_the_contract() {
    let files = [
        "etc/passwd",
        "etc/ssl/certs/ca-bundle.crt",
        "etc/ssl/openssl.cnf",
        "tmp/x",
        "nix/store/x",
        "proc/x",
        "root/.profile",
        "var/x",
        "usr/bin/env",
    ];
    let root = root(&image(&[package("greedy", &files)]));
    assert!(root["etc/passwd"].3.starts_with("root:x:0:0"));
    assert_eq!(
        link(&root, "etc/ssl/certs/ca-bundle.crt"),
        format!("{}/etc/ssl/certs/ca-bundle.crt", store_path("cacert"))
    );
    assert_eq!(
        link(&root, "etc/ssl/openssl.cnf"),
        format!("{}/etc/ssl/openssl.cnf", store_path("greedy"))
    );
    assert_eq!(root["tmp"].1, 0o1777);
    assert!(
        !root
            .keys()
            .any(|path| path.starts_with("nix") || path.ends_with("/x") || path.ends_with(".profile"))
    );
}

#[test]
fn names_that_are_none_never_leave_the_root() {
    let mut evil = package("evil", &["bin/good"]);
    let long = "x".repeat(256);
    let Node::Directory(bin) = evil.outputs[0].tree.get_mut("bin").unwrap() else {
        panic!()
    };
    for name in ["..", ".", "", "a/b", "/abs", "nul\0", &long] {
        bin.insert(name.to_owned(), Node::Leaf(()));
    }
    for other in [vec![], vec![package("other", &["bin/other"])]] {
        let root = root(&image(&[other, vec![evil.clone()]].concat()));
        assert!(
            root.keys().all(|path| !path.starts_with('/')
                && path.split('/').all(|level| level != ".." && level.len() < 256))
        );
        assert!(root.contains_key("bin/good"));
    }
}

#[test]
fn the_command_is_what_one_would_expect() {
    let command = |packages: &[Package]| {
        config(&image(packages))["config"]["Cmd"][0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let hello = package("hello", &["bin/hello", "bin/other"]);
    let mut ripgrep = package("ripgrep", &["bin/rg", "bin/x"]);
    assert_eq!(command(std::slice::from_ref(&hello)), "/bin/hello");
    assert_eq!(command(&[package("one", &["bin/single"])]), "/bin/single");
    assert_eq!(command(std::slice::from_ref(&ripgrep)), "/bin/sh");
    ripgrep.main_program = Some("rg".to_owned());
    assert_eq!(command(std::slice::from_ref(&ripgrep)), "/bin/rg");
    assert_eq!(command(&[hello.clone(), ripgrep.clone()]), "/bin/sh");
    assert_eq!(
        command(&[hello, package("bashInteractive", &["bin/bash", "bin/sh"])]),
        "/bin/bash"
    );
    ripgrep.main_program = Some("../../etc/passwd".to_owned());
    assert_eq!(command(&[ripgrep]), "/bin/sh");
}

/// Kubernetes fails on an image whose config has no `config`.
#[test]
fn the_config_is_complete_and_says_nothing_of_a_machine() {
    let image = image(&[package("hello", &["bin/hello"]), package("git", &["bin/git"])]);
    let config = config(&image);
    assert!(config["config"].is_object());
    assert_eq!(
        (config["architecture"].as_str(), config["os"].as_str()),
        (Some("amd64"), Some("linux"))
    );
    assert_eq!(
        config["config"]["Labels"]["laminix.packages"],
        "git 1.0, hello 1.0"
    );
    assert!(
        !String::from_utf8_lossy(&image.config.bytes).contains("/set"),
        "a path of the machine"
    );
    let manifest: serde_json::Value = serde_json::from_slice(&image.oci.bytes).unwrap();
    let layers = manifest["layers"].as_array().unwrap().len();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), layers);
    assert_eq!(config["history"].as_array().unwrap().len(), layers);
    assert_eq!(
        manifest["layers"][layers - 1]["digest"],
        image.root.digest.to_string()
    );
    let docker: serde_json::Value = serde_json::from_slice(&image.docker.unwrap().bytes).unwrap();
    assert_eq!(docker["config"]["digest"], manifest["config"]["digest"]);
    assert_eq!(docker["mediaType"], manifest::DOCKER);
}

#[test]
fn zstd_has_no_docker_manifest() {
    let mut package = package("hello", &["bin/hello"]);
    package.layers[2].packed.compression = Compression::Zstd;
    assert!(image(&[package]).docker.is_none());
}

/// Fault 3 of the predecessor: five identical pulls gave five digests. If this fails, [`crate::key::FORMAT`] has to grow.
#[test]
fn the_bytes_of_an_image_are_pinned() {
    let image = image(&[
        package("hello", &["bin/hello"]),
        package("git", &["bin/git", "share/git/x"]),
    ]);
    assert_eq!(
        image.oci.digest.to_string(),
        "sha256:d706777296673af950d79505712ecee96fb4d8d10ef8dabee88dca78f1c7986c"
    );
}

/// Fault 15 of the predecessor: one tail for all, which changed with every member.
#[test]
fn layers_do_not_depend_on_company() {
    let layers = |image: &Composed| -> Vec<String> {
        let manifest: serde_json::Value = serde_json::from_slice(&image.oci.bytes).unwrap();
        manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["digest"].to_string())
            .collect()
    };
    let (a, b) = (package("aa", &["bin/a"]), package("bb", &["bin/b"]));
    let alone = layers(&image(std::slice::from_ref(&a)));
    let together = layers(&image(&[a, b]));
    assert!(
        alone[..alone.len() - 1]
            .iter()
            .all(|layer| together.contains(layer))
    );
    let base = alone.iter().zip(&together).take_while(|(a, b)| a == b).count();
    assert!(base > 4, "the base is a prefix that both share");
}

fn many(count: usize) -> Vec<Package> {
    (0..count)
        .map(|n| package(&format!("p{n:03}"), &[&format!("bin/p{n}")]))
        .collect()
}

#[test]
fn an_image_never_has_more_than_the_most_layers() {
    for count in [40, 50, 200] {
        let packages = many(count);
        let Outcome::Merge(merges) = outcome(&packages, &base(), &BTreeMap::new()) else {
            assert_eq!(count, 40);
            continue;
        };
        let merged = merges
            .iter()
            .map(|merge| (merge.key.clone(), layer("union", true, 1).packed))
            .collect();
        let Outcome::Image(image) = outcome(&packages, &base(), &merged) else {
            panic!("{count}: still to be merged")
        };
        let manifest: serde_json::Value = serde_json::from_slice(&image.oci.bytes).unwrap();
        assert_eq!(
            manifest["layers"].as_array().unwrap().len(),
            MAX_LAYERS,
            "{count}"
        );
        let base: BTreeSet<Digest> = base()
            .iter()
            .flat_map(|package| &package.layers)
            .map(|l| l.packed.digest)
            .collect();
        assert!(
            merges
                .iter()
                .flat_map(|merge| &merge.layers)
                .all(|layer| !base.contains(&layer.packed.digest))
        );
    }
}

#[test]
fn large_trees_are_quick() {
    let files: Vec<String> = (0..30_000).map(|n| format!("share/{}/{n}", n % 100)).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let image = image(&[package("large", &files), package("other", &["share/1/other"])]);
    assert_eq!(
        root(&image)
            .keys()
            .filter(|path| path.starts_with("share/1/"))
            .count(),
        301
    );
}

proptest! {
    #[test]
    fn order_and_repetition_change_nothing(order in proptest::collection::vec(0usize..12, 1..30)) {
        let all = many(12);
        let asked: Vec<Package> = order.iter().map(|&n| all[n].clone()).collect();
        let mut sorted: Vec<Package> = asked.clone();
        sorted.sort_by(|a, b| a.attribute.cmp(&b.attribute));
        sorted.dedup();
        prop_assert_eq!(image(&asked), image(&sorted));
    }

    #[test]
    fn every_link_leads_somewhere(choice in proptest::collection::vec((0usize..6, 0usize..6, 0usize..6), 1..12)) {
        let names = ["bin", "lib", "share", "x", "y", "z"];
        let mut files: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (package, a, b) in choice {
            files.entry(package).or_default().insert(format!("{}/{}/file", names[a], names[b]));
        }
        let packages: Vec<Package> = files.iter().map(|(n, files)| {
            package(&format!("p{n}"), &files.iter().map(String::as_str).collect::<Vec<_>>())
        }).collect();
        let all: Vec<&Package> = packages.iter().collect();
        let base = base();
        for (path, (kind, _, _, target)) in root(&image(&packages)) {
            if kind == 'l' {
                let found = all.iter().copied().chain(&base).any(|package| {
                    let output = package.outputs[0].path.as_str();
                    target.strip_prefix(output).is_some_and(|rest| provided(package, &rest[1..]).is_some())
                });
                prop_assert!(found, "{} -> {}", path, target);
            }
        }
    }
}
