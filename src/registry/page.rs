//! The page for people at `/`.

use std::time::Duration;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use http::{HeaderMap, Response};

use super::{Parts, set};
use crate::body::Body;
use crate::source::Source;

const PAGE: &str = include_str!("../../web/index.html");

/// The page is not held up by a store that is slow: it is as good without the revision.
const PATIENCE: Duration = Duration::from_secs(2);

const HERE: &str = "a package set on this machine";

/// The page brings its own style and script, and asks nobody for anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Parts {
    pub(super) async fn page(&self, headers: &HeaderMap) -> Response<Body> {
        let host = headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .filter(|host| is_host(host));
        let source = match &self.config.source {
            // where the set lies on the machine is nobody's business
            Source::Path(_) => HERE.to_owned(),
            Source::Git(url) if url.is_here() => HERE.to_owned(),
            source @ (Source::Git(_) | Source::Channel(_)) => source.to_string(),
        };
        let revision = tokio::time::timeout(PATIENCE, self.known_revision())
            .await
            .ok()
            .flatten()
            .map(|revision| revision.short().to_owned());
        let values = [
            ("{{host}}", host.unwrap_or("localhost")),
            ("{{source}}", &source),
            ("{{revision}}", revision.as_deref().unwrap_or("not resolved yet")),
            ("{{version}}", env!("CARGO_PKG_VERSION")),
        ];
        let page = values.iter().fold(PAGE.to_owned(), |page, (name, value)| {
            page.replace(name, &escape(value))
        });
        let mut response = Response::new(Body::from(page));
        set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
        set(&mut response, CONTENT_SECURITY_POLICY, POLICY);
        response
    }
}

/// The host is the client's word: only what can be one gets onto the page.
fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 17 of the predecessor: its pages printed what they were given.
    #[test]
    fn nothing_gets_onto_the_page_as_markup() {
        assert_eq!(escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
        for bad in ["", "a b", "<script>", "a\"b", "a/b", "é"] {
            assert!(!is_host(bad), "{bad}");
        }
        assert!(is_host("[::1]:5726") && is_host("abc.lambda-url.eu-west-1.on.aws"));
    }
}
