//! Sources: which revision a tag names, and the package set at a revision as a directory.
//!
//! One file per kind. A revision is served only if the operator's rules allow it: of a repository, only what an
//! allowed branch or tag contains, because a git host hands out every commit that it stores, those of forks too.

mod channel;
mod git;
mod path;
mod tree;

use std::path::PathBuf;

use laminix::name::Tag;
use laminix::source::{Reference, Revision, Source};

use self::channel::Channels;
pub use self::git::Patterns;
use self::git::Repository;
pub use self::tree::KEPT;
use self::tree::Trees;

/// What a tag turned out to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// A revision; `fixed` when the tag can never name another.
    Revision {
        /// Which.
        revision: Revision,
        /// Whether it can never change.
        fixed: bool,
    },
    /// Nothing that may be served: a sentence for the person who pulls.
    Refused(String),
}

/// Where channels and their revisions are found.
#[derive(Debug, Clone)]
pub struct ChannelHosts {
    /// `https://channels.nixos.org`, or a mirror with the same files.
    pub channels: String,
    /// The repository that the channels' revisions are commits of, as git takes it.
    pub nixpkgs: String,
}

/// The worker's view of the one source that it serves.
#[derive(Debug)]
pub struct Resolver {
    source: Source,
    kind: Kind,
    trees: Trees,
}

#[derive(Debug)]
enum Kind {
    Path(PathBuf),
    Git(Repository),
    Channel(Channels),
}

impl Resolver {
    /// A resolver that keeps its copies below `state`. Only branches and tags that match `allowed` are served.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn open(
        source: Source,
        state: &std::path::Path,
        allowed: Patterns,
        hosts: ChannelHosts,
    ) -> anyhow::Result<Self> {
        let state = state.join("sources").join(source.id());
        std::fs::create_dir_all(&state)?;
        let kind = match &source {
            Source::Path(path) => Kind::Path(path.clone()),
            Source::Git(url) => Kind::Git(Repository::new(url, &state, allowed)?),
            Source::Channel(name) => Kind::Channel(Channels::new(name.as_str(), &state, hosts)?),
        };
        Ok(Self {
            source,
            kind,
            trees: Trees::open(&state)?,
        })
    }

    /// The source that is served.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Finds out which revision a tag names.
    ///
    /// # Errors
    /// What may pass by itself: a host that does not answer, a disk that is full.
    pub async fn resolve(&self, tag: &Tag) -> anyhow::Result<Resolved> {
        let reference = match self.source.reference(tag) {
            Ok(reference) => reference,
            Err(refused) => return Ok(Resolved::Refused(refused.to_string())),
        };
        let resolved = match (&self.kind, reference) {
            (Kind::Path(path), Reference::Latest) => path::resolve(path, &self.trees).await,
            (Kind::Path(_), Reference::Named(_) | Reference::Commit(_)) => Ok(Resolved::Refused(
                "a directory has no tag but `latest`".to_owned(),
            )),
            (Kind::Git(repository), Reference::Latest) => repository.default_branch().await,
            (Kind::Git(repository), Reference::Named(name)) => repository.named(&name).await,
            (Kind::Git(repository), Reference::Commit(digits)) => repository.commit(&digits).await,
            (Kind::Channel(channels), Reference::Latest) => channels.latest().await,
            (Kind::Channel(channels), Reference::Named(name)) => channels.named(&name).await,
            (Kind::Channel(channels), Reference::Commit(digits)) => channels.commit(&digits).await,
        }?;
        if let Resolved::Revision { revision, .. } = &resolved {
            self.trees.allow(revision)?;
        }
        Ok(resolved)
    }

    /// The package set at a revision, as a directory that does not change.
    ///
    /// # Errors
    /// When the revision cannot be had (any more), or the host does not answer.
    pub async fn tree(&self, revision: &Revision) -> anyhow::Result<PathBuf> {
        if let Some(tree) = self.trees.get(revision) {
            return Ok(tree);
        }
        // a job is not believed: what was never resolved here has to pass the same rules first
        if !self.trees.is_allowed(revision) && !self.contains(revision).await? {
            anyhow::bail!("revision {revision} is in no branch that is served");
        }
        match &self.kind {
            Kind::Path(path) => path::copy(path, revision, &self.trees).await,
            Kind::Git(repository) => repository.tree(revision, &self.trees).await,
            Kind::Channel(channels) => channels.tree(revision, &self.trees).await,
        }
    }

    /// Removes all copies of package sets but those that were used last. Nobody may be reading one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn prune(&self, kept: usize) -> std::io::Result<()> {
        self.trees.prune(kept)
    }

    async fn contains(&self, revision: &Revision) -> anyhow::Result<bool> {
        let resolved = match &self.kind {
            // a directory's revision is its content, which is checked when it is copied
            Kind::Path(_) => return Ok(true),
            Kind::Git(repository) => repository.commit(revision.as_str()).await?,
            Kind::Channel(channels) => channels.commit(revision.as_str()).await?,
        };
        Ok(matches!(resolved, Resolved::Revision { revision: found, .. } if found == *revision))
    }
}
