//! What the worker has taken: deliveries, and places to do them in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use laminix::job::Work;
use laminix::key::Subject;
use laminix::queue::Receipt;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// A delivery that is this worker's.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) work: Work,
    pub(crate) attempt: u32,
    pub(crate) receipt: Receipt,
    /// What others may wait for meanwhile.
    pub(crate) subjects: Vec<Subject>,
}

/// One of the worker's places for jobs, taken.
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    busy: watch::Sender<usize>,
}

impl Place {
    pub(crate) fn take(permit: Option<OwnedSemaphorePermit>, busy: &watch::Sender<usize>) -> Self {
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

/// Deliveries whose job was broken off.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abandoned(Arc<Mutex<Vec<Taken>>>);

impl Abandoned {
    /// A job begins.
    pub(crate) fn unless_settled(&self, taken: &Taken) -> Unsettled {
        Unsettled {
            taken: Some(taken.clone()),
            abandoned: self.clone(),
        }
    }

    /// All of them, for others to do.
    pub(crate) fn take(&self) -> Vec<Taken> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delivery whose job is under way. If that is broken off, the message is to go back to the queue.
pub(crate) struct Unsettled {
    taken: Option<Taken>,
    abandoned: Abandoned,
}

impl Unsettled {
    pub(crate) fn settle(mut self) {
        self.taken = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.abandoned.lock().extend(self.taken.take());
    }
}
