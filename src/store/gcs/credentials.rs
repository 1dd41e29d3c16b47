//! Who Laminix is to Google, out of variables.
//!
//! Access, by the first of these that is there:
//!
//! 1. `GCS_SIGNING_KEY` (a private key in PEM, or the path of one) and `GCS_SIGNING_ACCOUNT` (its account's e-mail);
//! 2. `LAMINIX_GCS_CREDENTIALS`: a service account's JSON, itself;
//! 3. `GOOGLE_APPLICATION_CREDENTIALS`: the path of such a file;
//! 4. what `gcloud auth application-default login` left (under `CLOUDSDK_CONFIG`, or in `HOME`);
//! 5. the machine's metadata server (at `GCE_METADATA_HOST`, or where Google has it).
//!
//! URLs are signed with the key of 1 or 2 or 3, with no call. Without one, and with `GCS_SIGNING_ACCOUNT`, Google's IAM
//! signs with that account's key (a call for each URL; it takes `iam.serviceAccounts.signBlob` on the account). Else URLs
//! are not signed, as the predecessor had it: the bucket is public then, or clients are refused.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::key::Account;
use super::place::encode;
use super::token::Grant;

/// A private key in PEM, or the path of one. Nixery's name.
pub const SIGNING_KEY: &str = "GCS_SIGNING_KEY";
/// The e-mail address of the account that signs. Nixery's name.
pub const SIGNING_ACCOUNT: &str = "GCS_SIGNING_ACCOUNT";
/// A service account's JSON.
pub const CREDENTIALS: &str = "LAMINIX_GCS_CREDENTIALS";
/// The path of a file of credentials. Google's name.
pub const CREDENTIALS_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const METADATA: &str = "metadata.google.internal";

/// Who signs URLs.
#[derive(Debug, Clone)]
pub(super) enum Signing {
    /// A key at hand.
    Local(Arc<Account>),
    /// Google's IAM, for this account.
    Remote(String),
    /// Nobody.
    Public,
}

/// Access, and signatures.
#[derive(Debug)]
pub(super) struct Credentials {
    /// What tokens are given for.
    pub(super) grant: Grant,
    /// Who signs URLs.
    pub(super) signing: Signing,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount {
        client_email: String,
        private_key: String,
        private_key_id: Option<String>,
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        token_uri: Option<String>,
    },
}

impl Credentials {
    /// Finds them. Only files are read for it.
    pub(super) fn parse(variables: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let get = |name: &str| variables(name).filter(|value| !value.trim().is_empty());
        let account = get(SIGNING_ACCOUNT);
        match (get(SIGNING_KEY), account.clone()) {
            (Some(key), Some(email)) => {
                let pem = pem(key)?;
                let account = Account::new(email, &pem, None, TOKEN_URI.to_owned())
                    .map_err(|error| format!("{SIGNING_KEY}: {error}"))?;
                return Ok(Self::local(account));
            }
            (Some(_), None) => {
                return Err(format!(
                    "{SIGNING_KEY} is set, and {SIGNING_ACCOUNT} is not: whose key is it?"
                ));
            }
            (None, _) => {}
        }
        let file = if let Some(text) = get(CREDENTIALS) {
            Some(parse(CREDENTIALS, &text)?)
        } else if let Some(path) = get(CREDENTIALS_FILE) {
            Some(parse(CREDENTIALS_FILE, &read(CREDENTIALS_FILE, &path)?)?)
        } else {
            let path = gcloud(&get)
                .filter(|path| path.exists())
                .map(|path| path.display().to_string());
            path.map(|path| parse(&path, &read(&path, &path)?)).transpose()?
        };
        let mut credentials = match file {
            Some(credentials) => credentials,
            None => Self {
                grant: Grant::Machine(get("GCE_METADATA_HOST").unwrap_or_else(|| METADATA.to_owned())),
                signing: Signing::Public,
            },
        };
        if let (Signing::Public, Some(email)) = (&credentials.signing, account) {
            credentials.signing = Signing::Remote(email);
        }
        Ok(credentials)
    }

    fn local(account: Account) -> Self {
        let account = Arc::new(account);
        Self {
            grant: Grant::Account(Arc::clone(&account)),
            signing: Signing::Local(account),
        }
    }
}

/// The value itself, or what is in the file of that name.
fn pem(key: String) -> Result<String, String> {
    if key.trim_start().starts_with("-----BEGIN") {
        Ok(key)
    } else {
        read(SIGNING_KEY, &key)
    }
}

fn read(name: &str, path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{name}: `{path}` cannot be read: {error}"))
}

fn gcloud(get: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let directory = get("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| get("HOME").map(|home| PathBuf::from(home).join(".config/gcloud")))?;
    Some(directory.join("application_default_credentials.json"))
}

fn parse(name: &str, text: &str) -> Result<Credentials, String> {
    // what is wrong is not quoted: it would be a secret
    let file = serde_json::from_str(text).map_err(|error| {
        format!(
            "{name} is no credentials of type service_account or authorized_user: line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    match file {
        File::ServiceAccount {
            client_email,
            private_key,
            private_key_id,
            token_uri,
        } => {
            let token_uri = token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
            let key_id = private_key_id.filter(|id| !id.is_empty());
            Account::new(client_email, &private_key, key_id, token_uri)
                .map(Credentials::local)
                .map_err(|error| format!("{name}: {error}"))
        }
        File::AuthorizedUser {
            client_id,
            client_secret,
            refresh_token,
            token_uri,
        } => Ok(Credentials {
            grant: Grant::User {
                form: format!(
                    "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
                    encode(&client_id),
                    encode(&client_secret),
                    encode(&refresh_token)
                ),
                token_uri: token_uri.unwrap_or_else(|| TOKEN_URI.to_owned()),
            },
            signing: Signing::Public,
        }),
    }
}
