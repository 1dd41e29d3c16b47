//! Presigned URLs of the file store: `/objects/blobs/sha256/<hex>?expires=<seconds>&signature=<hex>`.
//!
//! As with S3, a URL is good for one method and one object until it expires, and says so itself: the signature is an
//! HMAC-SHA256 over method, path and expiry. The key lies beside the objects, so all processes of a store share it. The
//! URL is relative: it works under whatever name the registry is reached by.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::digest::Digest;
use crate::record::Seconds;

/// The prefix of the store's own URLs.
pub const PREFIX: &str = "/objects/";

/// A URL is good for this long: clients begin a download at once, and ask the registry again to resume one.
pub(super) const LIFE: Duration = Duration::from_secs(15 * 60);

/// Signs and checks.
pub(super) struct Signer(Hmac<Sha256>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// What a URL turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Good, for this object.
    Good(Digest),
    /// Not signed by this store, for this method and object.
    Forged,
    /// Good once.
    Expired,
}

impl Signer {
    /// Reads the key, and makes one where there is none.
    pub(super) fn open(file: &Path) -> io::Result<Self> {
        let key = match fs::read(file) {
            Ok(key) if key.len() >= 32 => key,
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} is no key", file.display()),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(file),
            Err(error) => return Err(error),
        };
        Hmac::new_from_slice(&key).map(Self).map_err(io::Error::other)
    }

    /// Several processes may start at once: the first key stays.
    fn create(file: &Path) -> io::Result<Self> {
        let mut key = [0; 32];
        io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut key)?;
        let directory = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
        // a temporary file can be read by its owner alone
        let mut draft = tempfile::NamedTempFile::new_in(directory)?;
        draft.write_all(&key)?;
        draft.as_file().sync_all()?;
        match draft.persist_noclobber(file) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
        Self::open(file)
    }

    /// A URL for a GET of this blob.
    pub(super) fn sign(&self, digest: &Digest, now: SystemTime) -> String {
        let expires = seconds(now + LIFE);
        let signature = hex::encode(self.mac("GET", digest, expires).finalize().into_bytes());
        format!(
            "{PREFIX}blobs/sha256/{}?expires={expires}&signature={signature}",
            digest.hex()
        )
    }

    /// Judges the path and the query of a request.
    pub(super) fn check(&self, method: &str, path: &str, query: &str, now: SystemTime) -> Check {
        let field = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
        };
        let digest = path
            .strip_prefix(PREFIX)
            .and_then(|path| path.strip_prefix("blobs/sha256/"));
        let digest = digest.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let expires = field("expires").and_then(|text| text.parse::<Seconds>().ok());
        let signature = field("signature").and_then(|text| hex::decode(text).ok());
        let (Some(digest), Some(expires), Some(signature)) = (digest, expires, signature) else {
            return Check::Forged;
        };
        // compared in constant time
        if self
            .mac(method, &digest, expires)
            .verify_slice(&signature)
            .is_err()
        {
            Check::Forged
        } else if expires <= seconds(now) {
            Check::Expired
        } else {
            Check::Good(digest)
        }
    }

    fn mac(&self, method: &str, digest: &Digest, expires: Seconds) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(format!("{method}\n{digest}\n{expires}").as_bytes());
        mac
    }
}

fn seconds(time: SystemTime) -> Seconds {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_good_for_one_method_and_object_until_it_expires() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let signer = Signer::open(&file).unwrap();
        let (blob, other, now) = (Digest::of(b"a"), Digest::of(b"b"), SystemTime::now());
        let url = signer.sign(&blob, now);
        let (path, query) = url.split_once('?').unwrap();
        assert_eq!(signer.check("GET", path, query, now), Check::Good(blob));
        assert_eq!(
            Signer::open(&file).unwrap().check("GET", path, query, now),
            Check::Good(blob),
            "shared key"
        );
        assert_eq!(signer.check("HEAD", path, query, now), Check::Forged);
        assert_eq!(signer.check("GET", path, query, now + LIFE), Check::Expired);
        let moved = path.replace(&blob.hex(), &other.hex());
        assert_eq!(signer.check("GET", &moved, query, now), Check::Forged);
        let later = query.replacen("expires=1", "expires=2", 1);
        let unsigned = query.split('&').next().unwrap();
        for bad in [
            later.as_str(),
            unsigned,
            "",
            "expires=x&signature=00",
            &query[..query.len() - 2],
        ] {
            assert_eq!(signer.check("GET", path, bad, now), Check::Forged, "{bad}");
        }
        for bad in [
            "/objects/.key",
            "/objects/../x",
            "/objects/blobs/sha256/..",
            "/objects/",
        ] {
            assert_eq!(signer.check("GET", bad, query, now), Check::Forged, "{bad}");
        }
        fs::write(&file, "short").unwrap();
        assert!(Signer::open(&file).is_err());
    }
}
