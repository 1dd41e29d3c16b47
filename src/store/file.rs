//! A directory as the object store.

use std::path::Path;

use bytes::Bytes;

use super::StoreError;
use crate::digest::Digest;
use crate::key::Key;

/// A store in a directory.
#[derive(Debug, Clone)]
pub struct FileStore {}

impl FileStore {
    pub(super) async fn open(_directory: &Path) -> Result<Self, String> {
        todo!()
    }

    pub(super) async fn get(&self, _key: &Key) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }

    pub(super) async fn size(&self, _key: &Key) -> Result<Option<u64>, StoreError> {
        todo!()
    }

    pub(super) async fn put(&self, _key: &Key, _body: Bytes) -> Result<(), StoreError> {
        todo!()
    }

    pub(super) async fn create(&self, _key: &Key, _body: Bytes) -> Result<bool, StoreError> {
        todo!()
    }

    pub(super) async fn delete(&self, _key: &Key) -> Result<(), StoreError> {
        todo!()
    }

    pub(super) async fn upload(&self, _digest: &Digest, _file: &Path) -> Result<(), StoreError> {
        todo!()
    }

    pub(super) async fn download(&self, _digest: &Digest, _file: &Path) -> Result<bool, StoreError> {
        todo!()
    }

    pub(super) async fn intact(&self, _digest: &Digest, _size: u64) -> Result<bool, StoreError> {
        todo!()
    }

    pub(super) fn presign(&self, _digest: &Digest) -> Result<String, StoreError> {
        todo!()
    }
}
