//! What a realisation would do, asked beforehand: what is fetched, and what has to be compiled.
//!
//! Where a binary cache is dead, Nix compiles what it would have fetched, and that may take a day. The same goes for a
//! signature whose key is not trusted, and this one the forecast does not show: Nix looks at signatures when it fetches. So
//! a build that was not foreseen stops a run, and the forecast is corrected.

use std::collections::BTreeSet;

use super::outcome::Outcome;
use super::run::installables;
use crate::claims::Progress;
use crate::evaluate::Derivation;
use crate::events::Events;
use crate::nix::{Nix, native, plain};

/// What Nix says that it would do.
#[derive(Debug)]
pub(super) struct Forecast {
    /// The derivations that would be built here.
    build: BTreeSet<String>,
    /// How many paths would be fetched.
    fetch: usize,
}

impl Forecast {
    pub(super) async fn of(nix: &Nix, packages: &[&Derivation]) -> anyhow::Result<Self> {
        Self::with(nix, packages, &[]).await
    }

    async fn with(nix: &Nix, packages: &[&Derivation], options: &[&str]) -> anyhow::Result<Self> {
        let mut forecast = Self {
            build: BTreeSet::new(),
            fetch: 0,
        };
        let run = nix
            .store()
            .args(["--realise", "--dry-run", "--no-gc-warning"])
            .args(options)
            .args(installables(packages));
        run.watch(|line| {
            let line = String::from_utf8_lossy(line);
            match line.strip_prefix("  ").map(str::trim) {
                Some(path) if path.ends_with(".drv") => {
                    forecast.build.insert(path.to_owned());
                }
                Some(path) if path.starts_with("/nix/store/") => forecast.fetch += 1,
                Some(_) | None => {}
            }
        })
        .await?;
        Ok(forecast)
    }

    /// What the events of a run are measured by.
    pub(super) fn events(&self, nix: &Nix, progress: &Progress) -> Events {
        let caches = !nix.settings().substituters.is_empty();
        let foreseen = caches.then(|| self.build.clone());
        Events::new(self.build.len(), self.fetch, foreseen, progress.clone())
    }

    /// Why a package is not even tried.
    pub(super) async fn refusal(&self, nix: &Nix, package: &Derivation) -> anyhow::Result<Option<Outcome>> {
        if let Some(system) = self.foreign(package) {
            return Ok(Some(Outcome::failed(format!(
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
        let below = below(nix, package).await?;
        let build = self.build.intersection(&below).count();
        Ok((build > settings.build_limit).then(|| {
            Outcome::failed(format!(
                "`{}` is in no binary cache that this registry reaches and trusts: {build} derivations would have to be \
                 compiled, and it compiles up to {}",
                package.attribute, settings.build_limit
            ))
        }))
    }

    /// Takes into account that a derivation is built although it was to be fetched: packages that need it get nothing from
    /// a cache. Says of each whether it is refused because of that.
    pub(super) async fn correct(
        &mut self,
        nix: &Nix,
        packages: &[&Derivation],
        unforeseen: &str,
    ) -> anyhow::Result<Vec<Option<Outcome>>> {
        let mut refusals = Vec::with_capacity(packages.len());
        for package in packages {
            let mut refusal = None;
            if below(nix, package).await?.contains(unforeseen) {
                let alone = Self::with(nix, &[package], &["--option", "substituters", ""]).await?;
                refusal = alone.refusal(nix, package).await?;
                if refusal.is_none() {
                    self.build.extend(alone.build);
                }
            }
            refusals.push(refusal);
        }
        // whatever it belongs to: the next run gets further than this one
        self.build.insert(unforeseen.to_owned());
        Ok(refusals)
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

/// All that a package is made with.
async fn below(nix: &Nix, package: &Derivation) -> anyhow::Result<BTreeSet<String>> {
    let drvs: Vec<_> = package.drvs.iter().map(|drv| drv.drv_path.as_str()).collect();
    let below = nix.query(&["-q", "--requisites"], &drvs).await?;
    Ok(below.into_iter().collect())
}
