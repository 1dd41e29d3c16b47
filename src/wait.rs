//! Waiting for what only a worker makes: claims, jobs, and looking again.
//!
//! A missing [`Subject`] is claimed by a create-only write, so that of many who miss it one sends the job. All of them then
//! look at the store until the record is there or their time is up. Nothing here is needed for correctness: a store that
//! ignores the condition, or a claim whose owner died, costs work and no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::job::{Job, Work};
use crate::key::Subject;
use crate::queue::Queue;
use crate::record::{Claim, PackageRecord, Packed, Seconds, SourceRecord, now};
use crate::registry::error::Error;
use crate::store::Store;

/// The first look comes soon, because records that are substituted take a second; later ones are a second apart.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);

/// Claims are looked after this often: whether somebody still stands behind them.
const RECLAIM: Duration = Duration::from_secs(10);

/// The phase of what was asked for, and that no worker has begun.
pub(crate) const WAITING: &str = "waiting for a builder";

/// Whoever was first to claim has this many seconds to claim the rest of what is missing.
const HEAD_START: Seconds = 3;

/// A record that a worker has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Of a package.
    Package(PackageRecord),
    /// Of a tag.
    Source(SourceRecord),
    /// Of a layer.
    Layer(Packed),
}

/// What came of waiting.
#[derive(Debug)]
pub enum Waited {
    /// The records, in the order of the subjects.
    There(Vec<Record>),
    /// Time is up, and this is being done.
    Late(Vec<Claim>),
}

/// Waits on behalf of one request.
#[derive(Debug, Clone, Copy)]
pub struct Waiter<'a> {
    /// Where records appear.
    pub store: &'a Store,
    /// Where jobs go.
    pub queue: &'a Queue,
    /// When to stop.
    pub until: Instant,
    /// Set when something was missing, so that somebody has to wait.
    pub missed: &'a AtomicBool,
}

impl Waiter<'_> {
    /// The records that are there and count, in the order of the subjects; read side by side.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look(&self, subjects: &[Subject]) -> Result<Vec<Option<Record>>, Error> {
        let mut reads = JoinSet::new();
        for (at, subject) in subjects.iter().cloned().enumerate() {
            let store = self.store.clone();
            reads.spawn(async move { (at, read(&store, &subject).await) });
        }
        let mut records = vec![None; subjects.len()];
        while let Some(read) = reads.join_next().await {
            let (at, record) = read.map_err(Error::internal)?;
            records[at] = record?;
        }
        Ok(records)
    }

    /// Waits for all of these. `work` says what to ask of a worker for those that nobody makes yet.
    ///
    /// # Errors
    /// When the store or the queue fails.
    pub async fn wait(
        &self,
        subjects: &[Subject],
        work: impl Fn(&[&Subject]) -> Vec<Work>,
    ) -> Result<Waited, Error> {
        let mut pause = FIRST_LOOK;
        let mut claimed: Option<Instant> = None;
        loop {
            let records = self.look(subjects).await?;
            let missing: Vec<&Subject> = subjects
                .iter()
                .zip(&records)
                .filter(|(_, record)| record.is_none())
                .map(|(subject, _)| subject)
                .collect();
            if missing.is_empty() {
                return Ok(Waited::There(records.into_iter().flatten().collect()));
            }
            self.missed.store(true, Ordering::Relaxed);
            let due = claimed.is_none_or(|at| at.elapsed() >= RECLAIM);
            if due && self.turn(missing[0]).await? && self.ask(&missing, &work).await? {
                claimed = Some(Instant::now());
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Waited::Late(self.claims(&missing).await?));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(LOOK);
        }
    }

    /// Whether it is our turn to claim. Whoever has claimed the first of what is missing is about to claim the rest, and
    /// to take some of that away would make two jobs of one.
    async fn turn(&self, first: &Subject) -> Result<bool, Error> {
        let claim = self
            .store
            .get(&first.claim())
            .await?
            .and_then(|bytes| serde_json::from_slice::<Claim>(&bytes).ok());
        Ok(claim.is_none_or(|claim| now().saturating_sub(claim.since) >= HEAD_START))
    }

    /// Asks for what nobody makes yet, and does not wait. Says whether all of it is claimed by now; if not, somebody else
    /// is about to.
    ///
    /// # Errors
    /// When the store or the queue fails.
    pub async fn ask(
        &self,
        missing: &[&Subject],
        work: &impl Fn(&[&Subject]) -> Vec<Work>,
    ) -> Result<bool, Error> {
        let mut won = Vec::new();
        for subject in missing {
            if self.claim(subject).await? {
                won.push(*subject);
            } else if won.is_empty() && !self.turn(subject).await? {
                // somebody was faster by a moment
                return Ok(false);
            }
        }
        if won.is_empty() {
            return Ok(true);
        }
        for work in work(&won) {
            info!(work = ?work, "asking a worker");
            if let Err(error) = self.queue.send(&Job::new(work)).await {
                for subject in &won {
                    self.store.delete(&subject.claim()).await?;
                }
                return Err(error.into());
            }
        }
        Ok(true)
    }

    /// Whether the subject is ours to ask for.
    async fn claim(&self, subject: &Subject) -> Result<bool, Error> {
        let key = subject.claim();
        // read first: those who come later write nothing, also on a store that ignores the condition
        let held = self
            .store
            .get(&key)
            .await?
            .and_then(|bytes| serde_json::from_slice::<Claim>(&bytes).ok());
        if held.as_ref().is_some_and(|claim| claim.is_current(now())) {
            return Ok(false);
        }
        let claim = Claim {
            since: now(),
            seen: now(),
            phase: WAITING.to_owned(),
        };
        let body = Bytes::from(serde_json::to_vec(&claim).map_err(Error::internal)?);
        if held.is_some() {
            warn!(
                key = key.path(),
                "a claim that nobody stands behind is taken over"
            );
            self.store.put(&key, body).await?;
            return Ok(true);
        }
        if self.store.create(&key, body.clone()).await? {
            return Ok(true);
        }
        // created meanwhile by another, or something that is no claim lies there
        let current = self.store.get(&key).await?;
        if current.is_some_and(|bytes| serde_json::from_slice::<Claim>(&bytes).is_err()) {
            self.store.put(&key, body).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn claims(&self, subjects: &[&Subject]) -> Result<Vec<Claim>, Error> {
        let mut claims = Vec::new();
        for subject in subjects {
            let bytes = self.store.get(&subject.claim()).await?;
            claims.extend(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
        }
        Ok(claims)
    }
}

/// The record of a subject, if it is there and still counts. One that cannot be read does not: it is made again.
async fn read(store: &Store, subject: &Subject) -> Result<Option<Record>, Error> {
    let Some(bytes) = store.get(&subject.key()).await? else {
        return Ok(None);
    };
    let now = now();
    let record = match subject {
        Subject::Package(_) => serde_json::from_slice(&bytes)
            .map(|record: PackageRecord| record.is_current(now).then_some(Record::Package(record))),
        Subject::Tag(_) => serde_json::from_slice(&bytes).map(|record| match record {
            SourceRecord::Refused { until, .. } if until <= now => None,
            record => Some(Record::Source(record)),
        }),
        Subject::Layer(_) => serde_json::from_slice(&bytes).map(|packed| Some(Record::Layer(packed))),
    };
    record.or_else(|error| {
        warn!(key = subject.key().path(), %error, "a record that cannot be read counts as missing");
        Ok(None)
    })
}
