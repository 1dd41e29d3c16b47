//! The object store: one abstraction over the places where the bucket can be.
//!
//! A store is named by a URL: `file:///directory`. Absence is a value, never an error. Writes are atomic and durable:
//! an object is there whole or not at all, and what was acknowledged survives a crash. Every store passes one
//! contract suite (`src/tests/store.rs`).

pub mod file;
mod presign;
mod serve;

use std::path::Path;

use bytes::Bytes;

use crate::digest::Digest;
use crate::key::{Key, Prefix};
use crate::record::Seconds;

use self::file::FileStore;
pub use self::presign::PREFIX;

/// What went wrong with a store. The kind says what a caller can do; the source is for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not let us: credentials, permissions. Trying again does not help.
    #[error("the object store refuses {0}")]
    Refused(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is slow, overloaded or out of reach. Trying again may help.
    #[error("the object store does not answer {0}")]
    Busy(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store answered with something that cannot be.
    #[error("the object store is broken at {0}")]
    Broken(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A store, by kind.
#[derive(Debug, Clone)]
pub enum Store {
    /// A directory, which serves its own presigned URLs.
    File(FileStore),
}

impl Store {
    /// Opens the store that a URL names, and makes sure that it can be used.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn open(url: &str) -> Result<Self, String> {
        match url.strip_prefix("file://") {
            Some(directory) => FileStore::open(Path::new(directory)).await.map(Self::File),
            None => Err(format!("`{url}` is no store: write file:///directory")),
        }
    }

    /// The object, whole. For small ones: records and manifests.
    ///
    /// # Errors
    /// [`StoreError`]; an absent object is `None`.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::File(store) => store.get(key).await,
        }
    }

    /// The object's size in bytes, if it is there.
    ///
    /// # Errors
    /// [`StoreError`]; an absent object is `None`.
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        match self {
            Self::File(store) => store.size(key).await,
        }
    }

    /// Writes an object, replacing what was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.put(key, body).await,
        }
    }

    /// Writes an object unless there is one already; says whether it wrote. Some stores ignore the condition and
    /// always write: use it to save work, never for correctness.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create(&self, key: &Key, body: Bytes) -> Result<bool, StoreError> {
        match self {
            Self::File(store) => store.create(key, body).await,
        }
    }

    /// Deletes an object; one that is absent is deleted already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.delete(key).await,
        }
    }

    /// The names of all objects below a prefix, without it, and when each was last written, in seconds since 1970; in
    /// any order. A thousand objects for each call to a cloud's store.
    ///
    /// # Errors
    /// [`StoreError`]; a prefix that nothing is below is an empty list.
    pub async fn list(&self, prefix: &Prefix) -> Result<Vec<(String, Seconds)>, StoreError> {
        match self {
            Self::File(store) => store.list(prefix).await,
        }
    }

    /// Stores a local file as a blob, and makes sure that what arrived has this digest.
    ///
    /// # Errors
    /// [`StoreError`]; `Broken` when the content is not the digest's.
    pub async fn upload(&self, digest: &Digest, file: &Path) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.upload(digest, file).await,
        }
    }

    /// Copies a blob to a local file, and makes sure of its digest.
    ///
    /// # Errors
    /// [`StoreError`]; `false` when the blob is absent or is not the digest's.
    pub async fn download(&self, digest: &Digest, file: &Path) -> Result<bool, StoreError> {
        match self {
            Self::File(store) => store.download(digest, file).await,
        }
    }

    /// Whether the blob is stored with this size and the content that its digest says.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        match self {
            Self::File(store) => store.intact(digest, size).await,
        }
    }

    /// A URL that a client can GET a blob from for a while, with no call to the store. It may be relative to the
    /// registry's own host.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn presign(&self, digest: &Digest) -> Result<String, StoreError> {
        match self {
            Self::File(store) => Ok(store.presign(digest)),
        }
    }
}
