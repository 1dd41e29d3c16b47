//! Jobs: what is done for each kind of work.
//!
//! Every step is idempotent: what is recorded already is not made again, so a job that comes twice does no harm.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use laminix::compose::attributes;
use laminix::job::Work;
use laminix::key::{Key, PackageRef, Subject, TagRef};
use laminix::name::{Attribute, Image, System, Tag};
use laminix::record::{Compression, PackageRecord, SourceRecord, StorePath, now};
use laminix::source::Revision;
use laminix::store::Store;
use tracing::{info, warn};

use crate::carry::Carrier;
use crate::claims::{self, Progress};
use crate::closure::closure;
use crate::collect::{Collector, Hold};
use crate::evaluate::{Derivation, Evaluated, Evaluation};
use crate::merge::merge;
use crate::nix::{Nix, native};
use crate::pack::Packer;
use crate::plan::plan;
use crate::publish::{self, publish};
use crate::realise::{Outcome, realise};
use crate::source::{Resolved, Resolver};
use crate::tree;
use crate::upload::ensure_layers;

/// A tag that names nothing is looked for again after this many seconds: it may have been pushed meanwhile.
pub(crate) const UNKNOWN_TAG_FOR: u64 = 60;

/// What a worker does its jobs with.
pub struct Workshop {
    /// Where records and blobs go.
    pub store: Store,
    /// The source that it serves.
    pub resolver: Resolver,
    /// Its Nix.
    pub nix: Nix,
    /// Its packer.
    pub packer: Arc<Packer>,
    /// What new layers are compressed with.
    pub compression: Compression,
    /// Keeps the disk from filling up.
    pub collector: Collector,
    /// Holds tags back until what they name is ready.
    pub carrier: Carrier,
}

/// What a tag names.
struct Named {
    /// What pulls get.
    now: Revision,
    /// What they are going to get.
    next: Option<Revision>,
}

impl Workshop {
    /// What somebody may wait for while this work is done.
    #[must_use]
    pub fn subjects(&self, work: &Work) -> Vec<Subject> {
        match work {
            Work::Resolve { source, tag } => vec![Subject::Tag(TagRef {
                source: source.id(),
                tag: tag.clone(),
            })],
            Work::Build {
                revision,
                system,
                attributes,
                ..
            } => attributes
                .iter()
                .map(|attribute| Subject::Package(self.package(revision, *system, attribute)))
                .collect(),
            Work::Merge { key, .. } => vec![Subject::Layer(key.clone())],
            Work::Warm { .. } => Vec::new(),
        }
    }

    /// Why a job is not even begun.
    #[must_use]
    pub fn refusal(&self, work: &Work) -> Option<String> {
        let asked = match work {
            Work::Resolve { source, .. } | Work::Build { source, .. } | Work::Warm { source, .. } => source,
            Work::Merge { .. } => return None,
        };
        let served = self.resolver.source();
        (asked != served).then(|| format!("the job is for {asked}, and this worker serves {served}"))
    }

    /// Does it. What may be left is a tag that is to be carried over to another revision ([`crate::carry`]).
    ///
    /// # Errors
    /// What may pass by itself: the job is to be tried again.
    pub async fn work(&self, work: &Work, progress: &Progress) -> anyhow::Result<Option<Tag>> {
        match work {
            Work::Resolve { tag, .. } => {
                let named = self.resolve(tag, progress).await?;
                Ok(named.and_then(|named| named.next).map(|_| tag.clone()))
            }
            Work::Build {
                revision,
                system,
                attributes,
                ..
            } => {
                self.build(revision, *system, attributes, progress).await?;
                Ok(None)
            }
            Work::Merge { key, layers } => {
                progress.say(format!("joining {} layers", layers.len()));
                let compression = Compression::of_union(layers.iter().map(|layer| layer.packed.compression));
                merge(&self.store, &self.packer, key.clone(), layers, compression)
                    .await
                    .map(|_| None)
            }
            Work::Warm { name, tag, .. } => {
                let image = Image::parse(name, native())?;
                let Some(named) = self.resolve(tag, progress).await? else {
                    return Ok(None);
                };
                let attributes = attributes(&image);
                // for those who pull now, and for those who pull when the tag has moved
                self.build_claimed(&named.now, image.system(), &attributes, progress)
                    .await?;
                let Some(next) = named.next else {
                    return Ok(None);
                };
                self.build_claimed(&next, image.system(), &attributes, progress)
                    .await?;
                Ok(Some(tag.clone()))
            }
        }
    }

    async fn resolve(&self, tag: &Tag, progress: &Progress) -> anyhow::Result<Option<Named>> {
        progress.say(format!("looking up `{tag}`"));
        let reference = TagRef {
            source: self.resolver.source().id(),
            tag: tag.clone(),
        };
        let resolved = self.resolver.resolve(tag).await?;
        let known = self.known(&reference).await?;
        match resolved {
            Resolved::Revision { revision, fixed } => {
                info!(%tag, %revision, "a tag is resolved");
                let record = self.carrier.record(known, &revision, fixed);
                self.record_tag(reference, &record).await?;
                Ok(match record {
                    SourceRecord::Resolved { revision, next, .. } => Some(Named {
                        now: revision,
                        next: next.map(|next| next.revision),
                    }),
                    SourceRecord::Refused { .. } => None,
                })
            }
            // what the operator has named was there: its host is in trouble, and nobody who pulls is to pay for that
            Resolved::Refused(reason)
                if *tag == Tag::latest() && matches!(known, Some(SourceRecord::Resolved { .. })) =>
            {
                bail!("`{tag}` named something before, and now {reason}")
            }
            Resolved::Refused(reason) => {
                info!(%tag, reason, "a tag names nothing");
                self.record_tag(
                    reference,
                    &SourceRecord::Refused {
                        reason,
                        until: now() + UNKNOWN_TAG_FOR,
                    },
                )
                .await?;
                Ok(None)
            }
        }
    }

    /// What is recorded of a tag. A record that cannot be read is as good as none.
    pub(crate) async fn known(&self, tag: &TagRef) -> anyhow::Result<Option<SourceRecord>> {
        let bytes = self.store.get(&Key::Source(tag.clone())).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub(crate) async fn record_tag(&self, tag: TagRef, record: &SourceRecord) -> anyhow::Result<()> {
        Ok(self
            .store
            .put(&Key::Source(tag), serde_json::to_vec(record)?.into())
            .await?)
    }

    /// Builds what nobody has claimed yet, because which packages it is was not known before: whoever wants one of them
    /// meanwhile waits for this job, sends no other, and can be told how far it is.
    async fn build_claimed(
        &self,
        revision: &Revision,
        system: System,
        attributes: &[Attribute],
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut subjects = Vec::new();
        for attribute in attributes {
            let package = self.package(revision, system, attribute);
            if !self.is_recorded(&package).await? {
                subjects.push(Subject::Package(package));
            }
        }
        if subjects.is_empty() {
            return Ok(());
        }
        let built = tokio::select! {
            built = self.build(revision, system, attributes, progress) => built,
            never = claims::keep(&self.store, &subjects, progress) => never,
        };
        // also when it failed: the next attempt claims them again, and until then others may ask for them
        claims::release(&self.store, &subjects).await;
        built
    }

    pub(crate) async fn build(
        &self,
        revision: &Revision,
        system: System,
        attributes: &[Attribute],
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut missing = Vec::new();
        for attribute in attributes {
            if !self
                .is_recorded(&self.package(revision, system, attribute))
                .await?
            {
                missing.push(attribute.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // until the roots stand, nothing but this keeps what is evaluated and built
        let hold = self.collector.hold().await;
        progress.say(format!("fetching the package set at {}", revision.short()));
        let set = self.resolver.tree(revision).await?;
        let names: Vec<_> = missing.iter().map(Attribute::as_str).collect();
        progress.say(format!("evaluating {}", names.join(" ")));
        let evaluated = Evaluation {
            nix: &self.nix,
            set: &set,
            system,
        }
        .run(&missing)
        .await?;
        let mut packages = Vec::new();
        for (attribute, evaluated) in missing.iter().zip(evaluated) {
            let package = self.package(revision, system, attribute);
            let record = match evaluated {
                Evaluated::Package(derivation) => {
                    packages.push((package, *derivation));
                    continue;
                }
                Evaluated::NotFound(near) => PackageRecord::NotFound { near },
                Evaluated::Refused(reason) => publish::refused(reason, now()),
                Evaluated::Failed(reason) => publish::failed(reason, "", now()),
            };
            publish(&self.store, &package, &record).await?;
        }
        self.make(packages, hold, progress).await
    }

    /// Realises, packs and records packages, one after the other; all layers of one are packed side by side.
    async fn make(
        &self,
        packages: Vec<(PackageRef, Derivation)>,
        hold: Hold<'_>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let derivations: Vec<&Derivation> = packages.iter().map(|(_, derivation)| derivation).collect();
        // the roots live until all is packed
        let (outcomes, _roots) = realise(&self.nix, &derivations, progress).await?;
        drop(hold);
        let mut trouble = None;
        for ((package, derivation), outcome) in packages.into_iter().zip(outcomes) {
            let attribute = package.attribute.clone();
            let done = match outcome {
                Outcome::Ready => {
                    progress.say(format!("packing {}", derivation.name));
                    self.pack(package, derivation).await.context("packing")
                }
                Outcome::Failed { reason, log } => {
                    publish(&self.store, &package, &publish::failed(reason, &log, now())).await
                }
                Outcome::Retry(reason) => Err(anyhow!(reason)),
            };
            if let Err(error) = done {
                warn!(%attribute, error = format!("{error:#}"), "a package is not ready");
                // the others of the job are not to blame
                trouble.get_or_insert(error.context(attribute));
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn pack(&self, package: PackageRef, derivation: Derivation) -> anyhow::Result<()> {
        let outputs: Vec<StorePath> = derivation.outputs().cloned().collect();
        let contents = closure(&self.nix, &outputs).await?;
        let layers = ensure_layers(&self.store, &self.packer, plan(&contents), self.compression).await?;
        let trees = tokio::task::spawn_blocking(move || {
            outputs
                .iter()
                .map(|output| tree::output(Path::new("/"), output))
                .collect::<anyhow::Result<Vec<_>>>()
        });
        publish(
            &self.store,
            &package,
            &publish::ready(derivation, trees.await??, layers),
        )
        .await
    }

    pub(crate) async fn is_recorded(&self, package: &PackageRef) -> anyhow::Result<bool> {
        let bytes = self.store.get(&Key::Package(package.clone())).await?;
        let record = bytes.and_then(|bytes| serde_json::from_slice::<PackageRecord>(&bytes).ok());
        Ok(record.is_some_and(|record| record.is_current(now())))
    }

    pub(crate) fn package(&self, revision: &Revision, system: System, attribute: &Attribute) -> PackageRef {
        let source = self.resolver.source().id();
        PackageRef {
            source,
            revision: revision.clone(),
            system,
            attribute: attribute.clone(),
        }
    }
}
