//! The HTTP client: one pool of connections, over TLS where the URL says so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::fault::Fault;
use crate::body::Body;
use crate::connector::connector;

/// Idle connections are closed before Google's side does it. A function that was frozen finds its own gone, and hyper
/// takes another one for a request of which nothing was sent yet.
const IDLE: Duration = Duration::from_secs(20);

/// Clones share the pool.
#[derive(Debug, Clone)]
pub(super) struct Http(hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Sent>);

impl Http {
    /// With the certificates of this machine, or, where everything goes in the clear, without any.
    pub(super) fn new(secure: bool) -> Result<Self, String> {
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector(secure)?);
        Ok(Self(client))
    }

    /// One request, until the head of its answer is there, whatever the status. For a body that is being sent, time
    /// counts since the last piece of it went out.
    pub(super) async fn send(
        &self,
        request: Request<Sent>,
        time: Duration,
    ) -> Result<Response<Incoming>, Fault> {
        let moved = Arc::clone(&request.body().moved);
        let mut answer = std::pin::pin!(self.0.request(request));
        let mut seen = moved.load(Ordering::Relaxed);
        loop {
            match timeout(time, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(lost(error)),
                Err(late) => {
                    let now = moved.load(Ordering::Relaxed);
                    if now == seen {
                        return Err(Fault::late(late));
                    }
                    seen = now;
                }
            }
        }
    }

    /// One request and its answer, whole, within this time.
    pub(super) async fn ask(&self, request: Request<Sent>, time: Duration) -> Result<Response<Bytes>, Fault> {
        let answer = async {
            let (parts, body) = self.0.request(request).await.map_err(lost)?.into_parts();
            let body = body.collect().await.map_err(Fault::network)?.to_bytes();
            Ok(Response::from_parts(parts, body))
        };
        timeout(time, answer).await.map_err(Fault::late)?
    }
}

/// A body of ours that cannot be sent is a file that is no longer what it was; all else is the network.
fn lost(error: hyper_util::client::legacy::Error) -> Fault {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_user)
        {
            return Fault::broken(error);
        }
        source = cause.source();
    }
    Fault::network(error)
}

/// A body that counts what was taken of it.
#[derive(Debug)]
pub(super) struct Sent {
    body: Body,
    moved: Arc<AtomicU64>,
}

impl<T: Into<Body>> From<T> for Sent {
    fn from(body: T) -> Self {
        Self {
            body: body.into(),
            moved: Arc::default(),
        }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
