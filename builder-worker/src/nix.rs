//! Nix as it is found on this machine: its settings, its version, and whether its builds are sandboxed.
//!
//! Only `nix-instantiate` and `nix-store` are used: their output is the same from 2.8 to 2.34, and their exit codes tell
//! failures apart. Everything that the worker depends on is stated in `NIX_CONFIG`; the configuration of the machine and
//! of the user is not read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use laminix::name::System;
use tracing::{info, warn};

use crate::process::{Finished, ProcessError, Run};

/// The version from which on Nix evaluates every maintained nixpkgs.
pub const CURRENT: &str = "2.18";

const EVALUATE: &str = include_str!("../../nix/evaluate.nix");
const MINIMUM: &str = include_str!("../../nix/minimum.nix");
const PROBE: &str = include_str!("../../nix/probe.nix");

/// Queries of the local database take milliseconds; a machine under load may take longer.
const QUERY_TIME: Duration = Duration::from_secs(120);

/// Between SIGTERM and SIGKILL for an evaluation.
const EVALUATION_GRACE: Duration = Duration::from_millis(200);

/// The probe is one shell command.
const PROBE_TIME: Duration = Duration::from_secs(60);

/// What to do where builds cannot be sandboxed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Refuse to start.
    Required,
    /// Say so, and go on without: the machine is one's own.
    IfPossible,
    /// Do not try.
    Off,
}

/// How the worker wants Nix to be. Times and sizes are limits for one evaluation, or for one derivation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the worker keeps its own files.
    pub state: PathBuf,
    /// Binary caches, by URL; none: everything is built here.
    pub substituters: Vec<String>,
    /// The keys that these sign with.
    pub trusted_keys: Vec<String>,
    /// Isolation of builds.
    pub sandbox: Sandbox,
    /// Derivations that are built at once.
    pub jobs: usize,
    /// The time that an evaluation may take.
    pub evaluation_time: Duration,
    /// The bytes of heap that an evaluation may use.
    pub evaluation_memory: u64,
    /// The time that the build of one derivation may take.
    pub build_time: Duration,
    /// The bytes of address space that each process of a build may use; none: no limit.
    pub build_memory: Option<u64>,
    /// More derivations than this are not compiled for one job where there are binary caches: it would mean that a
    /// cache is dead or a key is missing.
    pub build_limit: usize,
    /// The argument `config` of the package set, a JSON object.
    pub config: serde_json::Value,
}

/// A Nix that works.
#[derive(Debug)]
pub struct Nix {
    settings: Settings,
    version: String,
    sandboxed: bool,
    config: String,
}

impl Nix {
    /// Finds Nix, and makes sure of what it does: a sandbox that is only wished for is none.
    ///
    /// # Errors
    /// When there is no Nix, or builds are not isolated and have to be: a sentence that says what to do.
    pub async fn open(settings: Settings) -> anyhow::Result<Self> {
        for name in ["home", "conf", "expressions", "roots", "work"] {
            std::fs::create_dir_all(settings.state.join(name))?;
        }
        let expressions = [
            ("evaluate.nix", EVALUATE),
            ("minimum.nix", MINIMUM),
            ("probe.nix", PROBE),
        ];
        for (name, text) in expressions {
            std::fs::write(settings.state.join("expressions").join(name), text)?;
        }
        let found = Run::new("nix-store").arg("--version").finish().await;
        let found =
            found.context("there is no Nix on the PATH; install it (on Debian: apt-get install nix-bin)")?;
        let version = String::from_utf8_lossy(&found.stdout)
            .trim()
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let mut nix = Self {
            settings,
            version,
            sandboxed: false,
            config: String::new(),
        };
        nix.isolate().await?;
        info!(version = nix.version, sandboxed = nix.sandboxed, "nix is ready");
        Ok(nix)
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether a build was seen not to see this machine.
    #[must_use]
    pub fn sandboxed(&self) -> bool {
        self.sandboxed
    }

    /// What was asked of it.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The worker's own copy of an expression.
    pub(crate) fn expression(&self, name: &str) -> PathBuf {
        self.settings.state.join("expressions").join(name)
    }

    /// A command that evaluates: it sees the worker's expressions, and what else is named by `-I`.
    pub(crate) fn instantiate(&self) -> Run {
        self.command("nix-instantiate", true)
            .env(
                "GC_MAXIMUM_HEAP_SIZE",
                self.settings.evaluation_memory.to_string(),
            )
            .arg("-I")
            .arg(self.settings.state.join("expressions"))
            .time(self.settings.evaluation_time)
            // it starts nothing, and hears no signal while it calculates
            .grace(EVALUATION_GRACE)
    }

    /// A command that asks or changes the store.
    pub(crate) fn store(&self) -> Run {
        self.command("nix-store", false).time(QUERY_TIME)
    }

    /// The lines that a query of the store prints. For every 200 paths there is one process: command lines end at
    /// 128 KiB on some systems.
    pub(crate) async fn query(
        &self,
        options: &[&str],
        paths: &[impl AsRef<str>],
    ) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        for paths in paths.chunks(200) {
            let run = self.store().args(options).args(paths.iter().map(AsRef::as_ref));
            let done = run.finish().await?;
            if !done.status.success() {
                bail!("nix-store {} failed: {}", options.join(" "), done.tail_text());
            }
            lines.extend(String::from_utf8(done.stdout)?.lines().map(str::to_owned));
        }
        Ok(lines)
    }

    /// Whether this Nix is too old for a package set, which would end its evaluation with words for its operator.
    ///
    /// # Errors
    /// When Nix cannot be run.
    pub async fn too_old_for(&self, set: &Path) -> Result<bool, ProcessError> {
        let run = self
            .instantiate()
            .arg("-I")
            .arg(set)
            .args(["--eval", "--strict", "--json"]);
        let done = run
            .arg(self.expression("minimum.nix"))
            .args(["--argstr", "set"])
            .arg(set)
            .finish()
            .await?;
        Ok(done.status.success() && done.stdout.starts_with(b"true"))
    }

    fn command(&self, program: &str, restricted: bool) -> Run {
        let state = &self.settings.state;
        Run::new(program)
            .env("HOME", state.join("home"))
            .env("NIX_CONF_DIR", state.join("conf"))
            .env("NIX_USER_CONF_FILES", "")
            .env("NIX_PATH", "")
            .env(
                "NIX_CONFIG",
                format!("{}restrict-eval = {restricted}\n", self.config),
            )
    }

    async fn isolate(&mut self) -> anyhow::Result<()> {
        let wish = self.settings.sandbox;
        if wish != Sandbox::Off {
            self.config = self.configuration(true);
            self.sandboxed = self.probe().await?;
            if self.sandboxed {
                return Ok(());
            }
        }
        if wish == Sandbox::Required {
            bail!(
                "builds cannot be sandboxed on this machine: it lacks the kernel namespaces, or the right to make them; \
                 run the worker on a machine or in a container that has them, or set LAMINIX_SANDBOX=if-possible \
                 if every package set that it builds is trusted with this machine"
            );
        }
        warn!("builds are not sandboxed on this machine: they see its files and its network");
        self.config = self.configuration(false);
        Ok(())
    }

    fn configuration(&self, sandbox: bool) -> String {
        let settings = &self.settings;
        let group = if build_users() { "nixbld" } else { "" };
        let lines = [
            ("sandbox", sandbox.to_string()),
            // with a fallback, a machine without namespaces builds unprotected and says nothing
            ("sandbox-fallback", "false".to_owned()),
            ("build-users-group", group.to_owned()),
            ("substituters", settings.substituters.join(" ")),
            ("trusted-public-keys", settings.trusted_keys.join(" ")),
            ("max-jobs", settings.jobs.to_string()),
            ("cores", "0".to_owned()),
            ("timeout", settings.build_time.as_secs().to_string()),
            ("max-silent-time", "0".to_owned()),
            ("max-build-log-size", (64 << 20).to_string()),
            ("connect-timeout", "10".to_owned()),
            ("fallback", "false".to_owned()),
            ("narinfo-cache-negative-ttl", "0".to_owned()),
            ("allow-import-from-derivation", "false".to_owned()),
            ("builders", String::new()),
            ("min-free", "0".to_owned()),
        ];
        lines.map(|(name, value)| format!("{name} = {value}\n")).concat()
    }

    /// Builds something that would see a file of this machine, and looks whether it did.
    async fn probe(&self) -> anyhow::Result<bool> {
        let marker = tempfile::Builder::new().prefix("laminix-probe-").tempdir()?;
        let nonce = marker.path().display().to_string();
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(marker.path(), readable)?;
        let arguments = [
            ("marker", nonce.as_str()),
            ("nonce", &nonce),
            ("system", native().nix()),
        ];
        let mut instantiate = self
            .instantiate()
            .arg("--no-gc-warning")
            .arg(self.expression("probe.nix"));
        for (name, value) in arguments {
            instantiate = instantiate.args(["--argstr", name, value]);
        }
        let drv = instantiate.finish().await?;
        if !drv.status.success() {
            bail!("nix does not work here: {}", drv.tail_text());
        }
        let drv = String::from_utf8(drv.stdout)?.trim().to_owned();
        let built = self
            .store()
            .args(["--no-gc-warning", "-r", &drv])
            .time(PROBE_TIME)
            .finish()
            .await?;
        match built.status.code() {
            Some(0) => {
                let out = String::from_utf8(built.stdout)?;
                Ok(std::fs::read_to_string(out.trim())?.trim() == "hidden")
            }
            // in a sandbox that has no /bin/sh the builder does not even start
            Some(100) => Ok(true),
            _ => {
                info!(said = last_words(&built), "nix cannot build in a sandbox here");
                Ok(false)
            }
        }
    }
}

fn last_words(finished: &Finished) -> String {
    finished
        .tail
        .back()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .unwrap_or_default()
}

/// The system of this machine.
#[must_use]
pub fn native() -> System {
    if cfg!(target_arch = "aarch64") {
        System::Arm64
    } else {
        System::Amd64
    }
}

/// Whether root has other users to build as.
fn build_users() -> bool {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let members = groups
        .lines()
        .find_map(|line| line.strip_prefix("nixbld:"))
        .and_then(|rest| rest.rsplit(':').next());
    rustix::process::geteuid().is_root() && members.is_some_and(|members| !members.is_empty())
}

/// Text that a builder, a package set or Nix printed, as plain text: no escapes, no control characters, no carriage
/// returns, and valid UTF-8.
#[must_use]
pub fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // CSI sequences end at a letter, OSC ones at BEL or at the next escape
            '\u{1b}' => match rest.next() {
                Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while rest.next_if(|&c| c != '\u{7}' && c != '\u{1b}').is_some() {},
                Some(_) | None => {}
            },
            '\n' => plain.push('\n'),
            '\t' => plain.push(' '),
            // what was before it on the line has been painted over
            '\r' => {
                if rest.peek().is_some_and(|&c| c != '\n') {
                    plain.truncate(plain.rfind('\n').map_or(0, |at| at + 1));
                }
            }
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_print_becomes_plain_text() {
        for (printed, plain_text) in [
            (&b"\x1b[31;1merror:\x1b[0m no"[..], "error: no"),
            (b"10%\r20%\rdone\r\nnext", "done\nnext"),
            (b"\x1b]0;title\x07x\x00y\x08", "xy"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"\x1b[", ""),
            ("a\u{202e}b".as_bytes(), "ab"),
        ] {
            assert_eq!(plain(printed), plain_text);
        }
    }
}
