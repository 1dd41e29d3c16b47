//! Access tokens (RFC 6750), by one of four ways:
//!
//! - a key with its id signs its own token, with no call
//!   (<https://google.aip.dev/auth/4111>, "Self-signed JWT");
//! - a key without an id, as `GCS_SIGNING_KEY` is one, signs an assertion that is exchanged for a token (RFC 7523);
//! - a person's refresh token is exchanged for one (RFC 6749, section 6);
//! - the metadata server of a machine at Google gives them out
//!   (<https://cloud.google.com/compute/docs/access/authenticate-workloads>).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::fault::Fault;
use super::http::{Http, Sent};
use super::key::Account;
use super::place::encode;

const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Google takes assertions of an hour at most, and gives out tokens of about that.
const HOUR: u64 = 3600;

/// A token is renewed this long before its end: clocks differ, and requests take their time. The metadata server has
/// a new one from five minutes before the end on.
const EARLY: Duration = Duration::from_secs(240);

/// What tokens are given for.
pub(super) enum Grant {
    /// A service account's key.
    Account(Arc<Account>),
    /// What `gcloud auth application-default login` leaves.
    User {
        /// The form that is exchanged.
        form: String,
        /// Where.
        token_uri: String,
    },
    /// The account of this machine, asked for at this host.
    Machine(String),
}

impl fmt::Debug for Grant {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => account.fmt(f),
            Self::User { .. } => f.write_str("User"),
            Self::Machine(host) => write!(f, "Machine({host})"),
        }
    }
}

/// Gives out tokens, one for all requests until it ends.
#[derive(Debug)]
pub(super) struct Tokens {
    grant: Grant,
    current: Mutex<Option<Token>>,
}

/// `Bearer …`, until when. The end is by the clock of the day: the other one stands still in a function that is frozen.
#[derive(Debug)]
struct Token(HeaderValue, SystemTime);

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    pub(super) fn new(grant: Grant) -> Self {
        Self {
            grant,
            current: Mutex::new(None),
        }
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The Authorization header. Those who come while a token is asked for wait for it.
    pub(super) async fn header(&self, http: &Http, time: Duration) -> Result<HeaderValue, Fault> {
        let mut current = self.current.lock().await;
        let now = SystemTime::now();
        match &*current {
            Some(Token(header, end)) if now + EARLY < *end => Ok(header.clone()),
            Some(_) | None => {
                let (text, life) = self.ask(http, time, now).await?;
                let mut header = HeaderValue::try_from(format!("Bearer {text}")).map_err(Fault::broken)?;
                header.set_sensitive(true);
                *current = Some(Token(header.clone(), now + life));
                Ok(header)
            }
        }
    }

    /// The token was refused: the next request asks for another one.
    pub(super) async fn forget(&self) {
        *self.current.lock().await = None;
    }

    async fn ask(&self, http: &Http, time: Duration, now: SystemTime) -> Result<(String, Duration), Fault> {
        let request = match &self.grant {
            Grant::Account(account) => match &account.key_id {
                Some(_) => return Ok((signed(account, None, now)?, Duration::from_secs(HOUR))),
                None => {
                    let assertion = signed(account, Some(&account.token_uri), now)?;
                    let grant = encode("urn:ietf:params:oauth:grant-type:jwt-bearer");
                    exchange(
                        &account.token_uri,
                        format!("grant_type={grant}&assertion={assertion}"),
                    )
                }
            },
            Grant::User { form, token_uri } => exchange(token_uri, form.clone()),
            Grant::Machine(host) => Request::get(format!(
                "http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
            ))
            .header("metadata-flavor", "Google")
            .body(Sent::from(Bytes::new())),
        };
        let response = http.ask(request.map_err(Fault::broken)?, time).await?;
        read(&response)
    }
}

fn read(response: &Response<Bytes>) -> Result<(String, Duration), Fault> {
    if !response.status().is_success() {
        return Err(match response.status().as_u16() {
            // an account, a key or a refresh token that is not good (RFC 6749, section 5.2); no account at all
            400 | 404 => {
                Fault::Refused(format!("no token: {}", String::from_utf8_lossy(response.body())).into())
            }
            _ => Fault::status(response.status(), response.headers(), response.body()),
        });
    }
    let given: Given = serde_json::from_slice(response.body()).map_err(Fault::broken)?;
    Ok((given.access_token, Duration::from_secs(given.expires_in)))
}

fn exchange(token_uri: &str, form: String) -> Result<Request<Sent>, http::Error> {
    Request::post(token_uri)
        .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Sent::from(form))
}

/// A JSON Web Token (RFC 7519): a token by itself, or an assertion for this audience.
fn signed(account: &Account, audience: Option<&str>, now: SystemTime) -> Result<String, Fault> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.key_id {
        header["kid"] = json!(id);
    }
    let mut claims = json!({"iss": account.email, "scope": SCOPE, "iat": now, "exp": now + HOUR});
    match audience {
        Some(audience) => claims["aud"] = json!(audience),
        None => claims["sub"] = json!(account.email),
    }
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let signature = account.sign(text.as_bytes()).map_err(Fault::broken)?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
