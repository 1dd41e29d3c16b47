//! The image config (OCI image-spec, config.md). Its `config` is never null: Kubernetes reads it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::layers::Selected;
use super::links::Links;
use super::{Parts, provided};
use crate::digest::Digest;
use crate::record::{Package, Packed};
use crate::source::Source;

/// The time of everything: that of Nix's store.
const CREATED: &str = "1970-01-01T00:00:01Z";

/// Conventional, so that what is installed on top of an image is found too.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A history entry names this many store paths at most.
const NAMED: usize = 8;

#[derive(Serialize)]
struct Config {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    config: Execution,
    rootfs: RootFs,
    history: Vec<History>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    working_dir: &'static str,
    labels: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<Digest>,
}

#[derive(Serialize)]
struct History {
    created: &'static str,
    created_by: String,
}

/// The config's JSON.
#[expect(clippy::expect_used, reason = "structs of strings always serialize")]
pub(super) fn config(parts: &Parts<'_>, layers: &[Selected], root: &Packed, links: &Links<'_>) -> Vec<u8> {
    let entry = |created_by| History {
        created: CREATED,
        created_by,
    };
    let history = layers
        .iter()
        .map(|layer| entry(format!("laminix: {}", said(&layer.names))));
    let config = Config {
        created: CREATED,
        architecture: parts.recipe.system.architecture(),
        os: "linux",
        config: Execution {
            env: environment(parts),
            cmd: command(parts, links).into_iter().collect(),
            working_dir: "/",
            labels: labels(parts),
        },
        rootfs: RootFs {
            kind: "layers",
            diff_ids: layers
                .iter()
                .map(|layer| layer.packed.diff_id)
                .chain([root.diff_id])
                .collect(),
        },
        history: history.chain([entry("laminix: links".to_owned())]).collect(),
    };
    serde_json::to_vec(&config).expect("a config serializes")
}

fn said(names: &[String]) -> String {
    // without the hashes, which are in the layer
    let names: Vec<&str> = names.iter().map(|name| name.get(33..).unwrap_or(name)).collect();
    match names.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{} and {more} more", names[..NAMED].join(" ")),
        Some(0) | None => names.join(" "),
    }
}

fn environment(parts: &Parts<'_>) -> Vec<String> {
    let mut environment = vec![PATH.to_owned(), "LANG=C.UTF-8".to_owned()];
    if parts.base.contains_key("cacert") || parts.asked.contains_key("cacert") {
        for name in ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE"] {
            environment.push(format!("{name}=/etc/ssl/certs/ca-bundle.crt"));
        }
    }
    environment
}

/// A shell that was asked for, else the one package's program, else the shell that every image has.
fn command(parts: &Parts<'_>, links: &Links<'_>) -> Option<String> {
    for shell in ["bin/bash", "bin/sh"] {
        if links.target(shell).is_some() {
            return Some(format!("/{shell}"));
        }
    }
    if let [package] = parts.named()[..]
        && let Some(program) = program(package)
    {
        return Some(program);
    }
    parts
        .base
        .contains_key("bashInteractive")
        .then(|| "/bin/sh".to_owned())
}

/// The program that a package is known for.
fn program(package: &Package) -> Option<String> {
    let named = |name: &str| {
        let plain = !name.is_empty() && !name.contains('/');
        (plain && provided(package, &format!("bin/{name}")).is_some()).then(|| format!("/bin/{name}"))
    };
    let pname = package.name.split('-').next().unwrap_or_default();
    let mut programs = package
        .outputs
        .iter()
        .filter_map(|output| match output.tree.get("bin") {
            Some(crate::record::Node::Directory(programs)) => Some(programs.keys()),
            Some(crate::record::Node::Leaf(())) | None => None,
        });
    let only = || {
        let mut all = programs.by_ref().flatten();
        all.next()
            .filter(|_| all.next().is_none())
            .and_then(|name| named(name))
    };
    package
        .main_program
        .as_deref()
        .and_then(named)
        .or_else(|| named(pname))
        .or_else(only)
}

/// What an image says of itself. Sources that are paths of some machine are nobody's business.
fn labels(parts: &Parts<'_>) -> BTreeMap<&'static str, String> {
    let asked: Vec<&Package> = parts.asked.values().copied().collect();
    let mut labels = BTreeMap::new();
    labels.insert("org.opencontainers.image.created", CREATED.to_owned());
    labels.insert("org.opencontainers.image.vendor", "laminix".to_owned());
    labels.insert("laminix.revision", parts.recipe.revision.to_string());
    let packages: Vec<String> = asked
        .iter()
        .map(|package| match &package.version {
            Some(version) => format!("{} {version}", package.attribute),
            None => package.attribute.to_string(),
        })
        .collect();
    labels.insert("laminix.packages", packages.join(", "));
    let mut licenses: Vec<&str> = asked
        .iter()
        .flat_map(|package| package.licenses.iter().map(String::as_str))
        .collect();
    licenses.sort_unstable();
    licenses.dedup();
    if !licenses.is_empty() {
        labels.insert("org.opencontainers.image.licenses", licenses.join(" AND "));
    }
    if let [package] = parts.named()[..] {
        labels.insert("org.opencontainers.image.title", package.name.clone());
        let of_one = [
            ("org.opencontainers.image.description", &package.description),
            ("org.opencontainers.image.url", &package.homepage),
            ("org.opencontainers.image.version", &package.version),
        ];
        labels.extend(
            of_one
                .into_iter()
                .filter_map(|(name, value)| value.clone().map(|value| (name, value))),
        );
    }
    match parts.recipe.source {
        Source::Channel(_) => {
            labels.insert("laminix.source", parts.recipe.source.to_string());
        }
        Source::Git(url) if !url.is_here() => {
            labels.insert("laminix.source", parts.recipe.source.to_string());
        }
        Source::Git(_) | Source::Path(_) => {}
    }
    labels
}
