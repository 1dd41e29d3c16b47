//! Meters: what the worker counts of itself, in the text that Prometheus reads (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use laminix::job::Work;
use tracing::info;

use crate::claims::Progress;

/// The kinds of what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// [`Work::Resolve`].
    Resolve,
    /// [`Work::Build`].
    Build,
    /// [`Work::Merge`].
    Merge,
    /// [`Work::Warm`].
    Warm,
    /// What a tag that moves makes of the job that saw it: [`crate::carry`].
    Carry,
    /// A message that is no job of this worker.
    None,
}

impl Kind {
    /// The kind of a job.
    #[must_use]
    pub fn of(work: &Work) -> Self {
        match work {
            Work::Resolve { .. } => Self::Resolve,
            Work::Build { .. } => Self::Build,
            Work::Merge { .. } => Self::Merge,
            Work::Warm { .. } => Self::Warm,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Build => "build",
            Self::Merge => "merge",
            Self::Warm => "warm",
            Self::Carry => "carry",
            Self::None => "none",
        }
    }
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is done, whatever became of its packages.
    Done,
    /// It failed, and is tried again.
    Failed,
    /// It is put aside for an operator.
    Parked,
    /// It was broken off, and is another worker's now.
    Returned,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Returned => "returned",
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    running: usize,
    jobs: BTreeMap<(Kind, Outcome), u64>,
    seconds: BTreeMap<Kind, (f64, u64)>,
    gc_runs: u64,
    gc_freed: u64,
    queue_errors: u64,
    draining: bool,
    queue_answered: Option<Instant>,
}

/// What the meters tell of the machine, and what others know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine<'a> {
    /// Bytes of layers that were packed.
    pub packed: u64,
    /// Free bytes of the Nix store's disk.
    pub free: Option<u64>,
    /// The version of Nix.
    pub nix: &'a str,
    /// Whether a build was seen not to see this machine.
    pub sandboxed: bool,
}

/// What a worker counts. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meters(Arc<Mutex<Counts>>);

impl Meters {
    /// A job begins; what is returned is to be told how it ends.
    #[must_use]
    pub fn begin(&self, kind: Kind, progress: &Progress) -> Running {
        self.lock().running += 1;
        Running {
            meters: self.clone(),
            kind,
            progress: progress.clone(),
            began: Instant::now(),
            outcome: Outcome::Returned,
        }
    }

    /// The queue has answered.
    pub fn queue_answered(&self) {
        self.lock().queue_answered = Some(Instant::now());
    }

    /// The queue has failed.
    pub fn queue_failed(&self) {
        self.lock().queue_errors += 1;
    }

    /// The time since the queue answered last; `None`: it never has.
    #[must_use]
    pub fn queue_silence(&self) -> Option<Duration> {
        self.lock().queue_answered.map(|at| at.elapsed())
    }

    /// The Nix store was collected, and this many bytes came of it.
    pub fn collected(&self, freed: u64) {
        let mut counts = self.lock();
        counts.gc_runs += 1;
        counts.gc_freed += freed;
    }

    /// No more jobs are taken.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// All of it, with what is known elsewhere.
    #[must_use]
    pub fn text(&self, machine: &Machine<'_>) -> String {
        let counts = self.lock();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: &[(String, String)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let one = |value: u64| [(String::new(), value.to_string())];
        family(
            "laminix_jobs_running",
            "gauge",
            "Jobs under way.",
            &one(counts.running as u64),
        );
        let jobs = counts.jobs.iter().map(|((kind, outcome), count)| {
            let labels = format!("{{kind=\"{}\",outcome=\"{}\"}}", kind.label(), outcome.label());
            (labels, count.to_string())
        });
        family(
            "laminix_jobs_total",
            "counter",
            "Jobs that have ended.",
            &jobs.collect::<Vec<_>>(),
        );
        let seconds = counts.seconds.iter().flat_map(|(kind, (sum, count))| {
            let labels = format!("{{kind=\"{}\"}}", kind.label());
            [
                (format!("_sum{labels}"), format!("{sum:.3}")),
                (format!("_count{labels}"), count.to_string()),
            ]
        });
        family(
            "laminix_job_seconds",
            "summary",
            "How long jobs took.",
            &seconds.collect::<Vec<_>>(),
        );
        family(
            "laminix_packed_bytes_total",
            "counter",
            "Bytes of layers that were packed.",
            &one(machine.packed),
        );
        let nix = format!(
            "{{version=\"{}\",sandboxed=\"{}\"}}",
            machine.nix, machine.sandboxed
        );
        family(
            "laminix_nix_info",
            "gauge",
            "1, for the Nix that was found when the worker started.",
            &[(nix, "1".to_owned())],
        );
        let free: Vec<_> = machine
            .free
            .map(|free| (String::new(), free.to_string()))
            .into_iter()
            .collect();
        family(
            "laminix_nix_store_free_bytes",
            "gauge",
            "Free bytes of the Nix store's file system.",
            &free,
        );
        family(
            "laminix_gc_runs_total",
            "counter",
            "Collections of the Nix store.",
            &one(counts.gc_runs),
        );
        family(
            "laminix_gc_freed_bytes_total",
            "counter",
            "Bytes that collections have freed.",
            &one(counts.gc_freed),
        );
        family(
            "laminix_queue_errors_total",
            "counter",
            "Calls to the queue that failed.",
            &one(counts.queue_errors),
        );
        family(
            "laminix_draining",
            "gauge",
            "1 when no more jobs are taken.",
            &one(counts.draining.into()),
        );
        text
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // counters are whole whoever panics
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job under way. One that is dropped without a word was broken off.
#[derive(Debug)]
pub struct Running {
    meters: Meters,
    kind: Kind,
    progress: Progress,
    began: Instant,
    outcome: Outcome,
}

impl Running {
    /// The job has ended.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        info!(
            kind = self.kind.label(),
            outcome = self.outcome.label(),
            seconds = (seconds * 1000.0).round() / 1000.0,
            phases = self.progress.phases(),
            "a job has ended"
        );
        let mut counts = self.meters.lock();
        counts.running -= 1;
        *counts.jobs.entry((self.kind, self.outcome)).or_default() += 1;
        let (sum, count) = counts.seconds.entry(self.kind).or_default();
        *sum += seconds;
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_counted_however_it_ends() {
        let (meters, progress) = (Meters::default(), Progress::new());
        let running = meters.begin(Kind::Build, &progress);
        assert!(
            meters
                .text(&Machine::default())
                .contains("\nlaminix_jobs_running 1\n")
        );
        running.end(Outcome::Done);
        drop(meters.begin(Kind::Build, &progress));
        let text = meters.text(&Machine {
            packed: 7,
            free: Some(9),
            nix: "2.8.0",
            sandboxed: true,
        });
        for line in [
            "laminix_jobs_running 0",
            "laminix_jobs_total{kind=\"build\",outcome=\"done\"} 1",
            "laminix_jobs_total{kind=\"build\",outcome=\"returned\"} 1",
            "laminix_job_seconds_count{kind=\"build\"} 2",
            "laminix_packed_bytes_total 7",
            "laminix_nix_info{version=\"2.8.0\",sandboxed=\"true\"} 1",
            "laminix_nix_store_free_bytes 9",
            "laminix_draining 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                name.starts_with("laminix_") && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
}
