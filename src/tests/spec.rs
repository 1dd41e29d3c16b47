//! The distribution spec's requirements on a registry that is pulled from, section by section (v1.1.1).

use http::Method;
use laminix::digest::Digest;

use crate::fixture::Registry;

async fn registry() -> Registry {
    let registry = Registry::new().await;
    registry.warm().await;
    registry
}

/// "Determining Support": GET /v2/ is 200.
#[tokio::test]
async fn determining_support() {
    assert_eq!(registry().await.get("/v2/").await.status, 200);
}

/// "Pulling manifests": 200 with the manifest, its type and its digest; 404 where there is none.
#[tokio::test]
async fn pulling_manifests() {
    let registry = registry().await;
    let by_tag = registry.get("/v2/hello/manifests/latest").await;
    assert_eq!(by_tag.status, 200);
    let digest = by_tag.header("docker-content-digest").to_owned();
    assert_eq!(digest, Digest::of(&by_tag.body).to_string());
    assert_eq!(
        by_tag.header("content-type"),
        by_tag.json()["mediaType"].as_str().unwrap()
    );
    assert!(!by_tag.header("content-type").contains(';'));
    let by_digest = registry.get(&format!("/v2/hello/manifests/{digest}")).await;
    assert_eq!(
        (by_digest.status, by_digest.header("docker-content-digest")),
        (200, digest.as_str())
    );
    assert_eq!(by_digest.body, by_tag.body);
    for reference in [Digest::of(b"none").to_string(), ".invalid".to_owned()] {
        let answer = registry.get(&format!("/v2/hello/manifests/{reference}")).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (404, "MANIFEST_UNKNOWN")
        );
    }
}

/// "Pulling blobs": 200 with the bytes (after redirects), their digest; ranges; 404 where there are none.
#[tokio::test]
async fn pulling_blobs() {
    let registry = registry().await;
    let manifest = registry.get("/v2/hello/manifests/latest").await.json();
    let descriptors = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&manifest["config"]]);
    for descriptor in descriptors {
        let digest = descriptor["digest"].as_str().unwrap();
        let redirect = registry.get(&format!("/v2/hello/blobs/{digest}")).await;
        assert_eq!(
            (redirect.status, redirect.header("docker-content-digest")),
            (307, digest)
        );
        let blob = registry.get(redirect.header("location")).await;
        assert_eq!(
            (blob.status, Digest::of(&blob.body).to_string().as_str()),
            (200, digest)
        );
        assert_eq!(blob.body.len() as u64, descriptor["size"].as_u64().unwrap());
        let part = registry
            .ask(
                Method::GET,
                redirect.header("location"),
                &[("range", "bytes=1-2")],
            )
            .await;
        assert_eq!((part.status, &part.body[..]), (206, &blob.body[1..3]));
    }
    // fault 5 of the predecessor: a missing blob was 200 and empty
    let redirect = registry
        .get(&format!("/v2/hello/blobs/{}", Digest::of(b"none")))
        .await;
    let answer = registry.get(redirect.header("location")).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (404, "BLOB_UNKNOWN"));
}

/// "Checking if content exists in the registry": HEAD is 200 with Content-Length and the digest, or 404.
#[tokio::test]
async fn checking_if_content_exists() {
    let registry = registry().await;
    let manifest = registry.get("/v2/hello/manifests/latest").await;
    let config = manifest.json()["config"].clone();
    let head = registry
        .ask(Method::HEAD, "/v2/hello/manifests/latest", &[])
        .await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for header in ["content-length", "content-type", "docker-content-digest", "etag"] {
        assert_eq!(head.header(header), manifest.header(header), "{header}");
    }
    let digest = config["digest"].as_str().unwrap();
    let head = registry
        .ask(Method::HEAD, &format!("/v2/hello/blobs/{digest}"), &[])
        .await;
    assert_eq!((head.status, head.header("docker-content-digest")), (200, digest));
    assert_eq!(head.header("content-length"), config["size"].to_string());
    for missing in ["manifests", "blobs"] {
        let target = format!("/v2/hello/{missing}/{}", Digest::of(b"none"));
        assert_eq!(registry.ask(Method::HEAD, &target, &[]).await.status, 404);
    }
}

/// "Listing Tags": name and tags in order; `n`, `last` and Link; 0 is an empty list.
#[tokio::test]
async fn listing_tags() {
    let registry = Registry::with(&[("LAMINIX_SOURCE", "channel:nixos-26.05")]).await;
    let tags = async |query: &str| {
        let answer = registry.get(&format!("/v2/shell/git/tags/list{query}")).await;
        let json = answer.json();
        assert_eq!(
            (answer.status, json["name"].as_str().unwrap()),
            (200, "shell/git")
        );
        let tags: Vec<String> = json["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag.as_str().unwrap().to_owned())
            .collect();
        (tags, answer.header("link").to_owned())
    };
    let all = ["latest", "nixos-26.05"].map(str::to_owned).to_vec();
    assert_eq!(tags("").await, (all.clone(), String::new()));
    assert_eq!(tags("?n=5").await, (all.clone(), String::new()));
    assert_eq!(tags("?n=0").await, (vec![], String::new()));
    assert_eq!(
        tags("?last=latest").await,
        (vec!["nixos-26.05".to_owned()], String::new())
    );
    let (first, link) = tags("?n=1").await;
    assert_eq!(first, ["latest"]);
    assert_eq!(link, "</v2/shell/git/tags/list?n=1&last=latest>; rel=\"next\"");
    assert_eq!(tags("?n=1&last=latest").await.0, ["nixos-26.05"]);
}

/// "Listing Referrers": an index, never 404; 400 on what is no digest; filters are named.
#[tokio::test]
async fn listing_referrers() {
    let registry = registry().await;
    let target = format!("/v2/hello/referrers/{}", Digest::of(b"any"));
    let answer = registry.get(&target).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/vnd.oci.image.index.v1+json")
    );
    let index = answer.json();
    assert_eq!(
        (
            index["schemaVersion"].as_u64(),
            index["manifests"].as_array().map(Vec::len)
        ),
        (Some(2), Some(0))
    );
    assert_eq!(index["mediaType"], answer.header("content-type"));
    let filtered = registry
        .get(&format!("{target}?artifactType=application/x"))
        .await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(registry.get("/v2/hello/referrers/sha256:x").await.status, 400);
}

/// "Error Codes": JSON of the form, codes of the list.
#[tokio::test]
async fn error_codes() {
    let registry = registry().await;
    let answer = registry.get("/v2/hello/manifests/sha256:x").await;
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["errors"]);
    assert_eq!(
        (answer.header("content-type"), json["errors"][0]["code"].as_str()),
        ("application/json", Some("DIGEST_INVALID"))
    );
}

/// "Deleting": a registry may refuse, with 400 or 405.
#[tokio::test]
async fn deleting_is_refused() {
    let registry = registry().await;
    for kind in ["manifests", "blobs"] {
        let target = format!("/v2/hello/{kind}/{}", Digest::of(b"any"));
        assert_eq!(registry.ask(Method::DELETE, &target, &[]).await.status, 405);
    }
}
