//! What the SDK's errors mean to a caller.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

/// The SDK's responses.
pub(crate) type Response = aws_sdk_s3::config::http::HttpResponse;

/// What an error means to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was asked for is not there.
    Absent,
    /// The condition of a write did not hold.
    Condition,
    /// The service does not know such a request.
    Unknown,
    /// Credentials or permissions are missing, or the clock is wrong: again is in vain.
    Refused,
    /// The service is slow, overloaded or out of reach: later it may work.
    Busy,
    /// The service answered what cannot be.
    Broken,
}

/// Judges an error of the SDK, after its retries.
pub(crate) fn kind<E>(error: &SdkError<E, Response>) -> Kind
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::TimeoutError(_) => Kind::Busy,
        SdkError::DispatchFailure(failure) if failure.is_timeout() || failure.is_io() => Kind::Busy,
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            by_status(status, service.err().code().unwrap_or_default())
        }
        // a response that is cut off comes here
        SdkError::ResponseError(_) => Kind::Busy,
        other => match credentials(other) {
            Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => Kind::Busy,
            Some(_) => Kind::Refused,
            None => Kind::Broken,
        },
    }
}

fn by_status(status: u16, code: &str) -> Kind {
    match (status, code) {
        // a place that is not there is a mistake in the configuration, not an absent object
        (_, "NoSuchBucket" | "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue") => {
            Kind::Refused
        }
        (_, "ExpiredToken" | "InvalidToken" | "RequestTimeTooSkewed" | "PermanentRedirect") => Kind::Refused,
        (_, "SlowDown" | "RequestTimeout" | "Throttling" | "ThrottlingException" | "RequestThrottled") => {
            Kind::Busy
        }
        (301 | 307 | 401 | 403, _) => Kind::Refused,
        (404, _) => Kind::Absent,
        (409 | 412, _) => Kind::Condition,
        (501, _) => Kind::Unknown,
        (408 | 429 | 500..=599, _) => Kind::Busy,
        _ => Kind::Broken,
    }
}

fn credentials<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The whole chain of an error, for the log. The SDK's own words say only that there is one.
pub(crate) fn told<E>(error: SdkError<E, Response>) -> Box<dyn StdError + Send + Sync>
where
    E: StdError + Send + Sync + 'static,
    SdkError<E, Response>: RequestId,
{
    let id = error
        .request_id()
        .map(|id| format!(" (request {id})"))
        .unwrap_or_default();
    format!("{}{id}", DisplayErrorContext(error)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_means_something() {
        for (status, code, kind) in [
            (404, "NoSuchKey", Kind::Absent),
            (404, "", Kind::Absent),
            (404, "NoSuchBucket", Kind::Refused),
            (403, "AccessDenied", Kind::Refused),
            (400, "ExpiredToken", Kind::Refused),
            (301, "PermanentRedirect", Kind::Refused),
            (412, "PreconditionFailed", Kind::Condition),
            (409, "ConditionalRequestConflict", Kind::Condition),
            (501, "NotImplemented", Kind::Unknown),
            (503, "SlowDown", Kind::Busy),
            (500, "InternalError", Kind::Busy),
            (400, "RequestTimeout", Kind::Busy),
            (429, "", Kind::Busy),
            (400, "BadDigest", Kind::Broken),
            (416, "InvalidRange", Kind::Broken),
        ] {
            assert_eq!(by_status(status, code), kind, "{status} {code}");
        }
    }
}
