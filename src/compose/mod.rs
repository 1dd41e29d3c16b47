//! Composition: from package records to an image, by a pure function.
//!
//! No I/O, no clock, no randomness: the same packages give the same bytes, on any machine and in any order. Store paths
//! never change and never overlap, so an image is the union of its packages' layers and a root layer that links them.
//!
//! ## What every image keeps to
//!
//! | where | what |
//! |---|---|
//! | `/bin/sh` | a package's that was asked for, else that of `bashInteractive` |
//! | `/usr/bin/env` | a package's that was asked for, else that of `coreutils` |
//! | `/bin`, `/lib`, `/share` … | links to what the packages hold; a directory of one package is one link |
//! | `/tmp`, `/var/tmp` | mode 1777 |
//! | `/root`, `/home/user` | homes of root (0) and of `user` (1000), who can be chosen by `--user` |
//! | `/etc/passwd`, `/etc/group` | `root`, `user`, `nobody` (65534) |
//! | `/etc/nsswitch.conf` | hosts: files, then dns |
//! | `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` | not there: runtimes mount them, `/etc` is a real directory |
//! | `/etc/ssl/certs/ca-bundle.crt` and other usual places | the certificates of `cacert` |
//! | `/etc/protocols`, `/etc/services` | those of `iana-etc` |
//! | `/proc`, `/sys`, `/dev`, `/run` | empty, to be mounted over |
//! | environment | `PATH`, `SSL_CERT_FILE`, `NIX_SSL_CERT_FILE`, `LANG=C.UTF-8` |
//! | command | a shell, if one was asked for, else the one package's main program, else `/bin/sh` |
//! | labels | revision, source, packages, licences |
//! | `created` | 1970-01-01T00:00:01Z, always |
//!
//! What [`BASE`] brings beyond that stays off the `PATH`: its programs are in the store, and are not linked.

mod config;
mod layers;
mod links;
pub mod manifest;
mod root;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::digest::Digest;
use crate::key::LayerKey;
use crate::name::{Attribute, BUILDER, Image, SHELL, System, constant};
use crate::record::{Compression, ImageRecord, Layer, Package, Packed};
use crate::source::{Revision, Source};

/// The packages that every image is made with, where the package set has them.
pub const BASE: [&str; 4] = ["bashInteractive", "cacert", "coreutils", "iana-etc"];

/// What an image is made of: what was asked for, then the rest of [`BASE`].
#[must_use]
pub fn attributes(image: &Image) -> Vec<Attribute> {
    let asked = image.attributes();
    let base = BASE.map(constant).into_iter();
    let rest = base.filter(|attribute| !asked.contains(attribute));
    asked.iter().cloned().chain(rest).collect()
}

/// The most layers of an image, the root layer among them. Docker allows 125, older stacks fail at 127, and whoever
/// builds upon the image wants some too.
pub const MAX_LAYERS: usize = 96;

/// What an image is made of.
#[derive(Debug, Clone, Copy)]
pub struct Recipe<'a> {
    /// Where the packages come from.
    pub source: &'a Source,
    /// At which revision.
    pub revision: &'a Revision,
    /// For which system.
    pub system: System,
    /// The packages that were asked for, in any order; one that is there twice counts once.
    pub packages: &'a [Package],
    /// Those of [`BASE`] that the package set has.
    pub base: &'a [Package],
}

/// What came of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The image.
    Image(Box<Composed>),
    /// There are too many layers: these unions have to be made first, by a worker.
    Merge(Vec<Merge>),
}

/// Layers that have to become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The key of the union.
    pub key: LayerKey,
    /// What to join.
    pub layers: Vec<Layer>,
}

/// An image: all of it that is not in the packages' layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// The root layer, a blob.
    pub root: Blob,
    /// The image config, a blob.
    pub config: Blob,
    /// The OCI manifest.
    pub oci: Blob,
    /// The Docker schema 2 manifest; there is none for layers that Docker's media types cannot name.
    pub docker: Option<Blob>,
}

impl Composed {
    /// The image as it is kept in the cache.
    #[must_use]
    pub fn record(&self, image: &Image) -> ImageRecord {
        let text = |blob: &Blob| String::from_utf8_lossy(&blob.bytes).into_owned();
        ImageRecord {
            system: image.system(),
            attributes: image.attributes().iter().cloned().collect(),
            oci: text(&self.oci),
            docker: self.docker.as_ref().map(text),
        }
    }
}

/// Some bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The digest of the bytes.
    pub digest: Digest,
    /// The content.
    pub bytes: Bytes,
}

impl Blob {
    fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: Digest::of(&bytes),
            bytes,
        }
    }
}

/// Makes the image, given the unions that a worker has made so far.
#[must_use]
pub fn compose(recipe: &Recipe<'_>, merged: &BTreeMap<LayerKey, Packed>) -> Outcome {
    let asked: BTreeMap<&str, &Package> = recipe
        .packages
        .iter()
        .map(|package| (package.attribute.as_str(), package))
        .collect();
    let base: BTreeMap<&str, &Package> = recipe
        .base
        .iter()
        .map(|package| (package.attribute.as_str(), package))
        .collect();
    let parts = Parts {
        recipe: *recipe,
        asked,
        base,
    };
    let layers = match layers::select(&parts, merged) {
        Ok(layers) => layers,
        Err(merges) => return Outcome::Merge(merges),
    };
    let links = links::Links::of(&parts);
    let tar = root::archive(&parts, &links);
    let root = Blob::new(crate::gzip::encode(&tar));
    let packed = Packed {
        digest: root.digest,
        size: root.bytes.len() as u64,
        diff_id: Digest::of(&tar),
        unpacked: tar.len() as u64,
        compression: Compression::Gzip,
    };
    let config = Blob::new(config::config(&parts, &layers, &packed, &links));
    let packed: Vec<Packed> = layers
        .iter()
        .map(|layer| layer.packed.clone())
        .chain([packed])
        .collect();
    let oci = Blob::new(manifest::oci(&config, &packed));
    let docker = manifest::docker(&config, &packed).map(Blob::new);
    Outcome::Image(Box::new(Composed {
        root,
        config,
        oci,
        docker,
    }))
}

/// A recipe in order: packages by the attribute that they were found under.
struct Parts<'a> {
    recipe: Recipe<'a>,
    asked: BTreeMap<&'a str, &'a Package>,
    base: BTreeMap<&'a str, &'a Package>,
}

impl<'a> Parts<'a> {
    /// A package of the base by its name there.
    fn base(&self, attribute: &str) -> Option<&'a Package> {
        self.base.get(attribute).copied()
    }

    /// Whether all of `shell` was asked for.
    fn has_shell(&self) -> bool {
        SHELL.iter().all(|attribute| self.asked.contains_key(attribute))
    }

    /// The packages that a person would name: without those that `shell` and `builder` stand for, if there are others.
    fn named(&self) -> Vec<&'a Package> {
        let plain =
            |attribute: &str| !(self.has_shell() && (SHELL.contains(&attribute) || attribute == BUILDER));
        self.asked
            .iter()
            .filter(|(attribute, _)| plain(attribute))
            .map(|(_, package)| *package)
            .collect()
    }
}

/// The file `path` (relative, dots nowhere) of a package's outputs, as a path in the store.
fn provided(package: &Package, path: &str) -> Option<String> {
    package.outputs.iter().find_map(|output| {
        let mut levels = path.split('/');
        let mut node = output.tree.get(levels.next()?)?;
        for level in levels {
            match node {
                crate::record::Node::Directory(entries) => node = entries.get(level)?,
                crate::record::Node::Leaf(()) => return None,
            }
        }
        Some(format!("{}/{path}", output.path))
    })
}

#[cfg(test)]
mod tests;
