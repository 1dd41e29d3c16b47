//! Is all that is set what can be read?

use std::time::Duration;

use super::Report;
use crate::command::{Lookup, words};
use crate::config::{Config, QUEUE, SOURCE, STORE, Variables};
use crate::source::Source;

/// The address where a worker on this machine tells how it is.
const STATUS: &str = "LAMINIX_STATUS";

/// Beyond this a request that waits comes near to the 30 s of clients.
const LONG: Duration = Duration::from_secs(27);

/// What there is to go on with.
pub(super) struct Found {
    pub(super) store: Option<String>,
    pub(super) queue: Option<String>,
    pub(super) source: Option<Source>,
    pub(super) status: Option<String>,
}

pub(super) fn check(lookup: &Lookup<'_>, report: &mut Report) -> Found {
    let mut variables = Variables::new(lookup);
    let found = Found {
        store: variables.store(),
        queue: variables.queue(),
        source: variables.source(),
        status: variables.get(STATUS),
    };
    match Config::parse(lookup) {
        Ok(config) => {
            let found = format!(
                "a pull waits up to {}, tags are looked up again after {}",
                words::span((config.hop * (config.hops + 1)).as_secs()),
                words::span(config.refresh.as_secs())
            );
            if config.hop > LONG {
                report.warning(
                    "configuration",
                    &found,
                    "some clients give up when nothing comes for 30 s: keep LAMINIX_HOP below",
                );
            } else {
                report.ok("configuration", &found);
            }
            for (name, value) in [
                (STORE, &config.store),
                (QUEUE, &config.queue),
                (SOURCE, &config.source.to_string()),
            ] {
                Report::line("", "", &format!("{name} is {}", words::without_secrets(value)));
            }
        }
        Err(problems) => {
            for problem in problems {
                report.failed(
                    "configuration",
                    &problem,
                    "set it for this process as it is set for the registry",
                );
            }
        }
    }
    found
}
