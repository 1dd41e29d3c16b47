//! The store in a bucket of Google Cloud Storage, on a server: `.ci/stores` starts one.
//!
//! What a server that misbehaves leads to is in `src/store/gcs/tests`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Method;
use laminix::digest::Digest;
use laminix::key::Key;
use laminix::store::Store;
use laminix::store::gcs::{CREDENTIALS, SIGNING_ACCOUNT, SIGNING_KEY};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::store::{Winners, contract};

/// `gs://BUCKET?endpoint=http://HOST:PORT`: a bucket that may be written to.
const BUCKET: &str = "LAMINIX_TEST_GCS";

const EMAIL: &str = "laminix+test@project-1.iam.gserviceaccount.com";

/// A store under a prefix of its own, and the address of its server.
async fn store(prefix: &str, key: &str) -> Option<(Store, String)> {
    #[expect(clippy::disallowed_methods, reason = "this is a test's configuration")]
    let Ok(bucket) = std::env::var(BUCKET) else {
        eprintln!("skipped: {BUCKET} is not set");
        return None;
    };
    let (bucket, endpoint) = bucket.split_once("?endpoint=").expect("an endpoint");
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let url = format!("{bucket}/{time}/{prefix}?endpoint={endpoint}");
    let store = Store::open(&url, &|name| match name {
        SIGNING_KEY => Some(key.to_owned()),
        SIGNING_ACCOUNT => Some(EMAIL.to_owned()),
        _ => None,
    });
    let host = endpoint.strip_prefix("http://").expect("no encryption");
    Some((store.await.expect("a store"), host.to_owned()))
}

fn pem() -> &'static str {
    include_str!("test_key.pem")
}

/// The status line, the head and the body of what a client gets.
async fn get(host: &str, url: &str) -> (String, Vec<u8>) {
    let target = url.split_once(host).expect("a URL of the server").1;
    let mut server = TcpStream::connect(host).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    server.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head.to_lowercase(), answer[end + 4..].to_vec())
}

#[tokio::test]
async fn the_bucket_of_google_keeps_the_contract() {
    for prefix in ["plain", "it's%20c++/%C3%A9:~"] {
        if let Some((store, _)) = store(prefix, pem()).await {
            contract(&store, Winners::One).await;
        }
    }
}

#[tokio::test]
async fn a_key_may_be_a_file_or_on_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    fs::write(&file, pem()).unwrap();
    let line = pem().trim().replace('\n', "\\n");
    for key in [file.display().to_string(), line] {
        let Some((store, host)) = store("keys", &key).await else {
            return;
        };
        let url = store.presign(&Digest::of(b"x"), &Method::GET).await.unwrap();
        assert!(
            url.starts_with(&format!("http://{host}/")) && url.contains("&X-Goog-Signature="),
            "{url}"
        );
    }
}

#[tokio::test]
async fn clients_get_blobs_by_signed_urls() {
    let Some((store, host)) = store("a%20b/c+'", pem()).await else {
        return;
    };
    let content = b"0123456789";
    let digest = Digest::of(content);
    let url = store.presign(&digest, &Method::GET).await.unwrap();
    assert!(get(&host, &url).await.0.starts_with("http/1.1 404"));
    store
        .put(&Key::Blob(digest), Bytes::from_static(content))
        .await
        .unwrap();
    let (head, body) = get(&host, &url).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: application/octet-stream"),
        "{head}"
    );
    assert!(!head.contains("\r\ncontent-encoding:"), "{head}");
    assert_eq!(body, content);
}

/// Longer than what is sent in one request.
#[tokio::test]
async fn large_blobs_are_uploaded_in_pieces() {
    let Some((store, _)) = store("large", pem()).await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (local, copy) = (directory.path().join("local"), directory.path().join("copy"));
    let content: Vec<u8> = (0..20_000_000u32).map(|n| (n % 253) as u8).collect();
    fs::write(&local, &content).unwrap();
    let digest = Digest::of(&content);
    store.upload(&digest, &local).await.unwrap();
    assert!(store.intact(&digest, content.len() as u64).await.unwrap());
    assert!(store.download(&digest, &copy).await.unwrap());
    assert!(fs::read(&copy).unwrap() == content);
    // and nothing under a digest that is not the file's
    let other = Digest::of(b"other");
    assert!(store.upload(&other, &local).await.is_err());
    assert_eq!(store.size(&Key::Blob(other)).await.unwrap(), None);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_said_so() {
    #[expect(clippy::disallowed_methods, reason = "this is a test's configuration")]
    let Ok(bucket) = std::env::var(BUCKET) else { return };
    let endpoint = bucket.split_once('?').expect("an endpoint").1;
    let problem = Store::open(&format!("gs://no-such-bucket?{endpoint}"), &|_| None)
        .await
        .unwrap_err();
    assert!(problem.contains("there is no bucket"), "{problem}");
}

#[tokio::test]
async fn wrong_credentials_are_said_so() {
    let json = |text: &str| Some(text.to_owned());
    for (name, value, words) in [
        (SIGNING_KEY, json(pem()), SIGNING_ACCOUNT),
        (CREDENTIALS, json("{"), CREDENTIALS),
        (
            CREDENTIALS,
            json(r#"{"type": "external_account"}"#),
            "authorized_user",
        ),
        (
            CREDENTIALS,
            json(r#"{"type": "service_account", "client_email": "a@b", "private_key": "secret"}"#),
            "no private key",
        ),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            json("/no/such/file"),
            "/no/such/file",
        ),
    ] {
        let opened = Store::open("gs://bucket", &|asked| {
            (asked == name).then(|| value.clone()).flatten()
        })
        .await;
        let problem = opened.unwrap_err();
        assert!(
            problem.contains(words) && !problem.contains("secret"),
            "{problem}"
        );
    }
}
