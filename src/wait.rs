//! Waiting for what only a worker makes: claims, jobs, and looking again.
//!
//! A missing [`Subject`] is claimed by a create-only write, so that of many who miss it one sends the job. All of them then
//! look at the store until the record is there or their time is up. Nothing here is needed for correctness: a store that
//! ignores the condition, or a claim whose owner died, costs work and no more.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::job::{Job, Work};
use crate::key::Subject;
use crate::queue::Queue;
use crate::record::{Claim, PackageRecord, Packed, SourceRecord, now};
use crate::registry::error::Error;
use crate::store::Store;

/// The first look comes soon, because records that are substituted take a second; later ones are a second apart.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);

/// Claims are looked after this often: whether somebody still stands behind them.
const RECLAIM: Duration = Duration::from_secs(10);

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
        let mut looked = false;
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
            // Whoever has the first of these is about to claim the others: to take some of them away would make two jobs
            // of one. So at the first look only, one who comes second leaves it at that.
            let second = !looked && !self.claim(missing[0]).await?;
            if !second && claimed.is_none_or(|at| at.elapsed() >= RECLAIM) {
                let mine = if looked { None } else { Some(missing[0]) };
                self.ask(&missing, mine, &work).await?;
                claimed = Some(Instant::now());
            }
            looked = true;
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Waited::Late(self.claims(&missing).await?));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(LOOK);
        }
    }

    /// Asks for what nobody makes yet, and does not wait. One of these may be claimed by the caller already.
    ///
    /// # Errors
    /// When the store or the queue fails.
    pub async fn ask(
        &self,
        missing: &[&Subject],
        mine: Option<&Subject>,
        work: &impl Fn(&[&Subject]) -> Vec<Work>,
    ) -> Result<(), Error> {
        let mut won = Vec::new();
        for subject in missing {
            if mine == Some(*subject) || self.claim(subject).await? {
                won.push(*subject);
            }
        }
        if won.is_empty() {
            return Ok(());
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
        Ok(())
    }

    /// Whether the subject is ours to ask for.
    async fn claim(&self, subject: &Subject) -> Result<bool, Error> {
        let key = subject.claim();
        let claim = Claim {
            since: now(),
            seen: now(),
            phase: "waiting for a builder".to_owned(),
        };
        let body = Bytes::from(serde_json::to_vec(&claim).map_err(Error::internal)?);
        if self.store.create(&key, body.clone()).await? {
            return Ok(true);
        }
        let void = match self.store.get(&key).await? {
            Some(bytes) => {
                serde_json::from_slice::<Claim>(&bytes).map_or(true, |claim| !claim.is_current(now()))
            }
            // released just now: the record is there, or the next look claims again
            None => false,
        };
        if void {
            warn!(
                key = key.path(),
                "a claim that nobody stands behind is taken over"
            );
            self.store.put(&key, body).await?;
        }
        Ok(void)
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
