//! Realisation: from derivations to valid store paths, substituted or built.
//!
//! One `nix-store --realise` gets all that a job wants, and exactly the wanted outputs. What came of it is decided by
//! exit codes and by what is valid afterwards, never by messages: a builder can print whatever it likes. Garbage
//! collectors are kept off by [`Roots`] until the paths are packed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use laminix::record::StorePath;
use tempfile::TempDir;

use crate::claims::Progress;
use crate::evaluate::{Derivation, Drv};
use crate::events::{Activity, Events};
use crate::nix::{Nix, native, plain};
use crate::process::{Finished, ProcessError};

/// The most of a build's log that is kept for the person who pulls.
const LOG_LINES: usize = 40;
const LOG_BYTES: usize = 4 << 10;

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
    let plan = Plan::of(nix, packages).await?;
    let mut outcomes: Vec<Option<Outcome>> = packages
        .iter()
        .map(|package| plan.refusal(nix, package))
        .collect();
    let wanted: Vec<&Derivation> = packages
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_none())
        .map(|(package, _)| *package)
        .collect();
    if !wanted.is_empty() {
        let mut events = Events::new(plan.build.len(), plan.fetch, progress.clone());
        let ran = run(nix, &wanted, &roots, Some(&mut events)).await;
        let attempt = Attempt {
            nix,
            events: &events,
            ran: &ran,
        };
        let mut ready = Vec::new();
        for (package, outcome) in packages.iter().zip(&mut outcomes) {
            if outcome.is_none() {
                let found = attempt.judge(package).await?;
                if found == Outcome::Ready {
                    ready.push(*package);
                }
                *outcome = Some(found);
            }
        }
        // Nix makes roots when all has succeeded: those that have get them now
        if !ready.is_empty() && !ran.as_ref().is_ok_and(|done| done.status.success()) {
            run(nix, &ready, &roots, None).await?;
        }
    }
    let unknown = || Outcome::Retry("nothing is known of it".to_owned());
    Ok((
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(unknown))
            .collect(),
        roots,
    ))
}

async fn run(
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
        .args(packages.iter().flat_map(|package| &package.drvs).map(installable))
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
fn installable(drv: &Drv) -> String {
    let outputs: Vec<_> = drv.outputs.iter().map(|output| output.name.as_str()).collect();
    format!("{}!{}", drv.drv_path, outputs.join(","))
}

/// What a run would do, asked beforehand.
struct Plan {
    /// The derivations that would be built here.
    build: BTreeSet<String>,
    /// How many paths would be fetched.
    fetch: usize,
    /// Those of `build` that need another machine.
    foreign: BTreeMap<String, String>,
}

impl Plan {
    async fn of(nix: &Nix, packages: &[&Derivation]) -> anyhow::Result<Self> {
        let mut plan = Self {
            build: BTreeSet::new(),
            fetch: 0,
            foreign: BTreeMap::new(),
        };
        let args = packages.iter().flat_map(|package| &package.drvs).map(installable);
        let run = nix
            .store()
            .args(["--realise", "--dry-run", "--no-gc-warning"])
            .args(args);
        run.watch(|line| {
            let line = String::from_utf8_lossy(line);
            match line.strip_prefix("  ").map(str::trim) {
                Some(path) if path.ends_with(".drv") => {
                    plan.build.insert(path.to_owned());
                }
                Some(path) if path.starts_with("/nix/store/") => plan.fetch += 1,
                Some(_) | None => {}
            }
        })
        .await?;
        let build: Vec<_> = plan.build.iter().cloned().collect();
        let systems = nix.query(&["-q", "--binding", "system"], &build).await?;
        let here = native().nix();
        plan.foreign = build
            .into_iter()
            .zip(systems)
            .filter(|(_, system)| system != here && system != "builtin")
            .collect();
        Ok(plan)
    }

    /// Why a package is not even tried.
    fn refusal(&self, nix: &Nix, package: &Derivation) -> Option<Outcome> {
        let failed = |reason| {
            Some(Outcome::Failed {
                reason,
                log: String::new(),
            })
        };
        let settings = nix.settings();
        if let Some(system) = package
            .drvs
            .iter()
            .find_map(|drv| self.foreign.get(drv.drv_path.as_str()))
        {
            return failed(format!(
                "`{}` has to be built on a machine for {system}, which this registry does not have",
                package.attribute
            ));
        }
        if !settings.substituters.is_empty() && self.build.len() > settings.build_limit {
            return failed(format!(
                "`{}` is in no binary cache that this registry reaches: {} derivations would have to be compiled, and it \
                 compiles up to {}",
                package.attribute,
                self.build.len(),
                settings.build_limit
            ));
        }
        None
    }
}

/// A run that has ended, however it did.
struct Attempt<'a> {
    nix: &'a Nix,
    events: &'a Events,
    ran: &'a Result<Finished, ProcessError>,
}

impl Attempt<'_> {
    async fn judge(&self, package: &Derivation) -> anyhow::Result<Outcome> {
        let outputs: Vec<_> = package.outputs().map(StorePath::as_str).collect();
        if self.invalid(&outputs).await?.is_empty() {
            return Ok(Outcome::Ready);
        }
        let done = match self.ran {
            Ok(done) => done,
            Err(ProcessError::Time(_, time)) => {
                let reason = format!(
                    "the build of `{}` takes longer than {} s",
                    package.attribute,
                    time.as_secs()
                );
                return Ok(Outcome::Failed {
                    reason,
                    log: String::new(),
                });
            }
            Err(error @ (ProcessError::Io(..) | ProcessError::Output(..))) => {
                return Ok(Outcome::Retry(error.to_string()));
            }
        };
        match (done.status.code(), self.culprit(package).await?) {
            // 100 and above: Nix says that it was the derivation
            (Some(code @ 100..=127), Some(culprit)) => self.failed(package, code, &culprit).await,
            (Some(100..=127), None) => {
                let reason = format!(
                    "`{}` needs a machine with features that this registry does not have",
                    package.attribute
                );
                Ok(Outcome::Failed {
                    reason,
                    log: String::new(),
                })
            }
            // a log without end is told like any other trouble, but it is the build's
            (Some(_) | None, Some(culprit))
                if self
                    .events
                    .activity(&culprit)
                    .is_some_and(|activity| activity.log_bytes >= (60 << 20)) =>
            {
                self.failed(package, 100, &culprit).await
            }
            (Some(_) | None, _) => Ok(Outcome::Retry(
                plain(done.tail_text().as_bytes()).chars().take(2000).collect(),
            )),
        }
    }

    async fn invalid(&self, paths: &[&str]) -> anyhow::Result<Vec<String>> {
        self.nix
            .query(&["--check-validity", "--print-invalid"], paths)
            .await
    }

    /// The derivation below this package whose build was begun and is not valid.
    async fn culprit(&self, package: &Derivation) -> anyhow::Result<Option<String>> {
        let drvs: Vec<_> = package.drvs.iter().map(|drv| drv.drv_path.as_str()).collect();
        for drv in self.nix.query(&["-q", "--requisites"], &drvs).await? {
            if self.events.activity(&drv).is_some() {
                let outputs = self.nix.query(&["-q", "--outputs"], &[&drv]).await?;
                let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
                if !self.invalid(&outputs).await?.is_empty() {
                    return Ok(Some(drv));
                }
            }
        }
        Ok(None)
    }

    async fn failed(&self, package: &Derivation, code: i32, culprit: &str) -> anyhow::Result<Outcome> {
        let name = culprit
            .rsplit('/')
            .next()
            .and_then(|base| base.get(33..))
            .and_then(|name| name.strip_suffix(".drv"));
        let name = name.unwrap_or("a dependency");
        let limit = self.nix.settings().build_time;
        let activity = self.events.activity(culprit);
        // with several builds in one run the code holds the bits of all of them
        let late =
            code & 1 != 0 && activity.is_some_and(|activity: &Activity| activity.began.elapsed() >= limit);
        let what = if late {
            format!("took longer than {} s", limit.as_secs())
        } else if code & 2 != 0 && code & 4 == 0 {
            "needs a download that has changed since the package set was written".to_owned()
        } else {
            "failed".to_owned()
        };
        let of = if package.name == name {
            String::new()
        } else {
            format!(", which `{}` needs,", package.attribute)
        };
        let log = self.nix.store().args(["--read-log", culprit]).finish().await;
        let log = log
            .ok()
            .filter(|done| done.status.success())
            .map(|done| end_of_log(&done.stdout))
            .unwrap_or_default();
        Ok(Outcome::Failed {
            reason: format!("the build of {name}{of} {what}"),
            log,
        })
    }
}

/// The last lines of a log, as plain text.
fn end_of_log(log: &[u8]) -> String {
    let from = log.len().saturating_sub(4 * LOG_BYTES);
    let text = plain(&log[from..]);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let mut end: Vec<&str> = Vec::new();
    let mut bytes = 0;
    for line in lines.iter().rev().take(LOG_LINES) {
        bytes += line.len() + 1;
        if bytes > LOG_BYTES {
            break;
        }
        end.push(line);
    }
    end.reverse();
    end.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_short_and_plain() {
        let log: Vec<u8> = (0..4000)
            .flat_map(|n| format!("\x1b[1mline {n}\x1b[0m\r\n\n").into_bytes())
            .collect();
        let end = end_of_log(&log);
        assert_eq!(end.lines().count(), LOG_LINES);
        assert!(end.ends_with("line 3999") && !end.contains(['\r', '\x1b']));
        assert_eq!(end_of_log(b""), "");
        assert!(end_of_log(&vec![b'x'; 100_000]).len() <= LOG_BYTES);
    }
}
