//! What comes out of a server that misbehaves, and how soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::GcsStore;
use super::super::retry::Patience;
use super::fake::{Act, Fake, SHORT, store_at};
use crate::digest::Digest;
use crate::key::{Key, Subject, TagRef};
use crate::store::StoreError;

const OPERATIONS: [&str; 10] = [
    "get",
    "size",
    "put",
    "create",
    "delete",
    "upload",
    "large upload",
    "download",
    "intact",
    "open",
];

fn key() -> Key {
    Subject::Tag(TagRef {
        source: "s".repeat(32),
        tag: "a".parse().unwrap(),
    })
    .claim()
}

/// Longer than what is sent in one request.
pub(super) fn large() -> Vec<u8> {
    (0..500_000u32).map(|n| (n % 251) as u8).collect()
}

/// The kind of the error, or what came out.
pub(super) async fn outcome(store: &GcsStore, operation: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (local, copy) = (directory.path().join("local"), directory.path().join("copy"));
    let content = if operation == "large upload" {
        large()
    } else {
        b"content".to_vec()
    };
    std::fs::write(&local, &content).unwrap();
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let body = Bytes::from_static(b"content");
    let done = match operation {
        "get" => store.get(&key()).await.map(|got| format!("{got:?}")),
        "size" => store.size(&key()).await.map(|size| format!("{size:?}")),
        "put" => store.put(&key(), body).await.map(|()| "done".to_owned()),
        "create" => store.create(&key(), body).await.map(|new| new.to_string()),
        "delete" => store.delete(&key()).await.map(|()| "done".to_owned()),
        "upload" | "large upload" => store.upload(&digest, &local).await.map(|()| "done".to_owned()),
        "download" => store
            .download(&digest, &copy)
            .await
            .map(|whole| whole.to_string()),
        "intact" => store.intact(&digest, size).await.map(|intact| intact.to_string()),
        "open" => {
            return match store.clone().open().await {
                Ok(_) => "done".to_owned(),
                Err(problem) => problem[..problem.find(':').unwrap_or(problem.len())].to_owned(),
            };
        }
        other => panic!("{other}"),
    };
    match done {
        Ok(done) => done,
        Err(StoreError::Refused(..)) => "Refused".to_owned(),
        Err(StoreError::Busy(..)) => "Busy".to_owned(),
        Err(StoreError::Broken(..)) => "Broken".to_owned(),
    }
}

/// What each operation should come to, where the server always does the same.
fn expected(operation: &str, act: &str) -> &'static str {
    match (act, operation) {
        ("401" | "403" | "400" | "garbage" | "412", "open") if act != "garbage" => {
            "the bucket cannot be used"
        }
        ("404", "open") => "there is no bucket at http",
        // a bucket that does not answer may do so later
        (_, "open") => "done",
        ("401" | "403", _) => "Refused",
        ("400", _) => "Broken",
        ("412", "create") => "false",
        ("412", _) => "Broken",
        ("404", "get" | "size") => "None",
        ("404", "delete") => "done",
        ("404", "download" | "intact") => "false",
        ("404", _) => "Broken",
        // a session without a URL is none
        ("garbage", "size" | "intact" | "large upload") => "Broken",
        ("garbage", "get") => "Some(b\"garbage\")",
        ("garbage", "create") => "true",
        ("garbage", "download") => "false",
        ("garbage", _) => "done",
        // the rest is asked for, and the server sends all of it again
        ("cut", "download") => "Broken",
        (_, _) => "Busy",
    }
}

fn acts() -> Vec<(&'static str, Act)> {
    let limit = Bytes::from_static(br#"{"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}"#);
    let mut acts: Vec<_> = [
        "400", "401", "403", "404", "408", "412", "429", "500", "502", "503",
    ]
    .map(|status| (status, Act::status(status.parse().unwrap())))
    .into();
    acts.push(("rate limit", Act::Answer(403, Vec::new(), limit)));
    acts.push((
        "garbage",
        Act::Answer(200, Vec::new(), Bytes::from_static(b"garbage")),
    ));
    acts.push((
        "cut",
        Act::Cut(200, Vec::new(), Bytes::from_static(b"{\"size\""), 1000),
    ));
    acts.push(("stall", Act::Stall));
    acts.push(("reset", Act::Reset));
    acts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_its_kind_and_comes_in_time() {
    let mut rows = JoinSet::new();
    // most of them wait most of the time, and the machine may have two cores
    let turns = Arc::new(Semaphore::new(24));
    for operation in OPERATIONS {
        for (name, act) in acts() {
            let turns = Arc::clone(&turns);
            rows.spawn(async move {
                let _turn = turns.acquire().await;
                let fake = Fake::start(move |_, _| act.clone()).await;
                let from = Instant::now();
                let outcome = outcome(&store_at(&fake.address), operation).await;
                (operation, name, outcome, from.elapsed(), fake.seen().len())
            });
        }
    }
    for (operation, act, outcome, time, requests) in rows.join_all().await {
        assert_eq!(outcome, expected(operation, act), "{operation}, {act}");
        // a request that was begun within the budget, and room for a machine under load
        let most = SHORT.budget + SHORT.stall * 2 + Duration::from_secs(3);
        assert!(time < most, "{operation}, {act}: {time:?}");
        if outcome == "Busy" {
            // a machine under load may see no second one in so short a time
            let least = if act == "stall" { 1 } else { 2 };
            assert!((least..=10).contains(&requests), "{operation}, {act}: {requests}");
        } else if (operation, act) != ("download", "cut") && operation != "open" {
            assert_eq!(requests, 1, "{operation}, {act}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_a_store_that_is_busy() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = store_at(&listener.local_addr().unwrap().to_string());
    drop(listener);
    for operation in ["get", "put", "large upload", "download"] {
        assert_eq!(outcome(&store, operation).await, "Busy", "{operation}");
    }
}

#[test]
fn a_request_gives_up_after_ten_seconds() {
    let patience = Patience::default();
    assert_eq!(patience.budget, Duration::from_secs(10));
    assert!(patience.request * 2 <= patience.budget);
}

#[tokio::test]
async fn what_fails_twice_is_done_the_third_time() {
    let mut rows = JoinSet::new();
    for (operation, good, wanted) in [
        (
            "get",
            Act::Answer(200, Vec::new(), Bytes::from_static(b"x")),
            "Some(b\"x\")",
        ),
        ("size", Act::json(&json!({"size": "7"})), "Some(7)"),
        ("put", Act::json(&json!({})), "done"),
        ("create", Act::json(&json!({})), "true"),
        ("delete", Act::Answer(204, Vec::new(), Bytes::new()), "done"),
        (
            "download",
            Act::Answer(200, Vec::new(), Bytes::from_static(b"content")),
            "true",
        ),
    ] {
        for bad in [Act::status(503), Act::Reset, Act::Stall] {
            let good = good.clone();
            rows.spawn(async move {
                let fake = Fake::start(move |n, _| if n < 2 { bad.clone() } else { good.clone() }).await;
                let outcome = outcome(&store_at(&fake.address), operation).await;
                (operation, outcome, wanted, fake.seen().len())
            });
        }
    }
    for (operation, outcome, wanted, requests) in rows.join_all().await {
        assert_eq!((outcome.as_str(), requests), (wanted, 3), "{operation}");
    }
}

#[tokio::test]
async fn a_server_that_says_when_is_not_asked_before() {
    let later = |seconds: &str| Act::Answer(429, vec![("retry-after", seconds.to_owned())], Bytes::new());
    for (seconds, requests, wanted, least) in [("1", 2, "Some(b\"why not\")", 1000), ("60", 1, "Busy", 0)] {
        let later = later(seconds);
        let fake = Fake::start(move |n, _| if n == 0 { later.clone() } else { Act::status(200) }).await;
        let from = Instant::now();
        assert_eq!(outcome(&store_at(&fake.address), "get").await, wanted);
        assert_eq!(fake.seen().len(), requests);
        assert!(from.elapsed() >= Duration::from_millis(least));
        assert!(
            from.elapsed() < Duration::from_secs(10),
            "it does not wait for what is too late"
        );
    }
}

/// The answer to a write that was carried out is lost: the next try finds its own object.
#[tokio::test]
async fn a_write_that_was_not_heard_of_is_known_again() {
    for (noted, wanted) in [
        (Digest::of(b"content"), "true"),
        (Digest::of(b"another"), "false"),
    ] {
        let fake = Fake::start(move |n, seen| match (n, seen.method.as_str()) {
            (0, _) => Act::Stall,
            (_, "POST") => Act::status(412),
            (_, _) => Act::json(&json!({"size": "7", "metadata": {"sha256": noted}})),
        })
        .await;
        assert_eq!(outcome(&store_at(&fake.address), "create").await, wanted);
        assert_eq!(fake.seen().len(), 3);
    }
}

#[tokio::test]
async fn what_is_read_is_checked_by_its_md5() {
    for (sums, wanted) in [
        (
            "crc32c=AAAAAA==,md5=mgNkuembtIDdJeHwKEyFVQ==",
            "Some(b\"content\")",
        ),
        ("crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA==", "Broken"),
        ("crc32c=AAAAAA==", "Some(b\"content\")"),
    ] {
        let headers = vec![("x-goog-hash", sums.to_owned())];
        let act = Act::Answer(200, headers, Bytes::from_static(b"content"));
        let fake = Fake::start(move |_, _| act.clone()).await;
        assert_eq!(outcome(&store_at(&fake.address), "get").await, wanted, "{sums}");
    }
}

/// What is written says what it is, so that Google can check it.
#[tokio::test]
async fn what_is_written_is_described() {
    let fake = Fake::start(|_, _| Act::json(&json!({}))).await;
    let store = store_at(&fake.address);
    for (operation, condition) in [("put", ""), ("create", "&ifGenerationMatch=0")] {
        outcome(&store, operation).await;
        let seen = fake.seen().pop().unwrap();
        let target = format!(
            "/upload/storage/v1/b/bucket/o?name=p%2F{}&uploadType=multipart{condition}",
            key().path().replace('/', "%2F")
        );
        assert_eq!(seen.target, target);
        let boundary = format!("laminix-{}", Digest::of(b"content").hex());
        assert_eq!(
            seen.header("content-type"),
            format!("multipart/related; boundary={boundary}")
        );
        let body = String::from_utf8(seen.body.to_vec()).unwrap();
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
        assert_eq!((parts.len(), parts[0], parts[3]), (4, "", "--\r\n"));
        let description: serde_json::Value =
            serde_json::from_str(parts[1].split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let wanted = json!({
            "cacheControl": "no-store",
            "contentType": "application/json",
            "md5Hash": "mgNkuembtIDdJeHwKEyFVQ==",
            "metadata": {"sha256": Digest::of(b"content")},
        });
        assert_eq!(description, wanted);
        assert_eq!(parts[2], "\r\nContent-Type: application/json\r\n\r\ncontent\r\n");
    }
}

#[tokio::test]
async fn the_note_saves_reading_and_its_absence_does_not_hurt() {
    let (noted, other) = (Digest::of(b"content"), Digest::of(b"other"));
    for (size, metadata, content, wanted, requests) in [
        ("7", json!({"sha256": noted}), "", "true", 1),
        ("7", json!({"sha256": other}), "", "false", 1),
        ("8", json!({"sha256": noted}), "", "false", 1),
        ("7", json!({}), "content", "true", 2),
        ("7", json!({"sha256": "nonsense"}), "garbage", "false", 2),
    ] {
        let stored = json!({"size": size, "metadata": metadata});
        let fake = Fake::start(move |n, _| match n {
            0 => Act::json(&stored),
            _ => Act::Answer(200, Vec::new(), Bytes::from_static(content.as_bytes())),
        })
        .await;
        assert_eq!(
            outcome(&store_at(&fake.address), "intact").await,
            wanted,
            "{size} {content}"
        );
        assert_eq!(fake.seen().len(), requests, "{size} {content}");
    }
}
