//! Configuration: read once, from variables, into types that cannot be wrong.
//!
//! Nixery's variables are taken where ours are not set, so that one can be put in the place of the other. All problems are
//! told together.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::name::System;
use crate::source::Source;

/// The object store: `file:///directory`, `s3://bucket/prefix` or `gs://bucket/prefix`. Its credentials are variables too, which
/// [`crate::store::Store::open`] reads: those of Google's are in [`crate::store::gcs`].
pub const STORE: &str = "LAMINIX_STORE";
/// The queue: `file:///directory` or `sqs://host/account/name`.
pub const QUEUE: &str = "LAMINIX_QUEUE";
/// The package set: `path:…`, `git+https:…`, `git+file:…` or `channel:…`.
pub const SOURCE: &str = "LAMINIX_SOURCE";
/// The address to listen on, `127.0.0.1:5726` by default.
pub const LISTEN: &str = "LAMINIX_LISTEN";
/// The system of images whose name asks for none: `x86_64-linux` or `aarch64-linux`.
pub const SYSTEM: &str = "LAMINIX_SYSTEM";
/// A tag's revision is asked for anew after this time, `6h` by default.
pub const REFRESH: &str = "LAMINIX_REFRESH";
/// The time after which a request that waits is sent round again, `25s` by default.
pub const HOP: &str = "LAMINIX_HOP";
/// How often it is sent round, 8 times by default.
pub const HOPS: &str = "LAMINIX_HOPS";

const PORT: u16 = 5726;

/// A request that waits may wait for so long. (Clients give up after 30 s; what stands between may have other ideas.)
const HOP_TIMES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(900);

/// Go's clients, docker and containerd among them, follow so many redirects.
const MOST_HOPS: u32 = 9;

/// More than any time that is meant.
const LONGEST: Duration = Duration::from_secs(3650 * 86400);

/// What both the function and the worker have to know.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The store's URL.
    pub store: String,
    /// The queue's URL.
    pub queue: String,
    /// The package set.
    pub source: Source,
}

/// The configuration of the request function.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the package set comes from.
    pub source: Source,
    /// The store's URL.
    pub store: String,
    /// The queue's URL.
    pub queue: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The system of a name that asks for none.
    pub system: System,
    /// Revisions older than this are asked for anew.
    pub refresh: Duration,
    /// A request waits this long before it is sent round: less than the 30 s after which clients give up.
    pub hop: Duration,
    /// A request is sent round this often: Go's clients follow nine redirects.
    pub hops: u32,
}

/// Variables, by name. An empty one counts as not set.
pub struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'a> Variables<'a> {
    /// Variables of a process, or of a test.
    #[must_use]
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
        }
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// Notes something that is wrong.
    pub fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// The value of a variable, read by `parse`, or the default.
    pub fn read<T>(&mut self, name: &str, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        match self.get(name).map(|value| parse(&value)) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(problem)) => {
                self.problem(format!("{name}: {problem}"));
                default
            }
        }
    }

    /// What both sides have to know. Values that are missing are noted, and stand for nothing.
    pub fn shared(&mut self) -> Option<Shared> {
        let (store, queue, source) = (self.store(), self.queue(), self.source());
        Some(Shared {
            store: store?,
            queue: queue?,
            source: source?,
        })
    }

    /// The store's URL.
    pub fn store(&mut self) -> Option<String> {
        let store = self.get(STORE).or_else(|| {
            let (name, scheme) = match self.get("NIXERY_STORAGE_BACKEND")?.as_str() {
                "filesystem" => ("STORAGE_PATH", "file"),
                "gcs" => ("GCS_BUCKET", "gs"),
                _ => return None,
            };
            self.get(name).map(|place| format!("{scheme}://{place}"))
        });
        if store.is_none() {
            self.problem(format!(
                "{STORE} is not set: where are the objects? write file:///directory, s3://bucket or gs://bucket"
            ));
        }
        store
    }

    /// The queue's URL.
    pub fn queue(&mut self) -> Option<String> {
        let queue = self.get(QUEUE);
        if queue.is_none() {
            self.problem(format!(
                "{QUEUE} is not set: where do jobs go? write file:///directory or sqs://host/account/name"
            ));
        }
        queue
    }

    /// The system of a name that asks for none.
    pub fn system(&mut self) -> System {
        self.read(SYSTEM, System::Amd64, |text| match text {
            "x86_64-linux" => Ok(System::Amd64),
            "aarch64-linux" => Ok(System::Arm64),
            other => Err(format!("`{other}` is neither x86_64-linux nor aarch64-linux")),
        })
    }

    /// The age from which a tag is looked up anew.
    pub fn refresh(&mut self) -> Duration {
        self.read(REFRESH, Duration::from_secs(6 * 3600), duration)
    }

    /// The package set.
    pub fn source(&mut self) -> Option<Source> {
        let nixery = [
            ("NIXERY_CHANNEL", "channel:"),
            ("NIXERY_PKGS_REPO", "git+"),
            ("NIXERY_PKGS_PATH", "path:"),
        ];
        let named = self.get(SOURCE).map(|url| (SOURCE, url)).or_else(|| {
            nixery
                .iter()
                .find_map(|&(name, prefix)| self.get(name).map(|value| (name, format!("{prefix}{value}"))))
        });
        let Some((name, url)) = named else {
            self.problem(format!(
                "{SOURCE} is not set: which packages? write path:/directory, git+https://host/repository or \
                 channel:nixos-unstable"
            ));
            return None;
        };
        match url.parse() {
            Ok(source) => Some(source),
            Err(error) => {
                self.problem(format!("{name}: {error}"));
                None
            }
        }
    }

    /// The result, or all that was wrong with it.
    ///
    /// # Errors
    /// The problems, a sentence each.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<String>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            Some(_) | None => Err(self.problems),
        }
    }
}

impl Config {
    /// Reads the configuration of the request function.
    ///
    /// # Errors
    /// The problems, a sentence each.
    pub fn parse(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut variables = Variables::new(lookup);
        let shared = variables.shared();
        // a host that sets only the port, as Nixery's do, wants all its addresses
        let everywhere = |port: &str| {
            port.parse()
                .map(|port: u16| SocketAddr::from(([0, 0, 0, 0], port)))
        };
        let local = SocketAddr::from(([127, 0, 0, 1], PORT));
        let by_port = variables.read("PORT", local, |port| {
            everywhere(port).map_err(|_| format!("`{port}` is no port"))
        });
        let listen = variables.read(LISTEN, by_port, |text| {
            text.parse()
                .map_err(|_| format!("`{text}` is no address and port"))
        });
        let system = variables.system();
        let refresh = variables.refresh();
        let hop = variables.read(HOP, Duration::from_secs(25), |text| match duration(text)? {
            hop if HOP_TIMES.contains(&hop) => Ok(hop),
            _ => Err(format!(
                "`{text}` is no time to wait: write 0s to {}s",
                HOP_TIMES.end().as_secs()
            )),
        });
        let hops = variables.read(HOPS, 8, |text| match text.parse() {
            Ok(hops) if hops <= MOST_HOPS => Ok(hops),
            _ => Err(format!(
                "`{text}` is no number of redirects: clients follow {MOST_HOPS}"
            )),
        });
        let config = shared.map(|Shared { store, queue, source }| Self {
            source,
            store,
            queue,
            listen,
            system,
            refresh,
            hop,
            hops,
        });
        variables.finish(config)
    }
}

/// The variables of this process.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads `90`, `90s`, `25m`, `6h` or `7d`.
///
/// # Errors
/// A sentence.
pub fn duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is no time: write 90s, 25m, 6h or 7d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(problem()),
    };
    let number: u64 = digits.parse().map_err(|_| problem())?;
    number
        .checked_mul(unit)
        .map(Duration::from_secs)
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| {
            format!(
                "`{text}` is too long: {} days are the most",
                LONGEST.as_secs() / 86400
            )
        })
}

/// Reads `1048576`, `512M` or `4G` as bytes, powers of 1024.
///
/// # Errors
/// A sentence.
pub fn bytes(text: &str) -> Result<u64, String> {
    let problem = || format!("`{text}` is no size: write 512M or 4G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(problem()),
    };
    let number: u64 = digits.parse().map_err(|_| problem())?;
    number.checked_mul(unit).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        Config::parse(&|name| variables.get(name).map(|&value| value.to_owned()))
    }

    const PLACES: [(&str, &str); 2] = [(STORE, "file:///s"), (QUEUE, "file:///q")];

    #[test]
    fn all_problems_are_told_together() {
        let problems =
            parse(&[(REFRESH, "soon"), ("PORT", "http"), (SYSTEM, "x86"), (HOPS, "")]).unwrap_err();
        assert_eq!(problems.len(), 6, "{problems:#?}");
        for name in [STORE, QUEUE, SOURCE, REFRESH, "PORT", SYSTEM] {
            assert_eq!(
                problems
                    .iter()
                    .filter(|problem| problem.starts_with(name))
                    .count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn the_predecessors_variables_work() {
        for (name, value, source) in [
            ("NIXERY_CHANNEL", "nixos-unstable", "channel:nixos-unstable"),
            (
                "NIXERY_PKGS_REPO",
                "https://example.org/nixpkgs",
                "git+https://example.org/nixpkgs",
            ),
            ("NIXERY_PKGS_PATH", "/srv/nixpkgs", "path:/srv/nixpkgs"),
        ] {
            let config = parse(&[&PLACES[..], &[(name, value), ("PORT", "80")]].concat()).unwrap();
            assert_eq!(
                (
                    config.source.to_string().as_str(),
                    config.listen.to_string().as_str()
                ),
                (source, "0.0.0.0:80")
            );
        }
        for (backend, name, value, store) in [
            ("filesystem", "STORAGE_PATH", "/s", Some("file:///s")),
            ("gcs", "GCS_BUCKET", "nixery-layers", Some("gs://nixery-layers")),
            ("gcs", "STORAGE_PATH", "/s", None),
            ("s3", "GCS_BUCKET", "nixery-layers", None),
        ] {
            let nixery = [
                ("NIXERY_STORAGE_BACKEND", backend),
                (name, value),
                (QUEUE, "file:///q"),
                (SOURCE, "path:/x"),
            ];
            let parsed = parse(&nixery).ok().map(|config| config.store);
            assert_eq!(parsed.as_deref(), store, "{backend} {name}");
        }
        let ours = parse(&[&PLACES[..], &[(SOURCE, "path:/x"), ("NIXERY_CHANNEL", "y")]].concat()).unwrap();
        assert_eq!(ours.source.to_string(), "path:/x");
    }

    #[test]
    fn times_and_sizes_have_units() {
        for (text, seconds) in [
            ("90", Some(90)),
            ("25m", Some(1500)),
            ("6h", Some(21600)),
            ("7d", Some(604_800)),
            ("", None),
            ("1w", None),
            ("-1s", None),
            ("99999999999999999999h", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(duration(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        }
        assert_eq!(
            (bytes("4G"), bytes("512M").ok(), bytes("x").is_err()),
            (Ok(4 << 30), Some(512 << 20), true)
        );
    }
}
