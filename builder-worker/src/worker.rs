//! The worker's loop: deliveries off the queue, several at once, each with its heartbeat.
//!
//! ## How it stops
//!
//! The first request to stop ends receiving; a message that is handed out in that moment is given back. Jobs that run may
//! finish within a time ([`Worker::drain`]), carries are given back at once. A second request, or the end of that time,
//! breaks off what still runs. Its messages become visible to other workers at once, and its claims say what is waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use laminix::job::{Job, Work};
use laminix::key::{Subject, TagRef};
use laminix::name::Tag;
use laminix::queue::{Delivery, Queue, QueueError, Receipt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::carry::Idle;
use crate::claims::{self, Progress};
use crate::job::Workshop;
use crate::meters::{Kind, Meters, Outcome, Running};
use crate::taken::{Abandoned, Place, Taken};

/// How long one look at the queue may take; SQS allows 20 s.
const LOOK: Duration = Duration::from_secs(20);

/// The first look is short: until it ends nobody can say whether the queue is within reach.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// A look that is under way when the worker is to stop may end within this: a queue may have handed out a message already.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// A queue that fails is asked again after this.
const PAUSE: Duration = Duration::from_secs(5);

/// A delivery that could not be extended is tried again after this, because what is left of its time may be one call's.
const AGAIN: Duration = Duration::from_secs(2);

/// A job that failed is tried again after this, times its number of attempts.
const RETRY: Duration = Duration::from_secs(5);

/// A worker.
pub struct Worker {
    /// What it does its jobs with.
    pub workshop: Arc<Workshop>,
    /// Where jobs come from.
    pub queue: Queue,
    /// Jobs at once.
    pub jobs: usize,
    /// The time that jobs have to finish when it is to stop.
    pub drain: Duration,
    /// What it counts.
    pub meters: Meters,
    busy: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
    abandoned: Abandoned,
}

impl Worker {
    /// A worker that does so many jobs at once, and gives them so much time when it is to stop.
    #[must_use]
    pub fn new(workshop: Arc<Workshop>, queue: Queue, jobs: usize, drain: Duration) -> Self {
        Self {
            workshop,
            queue,
            jobs,
            drain,
            meters: Meters::default(),
            busy: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            abandoned: Abandoned::default(),
        }
    }

    /// Takes jobs until `stop` is done, which is asked for a second time while the last jobs finish.
    pub async fn run(self, mut stop: impl AsyncFnMut()) {
        let worker = Arc::new(self);
        let places = Arc::new(Semaphore::new(worker.jobs));
        let mut running = JoinSet::new();
        {
            let mut stopped = std::pin::pin!(stop());
            loop {
                let permit = tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    permit = Arc::clone(&places).acquire_owned() => permit.ok(),
                };
                let mut look = std::pin::pin!(worker.look());
                let delivery = tokio::select! {
                    biased;
                    () = &mut stopped => {
                        // carries go on until then: it would receive them itself
                        worker.give_back_last(look).await;
                        break;
                    }
                    delivery = &mut look => delivery,
                };
                while running.try_join_next().is_some() {}
                let Some(delivery) = delivery else { continue };
                let place = Place::take(permit, &worker.busy);
                let worker = Arc::clone(&worker);
                running.spawn(async move { worker.take(delivery, place).await });
            }
        }
        while running.try_join_next().is_some() {}
        info!(
            jobs = running.len(),
            seconds = worker.drain.as_secs(),
            "stopping: jobs may finish"
        );
        worker.meters.drain();
        worker.stopping.send_replace(true);
        let finished = async { while running.join_next().await.is_some() {} };
        tokio::select! {
            () = finished => {}
            () = tokio::time::sleep(worker.drain) => {}
            () = stop() => {}
        }
        if !running.is_empty() {
            info!(jobs = running.len(), "stopping: jobs are broken off");
            running.shutdown().await;
        }
        for taken in worker.abandoned.take() {
            worker.hand_on(&taken).await;
        }
    }

    /// Looks at the queue once.
    async fn look(&self) -> Option<Delivery> {
        let time = if self.meters.queue_silence().is_some() {
            LOOK
        } else {
            FIRST_LOOK
        };
        match self.queue.receive(time).await {
            Ok(received) => {
                self.meters.queue_answered();
                received
            }
            Err(error) => {
                self.meters.queue_failed();
                error!(%error, cause = cause(&error), "cannot receive jobs");
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    /// Nobody else would get the message before its visibility time is over.
    async fn give_back_last(&self, look: impl Future<Output = Option<Delivery>>) {
        let Ok(Some(last)) = tokio::time::timeout(LAST_LOOK, look).await else {
            return;
        };
        if let Err(error) = self.queue.extend(&last.receipt, Duration::ZERO).await {
            warn!(%error, cause = cause(&error), "cannot give a job back");
        }
    }

    async fn take(&self, delivery: Delivery, place: Place) {
        let Delivery {
            job,
            attempt,
            receipt,
        } = delivery;
        let settled = match job {
            Ok(job) => match self.workshop.refusal(&job.work) {
                Some(reason) => self.park(&receipt, &reason).await,
                None => {
                    let taken = Taken {
                        subjects: self.workshop.subjects(&job.work),
                        work: job.work,
                        attempt,
                        receipt,
                    };
                    let span = info_span!("job", attempt);
                    self.attempt(&taken, place).instrument(span).await
                }
            },
            Err(error) => self.park(&receipt, &error.to_string()).await,
        };
        if let Err(error) = settled {
            self.meters.queue_failed();
            // it will be delivered again, and whatever is done by then is not done again
            warn!(%error, cause = cause(&error), "cannot settle a job");
        }
    }

    async fn attempt(&self, taken: &Taken, place: Place) -> Result<(), QueueError> {
        let progress = Progress::new();
        let running = self.meters.begin(Kind::of(&taken.work), &progress);
        let doing = self.workshop.work(&taken.work, &progress);
        let unsettled = self.abandoned.unless_settled(taken);
        let done = self.keeping(doing, taken, &progress).await;
        unsettled.settle();
        let outcome = match done {
            Ok(Some(tag)) => {
                let carry = self.as_carry(taken, tag.clone());
                if self.is_anothers(taken, &carry).await {
                    Ok(())
                } else {
                    running.end(Outcome::Done);
                    drop(place);
                    return self.carry(&carry, &tag).await;
                }
            }
            Ok(None) => Ok(()),
            Err(problem) => Err(problem),
        };
        self.settle(taken, outcome, running).await
    }

    /// What is left of a delivery when its tag is to be carried: also of one that has warmed an image.
    fn as_carry(&self, taken: &Taken, tag: Tag) -> Taken {
        let source = self.workshop.resolver.source().clone();
        let subject = Subject::Tag(TagRef {
            source: source.id(),
            tag: tag.clone(),
        });
        Taken {
            work: Work::Resolve { source, tag },
            attempt: taken.attempt,
            receipt: taken.receipt.clone(),
            subjects: vec![subject],
        }
    }

    /// Whether the tag that an image was warmed at has a job of its own, which carries it. One that was sent to look the tag
    /// up is that job. So is one that comes again: the claim may be that of its own first attempt.
    async fn is_anothers(&self, taken: &Taken, carry: &Taken) -> bool {
        if !matches!(taken.work, Work::Warm { .. }) || taken.attempt > 1 {
            return false;
        }
        for subject in &carry.subjects {
            // when the store does not say, a second carry does no harm
            if claims::is_held(&self.workshop.store, subject)
                .await
                .unwrap_or(false)
            {
                return true;
            }
        }
        false
    }

    /// Goes on with a tag that moves, without a place of its own.
    async fn carry(&self, taken: &Taken, tag: &Tag) -> Result<(), QueueError> {
        let progress = Progress::new();
        let running = self.meters.begin(Kind::Carry, &progress);
        let idle = Idle::new(self.busy.subscribe(), self.jobs);
        let doing = self.workshop.carry(tag, &progress, &idle);
        let unsettled = self.abandoned.unless_settled(taken);
        let mut stopping = self.stopping.subscribe();
        let stopped = async { drop(stopping.wait_for(|&stopping| stopping).await) };
        let done = tokio::select! {
            done = self.keeping(doing, taken, &progress) => done,
            () = stopped => {
                unsettled.settle();
                self.hand_on(taken).await;
                return Ok(());
            }
        };
        unsettled.settle();
        self.settle(taken, done, running).await
    }

    /// Does something while the delivery and its claims are kept alive.
    async fn keeping<T>(
        &self,
        doing: impl Future<Output = anyhow::Result<T>>,
        taken: &Taken,
        progress: &Progress,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = doing => done,
            never = self.heartbeat(&taken.receipt) => never,
            never = claims::keep(&self.workshop.store, &taken.subjects, progress) => never,
        }
    }

    async fn settle(
        &self,
        taken: &Taken,
        done: anyhow::Result<()>,
        running: Running,
    ) -> Result<(), QueueError> {
        let settled = match done {
            Ok(()) => {
                running.end(Outcome::Done);
                self.queue.complete(&taken.receipt).await
            }
            Err(problem) => {
                let reason = format!("{problem:#}");
                warn!(reason, "a job failed");
                let pause = RETRY * taken.attempt;
                if !self.queue.give_back(&taken.receipt, pause, &reason).await? {
                    running.end(Outcome::Failed);
                    // those who wait go on waiting for the next attempt
                    return Ok(());
                }
                running.end(Outcome::Parked);
                error!(reason, "a job is given up and parked");
                if let Err(error) = self.workshop.give_up(&taken.work).await {
                    error!(error = format!("{error:#}"), "cannot tell those who wait");
                }
                Ok(())
            }
        };
        claims::release(&self.workshop.store, &taken.subjects).await;
        settled
    }

    async fn park(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        error!(reason, "a message is parked");
        self.meters
            .begin(Kind::None, &Progress::new())
            .end(Outcome::Parked);
        self.queue.park(receipt, reason).await
    }

    /// Makes a job another worker's, now.
    async fn hand_on(&self, taken: &Taken) {
        claims::hand_on(&self.workshop.store, &taken.subjects).await;
        if taken.attempt > 1 && self.send_anew(taken).await {
            return;
        }
        if let Err(error) = self.queue.extend(&taken.receipt, Duration::ZERO).await {
            warn!(%error, cause = cause(&error), "cannot give a job back");
            // it is visible when its time is up; until then those who wait may ask somebody else
            claims::release(&self.workshop.store, &taken.subjects).await;
        }
    }

    /// Sends a job again, and says whether that went well. The attempts of a message are for failures: a job that several
    /// workers had to hand on would be parked at its first, or by SQS without a reason.
    async fn send_anew(&self, taken: &Taken) -> bool {
        if let Err(error) = self.queue.send(&Job::new(taken.work.clone())).await {
            warn!(%error, cause = cause(&error), "cannot send a job anew");
            return false;
        }
        if let Err(error) = self.queue.complete(&taken.receipt).await {
            // it comes a second time, when its time is up, and finds little left to do
            warn!(%error, cause = cause(&error), "a job is in the queue twice");
        }
        true
    }

    /// Keeps a delivery ours for as long as this is awaited.
    async fn heartbeat<T>(&self, receipt: &Receipt) -> T {
        let (mut pause, mut ours) = (Queue::VISIBILITY / 3, Instant::now());
        loop {
            tokio::time::sleep(pause).await;
            pause = Queue::VISIBILITY / 3;
            match self.queue.extend(receipt, Queue::VISIBILITY).await {
                Ok(()) => {
                    ours = Instant::now();
                    self.meters.queue_answered();
                }
                Err(error) => {
                    self.meters.queue_failed();
                    warn!(%error, "cannot extend a delivery: another worker may get it too");
                    // after that it may be another's already, and there is no hurry
                    if ours.elapsed() < Queue::VISIBILITY {
                        pause = AGAIN;
                    }
                }
            }
        }
    }
}

fn cause(error: &QueueError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}
