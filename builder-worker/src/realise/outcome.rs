//! What comes of a package that is realised.

/// What came of one derivation of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its wanted outputs are valid.
    Ready,
    /// It cannot be had: a sentence, and the end of the log, if a build failed.
    Failed {
        /// A sentence for the person who pulls.
        reason: String,
        /// Plain text.
        log: String,
    },
    /// Something in the way that may pass: a download that broke off, a full disk. For the log.
    Retry(String),
}

impl Outcome {
    pub(super) fn failed(reason: String) -> Self {
        let log = String::new();
        Self::Failed { reason, log }
    }
}
