//! The claims of the job at hand: kept alive, and told what is being done.

use std::collections::BTreeMap;
use std::time::Duration;

use laminix::key::Subject;
use laminix::record::{Claim, Seconds, now};
use laminix::store::Store;
use tokio::sync::watch;
use tracing::{info, warn};

/// A phase reaches those who wait within this time; a store is not asked more often for one job.
const PAUSE: Duration = Duration::from_secs(2);

/// A claim is confirmed at least this often: several times within [`Claim::LIFE`].
const CONFIRM: Duration = Duration::from_secs(15);

const STARTING: &str = "starting";

/// What a job tells of itself: the phase that it is in.
#[derive(Debug, Clone)]
pub struct Progress(watch::Sender<String>);

impl Progress {
    /// A job that has just been received.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(STARTING.to_owned()))
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
            *current = phase;
            news
        });
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

async fn claimed_since(store: &Store, subject: &Subject) -> Seconds {
    let claim = store.get(&subject.claim()).await.ok().flatten();
    let claim = claim.and_then(|bytes| serde_json::from_slice::<Claim>(&bytes).ok());
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

/// Takes the claims back, when the job is done with or given up.
pub async fn release(store: &Store, subjects: &[Subject]) {
    for subject in subjects {
        if let Err(error) = store.delete(&subject.claim()).await {
            warn!(error = %error, key = subject.claim().path(), "cannot delete a claim");
        }
    }
}
