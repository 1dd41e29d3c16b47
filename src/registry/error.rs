//! What goes wrong, as clients are told (distribution-spec, "Error Codes").
//!
//! The text of an error reaches a terminal only by some codes: on 5xx only crane shows it, and containerd (so Docker from
//! 29.7 on) shows that of 403 alone. So what a person can do something about is a 4xx. What is not in the package set is
//! 404, which the spec demands, and which all but containerd print with its text; what is there but is not served, or
//! failed to build, is 403 `DENIED`, which everything prints. Internals never leave: they are logged, once, here.

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
