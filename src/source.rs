//! Sources: where a package set comes from, and how a tag names a revision of it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::Tag;

const HTTPS: &str = "https://";

/// Where the package set comes from. Its text form is a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// `path:/absolute/directory`: a package set on this machine. Its revision is a hash of its content.
    Path(PathBuf),
    /// `git+https://…` or `git+file:///…`: revisions are commits.
    Git(GitUrl),
    /// `channel:nixos-unstable`: revisions are the nixpkgs commits that the channel has released.
    Channel(ChannelName),
}

/// The URL of a git repository, as git takes it: `https://…` or `file:///…`. A name and password in it are kept apart:
/// they are no part of what the source is, and reach neither keys nor jobs nor logs.
#[derive(Clone)]
pub struct GitUrl {
    bare: String,
    login: Option<String>,
}

impl GitUrl {
    /// As git takes it, without name and password.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.bare
    }

    /// Whether the repository is on this machine.
    #[must_use]
    pub fn is_here(&self) -> bool {
        !self.bare.starts_with(HTTPS)
    }

    /// The URL with name and password, in the form of git-credential-store: one line of its file.
    #[must_use]
    pub fn credential(&self) -> Option<String> {
        let login = self.login.as_ref()?;
        let colon = if login.contains(':') { "" } else { ":" };
        let rest = self.bare.strip_prefix(HTTPS)?;
        let host = rest.split('/').next()?;
        Some(format!("{HTTPS}{login}{colon}@{host}"))
    }
}

impl FromStr for GitUrl {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        // what cannot be read may hold a password, and is not repeated
        let refused = || SourceError::Form("git+…".to_owned());
        let bare = |url: &str| Self {
            bare: url.to_owned(),
            login: None,
        };
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refused());
        }
        if text.starts_with("file:///") {
            return Ok(bare(text));
        }
        let rest = text.strip_prefix(HTTPS).ok_or_else(refused)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (url, host) = match rest[..end].rsplit_once('@') {
            Some((login, host)) => (
                Self {
                    bare: format!("{HTTPS}{}", &rest[login.len() + 1..]),
                    login: Some(login.to_owned()).filter(|login| !login.is_empty()),
                },
                host,
            ),
            None => (bare(text), &rest[..end]),
        };
        if host.is_empty() { Err(refused()) } else { Ok(url) }
    }
}

impl PartialEq for GitUrl {
    fn eq(&self, other: &Self) -> bool {
        self.bare == other.bare
    }
}

impl Eq for GitUrl {}

impl Hash for GitUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bare.hash(state);
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bare.fmt(f)
    }
}

/// A channel's name: letters, digits, `.` and `-`, never first a `-` or a `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChannelName(String);

impl ChannelName {
    /// As channels.nixos.org lists it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not one of the URL forms.
    #[error(
        "`{0}` is no source: write path:/absolute/directory, git+https://host/repository, \
         git+file:///repository or channel:nixos-unstable"
    )]
    Form(String),
    /// The tag cannot name a revision of this kind of source.
    #[error("{0}")]
    Tag(&'static str),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let refused = || SourceError::Form(text.to_owned());
        if let Some(path) = text.strip_prefix("path:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Path(path))
            } else {
                Err(refused())
            };
        }
        if let Some(url) = text.strip_prefix("git+") {
            return url.parse().map(Self::Git);
        }
        let name = text.strip_prefix("channel:").ok_or_else(refused)?;
        channel(name).map(Self::Channel).ok_or_else(refused)
    }
}

fn channel(name: &str) -> Option<ChannelName> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    good.then(|| ChannelName(name.to_owned()))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "path:{}", path.display()),
            Self::Git(url) => write!(f, "git+{}", url.bare),
            Self::Channel(name) => write!(f, "channel:{}", name.0),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = SourceError;

    fn try_from(text: String) -> Result<Self, SourceError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

/// What a tag asks of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `latest`: the directory as it is, the repository's default branch, the channel itself.
    Latest,
    /// A branch or a tag of a repository, or another channel.
    Named(String),
    /// A commit, by 12 to 40 hex digits.
    Commit(String),
}

impl Source {
    /// A short name of the source for keys: the first 32 hex digits of the hash of its URL.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hex = Digest::of(self.to_string().as_bytes()).hex();
        hex.truncate(32);
        hex
    }

    /// Reads a tag as this source's kind takes it.
    ///
    /// # Errors
    /// [`SourceError::Tag`], in words for the person who pulls, when such a tag can never exist here.
    pub fn reference(&self, tag: &Tag) -> Result<Reference, SourceError> {
        let tag = tag.as_str();
        if tag == "latest" {
            return Ok(Reference::Latest);
        }
        // the fallback tags of clients that find no referrers API: never a branch, and they must stay cheap
        if tag.strip_prefix("sha256-").is_some_and(|rest| rest.len() >= 64) {
            return Err(SourceError::Tag(
                "there are no signatures or attestations under such a tag here",
            ));
        }
        let commit = (12..=40).contains(&tag.len())
            && tag
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match self {
            Self::Path(_) => Err(SourceError::Tag(
                "this registry serves a directory, whose only tag is `latest`",
            )),
            Self::Git(_) | Self::Channel(_) if commit => Ok(Reference::Commit(tag.to_owned())),
            Self::Git(_) => Ok(Reference::Named(tag.to_owned())),
            Self::Channel(_) => match channel(tag) {
                Some(name) => Ok(Reference::Named(name.0)),
                None => Err(SourceError::Tag(
                    "this registry serves channels: a tag is a channel's name or a commit",
                )),
            },
        }
    }
}

/// An immutable state of a package set: a commit (40 hex digits) or a hash of content (64).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

/// The text is no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a revision is 40 or 64 lower-case hex digits")]
pub struct RevisionError;

impl Revision {
    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let hex = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RevisionError)
        }
    }
}

impl TryFrom<String> for Revision {
    type Error = RevisionError;

    fn try_from(text: String) -> Result<Self, RevisionError> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_url() {
        for good in [
            "path:/srv/set",
            "git+https://example.org/nixpkgs",
            "git+file:///srv/repo.git",
            "channel:nixos-26.05",
        ] {
            assert_eq!(good.parse::<Source>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "path:set",
            "path:",
            "git+https://",
            "git+ssh://x/y",
            "git+file://x",
            "https://x/y",
            "channel:",
            "channel:-x",
            "channel:a/b",
            "channel:a b",
            "git+https://x/y z",
            "git+https://x/\ny",
            "git+--upload-pack=x",
        ] {
            assert!(bad.parse::<Source>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_kept_apart() {
        for (text, bare, credential) in [
            (
                "https://u:p@host/x@y",
                "https://host/x@y",
                Some("https://u:p@host"),
            ),
            (
                "https://token@host:8/x",
                "https://host:8/x",
                Some("https://token:@host:8"),
            ),
            ("https://@host/x", "https://host/x", None),
            ("https://host/x@y", "https://host/x@y", None),
        ] {
            let source: Source = format!("git+{text}").parse().unwrap();
            let plain: Source = format!("git+{bare}").parse().unwrap();
            assert_eq!(source.to_string(), format!("git+{bare}"));
            assert_eq!(
                (&source, source.id()),
                (&plain, plain.id()),
                "who logs in is no part of what it is"
            );
            assert_eq!(format!("{source:?}"), format!("{plain:?}"));
            let Source::Git(url) = source else {
                panic!("{text}")
            };
            assert_eq!(url.credential().as_deref(), credential, "{text}");
        }
        let refused = "git+https://u:secret@".parse::<Source>().unwrap_err();
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }

    #[test]
    fn a_tag_means_what_its_source_says() {
        let of = |source: &str, tag: &str| {
            source
                .parse::<Source>()
                .unwrap()
                .reference(&tag.parse().unwrap())
                .ok()
        };
        let sha = "0123456789abcdef0123456789abcdef01234567";
        for source in ["path:/x", "git+file:///x", "channel:nixos-26.05"] {
            assert_eq!(of(source, "latest"), Some(Reference::Latest));
            assert_eq!(of(source, &format!("sha256-{}", "0".repeat(64))), None);
        }
        assert_eq!(of("path:/x", "main"), None);
        assert_eq!(of("git+file:///x", "main"), Some(Reference::Named("main".into())));
        assert_eq!(of("git+file:///x", sha), Some(Reference::Commit(sha.into())));
        assert_eq!(
            of("git+file:///x", &sha[..12]),
            Some(Reference::Commit(sha[..12].into()))
        );
        assert_eq!(
            of("git+file:///x", &sha[..11]),
            Some(Reference::Named(sha[..11].into()))
        );
        assert_eq!(
            of("channel:nixos-26.05", "nixos-unstable"),
            Some(Reference::Named("nixos-unstable".into()))
        );
        assert_eq!(of("channel:nixos-26.05", "a_b"), None);
    }
}
