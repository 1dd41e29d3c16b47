//! Blobs (distribution-spec, "Pulling blobs"): the object store gives them out, at URLs that are signed here.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderName, Method, Response, StatusCode};

use super::error::Error;
use super::visit::Visit;
use super::{Parts, set};
use crate::body::Body;
use crate::digest::Digest;
use crate::key::Key;

impl Parts {
    /// A redirect, with no call to the store: whether the blob is there, its answer tells.
    pub(super) async fn blob(&self, digest: &str, method: &Method) -> Result<Response<Body>, Error> {
        let digest: Digest = digest.parse().map_err(|_| Error::DigestInvalid)?;
        let url = self.store.presign(&digest, method).await?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        set(&mut response, LOCATION, &url);
        set(
            &mut response,
            HeaderName::from_static("docker-content-digest"),
            &digest.to_string(),
        );
        // the URL expires
        set(&mut response, CACHE_CONTROL, "no-store");
        Ok(response)
    }

    /// A URL is signed for one method, so HEAD is answered here.
    pub(super) async fn blob_head(&self, digest: &str, visit: &Visit) -> Result<Response<Body>, Error> {
        let digest: Digest = digest.parse().map_err(|_| Error::DigestInvalid)?;
        let size = visit
            .store
            .size(&Key::Blob(digest))
            .await?
            .ok_or(Error::BlobUnknown)?;
        let mut response = Response::new(Body::empty());
        set(&mut response, CONTENT_TYPE, "application/octet-stream");
        set(&mut response, CONTENT_LENGTH, &size.to_string());
        set(
            &mut response,
            HeaderName::from_static("docker-content-digest"),
            &digest.to_string(),
        );
        set(&mut response, ETAG, &format!("\"{digest}\""));
        set(&mut response, http::header::ACCEPT_RANGES, "bytes");
        set(
            &mut response,
            CACHE_CONTROL,
            "public, max-age=31536000, immutable",
        );
        Ok(response)
    }
}
