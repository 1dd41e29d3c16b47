//! The registry as a plain HTTP server, and whatever else answers over HTTP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal as Unix, SignalKind, signal as signal_of};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};

use crate::body::Body;
use crate::registry::App;

/// A client that does not finish its headers in this time is not one.
const HEADERS: Duration = Duration::from_secs(20);

/// More connections than this wait to be accepted.
const CONNECTIONS: usize = 4096;

/// The request line and headers, in bytes.
const HEAD: usize = 64 << 10;

/// After a signal, answers that are on their way have this long.
const DRAIN: Duration = Duration::from_secs(10);

/// Listens until `stop` is done, then lets the answers that are on their way finish.
///
/// # Errors
/// When the address cannot be had.
pub async fn serve(app: App, listen: SocketAddr, stop: impl Future<Output = ()>) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    info!(listen = %listener.local_addr()?, "listening");
    serve_on(app, listener, stop).await;
    Ok(())
}

/// The same on a socket that listens already.
pub async fn serve_on(app: App, listener: TcpListener, stop: impl Future<Output = ()>) {
    let answer = move |method: Method, uri: Uri, headers: HeaderMap| {
        let app = app.clone();
        async move { app.answer(&method, &uri, &headers).await }
    };
    serve_with(answer, listener, stop).await;
}

/// The same for anything that answers requests without reading their bodies.
pub async fn serve_with<A, F>(answer: A, listener: TcpListener, stop: impl Future<Output = ()>)
where
    A: Fn(Method, Uri, HeaderMap) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => connection(answer.clone(), stream, place, &graceful),
            Err(error) => {
                // out of file descriptors, mostly: those in use come back
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        info!("connections that took too long are cut");
    }
}

fn connection<A, F>(answer: A, stream: TcpStream, place: OwnedSemaphorePermit, graceful: &GracefulShutdown)
where
    A: Fn(Method, Uri, HeaderMap) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, _) = request.into_parts();
        let answer = answer(head.method, head.uri, head.headers);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection broke");
        }
        drop(place);
    });
}

/// Done when the process is told to stop.
pub async fn signal() {
    Signals::listen().next().await;
}

/// The requests to stop that the process gets, one after the other: none is lost between two of them.
#[derive(Debug)]
pub struct Signals(Option<(Unix, Unix)>);

impl Signals {
    /// Listens from now on. Where that is not possible, no request ever comes.
    #[must_use]
    pub fn listen() -> Self {
        let on = |kind| signal_of(kind).ok();
        Self(on(SignalKind::terminate()).zip(on(SignalKind::interrupt())))
    }

    /// The next one.
    pub async fn next(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
