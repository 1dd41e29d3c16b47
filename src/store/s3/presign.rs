//! Presigned URLs (AWS Signature Version 4, "Authenticating requests: using query parameters").
//!
//! Signing is arithmetic: the service is not asked. A URL is dead when the credentials that signed it end, whatever it
//! says itself, so it never says more than that. Of credentials out of the environment, as Lambda's are, nobody knows when
//! they end; they are those of a role's session, which outlives a URL by far.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use http::Method;

use super::{S3Store, failed};
use crate::digest::Digest;
use crate::key::Key;
use crate::store::StoreError;
use crate::store::presign::LIFE;

/// Credentials that end sooner are of no use to a client that has yet to connect.
const SHORTEST: Duration = Duration::from_secs(5);

pub(super) async fn presign(store: &S3Store, digest: &Digest, method: &Method) -> Result<String, StoreError> {
    let now = SystemTime::now();
    let credentials = store.credentials.credentials().await;
    let credentials = credentials.map_err(|error| StoreError::Refused("presign", error.into()))?;
    let life = life(credentials.expiry(), now).ok_or_else(|| {
        StoreError::Refused(
            "presign",
            "the credentials that sign URLs have come to their end".into(),
        )
    })?;
    let config = PresigningConfig::builder()
        .start_time(now)
        .expires_in(life)
        .build();
    let config = config.map_err(|error| StoreError::Broken("presign", error.into()))?;
    let (bucket, object) = (&store.place.bucket, store.object(&Key::Blob(*digest)));
    // a URL is signed for one method
    let signed = if method == Method::HEAD {
        let request = store.client.head_object().bucket(bucket).key(object);
        request.presigned(config).await.map_err(failed("presign"))?
    } else {
        let request = store.client.get_object().bucket(bucket).key(object);
        request.presigned(config).await.map_err(failed("presign"))?
    };
    Ok(signed.uri().to_owned())
}

/// As long as any URL, but not longer than the credentials; none when they are at their end.
fn life(ends: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    let left = ends.map_or(LIFE, |ends| ends.duration_since(now).unwrap_or_default());
    // a URL says whole seconds
    Some(Duration::from_secs(left.min(LIFE).as_secs())).filter(|life| *life >= SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_never_outlives_its_credentials() {
        let now = SystemTime::now();
        let left = |seconds| life(Some(now + Duration::from_secs_f64(seconds)), now);
        assert_eq!(life(None, now), Some(LIFE));
        assert_eq!(left(7200.0), Some(LIFE));
        assert_eq!(left(61.9), Some(Duration::from_secs(61)));
        assert_eq!(left(4.0), None);
        assert_eq!(life(Some(now - Duration::from_secs(1)), now), None);
    }
}
