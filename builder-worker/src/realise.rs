//! Realisation: from derivations to valid store paths, substituted or built.
//!
//! One `nix-store --realise` gets all that a job wants, and exactly the wanted outputs. What came of it is decided by
//! exit codes and by what is valid afterwards, never by messages: a builder can print whatever it likes. Garbage
//! collectors are kept off by [`Roots`] until the paths are packed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

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

/// Nix counts whole seconds.
const TICK: Duration = Duration::from_secs(1);

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
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(packages.len());
    for package in packages {
        outcomes.push(plan.refusal(nix, package).await?);
    }
    let wanted: Vec<&Derivation> = packages
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_none())
        .map(|(package, _)| *package)
        .collect();
    if !wanted.is_empty() {
        let attempt = Attempt::make(nix, &wanted, &roots, plan.events(progress)).await;
        let mut ready = Vec::new();
        for (package, outcome) in packages.iter().zip(&mut outcomes) {
            if outcome.is_none() {
                let mut found = attempt.judge(package).await?;
                // the code of a run is that of all its packages, and no build of this one is to blame
                if found.is_none() && wanted.len() > 1 {
                    let alone = Attempt::make(nix, &[package], &roots, plan.events(progress)).await;
                    found = alone.judge(package).await?;
                    *outcome = found.or_else(|| Some(alone.without_build(package)));
                } else {
                    *outcome = found.or_else(|| Some(attempt.without_build(package)));
                }
                if *outcome == Some(Outcome::Ready) {
                    ready.push(*package);
                }
            }
        }
        // Nix makes roots when all has succeeded: those that have get them now
        if !ready.is_empty() && !attempt.succeeded() {
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
}

impl Plan {
    async fn of(nix: &Nix, packages: &[&Derivation]) -> anyhow::Result<Self> {
        let mut plan = Self {
            build: BTreeSet::new(),
            fetch: 0,
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
        Ok(plan)
    }

    fn events(&self, progress: &Progress) -> Events {
        Events::new(self.build.len(), self.fetch, progress.clone())
    }

    /// Why a package is not even tried.
    async fn refusal(&self, nix: &Nix, package: &Derivation) -> anyhow::Result<Option<Outcome>> {
        if let Some(system) = self.foreign(package) {
            return Ok(Some(failed(format!(
                "`{}` has to be built on a machine for {}, which this registry does not have",
                package.attribute,
                plain(system.as_bytes())
            ))));
        }
        let settings = nix.settings();
        if settings.substituters.is_empty() || self.build.len() <= settings.build_limit {
            return Ok(None);
        }
        // those of the others in the job do not count
        let drvs: Vec<_> = package.drvs.iter().map(|drv| drv.drv_path.as_str()).collect();
        let below: BTreeSet<_> = nix
            .query(&["-q", "--requisites"], &drvs)
            .await?
            .into_iter()
            .collect();
        let build = self.build.intersection(&below).count();
        Ok((build > settings.build_limit).then(|| {
            failed(format!(
                "`{}` is in no binary cache that this registry reaches: {build} derivations would have to be compiled, and \
                 it compiles up to {}",
                package.attribute, settings.build_limit
            ))
        }))
    }

    /// The other system that a package would have to be built on.
    fn foreign<'a>(&self, package: &'a Derivation) -> Option<&'a str> {
        let here = native().nix();
        let build = package
            .drvs
            .iter()
            .filter(|drv| self.build.contains(drv.drv_path.as_str()));
        build
            .filter_map(|drv| drv.system.as_deref())
            .find(|&system| system != here && system != "builtin")
    }
}

fn failed(reason: String) -> Outcome {
    Outcome::Failed {
        reason,
        log: String::new(),
    }
}

fn unfit(package: &Derivation) -> String {
    format!(
        "`{}` needs a machine with features that this registry does not have",
        package.attribute
    )
}

/// A run that has ended, however it did.
struct Attempt<'a> {
    nix: &'a Nix,
    events: Events,
    ran: Result<Finished, ProcessError>,
}

impl<'a> Attempt<'a> {
    async fn make(nix: &'a Nix, packages: &[&Derivation], roots: &Roots, mut events: Events) -> Self {
        let ran = run(nix, packages, roots, Some(&mut events)).await;
        Self { nix, events, ran }
    }

    fn succeeded(&self) -> bool {
        self.ran.as_ref().is_ok_and(|done| done.status.success())
    }

    /// What came of a package; `None` where no build is to blame, so that it depends on the rest of the run.
    async fn judge(&self, package: &Derivation) -> anyhow::Result<Option<Outcome>> {
        let outputs: Vec<_> = package.outputs().map(StorePath::as_str).collect();
        if self.invalid(&outputs).await?.is_empty() {
            return Ok(Some(Outcome::Ready));
        }
        let done = match &self.ran {
            Ok(done) => done,
            Err(ProcessError::Time(_, time)) => {
                return Ok(Some(failed(format!(
                    "the build of `{}` takes longer than {} s",
                    package.attribute,
                    time.as_secs()
                ))));
            }
            Err(error @ (ProcessError::Io(..) | ProcessError::Output(..))) => {
                return Ok(Some(Outcome::Retry(error.to_string())));
            }
        };
        let Some((culprit, activity)) = self.culprit(package).await? else {
            return Ok(None);
        };
        match done.status.code() {
            // 100 and above: Nix says that it was the derivation
            Some(code @ 100..=127) => self.blame(package, code, &culprit, activity).await.map(Some),
            // no output, or a log without end: told like any other trouble, but it is the build's
            Some(1) if activity.failed.is_some() => {
                self.blame(package, 100, &culprit, activity).await.map(Some)
            }
            // up to 2.28 a package that lacks a machine ends the run, and every build with it
            Some(_) | None => Ok(None),
        }
    }

    /// What came of the only package of a run, if no build is to blame.
    fn without_build(&self, package: &Derivation) -> Outcome {
        let done = match &self.ran {
            Ok(done) => done,
            Err(error) => return Outcome::Retry(error.to_string()),
        };
        // up to 2.28 the code says nothing of a missing feature. Nix says it, and no builder has run that could
        let lacking = self.events.is_idle()
            && self
                .events
                .errors()
                .any(|error| error.contains("is required to build"));
        match done.status.code() {
            Some(100..=127) => failed(unfit(package)),
            Some(1) if lacking => failed(unfit(package)),
            Some(_) | None => self.trouble(done),
        }
    }

    /// What Nix says that went wrong, for the operator.
    fn trouble(&self, done: &Finished) -> Outcome {
        let errors: Vec<&str> = self.events.errors().collect();
        Outcome::Retry(if errors.is_empty() {
            plain(done.tail_text().as_bytes()).chars().take(2000).collect()
        } else {
            errors.join("; ")
        })
    }

    async fn invalid(&self, paths: &[&str]) -> anyhow::Result<Vec<String>> {
        self.nix
            .query(&["--check-validity", "--print-invalid"], paths)
            .await
    }

    /// The derivation below this package whose build was begun and is not valid.
    async fn culprit(&self, package: &Derivation) -> anyhow::Result<Option<(String, &Activity)>> {
        let drvs: Vec<_> = package.drvs.iter().map(|drv| drv.drv_path.as_str()).collect();
        for drv in self.nix.query(&["-q", "--requisites"], &drvs).await? {
            if let Some(activity) = self.events.activity(&drv) {
                let outputs = self.nix.query(&["-q", "--outputs"], &[&drv]).await?;
                let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
                if !self.invalid(&outputs).await?.is_empty() {
                    return Ok(Some((drv, activity)));
                }
            }
        }
        Ok(None)
    }

    async fn blame(
        &self,
        package: &Derivation,
        code: i32,
        culprit: &str,
        activity: &Activity,
    ) -> anyhow::Result<Outcome> {
        let name = culprit
            .rsplit('/')
            .next()
            .and_then(|base| base.get(33..))
            .and_then(|name| name.strip_suffix(".drv"));
        let name = name.unwrap_or("a dependency");
        let limit = self.nix.settings().build_time;
        // the code holds the bits of all builds of the run: 1 a time limit, 2 a hash
        let late = code & 1 != 0 && activity.lasted() + TICK >= limit;
        let what = if late {
            format!("took longer than {} s", limit.as_secs())
        } else if code & 2 != 0 && activity.mismatch {
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
