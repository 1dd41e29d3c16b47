//! Processes: the only place that starts any.
//!
//! A process runs in a group of its own, with an environment that is stated whole, and both of its outputs are drained
//! to the end whatever it prints. It ends when its time is up or when nobody waits for it any more: first SIGTERM to
//! the whole group, so that Nix can take its builders down, then SIGKILL.

mod pipe;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tracing::warn;

use self::pipe::{collect, drain};

/// Between SIGTERM and SIGKILL: Nix needs a moment to stop its builders.
const GRACE: Duration = Duration::from_secs(5);

/// How often it is looked whether a group has ended.
const POLL: Duration = Duration::from_millis(50);

/// A command that is being put together.
#[derive(Debug, Clone)]
pub struct Run {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    time: Duration,
    stdout_limit: usize,
    end_only: bool,
    grace: Duration,
    address_space: Option<u64>,
}

/// What a process left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it printed on stdout.
    pub stdout: Vec<u8>,
    /// The last lines that it printed on stderr.
    pub tail: VecDeque<Vec<u8>>,
}

impl Finished {
    /// The tail as one text, for the log.
    #[must_use]
    pub fn tail_text(&self) -> String {
        let lines: Vec<_> = self
            .tail
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        lines.join("\n")
    }
}

/// Why a process has no result.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started, or its pipes broke.
    #[error("cannot run {0}")]
    Io(String, #[source] io::Error),
    /// It was ended because its time was up.
    #[error("{0} took longer than {1:?}")]
    Time(String, Duration),
    /// It printed more on stdout than was allowed.
    #[error("{0} printed more than {1} bytes")]
    Output(String, usize),
}

impl Run {
    /// A program, found on the worker's own PATH, with nothing in its environment but that PATH.
    pub fn new(program: impl Into<OsString>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        Self {
            program: program.into(),
            args: Vec::new(),
            env: vec![("PATH".into(), path), ("LC_ALL".into(), "C.UTF-8".into())],
            dir: None,
            time: Duration::from_secs(60),
            stdout_limit: 64 << 20,
            end_only: false,
            grace: GRACE,
            address_space: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable of the environment. The last one of a name counts.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The directory to run in.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The time that it may take.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The time between SIGTERM and SIGKILL, for what has nothing to tidy up.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// The bytes that it may print on stdout.
    #[must_use]
    pub fn stdout_limit(mut self, bytes: usize) -> Self {
        self.stdout_limit = bytes;
        self
    }

    /// The bytes at the end of stdout that are kept, however much it prints.
    #[must_use]
    pub fn stdout_end(mut self, bytes: usize) -> Self {
        self.stdout_limit = bytes;
        self.end_only = true;
        self
    }

    /// The bytes of address space that it and each of its children may use.
    #[must_use]
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.address_space = Some(bytes);
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`ProcessError`]; a process that fails by itself is a [`Finished`].
    pub async fn finish(self) -> Result<Finished, ProcessError> {
        self.watch(|_| {}).await
    }

    /// Runs it to its end, and hands out every line of stderr as it comes.
    ///
    /// # Errors
    /// [`ProcessError`]; a process that fails by itself is a [`Finished`].
    pub async fn watch(self, on_line: impl FnMut(&[u8])) -> Result<Finished, ProcessError> {
        let name = self.program.to_string_lossy().into_owned();
        let mut group = self
            .start()
            .map_err(|error| ProcessError::Io(name.clone(), error))?;
        let (Some(stdout), Some(stderr)) = (group.child.stdout.take(), group.child.stderr.take()) else {
            return Err(ProcessError::Io(name, io::ErrorKind::BrokenPipe.into()));
        };
        let limit = self.stdout_limit;
        let work = async {
            let (stdout, tail) =
                tokio::try_join!(collect(stdout, limit, self.end_only), drain(stderr, on_line))?;
            // a background child may hold on to the pipes; the wait comes after them, so it is part of the time limit
            Ok::<_, io::Error>((group.child.wait().await?, stdout, tail))
        };
        let outcome = tokio::time::timeout(self.time, work).await;
        let result = match outcome {
            Ok(Ok((status, Some(stdout), tail))) => Ok(Finished { status, stdout, tail }),
            Ok(Ok((_, None, _))) => Err(ProcessError::Output(name, limit)),
            Ok(Err(error)) => Err(ProcessError::Io(name, error)),
            Err(_) => Err(ProcessError::Time(name, self.time)),
        };
        group.end().await;
        result
    }

    fn start(&self) -> io::Result<Group> {
        #[expect(clippy::disallowed_methods, reason = "this is where processes are started")]
        let mut command = match self.address_space {
            // the limit is set in the child by a program of util-linux: doing it between fork and exec is unsafe code
            Some(bytes) => {
                let mut command = tokio::process::Command::new("prlimit");
                command.arg(format!("--as={bytes}")).arg("--").arg(&self.program);
                command
            }
            None => tokio::process::Command::new(&self.program),
        };
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(false)
            .spawn()?;
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let grace = self.grace;
        Ok(Group { id, child, grace })
    }
}

/// A process and all that it started.
struct Group {
    id: Option<Pid>,
    child: Child,
    grace: Duration,
}

impl Group {
    /// Makes sure that nothing of it is left. Nothing happens where all has ended by itself.
    async fn end(mut self) {
        let Some(id) = self.id.take() else { return };
        end(id, &mut self.child, self.grace).await;
    }
}

async fn end(id: Pid, child: &mut Child, grace: Duration) {
    if kill_process_group(id, Signal::TERM).is_err() {
        return;
    }
    let ended = async {
        drop(child.wait().await);
        while kill_process_group(id, Signal::TERM).is_ok() {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(grace, ended).await.is_err() {
        warn!(group = id.as_raw_nonzero().get(), "processes had to be killed");
        let _ = kill_process_group(id, Signal::KILL);
        drop(child.wait().await);
    }
}

/// Nobody waits any more: the same end, in the background.
impl Drop for Group {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let _ = kill_process_group(id, Signal::TERM);
        let grace = self.grace;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let ended = async {
                    // a group that is gone is not looked at again: its id may be another's by then
                    while test_kill_process_group(id).is_ok() {
                        tokio::time::sleep(POLL).await;
                    }
                };
                if tokio::time::timeout(grace, ended).await.is_err() {
                    let _ = kill_process_group(id, Signal::KILL);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pipe::{LINE, TAIL};
    use super::*;

    fn sh(script: &str) -> Run {
        Run::new("sh").args(["-c", script])
    }

    /// Fault 2 of the predecessor: it hung for ever when Nix printed more than 64 KiB to stderr.
    #[tokio::test]
    async fn both_outputs_are_drained() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo out $i; echo a line of the error output, number $i >&2; i=$((i+1)); done";
        let mut lines = 0;
        let done = sh(script).watch(|_| lines += 1).await.unwrap();
        assert!(done.status.success());
        assert_eq!(lines, 3000);
        assert!(done.stdout.ends_with(b"out 2999\n"));
        assert_eq!(
            (done.tail.len(), done.tail.back().unwrap().ends_with(b"2999")),
            (TAIL, true)
        );
    }

    #[tokio::test]
    async fn the_environment_is_stated() {
        let done = sh("echo \"$HOME|$X|$LAMINIX_STORE\"")
            .env("X", "y")
            .finish()
            .await
            .unwrap();
        assert_eq!(done.stdout, b"|y|\n");
    }

    #[tokio::test]
    async fn limits_hold() {
        let long = sh("head -c 100000 /dev/zero | tr '\\0' x >&2")
            .finish()
            .await
            .unwrap();
        assert_eq!(long.tail.iter().map(Vec::len).collect::<Vec<_>>(), [LINE]);
        let much = sh("head -c 100000 /dev/zero").stdout_limit(1000).finish().await;
        assert!(matches!(much, Err(ProcessError::Output(_, 1000))));
        let end = sh("seq 100000").stdout_end(12).finish().await.unwrap();
        assert_eq!(end.stdout, b"99999\n100000\n"[1..]);
        let short = sh("echo short").stdout_end(12).finish().await.unwrap();
        assert_eq!(short.stdout, b"short\n");
        let tight = sh("echo in").address_space(1 << 20).finish().await.unwrap();
        assert!(!tight.status.success());
        let missing = Run::new("/no/such/program").finish().await;
        assert!(matches!(missing, Err(ProcessError::Io(..))));
    }
}
