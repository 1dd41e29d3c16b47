//! An image at a revision: from the cache, or composed from records, or waited for.

use std::collections::BTreeMap;

use super::Parts;
use super::error::Error;
use super::visit::{Outcome, Visit};
use crate::compose::{BASE, Composed, Merge, Outcome as Recipes, Recipe, attributes, compose};
use crate::job::Work;
use crate::key::{ImageKey, Key, LayerKey, PackageRef, Subject};
use crate::name::{Attribute, Image};
use crate::record::{Claim, ImageRecord, Package, PackageRecord, Packed};
use crate::source::Revision;
use crate::store::Store;
use crate::wait::{Record, Waited};
use bytes::Bytes;

/// The last lines of a log that reach a terminal.
const LOG_LINES: usize = 12;

/// A longer line of a log is cut, so that the last ones are within what a message holds. In characters.
const LOG_LINE: usize = 200;

/// Layers over the limit are merged at once; a union of unions would mean that composition is wrong.
const UNIONS: usize = 3;

/// An image, or who is at work on it.
pub(super) enum Made {
    Image(ImageRecord),
    Late(Vec<Claim>),
}

impl Parts {
    /// The manifests of an image.
    pub(super) async fn image(
        &self,
        image: &Image,
        revision: &Revision,
        visit: &Visit,
    ) -> Result<Made, Error> {
        let key = Key::Image(ImageKey::of(&self.config.source, revision, image));
        if let Some(bytes) = visit.phase("cache", visit.store.get(&key)).await?
            && let Ok(record) = serde_json::from_slice(&bytes)
        {
            visit.became(Outcome::Warm);
            return Ok(Made::Image(record));
        }
        visit.became(Outcome::Composed);
        let (asked, base) = match visit
            .phase("records", self.packages(image, revision, visit))
            .await?
        {
            Ok(packages) => packages,
            Err(claims) => return Ok(Made::Late(claims)),
        };
        let recipe = Recipe {
            source: &self.config.source,
            revision,
            system: image.system(),
            packages: &asked,
            base: &base,
        };
        let mut merged = BTreeMap::new();
        for _ in 0..UNIONS {
            match visit.phase("compose", async { compose(&recipe, &merged) }).await {
                Recipes::Image(composed) => {
                    let record = composed.record(image);
                    visit
                        .phase("publish", publish(&visit.store, &key, &composed, &record))
                        .await?;
                    visit.became(Outcome::Composed);
                    return Ok(Made::Image(record));
                }
                Recipes::Merge(merges) => match visit.phase("unions", self.unions(merges, visit)).await? {
                    Ok(unions) => merged.extend(unions),
                    Err(claims) => return Ok(Made::Late(claims)),
                },
            }
        }
        Err(Error::internal("layers cannot be merged below the limit"))
    }

    /// The records of what was asked for, and of the base as far as the set has it.
    async fn packages(
        &self,
        image: &Image,
        revision: &Revision,
        visit: &Visit,
    ) -> Result<Result<(Vec<Package>, Vec<Package>), Vec<Claim>>, Error> {
        let attributes = attributes(image);
        let subject = |attribute: &Attribute| {
            Subject::Package(PackageRef {
                source: self.config.source.id(),
                revision: revision.clone(),
                system: image.system(),
                attribute: attribute.clone(),
            })
        };
        let subjects: Vec<Subject> = attributes.iter().map(subject).collect();
        let work = |missing: &[&Subject]| {
            let attributes = missing.iter().filter_map(|subject| match subject {
                Subject::Package(package) => Some(package.attribute.clone()),
                Subject::Tag(_) | Subject::Layer(_) => None,
            });
            vec![Work::Build {
                source: self.config.source.clone(),
                revision: revision.clone(),
                system: image.system(),
                attributes: attributes.collect(),
            }]
        };
        let records = match visit.waiter().wait(&subjects, work).await? {
            Waited::There(records) => records,
            Waited::Late(claims) => return Ok(Err(claims)),
        };
        let mut packages = Vec::new();
        let mut problems = Problems::default();
        let mut bases = Vec::new();
        for (attribute, record) in attributes.iter().zip(records) {
            let Record::Package(record) = record else {
                return Err(Error::internal("a package has another kind of record"));
            };
            let wanted = image.attributes().contains(attribute);
            let in_base = BASE.contains(&attribute.as_str());
            match record {
                PackageRecord::Ready(package) => {
                    if in_base {
                        bases.push((*package).clone());
                    }
                    if wanted {
                        packages.push(*package);
                    }
                }
                PackageRecord::NotFound { .. } | PackageRecord::Refused { .. } if !wanted => {}
                record => problems.add(attribute, &record),
            }
        }
        problems.into_result()?;
        Ok(Ok((packages, bases)))
    }

    /// The unions of layers, by key.
    async fn unions(
        &self,
        merges: Vec<Merge>,
        visit: &Visit,
    ) -> Result<Result<BTreeMap<LayerKey, Packed>, Vec<Claim>>, Error> {
        let subjects: Vec<Subject> = merges
            .iter()
            .map(|merge| Subject::Layer(merge.key.clone()))
            .collect();
        let work = |missing: &[&Subject]| {
            let wanted = merges
                .iter()
                .filter(|merge| missing.contains(&&Subject::Layer(merge.key.clone())));
            wanted
                .map(|merge| Work::Merge {
                    key: merge.key.clone(),
                    layers: merge.layers.clone(),
                })
                .collect()
        };
        match visit.waiter().wait(&subjects, work).await? {
            Waited::There(records) => {
                let packed = records.into_iter().filter_map(|record| match record {
                    Record::Layer(packed) => Some(packed),
                    Record::Package(_) | Record::Source(_) => None,
                });
                Ok(Ok(merges
                    .iter()
                    .map(|merge| merge.key.clone())
                    .zip(packed)
                    .collect()))
            }
            Waited::Late(claims) => Ok(Err(claims)),
        }
    }
}

/// Nothing is named before it is stored: blobs, the manifests that name them, and last what names the manifests.
async fn publish(store: &Store, key: &Key, composed: &Composed, record: &ImageRecord) -> Result<(), Error> {
    let blob = async |blob: &crate::compose::Blob, key: Key| store.put(&key, blob.bytes.clone()).await;
    tokio::try_join!(
        blob(&composed.root, Key::Blob(composed.root.digest)),
        blob(&composed.config, Key::Blob(composed.config.digest)),
    )?;
    tokio::try_join!(blob(&composed.oci, Key::Manifest(composed.oci.digest)), async {
        match &composed.docker {
            Some(docker) => blob(docker, Key::Manifest(docker.digest)).await,
            None => Ok(()),
        }
    },)?;
    let body = serde_json::to_vec(record).map_err(Error::internal)?;
    Ok(store.put(key, Bytes::from(body)).await?)
}

/// Why an image cannot be made, package by package, in words for the person who pulls.
#[derive(Default)]
struct Problems {
    unknown: Vec<String>,
    denied: Vec<String>,
}

impl Problems {
    fn add(&mut self, attribute: &Attribute, record: &PackageRecord) {
        match record {
            PackageRecord::Ready(_) => {}
            PackageRecord::NotFound { near } if near.is_empty() => {
                self.unknown.push(format!("the package set has no `{attribute}`"));
            }
            PackageRecord::NotFound { near } => {
                let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
                self.unknown.push(format!(
                    "the package set has no `{attribute}`; near it are {}",
                    near.join(", ")
                ));
            }
            PackageRecord::Refused { reason, .. } => self.denied.push(reason.clone()),
            PackageRecord::Failed { reason, log, .. } => {
                let lines: Vec<&str> = log.lines().collect();
                let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
                let log: String = end.iter().flat_map(|line| ["\n  ", cut(line)]).collect();
                self.denied.push(if log.is_empty() {
                    reason.clone()
                } else {
                    format!("{reason}; its log ends with{log}")
                });
            }
        }
    }

    /// What nobody has is 404, also beside something that is denied: the name as a whole is unknown.
    fn into_result(self) -> Result<(), Error> {
        match (self.unknown.is_empty(), self.denied.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(Error::Denied(self.denied.join("; "))),
            (false, _) => Err(Error::ManifestUnknown(
                [self.unknown, self.denied].concat().join("; "),
            )),
        }
    }
}

/// The beginning of a line.
fn cut(line: &str) -> &str {
    match line.char_indices().nth(LOG_LINE) {
        Some((end, _)) => &line[..end],
        None => line,
    }
}
