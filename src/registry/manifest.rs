//! Manifests, by tag and by digest (distribution-spec, "Pulling manifests").
//!
//! HEAD waits as GET does: clients ask by HEAD first, and take its digest.

use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, Response, StatusCode, Uri};
use serde::Deserialize;

use super::error::Error;
use super::image::Made;
use super::revision::Named;
use super::visit::{Outcome, Visit};
use super::{Answer, Parts, field, set};
use crate::body::Body;
use crate::compose::manifest::{DOCKER, OCI};
use crate::digest::Digest;
use crate::key::Key;
use crate::name::{Image, Tag};
use crate::record::{Claim, ImageRecord, now};

impl Parts {
    pub(super) async fn manifest(
        &self,
        name: &str,
        reference: &str,
        uri: &Uri,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Result<Answer, Error> {
        let image =
            Image::parse(name, self.config.system).map_err(|error| Error::NameInvalid(error.to_string()))?;
        if reference.contains(':') {
            visit.about(format!("{name}@{reference}"));
            return self
                .by_digest(reference, headers, visit)
                .await
                .map(Box::new)
                .map(Answer::Response);
        }
        let tag: Tag = reference
            .parse()
            .map_err(|error| Error::ManifestUnknown(format!("{error}")))?;
        visit.about(format!("{name}:{tag}"));
        let hop = field(uri.query().unwrap_or_default(), "wait")
            .and_then(|hop| hop.parse::<u32>().ok())
            .unwrap_or(0);
        let late = |claims: Vec<Claim>| {
            visit.became(Outcome::Waited);
            if hop < self.config.hops {
                Ok(Answer::Hop(hop + 1))
            } else {
                Err(still_at_work(&image, &claims))
            }
        };
        let revision = match visit.phase("revision", self.revision(&tag, visit)).await? {
            Named::Revision(revision) => revision,
            Named::Late(claims) => return late(claims),
        };
        match self.image(&image, &revision, visit).await? {
            Made::Image(record) => {
                let (manifest, media_type) = choose(record, headers);
                let mut response = respond(manifest, media_type, headers);
                // a tag moves: clients and proxies have to ask
                set(&mut response, CACHE_CONTROL, "no-cache");
                Ok(Answer::Response(Box::new(response)))
            }
            Made::Late(claims) => late(claims),
        }
    }

    async fn by_digest(
        &self,
        reference: &str,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Result<Response<Body>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            media_type: String,
        }
        let digest: Digest = reference.parse().map_err(|_| Error::DigestInvalid)?;
        let unknown = || Error::ManifestUnknown("no image with this digest has been made here".to_owned());
        let key = Key::Manifest(digest);
        let bytes = visit
            .phase("cache", visit.store.get(&key))
            .await?
            .ok_or_else(unknown)?;
        if Digest::of(&bytes) != digest {
            return Err(Error::internal(format!(
                "what is stored as {digest} is something else"
            )));
        }
        let typed: Typed = serde_json::from_slice(&bytes).map_err(Error::internal)?;
        let media_type = if typed.media_type == DOCKER { DOCKER } else { OCI };
        visit.became(Outcome::Warm);
        let mut response = respond(bytes.into(), media_type, headers);
        if response.status() == StatusCode::OK {
            set(
                &mut response,
                CACHE_CONTROL,
                "public, max-age=31536000, immutable",
            );
        }
        Ok(response)
    }
}

/// OCI for all who take it or do not say; Docker's schema 2 for those who take that alone.
fn choose(record: ImageRecord, headers: &HeaderMap) -> (Body, &'static str) {
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let accept = accept.join(",");
    let mut types = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    let takes_oci = types
        .clone()
        .any(|range| [OCI, "*/*", "application/*"].contains(&range));
    let takes_docker = types.any(|range| range == DOCKER);
    match record.docker {
        Some(docker) if takes_docker && !takes_oci => (docker.into(), DOCKER),
        Some(_) | None => (record.oci.into(), OCI),
    }
}

fn respond(manifest: Body, media_type: &str, headers: &HeaderMap) -> Response<Body> {
    let digest = match &manifest {
        Body::Bytes(bytes) => Digest::of(bytes).to_string(),
        Body::File { .. } => String::new(),
    };
    let etag = format!("\"{digest}\"");
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let fresh = known.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    });
    let mut response = Response::new(if fresh { Body::empty() } else { manifest });
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    set(&mut response, CONTENT_TYPE, media_type);
    set(
        &mut response,
        HeaderName::from_static("docker-content-digest"),
        &digest,
    );
    set(&mut response, ETAG, &etag);
    // the same URL has two representations
    set(&mut response, http::header::VARY, "Accept");
    response
}

fn still_at_work(image: &Image, claims: &[Claim]) -> Error {
    let names: Vec<String> = image.attributes().iter().map(ToString::to_string).collect();
    let mut phases: Vec<&str> = claims.iter().map(|claim| claim.phase.as_str()).collect();
    phases.sort_unstable();
    phases.dedup();
    let since = claims
        .iter()
        .map(|claim| claim.since)
        .min()
        .map_or(0, |since| now().saturating_sub(since));
    let since = Duration::from_secs(since).as_secs();
    let phase = if phases.is_empty() {
        "starting".to_owned()
    } else {
        phases.join(", ")
    };
    Error::TooManyRequests(format!(
        "{} is being made since {} min {} s ({phase}): pull again to go on waiting",
        names.join("/"),
        since / 60,
        since % 60
    ))
}
