//! The file store's side of its presigned URLs: GET, whole or one range (RFC 9110, section 14).

use std::io::SeekFrom;
use std::time::SystemTime;

use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tokio::fs::File;
use tokio::io::AsyncSeekExt as _;
use tracing::error;

use super::file::FileStore;
use super::presign::Check;
use crate::body::Body;

impl FileStore {
    /// Answers a request for one of the store's own URLs.
    pub async fn serve(&self, method: &Method, path_and_query: &str, headers: &HeaderMap) -> Response<Body> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        if method != Method::GET && method != Method::HEAD {
            let mut response = refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "only GET is signed here",
            );
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        let digest = match self
            .signer()
            .check(method.as_str(), path, query, SystemTime::now())
        {
            Check::Good(digest) => digest,
            Check::Forged => {
                return refuse(
                    StatusCode::FORBIDDEN,
                    "DENIED",
                    "the signature is not for this request",
                );
            }
            Check::Expired => {
                return refuse(
                    StatusCode::FORBIDDEN,
                    "DENIED",
                    "the URL has expired: ask the registry again",
                );
            }
        };
        let opened = match File::open(self.blob(&digest)).await {
            Ok(file) => file.metadata().await.map(|metadata| (file, metadata.len())),
            Err(error) => Err(error),
        };
        let (file, size) = match opened {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return refuse(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "there is no such blob");
            }
            Err(error) => return broken(&error),
        };
        let etag = format!("\"{digest}\"");
        let same = headers
            .get(IF_RANGE)
            .is_none_or(|tag| tag.as_bytes() == etag.as_bytes());
        let range = headers
            .get(RANGE)
            .filter(|_| same)
            .and_then(|range| range.to_str().ok());
        let mut response = match range.map_or(Wanted::All, |range| Wanted::parse(range, size)) {
            Wanted::All => content(file, 0, size).await,
            Wanted::Part { from, length } => content(file, from, length).await.map(|mut response| {
                let range = format!("bytes {from}-{}/{size}", from + length - 1);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                set(&mut response, CONTENT_RANGE, &range);
                response
            }),
            Wanted::Nothing => {
                let mut response = refuse(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "SIZE_INVALID",
                    "the blob is shorter than that",
                );
                set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
                return response;
            }
        }
        .unwrap_or_else(|error| broken(&error));
        set(&mut response, ETAG, &etag);
        set(&mut response, ACCEPT_RANGES, "bytes");
        set(
            &mut response,
            CACHE_CONTROL,
            "private, max-age=31536000, immutable",
        );
        response
    }
}

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part { from: u64, length: u64 },
    Nothing,
}

impl Wanted {
    /// One range is answered as such; several, other units and nonsense as if there were no header, which section 14.2
    /// of RFC 9110 allows.
    fn parse(header: &str, size: u64) -> Self {
        let Some((first, last)) = header
            .strip_prefix("bytes=")
            .and_then(|range| range.trim().split_once('-'))
        else {
            return Self::All;
        };
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<u64>().ok())
                .flatten()
        };
        let (from, to) = match (first.is_empty(), last.is_empty()) {
            (false, false) => match (number(first), number(last)) {
                (Some(from), Some(to)) if from <= to => (from, to.min(size.saturating_sub(1))),
                _ => return Self::All,
            },
            (false, true) => match number(first) {
                Some(from) => (from, size.saturating_sub(1)),
                None => return Self::All,
            },
            (true, false) => match number(last) {
                Some(0) => return Self::Nothing,
                Some(length) => (size.saturating_sub(length), size.saturating_sub(1)),
                None => return Self::All,
            },
            (true, true) => return Self::All,
        };
        if from >= size {
            Self::Nothing
        } else {
            Self::Part {
                from,
                length: to - from + 1,
            }
        }
    }
}

async fn content(mut file: File, from: u64, length: u64) -> std::io::Result<Response<Body>> {
    if from > 0 {
        file.seek(SeekFrom::Start(from)).await?;
    }
    let mut response = Response::new(Body::File { file, left: length });
    set(&mut response, CONTENT_TYPE, "application/octet-stream");
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    Ok(response)
}

fn broken(error: &std::io::Error) -> Response<Body> {
    error!(%error, "cannot serve a blob");
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        "UNAVAILABLE",
        "the object store does not answer",
    )
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let length = body.len().to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "application/json");
    set(&mut response, CONTENT_LENGTH, &length);
    response
}

/// Header values here are made of digits, digests and constants, which are all visible ASCII.
fn set(response: &mut Response<Body>, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        let part = |from, length| Wanted::Part { from, length };
        for (header, size, wanted) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=2-", 10, part(2, 8)),
            ("bytes=2-99", 10, part(2, 8)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-99", 10, part(0, 10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=3-2", 10, Wanted::All),
            ("bytes=0-1,4-5", 10, Wanted::All),
            ("bytes=-", 10, Wanted::All),
            ("bytes=+1-2", 10, Wanted::All),
            ("bytes=99999999999999999999-", 10, Wanted::All),
            ("lines=0-1", 10, Wanted::All),
        ] {
            assert_eq!(Wanted::parse(header, size), wanted, "{header}");
        }
    }
}
