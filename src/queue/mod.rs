//! The internal queue: jobs from the function to the workers.
//!
//! A queue is named by a URL: `file:///directory` or `sqs://host/account/name` (see [`sqs`]). Delivery is at least once: a job
//! that is received and not completed within its visibility time is delivered again; one that fails too often is parked
//! where an operator can see it. Every queue passes one contract suite (`src/tests/queue.rs`).

pub mod spool;
pub mod sqs;

use std::path::Path;
use std::time::Duration;

use crate::job::{Job, JobError};

use self::spool::{Receipt as SpoolReceipt, SpoolQueue};
use self::sqs::{Receipt as SqsReceipt, SqsQueue};

/// What went wrong with a queue. The source is for the log.
#[derive(Debug, thiserror::Error)]
#[error("the queue fails at {0}")]
pub struct QueueError(
    pub &'static str,
    #[source] pub Box<dyn std::error::Error + Send + Sync>,
);

/// A job that a worker has received and must complete, give back or park.
#[derive(Debug)]
pub struct Delivery {
    /// The job, or why the message is none.
    pub job: Result<Job, JobError>,
    /// How often this message has been delivered, this time included.
    pub attempt: u32,
    /// What the queue knows the delivery by.
    pub receipt: Receipt,
}

/// A queue's own name for a delivery.
#[derive(Debug, Clone)]
pub enum Receipt {
    /// Of a spool directory.
    Spool(SpoolReceipt),
    /// Of SQS.
    Sqs(SqsReceipt),
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Waiting to be received.
    pub waiting: usize,
    /// Received, and not completed yet.
    pub running: usize,
    /// Failed for good.
    pub parked: usize,
}

/// What becomes of a message whose workers die without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// Where it is put aside: a directory, or a queue's URL.
    pub to: String,
    /// After so many deliveries.
    pub after: u32,
}

/// A queue, by kind.
#[derive(Debug, Clone)]
pub enum Queue {
    /// A spool directory.
    Spool(SpoolQueue),
    /// SQS.
    Sqs(SqsQueue),
}

impl Queue {
    /// A delivery that is not extended is delivered again after this.
    pub const VISIBILITY: Duration = Duration::from_secs(30);

    /// A message that was delivered this often and failed is parked.
    pub const ATTEMPTS: u32 = 5;

    /// Opens the queue that a URL names. A directory is tried; of a service nothing is asked yet.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn open(url: &str) -> Result<Self, String> {
        let queue = if let Some(directory) = url.strip_prefix("file://") {
            SpoolQueue::open(Path::new(directory)).await.map(Self::Spool)
        } else if let Some(rest) = url.strip_prefix("sqs://") {
            SqsQueue::open(rest).await.map(Self::Sqs)
        } else {
            Err("write file:///directory or sqs://host/account/name".to_owned())
        };
        queue.map_err(|problem| format!("`{url}` is no queue: {problem}"))
    }

    /// Puts a job in. It is durable when this returns.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn send(&self, job: &Job) -> Result<(), QueueError> {
        match self {
            Self::Spool(queue) => queue.send(job).await,
            Self::Sqs(queue) => Box::pin(queue.send(job)).await,
        }
    }

    /// Waits up to `wait` for a job, which is then invisible to others for [`Queue::VISIBILITY`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        match self {
            Self::Spool(queue) => queue.receive(wait).await,
            Self::Sqs(queue) => Box::pin(queue.receive(wait)).await,
        }
    }

    /// Keeps a delivery invisible for another `time` from now: the heartbeat of a job that takes long.
    ///
    /// # Errors
    /// [`QueueError`], also when the delivery has passed to another worker.
    pub async fn extend(&self, receipt: &Receipt, time: Duration) -> Result<(), QueueError> {
        match (self, receipt) {
            (Self::Spool(queue), Receipt::Spool(receipt)) => queue.extend(receipt, time).await,
            (Self::Sqs(queue), Receipt::Sqs(receipt)) => Box::pin(queue.extend(receipt, time)).await,
            (Self::Spool(_), Receipt::Sqs(_)) | (Self::Sqs(_), Receipt::Spool(_)) => Err(foreign()),
        }
    }

    /// Removes a message that is done.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn complete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        match (self, receipt) {
            (Self::Spool(queue), Receipt::Spool(receipt)) => queue.complete(receipt).await,
            (Self::Sqs(queue), Receipt::Sqs(receipt)) => Box::pin(queue.complete(receipt)).await,
            (Self::Spool(_), Receipt::Sqs(_)) | (Self::Sqs(_), Receipt::Spool(_)) => Err(foreign()),
        }
    }

    /// Gives a message back, to be delivered again after `delay`; after [`Queue::ATTEMPTS`] deliveries it is parked.
    /// Says whether it was parked.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn give_back(
        &self,
        receipt: &Receipt,
        delay: Duration,
        reason: &str,
    ) -> Result<bool, QueueError> {
        match (self, receipt) {
            (Self::Spool(queue), Receipt::Spool(receipt)) => queue.give_back(receipt, delay, reason).await,
            (Self::Sqs(queue), Receipt::Sqs(receipt)) => {
                Box::pin(queue.give_back(receipt, delay, reason)).await
            }
            (Self::Spool(_), Receipt::Sqs(_)) | (Self::Sqs(_), Receipt::Spool(_)) => Err(foreign()),
        }
    }

    /// Puts a message aside, with the reason, where an operator can see it.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn park(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        match (self, receipt) {
            (Self::Spool(queue), Receipt::Spool(receipt)) => queue.park(receipt, reason).await,
            (Self::Sqs(queue), Receipt::Sqs(receipt)) => Box::pin(queue.park(receipt, reason)).await,
            (Self::Spool(_), Receipt::Sqs(_)) | (Self::Sqs(_), Receipt::Spool(_)) => Err(foreign()),
        }
    }

    /// How many jobs there are.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn depth(&self) -> Result<Depth, QueueError> {
        match self {
            Self::Spool(queue) => queue.depth().await,
            Self::Sqs(queue) => Box::pin(queue.depth()).await,
        }
    }

    /// What becomes of messages that nobody settles; `None` where they come again for ever.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn redrive(&self) -> Result<Option<Redrive>, QueueError> {
        match self {
            Self::Spool(queue) => Ok(Some(queue.redrive())),
            Self::Sqs(queue) => Box::pin(queue.redrive()).await,
        }
    }

    /// How long the oldest message waits. SQS tells that to CloudWatch alone, so there it is `None`, as for an empty queue.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn oldest(&self) -> Result<Option<Duration>, QueueError> {
        match self {
            Self::Spool(queue) => queue.oldest().await,
            Self::Sqs(_) => Ok(None),
        }
    }
}

fn foreign() -> QueueError {
    QueueError("receipt", "the delivery is another queue's".into())
}
