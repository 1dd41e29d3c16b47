//! Words of evaluation for the person who pulls: our own, and those of the package set.

use std::path::Path;

use laminix::name::{Attribute, System};

use crate::nix::plain;

/// The most of a package set's own words that reaches a person.
const WORDS: usize = 400;

/// Why a package is not to be had, after the reason in its meta.
pub(crate) fn refusal(
    reason: &str,
    name: &str,
    licenses: &[String],
    vulnerabilities: &[String],
    system: System,
) -> String {
    match reason {
        "unfree" if licenses.is_empty() => {
            format!("`{name}` is unfree, and this registry serves free software")
        }
        "unfree" => format!(
            "`{name}` is unfree ({}), and this registry serves free software",
            licenses.join(", ")
        ),
        "broken" => format!("`{name}` is marked as broken in the package set"),
        "insecure" => format!(
            "`{name}` is marked as insecure in the package set: {}",
            vulnerabilities.join(", ")
        ),
        "unsupported" => format!("`{name}` is not available for {system}"),
        other => format!("`{name}` is refused by the package set: {other}"),
    }
}

/// What an attribute is instead of a package.
pub(crate) fn not_a_package(attribute: &Attribute, what: &str, names: &[String]) -> String {
    let kind = match what {
        "set" => {
            let some: Vec<_> = names
                .iter()
                .take(3)
                .map(|name| format!("{attribute}.{}", name.to_lowercase()))
                .collect();
            let hint = if some.is_empty() {
                String::new()
            } else {
                format!(": name one of its members, such as {}", some.join(", "))
            };
            return format!("`{attribute}` is a set of packages, not a package{hint}");
        }
        "lambda" => "a function",
        "null" => "nothing for this system",
        "list" => "a list",
        other => return format!("`{attribute}` is a value of type {other}, not a package"),
    };
    format!("`{attribute}` is {kind}, not a package")
}

/// One line of what a package set says of itself.
pub(crate) fn line(text: &str) -> String {
    let mut line = plain(text.as_bytes())
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if let Some((at, _)) = line.char_indices().nth(WORDS) {
        line.truncate(at);
        line.push('…');
    }
    line
}

/// The message of the last error on stderr, without its trace and without paths of this machine.
pub(crate) fn last_words(stderr: &str, set: &Path) -> String {
    let text = plain(stderr.as_bytes());
    let at = text.rfind("error: ").map_or(0, |at| at + "error: ".len());
    let message = text[at..].lines().take_while(|text| {
        let text = text.trim_start();
        // where the error is, which only the set's author can use
        !text.is_empty()
            && !text.starts_with("at ")
            && !text.starts_with('…')
            && !text.starts_with("(use '--show-trace'")
    });
    let message = message.collect::<Vec<_>>().join(" ");
    let message = message.replace(&format!("{}/", set.display()), "");
    let words = line(&message);
    if words.is_empty() {
        "the evaluator ended without a word".to_owned()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_set_are_found_in_every_versions_output() {
        let set = Path::new("/state/trees/0/source");
        for (stderr, words) in [
            (
                "\u{1b}[31;1merror:\u{1b}[0m 'x' has been renamed to/replaced by 'y'\n(use '--show-trace' to show detailed location information)",
                "'x' has been renamed to/replaced by 'y'",
            ),
            (
                "error:\n       … while calling the 'throw' builtin\n         at /state/trees/0/source/a.nix:1:2:\n\n       error: 'x' was removed",
                "'x' was removed",
            ),
            (
                "error: Package ‘a’ in /state/trees/0/source/a.nix:1 is bad\n\n       at /x:1:1:\n 1| throw",
                "Package ‘a’ in a.nix:1 is bad",
            ),
            ("error: out of memory", "out of memory"),
            ("", "the evaluator ended without a word"),
        ] {
            assert_eq!(last_words(stderr, set), words);
        }
        assert_eq!(
            last_words(&format!("error: {}", "é".repeat(1000)), set)
                .chars()
                .count(),
            WORDS + 1
        );
    }
}
