//! Garbage: what the worker removes to have room, and when that is safe.
//!
//! A job's store paths are safe from a collector at two times: while the Nix process that made them runs (its own
//! temporary roots), and once [`crate::realise::Roots`] stand, which is from the end of realisation until all is packed.
//! Between the processes of a job nothing keeps them: the `.drv` files of an evaluation, a package set that Nix has copied,
//! what was built in a run of which another package failed. So a job *holds* the store from before its evaluation until
//! its roots stand ([`Collector::hold`]), and a collection begins only when nobody does. Packing goes on meanwhile.
//!
//! A collection waits for such a moment; under load there may be none. When less than half of the wanted space is free, it
//! asks for one: those who come then wait for it, for a minute at most, because people wait for them.
//!
//! The lock is this worker's: of several workers on one Nix store one may collect. Nix's own collection during builds
//! (`min-free`) stays off, it would come in between.
//!
//! Copies of package sets are removed under the same lock, because evaluation reads them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use laminix::record::STORE_DIR;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::meters::Meters;
use crate::nix::Nix;
use crate::source::{KEPT, Resolver};

/// The disk is looked at this often: a download of a few gigabytes takes longer.
const LOOK: Duration = Duration::from_secs(10);

/// A collection that did not bring enough, or found no moment, is not tried again before this.
const REST: Duration = Duration::from_secs(300);

/// How long others may be kept waiting by a collection that is urgent.
const URGENT: Duration = Duration::from_secs(60);

/// Reading all of a large store's database takes minutes.
const TIME: Duration = Duration::from_secs(30 * 60);

/// Copies of package sets that are kept where space is short: of the old and of the new revision of a tag.
const KEPT_AT_LEAST: usize = 2;

/// Keeps space free on the disk of the Nix store.
#[derive(Debug)]
pub struct Collector {
    wanted: u64,
    store: PathBuf,
    patience: Duration,
    held: RwLock<()>,
    rest: Mutex<Option<Instant>>,
    /// Until when nobody is kept waiting.
    spared: Mutex<Option<Instant>>,
}

/// What is held here is not collected.
pub type Hold<'a> = RwLockReadGuard<'a, ()>;

impl Collector {
    /// Keeps this many bytes free; 0: collects nothing.
    #[must_use]
    pub fn new(wanted: u64) -> Self {
        Self {
            wanted,
            store: STORE_DIR.into(),
            patience: URGENT,
            held: RwLock::new(()),
            rest: Mutex::new(None),
            spared: Mutex::new(None),
        }
    }

    /// Keeps collections from beginning until it is dropped.
    pub async fn hold(&self) -> Hold<'_> {
        self.held.read().await
    }

    /// Free bytes of the Nix store's file system, for those who are not root.
    ///
    /// # Errors
    /// When there is no store.
    pub fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.store)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Tidies up whenever there is reason to, for as long as it is awaited.
    pub async fn run<T>(&self, nix: &Nix, resolver: &Resolver, meters: &Meters) -> T {
        loop {
            if let Err(error) = self.tidy(nix, resolver, meters).await {
                warn!(error = format!("{error:#}"), "cannot make room");
                *self.rest.lock().await = Some(Instant::now() + REST);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Removes what is too much, if nobody holds it. Says whether the Nix store was collected.
    ///
    /// # Errors
    /// When Nix or the disk fails.
    pub async fn tidy(&self, nix: &Nix, resolver: &Resolver, meters: &Meters) -> Result<bool> {
        let free = self.free()?;
        let low = free < self.wanted;
        if !low {
            if let Ok(_alone) = self.held.try_write() {
                resolver.prune(KEPT)?;
            }
            return Ok(false);
        }
        let mut rest = self.rest.lock().await;
        if rest.is_some_and(|until| Instant::now() < until) {
            return Ok(false);
        }
        let Some(_alone) = self.alone(free < self.wanted / 2).await else {
            return Ok(false);
        };
        resolver.prune(KEPT_AT_LEAST)?;
        let missing = (self.wanted + self.wanted / 2).saturating_sub(self.free()?);
        if missing > 0 {
            self.collect(nix, missing, meters).await?;
        }
        if self.free()? < self.wanted {
            warn!(free = self.free()?, wanted = self.wanted, "the disk stays full");
            *rest = Some(Instant::now() + REST);
        }
        Ok(true)
    }

    async fn alone(&self, urgent: bool) -> Option<RwLockWriteGuard<'_, ()>> {
        if let Ok(alone) = self.held.try_write() {
            return Some(alone);
        }
        let mut spared = self.spared.lock().await;
        if !urgent || spared.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let alone = tokio::time::timeout(self.patience, self.held.write()).await.ok();
        if alone.is_none() {
            // those who came meanwhile were kept waiting for nothing: not again at once
            *spared = Some(Instant::now() + REST);
        }
        alone
    }

    async fn collect(&self, nix: &Nix, bytes: u64, meters: &Meters) -> Result<()> {
        let (began, before) = (Instant::now(), self.free()?);
        let run = nix.store().args(["--gc", "--max-freed"]).arg(bytes.to_string());
        // it names every path that it deletes
        let done = run.stdout_end(4 << 10).time(TIME).finish().await?;
        let said = done.tail_text();
        ensure!(
            done.status.success(),
            "nix-store --gc failed: {}",
            said.lines().next_back().unwrap_or_default()
        );
        // as the disk sees it: what Nix says of it is for people, and differs between versions
        let freed = self.free().context("after a collection")?.saturating_sub(before);
        meters.collected(freed);
        info!(
            asked = bytes,
            freed,
            seconds = began.elapsed().as_secs(),
            "the Nix store is collected"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_was_kept_waiting_in_vain_is_left_alone_for_a_while() {
        let collector = Collector {
            patience: Duration::from_millis(10),
            ..Collector::new(1)
        };
        let hold = collector.hold().await;
        let waits = async || {
            let began = Instant::now();
            assert!(collector.alone(true).await.is_none());
            began.elapsed() >= collector.patience
        };
        assert!(waits().await && !waits().await, "once, and not again at once");
        drop(hold);
        assert!(
            collector.alone(true).await.is_some(),
            "a free moment is taken all the same"
        );
    }
}
