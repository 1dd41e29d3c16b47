//! The RSA key of a service account, which signs URLs and tokens.

use std::fmt;

use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::Signer;

use crate::connector::provider;

/// A service account with its private key.
pub(super) struct Account {
    /// The account's e-mail address, which is its name.
    pub(super) email: String,
    /// The name of the key, where it is known.
    pub(super) key_id: Option<String>,
    /// Where the account's assertions are exchanged for tokens.
    pub(super) token_uri: String,
    signer: Box<dyn Signer>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.email)
    }
}

impl Account {
    /// An account with a key in PEM: PKCS #8, as Google gives it out, or PKCS #1.
    pub(super) fn new(
        email: String,
        pem: &str,
        key_id: Option<String>,
        token_uri: String,
    ) -> Result<Self, String> {
        // environments and YAML files often hold it on one line
        let pem = pem.replace("\\n", "\n");
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("the key of {email} is no private key in PEM: {error}"))?;
        let signer = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| format!("the key of {email} cannot be used: {error}"))?
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .ok_or_else(|| format!("the key of {email} is no RSA key"))?;
        Ok(Self {
            email,
            key_id,
            token_uri,
            signer,
        })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2). It takes about a millisecond.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signer.sign(message)
    }
}
