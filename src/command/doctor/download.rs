//! Can a client download a blob by a URL that is signed here, and does the store's clock agree with ours?

use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use bytes::Bytes;
use http::header::DATE;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt as _;

use super::{Report, advice, fetch};
use crate::command::words;
use crate::digest::Digest;
use crate::key::Key;
use crate::record::{Seconds, now};
use crate::store::{Place, Store};

/// Always the same, so that there is one such blob in a store, however often it is checked.
const TEXT: &str =
    "This small blob is stored and fetched by `laminix doctor`. It may be deleted at any time.\n";

/// Clocks that NTP keeps are closer than this.
const OFF: Seconds = 30;

/// S3 refuses requests beyond a quarter of an hour, and URLs are good for as long.
const TOO_FAR: Seconds = 14 * 60;

/// Stores a blob and fetches it. Of a store that does not work otherwise only the clock is asked. Says whether it works.
pub(super) async fn check(store: &Store, works: bool, report: &mut Report) -> bool {
    match fetched(store, works, report).await {
        Ok((answer, took)) if works => judge(&answer, took, report),
        Ok(_) => {}
        Err((found, advice)) if works => report.failed("download", &found, advice),
        Err(_) => {}
    }
    works
}

/// What the signed URL of a blob gives out, and how long that took.
async fn fetched(
    store: &Store,
    works: bool,
    report: &mut Report,
) -> Result<(Response<Bytes>, Duration), (String, &'static str)> {
    let digest = Digest::of(TEXT.as_bytes());
    if works {
        let body = Bytes::from_static(TEXT.as_bytes());
        store.put(&Key::Blob(digest), body).await.map_err(|error| {
            let (short, advice) = advice::of(&error);
            (format!("a small blob cannot be stored: {short}"), advice)
        })?;
    }
    let url = store.presign(&digest, &Method::GET).await;
    let url = url.map_err(|error| advice::of(&error))?;
    let began = Instant::now();
    let answer = match store.place() {
        // relative: the registry answers its own URLs
        Place::File(files) => {
            let (head, body) = files
                .serve(&Method::GET, &url, &HeaderMap::new())
                .await
                .into_parts();
            let body = body.collect().await;
            body.map(|body| Response::from_parts(head, body.to_bytes()))
                .map_err(|error| error.to_string())
        }
        Place::S3(_) | Place::Gcs(_) => {
            let answer = fetch::get(&url).await;
            if let Ok(answer) = &answer {
                clock(answer, report);
            }
            answer
        }
    };
    let took = began.elapsed();
    let answer = answer.map_err(|problem| {
        let (short, _) = advice::of_text(&problem);
        (
            format!("the store's signed URLs cannot be fetched from here: {short}"),
            "clients are sent to the store's own address: it must be one that they can reach",
        )
    })?;
    Ok((answer, took))
}

/// The store's clock, as the `Date` of any answer has it, also of a refusal.
fn clock(answer: &Response<Bytes>, report: &mut Report) {
    let date = answer.headers().get(DATE);
    let date = date.and_then(|date| DateTime::from_str(date.to_str().ok()?, DateTimeFormat::HttpDate).ok());
    let Some(theirs) = date.and_then(|date| Seconds::try_from(date.secs()).ok()) else {
        return report.warning(
            "clock",
            "the store does not say what time it is",
            "make sure that this machine's clock is kept by NTP: signatures depend on it",
        );
    };
    let ours = now();
    let off = ours.abs_diff(theirs);
    let found = format!(
        "{} {} the store's",
        words::span(off),
        if ours < theirs { "behind" } else { "ahead of" }
    );
    let advice = "set this machine's clock, and have it kept by NTP: signatures depend on it";
    match off {
        0..=1 => report.ok("clock", "agrees with the store's"),
        off if off <= OFF => report.ok("clock", &found),
        off if off <= TOO_FAR => report.warning("clock", &found, advice),
        _ => report.failed("clock", &found, advice),
    }
}

fn judge(answer: &Response<Bytes>, took: Duration, report: &mut Report) {
    let status = answer.status();
    let body = String::from_utf8_lossy(answer.body());
    if status.is_success() && answer.body() == TEXT.as_bytes() {
        return report.ok(
            "download",
            &format!("a blob is fetched by a signed URL in {}", words::took(took)),
        );
    }
    if status.is_success() {
        return report.failed(
            "download",
            "a signed URL gives out something else than what was stored",
            "something between here and the store answers in its place: a proxy, or a captive portal",
        );
    }
    let (short, known) = advice::of_text(&format!("{status}: {body}"));
    // S3 and MinIO say the first, Google the second
    let expired = ["Request has expired", "signature expired"];
    let advice = if expired.iter().any(|words| body.contains(words)) {
        "the URL has expired as soon as it was signed: compare the clocks (the line `clock`)"
    } else {
        known
    };
    report.failed(
        "download",
        &format!("the store refuses its signed URL: {short}"),
        advice,
    );
}
