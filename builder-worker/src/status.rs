//! The worker's own address: is it well, and what has it done.
//!
//! `GET /healthz` is 200 while the worker can do its work, else 503 with a sentence. `GET /metrics` is for Prometheus. Both
//! are for the machine's own network: there are no secrets in them, and no protection.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, StatusCode, Uri};
use laminix::body::Body;
use laminix::key::{Key, TagRef};
use laminix::name::Tag;
use laminix::server::serve_with;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::job::Workshop;
use crate::meters::{Machine, Meters};

/// A queue that has not answered for this long is out of reach: a look takes 20 s, a heartbeat comes every 10 s.
const SILENCE: Duration = Duration::from_secs(120);

/// What was found out of the store counts this long, however often it is asked for.
const REMEMBERED: Duration = Duration::from_secs(10);

/// A store that takes longer for a small object fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked of a worker.
pub struct Status {
    workshop: Arc<Workshop>,
    meters: Meters,
    store: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Status {
    /// The status of a worker.
    #[must_use]
    pub fn new(workshop: Arc<Workshop>, meters: Meters) -> Self {
        Self {
            workshop,
            meters,
            store: Mutex::default(),
        }
    }

    /// Answers on this socket until `stop` is done.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let status = Arc::new(self);
        let answer = move |method: Method, uri: Uri, _| {
            let status = Arc::clone(&status);
            async move { status.answer(&method, &uri).await }
        };
        serve_with(answer, listener, stop).await;
    }

    async fn answer(&self, method: &Method, uri: &Uri) -> Response<Body> {
        let (code, text) = match uri.path() {
            _ if method != Method::GET && method != Method::HEAD => {
                (StatusCode::METHOD_NOT_ALLOWED, String::new())
            }
            "/healthz" => match self.health().await {
                Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
            },
            "/metrics" => {
                let machine = Machine {
                    packed: self.workshop.packer.packed(),
                    free: self.workshop.collector.free().ok(),
                    nix: self.workshop.nix.version(),
                    sandboxed: self.workshop.nix.sandboxed(),
                };
                (StatusCode::OK, self.meters.text(&machine))
            }
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = code;
        let plain = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
        response
    }

    /// Whether the worker can do its work, or why not.
    async fn health(&self) -> Result<(), String> {
        match self.meters.queue_silence() {
            Some(silence) if silence < SILENCE => {}
            Some(silence) => {
                return Err(format!("the queue has not answered for {} s", silence.as_secs()));
            }
            None => return Err("the queue has not answered yet".to_owned()),
        }
        let mut known = self.store.lock().await;
        if let Some((at, health)) = &*known
            && at.elapsed() < REMEMBERED
        {
            return health.clone();
        }
        let health = self.store().await;
        *known = Some((Instant::now(), health.clone()));
        health
    }

    /// Reads something that a worker may read; that it is absent is an answer too.
    async fn store(&self) -> Result<(), String> {
        let key = Key::Source(TagRef {
            source: self.workshop.resolver.source().id(),
            tag: Tag::latest(),
        });
        match tokio::time::timeout(PATIENCE, self.workshop.store.get(&key)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "the object store has not answered for {} s",
                PATIENCE.as_secs()
            )),
        }
    }
}
