//! Files to blobs: in one request where they are small, else by a resumable upload
//! (<https://cloud.google.com/storage/docs/performing-resumable-uploads>).
//!
//! The file is read twice: once to know its digest, before anything is sent, and once as it is sent, in pieces. What
//! arrived is checked by the MD5 of the first reading, by Google, before the object is there.

use std::io::{self, Read as _, SeekFrom};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncSeekExt as _;

use super::client::{Call, Client};
use super::fault::Fault;
use super::object::{Sums, resource};
use super::place::Place;
use super::retry::Tries;
use crate::body::Body;
use crate::digest::Digest;
use crate::key::Key;

/// How far an upload is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The object is there.
    Done,
    /// This many bytes are kept.
    Kept(u64),
    /// Google has forgotten it.
    Gone,
}

impl Client {
    /// Stores a file as a blob.
    pub(super) async fn upload(&self, place: &Place, digest: &Digest, file: &Path) -> Result<(), Fault> {
        let key = Key::Blob(*digest);
        let (owned, small) = (file.to_owned(), self.small);
        let (sums, size, whole) = tokio::task::spawn_blocking(move || read(&owned, small))
            .await
            .map_err(Fault::broken)??;
        if sums.digest != *digest {
            return Err(Fault::broken(format!("the file is not {digest}")));
        }
        match whole {
            Some(body) => self.put(place, &key, &body, false).await.map(drop),
            None => self.resumable(place, &key, &sums, file, size).await,
        }
    }

    async fn resumable(
        &self,
        place: &Place,
        key: &Key,
        sums: &Sums,
        file: &Path,
        size: u64,
    ) -> Result<(), Fault> {
        let mut session = self.session(place, key, sums, size).await?;
        let mut tries = Tries::of_transfer(self.patience);
        let mut kept = 0;
        loop {
            let mut state = self.send(&session, file, kept, size).await;
            if let Err(fault @ Fault::Busy(..)) = state {
                state = match tries.after(fault).await {
                    Ok(()) => self.state(&session, size).await,
                    Err(fault) => Err(fault),
                };
            }
            let paused = match state {
                Ok(State::Done) => return Ok(()),
                Ok(State::Kept(now)) if now > kept => {
                    kept = now;
                    tries.moved();
                    Ok(())
                }
                Ok(State::Kept(now)) => {
                    kept = now;
                    tries
                        .after(Fault::network("no more is kept of what is sent"))
                        .await
                }
                Ok(State::Gone) => match tries.after(Fault::network("the upload is forgotten")).await {
                    Ok(()) => {
                        kept = 0;
                        self.session(place, key, sums, size)
                            .await
                            .map(|new| session = new)
                    }
                    Err(fault) => Err(fault),
                },
                Err(fault) => Err(fault),
            };
            if let Err(fault) = paused {
                self.abort(&session).await;
                return Err(fault);
            }
        }
    }

    /// Begins an upload: the URL that takes it, for a week.
    async fn session(&self, place: &Place, key: &Key, sums: &Sums, size: u64) -> Result<String, Fault> {
        let url = format!("{}&uploadType=resumable", place.uploads(key));
        let length = http::HeaderName::from_static("x-upload-content-length");
        let call = Call::new(Method::POST, url)
            .header(CONTENT_TYPE, "application/json")
            .header(length, size.to_string())
            .body(resource(key, sums).to_string());
        let reply = self.call(&call, &[]).await?;
        let location = reply.headers.get(LOCATION).and_then(|url| url.to_str().ok());
        location
            .map(str::to_owned)
            .ok_or_else(|| Fault::broken("an upload was begun, and there is no URL to send it to"))
    }

    /// Sends the file from here to its end.
    async fn send(&self, session: &str, path: &Path, from: u64, size: u64) -> Result<State, Fault> {
        if from == size {
            // all of it is kept, and the object is not there yet: the question completes it
            return self.state(session, size).await;
        }
        let mut file = tokio::fs::File::open(path).await?;
        file.seek(SeekFrom::Start(from)).await?;
        let body = Body::File {
            file,
            left: size - from,
        };
        let range = format!("bytes {from}-{}/{size}", size - 1);
        let call = Call::new(Method::PUT, session.to_owned())
            .bare()
            .header(CONTENT_RANGE, range);
        let request = self.request(&call, body, self.patience.request).await?;
        let (parts, body) = self.http().send(request, self.patience.stall).await?.into_parts();
        let body = tokio::time::timeout(self.patience.stall, body.collect())
            .await
            .map_err(Fault::late)?
            .map_err(Fault::network)?
            .to_bytes();
        state(parts.status, &parts.headers, &body)
    }

    /// Asks how far an upload is.
    async fn state(&self, session: &str, size: u64) -> Result<State, Fault> {
        let call = Call::new(Method::PUT, session.to_owned())
            .bare()
            .header(CONTENT_RANGE, format!("bytes */{size}"));
        let reply = self
            .call(
                &call,
                &[
                    StatusCode::PERMANENT_REDIRECT,
                    StatusCode::NOT_FOUND,
                    StatusCode::GONE,
                ],
            )
            .await?;
        state(reply.status, &reply.headers, &reply.body)
    }

    /// Lets what was sent go at once. One that is not aborted, as by a process that was killed, lapses in a week; it is no
    /// object, and costs nothing.
    async fn abort(&self, session: &str) {
        let call = Call::new(Method::DELETE, session.to_owned()).bare();
        if let Err(fault) = self.once(&call, &[], self.patience.request).await {
            // 499 is how Google says yes
            tracing::debug!(?fault, "an upload is given up");
        }
    }
}

fn state(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Result<State, Fault> {
    match status {
        StatusCode::PERMANENT_REDIRECT => {
            let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
            // without the header nothing is kept
            let Some(range) = range else {
                return Ok(State::Kept(0));
            };
            let last = range
                .strip_prefix("bytes=0-")
                .and_then(|last| last.parse::<u64>().ok());
            last.map(|last| State::Kept(last + 1))
                .ok_or_else(|| Fault::broken(format!("an upload is at `{range}`")))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(State::Gone),
        _ if status.is_success() => Ok(State::Done),
        _ => Err(Fault::status(status, headers, body)),
    }
}

/// Reads a file for its sums and its size, and keeps it where it is no longer than this.
fn read(file: &Path, most: u64) -> io::Result<(Sums, u64, Option<Bytes>)> {
    let mut file = std::fs::File::open(file)?;
    let (mut sha256, mut md5, mut size) = (Sha256::new(), Md5::new(), 0);
    let mut whole = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        sha256.update(&buffer[..read]);
        md5.update(&buffer[..read]);
        if size <= most {
            whole.extend_from_slice(&buffer[..read]);
        }
    }
    let sums = Sums {
        md5: STANDARD.encode(md5.finalize()),
        digest: Digest::from_hasher(sha256),
    };
    Ok((sums, size, (size <= most).then(|| whole.into())))
}
