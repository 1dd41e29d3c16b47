//! Whether builds see this machine, and what the worker does where they would.

use std::fs;
use std::time::Duration;

use laminix_builder::nix::{Nix, Sandbox};
use laminix_builder::process::{ProcessError, Run};
use laminix_builder::realise::Outcome;
use tempfile::TempDir;

use crate::bench::{Bench, is_installed, settings};

/// A sandbox that is required is there, or the worker says why it does not start. A sandbox that is only wished for
/// would be lost without a word.
#[tokio::test]
async fn a_required_sandbox_is_there_or_nothing_is() {
    if !is_installed().await {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut required = settings(dir.path().to_owned());
    required.sandbox = Sandbox::Required;
    match Nix::open(required).await {
        Ok(nix) => assert!(nix.sandboxed()),
        Err(error) => assert!(
            error
                .to_string()
                .starts_with("builds cannot be sandboxed on this machine"),
            "{error}"
        ),
    }
    let mut off = settings(dir.path().to_owned());
    off.sandbox = Sandbox::Off;
    assert!(!Nix::open(off).await.unwrap().sandboxed());
}

/// The probe is right: a build of the same Nix sees a file outside when it is not sandboxed, and else does not.
#[tokio::test]
async fn builds_see_this_machine_only_where_it_says_so() {
    let shell = "/bin/busybox";
    if !fs::exists(shell).unwrap() {
        eprintln!("SKIPPED: no static shell to build with ({shell})");
        return;
    }
    for sandbox in [Sandbox::IfPossible, Sandbox::Off] {
        let Some(bench) = Bench::open(|settings| settings.sandbox = sandbox).await else {
            return;
        };
        let marker = tempfile::NamedTempFile::new().unwrap();
        let set = r#"{
          look = make "look-1" "[ -e MARKER ] && echo seen > $out || echo unseen > $out" {
            builder = "${./bin}/sh";
          };
        }"#;
        let set = set.replace("MARKER", marker.path().to_str().unwrap());
        let bin = bench.set(&set).join("bin");
        fs::create_dir(&bin).unwrap();
        fs::copy(shell, bin.join("sh")).unwrap();
        let packages = bench.packages(&set, &["look"]).await;
        let (outcomes, _roots) = bench.realise(&packages).await;
        assert_eq!(outcomes, [Outcome::Ready]);
        let saw = fs::read_to_string(packages[0].outputs().next().unwrap().as_str()).unwrap();
        assert_eq!(saw.trim() == "unseen", bench.nix.sandboxed(), "{sandbox:?}");
    }
}

/// In a chroot there are no user namespaces to be had, and others need a right that containers are not given either. The
/// worker by itself does not start there; told to, it says what it does.
#[tokio::test]
async fn without_namespaces_the_worker_refuses_to_start() {
    if !is_installed().await {
        return;
    }
    let start = async |sandbox: &str| {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(at("set")).unwrap();
        fs::create_dir(at("root")).unwrap();
        let worker = env!("CARGO_BIN_EXE_laminix-builder");
        let enter = format!(
            "mount --rbind / {0} && exec chroot {0} setpriv --bounding-set -sys_admin {worker}",
            at("root")
        );
        let namespaces: &[&str] = if rustix::process::geteuid().is_root() {
            &["--mount"]
        } else {
            &["--user", "--map-root-user", "--mount"]
        };
        let mut said = String::new();
        // a worker that has started goes on until its time is up
        let ended = Run::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", &enter])
            .env("LAMINIX_STORE", format!("file://{}", at("store")))
            .env("LAMINIX_QUEUE", format!("file://{}", at("queue")))
            .env("LAMINIX_SOURCE", format!("path:{}", at("set")))
            .env("LAMINIX_STATE", at("state"))
            .env("LAMINIX_SANDBOX", sandbox)
            .time(Duration::from_secs(6))
            .watch(|line| said.push_str(&String::from_utf8_lossy(line)))
            .await;
        (ended, said)
    };
    let (ended, said) = start("required").await;
    if said.contains("unshare failed") {
        eprintln!("SKIPPED: this machine has no namespaces to take away");
        return;
    }
    assert!(ended.is_ok_and(|done| done.status.code() == Some(1)), "{said}");
    assert!(
        said.contains("builds cannot be sandboxed on this machine"),
        "{said}"
    );
    let (ended, said) = start("if-possible").await;
    assert!(matches!(ended, Err(ProcessError::Time(..))), "{said}");
    assert!(
        said.contains("builds are not sandboxed on this machine") && said.contains("taking jobs"),
        "{said}"
    );
}
