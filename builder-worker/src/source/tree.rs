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

/// Trees older than the newest ones are removed when a worker starts: a revision can always be fetched again.
const KEPT: usize = 8;

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
        trees.prune()?;
        Ok(trees)
    }

    /// The tree of a revision, if it is here.
    pub(super) fn get(&self, revision: &Revision) -> Option<PathBuf> {
        let tree = self.directory.join(revision.as_str()).join(NAME);
        tree.is_dir().then_some(tree)
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

    fn prune(&self) -> io::Result<()> {
        let mut trees = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                // of a worker that was killed
                fs::remove_dir_all(entry.path())?;
                continue;
            }
            let age = entry.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            trees.push((std::cmp::Reverse(age), entry.path()));
        }
        trees.sort();
        for (_, path) in trees.into_iter().skip(KEPT) {
            fs::remove_dir_all(path)?;
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
