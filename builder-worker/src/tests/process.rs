//! Processes that do not end by themselves.

use std::time::{Duration, Instant};

use laminix_builder::process::{ProcessError, Run};

use crate::bench::{is_running, long_time};

fn sh(script: &str) -> Run {
    Run::new("sh").args(["-c", script])
}

#[tokio::test]
async fn nothing_is_left_when_the_time_is_up() {
    let start = Instant::now();
    let seconds = long_time(1);
    let late = sh(&format!("sleep {seconds} & wait"))
        .time(Duration::from_millis(300))
        .finish()
        .await;
    assert!(matches!(late, Err(ProcessError::Time(..))));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!is_running(&seconds));
}

#[tokio::test]
async fn nothing_is_left_when_nobody_waits() {
    let seconds = long_time(2);
    let run = sh(&format!("sleep {seconds} & wait")).finish();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), run)
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!is_running(&seconds));
}

#[tokio::test]
async fn what_ignores_the_signal_is_killed() {
    let part = format!("0.1{}", long_time(3));
    let stubborn = sh(&format!("trap '' TERM; while :; do sleep {part}; done"))
        .time(Duration::from_millis(300))
        .finish()
        .await;
    assert!(matches!(stubborn, Err(ProcessError::Time(..))));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!is_running(&part));
}

/// What happens to a job whose worker gives it back: nobody waits for its processes, and they are not asked to agree.
#[tokio::test]
async fn what_ignores_the_signal_is_killed_when_nobody_waits() {
    let part = format!("0.2{}", long_time(4));
    let run = sh(&format!("trap '' TERM; while :; do sleep {part}; done")).finish();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), run)
            .await
            .is_err()
    );
    assert!(is_running(&part));
    let dropped = Instant::now();
    while is_running(&part) {
        assert!(dropped.elapsed() < Duration::from_secs(15), "it was left behind");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
