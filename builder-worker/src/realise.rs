//! Realisation: from derivations to valid store paths, substituted or built.
//!
//! One `nix-store --realise` gets all that a job wants, and exactly the wanted outputs. What came of it is decided by
//! exit codes and by what is valid afterwards, never by messages: a builder can print whatever it likes. Garbage
//! collectors are kept off by [`Roots`] until the paths are packed.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::attempt::Attempt;
use crate::claims::Progress;
use crate::evaluate::Derivation;
use crate::events::Events;
use crate::forecast::Forecast;
use crate::nix::Nix;
use crate::process::{Finished, ProcessError};

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
    pub(crate) fn failed(reason: String) -> Self {
        let log = String::new();
        Self::Failed { reason, log }
    }
}

/// Keeps store paths from being collected until it is dropped.
#[derive(Debug)]
pub struct Roots(TempDir);

impl Roots {
    fn new(nix: &Nix) -> std::io::Result<Self> {
        tempfile::Builder::new()
            .prefix("job-")
            .tempdir_in(nix.settings().state.join("roots"))
            .map(Self)
    }

    fn link(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Removes the roots of workers that were killed. To be called when no job runs.
///
/// # Errors
/// When the directory cannot be read.
pub fn forget_roots(nix: &Nix) -> std::io::Result<()> {
    for entry in std::fs::read_dir(nix.settings().state.join("roots"))? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}

/// Gets the outputs of all these packages, and says of each what came of it, in their order.
///
/// # Errors
/// When Nix cannot be run at all.
pub async fn realise(
    nix: &Nix,
    packages: &[&Derivation],
    progress: &Progress,
) -> anyhow::Result<(Vec<Outcome>, Roots)> {
    let roots = Roots::new(nix)?;
    let mut forecast = Forecast::of(nix, packages).await?;
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(packages.len());
    for package in packages {
        outcomes.push(forecast.refusal(nix, package).await?);
    }
    loop {
        let open: Vec<usize> = (0..packages.len()).filter(|&at| outcomes[at].is_none()).collect();
        if open.is_empty() {
            break;
        }
        let wanted: Vec<&Derivation> = open.iter().map(|&at| packages[at]).collect();
        let attempt = match Attempt::make(nix, &wanted, &roots, forecast.events(nix, progress)).await {
            Ok(attempt) => attempt,
            Err(unforeseen) => {
                let refused = forecast.correct(nix, &wanted, &unforeseen).await?;
                for (at, refusal) in open.into_iter().zip(refused) {
                    outcomes[at] = refusal;
                }
                continue;
            }
        };
        let mut ready = Vec::new();
        for at in open {
            let package = packages[at];
            let outcome = match attempt.judge(package).await? {
                Some(outcome) => outcome,
                None if wanted.len() == 1 => attempt.without_build(package),
                // the code of a run is that of all its packages, and no build of this one is to blame
                None => alone(nix, package, &roots, forecast.events(nix, progress)).await?,
            };
            if outcome == Outcome::Ready {
                ready.push(package);
            }
            outcomes[at] = Some(outcome);
        }
        // Nix makes roots when all has succeeded: those that have get them now
        if !ready.is_empty() && !attempt.succeeded() {
            run(nix, &ready, &roots, None).await?;
        }
    }
    Ok((outcomes.into_iter().flatten().collect(), roots))
}

async fn alone(nix: &Nix, package: &Derivation, roots: &Roots, events: Events) -> anyhow::Result<Outcome> {
    match Attempt::make(nix, &[package], roots, events).await {
        Ok(attempt) => Ok(attempt
            .judge(package)
            .await?
            .unwrap_or_else(|| attempt.without_build(package))),
        Err(unforeseen) => Ok(Outcome::Retry(format!(
            "no binary cache has {unforeseen} any more"
        ))),
    }
}

/// Runs Nix once for these packages. A root for each of their outputs is made when all of them succeed.
pub(crate) async fn run(
    nix: &Nix,
    packages: &[&Derivation],
    roots: &Roots,
    events: Option<&mut Events>,
) -> Result<Finished, ProcessError> {
    let settings = nix.settings();
    // the limit of one derivation is Nix's own; this one is for a Nix that hangs
    let derivations =
        u32::try_from(events.as_ref().map_or(1, |events| events.expected().max(1))).unwrap_or(u32::MAX);
    let mut run = nix
        .store()
        .args([
            "--realise",
            "--keep-going",
            "--no-gc-warning",
            "--log-format",
            "internal-json",
        ])
        .arg("--add-root")
        .arg(roots.link("root"))
        .arg("--indirect")
        .args(installables(packages))
        .time(settings.build_time.saturating_mul(derivations.saturating_add(1)));
    if let Some(bytes) = settings.build_memory {
        run = run.address_space(bytes);
    }
    match events {
        Some(events) => run.watch(|line| events.line(line)).await,
        None => run.finish().await,
    }
}

/// The wanted outputs and no others: a bare `.drv` stands for all of them.
pub(crate) fn installables(packages: &[&Derivation]) -> impl Iterator<Item = String> {
    packages.iter().flat_map(|package| &package.drvs).map(|drv| {
        let outputs: Vec<_> = drv.outputs.iter().map(|output| output.name.as_str()).collect();
        format!("{}!{}", drv.drv_path, outputs.join(","))
    })
}
