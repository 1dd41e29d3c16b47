//! Files to and from a bucket: verified both ways, with memory that does not grow with them.
//!
//! A file of up to [`WHOLE`] goes in one request, streamed from disk, with the checksum that the service compares. A larger
//! one goes in parts (S3, "Multipart upload"), each with its own checksum, hashed again as they are read, and completed
//! only if that is the digest. What is not completed is aborted, also when the upload is dropped half-way.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::place::Checksum;
use super::{DIGEST, S3Store, failed, length, present};
use crate::digest::Digest;
use crate::key::Key;
use crate::store::StoreError;

/// A larger file is sent in parts. A request that fails is sent anew as a whole, so it is not longer than this.
const WHOLE: u64 = 64 << 20;

/// The size of a part, unless that would make too many. S3 wants 5 MiB at least and 10,000 at most.
const PART: u64 = 16 << 20;
const PARTS: u64 = 10_000;

/// Parts on their way at once: this many are in memory.
const AT_ONCE: usize = 3;

/// A try to send or to receive so much may take this long.
const ATTEMPT: Duration = Duration::from_secs(300);

/// All tries.
const BUDGET: Duration = Duration::from_secs(900);

/// A download that breaks off begins anew this often.
const READS: u32 = 3;

impl S3Store {
    pub(in crate::store) async fn upload(&self, digest: &Digest, file: &Path) -> Result<(), StoreError> {
        let size = hashed(file, *digest).await?;
        if size <= WHOLE {
            self.upload_whole(digest, file).await?;
        } else {
            self.upload_parts(digest, file, size).await?;
        }
        // some services do not compare what they were told to
        if self.size(&Key::Blob(*digest)).await? == Some(size) {
            return Ok(());
        }
        Err(StoreError::Broken(
            "upload",
            "what arrived has another size".into(),
        ))
    }

    async fn upload_whole(&self, digest: &Digest, file: &Path) -> Result<(), StoreError> {
        let body = ByteStream::from_path(file)
            .await
            .map_err(|error| StoreError::Broken("upload", error.into()))?;
        let key = Key::Blob(*digest);
        let request = self
            .client
            .put_object()
            .bucket(&self.place.bucket)
            .key(self.object(&key));
        let request = request
            .content_type(key.content_type())
            .metadata(DIGEST, digest.to_string())
            .body(body);
        let request = match self.place.checksum {
            Checksum::Sha256 => request.checksum_sha256(BASE64.encode(digest.bytes())),
            Checksum::Md5 => request.content_md5(md5_of(file).await?),
        };
        let slow = aws_sdk_s3::Config::builder().timeout_config(slow());
        request
            .customize()
            .config_override(slow)
            .send()
            .await
            .map(drop)
            .map_err(failed("upload"))
    }

    async fn upload_parts(&self, digest: &Digest, file: &Path, size: u64) -> Result<(), StoreError> {
        let key = Key::Blob(*digest);
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.place.bucket)
            .key(self.object(&key));
        let request = request
            .content_type(key.content_type())
            .metadata(DIGEST, digest.to_string());
        let request = match self.place.checksum {
            Checksum::Sha256 => request.checksum_algorithm(aws_sdk_s3::types::ChecksumAlgorithm::Sha256),
            Checksum::Md5 => request,
        };
        let created = request.send().await.map_err(failed("upload"))?;
        let id = created
            .upload_id()
            .ok_or_else(|| StoreError::Broken("upload", "an upload without an id".into()))?;
        let upload = Upload {
            store: self.clone(),
            object: self.object(&key),
            id: id.to_owned(),
            open: true,
        };
        let parts = upload.send(digest, file, part_size(size)).await?;
        upload.complete(parts).await
    }

    pub(in crate::store) async fn download(&self, digest: &Digest, file: &Path) -> Result<bool, StoreError> {
        for _ in 1..READS {
            match self.copy(digest, Some(file)).await {
                Err(StoreError::Busy(_, error)) => debug!(error, "a download broke off and begins anew"),
                read => return Ok(read?.is_some_and(|(read, _)| read == *digest)),
            }
        }
        Ok(self
            .copy(digest, Some(file))
            .await?
            .is_some_and(|(read, _)| read == *digest))
    }

    /// Whoever stored a blob by [`S3Store::upload`] has hashed it, and the service has compared what arrived: that is
    /// believed. Any other is read.
    pub(in crate::store) async fn intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let request = self
            .client
            .head_object()
            .bucket(&self.place.bucket)
            .key(self.object(&Key::Blob(*digest)));
        let Some(head) = present("intact", request.send().await)? else {
            return Ok(false);
        };
        if length(head.content_length())? != size {
            return Ok(false);
        }
        let attested = head.metadata().and_then(|metadata| metadata.get(DIGEST));
        if attested.is_some_and(|attested| *attested == digest.to_string()) {
            return Ok(true);
        }
        Ok(self.copy(digest, None).await? == Some((*digest, size)))
    }

    /// Reads a blob, into a file if there is one: the digest and the size of what was read.
    async fn copy(&self, digest: &Digest, file: Option<&Path>) -> Result<Option<(Digest, u64)>, StoreError> {
        let local = |error: io::Error| StoreError::Broken("download", error.into());
        let request = self
            .client
            .get_object()
            .bucket(&self.place.bucket)
            .key(self.object(&Key::Blob(*digest)));
        let Some(object) = present("download", request.send().await)? else {
            return Ok(None);
        };
        let mut file = match file {
            Some(file) => Some(tokio::fs::File::create(file).await.map_err(local)?),
            None => None,
        };
        let (mut body, mut hasher, mut size) = (object.body, Sha256::new(), 0);
        let reading = async {
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| StoreError::Busy("body", error.into()))?;
                hasher.update(&piece);
                size += piece.len() as u64;
                if let Some(file) = &mut file {
                    file.write_all(&piece).await.map_err(local)?;
                }
            }
            if let Some(file) = &mut file {
                file.flush().await.map_err(local)?;
            }
            Ok(())
        };
        super::within(BUDGET, reading).await??;
        Ok(Some((Digest::from_hasher(hasher), size)))
    }
}

/// A multipart upload that is open. Parts that nobody completes cost money and are seen by nobody: they are aborted.
struct Upload {
    store: S3Store,
    object: String,
    id: String,
    open: bool,
}

impl Upload {
    /// Sends all parts, a few at once.
    async fn send(&self, digest: &Digest, file: &Path, size: u64) -> Result<Vec<CompletedPart>, StoreError> {
        let local = |error: io::Error| StoreError::Broken("upload", error.into());
        let mut file = tokio::fs::File::open(file).await.map_err(local)?.into_std().await;
        let (mut hasher, mut parts, mut sending) = (Sha256::new(), Vec::new(), JoinSet::new());
        for number in 1.. {
            let read = tokio::task::spawn_blocking(move || {
                let mut part = Vec::new();
                (&mut file).take(size).read_to_end(&mut part)?;
                hasher.update(&part);
                io::Result::Ok((file, hasher, part))
            });
            let part;
            (file, hasher, part) = read.await.map_err(|error| local(error.into()))?.map_err(local)?;
            if part.is_empty() {
                break;
            }
            if sending.len() == AT_ONCE {
                parts.extend(joined(&mut sending).await?);
            }
            sending.spawn(self.part(number, part.into()));
        }
        while !sending.is_empty() {
            parts.extend(joined(&mut sending).await?);
        }
        if Digest::from_hasher(hasher) != *digest {
            return Err(StoreError::Broken(
                "upload",
                format!("the file is not {digest}").into(),
            ));
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    fn part(
        &self,
        number: i32,
        body: Bytes,
    ) -> impl Future<Output = Result<CompletedPart, StoreError>> + Send + 'static {
        let (store, object, id) = (self.store.clone(), self.object.clone(), self.id.clone());
        async move {
            let request = store.client.upload_part().bucket(&store.place.bucket).key(object);
            let request = request.upload_id(id).part_number(number);
            let request = match store.place.checksum {
                Checksum::Sha256 => request.checksum_sha256(BASE64.encode(Sha256::digest(&body))),
                Checksum::Md5 => request.content_md5(BASE64.encode(Md5::digest(&body))),
            };
            let slow = aws_sdk_s3::Config::builder().timeout_config(slow());
            let sent = request
                .body(ByteStream::from(body))
                .customize()
                .config_override(slow)
                .send()
                .await;
            let sent = sent.map_err(failed("upload"))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag().map(str::to_owned))
                .set_checksum_sha256(sent.checksum_sha256().map(str::to_owned))
                .build())
        }
    }

    async fn complete(mut self, parts: Vec<CompletedPart>) -> Result<(), StoreError> {
        let store = &self.store;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = store
            .client
            .complete_multipart_upload()
            .bucket(&store.place.bucket)
            .key(&self.object);
        let slow = aws_sdk_s3::Config::builder().timeout_config(slow());
        let request = request.upload_id(&self.id).multipart_upload(parts);
        request
            .customize()
            .config_override(slow)
            .send()
            .await
            .map_err(failed("upload"))?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let request = self
            .store
            .client
            .abort_multipart_upload()
            .bucket(&self.store.place.bucket);
        let request = request.key(&self.object).upload_id(&self.id);
        // there is no runtime when the process ends: the bucket's lifecycle aborts what is left then
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = request.send().await {
                    warn!(
                        error = crate::aws::told(error),
                        "an upload cannot be aborted: its parts are left to the lifecycle"
                    );
                }
            });
        }
    }
}

async fn joined(
    sending: &mut JoinSet<Result<CompletedPart, StoreError>>,
) -> Result<Option<CompletedPart>, StoreError> {
    match sending.join_next().await {
        None => Ok(None),
        Some(Ok(part)) => part.map(Some),
        Some(Err(stopped)) => Err(StoreError::Broken("upload", stopped.into())),
    }
}

/// Large enough that the file has no more parts than there may be, in whole MiB.
fn part_size(size: u64) -> u64 {
    size.div_ceil(PARTS).next_multiple_of(1 << 20).max(PART)
}

fn slow() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(BUDGET)
        .build()
}

/// The file's size, if it is the digest's.
async fn hashed(file: &Path, digest: Digest) -> Result<u64, StoreError> {
    let file = file.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        let size = io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
        io::Result::Ok((Digest::from_hasher(hasher), size))
    });
    match hashed.await {
        Ok(Ok((found, size))) if found == digest => Ok(size),
        Ok(Ok(_)) => Err(StoreError::Broken(
            "upload",
            format!("the file is not {digest}").into(),
        )),
        Ok(Err(error)) => Err(StoreError::Broken("upload", error.into())),
        Err(error) => Err(StoreError::Broken("upload", error.into())),
    }
}

async fn md5_of(file: &Path) -> Result<String, StoreError> {
    let file = file.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hasher = Md5::new();
        io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
        io::Result::Ok(BASE64.encode(hasher.finalize()))
    });
    match hashed.await {
        Ok(result) => result.map_err(|error| StoreError::Broken("upload", error.into())),
        Err(error) => Err(StoreError::Broken("upload", error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_has_few_enough_parts() {
        assert_eq!(part_size(WHOLE + 1), PART);
        for size in [1u64 << 30, 200 << 30, 5 << 40] {
            assert!(size.div_ceil(part_size(size)) <= PARTS, "{size}");
        }
        // all that may be in memory at once
        assert!(AT_ONCE as u64 * PART <= 64 << 20);
    }
}
