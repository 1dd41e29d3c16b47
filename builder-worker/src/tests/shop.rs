//! A whole worker on a repository of its own, with real Nix, store and queue.

use std::fs;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use laminix::job::{Job, Work};
use laminix::key::{ImageKey, Key, PackageRef, TagRef};
use laminix::name::{Attribute, Image, Tag};
use laminix::queue::Queue;
use laminix::record::{Claim, Compression, ImageRecord, PackageRecord, SourceRecord};
use laminix::source::{Revision, Source};
use laminix::store::Store;
use laminix_builder::carry::Carrier;
use laminix_builder::collect::Collector;
use laminix_builder::job::Workshop;
use laminix_builder::nix::{Nix, native};
use laminix_builder::pack::Packer;
use laminix_builder::process::Run;
use laminix_builder::source::{ChannelHosts, Patterns, Resolver};
use laminix_builder::worker::Worker;
use tempfile::TempDir;

use crate::bench::{is_installed, nonce, set_text, settings};

pub(crate) struct Shop {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) source: Source,
    pub(crate) home: TempDir,
    nonce: String,
}

impl Shop {
    /// A worker that carries up to 500 packages, for an hour; `None` where there is no Nix and this is not CI.
    pub(crate) async fn open() -> Option<Self> {
        Self::with(500, Duration::from_secs(3600)).await
    }

    pub(crate) async fn with(carry: usize, carry_time: Duration) -> Option<Self> {
        if !is_installed().await {
            return None;
        }
        let home = TempDir::new().unwrap();
        let place = |name: &str| home.path().join(name);
        let url = |name: &str| format!("file://{}", place(name).display());
        for name in ["repository", "work"] {
            fs::create_dir(place(name)).unwrap();
        }
        let store = Store::open(&url("store"), &|_| None).await.unwrap();
        let queue = Queue::open(&url("queue")).await.unwrap();
        let source: Source = format!("git+{}", url("repository")).parse().unwrap();
        let hosts = ChannelHosts {
            channels: String::new(),
            nixpkgs: String::new(),
        };
        let threads = NonZero::new(2).unwrap();
        let workshop = Workshop {
            store: store.clone(),
            resolver: Resolver::open(source.clone(), &place("state"), Patterns::all(), hosts).unwrap(),
            nix: Nix::open(settings(place("state"))).await.unwrap(),
            packer: Arc::new(Packer::new("/".as_ref(), &place("work"), threads).unwrap()),
            compression: Compression::Gzip,
            collector: Collector::new(0),
            carrier: Carrier::new(carry, carry_time),
        };
        let shop = Self {
            workshop: Arc::new(workshop),
            store,
            queue,
            source,
            home,
            nonce: nonce(),
        };
        shop.git(&["init", "--quiet", "--initial-branch=main"]).await;
        Some(shop)
    }

    pub(crate) fn worker(&self, jobs: usize, drain: Duration) -> Worker {
        Worker::new(Arc::clone(&self.workshop), self.queue.clone(), jobs, drain)
    }

    async fn git(&self, args: &[&str]) -> String {
        let run = Run::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(args)
            .dir(self.home.path().join("repository"))
            .env("HOME", self.home.path());
        let done = run.finish().await.unwrap();
        assert!(done.status.success(), "git {args:?}: {}", done.tail_text());
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// The revision at which the package set has these attributes; every commit builds anew.
    pub(crate) async fn commit(&self, attributes: &str) -> Revision {
        let file = self.home.path().join("repository/default.nix");
        let nonce = format!("{}-{}", self.nonce, nonce());
        fs::write(file, set_text(&nonce, attributes)).unwrap();
        self.git(&["add", "."]).await;
        self.git(&["commit", "--quiet", "--message", "x"]).await;
        self.git(&["rev-parse", "HEAD"]).await.parse().unwrap()
    }

    /// The branch goes back to a revision.
    pub(crate) async fn reset(&self, revision: &Revision) {
        self.git(&["reset", "--quiet", "--hard", revision.as_str()]).await;
    }

    /// A branch at the last commit.
    pub(crate) async fn branch(&self, name: &str) {
        self.git(&["branch", name]).await;
    }

    /// The repository has no default branch, until somebody commits to it.
    pub(crate) async fn lose_branch(&self) {
        self.git(&["symbolic-ref", "HEAD", "refs/heads/none"]).await;
    }

    pub(crate) fn resolve(&self) -> Work {
        Work::Resolve {
            source: self.source.clone(),
            tag: Tag::latest(),
        }
    }

    pub(crate) fn warm(&self, name: &str) -> Work {
        Work::Warm {
            source: self.source.clone(),
            name: name.to_owned(),
            tag: Tag::latest(),
        }
    }

    pub(crate) fn build(&self, revision: &Revision, attributes: &[&str]) -> Work {
        Work::Build {
            source: self.source.clone(),
            revision: revision.clone(),
            system: native(),
            attributes: attributes.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    pub(crate) async fn send(&self, work: Work) {
        self.queue.send(&Job::new(work)).await.unwrap();
    }

    pub(crate) fn latest(&self) -> TagRef {
        TagRef {
            source: self.source.id(),
            tag: Tag::latest(),
        }
    }

    /// What `latest` names, and what it is going to name.
    pub(crate) async fn named(&self) -> (Revision, Option<Revision>) {
        let bytes = self.store.get(&Key::Source(self.latest())).await.unwrap();
        match serde_json::from_slice(&bytes.unwrap()).unwrap() {
            SourceRecord::Resolved { revision, next, .. } => (revision, next.map(|next| next.revision)),
            SourceRecord::Refused { reason, .. } => panic!("{reason}"),
        }
    }

    pub(crate) fn package(&self, revision: &Revision, attribute: &str) -> PackageRef {
        PackageRef {
            source: self.source.id(),
            revision: revision.clone(),
            system: native(),
            attribute: attribute.parse().unwrap(),
        }
    }

    pub(crate) async fn record(&self, revision: &Revision, attribute: &str) -> Option<PackageRecord> {
        let key = Key::Package(self.package(revision, attribute));
        let bytes = self.store.get(&key).await.unwrap()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    pub(crate) async fn is_ready(&self, revision: &Revision, attribute: &str) -> bool {
        let record = self.record(revision, attribute).await;
        matches!(record, Some(PackageRecord::Ready(_)))
    }

    /// What a function leaves when somebody pulls an image at a revision for the first time.
    pub(crate) async fn pulled(&self, revision: &Revision, name: &str) {
        let image = Image::parse(name, native()).unwrap();
        let record = ImageRecord {
            system: native(),
            attributes: image.attributes().iter().cloned().collect::<Vec<Attribute>>(),
            oci: String::new(),
            docker: None,
        };
        let key = Key::Image(ImageKey::of(&self.source, revision, &image));
        let body = serde_json::to_vec(&record).unwrap();
        self.store.put(&key, body.into()).await.unwrap();
    }

    pub(crate) async fn claim(&self, key: &Key) -> Option<Claim> {
        let bytes = self.store.get(key).await.unwrap()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

/// Waits for something that is about to be, 20 s at most.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to this: {what}");
}
