//! Where the bucket is: an S3 store's URL, read once.

use crate::address::Address;
use crate::aws::{Access, Keys};
use crate::store::Variables;

/// The variables of keys for the store alone. Lambda keeps the `AWS_` names for its own role, which the queue needs.
pub(crate) const ACCESS_KEY: &str = "LAMINIX_STORE_ACCESS_KEY";
/// The secret of the same.
pub(crate) const SECRET_KEY: &str = "LAMINIX_STORE_SECRET_KEY";

/// By what a service checks a body that is streamed to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// `x-amz-checksum-sha256`.
    Sha256,
    /// `Content-MD5`.
    Md5,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    /// Empty, or with a `/` at its end.
    prefix: String,
    pub(super) path_style: bool,
    pub(super) checksum: Checksum,
    pub(super) access: Access,
}

impl Place {
    pub(super) fn parse(rest: &str, variables: &Variables<'_>) -> Result<Self, String> {
        let mut address = Address::parse(rest)?;
        let endpoint = address.option("endpoint");
        if let Some(endpoint) = &endpoint
            && !["http://", "https://"]
                .iter()
                .any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(format!(
                "its endpoint `{endpoint}` must begin with https:// or http://"
            ));
        }
        let google = endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.trim_end_matches('/').ends_with("storage.googleapis.com"));
        let checksum = match address.option("checksum").as_deref() {
            Some("sha256") => Checksum::Sha256,
            Some("md5") => Checksum::Md5,
            None if google => Checksum::Md5,
            None => Checksum::Sha256,
            Some(other) => return Err(format!("its checksum must be sha256 or md5, and not `{other}`")),
        };
        let keys = match (variables(ACCESS_KEY), variables(SECRET_KEY)) {
            (Some(access), Some(secret)) => Some(Keys { access, secret }),
            (None, None) => None,
            _ => {
                return Err(format!(
                    "{ACCESS_KEY} and {SECRET_KEY} belong together, and one is not set"
                ));
            }
        };
        let prefix = match address.path.as_str() {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let place = Self {
            path_style: address.flag("path-style")?,
            access: Access {
                region: address
                    .option("region")
                    .or_else(|| google.then(|| "auto".to_owned())),
                endpoint,
                keys,
            },
            bucket: address.host.clone(),
            prefix,
            checksum,
        };
        address.finish()?;
        Ok(place)
    }

    /// The name of an object.
    pub(super) fn object(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_all_of_it() {
        let none: &Variables<'_> = &|_| None;
        let plain = Place::parse("bucket", none).unwrap();
        assert_eq!(
            (plain.object("k").as_str(), plain.path_style, plain.checksum),
            ("k", false, Checksum::Sha256)
        );
        let full = Place::parse("b/p/q?endpoint=http://127.0.0.1:9000&region=r&path-style", none).unwrap();
        assert_eq!((full.object("k").as_str(), full.path_style), ("p/q/k", true));
        assert_eq!(full.access.region.as_deref(), Some("r"));
        let google = Place::parse("b?endpoint=https://storage.googleapis.com&path-style", none).unwrap();
        assert_eq!(
            (google.checksum, google.access.region.as_deref()),
            (Checksum::Md5, Some("auto"))
        );
        for bad in [
            "",
            "b?endpoint=host",
            "b?checksum=crc",
            "b?pathstyle",
            "b?path-style=2",
        ] {
            assert!(Place::parse(bad, none).is_err(), "{bad}");
        }
        let half: &Variables<'_> = &|name| (name == ACCESS_KEY).then(|| "AK".to_owned());
        assert!(Place::parse("b", half).is_err());
        let both: &Variables<'_> = &|_| Some("K".to_owned());
        assert!(Place::parse("b", both).unwrap().access.keys.is_some());
    }
}
