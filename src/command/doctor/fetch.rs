//! A GET as any client would make it: no credentials, no retries.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::command::words;
use crate::connector::connector;

/// Clients wait longer, operators do not.
const PATIENCE: Duration = Duration::from_secs(10);

/// Only small things are fetched; errors of services are small as well.
const LARGEST: usize = 1 << 20;

/// The answer, whatever its status.
///
/// # Errors
/// In words, when there is none.
pub(super) async fn get(url: &str) -> Result<Response<Bytes>, String> {
    let connector = connector(url.starts_with("https://"))?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get(url).header(
        http::header::USER_AGENT,
        concat!("laminix/", env!("CARGO_PKG_VERSION")),
    );
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let answer = client.request(request).await;
        let (head, body) = answer.map_err(|error| words::in_full(&error))?.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {}", words::span(PATIENCE.as_secs()))),
    }
}
