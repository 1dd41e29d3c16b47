//! Is there a worker, and is it well?

use std::time::{Duration, Instant};

use http::StatusCode;

use super::{Report, advice, fetch};
use crate::command::look;
use crate::command::terminal::Progress;
use crate::command::words;
use crate::job::{Job, Work};
use crate::key::{Key, TagRef};
use crate::name::Tag;
use crate::queue::Queue;
use crate::record::{SourceRecord, now};
use crate::source::Source;
use crate::store::{Store, StoreError};

/// The worker's metrics that tell of Nix.
const NIX: &str = "laminix_nix_info";
const FREE: &str = "laminix_nix_store_free_bytes";

const LOOK: Duration = Duration::from_millis(500);

/// Sends a job that does no harm, and waits until it is done: `latest` is looked up anew.
pub(super) async fn ask(store: &Store, queue: &Queue, source: &Source, time: Duration, report: &mut Report) {
    let check = "worker";
    match answered(store, queue, source, time).await {
        Ok(Some((took, record))) => {
            let took = words::took(took);
            match record {
                SourceRecord::Resolved { revision, .. } => report.ok(
                    check,
                    &format!("one has answered in {took}: `latest` is {}", revision.short()),
                ),
                SourceRecord::Refused { reason, .. } => report.warning(
                    check,
                    &format!("one has answered in {took}, and `latest` names nothing: {reason}"),
                    "check LAMINIX_SOURCE, and that the worker can reach it",
                ),
            }
        }
        Ok(None) => {
            let waited = words::span(time.as_secs());
            let busy = queue.depth().await.is_ok_and(|depth| depth.running > 0);
            if busy {
                report.warning(
                    check,
                    &format!("none has answered within {waited}, and jobs are being done"),
                    "all workers may be busy: wait longer with --for, or run more of them",
                );
            } else {
                report.failed(
                    check,
                    &format!("none has answered within {waited}"),
                    "start a worker on this queue, store and source (a worker puts jobs for another source aside), or \
                     see why it does not come; the job stays in the queue",
                );
            }
        }
        Err(problem) => {
            let (short, advice) = advice::of_text(&problem);
            report.failed(check, &short, advice);
        }
    }
}

/// The record that a worker has written, and how long it took.
async fn answered(
    store: &Store,
    queue: &Queue,
    source: &Source,
    time: Duration,
) -> Result<Option<(Duration, SourceRecord)>, String> {
    let key = Key::Source(TagRef {
        source: source.id(),
        tag: Tag::latest(),
    });
    let failed = |error: StoreError| words::in_full(&error);
    let before = store.get(&key).await.map_err(failed)?;
    let known = before
        .as_ref()
        .and_then(|bytes| serde_json::from_slice(bytes).ok());
    if let Some(SourceRecord::Resolved { at, .. }) = known
        && at >= now()
    {
        // records tell seconds: one of the same second would look the same
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let began = Instant::now();
    let work = Work::Resolve {
        source: source.clone(),
        tag: Tag::latest(),
    };
    let sent = queue.send(&Job::new(work)).await;
    sent.map_err(|error| words::in_full(&error))?;
    let mut progress = Progress::new();
    while began.elapsed() < time {
        let left = time.saturating_sub(began.elapsed()).as_secs();
        progress.show(&format!(
            "a job is sent: a worker has {} to answer",
            words::span(left)
        ));
        let found = look::read(store, [key.clone()]).await.map_err(failed)?;
        if found.get(&key) != before.as_ref()
            && let Some(record) = look::record(&found, &key)
        {
            return Ok(Some((began.elapsed(), record)));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// Asks the worker of this machine how it is, and what Nix it has.
pub(super) async fn health(address: &str, report: &mut Report) {
    let check = "worker";
    // a worker that listens everywhere listens here
    let near = address
        .replace("0.0.0.0:", "127.0.0.1:")
        .replace("[::]:", "[::1]:");
    match fetch::get(&format!("http://{near}/healthz")).await {
        Ok(answer) if answer.status() == StatusCode::OK => {
            report.ok(check, &format!("the one at {address} is well"));
            nix(&near, report).await;
        }
        Ok(answer) => {
            let says = String::from_utf8_lossy(answer.body());
            report.failed(
                check,
                &format!("the one at {address} says: {}", says.trim()),
                "its own log has more: journalctl -u laminix-builder",
            );
        }
        Err(problem) => report.failed(
            check,
            &format!("nothing answers at {address} (LAMINIX_STATUS): {problem}"),
            "is it running? systemctl status laminix-builder",
        ),
    }
}

/// A worker has tried its Nix before it takes jobs, and tells what it found.
async fn nix(address: &str, report: &mut Report) {
    let metrics = fetch::get(&format!("http://{address}/metrics")).await;
    let text = metrics.map(|answer| String::from_utf8_lossy(answer.body()).into_owned());
    let text = text.unwrap_or_default();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let label = |name: &str| {
        let (_, behind) = line(NIX)?.split_once(&format!("{name}=\""))?;
        Some(behind.split_once('"')?.0)
    };
    let Some(version) = label("version") else {
        return report.warning(
            "nix",
            &format!("the worker does not tell which it has ({NIX} at {address}/metrics)"),
            "is it as new as this program?",
        );
    };
    let free = line(FREE).and_then(|free| free.trim().parse().ok());
    let free = free.map_or(String::new(), |free| {
        format!(", its disk has {} free", words::bytes(free))
    });
    if label("sandboxed") == Some("true") {
        report.ok("nix", &format!("{version}, builds are sandboxed{free}"));
    } else {
        report.warning(
            "nix",
            &format!("{version}, builds are not sandboxed{free}"),
            "what builds see of the machine gets into images: let Nix use its sandbox",
        );
    }
}
