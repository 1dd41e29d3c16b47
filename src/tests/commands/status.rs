//! `laminix status`.

use laminix::key::{PackageRef, Subject};
use laminix::name::System;
use laminix::record::{Claim, Next, PackageRecord, SourceRecord, now};

use super::{BASE, failed, put, run, tag};
use crate::fixture::Registry;

/// What `status --json` says a pull would do.
fn pull(registry: &Registry, image: &str) -> (String, serde_json::Value) {
    let (code, out, problems) = run(registry, &["status", "--json", image]);
    assert_eq!(code, Some(0), "{problems}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    (json["pull"].as_str().unwrap().to_owned(), json)
}

/// What it foretells is what the registry does.
#[tokio::test]
async fn status_tells_what_a_pull_would_do() {
    let registry = Registry::with(&[("LAMINIX_HOP", "0s")]).await;
    let manifest = "/v2/hello/manifests/latest";
    assert_eq!(pull(&registry, "hello").0, "waits");
    assert_eq!(registry.get(manifest).await.status, 307);
    registry.warm().await;
    let (foretold, json) = pull(&registry, "hello");
    assert_eq!(foretold, "composed");
    let answer = registry.get(manifest).await;
    assert_eq!(answer.status, 200);
    // what it says of the image before it is made is true of the image
    let layers = answer.json()["layers"].as_array().unwrap().clone();
    assert_eq!(json["layers"], layers.len());
    let sizes: u64 = layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    let config = answer.json()["config"]["size"].as_u64().unwrap();
    assert_eq!(json["download"], sizes + config);
    let (foretold, cached) = pull(&registry, "hello");
    assert_eq!((foretold.as_str(), &cached["cached"]), ("cached", &true.into()));
    assert_eq!(cached["download"], json["download"]);
    registry.record("git", &failed("it fails", now() + 600)).await;
    assert_eq!(pull(&registry, "git/hello").0, "refused");
    assert_eq!(registry.get("/v2/git/hello/manifests/latest").await.status, 403);
    // a failure that is old counts as nothing
    registry.record("git", &failed("it fails", now() - 1)).await;
    assert_eq!(pull(&registry, "git/hello").0, "waits");
    assert_eq!(registry.get("/v2/git/hello/manifests/latest").await.status, 307);
}

#[tokio::test]
async fn status_tells_of_each_package() {
    let registry = Registry::new().await;
    registry.warm().await;
    let moving = SourceRecord::Resolved {
        revision: "1".repeat(40).parse().unwrap(),
        at: now() - 7 * 3600,
        fixed: false,
        next: Some(Next {
            revision: "2".repeat(40).parse().unwrap(),
            since: now() - 130,
        }),
    };
    put(&registry, &tag(&registry, "latest").key(), &moving).await;
    registry
        .record("git", &failed("building git failed", now() + 600))
        .await;
    let near = vec!["curl".to_owned()];
    registry.record("curll", &PackageRecord::NotFound { near }).await;
    let unfree = PackageRecord::Refused {
        reason: "`steam` is unfree\u{1b}[31m".to_owned(),
        until: now() + 600,
    };
    registry.record("steam", &unfree).await;
    let claim = Claim {
        since: now() - 60,
        seen: now(),
        phase: "building nano-8 (3 of 7)".to_owned(),
    };
    let nano = Subject::Package(PackageRef {
        source: registry.source.id(),
        revision: "1".repeat(40).parse().unwrap(),
        system: System::Amd64,
        attribute: "nano".parse().unwrap(),
    });
    put(&registry, &nano.claim(), &claim).await;
    let (code, out, _) = run(&registry, &["status", "hello/git/curll/steam/nano/moreutils"]);
    assert_eq!(code, Some(0));
    for words in [
        &format!(
            "{}, looked up 7 h ago, and again behind the next pull",
            "1".repeat(40)
        ),
        &format!(
            "moves to {} when its packages are ready (seen 2 min ago)",
            "2".repeat(40)
        ),
        "image     not in the cache",
        "a pull    waits for a builder",
        "hello            ready: hello-1.0",
        "git              failed: building git failed; tried again in ",
        "      make: *** [all] Error 2",
        "curll            not in the package set; near it are curl",
        "steam            refused: `steam` is unfree[31m; tried again in ",
        "nano             being made since 1 min ago: building nano-8 (3 of 7)",
        "moreutils        missing\n",
        "bashInteractive  ready: bashInteractive-1.0 (in every image)",
    ] {
        assert!(out.contains(words), "{words}:\n{out}");
    }
    let packages = pull(&registry, "hello/git").1["packages"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(packages, 2 + BASE.len());
    let (code, _, problem) = run(&registry, &["status", "Hello"]);
    assert!(code == Some(64) && problem.contains("`Hello`"), "{problem}");
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_has_its_exit_code() {
    let registry = Registry::new().await;
    registry.break_part("sources");
    for command in [&["status", "hello"][..], &["warm", "hello", "--wait"]] {
        let (code, out, problem) = run(&registry, command);
        assert_eq!((code, out.as_str()), (Some(69), ""), "{problem}");
        assert!(
            problem.contains("object store") && problem.contains("laminix doctor"),
            "{problem}"
        );
    }
}
