//! What is read and written for a pull, and in which order.

use std::time::Duration;

use http::Method;
use laminix::digest::Digest;
use laminix::job::Work;
use laminix::key::{Key, Prefix};
use laminix::name::System;
use laminix::record::{Compression, Layer, PackageRecord, Packed};

use crate::fixture::Registry;

const HELLO: &str = "/v2/hello/manifests/latest";

/// Fault 13 of the predecessor: up to 95 look-ups, one after the other, for an image.
#[tokio::test]
async fn a_warm_manifest_reads_one_object_and_a_blob_none() {
    let registry = Registry::new().await;
    registry.warm().await;
    let first = registry.get(HELLO).await;
    assert_eq!(first.status, 200);
    let digest = first.header("docker-content-digest").to_owned();
    // a revision is remembered for a moment, and all that is left of the store is the image's record
    for part in ["blobs", "claims", "layers", "manifests", "packages", "sources"] {
        registry.break_part(part);
    }
    assert_eq!(
        registry.get("/v2/cold/manifests/latest").await.status,
        503,
        "the store fails where it is broken"
    );
    for method in [Method::GET, Method::HEAD] {
        let warm = registry.ask(method, HELLO, &[]).await;
        assert_eq!(
            (warm.status, warm.header("docker-content-digest")),
            (200, digest.as_str())
        );
    }
    registry.break_part("images");
    assert_eq!(registry.get(HELLO).await.status, 503);
    let blob = format!("/v2/hello/blobs/{digest}");
    assert_eq!(registry.get(&blob).await.status, 307);
}

#[tokio::test]
async fn a_manifest_by_digest_reads_one_object() {
    let registry = Registry::new().await;
    registry.warm().await;
    let by_tag = registry.get(HELLO).await;
    for part in ["blobs", "claims", "images", "layers", "packages", "sources"] {
        registry.break_part(part);
    }
    let digest = by_tag.header("docker-content-digest");
    let by_digest = registry.get(&format!("/v2/hello/manifests/{digest}")).await;
    assert_eq!((by_digest.status, by_digest.body), (200, by_tag.body));
}

#[tokio::test]
async fn an_image_is_named_only_when_all_of_it_is_stored() {
    for part in ["blobs", "manifests"] {
        let registry = Registry::new().await;
        registry.warm().await;
        registry.break_part(part);
        let answer = registry.get(HELLO).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (503, "UNAVAILABLE"),
            "{part}"
        );
        assert!(!registry.directory.path().join("store/images").exists(), "{part}");
        registry.mend_part(part);
        let answer = registry.get(HELLO).await;
        assert_eq!(answer.status, 200);
        let manifest = format!("/v2/hello/manifests/{}", answer.header("docker-content-digest"));
        assert_eq!(registry.get(&manifest).await.status, 200);
    }
}

/// Fault 11 of the predecessor: what was cut short in the cache stayed there.
#[tokio::test]
async fn a_cached_image_that_cannot_be_read_is_composed_again() {
    let registry = Registry::new().await;
    registry.warm().await;
    let whole = registry.get(HELLO).await;
    let images = Prefix::Images(registry.source.id(), "1".repeat(40).parse().unwrap());
    let images = registry.directory.path().join("store").join(images.path());
    let record = std::fs::read_dir(images).unwrap().next().unwrap().unwrap().path();
    let content = std::fs::read(&record).unwrap();
    std::fs::write(&record, &content[..content.len() / 2]).unwrap();
    let again = registry.get(HELLO).await;
    assert_eq!((again.status, &again.body), (200, &whole.body));
    assert_eq!(std::fs::read(&record).unwrap(), content);
}

#[tokio::test]
async fn a_stored_manifest_that_is_not_its_digest_is_not_served() {
    let registry = Registry::new().await;
    registry.warm().await;
    let good = registry.get(HELLO).await;
    let digest: Digest = good.header("docker-content-digest").parse().unwrap();
    let other = String::from_utf8(good.body)
        .unwrap()
        .replace("sha256:", "sha256:0");
    registry
        .store
        .put(&Key::Manifest(digest), other.into())
        .await
        .unwrap();
    let answer = registry.get(&format!("/v2/hello/manifests/{digest}")).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (500, "UNKNOWN"));
    assert!(!answer.error().1.contains("sha256"), "{}", answer.error().1);
}

/// Fault 1 of the predecessor: what was cached for one system was given out for another.
#[tokio::test]
async fn another_system_is_another_image() {
    let registry = Registry::with(&[("LAMINIX_HOP", "0s")]).await;
    registry.warm().await;
    assert_eq!(registry.get("/v2/hello/manifests/latest").await.status, 200);
    assert_eq!(registry.get("/v2/amd64/hello/manifests/latest").await.status, 200);
    assert_eq!(registry.get("/v2/arm64/hello/manifests/latest").await.status, 307);
    let delivery = registry.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    let Work::Build { system, .. } = delivery.job.unwrap().work else {
        panic!("no build")
    };
    assert_eq!(system, System::Arm64);
}

/// A package of so many tails, each of a store path of its own.
async fn deep(registry: &Registry, layers: usize) -> PackageRecord {
    let PackageRecord::Ready(mut package) = registry.package("hello").await else {
        panic!("a package is ready")
    };
    let of = package.layers[0].clone();
    package.layers.extend((1..layers).map(|n| {
        let mut contents = of.contents.clone();
        let path = format!("{}-{n}", contents[0].path);
        contents[0].path = path.parse().unwrap();
        let digest = Digest::of(path.as_bytes());
        let packed = Packed {
            digest,
            diff_id: digest,
            ..of.packed.clone()
        };
        Layer {
            packed,
            tail: true,
            contents,
        }
    }));
    PackageRecord::Ready(package)
}

#[tokio::test]
async fn an_image_of_too_many_layers_waits_for_their_union() {
    let registry = std::sync::Arc::new(Registry::with(&[("LAMINIX_HOP", "20s")]).await);
    registry.warm().await;
    registry.record("hello", &deep(&registry, 150).await).await;
    let asking = std::sync::Arc::clone(&registry);
    let pull = tokio::spawn(async move { asking.get(HELLO).await });
    let delivery = registry
        .queue
        .receive(Duration::from_secs(5))
        .await
        .unwrap()
        .unwrap();
    let Work::Merge { key, layers } = delivery.job.unwrap().work else {
        panic!("no merge")
    };
    assert!(layers.len() > 50 && layers.iter().all(|layer| layer.tail));
    let union = Digest::of(b"the union");
    let packed = Packed {
        digest: union,
        size: 9,
        diff_id: union,
        unpacked: 9,
        compression: Compression::Gzip,
    };
    let body = serde_json::to_vec(&packed).unwrap();
    registry.store.put(&Key::Layer(key), body.into()).await.unwrap();
    registry.queue.complete(&delivery.receipt).await.unwrap();
    let manifest = pull.await.unwrap().json();
    let layers = manifest["layers"].as_array().unwrap();
    let holds = |digest: &Digest| layers.iter().any(|layer| layer["digest"] == digest.to_string());
    assert_eq!(
        (layers.len(), holds(&union)),
        (laminix::compose::MAX_LAYERS, true)
    );
    // the image is forgotten, and its union is not
    registry.break_part("images");
    registry.mend_part("images");
    assert_eq!(registry.get(HELLO).await.json(), manifest);
}
