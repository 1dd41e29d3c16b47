//! Objects that are held in memory: the JSON API
//! (<https://cloud.google.com/storage/docs/json_api/v1/objects>).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use md5::Md5;
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;

use super::client::{Call, Client};
use super::fault::Fault;
use super::place::Place;
use crate::digest::Digest;
use crate::key::Key;

/// The name of an object's own note of its digest.
const NOTE: &str = "sha256";

/// What Google has to check of a body, and what is noted beside it.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    /// Checked by Google before the object is there.
    pub(super) md5: String,
    /// Noted with the object, so that it can be told later without reading it.
    pub(super) digest: Digest,
}

impl Sums {
    pub(super) fn of(body: &[u8]) -> Self {
        Self {
            md5: STANDARD.encode(Md5::digest(body)),
            digest: Digest::of(body),
        }
    }
}

/// What Google says of an object.
#[derive(Debug, Deserialize)]
struct Resource {
    size: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// What is stored, without its content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// In bytes.
    pub(super) size: u64,
    /// The digest that whoever wrote it noted, and whose MD5 Google checked.
    pub(super) digest: Option<Digest>,
}

impl Client {
    /// The object, checked by its MD5 where Google tells it.
    pub(super) async fn get(&self, place: &Place, key: &Key) -> Result<Option<Bytes>, Fault> {
        let call = Call::new(Method::GET, format!("{}?alt=media", place.object(key)));
        let reply = self.call(&call, &[StatusCode::NOT_FOUND]).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        match md5(&reply.headers) {
            Some(md5) if md5 != STANDARD.encode(Md5::digest(&reply.body)) => Err(Fault::broken(
                "what came is not what is stored: its MD5 is another one",
            )),
            Some(_) | None => Ok(Some(reply.body)),
        }
    }

    pub(super) async fn stored(&self, place: &Place, key: &Key) -> Result<Option<Stored>, Fault> {
        let url = format!("{}?fields=size,metadata", place.object(key));
        let reply = self
            .call(&Call::new(Method::GET, url), &[StatusCode::NOT_FOUND])
            .await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let resource: Resource = serde_json::from_slice(&reply.body).map_err(Fault::broken)?;
        Ok(Some(Stored {
            size: resource.size.parse().map_err(Fault::broken)?,
            digest: resource.metadata.get(NOTE).and_then(|digest| digest.parse().ok()),
        }))
    }

    /// Writes an object in one request; with `new`, only where there is none. Says whether it is this one that is there.
    pub(super) async fn put(&self, place: &Place, key: &Key, body: &Bytes, new: bool) -> Result<bool, Fault> {
        let sums = Sums::of(body);
        let condition = if new { "&ifGenerationMatch=0" } else { "" };
        let url = format!("{}&uploadType=multipart{condition}", place.uploads(key));
        // the content cannot hold its own digest
        let boundary = format!("laminix-{}", sums.digest.hex());
        let mut form = format!(
            "--{boundary}\r\nContent-Type: application/json\r\n\r\n{}\r\n--{boundary}\r\nContent-Type: {}\r\n\r\n",
            resource(key, &sums),
            key.content_type()
        )
        .into_bytes();
        form.extend_from_slice(body);
        form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let call = Call::new(Method::POST, url)
            .header(CONTENT_TYPE, format!("multipart/related; boundary={boundary}"))
            .body(form);
        let answers: &[StatusCode] = if new {
            &[StatusCode::PRECONDITION_FAILED]
        } else {
            &[]
        };
        let reply = self.call(&call, answers).await?;
        if reply.status.is_success() {
            return Ok(true);
        }
        // the first try may have been carried out, and its answer lost: then what is there is ours
        if reply.again {
            let stored = self.stored(place, key).await?;
            return Ok(stored.is_some_and(|stored| stored.digest == Some(sums.digest)));
        }
        Ok(false)
    }

    pub(super) async fn delete(&self, place: &Place, key: &Key) -> Result<(), Fault> {
        let call = Call::new(Method::DELETE, place.object(key));
        self.call(&call, &[StatusCode::NOT_FOUND]).await.map(drop)
    }
}

/// The object's description: never a Content-Encoding, with which Google would give out other bytes than were stored.
pub(super) fn resource(key: &Key, sums: &Sums) -> serde_json::Value {
    let mut resource = json!({
        "contentType": key.content_type(),
        "md5Hash": sums.md5,
        "metadata": {NOTE: sums.digest},
    });
    // what is public is cached for an hour if nothing is said, and records change
    if !matches!(key, Key::Blob(_)) {
        resource["cacheControl"] = "no-store".into();
    }
    resource
}

/// `x-goog-hash: crc32c=…,md5=…`, in one line or two. Objects that were put together from others have no MD5.
fn md5(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all("x-goog-hash")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|sum| sum.trim().strip_prefix("md5="))
        .filter(|md5| !md5.is_empty())
}
