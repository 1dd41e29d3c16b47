//! An attempt to realise packages: one run of Nix, and what it did to each of them.

use laminix::record::StorePath;
use tokio::sync::mpsc;

use super::outcome::Outcome;
use super::run::{Roots, run};
use crate::evaluate::Derivation;
use crate::events::{Activity, Events, Fault};
use crate::nix::{Nix, plain};
use crate::process::{Finished, ProcessError};

/// The most of a build's log that is kept for the person who pulls.
const LOG_LINES: usize = 40;
const LOG_BYTES: usize = 4 << 10;

/// Of a line as long as the whole log only the beginning is kept, so that it leaves room for others.
const LINE_BYTES: usize = LOG_BYTES / 4;

/// A run that has ended, however it did.
pub(super) struct Attempt<'a> {
    nix: &'a Nix,
    events: Events,
    ran: Result<Finished, ProcessError>,
}

impl<'a> Attempt<'a> {
    /// Runs Nix until it ends, or until it builds what was to be fetched: the error is that derivation.
    pub(super) async fn make(
        nix: &'a Nix,
        packages: &[&Derivation],
        roots: &Roots,
        mut events: Events,
    ) -> Result<Self, String> {
        let (sender, mut unforeseen) = mpsc::channel(1);
        events.report_unforeseen(sender);
        let ran = tokio::select! {
            biased;
            Some(drv) = unforeseen.recv() => return Err(drv),
            ran = run(nix, packages, roots, Some(&mut events)) => ran,
        };
        Ok(Self { nix, events, ran })
    }

    pub(super) fn succeeded(&self) -> bool {
        self.ran.as_ref().is_ok_and(|done| done.status.success())
    }

    /// What came of a package; `None` where no build is to blame, so that it depends on the rest of the run.
    pub(super) async fn judge(&self, package: &Derivation) -> anyhow::Result<Option<Outcome>> {
        let outputs: Vec<_> = package.outputs().map(StorePath::as_str).collect();
        if self.invalid(&outputs).await?.is_empty() {
            return Ok(Some(Outcome::Ready));
        }
        let done = match &self.ran {
            Ok(done) => done,
            Err(ProcessError::Time(_, time)) => {
                return Ok(Some(Outcome::failed(format!(
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
            Some(1) if activity.fault.is_some() => {
                self.blame(package, 100, &culprit, activity).await.map(Some)
            }
            // up to 2.28 a package that lacks a machine ends the run, and every build with it
            Some(_) | None => Ok(None),
        }
    }

    /// What came of the only package of a run, if no build is to blame.
    pub(super) fn without_build(&self, package: &Derivation) -> Outcome {
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
            Some(100..=127) => unfit(package),
            Some(1) if lacking => unfit(package),
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
        // the code holds the bits of all builds of the run: 1 a time limit, 2 a hash. A message says which of them is meant
        let (late, changed) = (code & 1 != 0, code & 2 != 0);
        let what = match activity.fault {
            Some(Fault::Hash) if changed => {
                "needs a download that has changed since the package set was written".to_owned()
            }
            Some(Fault::Time) | None if late => {
                format!("took longer than {} s", limit.as_secs())
            }
            Some(Fault::Hash | Fault::Time | Fault::Other) | None => "failed".to_owned(),
        };
        let of = if package.name == name {
            String::new()
        } else {
            format!(", which `{}` needs,", package.attribute)
        };
        let log = self
            .nix
            .store()
            .args(["--read-log", culprit])
            .stdout_end(4 * LOG_BYTES)
            .finish()
            .await;
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

fn unfit(package: &Derivation) -> Outcome {
    Outcome::failed(format!(
        "`{}` needs a machine with features that this registry does not have",
        package.attribute
    ))
}

/// The last lines of a log, as plain text.
fn end_of_log(log: &[u8]) -> String {
    let text = plain(log);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let mut end: Vec<&str> = Vec::new();
    let mut bytes = 0;
    for line in lines.iter().rev().take(LOG_LINES) {
        let line = &line[..line.floor_char_boundary(LINE_BYTES)];
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
        assert_eq!(end_of_log("é".repeat(20_000).as_bytes()).len(), LINE_BYTES);
        let lines = [&[b'x'; 8000][..], b"the reason"].join(&b'\n');
        assert!(end_of_log(&lines).ends_with("x\nthe reason"));
    }
}
