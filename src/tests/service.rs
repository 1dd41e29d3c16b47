//! The contracts on real servers, which `.ci/stores` starts: `NAME=URL` for each, in two variables.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use laminix::digest::Digest;
use laminix::job::{Job, Work};
use laminix::key::Key;
use laminix::queue::sqs::SqsQueue;
use laminix::queue::{Depth, Queue};
use laminix::store::{Store, StoreError};

use crate::queue::{Late, job};
use crate::store::Winners;
use crate::{queue, store};

/// SQS counts in whole seconds.
const VISIBILITY: Duration = Duration::from_secs(2);

pub(crate) fn services(variable: &str) -> Vec<(String, String)> {
    let value = laminix::config::environment(variable).expect("set by .ci/stores");
    let services: Vec<_> = value
        .split_whitespace()
        .map(|service| service.split_once('=').expect("NAME=URL"))
        .map(|(name, url)| (name.to_owned(), url.to_owned()))
        .collect();
    assert!(!services.is_empty());
    services
}

/// The same bucket, below a prefix that nobody else has.
fn below(url: &str, prefix: &str) -> String {
    let moment = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let (place, query) = url.split_once('?').unwrap();
    format!("{place}/{prefix}-{moment}?{query}")
}

async fn open(url: &str) -> Store {
    Store::open(url, &|name| laminix::config::environment(name))
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs servers: .ci/stores"]
async fn every_store_keeps_the_contract() {
    for (name, url) in services("LAMINIX_TEST_STORES") {
        eprintln!("{name}");
        let winners = if name == "s3s" {
            Winners::Some
        } else {
            Winners::One
        };
        store::contract(&open(&below(&url, "contract")).await, winners).await;
        eprintln!("{name} keeps the contract");
    }
}

/// More than one request holds: a blob in parts, and one that turns out to be another.
#[tokio::test]
#[ignore = "needs servers: .ci/stores"]
async fn a_large_blob_goes_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let (local, copy) = (directory.path().join("local"), directory.path().join("copy"));
    let content: Vec<u8> = (0..100_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    std::fs::write(&local, &content).unwrap();
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    for (name, url) in services("LAMINIX_TEST_STORES") {
        let store = open(&below(&url, "parts")).await;
        store.upload(&digest, &local).await.unwrap();
        assert_eq!(
            store.size(&Key::Blob(digest)).await.unwrap(),
            Some(size),
            "{name}"
        );
        assert!(store.intact(&digest, size).await.unwrap(), "{name}");
        assert!(store.download(&digest, &copy).await.unwrap(), "{name}");
        assert_eq!(std::fs::read(&copy).unwrap(), content, "{name}");
        assert!(matches!(
            store.upload(&Digest::of(b"other"), &local).await,
            Err(StoreError::Broken(..))
        ));
    }
}

/// Signed for one method and one object, and good without any credentials.
#[tokio::test]
#[ignore = "needs servers: .ci/stores"]
async fn presigned_urls_are_good_for_what_was_signed() {
    for (name, url) in services("LAMINIX_TEST_STORES") {
        let store = open(&below(&url, "signed")).await;
        let (content, calls) = (b"0123456789", store.calls());
        let (digest, other) = (Digest::of(content), Digest::of(b"other"));
        let signed = store.presign(&digest, &Method::GET).await.unwrap();
        assert_eq!(store.calls(), calls, "signing is no call");
        assert_eq!(fetch("GET", &signed, &[]).await.0, 404, "{name}");
        store
            .put(&Key::Blob(digest), Bytes::from_static(content))
            .await
            .unwrap();
        assert_eq!(
            fetch("GET", &signed, &[]).await,
            (200, content.to_vec()),
            "{name}"
        );
        assert_eq!(
            fetch("GET", &signed, &["range: bytes=2-4"]).await,
            (206, b"234".to_vec()),
            "{name}"
        );
        assert_eq!(fetch("HEAD", &signed, &[]).await.0, 403, "{name}");
        let head = store.presign(&digest, &Method::HEAD).await.unwrap();
        assert_eq!(fetch("HEAD", &head, &[]).await.0, 200, "{name}");
        let moved = signed.replace(&digest.hex(), &other.hex());
        assert!([400, 403].contains(&fetch("GET", &moved, &[]).await.0), "{name}");
        let longer = signed.replace("X-Amz-Expires=900", "X-Amz-Expires=901");
        assert_ne!(signed, longer, "{signed}");
        assert!([400, 403].contains(&fetch("GET", &longer, &[]).await.0), "{name}");
    }
}

/// A place that is not there, and keys that are not good, are not an empty store.
#[tokio::test]
#[ignore = "needs servers: .ci/stores"]
async fn what_is_configured_wrongly_is_refused() {
    for (name, url) in services("LAMINIX_TEST_STORES") {
        let key = Key::Blob(Digest::of(b""));
        // s3s-fs says of a bucket that is not there that the key is not
        if name != "s3s" {
            let nowhere = open(&url.replace("s3://laminix", "s3://nowhere")).await;
            let read = nowhere.get(&key).await;
            assert!(matches!(read, Err(StoreError::Refused(..))), "{name}: {read:?}");
        }
        let strange = |variable: &str| variable.starts_with("LAMINIX_STORE_").then(|| "wrong".to_owned());
        let strange = Store::open(&url, &strange).await.unwrap();
        let refused = strange.get(&key).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(..))),
            "{name}: {refused:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs servers: .ci/stores"]
async fn every_queue_keeps_the_contract() {
    for (name, url) in services("LAMINIX_TEST_QUEUES") {
        eprintln!("{name}");
        let rest = url.strip_prefix("sqs://").unwrap();
        let queue = Queue::Sqs(SqsQueue::open_with(rest, VISIBILITY).await.unwrap());
        queue::contract(&queue, VISIBILITY, Late::Anything).await;
        by_hand(&queue, &url).await;
        eprintln!("{name} keeps the contract");
    }
}

/// A message that was written by hand is a job; one of an older format goes to the dead-letter queue, with a reason.
async fn by_hand(queue: &Queue, url: &str) {
    let parked = queue.depth().await.unwrap().parked;
    let warm = r#"{"format":1,"job":"warm","source":"path:/set","name":"shell/git","tag":"latest"}"#;
    send(url, warm).await;
    let delivery = queue.receive(VISIBILITY).await.unwrap().unwrap();
    assert!(matches!(&delivery.job.unwrap().work, Work::Warm { name, .. } if name == "shell/git"));
    queue.complete(&delivery.receipt).await.unwrap();
    send(url, r#"{"format":0,"job":"warm"}"#).await;
    let delivery = queue.receive(VISIBILITY).await.unwrap().unwrap();
    let reason = delivery.job.unwrap_err().to_string();
    queue.park(&delivery.receipt, &reason).await.unwrap();
    assert_eq!(
        queue.depth().await.unwrap(),
        Depth {
            waiting: 0,
            running: 0,
            parked: parked + 1
        }
    );
    // each message is settled by itself
    for tag in ["one", "two"] {
        queue.send(&job(tag)).await.unwrap();
    }
    let one = queue.receive(VISIBILITY).await.unwrap().unwrap();
    let two = queue.receive(VISIBILITY).await.unwrap().unwrap();
    queue.complete(&two.receipt).await.unwrap();
    assert!(
        !queue
            .give_back(&one.receipt, Duration::ZERO, "again")
            .await
            .unwrap()
    );
    let again: Job = queue.receive(VISIBILITY).await.unwrap().unwrap().job.unwrap();
    assert_eq!(again, one.job.unwrap());
}

/// What `aws sqs send-message` does.
async fn send(url: &str, body: &str) {
    let host = url
        .strip_prefix("sqs://")
        .and_then(|url| url.split('/').next())
        .unwrap();
    let queue = url
        .replace("sqs://", "http://")
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    let body = serde_json::json!({ "QueueUrl": queue, "MessageBody": body }).to_string();
    let headers = [
        "content-type: application/x-amz-json-1.0",
        "x-amz-target: AmazonSQS.SendMessage",
        "authorization: AWS4-HMAC-SHA256 Credential=laminix/20260101/eu-central-1/sqs/aws4_request, SignedHeaders=host, \
         Signature=0",
    ];
    let (status, answer) = request("POST", host, "/", &headers, &body).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

async fn fetch(method: &str, url: &str, headers: &[&str]) -> (u16, Vec<u8>) {
    let (host, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    request(method, host, &format!("/{target}"), headers, "").await
}

/// One request on a connection of its own.
async fn request(method: &str, host: &str, target: &str, headers: &[&str], body: &str) -> (u16, Vec<u8>) {
    use http_body_util::BodyExt as _;
    let stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", host);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let response = sender
        .send_request(request.body(body.to_owned()).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    (
        status,
        response.into_body().collect().await.unwrap().to_bytes().to_vec(),
    )
}
