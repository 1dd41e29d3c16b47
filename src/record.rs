//! What the worker writes and the function reads: JSON objects, each at its [`crate::key::Key`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::{Attribute, System};
use crate::source::Revision;

/// Seconds since 1970-01-01 UTC. Only claims and times to live hold a time; nothing that is composed does.
pub type Seconds = u64;

/// The time, for what expires.
#[must_use]
pub fn now() -> Seconds {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// What is known of a package at a revision, for a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PackageRecord {
    /// It is built, and its layers are stored.
    Ready(Box<Package>),
    /// The package set has no such attribute. For ever: a revision does not change.
    NotFound {
        /// Up to five attributes of nearly that name.
        near: Vec<String>,
    },
    /// The package set or the operator does not let it be built: unfree, broken, removed, not a package.
    Refused {
        /// A sentence for the person who pulls.
        reason: String,
        /// It may be tried again after this.
        until: Seconds,
    },
    /// Its evaluation or its build failed.
    Failed {
        /// A sentence for the person who pulls.
        reason: String,
        /// The last lines of the log, as text without escapes; empty where there is none.
        log: String,
        /// It may be tried again after this.
        until: Seconds,
    },
}

impl PackageRecord {
    /// Whether the record still counts at this time.
    #[must_use]
    pub fn is_current(&self, now: Seconds) -> bool {
        match self {
            Self::Ready(_) | Self::NotFound { .. } => true,
            Self::Refused { until, .. } | Self::Failed { until, .. } => now < *until,
        }
    }
}

/// All that an image needs to know of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// The attribute as it was found: two names that find the same one are one package.
    pub attribute: Attribute,
    /// The derivation's name, `git-2.47.0`.
    pub name: String,
    /// Its `version`, if it says one.
    pub version: Option<String>,
    /// One line of what it is.
    pub description: Option<String>,
    /// Its licences: SPDX identifiers where there are such.
    pub licenses: Vec<String>,
    /// Where it lives on the web.
    pub homepage: Option<String>,
    /// The program it is known for.
    pub main_program: Option<String>,
    /// `meta.priority`: in a collision of links the lower one wins. nixpkgs' default is 5.
    pub priority: i64,
    /// The outputs whose files are linked into the image's root, in the order of the package set.
    pub outputs: Vec<Output>,
    /// The closure, cut into layers. Every path of the closure is in exactly one of them.
    pub layers: Vec<Layer>,
}

/// An output of a derivation, as the image's root links to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its store path.
    pub path: StorePath,
    /// What is in it. Empty where the output is a single file.
    pub tree: Tree,
}

/// The entries of a directory, by name.
pub type Tree = BTreeMap<String, Node>;

/// An entry of an output's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Node {
    /// A directory (or a link to one), whose entries may be merged with those of other packages.
    Directory(Tree),
    /// A file, a link to a file, or a directory that is not looked into: it is linked as a whole. Written as `null`.
    Leaf(()),
}

/// A layer of a package: a blob, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// The blob.
    #[serde(flatten)]
    pub packed: Packed,
    /// Whether it is the rest of one package's closure. Tails may be merged when an image has too many layers.
    pub tail: bool,
    /// The store paths in it, sorted by path.
    pub contents: Vec<Content>,
}

/// A store path in a layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The path.
    pub path: StorePath,
    /// `sha256:` and the hash of its NAR, as `nix-store -q --hash` prints it.
    pub nar_hash: String,
    /// The size of its NAR in bytes.
    pub nar_size: u64,
}

/// A packed layer: its two digests and sizes (OCI image-spec, layer.md and config.md).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packed {
    /// The digest of the compressed blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Its size in bytes.
    pub unpacked: u64,
    /// How it is compressed.
    pub compression: Compression,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952, in members of 1 MiB: every client reads it.
    Gzip,
    /// RFC 8878, in frames of 4 MiB: smaller, for clients from 2022 on, and only in OCI manifests.
    Zstd,
}

impl Compression {
    /// The compression of a union of layers: gzip unless all are zstd, because whoever reads one of them must be able to
    /// read the union.
    pub fn of_union(layers: impl IntoIterator<Item = Self>) -> Self {
        if layers.into_iter().all(|compression| compression == Self::Zstd) {
            Self::Zstd
        } else {
            Self::Gzip
        }
    }

    /// The name of the encoder, with all that its bytes depend on: part of every layer key.
    #[must_use]
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Gzip => crate::gzip::ENCODING,
            Self::Zstd => "zstd:1.5.7:6:4MiB",
        }
    }
}

/// The path of a store object: `/nix/store/`, 32 characters of Nix's base 32, a dash, a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorePath(String);

/// The directory of all store paths.
pub const STORE_DIR: &str = "/nix/store";

/// The text is no store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a store path")]
pub struct StorePathError(String);

impl StorePath {
    /// The whole path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component: hash and name.
    #[must_use]
    pub fn base_name(&self) -> &str {
        &self.0[STORE_DIR.len() + 1..]
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;

    fn from_str(text: &str) -> Result<Self, StorePathError> {
        let refused = || StorePathError(text.to_owned());
        let base = text
            .strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(refused)?;
        let (hash, name) = base.split_once('-').ok_or_else(refused)?;
        let nix32 = |b: u8| b.is_ascii_digit() || (b.is_ascii_lowercase() && !b"eout".contains(&b));
        let named = |b: u8| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b);
        let good = hash.len() == 32
            && hash.bytes().all(nix32)
            && (1..=211).contains(&name.len())
            && name.bytes().all(named);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for StorePath {
    type Error = StorePathError;

    fn try_from(text: String) -> Result<Self, StorePathError> {
        text.parse()
    }
}

impl From<StorePath> for String {
    fn from(path: StorePath) -> Self {
        path.0
    }
}

/// What a tag of a source names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SourceRecord {
    /// A revision.
    Resolved {
        /// Which.
        revision: Revision,
        /// When that was seen.
        at: Seconds,
        /// Whether it can never change (the tag is a commit).
        fixed: bool,
        /// The revision that the tag is going to name, while a worker makes its packages ready.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Next>,
    },
    /// Nothing that may be served.
    Refused {
        /// A sentence for the person who pulls.
        reason: String,
        /// It may be tried again after this.
        until: Seconds,
    },
}

/// Where a tag is going to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// To which revision.
    pub revision: Revision,
    /// When it was first seen to name another one than before: it moves some time after that, ready or not.
    pub since: Seconds,
}

/// An image in the cache. The manifests are in here whole, so that a warm pull is one read.
///
/// It also says what the image was asked to hold. These records are written when somebody pulls, once for each image at
/// each revision, so together they tell which packages of a revision are used: nothing else has to be counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The system of the image.
    pub system: System,
    /// The attributes as they were asked for.
    pub attributes: Vec<Attribute>,
    /// The manifest with OCI media types.
    pub oci: String,
    /// The same image with Docker's (schema 2), where its layers can be said in them.
    pub docker: Option<String>,
}

/// Somebody makes, or has asked for, a [`crate::key::Subject`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Since when.
    pub since: Seconds,
    /// When the claim was last confirmed. A claim that nobody confirms is void after [`Claim::LIFE`].
    pub seen: Seconds,
    /// What is being done, in a few words for the person who waits: `building git-2.47.0 (3 of 7)`.
    pub phase: String,
}

impl Claim {
    /// A claim counts for this many seconds after it was last confirmed. Workers confirm every few seconds, and the queue
    /// delivers the job of one that was killed again: only a job that was never sent takes this long.
    pub const LIFE: Seconds = 300;

    /// Whether somebody still stands behind it.
    #[must_use]
    pub fn is_current(&self, now: Seconds) -> bool {
        now < self.seen.saturating_add(Self::LIFE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_paths_are_checked() {
        let good = "/nix/store/00000000000000000000000000000000-git-2.47.0";
        assert_eq!(good.parse::<StorePath>().unwrap().base_name(), &good[11..]);
        for bad in [
            "",
            "/nix/store/",
            "/nix/store/x-y",
            "/nix/store/e0000000000000000000000000000000-x",
            "/nix/store/00000000000000000000000000000000-",
            "/nix/store/00000000000000000000000000000000-a/b",
            "/nix/store/00000000000000000000000000000000-a\nb",
            "/gnu/store/00000000000000000000000000000000-x",
        ] {
            assert!(bad.parse::<StorePath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn trees_are_compact_json() {
        let tree: Tree = serde_json::from_str(r#"{"bin":{"git":null},"setup":null}"#).unwrap();
        assert_eq!(tree["setup"], Node::Leaf(()));
        assert!(matches!(&tree["bin"], Node::Directory(bin) if bin["git"] == Node::Leaf(())));
        assert_eq!(
            serde_json::to_string(&tree).unwrap(),
            r#"{"bin":{"git":null},"setup":null}"#
        );
    }

    #[test]
    fn failures_expire_and_facts_do_not() {
        let failed = PackageRecord::Failed {
            reason: String::new(),
            log: String::new(),
            until: 10,
        };
        assert!(failed.is_current(9) && !failed.is_current(10));
        assert!(PackageRecord::NotFound { near: Vec::new() }.is_current(Seconds::MAX));
    }

    proptest::proptest! {
        #[test]
        fn whatever_lies_in_the_bucket_is_a_record_or_is_not(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text in "\\PC{0,60}") {
            let cut = br#"{"state":"ready","attribute":"a","name":"a-1","licenses":[],"priority":5,"outputs":[],"layers":[]}"#;
            let at = bytes.len() % cut.len();
            for record in [&bytes[..], text.as_bytes(), &cut[..at]] {
                proptest::prop_assert!(serde_json::from_slice::<PackageRecord>(record).is_err());
            }
            proptest::prop_assert!(text.parse::<StorePath>().is_err());
        }

        #[test]
        fn failures_come_back_as_they_were_written(reason in "\\PC{0,60}", log in "[\\x00-\\x7fé\u{1F600}]{0,60}", until in proptest::num::u64::ANY) {
            let record = PackageRecord::Failed { reason, log, until };
            let read = serde_json::from_str::<PackageRecord>(&serde_json::to_string(&record).unwrap());
            proptest::prop_assert_eq!(read.unwrap(), record);
        }
    }
}
