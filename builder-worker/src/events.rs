//! Nix's progress, from `--log-format internal-json`: what is being built or fetched, and what it says last.
//!
//! None of this decides whether a build succeeded. A builder can print lines of the same form, and the counters in the
//! events are not to be relied on, so this has its own. Only the start of a build is taken as a fact, which Nix accepts
//! from nobody else. Error messages tell the failures of one run apart, where the exit code says that there are several
//! kinds.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;
use tokio::sync::mpsc;

use crate::claims::Progress;
use crate::nix::plain;

/// Activity types (`ActivityType` in Nix's logging.hh).
const COPY_PATH: u64 = 100;
const BUILD: u64 = 105;
/// Result types (`ResultType`), numbered apart from activities.
const LOG_LINE: u64 = 101;
const SET_PHASE: u64 = 104;
/// The level of an error message (`Verbosity`).
const ERROR: u64 = 0;

/// The most error messages that are kept.
const ERRORS: usize = 4;

/// The most of a line of log that is shown beside the phase.
const SHOWN: usize = 80;

/// What an error message says of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It took too long. From 2.29 on the message does not say which build did.
    Time,
    /// What was downloaded has another hash than the one that is stated.
    Hash,
    /// Anything else.
    Other,
}

/// A build that was begun.
#[derive(Debug)]
pub struct Activity {
    /// What was said of its end, if it was named at all.
    pub fault: Option<Fault>,
    name: String,
    number: usize,
    phase: String,
}

/// The events of one run.
#[derive(Debug)]
pub struct Events {
    progress: Progress,
    /// The builds that are expected, where others are to be reported.
    foreseen: Option<BTreeSet<String>>,
    unforeseen: Option<mpsc::Sender<String>>,
    builds: usize,
    fetches: usize,
    fetched: usize,
    /// By `.drv` path.
    activities: BTreeMap<String, Activity>,
    /// The last error messages, as plain text.
    errors: VecDeque<String>,
    /// Activity id → `.drv` path.
    ids: BTreeMap<u64, String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    action: &'a str,
    #[serde(default)]
    id: u64,
    #[serde(rename = "type", default)]
    kind: u64,
    #[serde(default)]
    fields: Vec<serde_json::Value>,
    #[serde(default)]
    level: u64,
    #[serde(borrow, default)]
    msg: Cow<'a, str>,
}

impl Events {
    /// Events of a run that is to build and to fetch so many, and to build nothing but what is foreseen.
    #[must_use]
    pub fn new(
        builds: usize,
        fetches: usize,
        foreseen: Option<BTreeSet<String>>,
        progress: Progress,
    ) -> Self {
        Self {
            progress,
            foreseen,
            unforeseen: None,
            builds,
            fetches,
            fetched: 0,
            activities: BTreeMap::new(),
            errors: VecDeque::new(),
            ids: BTreeMap::new(),
        }
    }

    /// How many builds were expected.
    #[must_use]
    pub fn expected(&self) -> usize {
        self.builds
    }

    /// The last error messages, whoever printed them.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().map(String::as_str)
    }

    /// Whether no build was begun.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.activities.is_empty()
    }

    /// The build of a derivation, if it was begun.
    #[must_use]
    pub fn activity(&self, drv: &str) -> Option<&Activity> {
        self.activities.get(drv)
    }

    /// Tells the first build that was not foreseen as it begins.
    pub fn report_unforeseen(&mut self, sender: mpsc::Sender<String>) {
        self.unforeseen = Some(sender);
    }

    /// Takes a line of stderr.
    pub fn line(&mut self, line: &[u8]) {
        let event = line
            .strip_prefix(b"@nix ")
            .and_then(|json| serde_json::from_slice::<Event<'_>>(json).ok());
        let Some(event) = event else { return };
        let text = event
            .fields
            .first()
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        match (event.action, event.kind) {
            ("start", BUILD) => self.begin(event.id, text),
            ("start", COPY_PATH) => {
                self.fetched += 1;
                let of = self.fetches.max(self.fetched);
                self.progress.say(format!(
                    "fetching {} ({} of {of})",
                    store_name(text),
                    self.fetched
                ));
            }
            ("result", SET_PHASE) => self.tell(event.id, |activity| activity.phase = shown(text), ""),
            ("result", LOG_LINE) => {
                self.tell(event.id, |_| {}, text);
            }
            ("msg", _) if event.level == ERROR => self.blame(&event.msg),
            (_, _) => {}
        }
    }

    fn blame(&mut self, message: &str) {
        let words: Vec<_> = message.split_whitespace().collect();
        let message = plain(words.join(" ").as_bytes());
        let named = message.find("/nix/store/").and_then(|at| {
            let rest = &message[at..];
            rest.find(".drv").map(|end| &rest[..end + ".drv".len()])
        });
        // what the run ends with names everything that failed
        let named = named.filter(|_| !message.contains("error: build of "));
        if let Some(activity) = named.and_then(|drv| self.activities.get_mut(drv)) {
            // a builder may have said something of the kind before: the last word is Nix's
            activity.fault = Some(if message.contains("hash mismatch") {
                Fault::Hash
            } else if message.contains("timed out after") {
                Fault::Time
            } else {
                Fault::Other
            });
        }
        if self.errors.len() == ERRORS {
            self.errors.pop_front();
        }
        self.errors.push_back(message.chars().take(500).collect());
    }

    fn begin(&mut self, id: u64, drv: &str) {
        if self
            .foreseen
            .as_ref()
            .is_some_and(|foreseen| !foreseen.contains(drv))
        {
            // one report stops the run, so that there is no room for a second does not matter
            if let Some(unforeseen) = self.unforeseen.take() {
                drop(unforeseen.try_send(drv.to_owned()));
            }
        }
        let number = self.activities.len() + 1;
        self.builds = self.builds.max(number);
        let name = store_name(drv).trim_end_matches(".drv").to_owned();
        let activity = Activity {
            fault: None,
            name,
            number,
            phase: String::new(),
        };
        self.activities.insert(drv.to_owned(), activity);
        self.ids.insert(id, drv.to_owned());
        self.tell(id, |_| {}, "");
    }

    fn tell(&mut self, id: u64, change: impl FnOnce(&mut Activity), said: &str) {
        let Some(activity) = self.ids.get(&id).and_then(|drv| self.activities.get_mut(drv)) else {
            return;
        };
        change(activity);
        let mut phase = format!(
            "building {} ({} of {})",
            activity.name, activity.number, self.builds
        );
        for part in [activity.phase.as_str(), &shown(said)] {
            if !part.is_empty() {
                phase = format!("{phase}: {part}");
            }
        }
        self.progress.say(phase);
    }
}

fn shown(text: &str) -> String {
    // a line can have many thousands of characters
    let start = &text[..text.floor_char_boundary(20 * SHOWN)];
    plain(start.as_bytes())
        .lines()
        .last()
        .unwrap_or_default()
        .chars()
        .take(SHOWN)
        .collect()
}

/// What follows the hash in the last component of a path.
fn store_name(path: &str) -> &str {
    let base = path.rsplit('/').next().unwrap_or(path);
    base.get(33..).unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/00000000000000000000000000000000-git-2.47.0.drv";

    #[test]
    fn a_build_tells_its_phase_and_its_last_line() {
        let progress = Progress::new();
        let mut events = Events::new(3, 0, None, progress.clone());
        let line = |events: &mut Events, json: &str| events.line(format!("@nix {json}").as_bytes());
        line(
            &mut events,
            &format!(r#"{{"action":"start","id":7,"type":105,"fields":["{DRV}","",1,1],"text":"x"}}"#),
        );
        assert_eq!(progress.phase(), "building git-2.47.0 (1 of 3)");
        line(
            &mut events,
            r#"{"action":"result","id":7,"type":104,"fields":["configurePhase"]}"#,
        );
        line(
            &mut events,
            r#"{"action":"result","id":7,"type":101,"fields":["\u001b[1mchecking\u001b[0m"]}"#,
        );
        assert_eq!(
            progress.phase(),
            "building git-2.47.0 (1 of 3): configurePhase: checking"
        );
        // the same number is progress where it is a result
        line(
            &mut events,
            r#"{"action":"result","id":7,"type":105,"fields":[1,3,1,1]}"#,
        );
        assert_eq!(events.activities.len(), 1);
    }

    #[test]
    fn a_build_is_blamed_for_what_every_version_says_of_it() {
        let other = "/nix/store/00000000000000000000000000000001-other.drv";
        for (message, fault) in [
            (
                format!("builder for '{DRV}' failed with exit code 3"),
                Some(Fault::Other),
            ),
            (
                format!("Cannot build '{DRV}'.\\n Reason: builder failed"),
                Some(Fault::Other),
            ),
            (
                format!("hash mismatch in fixed-output derivation '\\u001b[35;1m{DRV}\\u001b[0m':\\n got"),
                Some(Fault::Hash),
            ),
            (
                format!("building of '{DRV}!out' from .drv file timed out after 3 seconds"),
                Some(Fault::Time),
            ),
            ("timed out after 3 seconds".to_owned(), None),
            (format!("build of '{DRV}', '{other}' failed"), None),
            (format!("builder for '{other}' failed"), None),
        ] {
            let mut events = Events::new(1, 0, None, Progress::new());
            for json in [
                format!(r#"{{"action":"start","id":7,"type":105,"fields":["{DRV}"]}}"#),
                format!(r#"{{"action":"msg","level":1,"msg":"warning: {DRV}"}}"#),
                format!(r#"{{"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m {message}"}}"#),
            ] {
                events.line(format!("@nix {json}").as_bytes());
            }
            assert_eq!(events.activity(DRV).unwrap().fault, fault, "{message}");
            assert_eq!(events.errors().count(), 1);
        }
    }

    #[tokio::test]
    async fn a_build_that_was_not_foreseen_is_reported_once() {
        let (sender, mut unforeseen) = mpsc::channel(1);
        let mut events = Events::new(1, 0, Some(BTreeSet::from([DRV.to_owned()])), Progress::new());
        events.report_unforeseen(sender);
        for drv in [DRV, "first", "second"] {
            let json = format!(r#"{{"action":"start","id":7,"type":105,"fields":["{drv}"]}}"#);
            events.line(format!("@nix {json}").as_bytes());
        }
        assert_eq!(unforeseen.recv().await.as_deref(), Some("first"));
        assert_eq!(unforeseen.recv().await, None);
    }

    #[test]
    fn nonsense_is_passed_over() {
        let progress = Progress::new();
        let mut events = Events::new(0, 0, None, progress.clone());
        for line in [
            &b"@nix {"[..],
            b"@nix",
            b"\xff\xfe",
            b"@nix {\"action\":\"result\",\"id\":-1}",
            b"GC Warning: x",
            b"@nix {\"action\":\"result\",\"id\":9,\"type\":101,\"fields\":[{}]}",
            b"@nix {\"action\":\"msg\",\"level\":0,\"msg\":\"x\"}",
        ] {
            events.line(line);
        }
        assert_eq!(progress.phase(), "starting");
    }
}
