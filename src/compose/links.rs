//! What the root of an image links to: the outputs of the packages that were asked for, merged.
//!
//! A directory that one output alone provides is one link to it. Where several provide it, it is a real directory, and the
//! same rule holds inside. Where two provide something that cannot be merged (two files, or a file and a directory), the
//! lower `meta.priority` wins, then the attribute that comes first in byte order, then the output that comes first.

use std::collections::BTreeMap;

use super::Parts;
use crate::record::{Node, Package, StorePath, Tree};

/// Top-level names that packages do not get: the contract's own, and what is of use to builds alone.
const RESERVED: [&str; 12] = [
    "dev",
    "home",
    "nix",
    "nix-support",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "var",
    "propagated-build-inputs",
];

/// A place in the root of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A symbolic link to something in the store, and what is in that, if it is a directory.
    Link(String, Option<&'a Tree>),
    /// A real directory.
    Directory(BTreeMap<String, Place<'a>>),
}

/// The merged tree of an image's packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Links<'a>(pub(super) BTreeMap<String, Place<'a>>);

/// One output's claim on a place.
#[derive(Clone, Copy)]
struct Claim<'a> {
    path: &'a StorePath,
    tree: &'a Tree,
}

impl<'a> Links<'a> {
    pub(super) fn of(parts: &Parts<'a>) -> Self {
        let mut packages: Vec<&Package> = parts.asked.values().copied().collect();
        // of the base only what is data is linked: its programs are not asked for
        let data = ["cacert", "iana-etc"]
            .iter()
            .filter(|name| !parts.asked.contains_key(*name));
        packages.extend(data.filter_map(|name| parts.base(name)));
        packages.sort_by(|a, b| (a.priority, &a.attribute).cmp(&(b.priority, &b.attribute)));
        let mut claims: Vec<Claim<'_>> = Vec::new();
        for output in packages.iter().flat_map(|package| &package.outputs) {
            // a set can have one output under several names
            if !claims.iter().any(|claim| claim.path == &output.path) {
                claims.push(Claim {
                    path: &output.path,
                    tree: &output.tree,
                });
            }
        }
        let mut root = merge(&claims, "");
        root.retain(|name, _| !RESERVED.contains(&name.as_str()));
        Self(root)
    }

    /// Where a place leads in the store, if there is something.
    pub(super) fn target(&self, path: &str) -> Option<String> {
        let mut entries = &self.0;
        let mut levels = path.split('/');
        loop {
            match entries.get(levels.next()?)? {
                Place::Directory(inner) => entries = inner,
                Place::Link(target, inside) => {
                    let (mut target, mut inside) = (target.clone(), *inside);
                    for level in levels {
                        inside = directory(inside?.get(level)?);
                        target = format!("{target}/{level}");
                    }
                    return Some(target);
                }
            }
        }
    }
}

/// Merges claims that are sorted by precedence, below `prefix` (empty, or with a leading slash).
fn merge<'a>(claims: &[Claim<'a>], prefix: &str) -> BTreeMap<String, Place<'a>> {
    let mut by_name: BTreeMap<&str, Vec<(&'a StorePath, &'a Node)>> = BTreeMap::new();
    for claim in claims {
        for (name, node) in claim.tree.iter().filter(|(name, _)| is_entry(name)) {
            by_name.entry(name).or_default().push((claim.path, node));
        }
    }
    let mut places = BTreeMap::new();
    for (name, nodes) in by_name {
        let at = format!("{prefix}/{name}");
        let Some(((path, first), others)) = nodes.split_first() else {
            continue;
        };
        let directories: Vec<Claim<'a>> = nodes
            .iter()
            .filter_map(|(path, node)| directory(node).map(|tree| Claim { path, tree }))
            .collect();
        // the strongest decides what it is; a directory takes in the other directories
        let place = if others.is_empty() || directory(first).is_none() || directories.len() == 1 {
            Place::Link(format!("{path}{at}"), directory(first))
        } else {
            Place::Directory(merge(&directories, &at))
        };
        places.insert(name.to_owned(), place);
    }
    places
}

/// What is in a directory.
pub(super) fn directory(node: &Node) -> Option<&Tree> {
    match node {
        Node::Directory(tree) => Some(tree),
        Node::Leaf(()) => None,
    }
}

/// Records come from a bucket: a name that is none is passed over.
pub(super) fn is_entry(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(['/', '\0'])
}
