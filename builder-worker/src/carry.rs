//! Carrying: a tag moves to another revision only when what people use is ready there.
//!
//! When a job finds that a tag names another revision than it did, it does not move the tag. It notes where the tag is
//! going ([`Next`]), and goes on as a *carry*: it makes records at the new revision for the packages that are used at the
//! old one, and then moves the tag. Until then pulls get the old revision, at once; after that an image has to be composed
//! anew, which is a matter of milliseconds, and no builder is waited for.
//!
//! **What is used** is read off the images of the old revision. The function writes an image's record when somebody pulls
//! it at a revision for the first time, so there is one for every image that is used, also by those who pull it a thousand
//! times; and none for a package that was only carried along: what nobody pulls any more is not carried to the revision
//! after. The packages in most images come first, among equals those whose image is youngest. Pulls of one image are not
//! counted: that would be a write for each of them, and they are to cost one read. The list is a call for a thousand
//! images, and a read for each image, a few seconds once for each move.
//!
//! **Bounds.** Only so many packages, and only so long after the move was first seen; then the tag moves as it is. A
//! package that fails at the new revision is recorded as failed, as for those who pull, and holds nothing up.
//!
//! **Others go first.** A carry is what became of a job that was received, with its heartbeat and its claim on the tag, so
//! that functions that find the tag old ask for nothing. It gives its place up, works a few packages at a time, and begins
//! with them only while the worker has a place for somebody else. A worker that drains gives it back at once.
//!
//! **It can be killed.** The message is delivered again, the tag is looked up again, what has a record is passed over, and
//! the time runs from [`Next::since`]. If the tag moves once more meanwhile, the carry goes on with the newest revision.
//!
//! The first look-up of a tag moves nothing, so it waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use laminix::compose::BASE;
use laminix::key::{Key, Prefix, TagRef};
use laminix::name::{Attribute, System, Tag};
use laminix::record::{ImageRecord, Next, Seconds, SourceRecord, now};
use laminix::source::Revision;
use laminix::store::Store;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::claims::Progress;
use crate::job::Workshop;
use crate::source::Resolved;

/// Packages that are made at once: each batch costs an evaluation, and a later job shares the machine with it.
const BATCH: usize = 10;

/// The youngest images that are read to find out what is used.
const IMAGES: usize = 2000;

/// Images that are read side by side.
const READS: usize = 32;

/// A package set that cannot be fetched is asked for again after this.
const PAUSE: Duration = Duration::from_secs(30);

/// The carries of this worker.
#[derive(Debug)]
pub struct Carrier {
    most: usize,
    time: Duration,
    tags: watch::Sender<BTreeSet<Tag>>,
    batch: Mutex<()>,
}

/// Whether a worker has a place for somebody who comes now.
#[derive(Debug)]
pub struct Idle {
    busy: watch::Receiver<usize>,
    places: usize,
}

impl Idle {
    /// Of a worker with so many places, of which so many are taken.
    #[must_use]
    pub fn new(busy: watch::Receiver<usize>, places: usize) -> Self {
        Self { busy, places }
    }

    /// Done when there is one.
    async fn wait(&self) {
        // a worker that is gone waits for nobody
        drop(self.busy.clone().wait_for(|&busy| busy < self.places).await);
    }
}

/// How a carry ended.
enum Carried {
    /// All is ready, or time is up.
    Enough,
    /// The tag names another revision by now.
    Overtaken,
}

impl Carrier {
    /// Carries this many packages at most, and holds a tag back this long at most. Of none, or for no time: tags move
    /// at once.
    #[must_use]
    pub fn new(most: usize, time: Duration) -> Self {
        Self {
            most,
            time,
            tags: watch::Sender::default(),
            batch: Mutex::default(),
        }
    }

    /// What is to be recorded of a tag that names this revision now.
    pub(crate) fn record(
        &self,
        known: Option<SourceRecord>,
        revision: &Revision,
        fixed: bool,
    ) -> SourceRecord {
        if let Some(SourceRecord::Resolved {
            revision: old,
            next,
            fixed: false,
            ..
        }) = known
            && old != *revision
            && self.most > 0
        {
            let next = Next {
                revision: revision.clone(),
                since: next.map_or_else(now, |next| next.since),
            };
            if !self.left(&next).is_zero() {
                return SourceRecord::Resolved {
                    revision: old,
                    at: now(),
                    fixed,
                    next: Some(next),
                };
            }
        }
        SourceRecord::Resolved {
            revision: revision.clone(),
            at: now(),
            fixed,
            next: None,
        }
    }

    fn left(&self, next: &Next) -> Duration {
        let passed = Duration::from_secs(now().saturating_sub(next.since));
        self.time.saturating_sub(passed)
    }

    /// Waits until nobody else of this worker carries the tag.
    async fn begin(&self, tag: &Tag) -> Turn<'_> {
        let mut tags = self.tags.subscribe();
        while !self.tags.send_if_modified(|tags| tags.insert(tag.clone())) {
            drop(tags.wait_for(|tags| !tags.contains(tag)).await);
        }
        Turn {
            carrier: self,
            tag: tag.clone(),
        }
    }
}

/// A tag is carried by this worker until this is dropped.
struct Turn<'a> {
    carrier: &'a Carrier,
    tag: Tag,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.carrier.tags.send_modify(|tags| {
            tags.remove(&self.tag);
        });
    }
}

impl Workshop {
    /// Makes ready what is used of a tag, and moves it. Others who need this worker go first.
    ///
    /// # Errors
    /// Those of the store: the job is to be tried again.
    pub async fn carry(&self, tag: &Tag, progress: &Progress, idle: &Idle) -> Result<()> {
        // a message that came again is the only one there is: it is not done with before the carry that it is about
        let _turn = self.carrier.begin(tag).await;
        let reference = TagRef {
            source: self.resolver.source().id(),
            tag: tag.clone(),
        };
        loop {
            let Some(SourceRecord::Resolved {
                revision: old,
                next: Some(next),
                at,
                ..
            }) = self.known(&reference).await?
            else {
                return Ok(());
            };
            let used = used(&self.store, &reference.source, &old, self.carrier.most).await?;
            info!(%tag, from = %old, to = %next.revision, packages = used.len(), "a tag is going to move");
            match self.carry_to(tag, &next, &used, progress, idle).await? {
                Carried::Overtaken => {}
                Carried::Enough => {
                    let revision = next.revision;
                    info!(%tag, from = %old, to = %revision, "a tag has moved");
                    let record = SourceRecord::Resolved {
                        revision,
                        at,
                        fixed: false,
                        next: None,
                    };
                    return self.record_tag(reference, &record).await;
                }
            }
        }
    }

    async fn carry_to(
        &self,
        tag: &Tag,
        next: &Next,
        used: &[(System, Attribute)],
        progress: &Progress,
        idle: &Idle,
    ) -> Result<Carried> {
        let mut done = 0;
        for batch in used.chunks(BATCH) {
            progress.say(format!(
                "carrying `{tag}` over to {} ({done} of {} packages)",
                next.revision.short(),
                used.len()
            ));
            let work = async {
                let missing = self.missing(next, batch).await?;
                if missing.is_empty() {
                    return Ok(true);
                }
                let Some(_one) = self.turn(tag, next, idle).await? else {
                    return Ok(false);
                };
                for (system, attributes) in missing {
                    self.carry_packages(next, system, &attributes).await;
                }
                anyhow::Ok(true)
            };
            match tokio::time::timeout(self.carrier.left(next), work).await {
                Ok(Ok(true)) => done += batch.len(),
                Ok(Ok(false)) => return Ok(Carried::Overtaken),
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    warn!(%tag, done, of = used.len(), "a tag moves before all is ready: time is up");
                    break;
                }
            }
        }
        Ok(Carried::Enough)
    }

    /// Those of several tags take turns, and all of them let others go first. `None`: the tag is overtaken.
    async fn turn(&self, tag: &Tag, next: &Next, idle: &Idle) -> Result<Option<MutexGuard<'_, ()>>> {
        loop {
            let one = self.carrier.batch.lock().await;
            idle.wait().await;
            if self.overtaken(tag, next).await? {
                return Ok(None);
            }
            let Err(error) = self.resolver.tree(&next.revision).await else {
                return Ok(Some(one));
            };
            // another tag's may be within reach
            drop(one);
            warn!(
                error = format!("{error:#}"),
                "cannot get the package set that a tag moves to"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn missing(
        &self,
        next: &Next,
        batch: &[(System, Attribute)],
    ) -> Result<BTreeMap<System, Vec<Attribute>>> {
        let mut missing: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (system, attribute) in batch {
            if !self
                .is_recorded(&self.package(&next.revision, *system, attribute))
                .await?
            {
                missing.entry(*system).or_default().push(attribute.clone());
            }
        }
        Ok(missing)
    }

    /// What fails for a moment here fails nobody: it is made when somebody asks for it.
    async fn carry_packages(&self, next: &Next, system: System, attributes: &[Attribute]) {
        let silent = Progress::new();
        if let Err(error) = self.build(&next.revision, system, attributes, &silent).await {
            warn!(error = format!("{error:#}"), "a batch failed: one by one");
            for attribute in attributes {
                let one = std::slice::from_ref(attribute);
                if let Err(error) = self.build(&next.revision, system, one, &silent).await {
                    warn!(%attribute, error = format!("{error:#}"), "a package is not carried");
                }
            }
        }
    }

    /// Looks the tag up again, and notes what was seen.
    async fn overtaken(&self, tag: &Tag, next: &Next) -> Result<bool> {
        let revision = match self.resolver.resolve(tag).await {
            Ok(Resolved::Revision { revision, .. }) => revision,
            // a host that does not answer, or a branch that is gone: whoever looks next will say so
            Ok(Resolved::Refused(_)) | Err(_) => return Ok(false),
        };
        let reference = TagRef {
            source: self.resolver.source().id(),
            tag: tag.clone(),
        };
        let known = self.known(&reference).await?;
        let record = self.carrier.record(known, &revision, false);
        self.record_tag(reference, &record).await?;
        Ok(revision != next.revision)
    }
}

/// The packages of the images of a revision, those in most images first, and first of all what is in every image.
async fn used(
    store: &Store,
    source: &str,
    revision: &Revision,
    most: usize,
) -> Result<Vec<(System, Attribute)>> {
    let prefix = Prefix::Images(source.to_owned(), revision.clone());
    let mut listed = store.list(&prefix).await?;
    listed.sort_by_key(|(_, written)| std::cmp::Reverse(*written));
    listed.truncate(IMAGES);
    let mut uses: BTreeMap<(System, Attribute), (usize, Seconds)> = BTreeMap::new();
    let mut reads = JoinSet::new();
    let mut images = listed
        .into_iter()
        .filter_map(|(name, written)| Some((prefix.key(&name)?, written)));
    loop {
        while reads.len() < READS
            && let Some((key, written)) = images.next()
        {
            let store = store.clone();
            reads.spawn(async move { (read(&store, &key).await, written) });
        }
        let Some(read) = reads.join_next().await else {
            break;
        };
        let (Some(image), written) = read? else { continue };
        for base in BASE {
            uses.insert((image.system, base.parse()?), (usize::MAX, Seconds::MAX));
        }
        for attribute in image.attributes {
            let (count, youngest) = uses.entry((image.system, attribute)).or_default();
            *count = count.saturating_add(1);
            *youngest = written.max(*youngest);
        }
    }
    let mut used: Vec<_> = uses.into_iter().collect();
    used.sort_by(|(a, uses_of_a), (b, uses_of_b)| uses_of_b.cmp(uses_of_a).then_with(|| a.cmp(b)));
    used.truncate(most);
    Ok(used.into_iter().map(|(package, _)| package).collect())
}

/// An image that cannot be read tells nothing.
async fn read(store: &Store, key: &Key) -> Option<ImageRecord> {
    let bytes = store.get(key).await.ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}
