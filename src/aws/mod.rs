//! What the S3 store and the SQS queue share: the SDK's configuration, and what its errors mean.
//!
//! Credentials come from the variables of the place if it has its own, else from the SDK's chain: the environment, a
//! profile, a container's or an instance's role. They are renewed some minutes before they end.

mod credentials;
mod error;

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

pub(crate) use self::credentials::Renewed;
pub(crate) use self::error::{Kind, Response, kind, told};

/// A connection that does not come about in this time is given up.
const CONNECT: Duration = Duration::from_secs(2);

/// One try of a call that moves little.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(4);

/// All tries of it: the budget of retries. A client that waits for headers has more patience than this.
pub(crate) const BUDGET: Duration = Duration::from_secs(10);

const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where a service is, and with which keys it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// The region; that of the environment if there is none.
    pub(crate) region: Option<String>,
    /// The service's address, where it is not AWS's own for the region.
    pub(crate) endpoint: Option<String>,
    /// Keys of its own.
    pub(crate) keys: Option<Keys>,
}

/// An access key and its secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) access: String,
    pub(crate) secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// A service's configuration, and the credentials that its requests are signed with.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) sdk: SdkConfig,
    pub(crate) credentials: Renewed,
}

/// Reads the configuration that the machine has for the SDK, and ours over it. No service is asked yet.
///
/// # Errors
/// A sentence, when nobody says which region.
pub(crate) async fn service(access: &Access) -> Result<Service, String> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(BUDGET);
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http())
        .timeout_config(timeouts.build())
        .retry_config(retries)
        // ours, because a presigned URL has to know when its credentials end
        .identity_cache(IdentityCache::no_cache());
    if let Ok(name) = AppName::new(concat!("laminix-", env!("CARGO_PKG_VERSION"))) {
        loader = loader.app_name(name);
    }
    if let Some(region) = &access.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &access.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(Keys { access, secret }) = &access.keys {
        loader = loader.credentials_provider(Credentials::new(access, secret, None, None, "variables"));
    }
    let sdk = loader.load().await;
    let region = match (sdk.region(), &access.endpoint) {
        (Some(region), _) => region.clone(),
        // the others take any name, and ask for one because it is part of the signature
        (None, Some(_)) => Region::from_static("us-east-1"),
        (None, None) => {
            return Err(
                "in which region? write ?region=eu-central-1 behind it, or set AWS_REGION".to_owned(),
            );
        }
    };
    let chain = sdk
        .credentials_provider()
        .ok_or("there is nobody to ask for credentials")?;
    let credentials = Renewed::new(chain);
    let sdk = sdk
        .into_builder()
        .region(region)
        .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
        .build();
    Ok(Service { sdk, credentials })
}

/// One client for all services: the certificates of the machine are read once.
fn http() -> SharedHttpClient {
    static CLIENT: OnceLock<SharedHttpClient> = OnceLock::new();
    let tls = Provider::Rustls(CryptoMode::Ring);
    CLIENT
        .get_or_init(|| {
            aws_smithy_http_client::Builder::new()
                .tls_provider(tls)
                .build_https()
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let keys = Keys {
            access: "AK".into(),
            secret: "hidden".into(),
        };
        assert!(!format!("{keys:?}").contains("hidden"));
    }
}
