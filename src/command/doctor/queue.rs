//! Is the queue there, does somebody take what is in it, and where does go what fails?

use std::time::Duration;

use super::{Report, advice};
use crate::command::words;
use crate::queue::{Depth, Queue, QueueError};

/// A worker that has nothing else to do takes a job at once.
const LONG: Duration = Duration::from_secs(60);

/// Opens the queue and looks into it; `passive` says that no job will be sent to see who takes it.
pub(super) async fn check(url: &str, passive: bool, report: &mut Report) -> Option<Queue> {
    let queue = match Queue::open(url).await {
        Ok(queue) => queue,
        Err(problem) => {
            let (short, advice) = advice::of_text(&problem);
            report.failed("queue", &short, advice);
            return None;
        }
    };
    let depth = match queue.depth().await {
        Ok(depth) => depth,
        Err(error) => {
            fault(&error, report);
            return Some(queue);
        }
    };
    report.ok(
        "queue",
        &format!(
            "{} waiting, {} running",
            words::count(depth.waiting, "job"),
            depth.running
        ),
    );
    dead_letters(&queue, depth, report).await;
    if passive {
        taken(&queue, depth, report).await;
    }
    Some(queue)
}

/// The function may send and nothing else: then this is no failure of the registry.
fn fault(error: &QueueError, report: &mut Report) {
    let (short, advice) = advice::of(error);
    if short.contains("AccessDenied") || short.contains("AuthorizationError") {
        report.warning(
            "queue",
            "these credentials may not look into the queue",
            "for the function's that is right; run doctor where a worker runs to see the queue",
        );
    } else {
        report.failed("queue", &short, advice);
    }
}

async fn dead_letters(queue: &Queue, depth: Depth, report: &mut Report) {
    let check = "dead letters";
    let redrive = match queue.redrive().await {
        Ok(Some(redrive)) => redrive,
        Ok(None) => {
            return report.warning(
                check,
                "the queue has no dead-letter queue: what fails comes again for ever",
                &format!(
                    "give it a redrive policy, with maxReceiveCount {}",
                    Queue::ATTEMPTS
                ),
            );
        }
        Err(error) => return fault(&error, report),
    };
    let place = words::without_secrets(&redrive.to);
    let found = format!(
        "{} given up, in {place}, after {} deliveries",
        words::count(depth.parked, "job"),
        redrive.after
    );
    if depth.parked > 0 {
        let advice = match queue {
            Queue::Spool(_) => {
                "read the `.reason` beside each; move it into `waiting` to try again, or delete it"
            }
            Queue::Sqs(_) => "read the attribute `reason` of each; then redrive them, or purge that queue",
        };
        report.warning(check, &found, advice);
    } else if redrive.after < Queue::ATTEMPTS {
        report.warning(
            check,
            &found,
            &format!(
                "a worker gives a job {} tries: set maxReceiveCount to that",
                Queue::ATTEMPTS
            ),
        );
    } else {
        report.ok(check, &found);
    }
}

/// Whether jobs are taken, as far as that can be seen without sending one.
async fn taken(queue: &Queue, depth: Depth, report: &mut Report) {
    let check = "worker";
    let oldest = match queue.oldest().await {
        Ok(oldest) => oldest,
        Err(error) => return fault(&error, report),
    };
    let advice = "start a worker, or see why it does not come: its log, the alarms; `laminix doctor --worker` tries it";
    match oldest {
        _ if depth.running > 0 => report.ok(check, "one is at work"),
        Some(age) if age > LONG => report.warning(
            check,
            &format!(
                "a job waits since {}, and none is at work",
                words::span(age.as_secs())
            ),
            advice,
        ),
        _ if depth.waiting > 0 => report.warning(check, "jobs wait, and none is at work", advice),
        _ => report.ok(
            check,
            "nothing waits for one; --worker finds out whether there is one",
        ),
    }
}
