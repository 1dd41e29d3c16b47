//! Waiting for what only a worker makes: claims, jobs, and looking again.
//!
//! A missing [`Subject`] is claimed by a create-only write, so that of many who miss it one sends the job. All of them then
//! look at the store until the record is there or their time is up. Nothing here is needed for correctness: a store that
//! ignores the condition, or a claim whose owner died, costs work and no more.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::job::{Job, Work};
use crate::key::Subject;
use crate::queue::Queue;
use crate::record::{Claim, PackageRecord, Packed, Seconds, SourceRecord, now};
use crate::registry::error::Error;
use crate::store::{Store, StoreError};

/// The first look comes soon, because records that are substituted take a second; later ones are a second apart.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);

/// Claims are looked after this often: whether somebody still stands behind them.
const RECLAIM: Duration = Duration::from_secs(10);

/// The phase of what was asked for, and that no worker has begun.
pub(crate) const WAITING: &str = "waiting for a builder";

/// Whoever was first to claim has this many seconds to claim the rest of what is missing.
const HEAD_START: Seconds = 3;

/// Nobody waits longer than this for claims to be given back: it goes on behind the answer.
const GIVING_BACK: Duration = Duration::from_secs(5);

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
            // again only where there is time for it: what is missed by that is made up for by the next hop
            let due =
                claimed.is_none_or(|at| at.elapsed() >= RECLAIM && Instant::now() + RECLAIM <= self.until);
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
        let claim = claim_on(self.store, first).await?;
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
        let body = Bytes::from(serde_json::to_vec(&Signed::new()).map_err(Error::internal)?);
        let asked = self.ask_as(&body, missing, work).await;
        if asked.is_err() {
            // also the one that failed: it may be stored, and the answer lost
            give_back(self.store, &body, missing).await;
        }
        asked
    }

    async fn ask_as(
        &self,
        body: &Bytes,
        missing: &[&Subject],
        work: &impl Fn(&[&Subject]) -> Vec<Work>,
    ) -> Result<bool, Error> {
        let mut won = Vec::new();
        let mut rest = missing.iter().copied();
        for subject in rest.by_ref() {
            if claim(self.store, body, subject).await? {
                won.push(subject);
                break;
            }
            if !self.turn(subject).await? {
                // somebody was faster by a moment
                return Ok(false);
            }
        }
        if won.is_empty() {
            return Ok(true);
        }
        // the first is ours, and with it the turn: the rest are claimed side by side, and all of it ends before this does
        let mut claims = JoinSet::new();
        for (at, subject) in rest.clone().enumerate() {
            let (store, body, subject) = (self.store.clone(), body.clone(), subject.clone());
            claims.spawn(async move {
                claim(&store, &body, &subject)
                    .await
                    .map(|ours| ours.then_some(at))
            });
        }
        let claims: Result<Vec<_>, Error> = claims.join_all().await.into_iter().collect();
        let ours: HashSet<usize> = claims?.into_iter().flatten().collect();
        won.extend(
            rest.enumerate()
                .filter(|(at, _)| ours.contains(at))
                .map(|(_, subject)| subject),
        );
        for work in work(&won) {
            info!(work = ?work, "asking a worker");
            self.queue.send(&Job::new(work)).await?;
        }
        Ok(true)
    }

    async fn claims(&self, subjects: &[&Subject]) -> Result<Vec<Claim>, Error> {
        let mut reads = JoinSet::new();
        for subject in subjects {
            let (store, subject) = (self.store.clone(), (*subject).clone());
            reads.spawn(async move { claim_on(&store, &subject).await });
        }
        let mut claims = Vec::new();
        while let Some(read) = reads.join_next().await {
            claims.extend(read.map_err(Error::internal)??);
        }
        Ok(claims)
    }
}

/// The claim on a subject, current or not. What cannot be read is none.
///
/// # Errors
/// Those of the store.
pub async fn claim_on(store: &Store, subject: &Subject) -> Result<Option<Claim>, StoreError> {
    let bytes = store.get(&subject.claim()).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Whether the subject is ours to ask for.
async fn claim(store: &Store, body: &Bytes, subject: &Subject) -> Result<bool, Error> {
    let key = subject.claim();
    // read first: those who come later write nothing, also on a store that ignores the condition
    let held = claim_on(store, subject).await?;
    if held.as_ref().is_some_and(|claim| claim.is_current(now())) {
        return Ok(false);
    }
    if held.is_some() {
        warn!(
            key = key.path(),
            "a claim that nobody stands behind is taken over"
        );
        store.put(&key, body.clone()).await?;
        return Ok(true);
    }
    if store.create(&key, body.clone()).await? {
        return Ok(true);
    }
    // created meanwhile by another; or by us, in a try whose answer was lost; or something that is no claim lies there
    let Some(current) = store.get(&key).await? else {
        return Ok(false);
    };
    if current == *body {
        return Ok(true);
    }
    if serde_json::from_slice::<Claim>(&current).is_err() {
        store.put(&key, body.clone()).await?;
        return Ok(true);
    }
    Ok(false)
}

/// A claim as it is written here: by whom, so that whoever reads it knows its own.
#[derive(Debug, Serialize)]
struct Signed {
    #[serde(flatten)]
    claim: Claim,
    by: String,
}

impl Signed {
    fn new() -> Self {
        let claim = Claim {
            since: now(),
            seen: now(),
            phase: WAITING.to_owned(),
        };
        // keys that nobody else has
        let by = [RandomState::new(), RandomState::new()]
            .map(|keys| format!("{:016x}", keys.hash_one(claim.since)));
        Self {
            claim,
            by: by.concat(),
        }
    }
}

/// Gives back what was claimed by this, so that the next who misses it asks at once. What a worker has taken over by now is
/// its own; what cannot be given back is void after [`Claim::LIFE`].
async fn give_back(store: &Store, body: &Bytes, subjects: &[&Subject]) {
    let mut deletes = JoinSet::new();
    for subject in subjects {
        let (store, key, body) = (store.clone(), subject.claim(), body.clone());
        deletes.spawn(async move {
            let ours = store.get(&key).await.map(|held| held == Some(body));
            let given = match ours {
                Ok(true) => store.delete(&key).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = given {
                warn!(key = key.path(), %error, "a claim cannot be given back");
            }
        });
    }
    let all = async { while deletes.join_next().await.is_some() {} };
    if tokio::time::timeout(GIVING_BACK, all).await.is_err() {
        deletes.detach_all();
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
