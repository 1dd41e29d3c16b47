//! The claims of the job at hand: kept alive, and told what is being done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use laminix::key::Subject;
use laminix::record::{Claim, Seconds, now};
use laminix::store::{Store, StoreError};
use laminix::wait::claim_on;
use tokio::sync::watch;
use tracing::{info, warn};

/// A phase reaches those who wait within this time; a store is not asked more often for one job.
const PAUSE: Duration = Duration::from_secs(2);

/// A claim is confirmed at least this often: several times within [`Claim::LIFE`].
const CONFIRM: Duration = Duration::from_secs(15);

const STARTING: &str = "starting";

const HANDED_ON: &str = "waiting for another builder, because the first was stopped";

/// What a job tells of itself: the phase that it is in, and how long each kind of phase took.
#[derive(Debug, Clone)]
pub struct Progress(watch::Sender<String>, Arc<Mutex<Spent>>);

/// Time by the first word of a phase: `building git-2.47.0 (3 of 7)` is time spent building.
#[derive(Debug)]
struct Spent {
    by_word: Vec<(String, Duration)>,
    since: Instant,
}

impl Spent {
    fn add(&mut self, phase: &str) {
        let time = self.since.elapsed();
        self.since = Instant::now();
        let word = phase.split(' ').next().unwrap_or_default();
        match self.by_word.iter_mut().find(|(known, _)| known == word) {
            Some((_, spent)) => *spent += time,
            None => self.by_word.push((word.to_owned(), time)),
        }
    }
}

impl Progress {
    /// A job that has just been received.
    #[must_use]
    pub fn new() -> Self {
        let spent = Spent {
            by_word: Vec::new(),
            since: Instant::now(),
        };
        Self(
            watch::Sender::new(STARTING.to_owned()),
            Arc::new(Mutex::new(spent)),
        )
    }

    /// What is being done.
    #[must_use]
    pub fn phase(&self) -> String {
        self.0.borrow().clone()
    }

    /// Says what is being done now, in a few words.
    pub fn say(&self, phase: impl Into<String>) {
        let phase = phase.into();
        self.0.send_if_modified(|current| {
            let news = *current != phase;
            if news {
                self.spent().add(current);
            }
            *current = phase;
            news
        });
    }

    /// The seconds spent in each kind of phase until now: `evaluating 2.1, building 8.0, packing 0.5`.
    #[must_use]
    pub fn phases(&self) -> String {
        let phase = self.phase();
        let mut spent = self.spent();
        spent.add(&phase);
        let phases: Vec<String> = spent
            .by_word
            .iter()
            .map(|(word, time)| format!("{word} {:.1}", time.as_secs_f64()))
            .collect();
        phases.join(", ")
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Confirms the claims on these subjects for as long as it is awaited. Whoever waits looks for the record first, so a
/// claim on something that has its record by now does no harm.
pub async fn keep<T>(store: &Store, subjects: &[Subject], progress: &Progress) -> T {
    let mut phases = progress.0.subscribe();
    let mut since = BTreeMap::new();
    for subject in subjects {
        since.insert(subject, claimed_since(store, subject).await);
    }
    loop {
        let phase = phases.borrow_and_update().clone();
        if phase != STARTING {
            info!("{phase}");
        }
        for (subject, since) in &since {
            confirm(store, subject, *since, &phase).await;
        }
        tokio::time::sleep(PAUSE).await;
        // a closed channel cannot be: this function borrows the sender
        drop(tokio::time::timeout(CONFIRM, phases.changed()).await);
    }
}

/// Whether somebody stands behind a claim on this.
///
/// # Errors
/// Those of the store.
pub async fn is_held(store: &Store, subject: &Subject) -> Result<bool, StoreError> {
    let claim = claim_on(store, subject).await?;
    Ok(claim.is_some_and(|claim| claim.is_current(now())))
}

async fn claimed_since(store: &Store, subject: &Subject) -> Seconds {
    let claim = claim_on(store, subject).await.ok().flatten();
    claim
        .filter(|claim| claim.is_current(now()))
        .map_or_else(now, |claim| claim.since)
}

/// A claim that cannot be written costs work at most, so it is only noted.
async fn confirm(store: &Store, subject: &Subject, since: Seconds, phase: &str) {
    let claim = Claim {
        since,
        seen: now(),
        phase: phase.to_owned(),
    };
    let written = match serde_json::to_vec(&claim) {
        Ok(body) => store
            .put(&subject.claim(), body.into())
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = written {
        warn!(error, key = subject.claim().path(), "cannot confirm a claim");
    }
}

/// Says that the job is another worker's from now on. The claims stay: its message is in the queue, and one that is
/// sent beside it would be the same work twice. Whoever gets it confirms them.
pub async fn hand_on(store: &Store, subjects: &[Subject]) {
    for subject in subjects {
        let since = claimed_since(store, subject).await;
        confirm(store, subject, since, HANDED_ON).await;
    }
}

/// Takes the claims back, when the job is done with or given up.
pub async fn release(store: &Store, subjects: &[Subject]) {
    for subject in subjects {
        if let Err(error) = store.delete(&subject.claim()).await {
            warn!(error = %error, key = subject.claim().path(), "cannot delete a claim");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_by_the_kind_of_phase() {
        let progress = Progress::new();
        for phase in [
            "building a (1 of 2)",
            "building b (2 of 2)",
            "packing a",
            "building c",
        ] {
            progress.say(phase);
        }
        std::thread::sleep(Duration::from_millis(120));
        let phases = progress.phases();
        assert!(
            phases.starts_with("starting 0.0, building 0.1") && phases.ends_with(", packing 0.0"),
            "{phases}"
        );
    }
}
