//! The registry as a plain HTTP server.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};

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
            Ok((stream, _)) => connection(&app, stream, place, &graceful),
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

fn connection(app: &App, stream: TcpStream, place: OwnedSemaphorePermit, graceful: &GracefulShutdown) {
    let app = app.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move {
            Ok::<_, Infallible>(
                app.answer(request.method(), request.uri(), request.headers())
                    .await,
            )
        }
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
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
