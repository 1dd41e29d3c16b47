//! One request on its way: what it may use, how long it may take, and what is noted of it for the log and the metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::queue::Queue;
use crate::store::Store;
use crate::wait::Waiter;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// A manifest out of the cache.
    Warm,
    /// A manifest that was made of records that were there.
    Composed,
    /// A manifest that a worker had to do something for, or the request to go on waiting.
    Waited,
    /// What the client asked for cannot be had, and the client was told why.
    Refused,
    /// The registry failed.
    Failed,
    /// A redirect to a blob, and everything else that needs no making.
    #[default]
    Other,
}

impl Outcome {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Composed => "composed",
            Self::Waited => "waited",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }
}

/// What is known of a request that was answered.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What became of it.
    pub outcome: Outcome,
    /// The image that it was about, as `name:tag` or `name@digest`.
    pub image: Option<String>,
    /// Calls of the object store.
    pub store_calls: u32,
    /// How long it took.
    pub took: Duration,
    /// The phases that it went through, with their times, in order.
    pub phases: Vec<(&'static str, Duration)>,
}

impl Report {
    /// The time in which it waited for a worker.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.phases
            .iter()
            .filter(|(phase, _)| *phase == WAIT)
            .map(|(_, time)| *time)
            .sum()
    }

    /// The phases as `revision=1 records=12`, in milliseconds.
    #[must_use]
    pub fn phases(&self) -> String {
        let phases: Vec<String> = self
            .phases
            .iter()
            .map(|(phase, time)| format!("{phase}={}", time.as_millis()))
            .collect();
        phases.join(" ")
    }
}

/// The phase in which nothing is done here.
const WAIT: &str = "wait";

/// A request on its way.
#[derive(Debug)]
pub(super) struct Visit {
    /// The store, counting the calls of this request.
    pub(super) store: Store,
    queue: Queue,
    began: Instant,
    until: Instant,
    missed: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    outcome: Outcome,
    image: Option<String>,
    phases: Vec<(&'static str, Duration)>,
    later: Vec<tokio::task::JoinHandle<()>>,
}

impl Visit {
    /// A request that arrives now, and may wait until then.
    pub(super) fn new(store: &Store, queue: &Queue, until: Instant) -> Self {
        Self {
            store: store.counted(),
            queue: queue.clone(),
            began: Instant::now(),
            until,
            missed: AtomicBool::new(false),
            notes: Mutex::default(),
        }
    }

    /// Waits on behalf of this request.
    pub(super) fn waiter(&self) -> Waiter<'_> {
        Waiter {
            store: &self.store,
            queue: &self.queue,
            until: self.until,
            missed: &self.missed,
        }
    }

    /// Notes which image this is about.
    pub(super) fn about(&self, image: String) {
        self.notes().image = Some(image);
    }

    /// Notes what came of it. What had to be waited for was waited for, wherever it came from in the end.
    pub(super) fn became(&self, outcome: Outcome) {
        let waited = self.missed.load(Ordering::Relaxed);
        self.notes().outcome = match outcome {
            Outcome::Warm | Outcome::Composed if waited => Outcome::Waited,
            other => other,
        };
    }

    /// Does something, and notes how long it took; what was spent in waiting for a worker counts as that.
    pub(super) async fn phase<T>(&self, phase: &'static str, work: impl Future<Output = T>) -> T {
        let before = self.missed.load(Ordering::Relaxed);
        let began = Instant::now();
        let done = work.await;
        let waited = !before && self.missed.load(Ordering::Relaxed);
        self.notes()
            .phases
            .push((if waited { WAIT } else { phase }, began.elapsed()));
        done
    }

    /// Work that the answer does not depend on.
    pub(super) fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(work);
        self.notes().later.push(task);
    }

    /// Waits for what was left for later. Where the process is frozen after an answer, it would not be done otherwise.
    pub(super) async fn finish_later(&self, time: Duration) {
        let tasks = std::mem::take(&mut self.notes().later);
        let all = async {
            for task in tasks {
                drop(task.await);
            }
        };
        drop(tokio::time::timeout(time, all).await);
    }

    /// What there is to say about it, now that it is answered.
    pub(super) fn report(&self) -> Report {
        let notes = self.notes();
        Report {
            outcome: notes.outcome,
            image: notes.image.clone(),
            store_calls: self.store.calls(),
            took: self.began.elapsed(),
            phases: notes.phases.clone(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
