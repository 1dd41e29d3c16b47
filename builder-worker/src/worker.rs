//! The worker's loop: deliveries off the queue, several at once, each with its heartbeat.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use laminix::queue::{Delivery, Queue, QueueError, Receipt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::claims::{self, Progress};
use crate::job::Workshop;

/// How long one look at the queue may take; SQS allows 20 s.
const LOOK: Duration = Duration::from_secs(20);

/// A queue that fails is asked again after this.
const PAUSE: Duration = Duration::from_secs(5);

/// A job that failed is tried again after this, times its number of attempts.
const RETRY: Duration = Duration::from_secs(5);

/// A worker.
pub struct Worker {
    /// What it does its jobs with.
    pub workshop: Workshop,
    /// Where jobs come from.
    pub queue: Queue,
    /// Jobs at once.
    pub jobs: usize,
    abandoned: Abandoned,
}

/// Deliveries whose job was broken off.
type Abandoned = Arc<Mutex<Vec<Receipt>>>;

impl Worker {
    /// A worker that does so many jobs at once.
    #[must_use]
    pub fn new(workshop: Workshop, queue: Queue, jobs: usize) -> Self {
        Self {
            workshop,
            queue,
            jobs,
            abandoned: Abandoned::default(),
        }
    }

    /// Takes jobs until `stop` is done. Jobs that are under way then are given back for another worker.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let worker = Arc::new(self);
        let places = Arc::new(Semaphore::new(worker.jobs));
        let mut running = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let taken = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, worker.queue.receive(LOOK).await)
            };
            let (place, received) = tokio::select! {
                taken = taken => taken,
                () = &mut stop => break,
            };
            match received {
                Ok(Some(delivery)) => {
                    let worker = Arc::clone(&worker);
                    running.spawn(async move {
                        worker.take(delivery).await;
                        drop(place);
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    error!(%error, cause = cause(&error), "cannot receive jobs");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while running.try_join_next().is_some() {}
        }
        info!(jobs = running.len(), "stopping");
        running.shutdown().await;
        let abandoned = std::mem::take(&mut *lock(&worker.abandoned));
        for receipt in abandoned {
            if let Err(error) = worker.queue.extend(&receipt, Duration::ZERO).await {
                warn!(%error, "cannot give a job back");
            }
        }
    }

    async fn take(&self, delivery: Delivery) {
        let Delivery {
            job,
            attempt,
            receipt,
        } = delivery;
        let settled = match job {
            Ok(job) => match self.workshop.refusal(&job.work) {
                Some(reason) => self.park(&receipt, &reason).await,
                None => {
                    let unsettled = Unsettled {
                        receipt: Some(receipt.clone()),
                        abandoned: Arc::clone(&self.abandoned),
                    };
                    let span = info_span!("job", attempt);
                    let settled = self.attempt(&job.work, attempt, &receipt).instrument(span).await;
                    unsettled.settle();
                    settled
                }
            },
            Err(error) => self.park(&receipt, &error.to_string()).await,
        };
        if let Err(error) = settled {
            // it will be delivered again, and whatever is done by then is not done again
            warn!(%error, cause = cause(&error), "cannot settle a job");
        }
    }

    async fn attempt(
        &self,
        work: &laminix::job::Work,
        attempt: u32,
        receipt: &Receipt,
    ) -> Result<(), QueueError> {
        let subjects = self.workshop.subjects(work);
        let progress = Progress::new();
        let done = tokio::select! {
            done = self.workshop.work(work, &progress) => done,
            never = self.heartbeat(receipt) => never,
            never = claims::keep(&self.workshop.store, &subjects, &progress) => never,
        };
        let settled = match done {
            Ok(()) => self.queue.complete(receipt).await,
            Err(problem) => {
                let reason = format!("{problem:#}");
                warn!(reason, "a job failed");
                if self.queue.give_back(receipt, RETRY * attempt, &reason).await? {
                    error!(reason, "a job is given up and parked");
                    if let Err(error) = self.workshop.give_up(work).await {
                        error!(error = format!("{error:#}"), "cannot tell those who wait");
                    }
                } else {
                    // those who wait go on waiting for the next attempt
                    return Ok(());
                }
                Ok(())
            }
        };
        claims::release(&self.workshop.store, &subjects).await;
        settled
    }

    async fn park(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        error!(reason, "a message is parked");
        self.queue.park(receipt, reason).await
    }

    /// Keeps a delivery ours for as long as this is awaited.
    async fn heartbeat<T>(&self, receipt: &Receipt) -> T {
        loop {
            tokio::time::sleep(Queue::VISIBILITY / 3).await;
            if let Err(error) = self.queue.extend(receipt, Queue::VISIBILITY).await {
                warn!(%error, "cannot extend a delivery: another worker may get it too");
            }
        }
    }
}

fn cause(error: &QueueError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// A delivery whose job is under way. If that is broken off, the message is to go back to the queue.
struct Unsettled {
    receipt: Option<Receipt>,
    abandoned: Abandoned,
}

impl Unsettled {
    fn settle(mut self) {
        self.receipt = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        lock(&self.abandoned).extend(self.receipt.take());
    }
}

fn lock(abandoned: &Abandoned) -> MutexGuard<'_, Vec<Receipt>> {
    abandoned.lock().unwrap_or_else(PoisonError::into_inner)
}
