//! From a tag to a revision: from memory, from the store, or by asking a worker.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::Parts;
use super::error::Error;
use super::visit::Visit;
use crate::job::Work;
use crate::key::{Subject, TagRef};
use crate::name::Tag;
use crate::record::{Claim, Seconds, SourceRecord, now};
use crate::source::{Revision, Source};
use crate::wait::{Record, Waited, Waiter};

/// A revision is remembered this long: short against the time in which a channel moves, long against a burst of pulls.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Tags are the client's to invent: more than this are not remembered at once.
const MOST: usize = 1000;

/// A directory is looked at again this often: it is edited by whoever pulls from it.
const DIRECTORY: Duration = Duration::from_secs(10);

/// Revisions that were read a moment ago. By the clock on the wall: the other one stands still in a function that is frozen.
#[derive(Debug, Default)]
pub(super) struct Revisions(Mutex<HashMap<Tag, (SystemTime, Revision)>>);

impl Revisions {
    fn get(&self, tag: &Tag) -> Option<Revision> {
        let known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known
            .get(tag)
            .filter(|(at, _)| at.elapsed().is_ok_and(|age| age < REMEMBERED))
            .map(|(_, revision)| revision.clone())
    }

    fn put(&self, tag: &Tag, revision: &Revision) {
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(tag.clone(), (SystemTime::now(), revision.clone()));
    }
}

/// What a tag names.
pub(super) enum Named {
    Revision(Revision),
    Late(Vec<Claim>),
}

impl Parts {
    /// The revision that a tag names.
    pub(super) async fn revision(&self, tag: &Tag, visit: &Visit) -> Result<Named, Error> {
        if let Some(revision) = self.revisions.get(tag) {
            return Ok(Named::Revision(revision));
        }
        // what can never be a tag here asks nobody
        self.config
            .source
            .reference(tag)
            .map_err(|refused| Error::ManifestUnknown(refused.to_string()))?;
        let subject = self.tag(tag);
        let work = |_: &[&Subject]| self.resolve(tag);
        let record = match visit.waiter().wait(std::slice::from_ref(&subject), work).await? {
            Waited::There(records) => records.into_iter().next(),
            Waited::Late(claims) => return Ok(Named::Late(claims)),
        };
        match record {
            Some(Record::Source(SourceRecord::Resolved {
                revision, at, fixed, ..
            })) => {
                if !fixed && self.is_old(at) {
                    self.refresh_later(tag, subject, visit);
                }
                self.revisions.put(tag, &revision);
                Ok(Named::Revision(revision))
            }
            Some(Record::Source(SourceRecord::Refused { reason, .. })) => Err(Error::ManifestUnknown(reason)),
            Some(Record::Package(_) | Record::Layer(_)) | None => {
                Err(Error::internal("a tag has another kind of record"))
            }
        }
    }

    /// The revision of `latest`, if it is known: for the page, and before the first request. One that is old is not
    /// remembered, so that the next pull asks for it anew.
    pub(super) async fn known_revision(&self) -> Option<Revision> {
        let bytes = self.store.get(&self.tag(&Tag::latest()).key()).await.ok()??;
        match serde_json::from_slice(&bytes).ok()? {
            SourceRecord::Resolved {
                revision, at, fixed, ..
            } => {
                if fixed || !self.is_old(at) {
                    self.revisions.put(&Tag::latest(), &revision);
                }
                Some(revision)
            }
            SourceRecord::Refused { .. } => None,
        }
    }

    fn tag(&self, tag: &Tag) -> Subject {
        Subject::Tag(TagRef {
            source: self.config.source.id(),
            tag: tag.clone(),
        })
    }

    fn resolve(&self, tag: &Tag) -> Vec<Work> {
        vec![Work::Resolve {
            source: self.config.source.clone(),
            tag: tag.clone(),
        }]
    }

    /// Whether what was found out at this time is to be looked up again.
    fn is_old(&self, at: Seconds) -> bool {
        let refresh = match self.config.source {
            Source::Path(_) => self.config.refresh.min(DIRECTORY),
            Source::Git(_) | Source::Channel(_) => self.config.refresh,
        };
        at.saturating_add(refresh.as_secs()) <= now()
    }

    /// Asks for the revision anew, in the background: whoever pulls gets the old one at once.
    fn refresh_later(&self, tag: &Tag, subject: Subject, visit: &Visit) {
        let (store, queue, work) = (visit.store.clone(), self.queue.clone(), self.resolve(tag));
        visit.later(async move {
            let waiter = Waiter {
                store: &store,
                queue: &queue,
                until: Instant::now(),
                missed: &AtomicBool::new(false),
            };
            if let Err(error) = waiter.ask(&[&subject], &|_: &[&Subject]| work.clone()).await {
                warn!(?error, "cannot ask for a refresh");
            }
        });
    }
}
