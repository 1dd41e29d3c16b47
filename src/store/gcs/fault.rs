//! What can go wrong with a request, and whether it is worth another try.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::error::Elapsed;

use crate::store::StoreError;

type Source = Box<dyn Error + Send + Sync>;

/// A request that failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Credentials or permissions.
    Refused(Source),
    /// Worth another try, which the server may want after a while.
    Busy(Source, Option<Duration>),
    /// An answer that cannot be.
    Broken(Source),
}

impl Fault {
    /// An answer with a status that was not asked for
    /// (<https://cloud.google.com/storage/docs/json_api/v1/status-codes>).
    pub(super) fn status(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Self {
        let words = String::from_utf8_lossy(&body[..body.len().min(500)]);
        let source = format!("{status}: {}", words.trim()).into();
        let after = headers
            .get(http::header::RETRY_AFTER)
            .and_then(|after| after.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        match status.as_u16() {
            // too many requests of one user were once 403, and are still where the API is old
            403 if words.contains("ateLimitExceeded") => Self::Busy(source, after),
            401 | 403 => Self::Refused(source),
            408 | 429 | 500..=599 => Self::Busy(source, after),
            _ => Self::Broken(source),
        }
    }

    /// The network, or whoever is at its other end.
    pub(super) fn network(source: impl Into<Source>) -> Self {
        Self::Busy(in_full(&*source.into()).into(), None)
    }

    /// Nothing came in time.
    pub(super) fn late(_: Elapsed) -> Self {
        Self::Busy("no answer came in time".into(), None)
    }

    /// A local file, or an answer that does not say what it should.
    pub(super) fn broken(source: impl Into<Source>) -> Self {
        Self::Broken(source.into())
    }

    /// The error of an operation.
    pub(super) fn at(self, at: &'static str) -> StoreError {
        match self {
            Self::Refused(source) => StoreError::Refused(at, source),
            Self::Busy(source, _) => StoreError::Busy(at, source),
            Self::Broken(source) => StoreError::Broken(at, source),
        }
    }
}

/// With its causes: hyper's own words say little more than `client error`.
fn in_full(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", in_full(source)),
        None => error.to_string(),
    }
}

impl From<std::io::Error> for Fault {
    /// What this machine's files answer; only files are read and written as such.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Refused(error.into()),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Busy(error.into(), None)
            }
            _ => Self::Broken(error.into()),
        }
    }
}
