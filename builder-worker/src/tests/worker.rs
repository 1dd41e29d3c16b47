//! How a worker stops: what it finishes, what it gives back, and what it says of it.

use std::fs;
use std::time::{Duration, Instant};

use laminix::key::Subject;
use laminix::queue::{Depth, Queue};
use tokio::sync::mpsc;

use crate::bench::{is_running, long_time};
use crate::shop::{Shop, until};

const SET: &str = r#"
{
  slow = make "slow-1" "sleep 3.0TIME; echo > $out" { };
  endless = make "endless-1" "sleep TIME" { };
  quick = make "quick-1" "echo > $out" { };
}
"#;

/// Runs a worker on one job and asks it to stop once the build runs, and again whenever `again` says so. Says how long
/// it took to stop.
async fn stopped(shop: &Shop, attribute: &str, time: &str, drain: Duration, twice: bool) -> Duration {
    let revision = shop.commit(&SET.replace("TIME", time)).await;
    shop.send(shop.build(&revision, &[attribute])).await;
    let worker = shop.worker(2, drain);
    let meters = worker.meters.clone();
    let (stop, mut stops) = mpsc::channel::<()>(2);
    let running = worker.run(async || {
        stops.recv().await;
    });
    let script = async {
        until("the build runs", async || is_running(time)).await;
        let began = Instant::now();
        stop.send(()).await.unwrap();
        until("it drains", async || {
            meters
                .text(&laminix_builder::meters::Machine::default())
                .contains("\nlaminix_draining 1\n")
        })
        .await;
        // nobody takes this any more
        shop.send(shop.build(&revision, &["quick"])).await;
        if twice {
            stop.send(()).await.unwrap();
        }
        // a channel without a sender would be a request to stop
        (began, stop)
    };
    let ((), (began, _)) = tokio::join!(running, script);
    began.elapsed()
}

fn depth(waiting: usize, running: usize) -> Depth {
    Depth {
        waiting,
        running,
        parked: 0,
    }
}

#[tokio::test]
async fn jobs_that_run_may_finish_and_no_other_is_taken() {
    let Some(shop) = Shop::open().await else { return };
    let time = long_time(21);
    let took = stopped(&shop, "slow", &time, Duration::from_secs(60), false).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(shop.queue.depth().await.unwrap(), depth(1, 0));
    let revision = shop.workshop.resolver.resolve(&"latest".parse().unwrap()).await;
    let laminix_builder::source::Resolved::Revision { revision, .. } = revision.unwrap() else {
        panic!("no revision")
    };
    assert!(shop.is_ready(&revision, "slow").await && !shop.is_ready(&revision, "quick").await);
}

#[tokio::test]
async fn jobs_that_take_too_long_are_another_workers_at_once() {
    for (test, drain, twice) in [
        (22, Duration::from_secs(1), false),
        (23, Duration::from_secs(60), true),
    ] {
        let Some(shop) = Shop::open().await else { return };
        let time = long_time(test);
        let took = stopped(&shop, "endless", &time, drain, twice).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        // both messages can be had now, and the first is on its second attempt
        let first = shop.queue.receive(Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(first.attempt, 2);
        assert!(shop.queue.receive(Duration::ZERO).await.unwrap().is_some());
        // those who wait are told, and nobody asks for the same once more
        let laminix::job::Work::Build { revision, .. } = first.job.unwrap().work else {
            panic!("no build")
        };
        let subject = Subject::Package(shop.package(&revision, "endless"));
        let claim = shop.claim(&subject.claim()).await.unwrap();
        assert!(claim.is_current(laminix::record::now()));
        assert!(claim.phase.contains("another builder"), "{}", claim.phase);
        until("the builder is gone", async || !is_running(&time)).await;
    }
}

/// A message's attempts are for failures: a rollout of workers after the other must not use them up.
#[tokio::test]
async fn a_job_that_was_handed_on_before_has_all_its_attempts() {
    let Some(shop) = Shop::open().await else { return };
    let time = long_time(26);
    let revision = shop.commit(&SET.replace("TIME", &time)).await;
    let work = shop.build(&revision, &["endless"]);
    shop.send(work.clone()).await;
    for _ in 1..Queue::ATTEMPTS {
        let delivery = shop.queue.receive(Duration::ZERO).await.unwrap().unwrap();
        shop.queue
            .extend(&delivery.receipt, Duration::ZERO)
            .await
            .unwrap();
    }
    let (stop, mut stops) = mpsc::channel::<()>(1);
    let running = shop.worker(1, Duration::ZERO).run(async || {
        stops.recv().await;
    });
    let script = async {
        until("the build runs", async || is_running(&time)).await;
        stop.send(()).await.unwrap();
        stop
    };
    tokio::join!(running, script);
    assert_eq!(shop.queue.depth().await.unwrap(), depth(1, 0));
    let again = shop.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((again.attempt, again.job.unwrap().work), (1, work));
    let subject = Subject::Package(shop.package(&revision, "endless"));
    let claim = shop.claim(&subject.claim()).await.unwrap();
    assert!(claim.phase.contains("another builder"), "{}", claim.phase);
}

/// The queue may hand a message out just when the worker is to stop.
#[tokio::test]
async fn a_message_of_the_last_look_is_given_back_at_once() {
    let Some(shop) = Shop::open().await else { return };
    let revision = shop.commit(SET).await;
    let worker = shop.worker(1, Duration::from_secs(60));
    let meters = worker.meters.clone();
    let (stop, mut stops) = mpsc::channel::<()>(1);
    let running = worker.run(async || {
        stops.recv().await;
    });
    let script = async {
        // the first look is over, and the second one takes longer
        until("it looks", async || meters.queue_silence().is_some()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.send(()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        shop.send(shop.build(&revision, &["quick"])).await;
        (Instant::now(), stop)
    };
    let ((), (began, _)) = tokio::join!(running, script);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let again = shop.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(again.attempt, 2, "it was not received");
    assert!(!shop.is_ready(&revision, "quick").await);
}

/// One call that fails must not cost the delivery: until the next look its time would be up.
#[tokio::test]
async fn a_heartbeat_that_fails_is_tried_again_soon() {
    let Some(shop) = Shop::open().await else { return };
    let time = long_time(24);
    let revision = shop.commit(&SET.replace("TIME", &time)).await;
    shop.send(shop.build(&revision, &["endless"])).await;
    let (stop, mut stops) = mpsc::channel::<()>(1);
    let running = shop.worker(1, Duration::ZERO).run(async || {
        stops.recv().await;
    });
    let place = |name: &str| shop.home.path().join("queue").join(name);
    let script = async {
        until("the build runs", async || is_running(&time)).await;
        let name = || {
            fs::read_dir(place("running"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .file_name()
        };
        let delivered = name();
        fs::rename(place("running"), place("away")).unwrap();
        tokio::time::sleep(Queue::VISIBILITY / 3 + Duration::from_millis(500)).await;
        fs::rename(place("away"), place("running")).unwrap();
        assert_eq!(name(), delivered, "no heartbeat came through");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_ne!(name(), delivered, "it is not tried again");
        stop.send(()).await.unwrap();
        stop
    };
    tokio::join!(running, script);
}
