//! Jobs: what goes over the queue, as JSON that can be written by hand.
//!
//! ```json
//! {"format":1,"job":"warm","source":"channel:nixos-26.05","name":"shell/git","tag":"latest"}
//! ```
//!
//! Jobs are idempotent: delivered twice, or again after a worker was killed, they do no harm.

use serde::{Deserialize, Serialize};

use crate::key::LayerKey;
use crate::name::{Attribute, System, Tag};
use crate::record::Layer;
use crate::source::{Revision, Source};

/// The version of the message format. A worker parks what is of another version.
pub const FORMAT: u32 = 1;

/// A message of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// [`FORMAT`].
    pub format: u32,
    /// What to do.
    #[serde(flatten)]
    pub work: Work,
}

/// What a worker can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "kebab-case")]
pub enum Work {
    /// Find out which revision a tag names, and write its [`crate::record::SourceRecord`].
    Resolve {
        /// Of which source.
        source: Source,
        /// Which tag.
        tag: Tag,
    },
    /// Write the [`crate::record::PackageRecord`] of every attribute.
    Build {
        /// Of which source.
        source: Source,
        /// At which revision.
        revision: Revision,
        /// For which system.
        system: System,
        /// As they were asked for.
        attributes: Vec<Attribute>,
    },
    /// Make one layer of several, whose blobs are stored.
    Merge {
        /// The key of the union.
        key: LayerKey,
        /// What to join. A store path that is in several of them is taken once.
        layers: Vec<Layer>,
    },
    /// Make an image's packages ready before anybody asks: resolve the tag, then build what the name asks for.
    Warm {
        /// Of which source.
        source: Source,
        /// An image name, as in a pull.
        name: String,
        /// Which tag.
        tag: Tag,
    },
}

/// Why a message is no job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Not the JSON of a job.
    #[error("the message is not a job: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error("the message is of format {0}, this worker takes {FORMAT}")]
    Format(u32),
}

impl Job {
    /// A job of the current format.
    #[must_use]
    pub fn new(work: Work) -> Self {
        Self { format: FORMAT, work }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`JobError`], when the message is not a job of this format.
    pub fn parse(text: &[u8]) -> Result<Self, JobError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        match serde_json::from_slice::<Version>(text)?.format {
            FORMAT => Ok(serde_json::from_slice(text)?),
            other => Err(JobError::Format(other)),
        }
    }

    /// The message.
    ///
    /// # Errors
    /// Those of `serde_json`, which plain fields do not have.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_can_be_written_by_hand() {
        let text = br#"{"format":1,"job":"build","source":"path:/x","system":"x86_64-linux",
            "revision":"0123456789abcdef0123456789abcdef01234567","attributes":["git","xorg.xev"]}"#;
        let job = Job::parse(text).unwrap();
        assert!(matches!(&job.work, Work::Build { attributes, .. } if attributes.len() == 2));
        assert_eq!(Job::parse(job.to_json().unwrap().as_bytes()).unwrap(), job);
    }

    #[test]
    fn what_is_no_job_says_why() {
        assert!(matches!(
            Job::parse(br#"{"format":2,"job":"shine"}"#),
            Err(JobError::Format(2))
        ));
        for bad in [
            &b""[..],
            b"{}",
            br#"{"format":1,"job":"shine"}"#,
            br#"{"format":1,"job":"resolve","source":"x"}"#,
        ] {
            assert!(matches!(Job::parse(bad), Err(JobError::Json(_))));
        }
    }
}
