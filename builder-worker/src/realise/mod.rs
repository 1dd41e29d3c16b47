//! Realisation: from derivations to valid store paths, substituted or built.
//!
//! One `nix-store --realise` gets all that a job wants, and exactly the wanted outputs. What came of it is decided by
//! exit codes and by what is valid afterwards, never by messages: a builder can print whatever it likes. Garbage
//! collectors are kept off by [`Roots`] until the paths are packed.

mod attempt;
mod forecast;
mod outcome;
mod run;

use self::attempt::Attempt;
use self::forecast::Forecast;
pub use self::outcome::Outcome;
use self::run::run;
pub use self::run::{Roots, forget_roots};
use crate::claims::Progress;
use crate::evaluate::Derivation;
use crate::events::Events;
use crate::nix::Nix;

/// Gets the outputs of all these packages, and says of each what came of it, in their order.
///
/// # Errors
/// When Nix cannot be run at all.
pub async fn realise(
    nix: &Nix,
    packages: &[&Derivation],
    progress: &Progress,
) -> anyhow::Result<(Vec<Outcome>, Roots)> {
    let roots = Roots::new(nix)?;
    let mut forecast = Forecast::of(nix, packages).await?;
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(packages.len());
    for package in packages {
        outcomes.push(forecast.refusal(nix, package).await?);
    }
    loop {
        let open: Vec<usize> = (0..packages.len()).filter(|&at| outcomes[at].is_none()).collect();
        if open.is_empty() {
            break;
        }
        let wanted: Vec<&Derivation> = open.iter().map(|&at| packages[at]).collect();
        let attempt = match Attempt::make(nix, &wanted, &roots, forecast.events(nix, progress)).await {
            Ok(attempt) => attempt,
            Err(unforeseen) => {
                let refused = forecast.correct(nix, &wanted, &unforeseen).await?;
                for (at, refusal) in open.into_iter().zip(refused) {
                    outcomes[at] = refusal;
                }
                continue;
            }
        };
        let mut ready = Vec::new();
        for at in open {
            let package = packages[at];
            let outcome = match attempt.judge(package).await? {
                Some(outcome) => outcome,
                None if wanted.len() == 1 => attempt.without_build(package),
                // the code of a run is that of all its packages, and no build of this one is to blame
                None => alone(nix, package, &roots, forecast.events(nix, progress)).await?,
            };
            if outcome == Outcome::Ready {
                ready.push(package);
            }
            outcomes[at] = Some(outcome);
        }
        // Nix makes roots when all has succeeded: those that have get them now
        if !ready.is_empty() && !attempt.succeeded() {
            run(nix, &ready, &roots, None).await?;
        }
    }
    Ok((outcomes.into_iter().flatten().collect(), roots))
}

async fn alone(nix: &Nix, package: &Derivation, roots: &Roots, events: Events) -> anyhow::Result<Outcome> {
    match Attempt::make(nix, &[package], roots, events).await {
        Ok(attempt) => Ok(attempt
            .judge(package)
            .await?
            .unwrap_or_else(|| attempt.without_build(package))),
        Err(unforeseen) => Ok(Outcome::Retry(format!(
            "no binary cache has {unforeseen} any more"
        ))),
    }
}
