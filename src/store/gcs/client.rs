//! Requests with a token, tried again while that may help.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};

use super::fault::Fault;
use super::http::{Http, Sent};
use super::retry::{Patience, Tries};
use super::token::{Grant, Tokens};
use crate::body::Body;

/// What is larger is sent by a resumable upload, although that takes a second request: it has as much time as it goes on,
/// and one that is sent whole has to be there within [`Patience::request`], also over a slow line.
const SMALL: u64 = 256 << 10;

/// Speaks to the API.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    /// None where requests are not encrypted: an emulator wants no token, and nobody else shall see one.
    tokens: Option<Tokens>,
    pub(super) patience: Patience,
    /// Up to this size, in bytes, a file is sent in one request from memory.
    pub(super) small: u64,
}

/// A request that can be sent again.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Bytes,
    /// The URL itself is a secret that lets in: the token stays here.
    pub(super) bare: bool,
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the request was sent before, and may have been carried out then.
    pub(super) again: bool,
}

impl Call {
    pub(super) fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            ..Self::default()
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl Client {
    pub(super) fn new(http: Http, tokens: Option<Tokens>, patience: Patience) -> Self {
        Self {
            http,
            tokens,
            patience,
            small: SMALL,
        }
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// Gets a token ready.
    pub(super) async fn token(&self) -> Result<(), Fault> {
        match &self.tokens {
            Some(tokens) => tokens.header(&self.http, self.patience.request).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether tokens are the machine's own: no other credentials were found.
    pub(super) fn asks_machine(&self) -> bool {
        let grant = self.tokens.as_ref().map(Tokens::grant);
        matches!(grant, Some(Grant::Machine(_)))
    }

    /// Sends a request until it is answered with success, or with one of these.
    pub(super) async fn call(&self, call: &Call, answers: &[StatusCode]) -> Result<Reply, Fault> {
        let mut tries = Tries::new(self.patience);
        loop {
            match self.once(call, answers, tries.time()).await {
                Ok(reply) => {
                    let again = tries.again();
                    return Ok(Reply { again, ..reply });
                }
                Err(fault) => tries.after(fault).await?,
            }
        }
    }

    /// Sends a request; a token that is refused is renewed once.
    pub(super) async fn once(
        &self,
        call: &Call,
        answers: &[StatusCode],
        time: Duration,
    ) -> Result<Reply, Fault> {
        let mut renewed = false;
        loop {
            let request = self.request(call, call.body.clone(), time).await?;
            let (parts, body) = self.http.ask(request, time).await?.into_parts();
            let status = parts.status;
            match &self.tokens {
                Some(tokens) if status == StatusCode::UNAUTHORIZED && !renewed => {
                    tokens.forget().await;
                    renewed = true;
                }
                Some(_) | None if status.is_success() || answers.contains(&status) => {
                    return Ok(Reply {
                        status,
                        headers: parts.headers,
                        body,
                        again: false,
                    });
                }
                Some(_) | None => return Err(Fault::status(status, &parts.headers, &body)),
            }
        }
    }

    /// The request itself, with another body perhaps.
    pub(super) async fn request(
        &self,
        call: &Call,
        body: impl Into<Body>,
        time: Duration,
    ) -> Result<Request<Sent>, Fault> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.url)
            .header(USER_AGENT, concat!("laminix/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(tokens) = self.tokens.as_ref().filter(|_| !call.bare) {
            request = request.header(AUTHORIZATION, tokens.header(&self.http, time).await?);
        }
        request.body(body.into().into()).map_err(Fault::broken)
    }
}
