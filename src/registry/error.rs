//! What goes wrong, as clients are told (distribution-spec, "Error Codes").
//!
//! The text of an error reaches a terminal only by some codes: on 5xx only crane shows it, and containerd (so Docker from
//! 29.7 on) shows that of 403 alone. So what a person can do something about is a 4xx. What is not in the package set is
//! 404, which the spec demands, and which all but containerd print with its text; what is there but is not served, or
//! failed to build, is 403 `DENIED`, which everything prints. Internals never leave: they are logged, once, here.
//!
//! # When the store or the queue fails
//!
//! 503 is `UNAVAILABLE` with `Retry-After`, and says which of the two it is. A call of the store or the queue has 10 s with all
//! its tries, at most 4; a request is answered in 28 s, because some clients give up on headers after 30 s. The tests read
//! this table and do what it says (`src/tests/faults.rs`):
//!
//! | fault | warm image, by tag or digest | new combination | cold image | blob, HEAD | blob, GET | `/v2/`, `/healthz` | in |
//! |---|---|---|---|---|---|---|---|
//! | store refuses connections | 503 | 503 | 503 | 503 | 307 | 200 | 15 s |
//! | store stalls before headers | 503 | 503 | 503 | 503 | 307 | 200 | 15 s |
//! | store stalls in bodies | 503 | 503 | 503 | 200 | 307 | 200 | 15 s |
//! | store resets connections | 503 | 503 | 503 | 503 | 307 | 200 | 15 s |
//! | store cuts bodies off | 503 | 503 | 503 | 200 | 307 | 200 | 15 s |
//! | store answers 503 | 503 | 503 | 503 | 503 | 307 | 200 | 15 s |
//! | store answers 500 | 503 | 503 | 503 | 503 | 307 | 200 | 15 s |
//! | store answers 429 | 503 | 503 | 503 | 503 | 307 | 200 | 15 s |
//! | store answers 403 | 503 | 503 | 503 | 503 | 307 | 200 | 15 s |
//! | store answers 403 to writes | 200 | 503 | 503 | 200 | 307 | 200 | 15 s |
//! | store stalls at writes | 200 | 503 | 503 | 200 | 307 | 200 | 20 s |
//! | store is slow by 2 s | 200 | 200 | 307 | 200 | 307 | 200 | 28 s |
//! | queue refuses connections | 200 | 200 | 503 | 200 | 307 | 200 | 20 s |
//! | queue stalls before headers | 200 | 200 | 503 | 200 | 307 | 200 | 20 s |
//! | queue resets connections | 200 | 200 | 503 | 200 | 307 | 200 | 20 s |
//! | queue answers 503 | 200 | 200 | 503 | 200 | 307 | 200 | 20 s |
//! | queue answers 403 | 200 | 200 | 503 | 200 | 307 | 200 | 20 s |
//!
//! The blob's redirect leads to the store, where the client sees the fault itself. When it is over, the same requests
//! succeed, the first time: nothing is held back, and a cold image is asked of a worker anew.
//!
//! | status | docker 20.10 | docker 29.7, containerd 2.3 | podman | crane |
//! |---|---|---|---|---|
//! | 503 `UNAVAILABLE`, 500 `UNKNOWN` | `received unexpected HTTP status: 503 Service Unavailable` | `unexpected status … 503 Service Unavailable`, after one more try | as docker 20.10 | the message, after 3 tries |
//! | 429 `TOOMANYREQUESTS` | `toomanyrequests:` and the message | `unexpected status … 429 Too Many Requests`, after 5 tries | the message, after 5 tries | the message |
//! | 403 `DENIED` | `pull access denied …: denied:` and the message | `denied:` and the message | `denied:` and the message | the message |
//! | 404 `MANIFEST_UNKNOWN` | `manifest unknown:` and the message | `not found` | `manifest unknown:` and the message | the message |

use std::error::Error as StdError;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use tracing::error;

use crate::body::Body;
use crate::queue::QueueError;
use crate::store::StoreError;

/// A client that was told to come again waits this long.
const RETRY: &str = "10";

/// The most of a message: beyond it the terminals of clients become unreadable.
const MESSAGE: usize = 4000;

/// Everything that a request can end in but an answer.
#[derive(Debug)]
pub enum Error {
    /// The repository's name is outside of the grammar.
    NameInvalid(String),
    /// The digest is none.
    DigestInvalid,
    /// There is no such manifest: an unknown package, an unknown tag, an unknown digest.
    ManifestUnknown(String),
    /// There is no such blob.
    BlobUnknown,
    /// What was asked for is not served, or could not be built.
    Denied(String),
    /// It is still being made.
    TooManyRequests(String),
    /// The registry does not do such things.
    Unsupported(&'static str),
    /// Nothing is there.
    NotFound,
    /// The object store fails.
    Store(StoreError),
    /// The queue fails.
    Queue(QueueError),
    /// Store and queue took all the time that a request has.
    Slow,
    /// A bug.
    Internal(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// A bug, or something that cannot be.
    pub fn internal(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }

    /// The status, the code, and what the client is told.
    fn parts(self) -> (StatusCode, &'static str, String) {
        match self {
            Self::NameInvalid(message) => (StatusCode::BAD_REQUEST, "NAME_INVALID", message),
            Self::DigestInvalid => (
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                crate::digest::DigestError.to_string(),
            ),
            Self::ManifestUnknown(message) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message),
            Self::BlobUnknown => (
                StatusCode::NOT_FOUND,
                "BLOB_UNKNOWN",
                "there is no such blob".to_owned(),
            ),
            Self::Denied(message) => (StatusCode::FORBIDDEN, "DENIED", message),
            Self::TooManyRequests(message) => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message),
            Self::Unsupported(message) => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message.to_owned()),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                "there is nothing at this address".to_owned(),
            ),
            Self::Store(source) => {
                error!(error = %source, cause = cause(&source), "the object store fails");
                let message = "the registry's object store does not answer: try again in a minute";
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message.to_owned())
            }
            Self::Queue(source) => {
                error!(error = %source, cause = cause(&source), "the queue fails");
                let message = "the registry cannot reach its builders: try again in a minute";
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message.to_owned())
            }
            Self::Slow => {
                error!("store and queue took too long");
                let message = "the registry takes too long to answer: try again in a minute";
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message.to_owned())
            }
            Self::Internal(source) => {
                error!(error = %source, "a request failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "UNKNOWN",
                    "something went wrong in the registry".to_owned(),
                )
            }
        }
    }

    /// The answer that says so.
    #[must_use]
    pub fn response(self) -> Response<Body> {
        #[derive(Serialize)]
        struct Errors<'a> {
            errors: [Detail<'a>; 1],
        }
        #[derive(Serialize)]
        struct Detail<'a> {
            code: &'a str,
            message: &'a str,
        }
        let (status, code, message) = self.parts();
        let message = printable(&message);
        let errors = Errors {
            errors: [Detail {
                code,
                message: &message,
            }],
        };
        let body = serde_json::to_vec(&errors).unwrap_or_else(|_| br#"{"errors":[]}"#.to_vec());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
        }
        response
    }
}

/// Messages end in terminals, and parts of them come from package sets and logs.
pub(crate) fn printable(message: &str) -> String {
    let kept = message
        .chars()
        .filter(|&c| c == '\n' || c == '\t' || !(c.is_control() || is_invisible(c)));
    let mut message: String = kept.take(MESSAGE).collect();
    message.truncate(message.trim_end().len());
    message
}

/// Characters without a shape that reorder, join or hide others (Unicode's category Cf, where it matters to a terminal).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn cause(error: &dyn StdError) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}
