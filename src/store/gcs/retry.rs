//! How long somebody waits for a store that does not answer.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;

/// The first pause; each next one is twice as long, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// The bounds of one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// One request may take this long.
    pub(super) request: Duration,
    /// All requests of an operation and the pauses between them may take this long.
    pub(super) budget: Duration,
    /// A transfer may stand still this long, its end included, where Google puts a large object in its place. The
    /// budget begins behind it.
    pub(super) stall: Duration,
}

impl Default for Patience {
    /// A client that pulls gives up after 30 s, and several operations stand behind one answer.
    fn default() -> Self {
        Self {
            request: Duration::from_secs(5),
            budget: Duration::from_secs(10),
            stall: Duration::from_secs(20),
        }
    }
}

/// The tries of one operation.
#[derive(Debug)]
pub(super) struct Tries {
    patience: Patience,
    budget: Duration,
    end: Instant,
    failed: u32,
}

impl Tries {
    /// Of requests that are answered at once.
    pub(super) fn new(patience: Patience) -> Self {
        Self::within(patience, patience.budget)
    }

    /// Of a transfer: its budget begins anew whenever bytes have moved.
    pub(super) fn of_transfer(patience: Patience) -> Self {
        Self::within(patience, patience.stall + patience.budget)
    }

    fn within(patience: Patience, budget: Duration) -> Self {
        Self {
            patience,
            budget,
            end: Instant::now() + budget,
            failed: 0,
        }
    }

    /// Whether this is not the first one.
    pub(super) fn again(&self) -> bool {
        self.failed > 0
    }

    /// The time for the next try.
    pub(super) fn time(&self) -> Duration {
        self.patience
            .request
            .min(self.end.saturating_duration_since(Instant::now()))
    }

    /// Bytes have moved since the last try: hope begins anew.
    pub(super) fn moved(&mut self) {
        self.end = Instant::now() + self.budget;
        self.failed = 0;
    }

    /// Pauses before the next try, or gives the fault back where there is none.
    pub(super) async fn after(&mut self, fault: Fault) -> Result<(), Fault> {
        let Fault::Busy(source, wanted) = fault else {
            return Err(fault);
        };
        let pause = PAUSE.saturating_mul(1 << self.failed.min(10)).min(LONGEST);
        // between half of it and all of it, so that many who failed together do not come back together
        let spread = RandomState::new().hash_one(self.failed) % 512;
        let pause =
            (pause / 1024 * (512 + u32::try_from(spread).unwrap_or(0))).max(wanted.unwrap_or_default());
        self.failed += 1;
        if Instant::now() + pause >= self.end {
            return Err(Fault::Busy(source, wanted));
        }
        tracing::debug!(error = %source, ?pause, "the bucket is asked again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
