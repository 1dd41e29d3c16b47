//! Blobs to files, or to nothing but their digest, in pieces.

use std::io::SeekFrom;

use http::header::RANGE;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::client::{Call, Client};
use super::fault::Fault;
use super::place::Place;
use super::retry::Tries;
use crate::digest::Digest;
use crate::key::Key;

/// How far a download is.
struct Download {
    hasher: Sha256,
    file: Option<File>,
    done: u64,
    /// Which of the objects that had this name over time is being read.
    generation: Option<String>,
}

impl Client {
    /// Reads a blob to its end, into a file where there is one: the digest of what was read. A connection that breaks is
    /// taken up where it was, in the same generation of the object.
    pub(super) async fn read(
        &self,
        place: &Place,
        key: &Key,
        file: Option<File>,
    ) -> Result<Option<Digest>, Fault> {
        let mut tries = Tries::of_transfer(self.patience);
        let mut download = Download {
            hasher: Sha256::new(),
            file,
            done: 0,
            generation: None,
        };
        loop {
            let before = download.done;
            match self.go_on(place, key, &mut download).await {
                Ok(false) => return Ok(None),
                Ok(true) => {
                    if let Some(file) = &mut download.file {
                        file.flush().await?;
                    }
                    return Ok(Some(Digest::from_hasher(download.hasher)));
                }
                Err(fault) => {
                    if download.done > before {
                        tries.moved();
                    }
                    tries.after(fault).await?;
                }
            }
        }
    }

    /// Whether there is an object; then it has been read to its end.
    async fn go_on(&self, place: &Place, key: &Key, download: &mut Download) -> Result<bool, Fault> {
        let mut url = format!("{}?alt=media", place.object(key));
        if let Some(generation) = &download.generation {
            url = format!("{url}&generation={generation}");
        }
        let mut call = Call::new(Method::GET, url);
        if download.done > 0 {
            call = call.header(RANGE, format!("bytes={}-", download.done));
        }
        let time = self.patience.stall;
        let request = self.request(&call, "", time).await?;
        let (parts, mut body) = self.http().send(request, time).await?.into_parts();
        match (parts.status, download.done) {
            (StatusCode::NOT_FOUND, 0) => return Ok(false),
            (StatusCode::NOT_FOUND, _) => {
                download.restart().await?;
                return Err(Fault::network("the object was replaced while it was read"));
            }
            (StatusCode::OK, 0) | (StatusCode::PARTIAL_CONTENT, 1..) => {}
            (StatusCode::OK, _) => return Err(Fault::broken("the whole was sent, and a part was asked for")),
            (status, _) => {
                let body = timeout(time, body.collect()).await.map_err(Fault::late)?;
                let body = body.map_err(Fault::network)?.to_bytes();
                return Err(Fault::status(status, &parts.headers, &body));
            }
        }
        if download.done == 0 {
            let generation = parts.headers.get("x-goog-generation");
            download.generation = generation
                .and_then(|number| number.to_str().ok())
                .map(str::to_owned);
        }
        while let Some(frame) = timeout(time, body.frame()).await.map_err(Fault::late)? {
            if let Ok(piece) = frame.map_err(Fault::network)?.into_data() {
                if let Some(file) = &mut download.file {
                    file.write_all(&piece).await?;
                }
                download.hasher.update(&piece);
                download.done += piece.len() as u64;
            }
        }
        Ok(true)
    }
}

impl Download {
    async fn restart(&mut self) -> Result<(), Fault> {
        self.hasher = Sha256::new();
        self.done = 0;
        self.generation = None;
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0)).await?;
            file.set_len(0).await?;
        }
        Ok(())
    }
}
