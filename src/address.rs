//! URLs that name a service: `scheme://host/path?option=value&flag`. Stores and queues are such.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// A URL in its parts. Options that nobody takes are an error: a misspelt one must not be silently ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// What stands between `://` and the first `/`.
    pub(crate) host: String,
    /// The levels behind it, without empty ones at the beginning and the end.
    pub(crate) path: String,
    options: BTreeMap<String, String>,
}

impl Address {
    /// Reads what stands behind `scheme://`.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn parse(rest: &str) -> Result<Self, String> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        if host.is_empty() || host.contains(['@', '#', ' ']) {
            return Err("it has no name behind `://`".to_owned());
        }
        Ok(Self {
            host: host.to_owned(),
            path: path.trim_matches('/').to_owned(),
            options: options(query)?,
        })
    }

    /// Takes an option that has a value.
    pub(crate) fn option(&mut self, name: &str) -> Option<String> {
        self.options.remove(name).filter(|value| !value.is_empty())
    }

    /// Takes an option that is there or not.
    ///
    /// # Errors
    /// A sentence, when it has a value that is neither `true` nor `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.options.remove(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => Err(format!("`{name}` is there or not, and cannot be `{other}`")),
        }
    }

    /// All options must have been taken.
    ///
    /// # Errors
    /// A sentence with those that were not.
    pub(crate) fn finish(&self) -> Result<(), String> {
        if self.options.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.options.keys().map(|name| format!("`{name}`")).collect();
        Err(format!("it has no option {}", names.join(", ")))
    }
}

/// The options of a query, percent-decoded.
///
/// # Errors
/// A sentence.
pub(crate) fn options(query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut options = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("the value of `{name}` is not UTF-8"))?;
        if options.insert(name.to_owned(), value).is_some() {
            return Err(format!("`{name}` is there twice"));
        }
    }
    Ok(options)
}

/// A part of a URL, percent-decoded; none if it is not UTF-8 then.
pub(crate) fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_what_is_left_over_is_told() {
        let mut address =
            Address::parse("bucket/a/b/?endpoint=http%3A%2F%2Fh%3A9&path-style&region=r").unwrap();
        assert_eq!((address.host.as_str(), address.path.as_str()), ("bucket", "a/b"));
        assert_eq!(address.option("endpoint").as_deref(), Some("http://h:9"));
        assert!(address.flag("path-style").unwrap() && !address.flag("other").unwrap());
        assert!(address.finish().unwrap_err().contains("`region`"));
        assert_eq!(address.option("region").as_deref(), Some("r"));
        address.finish().unwrap();
        for bad in ["", "/x", "?a=b", "user@host", "b?a=1&a=2", "b?a=%ff"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        assert!(Address::parse("b?flag=maybe").unwrap().flag("flag").is_err());
    }
}
