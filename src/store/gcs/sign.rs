//! V4 signed URLs: <https://cloud.google.com/storage/docs/authentication/signatures> and, for what is signed,
//! <https://cloud.google.com/storage/docs/authentication/canonical-requests>.
//!
//! They are, byte by byte, those of Google's own library for Python: `src/tests/gcs/signed_urls.py` makes the table.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use http::Method;

use super::place::{Place, encode};
use crate::digest::Digest;
use crate::key::Key;

const ALGORITHM: &str = "GOOG4-RSA-SHA256";

/// A URL that needs only its signature.
#[derive(Debug)]
pub(super) struct Unsigned {
    /// What is signed.
    pub(super) text: String,
    url: String,
}

impl Unsigned {
    /// A GET or a HEAD of an object, from now on, for a while (a week at most).
    pub(super) fn new(
        method: &Method,
        place: &Place,
        key: &Key,
        email: &str,
        now: SystemTime,
        life: Duration,
    ) -> Self {
        let (date, time) = date_and_time(now);
        let stamp = format!("{date}T{time}Z");
        let scope = format!("{date}/auto/storage/goog4_request");
        let (path, host) = (place.path(key), place.host());
        // sorted by name, as the canonical request wants it
        let query = format!(
            "X-Goog-Algorithm={ALGORITHM}&X-Goog-Credential={}&X-Goog-Date={stamp}&X-Goog-Expires={}&X-Goog-SignedHeaders=host",
            encode(&format!("{email}/{scope}")),
            life.as_secs(),
        );
        let request = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let hash = Digest::of(request.as_bytes()).hex();
        Self {
            text: format!("{ALGORITHM}\n{stamp}\n{scope}\n{hash}"),
            url: format!("{}{path}?{query}", place.endpoint()),
        }
    }

    /// The URL with the signature of its text.
    pub(super) fn with(&self, signature: &[u8]) -> String {
        format!("{}&X-Goog-Signature={}", self.url, hex::encode(signature))
    }
}

/// `YYYYMMDD` and `HHMMSS` in UTC; times before 1970 count as 1970.
fn date_and_time(time: SystemTime) -> (String, String) {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let moment = DateTime::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    // it fails behind the year 9999, and an empty time is refused by Google
    let text = moment.fmt(DateTimeFormat::DateTime).unwrap_or_default();
    let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap_or_default();
    (date.replace('-', ""), time.replace(':', ""))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::SubjectPublicKeyInfoDer;
    use rustls::pki_types::pem::PemObject as _;
    use serde::Deserialize;

    use super::super::key::Account;
    use super::*;

    #[derive(Deserialize)]
    struct Row {
        store: String,
        digest: Digest,
        time: u64,
        life: u64,
        url: String,
    }

    #[derive(Deserialize)]
    struct Table {
        account: String,
        rows: Vec<Row>,
    }

    fn table() -> (Account, Vec<Row>) {
        let table: Table = serde_json::from_str(include_str!("../../tests/gcs/signed_urls.json")).unwrap();
        let pem = include_str!("../../tests/gcs/test_key.pem");
        (
            Account::new(table.account, pem, None, String::new()).unwrap(),
            table.rows,
        )
    }

    fn sign(account: &Account, row: &Row) -> (Unsigned, Vec<u8>) {
        let place = Place::parse(row.store.strip_prefix("gs://").unwrap()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(row.time);
        let life = Duration::from_secs(row.life);
        let unsigned = Unsigned::new(
            &Method::GET,
            &place,
            &Key::Blob(row.digest),
            &account.email,
            time,
            life,
        );
        let signature = account.sign(unsigned.text.as_bytes()).unwrap();
        (unsigned, signature)
    }

    #[test]
    fn urls_are_those_of_googles_library() {
        let (account, rows) = table();
        assert!(rows.len() >= 40, "{}", rows.len());
        for row in &rows {
            let (unsigned, signature) = sign(&account, row);
            assert_eq!(
                unsigned.with(&signature),
                row.url,
                "{} at {}",
                row.store,
                row.time
            );
        }
    }

    #[test]
    fn signatures_are_good_for_the_public_key_and_their_text_alone() {
        let (account, rows) = table();
        let pem = include_str!("../../tests/gcs/test_key.pub.pem");
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap();
        // RFC 5280, section 4.1: behind 24 bytes that say RSA, with 2048 bits, is the key itself
        let key = &info[24..];
        let algorithms = crate::connector::provider().signature_verification_algorithms;
        let (_, rsa) = algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == rustls::SignatureScheme::RSA_PKCS1_SHA256)
            .unwrap();
        for row in &rows {
            let (unsigned, signature) = sign(&account, row);
            let good = |text: &str| {
                rsa.iter()
                    .any(|rsa| rsa.verify_signature(key, text.as_bytes(), &signature).is_ok())
            };
            assert!(good(&unsigned.text), "{}", row.url);
            assert!(!good(&format!("{} ", unsigned.text)), "{}", row.url);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date, time) in [
            (0, "19700101", "000000"),
            (951_782_399, "20000228", "235959"),
            (951_782_400, "20000229", "000000"),
            (1_709_251_199, "20240229", "235959"),
            (1_798_761_599, "20261231", "235959"),
            (4_107_542_400, "21000301", "000000"),
        ] {
            let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(date_and_time(moment), (date.to_owned(), time.to_owned()));
        }
    }
}
