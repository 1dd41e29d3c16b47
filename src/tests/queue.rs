//! The contract that every queue keeps, and what only a spool can be asked.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use laminix::job::{Job, Work};
use laminix::queue::spool::SpoolQueue;
use laminix::queue::{Depth, Queue};

/// Short, so that a test can outwait it; a spool counts in milliseconds.
const VISIBILITY: Duration = Duration::from_secs(1);
const NOTHING: Duration = Duration::ZERO;

async fn spool() -> (tempfile::TempDir, Queue) {
    let directory = tempfile::tempdir().unwrap();
    let queue = SpoolQueue::open_with(directory.path(), VISIBILITY).await.unwrap();
    (directory, Queue::Spool(queue))
}

pub(crate) fn job(tag: &str) -> Job {
    Job::new(Work::Resolve {
        source: "path:/set".parse().unwrap(),
        tag: tag.parse().unwrap(),
    })
}

pub(crate) fn depth(waiting: usize, running: usize, parked: usize) -> Depth {
    Depth {
        waiting,
        running,
        parked,
    }
}

/// What becomes of a receiver that comes back after its time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Late {
    /// It is told so.
    Refused,
    /// SQS promises nothing.
    Anything,
}

/// What every queue does, whatever it is.
pub(crate) async fn contract(queue: &Queue, visibility: Duration, late: Late) {
    assert!(queue.receive(NOTHING).await.unwrap().is_none());
    queue.send(&job("a")).await.unwrap();
    let first = queue.receive(NOTHING).await.unwrap().unwrap();
    assert_eq!((first.job.as_ref().unwrap(), first.attempt), (&job("a"), 1));
    // invisible while it is at work, and visible again when nothing is heard of it
    assert!(queue.receive(NOTHING).await.unwrap().is_none());
    let second = queue.receive(visibility * 3).await.unwrap().unwrap();
    assert_eq!((second.job.unwrap(), second.attempt), (job("a"), 2));
    // the first receiver has lost it
    match late {
        Late::Refused => assert!(queue.extend(&first.receipt, visibility).await.is_err()),
        Late::Anything => {}
    }
    // a heartbeat keeps it
    for _ in 0..4 {
        tokio::time::sleep(visibility / 2).await;
        queue.extend(&second.receipt, visibility).await.unwrap();
        assert!(queue.receive(NOTHING).await.unwrap().is_none());
    }
    queue.complete(&second.receipt).await.unwrap();
    assert!(queue.receive(visibility * 2).await.unwrap().is_none());
    // what fails too often is parked
    queue.send(&job("bad")).await.unwrap();
    for attempt in 1..=Queue::ATTEMPTS {
        let delivery = queue.receive(visibility).await.unwrap().unwrap();
        assert_eq!(delivery.attempt, attempt);
        let parked = queue
            .give_back(&delivery.receipt, NOTHING, "it fails")
            .await
            .unwrap();
        assert_eq!(parked, attempt == Queue::ATTEMPTS);
    }
    assert!(queue.receive(visibility * 2).await.unwrap().is_none());
    assert_eq!(queue.depth().await.unwrap(), depth(0, 0, 1));
    // a message waits for its delay
    queue.send(&job("later")).await.unwrap();
    let delivery = queue.receive(NOTHING).await.unwrap().unwrap();
    queue
        .give_back(&delivery.receipt, visibility * 3, "later")
        .await
        .unwrap();
    assert!(queue.receive(visibility).await.unwrap().is_none());
    let delivery = queue.receive(visibility * 5).await.unwrap().unwrap();
    queue.complete(&delivery.receipt).await.unwrap();
}

#[tokio::test]
async fn the_spool_keeps_the_contract() {
    let (_directory, queue) = spool().await;
    contract(&queue, VISIBILITY, Late::Refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_has_one_receiver() {
    let (_directory, queue) = spool().await;
    for n in 0..200 {
        queue.send(&job(&format!("t{n}"))).await.unwrap();
    }
    let mut receivers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let queue = queue.clone();
        receivers.spawn(async move {
            let mut tags = Vec::new();
            while let Some(delivery) = queue.receive(NOTHING).await.unwrap() {
                let Work::Resolve { tag, .. } = delivery.job.unwrap().work else {
                    panic!()
                };
                queue.complete(&delivery.receipt).await.unwrap();
                tags.push(tag);
            }
            tags
        });
    }
    let tags: Vec<_> = receivers.join_all().await.into_iter().flatten().collect();
    assert_eq!(
        (tags.len(), tags.iter().collect::<BTreeSet<_>>().len()),
        (200, 200)
    );
    assert_eq!(queue.depth().await.unwrap(), depth(0, 0, 0));
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let (directory, queue) = spool().await;
    queue.send(&job("waiting")).await.unwrap();
    queue.send(&job("running")).await.unwrap();
    drop(queue.receive(NOTHING).await.unwrap().unwrap());
    drop(queue);
    let again = Queue::Spool(SpoolQueue::open_with(directory.path(), VISIBILITY).await.unwrap());
    assert_eq!(again.depth().await.unwrap(), depth(1, 1, 0));
    tokio::time::sleep(VISIBILITY).await;
    let attempts =
        [again.receive(NOTHING).await, again.receive(NOTHING).await].map(|it| it.unwrap().unwrap().attempt);
    assert_eq!(attempts, [2, 1], "what was lost comes first");
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_parked_in_the_end() {
    let (directory, queue) = spool().await;
    queue.send(&job("killer")).await.unwrap();
    for _ in 0..Queue::ATTEMPTS {
        drop(queue.receive(VISIBILITY * 3).await.unwrap().unwrap());
    }
    assert!(queue.receive(VISIBILITY * 2).await.unwrap().is_none());
    assert_eq!(queue.depth().await.unwrap(), depth(0, 0, 1));
    let parked: Vec<_> = fs::read_dir(directory.path().join("parked"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    let reason = parked
        .iter()
        .find(|path| path.extension().is_some_and(|e| e == "reason"))
        .unwrap();
    assert!(fs::read_to_string(reason).unwrap().contains("without a word"));
}

#[tokio::test]
async fn an_operator_writes_jobs_by_hand_and_reads_why_they_are_none() {
    let (directory, queue) = spool().await;
    let waiting = directory.path().join("waiting");
    fs::write(
        waiting.join("mine.json"),
        r#"{"format":1,"job":"warm","source":"path:/set","name":"shell/git","tag":"latest"}"#,
    )
    .unwrap();
    fs::write(waiting.join("notes.txt"), "not a message").unwrap();
    let delivery = queue.receive(NOTHING).await.unwrap().unwrap();
    assert!(matches!(delivery.job.unwrap().work, Work::Warm { name, .. } if name == "shell/git"));
    queue.complete(&delivery.receipt).await.unwrap();
    fs::write(waiting.join("old.json"), r#"{"format":0}"#).unwrap();
    let delivery = queue.receive(NOTHING).await.unwrap().unwrap();
    let why = delivery.job.unwrap_err().to_string();
    queue.park(&delivery.receipt, &why).await.unwrap();
    assert_eq!(
        fs::read_to_string(directory.path().join("parked/old.json.reason")).unwrap(),
        why
    );
    assert!(queue.receive(NOTHING).await.unwrap().is_none());
}
