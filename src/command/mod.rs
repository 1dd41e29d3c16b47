//! The commands for operators: make images ready ([`warm`]), look at one ([`status`]), check the whole ([`doctor`]).
//!
//! A command line is read into a [`Command`] first, and nothing is opened before all of it is understood. What a command
//! found out is on stdout, what it is doing on stderr. Exit codes are those of sysexits.h where it has one.

pub mod doctor;
mod given;
mod help;
mod image;
mod look;
pub mod status;
mod terminal;
pub mod warm;
mod words;

use std::process::ExitCode;

use self::doctor::Doctor;
use self::given::Given;
use self::status::Status;
use self::warm::Warm;
use crate::config::Variables;
use crate::store::StoreError;

/// Something that was asked for failed.
const FAILED: u8 = 1;
/// Wrong use or configuration (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The store or the queue does not do its part (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// Time is up, and what was waited for may still come (`EX_TEMPFAIL`).
const LATE: u8 = 75;
/// Ended by Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Variables of the process, by name.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What a command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Answer requests.
    Serve,
    /// Print this text.
    Say(String),
    /// Make images ready.
    Warm(Warm),
    /// Tell what is known of an image.
    Status(Status),
    /// Check that everything is as it should be.
    Doctor(Doctor),
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Stop {
    code: u8,
    words: Vec<String>,
}

impl Command {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// What is wrong with them, in words; the exit code for it is [`USAGE`].
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let Some((command, rest)) = arguments.split_first() else {
            return Ok(Self::Serve);
        };
        match command.as_str() {
            "--help" | "-h" => return Ok(Self::Say(help::OVERVIEW.to_owned())),
            "--version" | "-V" | "version" => {
                return Ok(Self::Say(format!("laminix {}\n", env!("CARGO_PKG_VERSION"))));
            }
            "help" => return help_on(rest).map(Self::Say),
            _ => {}
        }
        let Some(text) = help::of(command) else {
            return Err(format!("`{command}` is no command.\n\n{}", help::USAGE));
        };
        if rest
            .iter()
            .take_while(|argument| *argument != "--")
            .any(|argument| argument == "--help" || argument == "-h")
        {
            return Ok(Self::Say(text.to_owned()));
        }
        let read = match command.as_str() {
            "warm" => Warm::parse(rest).map(Self::Warm),
            "status" => Status::parse(rest).map(Self::Status),
            "doctor" => Doctor::parse(rest).map(Self::Doctor),
            _ => Given::read(rest, &[], &[]).and_then(|given| given.no_words().map(|()| Self::Serve)),
        };
        read.map_err(|problem| format!("laminix {command}: {problem}\n`laminix help {command}` tells more."))
    }

    /// Does it, and says how it ended. Serving is not done here.
    pub async fn run(self, variables: &Lookup<'_>) -> ExitCode {
        let done = match self {
            Self::Serve => Ok(0),
            Self::Say(text) => {
                terminal::out(text.trim_end());
                Ok(0)
            }
            Self::Warm(warm) => Box::pin(warm.run(variables)).await,
            Self::Status(status) => Box::pin(status.run(variables)).await,
            Self::Doctor(doctor) => Ok(Box::pin(doctor.run(variables)).await),
        };
        match done {
            Ok(code) => ExitCode::from(code),
            Err(stop) => crate::log::exit(Err(stop.words), stop.code),
        }
    }
}

fn help_on(words: &[String]) -> Result<String, String> {
    match words {
        [] => Ok(help::OVERVIEW.to_owned()),
        [command] => help::of(command)
            .map(str::to_owned)
            .ok_or_else(|| format!("there is no help on `{command}`.\n\n{}", help::USAGE)),
        _ => Err("help is on one command at a time: laminix help COMMAND".to_owned()),
    }
}

impl Stop {
    /// Wrong use or configuration.
    fn usage(words: Vec<String>) -> Self {
        Self { code: USAGE, words }
    }

    /// Of a failure of the store or the queue.
    fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        let words = vec![
            words::in_full(error),
            "`laminix doctor` looks for the reason.".to_owned(),
        ];
        Self {
            code: UNAVAILABLE,
            words,
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::unavailable(&error)
    }
}

/// Reads a part of the configuration.
fn configured<T>(
    variables: &Lookup<'_>,
    read: impl FnOnce(&mut Variables<'_>) -> Option<T>,
) -> Result<T, Stop> {
    let mut variables = Variables::new(variables);
    let value = read(&mut variables);
    variables.finish(value).map_err(Stop::usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Command::parse(&words)
    }

    #[test]
    fn every_command_has_help_by_three_ways() {
        for command in ["serve", "warm", "status", "doctor"] {
            let texts = [
                format!("help {command}"),
                format!("{command} --help"),
                format!("{command} x -h"),
            ]
            .map(|line| match parse(&line) {
                Ok(Command::Say(text)) => text,
                other => panic!("{line}: {other:?}"),
            });
            assert!(texts[0] == texts[1] && texts[1] == texts[2], "{command}");
            assert!(
                texts[0].contains(&format!("usage: laminix {command}")),
                "{command}"
            );
            assert!(texts[0].contains("Examples"), "{command}");
            let listed = [format!("laminix {command} "), format!("laminix [{command}] ")];
            assert!(
                listed.iter().any(|line| help::OVERVIEW.contains(line)),
                "{command} is in the overview"
            );
            for line in texts[0].lines().chain(help::OVERVIEW.lines()) {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_and_where_to_read_on() {
        for (line, words) in [
            ("shine", "usage:"),
            ("help shine", "usage:"),
            ("help warm status", "one command"),
            ("serve now", "`now`"),
            ("warm", "which images"),
            ("warm git --fiel x", "--fiel"),
            ("warm git --file", "--file"),
            ("warm git --for 1h", "--wait"),
            ("warm git --wait --for ever", "`ever`"),
            ("warm git --wait=yes", "--wait"),
            ("status", "which image"),
            ("status a b", "one image"),
            ("doctor git", "`git`"),
            ("doctor --for 10s", "--worker"),
        ] {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(words), "{line}: {problem}");
        }
    }

    #[test]
    fn options_may_stand_anywhere() {
        for line in [
            "warm --wait git --for 30m --file list",
            "warm git --file=list --for=30m --wait",
            "warm --file list --for 30m --wait -- git",
        ] {
            let Ok(Command::Warm(warm)) = parse(line) else {
                panic!("{line}")
            };
            let expected = Warm {
                images: vec!["git".to_owned()],
                file: Some("list".to_owned()),
                wait: Some(std::time::Duration::from_secs(1800)),
            };
            assert_eq!(warm, expected, "{line}");
        }
        assert!(matches!(parse(""), Ok(Command::Serve)));
        assert!(matches!(parse("serve"), Ok(Command::Serve)));
    }
}
