//! Content discovery: tags and referrers (distribution-spec, "Listing Tags" and "Listing Referrers").

use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderName, Response};
use serde::Serialize;

use super::error::Error;
use super::{Parts, field, set};
use crate::body::Body;
use crate::digest::Digest;
use crate::name::Image;
use crate::source::Source;

impl Parts {
    /// The tags that are sure to be there: `latest`, and the channel by its name. Branches and commits are tags too, but
    /// a list of those is the package set's own to give.
    pub(super) fn tags(&self, name: &str, query: &str) -> Result<Response<Body>, Error> {
        #[derive(Serialize)]
        struct Tags<'a> {
            name: &'a str,
            tags: &'a [&'a str],
        }
        Image::parse(name, self.config.system).map_err(|error| Error::NameInvalid(error.to_string()))?;
        let mut all = vec!["latest"];
        if let Source::Channel(channel) = &self.config.source {
            all.push(channel.as_str());
        }
        all.sort_unstable();
        let last = field(query, "last").unwrap_or_default();
        let mut tags: Vec<&str> = all.into_iter().filter(|tag| *tag > last).collect();
        let more = match field(query, "n").and_then(|n| n.parse::<usize>().ok()) {
            Some(n) if n < tags.len() => {
                tags.truncate(n);
                tags.last()
                    .map(|last| format!("</v2/{name}/tags/list?n={n}&last={last}>; rel=\"next\""))
            }
            Some(_) | None => None,
        };
        let body = serde_json::to_vec(&Tags { name, tags: &tags }).map_err(Error::internal)?;
        let mut response = Response::new(Body::from(body));
        if let Some(more) = more {
            set(&mut response, LINK, &more);
        }
        Ok(response)
    }
}

/// Nothing refers to an image here: an empty index, which spares clients their fallback tags.
pub(super) fn referrers(digest: &str, query: &str) -> Result<Response<Body>, Error> {
    digest.parse::<Digest>().map_err(|_| Error::DigestInvalid)?;
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let mut response = Response::new(Body::from(index));
    set(
        &mut response,
        CONTENT_TYPE,
        "application/vnd.oci.image.index.v1+json",
    );
    if field(query, "artifactType").is_some() {
        set(
            &mut response,
            HeaderName::from_static("oci-filters-applied"),
            "artifactType",
        );
    }
    Ok(response)
}
