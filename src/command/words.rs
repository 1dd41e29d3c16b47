//! Numbers, times and errors as people read them.

use std::time::Duration;

use crate::record::{Seconds, now};

/// `940 B`, `1.5 MB`, `2.0 GB`: powers of 1000, as clients show downloads.
pub(super) fn bytes(count: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", count / unit, count % unit * 10 / unit),
        None => format!("{count} B"),
    }
}

/// `3 s`, `4 min`, `2 h 10 min`, `5 days`.
pub(super) fn span(seconds: Seconds) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86400),
    }
}

/// How long ago that was.
pub(super) fn ago(at: Seconds) -> String {
    format!("{} ago", span(now().saturating_sub(at)))
}

/// In how long that will be.
pub(super) fn ahead(at: Seconds) -> String {
    format!("in {}", span(at.saturating_sub(now())))
}

/// `3 ms`, and `1.2 s` for what is slow.
pub(super) fn took(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        millis => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
    }
}

/// `1 job`, `2 jobs`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// An error with its causes.
pub(super) fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        // wrappers repeat what they wrap
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}

/// A URL without the name and password that it may hold.
pub(super) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        for (count, words) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_550_000, "1.5 MB"),
            (2_000_000_000, "2.0 GB"),
            (4_000_000_000_000, "4000.0 GB"),
        ] {
            assert_eq!(bytes(count), words);
        }
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (400_000, "4 days"),
        ] {
            assert_eq!(span(seconds), words);
        }
        assert_eq!(took(Duration::from_millis(1250)), "1.2 s");
    }

    #[test]
    fn a_password_in_a_url_is_left_out() {
        for (url, shown) in [
            ("git+https://u:p@host/x@y", "git+https://…@host/x@y"),
            ("git+https://token@host/x", "git+https://…@host/x"),
            ("https://host/x@y", "https://host/x@y"),
            ("channel:nixos-unstable", "channel:nixos-unstable"),
            ("s3://b?endpoint=http://h:1", "s3://b?endpoint=http://h:1"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
