//! Waiting for a worker: claims, hops, refreshes, and what a person is told in the end.

use std::time::{Duration, Instant};

use http::Method;
use laminix::job::Work;
use laminix::key::{Key, PackageRef, Subject};
use laminix::name::{Attribute, System};
use laminix::queue::Depth;
use laminix::record::{Claim, PackageRecord};

use crate::fixture::Registry;
use laminix::record::now;

const HELLO: &str = "/v2/hello/manifests/latest";

fn depth(waiting: usize) -> Depth {
    Depth {
        waiting,
        running: 0,
        parked: 0,
    }
}

/// Fault 4 of the predecessor: 8 pulls of one image at once were 8 builds.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_cold_pulls_at_once_are_one_build() {
    let registry = std::sync::Arc::new(Registry::with(&[("LAMINIX_HOP", "20s")]).await);
    registry.resolve("latest", 0).await;
    let mut pulls = tokio::task::JoinSet::new();
    for n in 0..50 {
        let registry = std::sync::Arc::clone(&registry);
        let method = if n % 2 == 0 { Method::GET } else { Method::HEAD };
        pulls.spawn(async move { registry.ask(method, HELLO, &[]).await });
    }
    let work = registry
        .work(async |attribute: &Attribute| registry.package(attribute.as_str()).await)
        .await;
    let Work::Build { attributes, .. } = work else {
        panic!("{work:?}")
    };
    assert_eq!(attributes.len(), 5, "{attributes:?}");
    let answers = pulls.join_all().await;
    let digest = answers[0].header("docker-content-digest").to_owned();
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.header("docker-content-digest") == digest)
    );
    assert_eq!(registry.queue.depth().await.unwrap(), depth(0));
}

#[tokio::test]
async fn a_new_combination_of_known_packages_needs_no_worker() {
    let registry = Registry::new().await;
    registry.warm().await;
    for attribute in ["curl", "git", "jq"] {
        registry
            .record(attribute, &registry.package(attribute).await)
            .await;
    }
    let one = registry.get("/v2/git/jq/curl/manifests/latest").await;
    let other = registry.get("/v2/curl/git/jq/git/manifests/latest").await;
    assert_eq!((one.status, &one.body), (200, &other.body));
    assert_eq!(registry.queue.depth().await.unwrap(), depth(0));
}

#[tokio::test]
async fn a_wait_is_split_into_hops_and_ends_in_words() {
    let registry = Registry::with(&[("LAMINIX_HOP", "1s"), ("LAMINIX_HOPS", "2")]).await;
    registry.resolve("latest", 0).await;
    let mut target = "/v2/hello/manifests/latest?ns=x".to_owned();
    for hop in 1..=2 {
        let began = Instant::now();
        let answer = registry.ask(Method::HEAD, &target, &[]).await;
        assert!(began.elapsed() >= Duration::from_millis(900));
        assert_eq!((answer.status, answer.header("cache-control")), (307, "no-store"));
        answer.header("location").clone_into(&mut target);
        assert_eq!(target, format!("/v2/hello/manifests/latest?ns=x&wait={hop}"));
    }
    let phase = Claim {
        since: now() - 65,
        seen: now(),
        phase: "building hello-1.0 (1 of 2)".to_owned(),
    };
    let subject = Subject::Package(PackageRef {
        source: registry.source.id(),
        revision: "1".repeat(40).parse().unwrap(),
        system: System::Amd64,
        attribute: "hello".parse().unwrap(),
    });
    registry
        .store
        .put(&subject.claim(), serde_json::to_vec(&phase).unwrap().into())
        .await
        .unwrap();
    let answer = registry.get(&target).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "10"));
    let (code, message) = answer.error();
    assert_eq!(code, "TOOMANYREQUESTS");
    assert!(
        message.contains("building hello-1.0 (1 of 2)") && message.contains("1 min"),
        "{message}"
    );
    assert_eq!(
        registry.queue.depth().await.unwrap(),
        depth(1),
        "one job for all of it"
    );
}

#[tokio::test]
async fn an_unknown_tag_is_resolved_first() {
    let registry = std::sync::Arc::new(Registry::with(&[("LAMINIX_HOP", "20s")]).await);
    registry.warm().await;
    let asking = std::sync::Arc::clone(&registry);
    let pull = tokio::spawn(async move { asking.get("/v2/hello/manifests/branch").await });
    let work = registry.work(async |_: &Attribute| panic!()).await;
    assert!(matches!(work, Work::Resolve { tag, .. } if tag.as_str() == "branch"));
    assert_eq!(pull.await.unwrap().status, 200);
}

#[tokio::test]
async fn nobody_waits_for_a_refresh() {
    let registry = Registry::new().await;
    registry.warm().await;
    for (age, jobs) in [(3600, 0), (7 * 3600, 1)] {
        registry.resolve("latest", age).await;
        // past what the function remembers
        tokio::time::sleep(Duration::from_millis(5100)).await;
        // one that waited would be sent round
        for _ in 0..3 {
            assert_eq!(registry.get(HELLO).await.status, 200);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(registry.queue.depth().await.unwrap(), depth(jobs), "{age}");
    }
}

#[tokio::test]
async fn a_claim_whose_owner_is_gone_is_taken_over() {
    let registry = Registry::with(&[("LAMINIX_HOP", "1s")]).await;
    registry.resolve("latest", 0).await;
    for attribute in ["hello", "bashInteractive", "cacert", "coreutils", "iana-etc"] {
        let subject = Subject::Package(PackageRef {
            source: registry.source.id(),
            revision: "1".repeat(40).parse().unwrap(),
            system: System::Amd64,
            attribute: attribute.parse().unwrap(),
        });
        let seen = now() - Claim::LIFE - u64::from(attribute == "hello");
        // the others are still held by somebody
        let seen = if attribute == "hello" { seen } else { now() };
        let claim = Claim {
            since: seen,
            seen,
            phase: String::new(),
        };
        registry
            .store
            .put(&subject.claim(), serde_json::to_vec(&claim).unwrap().into())
            .await
            .unwrap();
    }
    assert_eq!(registry.get(HELLO).await.status, 307);
    let delivery = registry.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    let Work::Build { attributes, .. } = delivery.job.unwrap().work else {
        panic!()
    };
    assert_eq!(
        attributes.iter().map(Attribute::as_str).collect::<Vec<_>>(),
        ["hello"]
    );
}

#[tokio::test]
async fn a_job_that_cannot_be_sent_is_claimed_by_nobody() {
    let registry = Registry::new().await;
    registry.resolve("latest", 0).await;
    let drafts = registry.directory.path().join("queue/drafts");
    std::fs::remove_dir_all(&drafts).unwrap();
    let answer = registry.get(HELLO).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (503, "UNAVAILABLE"));
    std::fs::create_dir(&drafts).unwrap();
    assert_eq!(registry.get(HELLO).await.status, 307);
    assert_eq!(registry.queue.depth().await.unwrap(), depth(1));
}

/// Fault 16 of the predecessor: the client was never told why.
#[tokio::test]
async fn people_are_told_why() {
    let registry = Registry::new().await;
    registry.warm().await;
    let until = now() + 600;
    let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
    registry
        .record(
            "helo",
            &PackageRecord::NotFound {
                near: vec!["hello".into(), "help".into()],
            },
        )
        .await;
    registry
        .record("nothing", &PackageRecord::NotFound { near: vec![] })
        .await;
    registry
        .record(
            "steam",
            &PackageRecord::Refused {
                reason: "`steam` is unfree".into(),
                until,
            },
        )
        .await;
    registry
        .record(
            "bad",
            &PackageRecord::Failed {
                reason: "the build of bad-1 failed".into(),
                log,
                until,
            },
        )
        .await;
    for (name, status, code, parts) in [
        (
            "helo",
            404,
            "MANIFEST_UNKNOWN",
            vec!["the package set has no `helo`; near it are `hello`, `help`"],
        ),
        (
            "nothing",
            404,
            "MANIFEST_UNKNOWN",
            vec!["the package set has no `nothing`"],
        ),
        ("steam", 403, "DENIED", vec!["`steam` is unfree"]),
        (
            "bad",
            403,
            "DENIED",
            vec!["the build of bad-1 failed", "line 99", "line 88"],
        ),
        (
            "bad/hello/steam/helo",
            404,
            "MANIFEST_UNKNOWN",
            vec!["helo", "unfree", "line 99"],
        ),
    ] {
        let answer = registry.get(&format!("/v2/{name}/manifests/latest")).await;
        let (found, message) = answer.error();
        assert_eq!((answer.status, found.as_str()), (status, code), "{name}");
        for part in parts {
            assert!(message.contains(part), "{name}: {message}");
        }
        assert!(!message.contains("line 87"), "only the end of a log");
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_after_its_time() {
    let registry = Registry::with(&[("LAMINIX_HOP", "1s")]).await;
    registry.warm().await;
    registry
        .record(
            "hello",
            &PackageRecord::Failed {
                reason: "x".into(),
                log: String::new(),
                until: now(),
            },
        )
        .await;
    assert_eq!(registry.get(HELLO).await.status, 307);
    assert_eq!(registry.queue.depth().await.unwrap(), depth(1));
}

#[tokio::test]
async fn a_base_that_the_set_lacks_is_left_out() {
    let registry = Registry::new().await;
    registry.warm().await;
    for attribute in ["cacert", "iana-etc", "coreutils"] {
        registry
            .record(attribute, &PackageRecord::NotFound { near: vec![] })
            .await;
    }
    assert_eq!(registry.get(HELLO).await.status, 200);
}

#[tokio::test]
async fn records_that_cannot_be_read_are_made_again() {
    let registry = Registry::with(&[("LAMINIX_HOP", "1s")]).await;
    registry.warm().await;
    let key = Key::Package(PackageRef {
        source: registry.source.id(),
        revision: "1".repeat(40).parse().unwrap(),
        system: System::Amd64,
        attribute: "hello".parse().unwrap(),
    });
    registry
        .store
        .put(&key, bytes::Bytes::from_static(b"{\"state\":\"re"))
        .await
        .unwrap();
    assert_eq!(registry.get(HELLO).await.status, 307);
    assert_eq!(registry.queue.depth().await.unwrap(), depth(1));
}
