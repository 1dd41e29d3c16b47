//! The worker's configuration: read once, from variables.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use laminix::config::{Shared, Variables, bytes, duration};
use laminix::record::Compression;
use laminix::source::Source;

use crate::nix::{Sandbox, Settings};
use crate::source::{ChannelHosts, Patterns};

/// Where the worker keeps its own files: `/var/lib/laminix` by default.
pub const STATE: &str = "LAMINIX_STATE";
/// Jobs at once, 2 by default.
pub const JOBS: &str = "LAMINIX_JOBS";
/// `gzip` (the default) or `zstd`: what new layers are compressed with.
pub const COMPRESSION: &str = "LAMINIX_COMPRESSION";
/// `required` (the default), `if-possible` or `off`.
pub const SANDBOX: &str = "LAMINIX_SANDBOX";
/// Binary caches, parted by spaces; `none` for none. cache.nixos.org by default, for channels and repositories.
pub const SUBSTITUTERS: &str = "LAMINIX_SUBSTITUTERS";
/// The keys of the binary caches, parted by spaces.
pub const TRUSTED_KEYS: &str = "LAMINIX_TRUSTED_KEYS";
/// The time that the build of a derivation may take, `2h` by default.
pub const BUILD_TIME: &str = "LAMINIX_BUILD_TIME";
/// The address space that each process of a build may use, such as `8G`; no limit by default.
pub const BUILD_MEMORY: &str = "LAMINIX_BUILD_MEMORY";
/// The derivations that may be compiled for one job where there are binary caches, 100 by default.
pub const BUILD_LIMIT: &str = "LAMINIX_BUILD_LIMIT";
/// The time that an evaluation may take, `5m` by default.
pub const EVALUATION_TIME: &str = "LAMINIX_EVALUATION_TIME";
/// The heap that an evaluation may use, `4G` by default.
pub const EVALUATION_MEMORY: &str = "LAMINIX_EVALUATION_MEMORY";
/// The argument `config` of the package set, as JSON: `{"allowUnfree":true}`.
pub const NIXPKGS_CONFIG: &str = "LAMINIX_NIXPKGS_CONFIG";
/// The branches and tags that are served, as glob patterns: all by default.
pub const BRANCHES: &str = "LAMINIX_BRANCHES";
/// The host of channels, `https://channels.nixos.org` by default.
pub const CHANNELS: &str = "LAMINIX_CHANNELS";
/// The repository of the channels' commits, `https://github.com/NixOS/nixpkgs` by default.
pub const NIXPKGS: &str = "LAMINIX_NIXPKGS";
/// The time that running jobs have after a request to stop, `90s` by default.
pub const DRAIN: &str = "LAMINIX_DRAIN";
/// The address and port of the worker's health and metrics, such as `127.0.0.1:5727`; none by default.
pub const STATUS: &str = "LAMINIX_STATUS";
/// The free space that the disk of the Nix store is to have, such as `20G`; 0, the default: it is never collected.
pub const FREE: &str = "LAMINIX_FREE";
/// The packages that are made ready before a tag moves: 500 by default, 0 for a directory, which is edited by whoever
/// pulls from it.
pub const CARRY: &str = "LAMINIX_CARRY";
/// The time that a tag is held back for that, `2h` by default; less than the 12 h that SQS lets a message be at work.
pub const CARRY_TIME: &str = "LAMINIX_CARRY_TIME";

const CACHE: &str = "https://cache.nixos.org";
const CACHE_KEY: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

/// The configuration of a worker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Store, queue and source.
    pub shared: Shared,
    /// The worker's own directory.
    pub state: PathBuf,
    /// Jobs at once.
    pub jobs: NonZero<usize>,
    /// What new layers are compressed with.
    pub compression: Compression,
    /// What may be served of a repository.
    pub branches: Patterns,
    /// Where channels are found.
    pub hosts: ChannelHosts,
    /// How Nix is to be.
    pub nix: Settings,
    /// The time that running jobs have after a request to stop.
    pub drain: Duration,
    /// Where health and metrics are asked for.
    pub status: Option<SocketAddr>,
    /// The bytes that the disk of the Nix store is to have free; 0: it is never collected.
    pub free: u64,
    /// The packages that are made ready before a tag moves.
    pub carry: usize,
    /// The time that a tag is held back for that.
    pub carry_time: Duration,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// The problems, a sentence each.
    pub fn parse(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut variables = Variables::new(lookup);
        let shared = variables.shared();
        let state = variables.read(STATE, PathBuf::from("/var/lib/laminix"), |path| {
            let path = PathBuf::from(path);
            if path.is_absolute() {
                Ok(path)
            } else {
                Err("the directory must be absolute".to_owned())
            }
        });
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let two = NonZero::<usize>::MIN.saturating_add(1);
        let jobs = variables.read(JOBS, two, |text| {
            text.parse().map_err(|_| format!("`{text}` is no number of jobs"))
        });
        let compression = variables.read(COMPRESSION, Compression::Gzip, |text| match text {
            "gzip" => Ok(Compression::Gzip),
            "zstd" => Ok(Compression::Zstd),
            other => Err(format!("`{other}` is neither gzip nor zstd")),
        });
        let sandbox = variables.read(SANDBOX, Sandbox::Required, |text| match text {
            "required" => Ok(Sandbox::Required),
            "if-possible" => Ok(Sandbox::IfPossible),
            "off" => Ok(Sandbox::Off),
            other => Err(format!("`{other}` is none of required, if-possible and off")),
        });
        // a directory of one's own has no cache: nobody else has built it
        let cached = !matches!(
            shared.as_ref().map(|shared| &shared.source),
            Some(Source::Path(_))
        );
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let default = if cached {
            vec![CACHE.to_owned()]
        } else {
            Vec::new()
        };
        let substituters = variables.read(SUBSTITUTERS, default, |text| {
            Ok(if text == "none" { Vec::new() } else { words(text) })
        });
        let trusted_keys = variables.read(TRUSTED_KEYS, vec![CACHE_KEY.to_owned()], |text| Ok(words(text)));
        let build_time = variables.read(BUILD_TIME, Duration::from_secs(2 * 3600), duration);
        // Nixery's limit, in seconds, is of a whole image: it may not be less than that for one derivation
        let build_time = variables.read("NIX_TIMEOUT", build_time, |text| {
            duration(text).map(|time| time.max(build_time))
        });
        let build_memory = variables.read(BUILD_MEMORY, None, |text| bytes(text).map(Some));
        let build_limit = variables.read(BUILD_LIMIT, 100, |text| {
            text.parse().map_err(|_| format!("`{text}` is no number"))
        });
        let evaluation_time = variables.read(EVALUATION_TIME, Duration::from_secs(300), duration);
        let evaluation_memory = variables.read(EVALUATION_MEMORY, 4 << 30, bytes);
        let config = variables.read(
            NIXPKGS_CONFIG,
            serde_json::json!({}),
            |text| match serde_json::from_str(text) {
                Ok(config @ serde_json::Value::Object(_)) => Ok(config),
                Ok(_) | Err(_) => Err("it must be a JSON object, such as {\"allowUnfree\":true}".to_owned()),
            },
        );
        let branches = variables.read(BRANCHES, Patterns::all(), |text| {
            Patterns::parse(text).map_err(|error| error.to_string())
        });
        let url = |text: &str| Ok(text.trim_end_matches('/').to_owned());
        let hosts = ChannelHosts {
            channels: variables.read(CHANNELS, "https://channels.nixos.org".to_owned(), url),
            nixpkgs: variables.read(NIXPKGS, "https://github.com/NixOS/nixpkgs".to_owned(), url),
        };
        let drain = variables.read(DRAIN, Duration::from_secs(90), duration);
        let status = variables.read(STATUS, None, |text| {
            let address = text.parse();
            address
                .map(Some)
                .map_err(|_| format!("`{text}` is no address and port: write 127.0.0.1:5727"))
        });
        let free = variables.read(FREE, 0, bytes);
        let carry = variables.read(CARRY, if cached { 500 } else { 0 }, |text| {
            text.parse()
                .map_err(|_| format!("`{text}` is no number of packages"))
        });
        let carry_time = variables.read(CARRY_TIME, Duration::from_secs(2 * 3600), duration);
        let nix = Settings {
            state: state.clone(),
            substituters,
            trusted_keys,
            sandbox,
            jobs: cores,
            evaluation_time,
            evaluation_memory,
            build_time,
            build_memory,
            build_limit,
            config,
        };
        let config = shared.map(|shared| Self {
            shared,
            state,
            jobs,
            compression,
            branches,
            hosts,
            nix,
            drain,
            status,
            free,
            carry,
            carry_time,
        });
        variables.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let mut variables = vec![("LAMINIX_STORE", "file:///s"), ("LAMINIX_QUEUE", "file:///q")];
        variables.extend_from_slice(more);
        Config::parse(&|name| {
            variables
                .iter()
                .rev()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_sandbox_is_required_unless_the_operator_says_otherwise() {
        assert_eq!(
            parse(&[("LAMINIX_SOURCE", "path:/x")]).unwrap().nix.sandbox,
            Sandbox::Required
        );
        assert!(parse(&[("LAMINIX_SOURCE", "path:/x"), (SANDBOX, "no")]).is_err());
    }

    #[test]
    fn binary_caches_are_for_what_others_have_built() {
        assert!(
            parse(&[("LAMINIX_SOURCE", "path:/x")])
                .unwrap()
                .nix
                .substituters
                .is_empty()
        );
        assert_eq!(
            parse(&[("LAMINIX_SOURCE", "channel:nixos-unstable")])
                .unwrap()
                .nix
                .substituters,
            [CACHE]
        );
        let none = parse(&[
            ("LAMINIX_SOURCE", "channel:nixos-unstable"),
            (SUBSTITUTERS, "none"),
        ])
        .unwrap();
        assert!(none.nix.substituters.is_empty());
    }

    #[test]
    fn tags_of_a_directory_move_at_once() {
        for (source, carry) in [("path:/x", 0), ("channel:nixos-unstable", 500)] {
            assert_eq!(parse(&[("LAMINIX_SOURCE", source)]).unwrap().carry, carry);
        }
        let set = parse(&[("LAMINIX_SOURCE", "path:/x"), (CARRY, "7"), (STATUS, "[::1]:1")]).unwrap();
        assert_eq!((set.carry, set.status.unwrap().port()), (7, 1));
    }

    #[test]
    fn all_problems_are_told_together() {
        let wrong = [
            (JOBS, "0"),
            (STATE, "x"),
            (NIXPKGS_CONFIG, "[]"),
            (BUILD_TIME, "soon"),
            (BUILD_MEMORY, "lots"),
            (DRAIN, "a while"),
            (STATUS, "9726"),
            (FREE, "some"),
            (CARRY, "all"),
            (CARRY_TIME, "long"),
        ];
        let problems = parse(&wrong).unwrap_err();
        assert_eq!(problems.len(), 11, "{problems:#?}");
    }
}
