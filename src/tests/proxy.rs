//! A proxy in front of a real server that does to requests and answers what networks and overloaded services do.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is taken, and there is no answer.
    Stall,
    /// The answer stands still in the middle of its body; one without a body arrives.
    StallBody,
    /// The connection is reset.
    Reset,
    /// The request is done, and the connection is reset before the answer.
    Lose,
    /// The answer's body is cut off; an answer without one arrives.
    Cut,
    /// An error's status and code.
    Status(u16, &'static str),
    /// It is passed on after this time.
    Slow(Duration),
}

/// Which requests are meant, how many of them, and what becomes of them. All others pass.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) methods: &'static [Method],
    /// A part of the path.
    pub(crate) part: &'static str,
    pub(crate) times: u32,
    pub(crate) act: Act,
}

impl Rule {
    /// All requests.
    pub(crate) fn all(act: Act) -> Self {
        Self::on(&[], "", act)
    }

    /// Those by one of these methods, or by any if there are none, whose path has this part.
    pub(crate) fn on(methods: &'static [Method], part: &'static str, act: Act) -> Self {
        Self {
            methods,
            part,
            times: u32::MAX,
            act,
        }
    }

    /// The first so many of them.
    pub(crate) fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    fn is_about(&self, request: &Request<Bytes>) -> bool {
        self.times > 0
            && (self.methods.is_empty() || self.methods.contains(request.method()))
            && request.uri().path().contains(self.part)
    }
}

/// The proxy, which ends with the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: String,
    refuses: Arc<watch::Sender<bool>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    rules: Mutex<Vec<Rule>>,
    seen: AtomicU32,
}

impl Proxy {
    /// In front of the server at this host and port.
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (refuses, refused) = watch::channel(false);
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            rules: Mutex::default(),
            seen: AtomicU32::new(0),
        });
        tokio::spawn(listen(listener, refused, Arc::clone(&shared)));
        Self {
            address,
            refuses: Arc::new(refuses),
            shared,
        }
    }

    /// From now on these rules hold, the first that fits.
    pub(crate) fn rule(&self, rules: impl Into<Vec<Rule>>) {
        *self.shared.rules.lock().unwrap() = rules.into();
    }

    /// From now on nobody listens, and connections that there were are gone.
    pub(crate) async fn refuse(&self) {
        self.refuses.send_replace(true);
        while TcpStream::connect(&self.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From now on everything passes.
    pub(crate) async fn pass(&self) {
        self.rule([]);
        self.refuses.send_replace(false);
        while TcpStream::connect(&self.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many requests there were so far.
    pub(crate) fn seen(&self) -> u32 {
        self.shared.seen.load(Ordering::Relaxed)
    }
}

async fn listen(first: TcpListener, mut refused: watch::Receiver<bool>, shared: Arc<Shared>) {
    let address = first.local_addr().unwrap();
    let mut listener = Some(first);
    loop {
        let mut connections = JoinSet::new();
        if let Some(listener) = listener.take() {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    _ = refused.wait_for(|refuses| *refuses) => break,
                };
                // closed is reset
                stream.set_zero_linger().unwrap();
                let shared = Arc::clone(&shared);
                let service = hyper::service::service_fn(move |request| answer(Arc::clone(&shared), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
            }
        }
        drop(connections);
        if refused.wait_for(|refuses| !*refuses).await.is_err() {
            return;
        }
        listener = TcpListener::bind(address).await.ok();
    }
}

/// An error closes the connection.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Told>, std::io::Error> {
    let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| broken())?.to_bytes();
    let request = Request::from_parts(parts, body);
    shared.seen.fetch_add(1, Ordering::Relaxed);
    let act = {
        let mut rules = shared.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.is_about(&request));
        rule.map(|rule| {
            rule.times -= 1;
            rule.act
        })
    };
    match act {
        Some(Act::Stall) => return std::future::pending().await,
        Some(Act::Reset) => return Err(broken()),
        Some(Act::Status(status, code)) => return Ok(error(status, code, &request)),
        Some(Act::Slow(time)) => tokio::time::sleep(time).await,
        Some(Act::StallBody | Act::Lose | Act::Cut) | None => {}
    }
    let (mut parts, content) = forward(&shared.server, request).await.map_err(|_| broken())?;
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.remove(CONNECTION);
    let (half, length) = (content.slice(..content.len() / 2), content.len() as u64);
    let told = match act {
        Some(Act::Lose) => return Err(broken()),
        Some(Act::StallBody) if length > 0 => Told::part(half, length, Duration::from_secs(3600)),
        // what was sent before is to arrive
        Some(Act::Cut) if length > 0 => Told::part(half, length, Duration::from_millis(100)),
        Some(_) | None => Told::whole(content),
    };
    Ok(Response::from_parts(parts, told))
}

/// An error as the two services tell it.
fn error(status: u16, code: &str, request: &Request<Bytes>) -> Response<Told> {
    let kind = request.headers().get(CONTENT_TYPE);
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-amz-json"));
    let body = if json {
        format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"no"}}"#)
    } else {
        format!("<Error><Code>{code}</Code><Message>no</Message></Error>")
    };
    let told = Told::whole(if request.method() == Method::HEAD {
        Bytes::new()
    } else {
        body.into()
    });
    Response::builder().status(status).body(told).unwrap()
}

async fn forward(
    server: &str,
    request: Request<Bytes>,
) -> Result<(Parts, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    Ok((parts, body.collect().await?.to_bytes()))
}

/// A body that may end before its end, or only much later.
struct Told {
    content: Bytes,
    length: u64,
    end: Option<Pin<Box<Sleep>>>,
}

impl Told {
    fn whole(content: Bytes) -> Self {
        Self {
            length: content.len() as u64,
            content,
            end: None,
        }
    }

    fn part(content: Bytes, length: u64, end: Duration) -> Self {
        Self {
            content,
            length,
            end: Some(Box::pin(tokio::time::sleep(end))),
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
        match &mut self.end {
            None => Poll::Ready(None),
            Some(end) => end
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
