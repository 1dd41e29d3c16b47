//! What people read on their terminals: short, printable, and the part that matters.

use laminix::record::PackageRecord;

use crate::fixture::Registry;
use laminix::record::now;

/// The most that a terminal of docker or podman shows of an error without becoming unreadable.
const LIMIT: usize = 4000;

async fn told(attribute: &str, reason: &str, log: &str) -> String {
    let registry = Registry::new().await;
    registry.warm().await;
    let failed = PackageRecord::Failed {
        reason: reason.to_owned(),
        log: log.to_owned(),
        until: now() + 600,
    };
    registry.record(attribute, &failed).await;
    let answer = registry.get("/v2/hello/manifests/latest").await;
    let (code, message) = answer.error();
    assert_eq!((answer.status, code.as_str()), (403, "DENIED"));
    message
}

#[tokio::test]
async fn a_terminal_cannot_be_driven_by_a_log() {
    let log = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31mred\r\u{8}\u{0}\u{202e}live\u{2066}\u{200b}\n\u{feff}end";
    let message = told("hello", "the build failed", log).await;
    for bad in [
        '\u{1b}', '\u{7}', '\u{9b}', '\r', '\u{8}', '\u{0}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}',
    ] {
        assert!(!message.contains(bad), "{bad:?} in {message:?}");
    }
    assert!(
        message.contains("red") && message.contains("live") && message.ends_with("end"),
        "{message:?}"
    );
}

#[tokio::test]
async fn long_lines_do_not_hide_the_end_of_a_log() {
    let lines: Vec<String> = (0..30).map(|n| format!("{n}: {}", "é".repeat(3000))).collect();
    let log = format!("{}\nerror: the disk is full\n", lines.join("\n"));
    let message = told("hello", "the build failed", &log).await;
    assert!(message.chars().count() <= LIMIT);
    assert!(
        message.starts_with("the build failed") && message.ends_with("error: the disk is full"),
        "{message}"
    );
}

#[tokio::test]
async fn an_endless_reason_is_cut() {
    let message = told("hello", &"x".repeat(1 << 20), "").await;
    assert!((1..=LIMIT).contains(&message.chars().count()));
}

/// An image without its base would break its contract in silence.
#[tokio::test]
async fn a_base_that_fails_is_said_and_not_left_out() {
    let message = told("cacert", "the build of cacert-3 failed", "no space left").await;
    assert!(
        message.contains("cacert-3") && message.contains("no space left"),
        "{message}"
    );
}
