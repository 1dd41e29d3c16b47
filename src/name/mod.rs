//! Image names: from the path of a request to the attributes of a package set.
//!
//! A repository name follows the distribution spec ("Pulling manifests"): components of lower-case letters and
//! digits with `.`, `_`, `__` or dashes between them, parted by `/`. Each component is an attribute path, dots for
//! nesting. Leading components may be meta-packages. Order and repetition do not matter.
//!
//! Attributes that cannot be written in this grammar: those with `+`, `'` or other signs, with a leading or
//! trailing `_` or `-`, with `.` inside one level, and those that differ from another in nothing but case (the
//! first in byte order is found). A leading `_` before a digit may be left out (`7zz` finds `_7zz`), and capitals
//! are found by their lower-case form.

mod attribute;
mod tag;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

pub use self::attribute::Attribute;
pub(crate) use self::attribute::constant;
pub use self::tag::Tag;

/// What `shell` stands for: a shell that one can work in.
pub const SHELL: [&str; 4] = ["bashInteractive", "coreutils", "moreutils", "nano"];
/// What `builder` adds to `shell`: the package set's compilers.
pub const BUILDER: &str = "stdenv";

/// A name longer than this is refused: with a host before it, clients stop at 255 characters.
const NAME_LIMIT: usize = 255;

static NAME: LazyLock<Regex> = LazyLock::new(|| {
    let component = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*";
    pattern(&format!(r"\A{component}(?:/{component})*\z"))
});

#[expect(
    clippy::expect_used,
    reason = "the patterns are constants, and a test compiles each"
)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern compiles")
}

/// Why a name or a tag was refused, in words for the person who pulls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Outside the distribution spec's grammar for names.
    #[error("an image name is lower-case package names parted by slashes, such as `shell/git`")]
    Grammar,
    /// Only `arm64` or `amd64`: nothing to put in.
    #[error("the name asks for a system but for no package: add one, such as `{0}/hello`")]
    Empty(&'static str),
    /// Both `arm64` and `amd64`.
    #[error("an image is for one system: take `arm64` or `amd64`, not both")]
    TwoSystems,
    /// Outside the distribution spec's grammar for tags.
    #[error("a tag is up to 128 letters, digits, `.`, `_` and `-`, and starts with none of `.` and `-`")]
    Tag,
    /// Not an attribute path.
    #[error("an attribute path is names parted by dots, of letters, digits, `_`, `-`, `+` and `'`")]
    Attribute,
}

/// The systems that images are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum System {
    /// `x86_64-linux`, `amd64` to the container world.
    #[serde(rename = "x86_64-linux")]
    Amd64,
    /// `aarch64-linux`, `arm64` to the container world.
    #[serde(rename = "aarch64-linux")]
    Arm64,
}

impl System {
    /// Nix's name for it.
    #[must_use]
    pub fn nix(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux",
            Self::Arm64 => "aarch64-linux",
        }
    }

    /// The image config's `architecture` (Go's name for it).
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.nix())
    }
}

/// What a name asks for: attributes, each once and in order, for one system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image {
    system: System,
    attributes: BTreeSet<Attribute>,
}

impl Image {
    /// For which system.
    #[must_use]
    pub fn system(&self) -> System {
        self.system
    }

    /// The attributes asked for, meta-packages written out. Never empty.
    #[must_use]
    pub fn attributes(&self) -> &BTreeSet<Attribute> {
        &self.attributes
    }

    /// Reads a repository name; `default` is the system of a name that asks for none.
    ///
    /// # Errors
    /// [`NameError`], when the name is outside the grammar or asks for nothing.
    pub fn parse(name: &str, default: System) -> Result<Self, NameError> {
        if name.len() > NAME_LIMIT || !NAME.is_match(name) {
            return Err(NameError::Grammar);
        }
        let mut system = None;
        let mut attributes = BTreeSet::new();
        let mut components = name.split('/').peekable();
        while let Some(meta) = components.next_if(|c| Meta::of(c).is_some()).and_then(Meta::of) {
            match meta {
                Meta::Shell => attributes.extend(SHELL.map(constant)),
                Meta::Builder => attributes.extend(SHELL.into_iter().chain([BUILDER]).map(constant)),
                Meta::System(asked) if system.is_some_and(|s| s != asked) => {
                    return Err(NameError::TwoSystems);
                }
                Meta::System(asked) => system = Some(asked),
            }
        }
        for component in components {
            attributes.insert(component.parse()?);
        }
        let system = system.unwrap_or(default);
        if attributes.is_empty() {
            return Err(NameError::Empty(system.architecture()));
        }
        Ok(Self { system, attributes })
    }
}

/// The components that stand for something else when they lead a name.
enum Meta {
    Shell,
    Builder,
    System(System),
}

impl Meta {
    fn of(component: &str) -> Option<Self> {
        match component {
            "shell" => Some(Self::Shell),
            "builder" => Some(Self::Builder),
            "amd64" => Some(Self::System(System::Amd64)),
            "arm64" => Some(Self::System(System::Arm64)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(name: &str) -> Vec<String> {
        let image = Image::parse(name, System::Amd64).unwrap();
        image.attributes().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        assert_eq!(attributes("git/curl"), ["curl", "git"]);
        assert_eq!(attributes("curl/git/curl"), attributes("git/curl"));
        assert_eq!(
            attributes("xorg.xev/python3packages.numpy"),
            ["python3packages.numpy", "xorg.xev"]
        );
    }

    #[test]
    fn meta_packages_lead() {
        assert_eq!(attributes("shell"), SHELL);
        assert_eq!(
            attributes("builder"),
            ["bashInteractive", "coreutils", "moreutils", "nano", "stdenv"]
        );
        assert_eq!(attributes("shell/builder/shell"), attributes("builder"));
        assert_eq!(
            attributes("git/shell"),
            ["git", "shell"],
            "behind a package it is a package's name"
        );
        let image = Image::parse("arm64/shell/git", System::Amd64).unwrap();
        assert_eq!((image.system(), image.attributes().len()), (System::Arm64, 5));
        assert_eq!(
            Image::parse("shell/arm64/git", System::Amd64).unwrap().system(),
            System::Arm64
        );
        assert_eq!(
            Image::parse("git", System::Arm64).unwrap().system(),
            System::Arm64
        );
        assert_eq!(
            Image::parse("arm64", System::Amd64),
            Err(NameError::Empty("arm64"))
        );
        assert_eq!(
            Image::parse("arm64/amd64/git", System::Amd64),
            Err(NameError::TwoSystems)
        );
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "git/",
            "/git",
            "git//curl",
            "Git",
            "git+x",
            "a..b",
            ".git",
            "git.",
            "-git",
            "git-",
            "a___b",
            "git\n",
            "git curl",
            "gi%74",
            "é",
            "a/../b",
            "a|b",
            "${x}",
            &long,
        ] {
            assert_eq!(
                Image::parse(bad, System::Amd64),
                Err(NameError::Grammar),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn tags_and_attributes_have_a_grammar() {
        for good in ["latest", "nixos-26.05", "_x", &"a".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a/b", "a b", "a\n", "é", &"a".repeat(129)] {
            assert_eq!(bad.parse::<Tag>(), Err(NameError::Tag), "{bad:?}");
        }
        for bad in ["", ".", "a.", "a..b", "a b", "${a}", "a\"b", "a\n"] {
            assert_eq!(bad.parse::<Attribute>(), Err(NameError::Attribute), "{bad:?}");
        }
        assert_eq!(
            "python3Packages.g++"
                .parse::<Attribute>()
                .unwrap()
                .levels()
                .count(),
            2
        );
    }

    fn sorted(mut names: Vec<String>) -> Vec<String> {
        names.sort();
        names.dedup();
        names
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_name_or_is_not(text in "\\PC{0,40}", path in "([a-z0-9._/-]|shell/|arm64/){0,40}") {
            for text in [text, path] {
                let Ok(image) = Image::parse(&text, System::Amd64) else { continue };
                // what was understood is a name again, for the same image; behind a package, nothing is a meta-package
                let lower = |image: &Image| {
                    let attributes = image.attributes().iter().map(|attribute| attribute.as_str().to_lowercase());
                    attributes.filter(|attribute| attribute != "first").collect::<Vec<_>>()
                };
                let written = format!("{}/first/{}", image.system().architecture(), lower(&image).join("/"));
                // what a meta-package stands for is longer than its name
                if written.len() > NAME_LIMIT { continue }
                let again = Image::parse(written.trim_end_matches('/'), System::Arm64);
                proptest::prop_assert_eq!(again.map(|again| (again.system(), sorted(lower(&again)))), Ok((image.system(), sorted(lower(&image)))));
            }
        }
    }
}
