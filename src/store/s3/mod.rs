//! A bucket that speaks S3: AWS, Garage, MinIO, R2, and GCS by its XML interface with HMAC keys.
//!
//! `s3://bucket/prefix?endpoint=https://…&region=…&path-style&checksum=md5`
//!
//! - `endpoint`: where it is not AWS. `path-style`: the bucket in the path instead of in the host's name.
//! - `checksum`: by what the service checks a body that is streamed to it: `sha256` (of AWS and most others), or `md5`
//!   (of GCS, where it is the default).
//!
//! GCS: `s3://bucket?endpoint=https://storage.googleapis.com&path-style`, with a service account's HMAC key in
//! `LAMINIX_STORE_ACCESS_KEY` and `LAMINIX_STORE_SECRET_KEY`.
//!
//! The SDK's own checksums are off (`WhenRequired`), because the others refuse them. What replaces them: a body at hand is
//! signed with its sha256; a file is sent with the checksum of its digest; what is read is compared with its digest.

mod bucket;
mod presign;
mod transfer;

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use super::StoreError;
use crate::aws::{self, ATTEMPT, BUDGET, Kind, Renewed, Response};
use crate::digest::Digest;
use crate::key::{Key, Prefix};
use crate::record::Seconds;

pub(super) use self::bucket::Bucket;

/// The user metadata of a blob whose content was hashed by whoever wrote it, and checked by the service as it arrived.
const DIGEST: &str = "digest";

/// A body that breaks off is asked for again this often.
const READS: u32 = 2;

/// A store in a bucket. Clones share their connections.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    credentials: Renewed,
    bucket: Bucket,
}

impl S3Store {
    /// The store in a bucket. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) async fn open(bucket: Bucket) -> Result<Self, String> {
        let service = aws::service(&bucket.access).await?;
        let config = aws_sdk_s3::config::Builder::from(&service.sdk)
            .force_path_style(bucket.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        Ok(Self {
            client: Client::from_conf(config.build()),
            credentials: service.credentials,
            bucket,
        })
    }

    /// The access key that requests are signed with now, and when it ends, if it says so.
    pub(super) async fn access_key(&self) -> Result<(String, Option<SystemTime>), StoreError> {
        let credentials = self.credentials.credentials().await;
        let credentials = credentials.map_err(|error| StoreError::Refused("credentials", error.into()))?;
        Ok((credentials.access_key_id().to_owned(), credentials.expiry()))
    }

    fn object(&self, key: &Key) -> String {
        self.bucket.object(&key.path())
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let reading = async {
            let mut read = self.read(key).await;
            for _ in 1..READS {
                // the SDK tries again until there are headers, and leaves the body to us
                if !matches!(read, Err(StoreError::Busy("body", _))) {
                    break;
                }
                read = self.read(key).await;
            }
            read
        };
        // one budget for all of it: the SDK's begins anew with each read, and ends with the headers
        within(BUDGET, reading).await?
    }

    async fn read(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket.name)
            .key(self.object(key));
        let Some(object) = present("get", request.send().await)? else {
            return Ok(None);
        };
        let (mut body, mut content) = (object.body, BytesMut::new());
        // a body that stands still is given up while there is time to ask again
        while let Some(piece) = within(ATTEMPT, body.next()).await? {
            content.extend_from_slice(&piece.map_err(|error| StoreError::Busy("body", error.into()))?);
        }
        Ok(Some(content.freeze()))
    }

    pub(super) async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let request = self
            .client
            .head_object()
            .bucket(&self.bucket.name)
            .key(self.object(key));
        let Some(head) = present("size", request.send().await)? else {
            return Ok(None);
        };
        length(head.content_length()).map(Some)
    }

    pub(super) async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.putting(key, body)
            .send()
            .await
            .map(drop)
            .map_err(failed("put"))
    }

    pub(super) async fn create(&self, key: &Key, body: Bytes) -> Result<bool, StoreError> {
        let created = self.putting(key, body.clone()).if_none_match("*").send().await;
        match created {
            Ok(_) => Ok(true),
            Err(error) => match aws::kind(&error) {
                Kind::Condition => Ok(false),
                // it knows no conditions: work is done twice then, and nothing worse
                Kind::Unknown => self.put(key, body).await.map(|()| true),
                Kind::Absent | Kind::Refused | Kind::Busy | Kind::Broken => Err(failed("create")(error)),
            },
        }
    }

    fn putting(
        &self,
        key: &Key,
        body: Bytes,
    ) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.bucket.name)
            .key(self.object(key))
            .content_type(key.content_type())
            .body(ByteStream::from(body))
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket.name)
            .key(self.object(key));
        present("delete", request.send().await).map(drop)
    }

    pub(super) async fn list(&self, prefix: &Prefix) -> Result<Vec<(String, Seconds)>, StoreError> {
        let prefix = self.bucket.object(&prefix.path());
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket.name)
            .prefix(&prefix);
        let mut pages = request.into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(failed("list"))?.contents() {
                let name = object.key().and_then(|key| key.strip_prefix(&prefix));
                let written = object.last_modified().map(|time| time.secs().try_into());
                if let (Some(name), Some(Ok(written))) = (name, written) {
                    objects.push((name.to_owned(), written));
                }
            }
        }
        Ok(objects)
    }

    pub(super) async fn presign(&self, digest: &Digest, method: &http::Method) -> Result<String, StoreError> {
        presign::presign(self, digest, method).await
    }
}

/// Absence as a value.
fn present<T, E>(at: &'static str, result: Result<T, SdkError<E, Response>>) -> Result<Option<T>, StoreError>
where
    E: std::error::Error + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
    SdkError<E, Response>: RequestId,
{
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if aws::kind(&error) == Kind::Absent => Ok(None),
        Err(error) => Err(failed(at)(error)),
    }
}

fn failed<E>(at: &'static str) -> impl Fn(SdkError<E, Response>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
    SdkError<E, Response>: RequestId,
{
    move |error| {
        let kind = aws::kind(&error);
        let source = aws::told(error);
        match kind {
            Kind::Refused => StoreError::Refused(at, source),
            Kind::Busy => StoreError::Busy(at, source),
            Kind::Absent | Kind::Condition | Kind::Unknown | Kind::Broken => StoreError::Broken(at, source),
        }
    }
}

/// Bodies have a limit of time as well.
async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(time, work)
        .await
        .map_err(|slow| StoreError::Busy("body", slow.into()))
}

fn length(length: Option<i64>) -> Result<u64, StoreError> {
    length
        .and_then(|length| u64::try_from(length).ok())
        .ok_or_else(|| StoreError::Broken("size", "an object without a length".into()))
}
