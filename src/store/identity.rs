//! Who the store is to its service: what an operator may see of it, and never a secret.

use std::time::SystemTime;

use super::{Place, Store, StoreError};

/// Who requests and URLs are signed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody has to sign: whoever may read the directory may read it.
    Files,
    /// An access key of S3, which is the name of a key and not the key.
    AccessKey {
        /// Its id.
        id: String,
        /// When it ends, where that is known.
        ends: Option<SystemTime>,
    },
    /// Google's.
    Google(Signer),
}

/// Who signs URLs of a bucket of Google's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// This account, with its key, which is at hand.
    Own(String),
    /// Google, for this account: a call for each URL.
    Remote(String),
    /// Nobody: the bucket has to be public.
    Nobody,
}

impl Store {
    /// Who signs for this store, as of now.
    ///
    /// # Errors
    /// [`StoreError::Refused`], when there are no credentials.
    pub async fn identity(&self) -> Result<Identity, StoreError> {
        match self.place() {
            Place::File(_) => Ok(Identity::Files),
            Place::S3(store) => {
                let (id, ends) = Box::pin(store.access_key()).await?;
                Ok(Identity::AccessKey { id, ends })
            }
            Place::Gcs(store) => Ok(Identity::Google(store.signer())),
        }
    }
}
