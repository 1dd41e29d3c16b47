//! `laminix warm`: images are made ready before anybody pulls them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::given::Given;
use super::image::{self, Named};
use super::look::{self, Needed};
use super::terminal::{self, Progress};
use super::{FAILED, INTERRUPTED, LATE, Lookup, Stop, configured, words};
use crate::config::duration;
use crate::key::{Key, TagRef};
use crate::queue::Queue;
use crate::record::{PackageRecord, Seconds, SourceRecord, now};
use crate::registry::error::printable;
use crate::source::{Revision, Source};
use crate::store::Store;

/// A build may take this long: it is the worker's own limit for one derivation.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// The first look comes soon, for what is ready already; later ones come less often.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_secs(2);

/// When nothing at all has happened for this long, there may be no worker.
const SILENCE: Duration = Duration::from_secs(60);

/// So many claims are read to say what is being done.
const CLAIMS: usize = 8;

/// The command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warm {
    pub(super) images: Vec<String>,
    pub(super) file: Option<String>,
    /// How long to wait, if at all.
    pub(super) wait: Option<Duration>,
}

impl Warm {
    /// Reads the arguments behind `warm`.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let given = Given::read(arguments, &["--wait"], &["--file", "--for"])?;
        let time = given.value("--for").map(duration).transpose()?;
        let wait = match (given.flag("--wait"), time) {
            (true, time) => Some(time.unwrap_or(PATIENCE)),
            (false, None) => None,
            (false, Some(_)) => return Err("`--for` is how long to wait: it goes with `--wait`".to_owned()),
        };
        let file = given.value("--file").map(str::to_owned);
        let images = given.words();
        if images.is_empty() && file.is_none() {
            return Err("which images? name them, or a list of them with `--file`".to_owned());
        }
        Ok(Self { images, file, wait })
    }

    pub(super) async fn run(self, variables: &Lookup<'_>) -> Result<u8, Stop> {
        let (source, system, queue, store) = configured(variables, |variables| {
            let store = self.wait.and_then(|_| variables.store());
            let (queue, source, system) = (variables.queue(), variables.source(), variables.system());
            Some((source?, system, queue?, store))
        })?;
        let images = image::all(&self.texts()?, system, &source).map_err(Stop::usage)?;
        let store = match &store {
            Some(url) => Some(Store::open(url, variables).await.map_err(wrong)?),
            None => None,
        };
        let queue = Queue::open(&queue).await.map_err(wrong)?;
        let mut watch = match (store, self.wait) {
            (Some(store), Some(time)) => Some(Watch::begin(store, &source, &images, time).await?),
            _ => None,
        };
        for image in &images {
            let sent = queue.send(&image.job(&source)).await;
            sent.map_err(|error| Stop::unavailable(&error))?;
        }
        let sent = words::count(images.len(), "job");
        match &mut watch {
            None => {
                terminal::out(&format!(
                    "{sent} sent: `laminix status IMAGE` tells what becomes of one"
                ));
                Ok(0)
            }
            Some(watch) => {
                watch.progress.note(&format!("{sent} sent"));
                watch.until_all_ended().await
            }
        }
    }

    fn texts(&self) -> Result<Vec<(String, String)>, Stop> {
        let named = self.images.iter().map(|text| (String::new(), text.clone()));
        let mut texts: Vec<(String, String)> = named.collect();
        if let Some(file) = &self.file {
            let mut list = String::new();
            let read = match file.as_str() {
                "-" => std::io::stdin().read_to_string(&mut list),
                file => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut list)),
            };
            read.map_err(|error| Stop::usage(vec![format!("the list `{file}` cannot be read: {error}")]))?;
            let lines = image::lines(file, &list);
            if lines.is_empty() && texts.is_empty() {
                return Err(Stop::usage(vec![format!("the list `{file}` names no image")]));
            }
            texts.extend(lines);
        }
        Ok(texts)
    }
}

fn wrong(problem: String) -> Stop {
    Stop::usage(vec![problem])
}

/// Images that are waited for.
struct Watch {
    store: Store,
    source: Source,
    /// When the jobs were sent.
    sent: Seconds,
    began: Instant,
    time: Duration,
    total: usize,
    waiting: Vec<Named>,
    /// What each tag's record was before.
    before: BTreeMap<Key, Bytes>,
    /// What tags name by now, since the jobs were sent.
    tags: BTreeMap<TagRef, Result<Revision, String>>,
    /// Records that are there and count.
    records: BTreeMap<Key, PackageRecord>,
    ready: usize,
    failed: usize,
    progress: Progress,
}

impl Watch {
    /// To be called before the jobs are sent: a tag that was resolved before is looked up again by them, and may move.
    async fn begin(store: Store, source: &Source, images: &[Named], time: Duration) -> Result<Self, Stop> {
        let tags: BTreeSet<Key> = images
            .iter()
            .map(|image| Key::Source(image.tag_ref(source)))
            .collect();
        Ok(Self {
            before: look::read(&store, tags).await?,
            store,
            source: source.clone(),
            sent: now(),
            began: Instant::now(),
            time,
            total: images.len(),
            waiting: images.to_vec(),
            tags: BTreeMap::new(),
            records: BTreeMap::new(),
            ready: 0,
            failed: 0,
            progress: Progress::new(),
        })
    }

    /// Looks until every image is ready or has failed, time is up, or somebody stops it.
    async fn until_all_ended(&mut self) -> Result<u8, Stop> {
        let mut stop = std::pin::pin!(crate::server::signal());
        let (mut pause, mut hinted) = (FIRST_LOOK, false);
        loop {
            let phase = self.look().await?;
            if self.waiting.is_empty() {
                self.progress.out(&self.sum());
                return Ok(if self.failed > 0 { FAILED } else { 0 });
            }
            if !hinted && self.is_silent() {
                hinted = true;
                self.progress.note(
                    "no worker has answered yet: `laminix doctor --worker` finds out whether there is one",
                );
            }
            let doing = phase.map_or(String::new(), |phase| format!(", {phase}"));
            self.progress.show(&format!("{}{doing}", self.sum()));
            let left = self.time.saturating_sub(self.began.elapsed());
            if left.is_zero() {
                self.leave(&format!("time is up ({})", words::span(self.time.as_secs())));
                return Ok(if self.failed > 0 { FAILED } else { LATE });
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(left)) => {}
                () = &mut stop => {
                    self.leave("stopped");
                    return Ok(INTERRUPTED);
                }
            }
            pause = (pause * 3 / 2).min(LOOK);
        }
    }

    /// One look at all that is not there yet. Says what is being done.
    async fn look(&mut self) -> Result<Option<String>, Stop> {
        let named: BTreeSet<TagRef> = self
            .waiting
            .iter()
            .map(|image| image.tag_ref(&self.source))
            .collect();
        let unknown: Vec<TagRef> = named
            .into_iter()
            .filter(|tag| !self.tags.contains_key(tag))
            .collect();
        let found = look::read(&self.store, unknown.iter().cloned().map(Key::Source)).await?;
        for tag in unknown {
            let key = Key::Source(tag.clone());
            let changed = found.get(&key) != self.before.get(&key);
            match look::record(&found, &key) {
                Some(SourceRecord::Resolved { revision, at, .. }) if changed || at >= self.sent => {
                    self.tags.insert(tag, Ok(revision));
                }
                Some(SourceRecord::Refused { reason, .. }) if changed => {
                    self.tags.insert(tag, Err(reason));
                }
                Some(_) | None => {}
            }
        }
        let missing: BTreeMap<Key, Key> = self
            .waiting
            .iter()
            .flat_map(|image| self.needed(image))
            .map(|needed| (needed.key(), needed.claim()))
            .filter(|(key, _)| !self.records.contains_key(key))
            .collect();
        let found = look::read(&self.store, missing.keys().cloned()).await?;
        let time = now();
        for key in found.keys() {
            if let Some(record) =
                look::record(&found, key).filter(|record: &PackageRecord| record.is_current(time))
            {
                self.records.insert(key.clone(), record);
            }
        }
        self.settle();
        let claims: Vec<Key> = missing
            .into_iter()
            .filter(|(key, _)| !self.records.contains_key(key))
            .map(|(_, claim)| claim)
            .take(CLAIMS)
            .collect();
        let found = look::read(&self.store, claims.iter().cloned()).await?;
        let claims = claims.iter().filter_map(|key| look::claim(&found, key, time));
        // one that was just begun says more than one that waits
        Ok(claims
            .max_by_key(|claim| (claim.phase != crate::wait::WAITING, claim.seen))
            .map(|claim| claim.phase))
    }

    fn needed(&self, image: &Named) -> Vec<Needed> {
        match self.tags.get(&image.tag_ref(&self.source)) {
            Some(Ok(revision)) => Needed::of(&self.source, revision, &image.image),
            Some(Err(_)) | None => Vec::new(),
        }
    }

    /// Tells of every image that is at its end, and waits for it no longer.
    fn settle(&mut self) {
        let mut waiting = Vec::new();
        for image in std::mem::take(&mut self.waiting) {
            let reasons = match self.tags.get(&image.tag_ref(&self.source)) {
                None => None,
                Some(Err(reason)) => Some(vec![reason.clone()]),
                Some(Ok(_)) => self.reasons(&image),
            };
            match reasons {
                None => waiting.push(image),
                Some(reasons) if reasons.is_empty() => {
                    self.ready += 1;
                    self.progress.out(&format!("ready   {image}"));
                }
                Some(reasons) => {
                    self.failed += 1;
                    self.progress
                        .out(&format!("failed  {image}: {}", printable(&reasons.join("; "))));
                }
            }
        }
        self.waiting = waiting;
    }

    /// Why an image cannot be had: nothing if it can, `None` while records are missing.
    fn reasons(&self, image: &Named) -> Option<Vec<String>> {
        let mut reasons = Vec::new();
        for needed in self.needed(image) {
            reasons.extend(needed.problem(self.records.get(&needed.key())?));
        }
        Some(reasons)
    }

    fn is_silent(&self) -> bool {
        self.began.elapsed() > SILENCE && self.tags.is_empty()
    }

    fn sum(&self) -> String {
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        format!("{} of {} ready{failed}", self.ready, self.total)
    }

    /// Ends before the jobs do.
    fn leave(&mut self, why: &str) {
        self.progress
            .out(&format!("{}, {} not there yet", self.sum(), self.waiting.len()));
        for image in &self.waiting.clone() {
            self.progress.out(&format!("waiting {image}"));
        }
        self.progress.note(&format!(
            "{why}: the jobs go on, and `laminix status IMAGE` tells what becomes of one"
        ));
    }
}
