//! Connections for HTTP clients of ours: over TLS where a URL says so.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

const CONNECT: Duration = Duration::from_secs(3);

/// With the certificates of this machine, or, where everything goes in the clear, without any.
///
/// # Errors
/// A sentence, when there are no certificates.
pub(crate) fn connector(secure: bool) -> Result<HttpsConnector<HttpConnector>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("TLS cannot be used: {error}");
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let config = if secure {
        config.with_native_roots().map_err(|error| wrong(&error))?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_nodelay(true);
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp))
}

/// The crypto library behind TLS, which has RSA signatures too.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
