//! The commands for operators, started as they are started, with a store and a queue in a directory and a played worker.

#![expect(
    clippy::disallowed_methods,
    reason = "the program is started as its users start it"
)]

mod doctor;
mod status;
mod warm;

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use laminix::job::Work;
use laminix::key::{Key, Subject, TagRef};
use laminix::queue::Depth;
use laminix::record::PackageRecord;

use crate::fixture::Registry;

pub(super) const BASE: [&str; 4] = ["bashInteractive", "cacert", "coreutils", "iana-etc"];

/// The program with a registry's variables.
pub(super) fn laminix(registry: &Registry, arguments: &[&str]) -> Command {
    let place = |name: &str| format!("file://{}/{name}", registry.directory.path().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_laminix"));
    command
        .args(arguments)
        .env_clear()
        .env("LAMINIX_STORE", place("store"))
        .env("LAMINIX_QUEUE", place("queue"))
        .env("LAMINIX_SOURCE", "git+file:///set")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Exit code, stdout, stderr.
pub(super) type Said = (Option<i32>, String, String);

pub(super) fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

pub(super) fn run(registry: &Registry, arguments: &[&str]) -> Said {
    said(&laminix(registry, arguments).output().unwrap())
}

/// Waits for one that was started, while others here go on.
pub(super) async fn end(child: Child) -> Said {
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    said(&output.await.unwrap().unwrap())
}

pub(super) fn with_input(registry: &Registry, arguments: &[&str], input: &str) -> Said {
    let mut child = laminix(registry, arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    said(&child.wait_with_output().unwrap())
}

pub(super) fn depth(waiting: usize) -> Depth {
    Depth {
        waiting,
        running: 0,
        parked: 0,
    }
}

pub(super) fn failed(reason: &str, until: u64) -> PackageRecord {
    PackageRecord::Failed {
        reason: reason.to_owned(),
        log: "first\nmake: *** [all] Error 2\n".to_owned(),
        until,
    }
}

/// The next job of the queue, which must be a warm one: its name and tag.
pub(super) async fn warm_job(registry: &Registry) -> (String, String) {
    let delivery = registry.queue.receive(std::time::Duration::from_secs(10)).await;
    let delivery = delivery.unwrap().expect("a job");
    registry.queue.complete(&delivery.receipt).await.unwrap();
    match delivery.job.unwrap().work {
        Work::Warm { name, tag, source } => {
            assert_eq!(source, registry.source);
            (name, tag.as_str().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn tag(registry: &Registry, tag: &str) -> Subject {
    Subject::Tag(TagRef {
        source: registry.source.id(),
        tag: tag.parse().unwrap(),
    })
}

pub(super) async fn put(registry: &Registry, key: &Key, record: &impl serde::Serialize) {
    let body = serde_json::to_vec(record).unwrap();
    registry.store.put(key, body.into()).await.unwrap();
}
