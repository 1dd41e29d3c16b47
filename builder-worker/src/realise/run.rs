//! One run of Nix for some packages, and the roots that keep what it makes.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::evaluate::Derivation;
use crate::events::Events;
use crate::nix::Nix;
use crate::process::{Finished, ProcessError};

/// Keeps store paths from being collected until it is dropped.
#[derive(Debug)]
pub struct Roots(TempDir);

impl Roots {
    pub(super) fn new(nix: &Nix) -> std::io::Result<Self> {
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

/// Runs Nix once for these packages. A root for each of their outputs is made when all of them succeed.
pub(super) async fn run(
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
        .args(installables(packages))
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
pub(super) fn installables(packages: &[&Derivation]) -> impl Iterator<Item = String> {
    packages.iter().flat_map(|package| &package.drvs).map(|drv| {
        let outputs: Vec<_> = drv.outputs.iter().map(|output| output.name.as_str()).collect();
        format!("{}!{}", drv.drv_path, outputs.join(","))
    })
}
