//! Copies of package sets, each at one revision: `trees/<revision>/source`.
//!
//! The last component is the same for every revision, because Nix puts it into the names of what it copies to the
//! store. A tree is filled beside its place and moved there whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use laminix::source::Revision;
use tempfile::TempDir;

/// Only so many trees are kept, those that were used last: a revision can always be fetched again.
pub const KEPT: usize = 8;

const NAME: &str = "source";
const DRAFT: &str = ".draft-";

/// The copies of one source.
#[derive(Debug)]
pub(super) struct Trees {
    directory: PathBuf,
}

impl Trees {
    pub(super) fn open(state: &Path) -> io::Result<Self> {
        let directory = state.join("trees");
        fs::create_dir_all(&directory)?;
        fs::create_dir_all(state.join("allowed"))?;
        let trees = Self { directory };
        trees.sweep()?;
        trees.prune(KEPT)?;
        Ok(trees)
    }

    /// The tree of a revision, if it is here. It counts as used now.
    pub(super) fn get(&self, revision: &Revision) -> Option<PathBuf> {
        let place = self.directory.join(revision.as_str());
        let tree = place.join(NAME);
        if !tree.is_dir() {
            return None;
        }
        let touched = fs::File::open(&place).and_then(|place| place.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::warn!(%error, tree = %place.display(), "cannot note that a package set is used");
        }
        Some(tree)
    }

    /// Notes that a revision was resolved by the rules, so that it may be fetched later.
    pub(super) fn allow(&self, revision: &Revision) -> io::Result<()> {
        fs::write(
            self.directory.with_file_name("allowed").join(revision.as_str()),
            "",
        )
    }

    /// Whether a revision was ever resolved by the rules.
    pub(super) fn is_allowed(&self, revision: &Revision) -> bool {
        self.directory
            .with_file_name("allowed")
            .join(revision.as_str())
            .exists()
    }

    /// A directory to fill. It is removed when it is dropped.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        let directory = tempfile::Builder::new()
            .prefix(DRAFT)
            .tempdir_in(&self.directory)?;
        fs::create_dir(directory.path().join(NAME))?;
        Ok(Draft(directory))
    }

    /// Puts a filled draft in its place. Another worker may have been faster: then its tree is the same.
    pub(super) fn keep(&self, draft: Draft, revision: &Revision) -> io::Result<PathBuf> {
        let place = self.directory.join(revision.as_str());
        match fs::rename(draft.0.path(), &place) {
            Ok(()) => drop(draft.0.keep()),
            Err(_) if place.join(NAME).is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(place.join(NAME))
    }

    /// Removes drafts of a worker that was killed.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes all trees but those that were used last. No evaluation may be reading one.
    pub(super) fn prune(&self, kept: usize) -> io::Result<()> {
        let mut trees = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                continue;
            }
            let used = entry.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            trees.push((std::cmp::Reverse(used), entry.path()));
        }
        trees.sort();
        for (_, path) in trees.into_iter().skip(kept) {
            // what is half removed is no tree to anybody
            let doomed = tempfile::Builder::new()
                .prefix(DRAFT)
                .tempdir_in(&self.directory)?;
            fs::rename(&path, doomed.path().join(NAME))?;
        }
        Ok(())
    }
}

/// A tree that is being filled.
#[derive(Debug)]
pub(super) struct Draft(TempDir);

impl Draft {
    /// The directory to fill.
    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join(NAME)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_trees_that_were_used_last_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let trees = Trees::open(home.path()).unwrap();
        let revisions = ["1", "2", "3", "4"].map(|n| n.repeat(40).parse::<Revision>().unwrap());
        for (age, revision) in revisions.iter().enumerate() {
            trees.keep(trees.draft().unwrap(), revision).unwrap();
            let place = fs::File::open(home.path().join("trees").join(revision.as_str())).unwrap();
            let used = SystemTime::now() - Duration::from_secs(1000 - 10 * age as u64);
            place.set_modified(used).unwrap();
        }
        assert!(trees.get(&revisions[0]).is_some(), "the oldest is used now");
        let filled = trees.draft().unwrap();
        trees.prune(2).unwrap();
        let left = revisions.each_ref().map(|revision| trees.get(revision).is_some());
        assert_eq!(left, [true, false, false, true]);
        assert!(filled.path().is_dir(), "what is being filled stays");
    }
}
