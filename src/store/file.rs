//! A directory as the object store, for one machine.
//!
//! An object is a file at its key's path. It is written beside its place, synced and renamed there, so that it is there
//! whole or not at all, also after a crash and with several processes at work. The store serves its own blobs:
//! `presign.rs` makes the URLs, `serve.rs` answers them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::StoreError;
use super::presign::Signer;
use crate::digest::Digest;
use crate::key::{Key, Prefix};
use crate::record::Seconds;

/// Drafts of writers that were killed are removed after this; a living writer needs minutes at most.
const STALE: Duration = Duration::from_secs(6 * 3600);

const DRAFTS: &str = ".drafts";

/// A store in a directory. Clones share it.
#[derive(Debug, Clone)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    signer: Signer,
}

impl FileStore {
    /// Opens the store in a directory, and makes it where there is none.
    ///
    /// # Errors
    /// A sentence for the operator, when the directory cannot be written.
    pub async fn open(root: &Path) -> Result<Self, String> {
        if !root.is_absolute() {
            return Err(format!(
                "the store's directory must be absolute, and `{}` is not",
                root.display()
            ));
        }
        let root = root.to_owned();
        let opened = blocking(move || {
            fs::create_dir_all(root.join(DRAFTS))?;
            sweep(&root.join(DRAFTS))?;
            let signer = Signer::open(&root.join(".key"))?;
            Ok(Inner { root, signer })
        });
        opened
            .await
            .map(|inner| Self(Arc::new(inner)))
            .map_err(|error| format!("cannot use the store's directory: {error}"))
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.0.signer
    }

    /// Where a blob is, for serving it.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.place(&Key::Blob(*digest))
    }

    /// Keys have no `..`, no empty level and no leading slash: their path stays below the root.
    fn place(&self, key: &Key) -> PathBuf {
        self.0.root.join(key.path())
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let place = self.place(key);
        let read = blocking(move || present(fs::read(place)))
            .await
            .map_err(failed("get"))?;
        Ok(read.map(Bytes::from))
    }

    pub(super) async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let place = self.place(key);
        blocking(move || present(fs::metadata(place).map(|metadata| metadata.len())))
            .await
            .map_err(failed("size"))
    }

    pub(super) async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let (store, place) = (self.clone(), self.place(key));
        blocking(move || {
            let mut draft = store.draft()?;
            draft.write_all(&body)?;
            keep(draft, &place)
        })
        .await
        .map_err(failed("put"))
    }

    pub(super) async fn create(&self, key: &Key, body: Bytes) -> Result<bool, StoreError> {
        let (store, place) = (self.clone(), self.place(key));
        let created = blocking(move || {
            let mut draft = store.draft()?;
            draft.write_all(&body)?;
            draft.as_file().sync_all()?;
            let directory = directory_of(&place)?;
            match draft.persist_noclobber(&place) {
                Ok(_) => sync_directory(directory).map(|()| true),
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error.error),
            }
        });
        created.await.map_err(failed("create"))
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let place = self.place(key);
        blocking(move || present(fs::remove_file(place)).map(drop))
            .await
            .map_err(failed("delete"))
    }

    pub(super) async fn list(&self, prefix: &Prefix) -> Result<Vec<(String, Seconds)>, StoreError> {
        let directory = self.0.root.join(prefix.path());
        let listed = blocking(move || {
            let Some(entries) = present(fs::read_dir(directory))? else {
                return Ok(Vec::new());
            };
            let mut objects = Vec::new();
            for entry in entries {
                let entry = entry?;
                // one that is deleted meanwhile is not there
                let (Some(metadata), Ok(name)) =
                    (present(entry.metadata())?, entry.file_name().into_string())
                else {
                    continue;
                };
                let since = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH);
                objects.push((name, since.map_or(0, |since| since.as_secs())));
            }
            Ok(objects)
        });
        listed.await.map_err(failed("list"))
    }

    pub(super) async fn upload(&self, digest: &Digest, file: &Path) -> Result<(), StoreError> {
        let (store, digest, place, file) = (self.clone(), *digest, self.blob(digest), file.to_owned());
        blocking(move || {
            let mut draft = store.draft()?;
            if copy(File::open(file)?, &mut draft)? != digest {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the file is not {digest}"),
                ));
            }
            keep(draft, &place)
        })
        .await
        .map_err(failed("upload"))
    }

    pub(super) async fn download(&self, digest: &Digest, file: &Path) -> Result<bool, StoreError> {
        let (digest, place, file) = (*digest, self.blob(digest), file.to_owned());
        blocking(move || match present(File::open(place))? {
            Some(blob) => Ok(copy(blob, &mut File::create(file)?)? == digest),
            None => Ok(false),
        })
        .await
        .map_err(failed("download"))
    }

    pub(super) async fn intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let (digest, place) = (*digest, self.blob(digest));
        blocking(move || match present(File::open(place))? {
            Some(blob) => Ok(blob.metadata()?.len() == size && copy(blob, &mut io::sink())? == digest),
            None => Ok(false),
        })
        .await
        .map_err(failed("intact"))
    }

    pub(super) fn presign(&self, digest: &Digest) -> String {
        self.0.signer.sign(digest, SystemTime::now())
    }

    fn draft(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix("draft-")
            .tempfile_in(self.0.root.join(DRAFTS))
    }
}

/// Runs what waits for a disk where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(io::Error::other(stopped)),
    }
}

fn failed(at: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Refused(at, error.into())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Busy(at, error.into()),
        _ => StoreError::Broken(at, error.into()),
    }
}

/// Absence as a value.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Copies and says what it copied.
fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(Digest::from_hasher(hasher));
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
}

/// Puts a draft in its place, durably: content first, then the name.
fn keep(draft: NamedTempFile, place: &Path) -> io::Result<()> {
    draft.as_file().sync_all()?;
    let directory = directory_of(place)?;
    draft.persist(place).map_err(|error| error.error)?;
    sync_directory(directory)
}

fn directory_of(place: &Path) -> io::Result<&Path> {
    let directory = place.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    Ok(directory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn sweep(drafts: &Path) -> io::Result<()> {
    for entry in fs::read_dir(drafts)? {
        let entry = entry?;
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            present(fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}
