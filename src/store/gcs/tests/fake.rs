//! A server for tests that does what it is told, good or bad.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Sleep;

use super::super::GcsStore;
use super::super::retry::Patience;

/// What a request was.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, Bytes),
    /// An answer with these headers that says it has this length, and ends before.
    Cut(u16, Vec<(&'static str, String)>, Bytes, u64),
    /// No answer at all.
    Stall,
    /// The connection is closed.
    Reset,
}

impl Act {
    pub(super) fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Bytes::from_static(b"why not"))
    }

    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self::Answer(200, Vec::new(), body.to_string().into())
    }
}

/// The server, and all that it was asked.
#[derive(Debug, Clone)]
pub(super) struct Fake {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Answers the n-th request, from 0 on, as it is told to. Of bodies it takes so many bytes and then acts.
    pub(super) async fn taking(
        most: usize,
        act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fake = Self {
            address,
            seen: Arc::default(),
        };
        let (seen, act) = (Arc::clone(&fake.seen), Arc::new(act));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, act) = (Arc::clone(&seen), Arc::clone(&act));
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (seen, act) = (Arc::clone(&seen), Arc::clone(&act));
                    async move {
                        let (request, rest) = read(request, most).await;
                        let number = {
                            let mut seen = seen.lock().unwrap();
                            seen.push(request.clone());
                            seen.len() - 1
                        };
                        let act = act(number, &request);
                        if matches!(act, Act::Answer(..) | Act::Cut(..)) {
                            // one who answers early and hangs up may not be heard
                            drop(rest.collect().await);
                        }
                        carry_out(act).await
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        fake
    }

    pub(super) async fn start(act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::taking(usize::MAX, act).await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read(request: Request<Incoming>, most: usize) -> (Seen, Incoming) {
    let (parts, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while body.len() < most {
        let Some(Ok(frame)) = incoming.frame().await else {
            break;
        };
        body.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    body.truncate(most);
    let seen = Seen {
        method: parts.method,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: body.into(),
    };
    (seen, incoming)
}

/// An error closes the connection.
async fn carry_out(act: Act) -> Result<Response<Told>, std::io::Error> {
    let (status, headers, body) = match act {
        Act::Answer(status, headers, body) => (status, headers, Told::new(body, None)),
        Act::Cut(status, headers, body, length) => (status, headers, Told::new(body, Some(length))),
        Act::Stall => return std::future::pending().await,
        Act::Reset => return Err(std::io::ErrorKind::ConnectionReset.into()),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(body).unwrap())
}

/// A body that may end before its end.
struct Told {
    content: Bytes,
    length: u64,
    cut: Option<Pin<Box<Sleep>>>,
}

impl Told {
    fn new(content: Bytes, cut: Option<u64>) -> Self {
        Self {
            length: cut.unwrap_or(content.len() as u64),
            content,
            // what was sent before is to arrive
            cut: cut.map(|_| Box::pin(tokio::time::sleep(Duration::from_millis(100)))),
        }
    }
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.content.is_empty() {
            let content = std::mem::take(&mut self.content);
            self.length -= content.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(content))));
        }
        match &mut self.cut {
            None => Poll::Ready(None),
            Some(cut) => cut
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// Short enough for a test.
pub(super) const SHORT: Patience = Patience {
    request: Duration::from_millis(400),
    budget: Duration::from_millis(1500),
    stall: Duration::from_millis(400),
};

/// A store at an address, not opened.
pub(super) fn store_at(address: &str) -> GcsStore {
    let store = GcsStore::parse(&format!("bucket/p?endpoint=http://{address}"), &|_| None).unwrap();
    let mut inner = Arc::into_inner(store.0).unwrap();
    inner.client.patience = SHORT;
    inner.client.small = 50_000;
    GcsStore(Arc::new(inner))
}
