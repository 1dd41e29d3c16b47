//! How often each kind of request calls the object store: these calls are what a pull costs, in time and in money.
//!
//! The table is in the documentation of [`laminix::registry`]; here each of its rows is counted.

use http::{HeaderMap, Method, Uri};
use laminix::digest::Digest;
use laminix::registry::{App, Outcome};

use crate::fixture::Registry;

/// What every image is made with, besides what was asked for.
const BASE: u32 = 4;

/// The tag's revision, and the image.
const LOOKS: u32 = 2;

/// Root layer, config, two manifests, and last the image.
const WRITES: u32 = 5;

async fn count(app: &App, method: &Method, target: &str) -> (Outcome, u32, String) {
    let uri: Uri = target.parse().unwrap();
    let (response, report) = app.answer_by(None, method, &uri, &HeaderMap::new()).await;
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let named = header("docker-content-digest") + &header("location");
    (report.outcome, report.store_calls, named)
}

#[tokio::test]
async fn an_image_in_the_cache_is_one_read_and_its_tag_another() {
    let registry = Registry::new().await;
    registry.warm().await;
    let by_tag = "/v2/hello/manifests/latest";
    registry.get(by_tag).await;
    for method in [Method::GET, Method::HEAD] {
        let fresh = registry.another();
        let (outcome, calls, digest) = count(&fresh, &method, by_tag).await;
        assert_eq!(
            (outcome, calls),
            (Outcome::Warm, LOOKS),
            "{method}, a fresh function"
        );
        let (outcome, calls, _) = count(&fresh, &method, by_tag).await;
        assert_eq!(
            (outcome, calls),
            (Outcome::Warm, 1),
            "{method}, the revision is remembered"
        );
        let by_digest = format!("/v2/hello/manifests/{digest}");
        let (outcome, calls, _) = count(&registry.another(), &method, &by_digest).await;
        assert_eq!((outcome, calls), (Outcome::Warm, 1), "{method} by digest");
    }
}

/// Signing is arithmetic, and the rest is answered out of the request.
#[tokio::test]
async fn what_needs_no_object_calls_nobody() {
    let registry = Registry::new().await;
    registry.warm().await;
    let blob = Digest::of(b"the layer of hello");
    let (_, calls, location) = count(&registry.app, &Method::GET, &format!("/v2/hello/blobs/{blob}")).await;
    assert_eq!(calls, 0);
    assert!(location.contains(&blob.hex()), "{location}");
    // a URL is signed for one method, so HEAD is answered here, with the size
    let (_, calls, _) = count(&registry.app, &Method::HEAD, &format!("/v2/hello/blobs/{blob}")).await;
    assert_eq!(calls, 1);
    for target in [
        "/v2/",
        "/v2/hello/tags/list",
        "/v2/_catalog",
        "/healthz",
        "/nothing",
    ] {
        assert_eq!(count(&registry.app, &Method::GET, target).await.1, 0, "{target}");
    }
    // names and tags that cannot be are refused before anybody is asked
    for target in ["/v2/Hello/manifests/latest", "/v2/hello/manifests/sha256:x"] {
        let (outcome, calls, _) = count(&registry.app, &Method::GET, target).await;
        assert_eq!((outcome, calls), (Outcome::Refused, 0), "{target}");
    }
}

#[tokio::test]
async fn a_new_combination_reads_each_of_its_records_once() {
    let registry = Registry::new().await;
    registry.warm().await;
    for attribute in ["git", "curl"] {
        let package = registry.package(attribute).await;
        registry.record(attribute, &package).await;
    }
    for (name, packages) in [("hello", 1), ("git/hello", 2), ("git/hello/curl", 3)] {
        let target = format!("/v2/{name}/manifests/latest");
        let (outcome, calls, _) = count(&registry.another(), &Method::GET, &target).await;
        assert_eq!(outcome, Outcome::Composed, "{name}");
        assert_eq!(calls, LOOKS + packages + BASE + WRITES, "{name}");
    }
    // what is of the base is not read twice
    let (_, calls, _) = count(
        &registry.another(),
        &Method::HEAD,
        "/v2/coreutils/hello/manifests/latest",
    )
    .await;
    assert_eq!(calls, LOOKS + 1 + BASE + WRITES);
}

/// A package that nobody has is told by its record, and nothing is written.
#[tokio::test]
async fn a_refusal_writes_nothing() {
    let registry = Registry::new().await;
    registry.warm().await;
    let record = laminix::record::PackageRecord::NotFound { near: Vec::new() };
    registry.record("nope", &record).await;
    let (outcome, calls, _) = count(&registry.another(), &Method::GET, "/v2/nope/manifests/latest").await;
    assert_eq!((outcome, calls), (Outcome::Refused, LOOKS + 1 + BASE));
}
