//! Words for whoever started a command: findings on stdout, progress on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// A line that is rewritten must not wrap, and how wide a terminal is cannot be known without asking it: old ones have 80
/// columns.
const WIDTH: usize = 79;

/// Where nothing can be rewritten, progress is told this often at most.
const PAUSE: Duration = Duration::from_secs(15);

/// A finding. That nobody reads it (`laminix … | head`) is no failure.
pub(super) fn out(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// What is being done now.
#[derive(Debug)]
pub(super) struct Progress {
    /// Whether stderr is a terminal, where a line can be rewritten.
    rewrites: bool,
    shown: String,
    at: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            rewrites: std::io::stderr().is_terminal(),
            shown: String::new(),
            at: None,
        }
    }

    /// Says how far it is: in the place of what was said before, or on a line of its own now and then.
    pub(super) fn show(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if text == self.shown {
            return;
        }
        let mut stderr = std::io::stderr().lock();
        if self.rewrites {
            let line: String = text.chars().take(WIDTH).collect();
            drop(write!(stderr, "\r\x1b[2K{line}"));
            drop(stderr.flush());
        } else if self.at.is_none_or(|at| at.elapsed() >= PAUSE) {
            drop(writeln!(stderr, "{text}"));
            self.at = Some(Instant::now());
        } else {
            return;
        }
        self.shown = text;
    }

    /// A finding, which stays.
    pub(super) fn out(&mut self, text: &str) {
        self.clear();
        out(text);
    }

    /// Something worth knowing that is no finding; it stays.
    pub(super) fn note(&mut self, text: &str) {
        self.clear();
        drop(writeln!(std::io::stderr().lock(), "{text}"));
    }

    /// Takes the line back that would be rewritten.
    pub(super) fn clear(&mut self) {
        if self.rewrites && !self.shown.is_empty() {
            let mut stderr = std::io::stderr().lock();
            drop(write!(stderr, "\r\x1b[2K"));
            drop(stderr.flush());
            self.shown.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
