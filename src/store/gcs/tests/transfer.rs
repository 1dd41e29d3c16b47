//! Transfers that break off, and go on.

use bytes::Bytes;
use serde_json::json;

use super::fake::{Act, Fake, Seen, store_at};
use super::faults::{large, outcome};
use crate::digest::Digest;

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let generation = |number: &str| vec![("x-goog-generation", number.to_owned())];
    let fake = Fake::start(move |n, _| match n {
        0 => Act::Cut(200, generation("5"), Bytes::from_static(b"con"), 7),
        1 => Act::status(503),
        2 => Act::Cut(206, generation("5"), Bytes::from_static(b"te"), 4),
        _ => Act::Answer(206, generation("5"), Bytes::from_static(b"nt")),
    })
    .await;
    assert_eq!(outcome(&store_at(&fake.address), "download").await, "true");
    let asked: Vec<_> = fake
        .seen()
        .iter()
        .map(|seen| {
            (
                seen.header("range").to_owned(),
                seen.target.ends_with("&generation=5"),
            )
        })
        .collect();
    let from = |n: u8| (format!("bytes={n}-"), true);
    assert_eq!(asked, [(String::new(), false), from(3), from(3), from(5)]);
}

#[tokio::test]
async fn an_object_that_was_replaced_is_read_anew() {
    let fake = Fake::start(move |n, _| match n {
        0 => Act::Cut(
            200,
            vec![("x-goog-generation", "5".to_owned())],
            Bytes::from_static(b"other thing"),
            70,
        ),
        1 => Act::status(404),
        _ => Act::Answer(200, Vec::new(), Bytes::from_static(b"content")),
    })
    .await;
    assert_eq!(outcome(&store_at(&fake.address), "download").await, "true");
}

/// What Google would have of an upload, put together from the requests.
fn assembled(seen: &[Seen]) -> Vec<u8> {
    let mut kept = Vec::new();
    for request in seen
        .iter()
        .filter(|request| request.method == "PUT" && !request.body.is_empty())
    {
        let range = request.header("content-range").strip_prefix("bytes ").unwrap();
        let from: usize = range.split('-').next().unwrap().parse().unwrap();
        kept.truncate(from);
        assert_eq!(kept.len(), from);
        kept.extend_from_slice(&request.body);
    }
    kept
}

fn session(fake: &str) -> Act {
    let url = format!("http://{fake}/session?upload_id=1");
    Act::Answer(200, vec![("location", url)], Bytes::new())
}

/// Of each request 100,000 bytes are kept, and then the server does this.
async fn upload_through(then: Act, status: Act) -> (String, Vec<Seen>) {
    let fake = Fake::taking(100_000, move |_, seen| {
        match (seen.method.as_str(), seen.header("content-range")) {
            ("POST", _) => session(seen.header("host")),
            ("PUT", range) if range.starts_with("bytes */") => status.clone(),
            ("PUT", range) if range.starts_with("bytes 400000-") => Act::status(200),
            ("PUT", range) => match &then {
                Act::Answer(308, ..) => {
                    let from: u64 = range["bytes ".len()..]
                        .split('-')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap();
                    Act::Answer(
                        308,
                        vec![("range", format!("bytes=0-{}", from + 99_999))],
                        Bytes::new(),
                    )
                }
                other => other.clone(),
            },
            _ => Act::status(499),
        }
    })
    .await;
    let outcome = outcome(&store_at(&fake.address), "large upload").await;
    (outcome, fake.seen())
}

#[tokio::test]
async fn an_upload_goes_on_behind_what_is_kept() {
    let (outcome, seen) = upload_through(Act::status(308), Act::status(500)).await;
    assert_eq!(outcome, "done");
    assert!(assembled(&seen) == large());
    let begun = &seen[0];
    assert!(begun.target.contains("uploadType=resumable"), "{}", begun.target);
    assert_eq!(begun.header("x-upload-content-length"), "500000");
    let description: serde_json::Value = serde_json::from_slice(&begun.body).unwrap();
    assert_eq!(description["contentType"], "application/octet-stream");
    assert_eq!(description["metadata"]["sha256"], json!(Digest::of(&large())));
    assert!(description["md5Hash"].is_string());
}

#[tokio::test]
async fn an_upload_asks_how_far_it_is_and_is_given_up_in_time() {
    let kept = Act::Answer(308, vec![("range", "bytes=0-399999".to_owned())], Bytes::new());
    let nothing = Act::status(308);
    for (then, status, wanted, aborted) in [
        (Act::Reset, kept.clone(), "done", false),
        (Act::status(503), kept, "done", false),
        // the object was there, and only the answer was lost
        (Act::Reset, Act::status(200), "done", false),
        (Act::status(503), nothing, "Busy", true),
        (Act::status(503), Act::status(404), "Busy", true),
        (Act::status(403), Act::status(500), "Refused", true),
        (Act::status(400), Act::status(500), "Broken", true),
    ] {
        let case = format!("{then:?} {status:?}");
        let (outcome, seen) = upload_through(then, status).await;
        assert_eq!(outcome, wanted, "{case}");
        let last = seen.last().unwrap();
        assert_eq!(
            last.method == "DELETE" && last.target.starts_with("/session"),
            aborted,
            "{case}"
        );
    }
}
