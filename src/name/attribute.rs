//! Attribute paths.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NAME_LIMIT, NameError};

/// The path of an attribute in a package set, as it was asked for or as it was found: `python3Packages.numpy`.
///
/// Each level is a non-empty string of letters, digits, `_`, `-`, `+` and `'`, so the dotted form is unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Attribute(String);

impl Attribute {
    /// The levels, outermost first. There is at least one.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The dotted form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Attribute {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-+'".contains(&b);
        let good = text.len() <= NAME_LIMIT
            && text
                .split('.')
                .all(|level| !level.is_empty() && level.bytes().all(allowed));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Attribute)
        }
    }
}

impl TryFrom<String> for Attribute {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Attribute> for String {
    fn from(attribute: Attribute) -> Self {
        attribute.0
    }
}

/// An attribute that is written in this crate, not asked for.
pub(crate) fn constant(text: &str) -> Attribute {
    debug_assert!(text.parse::<Attribute>().is_ok());
    Attribute(text.to_owned())
}
