//! `laminix doctor`: one check after the other, what was measured, and what to do about it.
//!
//! A check that cannot be made because an earlier one failed says nothing: the first thing that is wrong is the one to mend.

mod advice;
mod configuration;
mod download;
mod fetch;
mod queue;
mod store;
mod worker;

use std::time::Duration;

use super::given::Given;
use super::{FAILED, Lookup, terminal, words};
use crate::config::duration;

/// A worker that is not busy has done a small job long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doctor {
    /// How long to wait for a worker, if one is to be asked.
    worker: Option<Duration>,
}

impl Doctor {
    /// Reads the arguments behind `doctor`.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let given = Given::read(arguments, &["--worker"], &["--for"])?;
        let time = given.value("--for").map(duration).transpose()?;
        given.no_words()?;
        match (given.flag("--worker"), time) {
            (true, time) => Ok(Self {
                worker: Some(time.unwrap_or(PATIENCE)),
            }),
            (false, None) => Ok(Self { worker: None }),
            (false, Some(_)) => {
                Err("`--for` is how long to wait for a worker: it goes with `--worker`".to_owned())
            }
        }
    }

    pub(super) async fn run(self, variables: &Lookup<'_>) -> u8 {
        let mut report = Report::default();
        let found = configuration::check(variables, &mut report);
        let store = match &found.store {
            Some(url) => store::check(url, variables, &mut report).await,
            None => None,
        };
        let store = match store {
            Some((store, works)) => download::check(&store, works, &mut report).await.then_some(store),
            None => None,
        };
        let queue = match &found.queue {
            Some(url) => queue::check(url, self.worker.is_none(), &mut report).await,
            None => None,
        };
        if let (Some(store), Some(queue), Some(source), Some(time)) =
            (&store, &queue, &found.source, self.worker)
        {
            worker::ask(store, queue, source, time, &mut report).await;
        }
        match &found.status {
            Some(address) => worker::health(address, &mut report).await,
            None => Report::line(
                "unseen",
                "nix",
                "it is where workers are: run doctor there, with the worker's variables",
            ),
        }
        report.end()
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Report {
    warnings: usize,
    failed: usize,
}

impl Report {
    fn ok(&mut self, check: &str, found: &str) {
        Self::line("ok", check, found);
    }

    /// Something that works, but not as it should, or that could not be found out.
    fn warning(&mut self, check: &str, found: &str, advice: &str) {
        self.warnings += 1;
        Self::line("warning", check, found);
        Self::line("", "", &format!("-> {advice}"));
    }

    /// Something without which pulls fail.
    fn failed(&mut self, check: &str, found: &str, advice: &str) {
        self.failed += 1;
        Self::line("FAILED", check, found);
        Self::line("", "", &format!("-> {advice}"));
    }

    fn line(grade: &str, check: &str, text: &str) {
        terminal::out(format!("{grade:<8} {check:<14} {text}").trim_end());
    }

    fn end(&self) -> u8 {
        let warnings = words::count(self.warnings, "warning");
        if self.failed == 0 {
            terminal::out(&format!("\nnothing FAILED, {warnings}"));
            return 0;
        }
        terminal::out(&format!("\n{} FAILED, {warnings}", self.failed));
        FAILED
    }
}
