//! Tags: how old a revision may be, who asks for a new one, and what is said of a tag that names none.

use std::time::Duration;

use http::{HeaderMap, Method};
use laminix::job::Work;
use laminix::key::{Key, Subject, TagRef};
use laminix::queue::Depth;
use laminix::record::{Claim, Next, SourceRecord};

use crate::fixture::Registry;
use laminix::record::now;

const HELLO: &str = "/v2/hello/manifests/latest";

async fn waiting(registry: &Registry) -> usize {
    // a refresh is asked for behind the answer
    tokio::time::sleep(Duration::from_millis(300)).await;
    let Depth { waiting, .. } = registry.queue.depth().await.unwrap();
    waiting
}

async fn record(registry: &Registry, tag: &str, record: &SourceRecord) {
    let key = Key::Source(TagRef {
        source: registry.source.id(),
        tag: tag.parse().unwrap(),
    });
    let body = serde_json::to_vec(record).unwrap();
    registry.store.put(&key, body.into()).await.unwrap();
}

#[tokio::test]
async fn of_many_functions_one_asks_for_a_refresh() {
    let registry = Registry::new().await;
    registry.warm().await;
    registry.resolve("latest", 7 * 3600).await;
    let uri = HELLO.parse().unwrap();
    for _ in 0..5 {
        let answer = registry
            .another()
            .answer(&Method::GET, &uri, &HeaderMap::new())
            .await;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(waiting(&registry).await, 1);
}

#[tokio::test]
async fn a_directory_is_looked_at_again_soon_and_a_commit_never() {
    for (source, tag, age, fixed, jobs) in [
        ("path:/set", "latest", 5, false, 0),
        ("path:/set", "latest", 15, false, 1),
        ("git+file:///set", "latest", 15, false, 0),
        ("git+file:///set", "111111111111", 1_000_000, true, 0),
        ("channel:nixos-26.05", "latest", 7 * 3600, false, 1),
    ] {
        let registry = Registry::with(&[("LAMINIX_SOURCE", source)]).await;
        registry.warm().await;
        let resolved = SourceRecord::Resolved {
            revision: "1".repeat(40).parse().unwrap(),
            at: now() - age,
            fixed,
            next: None,
        };
        record(&registry, tag, &resolved).await;
        let answer = registry.get(&format!("/v2/hello/manifests/{tag}")).await;
        assert_eq!(answer.status, 200, "{source} {tag}");
        assert_eq!(waiting(&registry).await, jobs, "{source} {tag} after {age} s");
    }
}

#[tokio::test]
async fn how_long_a_revision_is_good_is_configured() {
    for (refresh, jobs) in [("1m", 1), ("1h", 0)] {
        let registry = Registry::with(&[("LAMINIX_REFRESH", refresh)]).await;
        registry.warm().await;
        registry.resolve("latest", 120).await;
        assert_eq!(registry.get(HELLO).await.status, 200);
        assert_eq!(waiting(&registry).await, jobs, "{refresh}");
    }
}

/// However rarely anybody pulls: what was read before the first request, or for the page, does not stand in the way.
#[tokio::test]
async fn a_function_that_has_just_started_asks_anew_too() {
    for page in [false, true] {
        let registry = Registry::new().await;
        registry.warm().await;
        registry.resolve("latest", 7 * 3600).await;
        let fresh = registry.another();
        fresh.warm().await;
        if page {
            let root = "/".parse().unwrap();
            fresh.answer(&Method::GET, &root, &HeaderMap::new()).await;
        }
        let answer = fresh
            .answer(&Method::GET, &HELLO.parse().unwrap(), &HeaderMap::new())
            .await;
        assert_eq!((answer.status().as_u16(), waiting(&registry).await), (200, 1));
    }
}

/// A worker makes the packages of another revision ready: until it is done, the old one is answered, and nobody is asked.
#[tokio::test]
async fn a_tag_that_is_going_to_move_is_left_alone() {
    let registry = Registry::new().await;
    registry.warm().await;
    let carried = SourceRecord::Resolved {
        revision: "1".repeat(40).parse().unwrap(),
        at: now() - 7 * 3600,
        fixed: false,
        next: Some(Next {
            revision: "2".repeat(40).parse().unwrap(),
            since: now() - 60,
        }),
    };
    record(&registry, "latest", &carried).await;
    let subject = Subject::Tag(TagRef {
        source: registry.source.id(),
        tag: "latest".parse().unwrap(),
    });
    let claim = Claim {
        since: now() - 60,
        seen: now(),
        phase: "carrying `latest` over".to_owned(),
    };
    let body = serde_json::to_vec(&claim).unwrap();
    registry.store.put(&subject.claim(), body.into()).await.unwrap();
    let uri = HELLO.parse().unwrap();
    for _ in 0..3 {
        let answer = registry
            .another()
            .answer(&Method::GET, &uri, &HeaderMap::new())
            .await;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(waiting(&registry).await, 0);
    // its worker is gone, and the message with it
    registry.store.delete(&subject.claim()).await.unwrap();
    let answer = registry
        .another()
        .answer(&Method::GET, &uri, &HeaderMap::new())
        .await;
    assert_eq!((answer.status().as_u16(), waiting(&registry).await), (200, 1));
}

#[tokio::test]
async fn a_tag_that_names_nothing_says_why_and_is_asked_for_again_later() {
    let registry = Registry::with(&[("LAMINIX_HOP", "1s")]).await;
    registry.warm().await;
    let refused = |until| SourceRecord::Refused {
        reason: "the repository has no branch `gone`".to_owned(),
        until,
    };
    record(&registry, "gone", &refused(now() + 60)).await;
    let answer = registry.get("/v2/hello/manifests/gone").await;
    let told = (
        "MANIFEST_UNKNOWN".to_owned(),
        "the repository has no branch `gone`".to_owned(),
    );
    assert_eq!((answer.status, answer.error()), (404, told));
    assert_eq!(waiting(&registry).await, 0);
    record(&registry, "gone", &refused(now())).await;
    assert_eq!(registry.get("/v2/hello/manifests/gone").await.status, 307);
    assert_eq!(waiting(&registry).await, 1);
}

/// Tags are the client's to invent: those that the source can never have cost a worker nothing.
#[tokio::test]
async fn impossible_tags_ask_nobody() {
    for (source, tag) in [
        ("path:/set", "v1"),
        ("path:/set", "111111111111"),
        ("channel:nixos-26.05", "a_b"),
    ] {
        let registry = Registry::with(&[("LAMINIX_SOURCE", source)]).await;
        let answer = registry.get(&format!("/v2/hello/manifests/{tag}")).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (404, "MANIFEST_UNKNOWN"),
            "{source} {tag}"
        );
        assert_eq!(waiting(&registry).await, 0);
    }
}

#[tokio::test]
async fn a_claim_that_is_let_go_is_taken_at_the_next_hop() {
    let registry = Registry::with(&[("LAMINIX_HOP", "1s")]).await;
    registry.resolve("latest", 0).await;
    let hop = registry.get(HELLO).await;
    assert_eq!((hop.status, waiting(&registry).await), (307, 1));
    // its worker gave up, and left nothing
    let delivery = registry.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    registry.queue.complete(&delivery.receipt).await.unwrap();
    std::fs::remove_dir_all(registry.directory.path().join("store/claims")).unwrap();
    assert_eq!(registry.get(hop.header("location")).await.status, 307);
    let again = registry.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(again.job.unwrap().work, delivery.job.unwrap().work);
}

/// Two images that share a package: its build is under way, and only the rest is asked for.
#[tokio::test]
async fn what_somebody_else_builds_is_not_asked_for_twice() {
    let registry = Registry::with(&[("LAMINIX_HOP", "8s")]).await;
    registry.warm().await;
    assert_eq!(registry.get("/v2/curl/git/manifests/latest").await.status, 307);
    assert_eq!(registry.get("/v2/curl/jq/manifests/latest").await.status, 307);
    let mut asked = Vec::new();
    while let Some(delivery) = registry.queue.receive(Duration::ZERO).await.unwrap() {
        let Work::Build { attributes, .. } = delivery.job.unwrap().work else {
            panic!("no build")
        };
        asked.push(
            attributes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    assert_eq!(asked, ["curl git", "jq"]);
}
