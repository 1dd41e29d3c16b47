//! A bucket of Google Cloud Storage as the object store: `gs://BUCKET[/PREFIX][?endpoint=URL]`.
//!
//! Requests go to the JSON API over HTTP/1.1, by hyper and rustls. `credentials.rs` says who asks, `token.rs` what it shows,
//! `sign.rs` makes the URLs that clients get. The account needs `roles/storage.objectUser` on the bucket: to those who may
//! not list, Google answers 403 for an object that is absent.
//!
//! - What is written is checked by Google before it is there, by MD5. It carries a note of its sha256, so that
//!   [`Store::intact`] reads no content, unless somebody else wrote the object.
//! - [`Store::create`] writes only where there is nothing (`ifGenerationMatch=0`), and Google keeps to it.
//! - A download is of one generation of the object, also when it has to be taken up again.
//! - Requests are tried again for ten seconds. Bodies of files are streamed: memory does not grow with them.
//!
//! # Why no client library
//!
//! Measured in November 2026 with a binary that puts and gets one object (x86-64, stripped, thin LTO, one codegen unit), alone
//! and beside aws-sdk-s3 1.157 with aws-lc-rs, which has 11.2 MB by itself, 4.7 zipped, of 151 crates:
//!
//! | | alone | crates | clean build, 2 cores | beside aws-sdk-s3 | releases in a year |
//! |---|---|---|---|---|---|
//! | hyper and rustls | 4.6 MB; 2.6 with ring | 57 | 112 s; 95 s | + 0.7 MB, 0.3 zipped, 9 crates | |
//! | `object_store` 0.14.2 | 6.5 MB | 121 | 122 s | + 1.6 MB, 0.7 zipped, 31 crates | 7 |
//! | google-cloud-storage 1.21 | 9.2 MB | 182 | 135 s | + 4.2 MB, 1.7 zipped, 75 crates | about 12 |
//!
//! Both libraries are well kept. But `object_store` cannot say what the MD5 of an upload is, leaves `+`, `'` and `:` in the path
//! of a signed URL, which Google's own library encodes, signs for Google's host alone, and speaks the XML API, whose uploads
//! fake-gcs-server refuses, so that nothing of it could be tried here. google-cloud-storage can say and sign these, and brings
//! gRPC and telemetry into a function whose size is a part of its first answer. Both sign as of now and no other time, so no
//! table of URLs could be compared. What is needed of the API is five requests, and hyper and rustls are there anyway, for S3.
//!
//! The crypto library is ring: the worker has it already, a binary with aws-sdk-s3 and this store is 2 MB smaller with it (9.7
//! in place of 11.8), and aws-lc-rs gathers entropy from the processor's jitter when it starts. All of it is behind one
//! function in `src/connector.rs`.
//!
//! [`Store::intact`]: crate::store::Store::intact
//! [`Store::create`]: crate::store::Store::create

mod client;
mod credentials;
mod download;
mod fault;
mod http;
mod key;
mod list;
mod object;
mod place;
mod retry;
mod sign;
#[cfg(test)]
mod tests;
mod token;
mod upload;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::fs::File;

use self::client::{Call, Client};
pub use self::credentials::{CREDENTIALS, CREDENTIALS_FILE, SIGNING_ACCOUNT, SIGNING_KEY};
use self::credentials::{Credentials, Signing};
use self::fault::Fault;
use self::http::Http;
use self::object::Stored;
use self::place::{Place, encode};
use self::retry::Patience;
use self::sign::Unsigned;
use self::token::Tokens;
use super::StoreError;
use super::identity::Signer;
use super::presign::LIFE;
use crate::digest::Digest;
use crate::key::{Key, Prefix};
use crate::record::Seconds;

/// Where Google signs for an account (<https://cloud.google.com/iam/docs/reference/credentials/rest>).
const IAM: &str = "https://iamcredentials.googleapis.com";

/// A store in a bucket, or under a prefix of it. Clones share its connections and its token.
#[derive(Debug, Clone)]
pub struct GcsStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    client: Client,
    signing: Signing,
    iam: String,
}

impl GcsStore {
    /// The store behind `gs://`, as the variables have its credentials. Nothing is asked of it yet.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn parse(url: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let place = Place::parse(url)?;
        let Credentials { grant, signing } = Credentials::parse(variables)?;
        if matches!(signing, Signing::Remote(_)) && !place.is_secure() {
            return Err(format!(
                "Google does not sign for a store at {}: {SIGNING_KEY} is missing",
                place.endpoint()
            ));
        }
        let tokens = place.is_secure().then(|| Tokens::new(grant));
        let client = Client::new(Http::new(place.is_secure())?, tokens, Patience::default());
        Ok(Self(Arc::new(Inner {
            place,
            client,
            signing,
            iam: IAM.to_owned(),
        })))
    }

    /// Makes sure that the bucket can be used, and has a token and a connection ready: all in one try, because a function
    /// has ten seconds to start. A bucket that does not answer may do so later, when it is needed.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) async fn open(self) -> Result<Self, String> {
        let Inner { place, client, .. } = &*self.0;
        if let Err(Fault::Busy(error, _)) = client.token().await
            && client.asks_machine()
        {
            return Err(format!(
                "there are no credentials for the bucket: set {CREDENTIALS_FILE}, {CREDENTIALS}, or {SIGNING_KEY} and \
                 {SIGNING_ACCOUNT} (and no metadata server answers: {error})"
            ));
        }
        let list = Call::new(
            Method::GET,
            format!("{}?maxResults=1&fields=kind", place.objects()),
        );
        match client
            .once(&list, &[StatusCode::NOT_FOUND], client.patience.request)
            .await
        {
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => {
                return Err(format!("there is no bucket at {}", place.objects()));
            }
            Ok(_) => {}
            Err(Fault::Busy(error, _)) => tracing::warn!(%error, "the bucket does not answer yet"),
            Err(Fault::Refused(error) | Fault::Broken(error)) => {
                return Err(format!("the bucket cannot be used: {error}"));
            }
        }
        if matches!(self.0.signing, Signing::Public) {
            tracing::warn!("URLs of blobs are not signed: clients can pull only if the bucket is public");
        }
        Ok(self)
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let got = self.0.client.get(&self.0.place, key).await;
        got.map_err(|fault| fault.at("get"))
    }

    pub(super) async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let stored = self.0.client.stored(&self.0.place, key).await;
        let stored = stored.map_err(|fault| fault.at("size"))?;
        Ok(stored.map(|stored| stored.size))
    }

    pub(super) async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let put = self.0.client.put(&self.0.place, key, &body, false).await;
        put.map(drop).map_err(|fault| fault.at("put"))
    }

    pub(super) async fn create(&self, key: &Key, body: Bytes) -> Result<bool, StoreError> {
        let put = self.0.client.put(&self.0.place, key, &body, true).await;
        put.map_err(|fault| fault.at("create"))
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.0.client.delete(&self.0.place, key).await;
        deleted.map_err(|fault| fault.at("delete"))
    }

    pub(super) async fn list(&self, prefix: &Prefix) -> Result<Vec<(String, Seconds)>, StoreError> {
        let listed = self.0.client.list(&self.0.place, prefix).await;
        listed.map_err(|fault| fault.at("list"))
    }

    pub(super) async fn upload(&self, digest: &Digest, file: &Path) -> Result<(), StoreError> {
        let uploaded = self.0.client.upload(&self.0.place, digest, file).await;
        uploaded.map_err(|fault| fault.at("upload"))
    }

    pub(super) async fn download(&self, digest: &Digest, file: &Path) -> Result<bool, StoreError> {
        let read = async {
            let file = File::create(file).await?;
            self.0
                .client
                .read(&self.0.place, &Key::Blob(*digest), Some(file))
                .await
        };
        let read = read.await.map_err(|fault: Fault| fault.at("download"))?;
        Ok(read == Some(*digest))
    }

    pub(super) async fn intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let key = Key::Blob(*digest);
        let failed = |fault: Fault| fault.at("intact");
        let stored = self.0.client.stored(&self.0.place, &key).await.map_err(failed)?;
        match stored {
            Some(Stored {
                size: stored,
                digest: noted,
            }) if stored == size => match noted {
                Some(noted) => Ok(noted == *digest),
                None => {
                    let read = self
                        .0
                        .client
                        .read(&self.0.place, &key, None)
                        .await
                        .map_err(failed)?;
                    Ok(read == Some(*digest))
                }
            },
            Some(_) | None => Ok(false),
        }
    }

    /// Who signs URLs, without anything secret.
    pub(super) fn signer(&self) -> Signer {
        match &self.0.signing {
            Signing::Local(account) => Signer::Own(account.email.clone()),
            Signing::Remote(email) => Signer::Remote(email.clone()),
            Signing::Public => Signer::Nobody,
        }
    }

    /// With a key at hand, with no call. Google's own signatures cost one; public URLs have none.
    pub(super) async fn presign(&self, digest: &Digest, method: &Method) -> Result<String, StoreError> {
        let (place, key, now) = (&self.0.place, Key::Blob(*digest), SystemTime::now());
        let signed = match &self.0.signing {
            Signing::Local(account) => {
                let unsigned = Unsigned::new(method, place, &key, &account.email, now, LIFE);
                let signature = account.sign(unsigned.text.as_bytes());
                signature
                    .map(|bytes| unsigned.with(&bytes))
                    .map_err(Fault::broken)
            }
            Signing::Remote(email) => {
                let unsigned = Unsigned::new(method, place, &key, email, now, LIFE);
                let signature = self.sign_blob(email, &unsigned.text).await;
                signature.map(|bytes| unsigned.with(&bytes))
            }
            Signing::Public => Ok(format!("{}{}", place.endpoint(), place.path(&key))),
        };
        signed.map_err(|fault| fault.at("presign"))
    }

    async fn sign_blob(&self, email: &str, text: &str) -> Result<Vec<u8>, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Signed {
            signed_blob: String,
        }
        let url = format!(
            "{}/v1/projects/-/serviceAccounts/{}:signBlob",
            self.0.iam,
            encode(email)
        );
        let call = Call::new(Method::POST, url)
            .header(::http::header::CONTENT_TYPE, "application/json")
            .body(json!({"payload": STANDARD.encode(text)}).to_string());
        let reply = self.0.client.call(&call, &[]).await?;
        let signed: Signed = serde_json::from_slice(&reply.body).map_err(Fault::broken)?;
        STANDARD.decode(signed.signed_blob).map_err(Fault::broken)
    }
}
