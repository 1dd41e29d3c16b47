//! Package records: the last thing that is written, after all that they name.

use anyhow::{Context as _, Result, ensure};
use laminix::key::{Key, PackageRef};
use laminix::record::{Layer, Output, Package, PackageRecord, Seconds};
use laminix::store::Store;
use tokio::task::JoinSet;

use crate::evaluate::Derivation;

/// How long a failure counts, in seconds. Many are the moment's (a mirror, memory, a full disk), so a person who
/// comes back after a coffee should get another try; a package that is broken costs six builds an hour at most.
pub const FAILED_FOR: Seconds = 600;

/// How long a refusal counts, in seconds. A revision will say the same for ever; only the operator's rules may have
/// changed meanwhile, and to ask again is one evaluation.
pub const REFUSED_FOR: Seconds = 3600;

/// The most bytes of a log that a record holds: its end, which says why. Terminals show a screen or two.
pub const LOG: usize = 8 << 10;

/// A package that is built: what evaluation says of it, what its outputs hold, and its closure in layers.
#[must_use]
pub fn ready(derivation: Derivation, outputs: Vec<Output>, layers: Vec<Layer>) -> PackageRecord {
    let Derivation {
        attribute,
        drvs: _,
        name,
        version,
        description,
        licenses,
        homepage,
        main_program,
        priority,
    } = derivation;
    PackageRecord::Ready(Box::new(Package {
        attribute,
        name,
        version,
        description,
        licenses,
        homepage,
        main_program,
        priority,
        outputs,
        layers,
    }))
}

/// A package that could not be built, at `now`; of the log its end is kept, in whole lines.
#[must_use]
pub fn failed(reason: String, log: &str, now: Seconds) -> PackageRecord {
    PackageRecord::Failed {
        reason,
        log: end_of(log).to_owned(),
        until: now.saturating_add(FAILED_FOR),
    }
}

/// A package that may not be built, at `now`.
#[must_use]
pub fn refused(reason: String, now: Seconds) -> PackageRecord {
    PackageRecord::Refused {
        reason,
        until: now.saturating_add(REFUSED_FOR),
    }
}

/// Writes a package's record. All layers of one that is ready must be stored: it is looked after once more, because
/// nothing would ever mend a record that names what is not there.
///
/// # Errors
/// When a layer is absent, and those of the store.
pub async fn publish(store: &Store, package: &PackageRef, record: &PackageRecord) -> Result<()> {
    if let PackageRecord::Ready(ready) = record {
        layers_stored(store, ready).await?;
    }
    let body = serde_json::to_vec(record)?;
    let key = Key::Package(package.clone());
    store
        .put(&key, body.into())
        .await
        .with_context(|| format!("{} is not recorded", package.attribute))?;
    tracing::info!(key = key.path(), "package is recorded");
    Ok(())
}

async fn layers_stored(store: &Store, package: &Package) -> Result<()> {
    let mut sizes = JoinSet::new();
    for layer in &package.layers {
        let (store, packed) = (store.clone(), layer.packed.clone());
        sizes.spawn(async move { (store.size(&Key::Blob(packed.digest)).await, packed) });
    }
    while let Some(answer) = sizes.join_next().await {
        let (size, packed) = answer?;
        ensure!(
            size? == Some(packed.size),
            "layer {} of {} is not stored",
            packed.digest,
            package.attribute
        );
    }
    Ok(())
}

/// The last lines of a log, no more than [`LOG`] bytes of them.
fn end_of(log: &str) -> &str {
    let log = log.trim_end();
    if log.len() <= LOG {
        return log;
    }
    let mut start = log.len() - LOG;
    while !log.is_char_boundary(start) {
        start += 1;
    }
    let end = &log[start..];
    end.split_once('\n').map_or(end, |(_, lines)| lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_last_lines_are_kept() {
        assert_eq!(end_of("a\nb\n\n"), "a\nb");
        let long = "ä".repeat(100) + "\n";
        let log = long.repeat(200) + "error: why";
        let end = end_of(&log);
        assert!(end.len() <= LOG && end.len() > LOG - long.len() && end.ends_with("\nerror: why"));
        assert!(end.lines().all(|line| line.len() == 200 || line == "error: why"));
        assert!(end_of(&"x".repeat(LOG + 5)).len() == LOG);
    }

    #[test]
    fn failures_and_refusals_expire() {
        assert!(failed(String::new(), "", 100).is_current(99 + FAILED_FOR));
        assert!(!refused(String::new(), 100).is_current(100 + REFUSED_FOR));
    }
}
