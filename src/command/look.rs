//! What the store knows of images: read, and judged as the registry would.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::compose::attributes;
use crate::key::{Key, PackageRef, Subject};
use crate::name::Image;
use crate::record::{Claim, PackageRecord, Seconds};
use crate::source::{Revision, Source};
use crate::store::{Store, StoreError};

/// Objects are read side by side, so many at once: a list of images has thousands of records.
const SIDE_BY_SIDE: usize = 32;

/// Reads these objects; what is not there is left out.
pub(super) async fn read(
    store: &Store,
    keys: impl IntoIterator<Item = Key>,
) -> Result<BTreeMap<Key, Bytes>, StoreError> {
    let mut keys = keys.into_iter();
    let (mut reads, mut found) = (JoinSet::new(), BTreeMap::new());
    loop {
        while reads.len() < SIDE_BY_SIDE
            && let Some(key) = keys.next()
        {
            let store = store.clone();
            reads.spawn(async move { store.get(&key).await.map(|bytes| bytes.map(|bytes| (key, bytes))) });
        }
        match reads.join_next().await {
            None => return Ok(found),
            Some(Ok(read)) => found.extend(read?),
            Some(Err(stopped)) => return Err(StoreError::Broken("get", stopped.into())),
        }
    }
}

/// An object as a record. One that cannot be read counts as absent, as it does for the registry.
pub(super) fn record<T: DeserializeOwned>(found: &BTreeMap<Key, Bytes>, key: &Key) -> Option<T> {
    found
        .get(key)
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
}

/// A package that an image needs.
#[derive(Debug, Clone)]
pub(super) struct Needed {
    /// Which.
    pub(super) package: PackageRef,
    /// Whether the image's name asks for it; else it is of the base, which a package set may lack.
    pub(super) asked: bool,
}

impl Needed {
    /// The packages of an image at a revision: what was asked for, then the base.
    pub(super) fn of(source: &Source, revision: &Revision, image: &Image) -> Vec<Self> {
        let needed = |attribute| Self {
            asked: image.attributes().contains(&attribute),
            package: PackageRef {
                source: source.id(),
                revision: revision.clone(),
                system: image.system(),
                attribute,
            },
        };
        attributes(image).into_iter().map(needed).collect()
    }

    /// Where its record is.
    pub(super) fn key(&self) -> Key {
        Key::Package(self.package.clone())
    }

    /// Where it is said that it is being made.
    pub(super) fn claim(&self) -> Key {
        Subject::Package(self.package.clone()).claim()
    }

    /// Why the image cannot be had with this record of the package, if it cannot.
    pub(super) fn problem(&self, record: &PackageRecord) -> Option<String> {
        let attribute = &self.package.attribute;
        match record {
            PackageRecord::Ready(_) => None,
            PackageRecord::NotFound { .. } | PackageRecord::Refused { .. } if !self.asked => None,
            PackageRecord::NotFound { near } if near.is_empty() => {
                Some(format!("the package set has no `{attribute}`"))
            }
            PackageRecord::NotFound { near } => Some(format!(
                "the package set has no `{attribute}`; near it are `{}`",
                near.join("`, `")
            )),
            PackageRecord::Refused { reason, .. } | PackageRecord::Failed { reason, .. } => {
                Some(reason.clone())
            }
        }
    }
}

/// A claim that somebody stands behind.
pub(super) fn claim(found: &BTreeMap<Key, Bytes>, key: &Key, now: Seconds) -> Option<Claim> {
    record(found, key).filter(|claim: &Claim| claim.is_current(now))
}
