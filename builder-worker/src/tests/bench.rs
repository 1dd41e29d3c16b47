//! A real Nix, and a package set written for one test.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use laminix::name::Attribute;
use laminix_builder::claims::Progress;
use laminix_builder::evaluate::{Derivation, Evaluated, Evaluation};
use laminix_builder::nix::{Nix, Sandbox, Settings, native};
use laminix_builder::process::{Finished, Run};
use laminix_builder::realise::{Outcome, Roots, realise};
use tempfile::TempDir;

/// What stands before the attributes of every set. The nonce makes each run's derivations new, so that they are built.
const PRELUDE: &str = r#"
{ system, config, overlays }:
let
  nonce = "NONCE";
  make = name: script: more: derivation ({
    inherit name system nonce;
    builder = "/bin/sh";
    args = [ "-c" script ];
    PATH = "/usr/local/bin:/usr/bin:/bin";
  } // more);
in
"#;

pub(crate) struct Bench {
    pub(crate) nix: Nix,
    pub(crate) dir: TempDir,
    nonce: String,
}

impl Bench {
    /// A Nix without a sandbox, because most tests build with this machine's shell; `None` where there is no Nix and
    /// this is not CI.
    pub(crate) async fn open(change: impl FnOnce(&mut Settings)) -> Option<Self> {
        if !is_installed().await {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let mut settings = settings(dir.path().join("state"));
        change(&mut settings);
        let nix = Nix::open(settings).await.unwrap();
        let nonce = nonce();
        Some(Self { nix, dir, nonce })
    }

    /// The same package set and store, with other settings.
    pub(crate) async fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut settings = self.nix.settings().clone();
        settings.state = dir.path().join("state");
        change(&mut settings);
        let nix = Nix::open(settings).await.unwrap();
        let nonce = self.nonce.clone();
        Self { nix, dir, nonce }
    }

    /// A package set of these attributes, in which `make name script more` is a derivation.
    pub(crate) fn set(&self, attributes: &str) -> PathBuf {
        let set = self.dir.path().join("set");
        fs::create_dir_all(&set).unwrap();
        fs::write(set.join("default.nix"), set_text(&self.nonce, attributes)).unwrap();
        set
    }

    pub(crate) async fn evaluate(&self, attributes: &str, names: &[&str]) -> Vec<Evaluated> {
        let set = self.set(attributes);
        let names: Vec<Attribute> = names.iter().map(|name| name.parse().unwrap()).collect();
        let evaluation = Evaluation {
            nix: &self.nix,
            set: &set,
            system: native(),
        };
        evaluation.run(&names).await.unwrap()
    }

    /// Attributes that have to be packages.
    pub(crate) async fn packages(&self, attributes: &str, names: &[&str]) -> Vec<Derivation> {
        let evaluated = self.evaluate(attributes, names).await;
        let packages = evaluated.into_iter().map(|evaluated| match evaluated {
            Evaluated::Package(derivation) => *derivation,
            other => panic!("no package: {other:?}"),
        });
        packages.collect()
    }

    pub(crate) async fn realise(&self, packages: &[Derivation]) -> (Vec<Outcome>, Roots) {
        let packages: Vec<_> = packages.iter().collect();
        realise(&self.nix, &packages, &Progress::new()).await.unwrap()
    }

    /// The command that deletes these paths, and no others, from the store.
    pub(crate) async fn delete(&self, paths: &[&str]) -> Finished {
        self.nix_run("nix-store")
            .arg("--delete")
            .args(paths)
            .finish()
            .await
            .unwrap()
    }

    /// A command of Nix, beside the worker.
    pub(crate) fn nix_run(&self, program: &str) -> Run {
        Run::new(program)
            .env("HOME", self.dir.path())
            .env("NIX_CONF_DIR", self.dir.path())
            .env(
                "NIX_CONFIG",
                "build-users-group =\nsubstituters =\nexperimental-features = nix-command\n",
            )
    }
}

/// A package set of these attributes, in which `make name script more` is a derivation.
pub(crate) fn set_text(nonce: &str, attributes: &str) -> String {
    format!("{PRELUDE}{attributes}").replace("NONCE", nonce)
}

/// Whether there is a Nix. In CI there has to be one.
pub(crate) async fn is_installed() -> bool {
    let found = Run::new("nix-store").arg("--version").finish().await.is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI has no Nix");
        eprintln!("SKIPPED: there is no nix-store on the PATH");
    }
    found
}

pub(crate) fn settings(state: PathBuf) -> Settings {
    Settings {
        state,
        substituters: Vec::new(),
        trusted_keys: Vec::new(),
        sandbox: Sandbox::Off,
        jobs: 4,
        evaluation_time: Duration::from_secs(60),
        evaluation_memory: 1 << 30,
        build_time: Duration::from_secs(60),
        build_memory: None,
        build_limit: 100,
        config: serde_json::json!({}),
    }
}

/// Something that no other run has.
pub(crate) fn nonce() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

/// A number of seconds for `sleep` that tells this process from all others.
pub(crate) fn long_time(test: u8) -> String {
    format!("9{test:02}{:08}", std::process::id())
}

/// Whether any process has this in its command line.
pub(crate) fn is_running(marker: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .map(|process| fs::read(process.path().join("cmdline")).unwrap_or_default())
        .any(|line| String::from_utf8_lossy(&line).contains(marker))
}
