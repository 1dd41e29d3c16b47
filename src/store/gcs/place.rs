//! `gs://BUCKET[/PREFIX][?endpoint=URL]`: which bucket, and what of it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::address::{decode, options};
use crate::key::{Key, Prefix};

/// Where Google's API is.
const GOOGLE: &str = "https://storage.googleapis.com";

/// Everything but the unreserved characters (RFC 3986, section 2.3).
const STRICT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same for a path, whose levels stay apart.
const PATH: &AsciiSet = &STRICT.remove(b'/');

/// Percent-encodes one value: of a query, or a level of a path.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// A bucket, or what is under a prefix of it, at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    bucket: String,
    /// Without slashes at its ends; it may be empty.
    prefix: String,
    /// Without a slash at its end.
    endpoint: String,
}

impl Place {
    /// Reads what follows `gs://`. A prefix is percent-decoded.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut options = options(query)?;
        let endpoint = match options.remove("endpoint") {
            Some(endpoint) => origin(&endpoint)?,
            None => GOOGLE.to_owned(),
        };
        if let Some(option) = options.keys().next() {
            return Err(format!(
                "`{option}` says nothing to a gs:// store: it takes endpoint=URL"
            ));
        }
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if !(3..=222).contains(&bucket.len()) || !bucket.bytes().all(named) {
            return Err(format!(
                "`{bucket}` is no bucket's name: write gs://BUCKET[/PREFIX]"
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let prefix = decode(prefix).ok_or_else(|| format!("`{prefix}` is not UTF-8"))?;
        let level = |level: &str| !matches!(level, "" | "." | "..") && !level.chars().any(char::is_control);
        if !prefix.is_empty() && !prefix.split('/').all(level) {
            return Err(format!(
                "`{prefix}` is no prefix: it has an empty level, `.`, `..` or a control character"
            ));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix,
            endpoint,
        })
    }

    /// Scheme, host and port.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Host and port, as the Host header has them.
    pub(super) fn host(&self) -> &str {
        self.endpoint.split_once("://").map_or("", |(_, host)| host)
    }

    /// Whether requests are encrypted. A token is never sent in the clear.
    pub(super) fn is_secure(&self) -> bool {
        self.endpoint.starts_with("https://")
    }

    /// An object's name in the bucket.
    pub(super) fn name(&self, key: &Key) -> String {
        self.within(key.path())
    }

    /// What the names of objects below a prefix begin with.
    pub(super) fn below(&self, prefix: &Prefix) -> String {
        self.within(prefix.path())
    }

    fn within(&self, path: String) -> String {
        if self.prefix.is_empty() {
            path
        } else {
            format!("{}/{path}", self.prefix)
        }
    }

    /// The path of an object in the XML API, which serves downloads and signed URLs.
    pub(super) fn path(&self, key: &Key) -> String {
        format!("/{}/{}", self.bucket, utf8_percent_encode(&self.name(key), PATH))
    }

    /// An object in the JSON API: `GET` and `DELETE`.
    pub(super) fn object(&self, key: &Key) -> String {
        format!(
            "{}/storage/v1/b/{}/o/{}",
            self.endpoint,
            self.bucket,
            encode(&self.name(key))
        )
    }

    /// All objects in the JSON API.
    pub(super) fn objects(&self) -> String {
        format!("{}/storage/v1/b/{}/o", self.endpoint, self.bucket)
    }

    /// Where the JSON API takes an upload.
    pub(super) fn uploads(&self, key: &Key) -> String {
        format!(
            "{}/upload/storage/v1/b/{}/o?name={}",
            self.endpoint,
            self.bucket,
            encode(&self.name(key))
        )
    }
}

fn origin(url: &str) -> Result<String, String> {
    let origin = url.trim_end_matches('/');
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let plain = |host: &&str| {
        host.parse::<http::uri::Authority>()
            .is_ok_and(|authority| !authority.as_str().contains('@'))
    };
    match host.filter(plain) {
        Some(_) => Ok(origin.to_owned()),
        None => Err(format!("`{url}` is no endpoint: write https://HOST[:PORT]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn urls_name_places() {
        let key = Key::Blob(Digest::of(b""));
        let blob = key.path();
        for (url, name, object) in [
            (
                "bucket",
                blob.clone(),
                format!("{GOOGLE}/storage/v1/b/bucket/o/{}", encode(&blob)),
            ),
            (
                "bucket/",
                blob.clone(),
                format!("{GOOGLE}/storage/v1/b/bucket/o/{}", encode(&blob)),
            ),
            (
                "my.bucket/a%20b/%C3%A9+/",
                format!("a b/é+/{blob}"),
                format!(
                    "{GOOGLE}/storage/v1/b/my.bucket/o/a%20b%2F%C3%A9%2B%2F{}",
                    encode(&blob)
                ),
            ),
            (
                "bucket/p?endpoint=http%3A%2F%2F127.0.0.1:4443/",
                format!("p/{blob}"),
                format!(
                    "http://127.0.0.1:4443/storage/v1/b/bucket/o/p%2F{}",
                    encode(&blob)
                ),
            ),
        ] {
            let place = Place::parse(url).unwrap();
            assert_eq!((place.name(&key), place.object(&key)), (name, object), "{url}");
        }
        let emulator = Place::parse("bucket?endpoint=http://localhost:1").unwrap();
        assert_eq!((emulator.host(), emulator.is_secure()), ("localhost:1", false));
        assert!(Place::parse("bucket").unwrap().is_secure());
    }

    #[test]
    fn what_is_no_place_is_said_so() {
        for url in [
            "",
            "ab",
            "Bucket",
            "buck et",
            "bucket//a",
            "bucket/a//b",
            "bucket/../b",
            "bucket/%00",
            "bucket/%ff",
            "bucket?endpoint=ftp://x",
            "bucket?endpoint=http://",
            "bucket?endpoint=http://x/path",
            "bucket?endpoint=http://user@x",
            "bucket?region=x",
        ] {
            assert!(Place::parse(url).is_err(), "{url}");
        }
    }
}
