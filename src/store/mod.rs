//! The object store: one abstraction over the places where the bucket can be.
//!
//! A store is named by a URL: `file:///directory`, `s3://bucket` ([`s3`]) or `gs://bucket` ([`gcs`]). Absence is a value, never
//! an error. Writes are atomic and durable: an object is there whole or not at all, and what was acknowledged survives a
//! crash. Every store passes one contract suite (`src/tests/store.rs`).

pub mod file;
pub mod gcs;
mod identity;
mod presign;
pub mod s3;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use crate::digest::Digest;
use crate::key::{Key, Prefix};
use crate::record::Seconds;

use self::file::FileStore;
use self::gcs::GcsStore;
pub use self::identity::{Identity, Signer};
pub use self::presign::PREFIX;
use self::s3::S3Store;

/// Variables of the process, by name, for credentials that stand in no URL.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

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

/// A store. Clones share it, and their count of calls.
#[derive(Debug, Clone)]
pub struct Store {
    place: Place,
    calls: Arc<AtomicU32>,
}

/// Where it is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory, which serves its own presigned URLs.
    File(FileStore),
    /// A bucket that speaks S3.
    S3(S3Store),
    /// A bucket of Google Cloud Storage.
    Gcs(GcsStore),
}

/// What a URL names.
enum Named {
    File(PathBuf),
    S3(s3::Bucket),
    Gcs(GcsStore),
}

impl Named {
    fn parse(url: &str, variables: &Variables<'_>) -> Result<Self, String> {
        match url.split_once("://") {
            Some(("file", directory)) => Ok(Self::File(directory.into())),
            Some(("s3", rest)) => s3::Bucket::parse(rest, variables).map(Self::S3),
            Some(("gs", rest)) => GcsStore::parse(rest, variables).map(Self::Gcs),
            Some(_) | None => Err("write file:///directory, s3://bucket or gs://bucket".to_owned()),
        }
    }
}

impl Store {
    /// Opens the store that a URL names, with the credentials that variables hold; these are read before this returns. A
    /// directory is tried. A service may be down for a moment, and is no reason not to start then.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn open(
        url: &str,
        variables: &Variables<'_>,
    ) -> impl Future<Output = Result<Self, String>> + Send + use<> {
        let named = Named::parse(url, variables);
        let url = url.to_owned();
        async move {
            let place = match named {
                Ok(Named::File(directory)) => FileStore::open(&directory).await.map(Place::File),
                Ok(Named::S3(bucket)) => S3Store::open(bucket).await.map(Place::S3),
                Ok(Named::Gcs(store)) => Box::pin(store.open()).await.map(Place::Gcs),
                Err(problem) => Err(problem),
            };
            match place {
                Ok(place) => Ok(Self {
                    place,
                    calls: Arc::default(),
                }),
                Err(problem) => Err(format!("`{url}` is no store: {problem}")),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The same store, whose calls are counted from here on by themselves.
    #[must_use]
    pub fn counted(&self) -> Self {
        Self {
            place: self.place.clone(),
            calls: Arc::default(),
        }
    }

    /// How often the service has been called by this store and its clones. Presigning is no call.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn call(&self) -> &Place {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &self.place
    }

    /// The object, whole. For small ones: records and manifests.
    ///
    /// # Errors
    /// [`StoreError`]; an absent object is `None`.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        match self.call() {
            Place::File(store) => store.get(key).await,
            Place::S3(store) => Box::pin(store.get(key)).await,
            Place::Gcs(store) => Box::pin(store.get(key)).await,
        }
    }

    /// The object's size in bytes, if it is there.
    ///
    /// # Errors
    /// [`StoreError`]; an absent object is `None`.
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        match self.call() {
            Place::File(store) => store.size(key).await,
            Place::S3(store) => Box::pin(store.size(key)).await,
            Place::Gcs(store) => Box::pin(store.size(key)).await,
        }
    }

    /// Writes an object, replacing what was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        match self.call() {
            Place::File(store) => store.put(key, body).await,
            Place::S3(store) => Box::pin(store.put(key, body)).await,
            Place::Gcs(store) => Box::pin(store.put(key, body)).await,
        }
    }

    /// Writes an object unless there is one already; says whether it wrote. Some stores ignore the condition and
    /// always write: use it to save work, never for correctness.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create(&self, key: &Key, body: Bytes) -> Result<bool, StoreError> {
        match self.call() {
            Place::File(store) => store.create(key, body).await,
            Place::S3(store) => Box::pin(store.create(key, body)).await,
            Place::Gcs(store) => Box::pin(store.create(key, body)).await,
        }
    }

    /// Deletes an object; one that is absent is deleted already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self.call() {
            Place::File(store) => store.delete(key).await,
            Place::S3(store) => Box::pin(store.delete(key)).await,
            Place::Gcs(store) => Box::pin(store.delete(key)).await,
        }
    }

    /// The names of all objects below a prefix, without it, and when each was last written, in seconds since 1970; in
    /// any order. A thousand objects for each call to a cloud's store.
    ///
    /// # Errors
    /// [`StoreError`]; a prefix that nothing is below is an empty list.
    pub async fn list(&self, prefix: &Prefix) -> Result<Vec<(String, Seconds)>, StoreError> {
        match self.call() {
            Place::File(store) => store.list(prefix).await,
            Place::S3(store) => Box::pin(store.list(prefix)).await,
            Place::Gcs(store) => Box::pin(store.list(prefix)).await,
        }
    }

    /// Stores a local file as a blob, and makes sure that what arrived has this digest.
    ///
    /// # Errors
    /// [`StoreError`]; `Broken` when the content is not the digest's.
    pub async fn upload(&self, digest: &Digest, file: &Path) -> Result<(), StoreError> {
        match self.call() {
            Place::File(store) => store.upload(digest, file).await,
            Place::S3(store) => Box::pin(store.upload(digest, file)).await,
            Place::Gcs(store) => Box::pin(store.upload(digest, file)).await,
        }
    }

    /// Copies a blob to a local file, and makes sure of its digest.
    ///
    /// # Errors
    /// [`StoreError`]; `false` when the blob is absent or is not the digest's.
    pub async fn download(&self, digest: &Digest, file: &Path) -> Result<bool, StoreError> {
        match self.call() {
            Place::File(store) => store.download(digest, file).await,
            Place::S3(store) => Box::pin(store.download(digest, file)).await,
            Place::Gcs(store) => Box::pin(store.download(digest, file)).await,
        }
    }

    /// Whether the blob is stored with this size and the content that its digest says.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        match self.call() {
            Place::File(store) => store.intact(digest, size).await,
            Place::S3(store) => Box::pin(store.intact(digest, size)).await,
            Place::Gcs(store) => Box::pin(store.intact(digest, size)).await,
        }
    }

    /// A URL that a client can GET (or HEAD, as `method` says) a blob from for a while, with no call to the store. It may be
    /// relative to the registry's own host; then it is for GET alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn presign(&self, digest: &Digest, method: &http::Method) -> Result<String, StoreError> {
        match &self.place {
            Place::File(store) => Ok(store.presign(digest)),
            Place::S3(store) => Box::pin(store.presign(digest, method)).await,
            Place::Gcs(store) => Box::pin(store.presign(digest, method)).await,
        }
    }
}
