//! The worker's loop: deliveries off the queue, several at once, each with its heartbeat.
//!
//! ## How it stops
//!
//! The first request to stop ends receiving: jobs that run may finish within a time ([`Worker::drain`]), carries are given
//! back at once. A second request, or the end of that time, breaks off what still runs. Its messages become visible to other
//! workers at once, and its claims say what is waited for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use laminix::job::Work;
use laminix::key::{Subject, TagRef};
use laminix::name::Tag;
use laminix::queue::{Delivery, Queue, QueueError, Receipt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::carry::Idle;
use crate::claims::{self, Progress};
use crate::job::Workshop;
use crate::meters::{Kind, Meters, Outcome, Running};

/// How long one look at the queue may take; SQS allows 20 s.
const LOOK: Duration = Duration::from_secs(20);

/// The first look is short: until it ends nobody can say whether the queue is within reach.
const FIRST_LOOK: Duration = Duration::from_secs(1);

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

/// Deliveries whose job was broken off, and what it was to make.
type Abandoned = Arc<Mutex<Vec<(Receipt, Vec<Subject>)>>>;

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
                let (place, delivery) = tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    next = worker.next(&places) => next,
                };
                let worker = Arc::clone(&worker);
                running.spawn(async move { worker.take(delivery, place).await });
                while running.try_join_next().is_some() {}
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
        let abandoned = std::mem::take(&mut *lock(&worker.abandoned));
        for (receipt, subjects) in abandoned {
            worker.hand_on(&receipt, &subjects).await;
        }
    }

    /// The next delivery, and a place to do it in.
    async fn next(&self, places: &Arc<Semaphore>) -> (Place, Delivery) {
        loop {
            let permit = Arc::clone(places).acquire_owned().await.ok();
            let look = if self.meters.queue_silence().is_some() {
                LOOK
            } else {
                FIRST_LOOK
            };
            match self.queue.receive(look).await {
                Ok(received) => {
                    self.meters.queue_answered();
                    if let Some(delivery) = received {
                        return (Place::take(permit, &self.busy), delivery);
                    }
                }
                Err(error) => {
                    self.meters.queue_failed();
                    error!(%error, cause = cause(&error), "cannot receive jobs");
                    tokio::time::sleep(PAUSE).await;
                }
            }
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
                    let span = info_span!("job", attempt);
                    self.attempt(&job.work, attempt, &receipt, place)
                        .instrument(span)
                        .await
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

    async fn attempt(
        &self,
        work: &Work,
        attempt: u32,
        receipt: &Receipt,
        place: Place,
    ) -> Result<(), QueueError> {
        let (subjects, progress) = (self.workshop.subjects(work), Progress::new());
        let running = self.meters.begin(Kind::of(work), &progress);
        let doing = self.workshop.work(work, &progress);
        let unsettled = self.unsettled(receipt, &subjects);
        let done = self.keeping(doing, receipt, &subjects, &progress).await;
        unsettled.settle();
        let outcome = match done {
            Ok(Some(tag)) => {
                running.end(Outcome::Done);
                drop(place);
                return self.carry(work, &tag, attempt, receipt).await;
            }
            Ok(None) => Ok(()),
            Err(problem) => Err(problem),
        };
        self.settle(work, outcome, attempt, receipt, &subjects, running)
            .await
    }

    /// Goes on with a tag that moves, without a place of its own.
    async fn carry(&self, work: &Work, tag: &Tag, attempt: u32, receipt: &Receipt) -> Result<(), QueueError> {
        let source = self.workshop.resolver.source().id();
        let subjects = [Subject::Tag(TagRef {
            source,
            tag: tag.clone(),
        })];
        let progress = Progress::new();
        let running = self.meters.begin(Kind::Carry, &progress);
        let idle = Idle::new(self.busy.subscribe(), self.jobs);
        let doing = self.workshop.carry(tag, &progress, &idle);
        let unsettled = self.unsettled(receipt, &subjects);
        let mut stopping = self.stopping.subscribe();
        let stopped = async { drop(stopping.wait_for(|&stopping| stopping).await) };
        let done = tokio::select! {
            done = self.keeping(doing, receipt, &subjects, &progress) => done,
            () = stopped => {
                unsettled.settle();
                self.hand_on(receipt, &subjects).await;
                return Ok(());
            }
        };
        unsettled.settle();
        self.settle(work, done, attempt, receipt, &subjects, running)
            .await
    }

    /// Does something while the delivery and its claims are kept alive.
    async fn keeping<T>(
        &self,
        doing: impl Future<Output = anyhow::Result<T>>,
        receipt: &Receipt,
        subjects: &[Subject],
        progress: &Progress,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = doing => done,
            never = self.heartbeat(receipt) => never,
            never = claims::keep(&self.workshop.store, subjects, progress) => never,
        }
    }

    async fn settle(
        &self,
        work: &Work,
        done: anyhow::Result<()>,
        attempt: u32,
        receipt: &Receipt,
        subjects: &[Subject],
        running: Running,
    ) -> Result<(), QueueError> {
        let settled = match done {
            Ok(()) => {
                running.end(Outcome::Done);
                self.queue.complete(receipt).await
            }
            Err(problem) => {
                let reason = format!("{problem:#}");
                warn!(reason, "a job failed");
                if !self.queue.give_back(receipt, RETRY * attempt, &reason).await? {
                    running.end(Outcome::Failed);
                    // those who wait go on waiting for the next attempt
                    return Ok(());
                }
                running.end(Outcome::Parked);
                error!(reason, "a job is given up and parked");
                if let Err(error) = self.workshop.give_up(work).await {
                    error!(error = format!("{error:#}"), "cannot tell those who wait");
                }
                Ok(())
            }
        };
        claims::release(&self.workshop.store, subjects).await;
        settled
    }

    async fn park(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        error!(reason, "a message is parked");
        self.meters
            .begin(Kind::None, &Progress::new())
            .end(Outcome::Parked);
        self.queue.park(receipt, reason).await
    }

    /// Makes a message visible to other workers, now.
    async fn hand_on(&self, receipt: &Receipt, subjects: &[Subject]) {
        claims::hand_on(&self.workshop.store, subjects).await;
        if let Err(error) = self.queue.extend(receipt, Duration::ZERO).await {
            warn!(%error, cause = cause(&error), "cannot give a job back");
            // it is visible when its time is up; until then those who wait may ask somebody else
            claims::release(&self.workshop.store, subjects).await;
        }
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

    fn unsettled(&self, receipt: &Receipt, subjects: &[Subject]) -> Unsettled {
        Unsettled {
            delivery: Some((receipt.clone(), subjects.to_vec())),
            abandoned: Arc::clone(&self.abandoned),
        }
    }
}

fn cause(error: &QueueError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// One of the worker's places for jobs, taken.
struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    busy: watch::Sender<usize>,
}

impl Place {
    fn take(permit: Option<OwnedSemaphorePermit>, busy: &watch::Sender<usize>) -> Self {
        busy.send_modify(|busy| *busy += 1);
        Self {
            _permit: permit,
            busy: busy.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.send_modify(|busy| *busy -= 1);
    }
}

/// A delivery whose job is under way. If that is broken off, the message is to go back to the queue.
struct Unsettled {
    delivery: Option<(Receipt, Vec<Subject>)>,
    abandoned: Abandoned,
}

impl Unsettled {
    fn settle(mut self) {
        self.delivery = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        lock(&self.abandoned).extend(self.delivery.take());
    }
}

fn lock(abandoned: &Abandoned) -> MutexGuard<'_, Vec<(Receipt, Vec<Subject>)>> {
    abandoned.lock().unwrap_or_else(PoisonError::into_inner)
}
