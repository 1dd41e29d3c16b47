//! `laminix status`: what is known of an image, and what a pull of it would do now.

mod told;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::given::Given;
use super::image::Named;
use super::look::{self, Needed};
use super::{Lookup, Stop, configured, terminal};
use crate::compose::{BASE, Outcome, Recipe, compose};
use crate::key::{ImageKey, Key, Subject};
use crate::record::{Claim, ImageRecord, Next, Package, PackageRecord, Seconds, SourceRecord, now};
use crate::registry::error::printable;
use crate::source::{Revision, Source};
use crate::store::Store;

/// The command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub(super) image: String,
    pub(super) json: bool,
}

/// What a pull would do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Pull {
    /// The manifest is in the cache.
    Cached,
    /// All records are there.
    Composed,
    /// A worker has to do something first.
    Waits,
    /// The client is told why not.
    Refused,
}

/// All that is found out, and the form of `--json`. Times are seconds since 1970.
#[derive(Debug, Serialize)]
struct Found {
    image: String,
    system: &'static str,
    source: String,
    tag: TagFound,
    pull: Pull,
    cached: bool,
    /// Of the image, once all its packages are ready.
    layers: Option<usize>,
    /// Bytes of all its layers and its config: what a client downloads that has none of them.
    download: Option<u64>,
    packages: Vec<PackageFound>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum TagFound {
    Unknown {
        making: Option<Making>,
    },
    Resolved {
        revision: Revision,
        at: Seconds,
        fixed: bool,
        next: Option<Next>,
    },
    Refused {
        reason: String,
        until: Seconds,
    },
}

#[derive(Debug, Serialize)]
struct PackageFound {
    attribute: String,
    /// Whether the name asks for it; else every image has it.
    asked: bool,
    #[serde(flatten)]
    state: PackageState,
}

#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum PackageState {
    Ready {
        name: String,
    },
    Missing,
    Making(Making),
    NotFound {
        near: Vec<String>,
    },
    Refused {
        reason: String,
        until: Seconds,
    },
    Failed {
        reason: String,
        log: String,
        until: Seconds,
    },
}

#[derive(Debug, Serialize)]
struct Making {
    since: Seconds,
    phase: String,
}

impl From<Claim> for Making {
    fn from(claim: Claim) -> Self {
        Self {
            since: claim.since,
            phase: printable(&claim.phase),
        }
    }
}

impl Status {
    /// Reads the arguments behind `status`.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let given = Given::read(arguments, &["--json"], &[])?;
        let json = given.flag("--json");
        match given.words().as_slice() {
            [] => Err("which image? such as `laminix status shell/git`".to_owned()),
            [image] => Ok(Self {
                image: image.clone(),
                json,
            }),
            _ => Err("it tells of one image at a time".to_owned()),
        }
    }

    pub(super) async fn run(self, variables: &Lookup<'_>) -> Result<u8, Stop> {
        let (source, store, system, refresh) = configured(variables, |variables| {
            let (source, store) = (variables.source(), variables.store());
            let (system, refresh) = (variables.system(), variables.refresh());
            Some((source?, store?, system, refresh))
        })?;
        let named =
            Named::parse(&self.image, system, &source).map_err(|problem| Stop::usage(vec![problem]))?;
        let store = Store::open(&store, variables).await;
        let store = store.map_err(|problem| Stop::usage(vec![problem]))?;
        let found = find(&store, &source, &named).await?;
        if self.json {
            let json = serde_json::to_string_pretty(&found);
            terminal::out(&json.map_err(|error| Stop::usage(vec![error.to_string()]))?);
        } else {
            found.tell(refresh);
        }
        Ok(0)
    }
}

async fn find(store: &Store, source: &Source, named: &Named) -> Result<Found, Stop> {
    let subject = Subject::Tag(named.tag_ref(source));
    let objects = look::read(store, [subject.key(), subject.claim()]).await?;
    let tag = match look::record(&objects, &subject.key()) {
        Some(SourceRecord::Resolved {
            revision,
            at,
            fixed,
            next,
        }) => TagFound::Resolved {
            revision,
            at,
            fixed,
            next,
        },
        Some(SourceRecord::Refused { reason, until }) if now() < until => TagFound::Refused {
            reason: printable(&reason),
            until,
        },
        Some(SourceRecord::Refused { .. }) | None => TagFound::Unknown {
            making: look::claim(&objects, &subject.claim(), now()).map(Making::from),
        },
    };
    let mut found = Found {
        image: named.to_string(),
        system: named.image.system().nix(),
        source: source.to_string(),
        pull: match tag {
            TagFound::Refused { .. } => Pull::Refused,
            TagFound::Unknown { .. } | TagFound::Resolved { .. } => Pull::Waits,
        },
        tag,
        cached: false,
        layers: None,
        download: None,
        packages: Vec::new(),
    };
    if let TagFound::Resolved { revision, .. } = &found.tag {
        let revision = revision.clone();
        found.image_at(store, source, named, &revision).await?;
    }
    Ok(found)
}

impl Found {
    async fn image_at(
        &mut self,
        store: &Store,
        source: &Source,
        named: &Named,
        revision: &Revision,
    ) -> Result<(), Stop> {
        let image = Key::Image(ImageKey::of(source, revision, &named.image));
        let needed = Needed::of(source, revision, &named.image);
        let records = needed.iter().map(Needed::key).chain([image.clone()]);
        let objects = look::read(store, records).await?;
        let mut ready = BTreeMap::new();
        let (mut refused, mut missing) = (false, Vec::new());
        for needed in &needed {
            match look::record::<PackageRecord>(&objects, &needed.key()) {
                Some(record) if record.is_current(now()) => {
                    refused |= needed.problem(&record).is_some();
                    self.packages.push(PackageFound::of(needed, &record));
                    if let PackageRecord::Ready(package) = record {
                        ready.insert(needed.package.attribute.as_str(), *package);
                    }
                }
                // what failed may be tried again by now: why it did is still worth telling
                Some(record) => {
                    missing.push(needed);
                    self.packages.push(PackageFound::of(needed, &record));
                }
                None => {
                    missing.push(needed);
                    self.packages.push(PackageFound::missing(needed));
                }
            }
        }
        let claims = look::read(store, missing.iter().map(|needed| needed.claim())).await?;
        for needed in &missing {
            let attribute = needed.package.attribute.as_str();
            let making = look::claim(&claims, &needed.claim(), now());
            let found = self
                .packages
                .iter_mut()
                .find(|found| found.attribute == attribute);
            if let (Some(found), Some(claim)) = (found, making) {
                found.state = PackageState::Making(claim.into());
            }
        }
        if let Some(record) = look::record::<ImageRecord>(&objects, &image) {
            self.cached = true;
            self.pull = Pull::Cached;
            self.weigh(record.oci.as_bytes());
        } else if !missing.is_empty() {
            self.pull = Pull::Waits;
        } else if refused {
            self.pull = Pull::Refused;
        } else {
            self.compose(source, revision, named, &ready);
        }
        Ok(())
    }

    /// Composition is a function of the records: what a pull would get is made here too, and not stored.
    fn compose(
        &mut self,
        source: &Source,
        revision: &Revision,
        named: &Named,
        ready: &BTreeMap<&str, Package>,
    ) {
        let of = |attribute: &str| ready.get(attribute).cloned();
        let attributes = named.image.attributes().iter();
        let packages: Vec<Package> = attributes
            .filter_map(|attribute| of(attribute.as_str()))
            .collect();
        let base: Vec<Package> = BASE.iter().filter_map(|attribute| of(attribute)).collect();
        let recipe = Recipe {
            source,
            revision,
            system: named.image.system(),
            packages: &packages,
            base: &base,
        };
        match compose(&recipe, &BTreeMap::new()) {
            Outcome::Image(composed) => {
                self.pull = Pull::Composed;
                self.weigh(&composed.oci.bytes);
            }
            // too many layers: a worker joins some, if it has not done so for another image
            Outcome::Merge(_) => self.pull = Pull::Waits,
        }
    }

    fn weigh(&mut self, manifest: &[u8]) {
        #[derive(Deserialize)]
        struct Blob {
            size: u64,
        }
        #[derive(Deserialize)]
        struct Manifest {
            config: Blob,
            layers: Vec<Blob>,
        }
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(manifest) {
            let layers: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
            self.layers = Some(manifest.layers.len());
            self.download = Some(layers + manifest.config.size);
        }
    }
}

impl PackageFound {
    fn of(needed: &Needed, record: &PackageRecord) -> Self {
        let state = match record {
            PackageRecord::Ready(package) => PackageState::Ready {
                name: printable(&package.name),
            },
            PackageRecord::NotFound { near } => PackageState::NotFound {
                near: near.iter().map(|name| printable(name)).collect(),
            },
            PackageRecord::Refused { reason, until } => PackageState::Refused {
                reason: printable(reason),
                until: *until,
            },
            PackageRecord::Failed { reason, log, until } => PackageState::Failed {
                reason: printable(reason),
                log: log.clone(),
                until: *until,
            },
        };
        Self {
            state,
            ..Self::missing(needed)
        }
    }

    fn missing(needed: &Needed) -> Self {
        Self {
            attribute: needed.package.attribute.to_string(),
            asked: needed.asked,
            state: PackageState::Missing,
        }
    }
}
