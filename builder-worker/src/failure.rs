//! What those who wait are told when a job is given up.

use laminix::compose::attributes;
use laminix::job::Work;
use laminix::key::{Subject, TagRef};
use laminix::name::Image;
use laminix::record::{SourceRecord, now};

use crate::claims;
use crate::job::{UNKNOWN_TAG_FOR, Workshop};
use crate::nix::native;
use crate::publish::{self, publish};

impl Workshop {
    /// Tells those who wait that a job was given up.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn give_up(&self, work: &Work) -> anyhow::Result<()> {
        let reason = "the registry's builder could not do it, and its operator can see why: try again later"
            .to_owned();
        for subject in self.awaited(work).await? {
            match subject {
                Subject::Package(package) if !self.is_recorded(&package).await? => {
                    publish(&self.store, &package, &publish::failed(reason.clone(), "", now())).await?;
                }
                Subject::Tag(tag) => {
                    let record = match self.known(&tag).await? {
                        // what was named before is better than nothing; it is looked up again when it is old again
                        Some(SourceRecord::Resolved {
                            revision,
                            fixed,
                            next,
                            ..
                        }) => SourceRecord::Resolved {
                            revision,
                            at: now(),
                            fixed,
                            next,
                        },
                        Some(SourceRecord::Refused { .. }) | None => SourceRecord::Refused {
                            reason: reason.clone(),
                            until: now() + UNKNOWN_TAG_FOR,
                        },
                    };
                    self.record_tag(tag, &record).await?;
                }
                Subject::Package(_) | Subject::Layer(_) => {}
            }
        }
        Ok(())
    }

    /// What is to be told of a job that was given up: its subjects, and of one that warms an image what it did not get to.
    async fn awaited(&self, work: &Work) -> anyhow::Result<Vec<Subject>> {
        let mut subjects = self.subjects(work);
        if let Work::Warm { name, tag, .. } = work {
            let tag = TagRef {
                source: self.resolver.source().id(),
                tag: tag.clone(),
            };
            if let Some(SourceRecord::Resolved { revision, .. }) = self.known(&tag).await?
                && let Ok(image) = Image::parse(name, native())
            {
                for attribute in attributes(&image) {
                    let package = Subject::Package(self.package(&revision, image.system(), &attribute));
                    // what somebody else is at may still come to a good end
                    if !claims::is_held(&self.store, &package).await? {
                        subjects.push(package);
                    }
                }
            }
            subjects.push(Subject::Tag(tag));
        }
        Ok(subjects)
    }
}
