//! What was found out of an image, as people read it.

use std::time::Duration;

use super::{Found, Making, PackageState, Pull, TagFound};
use crate::command::{terminal, words};
use crate::record::{Seconds, now};
use crate::registry::error::printable;

/// The last lines of a log that are shown. All that is recorded of it is in the JSON.
const LOG_LINES: usize = 12;

impl Found {
    /// For people.
    pub(super) fn tell(&self, refresh: Duration) {
        terminal::out(&format!("{}, {} of {}", self.image, self.system, self.source));
        let line = |name: &str, text: &str| terminal::out(&format!("  {name:<9} {text}"));
        line("tag", &self.tag.words(refresh));
        line(
            "image",
            if self.cached {
                "in the cache"
            } else {
                "not in the cache"
            },
        );
        if let (Some(layers), Some(download)) = (self.layers, self.download) {
            let download = words::bytes(download);
            line(
                "layers",
                &format!("{layers}, {download} for a client that has none of them"),
            );
        }
        line("a pull", self.pull.words());
        if self.packages.is_empty() {
            return;
        }
        terminal::out("\npackages");
        let width = self.packages.iter().map(|package| package.attribute.len());
        let width = width.max().unwrap_or_default();
        for package in &self.packages {
            let of = if package.asked { "" } else { " (in every image)" };
            let (state, log) = package.state.words();
            terminal::out(&format!("  {:<width$}  {state}{of}", package.attribute));
            for text in log {
                terminal::out(&format!("      {text}"));
            }
        }
    }
}

impl Pull {
    fn words(self) -> &'static str {
        match self {
            Self::Cached => "is answered from the cache",
            Self::Composed => "is composed at once",
            Self::Waits => "waits for a builder",
            Self::Refused => "is refused, with the reason",
        }
    }
}

impl TagFound {
    fn words(&self, refresh: Duration) -> String {
        match self {
            Self::Unknown { making: None } => "nobody has looked up what it names".to_owned(),
            Self::Unknown {
                making: Some(Making { since, phase }),
            } => format!("is being looked up since {}: {phase}", words::ago(*since)),
            Self::Refused { reason, until } => {
                format!(
                    "refused: {reason}; looked up again {} or later",
                    words::ahead(*until)
                )
            }
            Self::Resolved {
                revision,
                at,
                fixed,
                next,
            } => {
                let mut text = format!("{}, looked up {}", revision.as_str(), words::ago(*at));
                if *fixed {
                    text += ", for ever";
                } else if at.saturating_add(refresh.as_secs()) <= now() {
                    text += ", and again behind the next pull";
                }
                if let Some(next) = next {
                    text += &format!(
                        "\n            moves to {} when its packages are ready (seen {})",
                        next.revision.as_str(),
                        words::ago(next.since)
                    );
                }
                text
            }
        }
    }
}

impl PackageState {
    /// In words, and the end of the log if there is one.
    fn words(&self) -> (String, Vec<String>) {
        let again = |until: &Seconds| {
            if now() < *until {
                format!("tried again {} or later", words::ahead(*until))
            } else {
                "tried again by the next pull".to_owned()
            }
        };
        match self {
            Self::Ready { name } => (format!("ready: {name}"), Vec::new()),
            Self::Missing => ("missing".to_owned(), Vec::new()),
            Self::Making(Making { since, phase }) => (
                format!("being made since {}: {phase}", words::ago(*since)),
                Vec::new(),
            ),
            Self::NotFound { near } if near.is_empty() => ("not in the package set".to_owned(), Vec::new()),
            Self::NotFound { near } => (
                format!("not in the package set; near it are {}", near.join(", ")),
                Vec::new(),
            ),
            Self::Refused { reason, until } => (format!("refused: {reason}; {}", again(until)), Vec::new()),
            Self::Failed { reason, log, until } => {
                let lines: Vec<&str> = log.lines().collect();
                let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
                (
                    format!("failed: {reason}; {}", again(until)),
                    end.iter().map(|line| printable(line)).collect(),
                )
            }
        }
    }
}
