//! Logging, the same for all processes of the project, and how they end.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// The variable that chooses what is logged, such as `debug` or `laminix=debug`; `info` by default.
const LOG: &str = "LAMINIX_LOG";

/// Starts logging to stderr: for people, or as JSON on Lambda and where `LAMINIX_LOG_FORMAT` is `json`.
pub fn init() {
    init_at("info");
}

/// The same, with what is logged where nobody chooses.
pub fn init_at(level: &str) {
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new(level));
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let json = match crate::config::environment("LAMINIX_LOG_FORMAT") {
        Some(format) => format == "json",
        None => crate::config::environment(crate::lambda::RUNTIME).is_some(),
    };
    let started = if json {
        builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    } else {
        builder.with_target(false).try_init()
    };
    // a second subscriber is refused: then there is one already
    drop(started);
}

/// Prints what is wrong, and says so in the exit code.
#[must_use]
pub fn exit(done: Result<(), Vec<String>>, code: u8) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            for problem in problems {
                eprintln!("{}", problem.trim_end());
            }
            ExitCode::from(code)
        }
    }
}
