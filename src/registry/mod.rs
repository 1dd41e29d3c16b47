//! The registry: one answer for every request, one file for every kind of answer.
//!
//! ## What a request costs
//!
//! Calls of the object store, counted by `src/tests/calls.rs` through [`Report::store_calls`]. HEAD of a
//! manifest costs what GET does.
//!
//! | request | reads | writes |
//! |---|---|---|
//! | `/v2/`, tags, the catalog, a name that cannot be | 0 | 0 |
//! | a blob: a redirect, which is signed here | 0 | 0 |
//! | a manifest by digest | 1 | 0 |
//! | a manifest by tag, in the cache | 2: the tag, the image | 0 |
//! | the same within 5 s of another pull of the tag | 1: the image | 0 |
//! | a combination of N known packages that nobody asked for before | 2 + N + the base's up to 4 | at most 5: root layer, config, two manifests, the image |
//! | a package that the set has not, or that failed | the same | 0 |
//!
//! HEAD of a blob is answered here, and asks for the size: 1 read. A manifest that has to be waited for reads what is missing of
//! its records again and again, and its claims: see [`crate::wait`]. A tag that is old adds a read and a write of a claim, and
//! a job, after the answer; behind a function URL before it, because nothing runs afterwards.

mod blob;
pub mod error;
mod image;
mod manifest;
mod page;
mod revision;
mod tags;
mod visit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use tracing::info;

use self::error::Error;
use self::visit::Visit;
pub use self::visit::{Outcome, Report};
use crate::body::Body;
use crate::config::Config;
use crate::queue::Queue;
use crate::route::Route;
use crate::store::{Place, Store};

/// The registry as a value: from a request to a response. Clones share it.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    config: Config,
    store: Store,
    queue: Queue,
    revisions: revision::Revisions,
    front: Front,
}

/// What stands between the registry and its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Nothing, or a proxy that leaves answers as they are.
    Plain,
    /// A Lambda function URL. It sets Content-Length by the body it gets, so HEAD is answered with one, which it does not
    /// pass on; and the process is frozen once it has answered.
    FunctionUrl,
}

/// Work that is left for later has this long where it cannot be done after the answer.
const LATER: Duration = Duration::from_secs(3);

/// What a request keeps of its time to say how it ended.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A request is answered in this time, whatever store and queue do: some clients give up on headers after 30 s. One that is
/// configured to wait for longer has [`LAST_WORDS`] more than that.
const PATIENCE: Duration = Duration::from_secs(28);

/// What a caller that stops listening keeps for the way of the answer.
const WAY: Duration = Duration::from_secs(1);

/// An answer, or where to look for it.
enum Answer {
    /// The response, but for the headers that all have.
    Response(Box<Response<Body>>),
    /// The same request again, some time later: the counter of hops for its query.
    Hop(u32),
}

impl App {
    /// A registry of this configuration, on a store and a queue that are open.
    #[must_use]
    pub fn new(config: Config, store: Store, queue: Queue) -> Self {
        Self::behind(Front::Plain, config, store, queue)
    }

    /// The same behind something.
    #[must_use]
    pub fn behind(front: Front, config: Config, store: Store, queue: Queue) -> Self {
        Self(Arc::new(Parts {
            config,
            store,
            queue,
            revisions: revision::Revisions::default(),
            front,
        }))
    }

    /// Makes ready what the first request would have to wait for: credentials, a connection to the store, and the revision
    /// of the tag that most people pull. A store that is down is no reason not to start: requests will tell.
    pub async fn warm(&self) {
        let began = Instant::now();
        let known = tokio::time::timeout(LATER, self.0.known_revision()).await;
        let ms = began.elapsed().as_millis();
        info!(
            ms,
            revision = known.ok().flatten().map(tracing::field::display),
            "warm"
        );
    }

    /// Answers a request. Its body plays no part.
    pub async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        self.answer_by(None, method, uri, headers).await.0
    }

    /// The same for a caller that stops listening at a certain time, with what there is to say about it.
    pub async fn answer_by(
        &self,
        deadline: Option<Instant>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> (Response<Body>, Report) {
        let (began, wait) = (Instant::now(), self.0.config.hop);
        let before = |moment: Instant, time| {
            deadline.map_or(moment, |deadline| {
                moment.min(deadline.checked_sub(time).unwrap_or(deadline))
            })
        };
        let until = before(began + wait, LAST_WORDS);
        let end = before(began + PATIENCE.max(wait + LAST_WORDS), WAY);
        let visit = Arc::new(Visit::new(&self.0.store, &self.0.queue, until));
        let (app, request) = (self.clone(), (method.clone(), uri.clone(), headers.clone()));
        let visited = Arc::clone(&visit);
        let task = async move { app.route(&request.0, &request.1, &request.2, &visited).await };
        let mut response = match apart(task, end).await {
            Ok(Answer::Response(response)) => *response,
            Ok(Answer::Hop(hop)) => hop_to(uri, hop),
            Err(error) => {
                let response = error.response();
                visit.became(match response.status() {
                    status if status.is_server_error() => Outcome::Failed,
                    StatusCode::TOO_MANY_REQUESTS => Outcome::Waited,
                    _ => Outcome::Refused,
                });
                response
            }
        };
        if self.0.front == Front::FunctionUrl {
            let left = end.saturating_duration_since(Instant::now());
            visit.finish_later(left.min(LATER)).await;
        }
        finish(self.0.front, method, headers, &mut response);
        let report = visit.report();
        info!(
            %method,
            path = uri.path(),
            status = response.status().as_u16(),
            ms = report.took.as_millis(),
            image = report.image,
            outcome = report.outcome.name(),
            store_calls = report.store_calls,
            phases = report.phases(),
            "answered"
        );
        (response, report)
    }

    async fn route(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Result<Answer, Error> {
        let app = &*self.0;
        let response = match Route::parse(method, uri.path()) {
            Route::Base => Response::new(Body::from("{}")),
            Route::Manifest { name, reference } => {
                return app.manifest(&name, &reference, uri, headers, visit).await;
            }
            Route::Blob { digest } if method == Method::HEAD && app.front == Front::Plain => {
                app.blob_head(&digest, visit).await?
            }
            Route::Blob { digest } => app.blob(&digest, method).await?,
            Route::Tags { name } => app.tags(&name, uri.query().unwrap_or_default())?,
            Route::Referrers { digest } => tags::referrers(&digest, uri.query().unwrap_or_default())?,
            Route::Catalog => {
                return Err(Error::Unsupported(
                    "every combination of packages is a repository here: there is no list of them",
                ));
            }
            Route::Push => {
                return Err(Error::Unsupported(
                    "images are made here on demand: nothing can be pushed or deleted",
                ));
            }
            Route::Page => app.page(headers).await,
            Route::Health => text("ok\n"),
            Route::Object => match app.store.place() {
                Place::File(store) => {
                    let target = uri.path_and_query().map_or("/", |target| target.as_str());
                    store.serve(method, target, headers).await
                }
                // a bucket serves its own URLs
                Place::S3(_) | Place::Gcs(_) => return Err(Error::NotFound),
            },
            Route::Method => return Err(Error::Unsupported("only GET and HEAD are answered here")),
            Route::Unknown => return Err(Error::NotFound),
        };
        Ok(Answer::Response(Box::new(response)))
    }
}

/// What comes of a request in a task of its own: a panic ends that and not the connection, and a client that goes away or
/// an answer that takes too long does not cut a write short.
async fn apart<T: Send + 'static>(
    request: impl Future<Output = Result<T, Error>> + Send + 'static,
    end: Instant,
) -> Result<T, Error> {
    match tokio::time::timeout_at(end.into(), tokio::spawn(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => Err(Error::internal(panic)),
        Err(_) => Err(Error::Slow),
    }
}

/// A redirect of the request to itself: clients that give up on headers after 30 s begin to count anew.
fn hop_to(uri: &Uri, hop: u32) -> Response<Body> {
    let kept = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("wait="));
    let query: Vec<String> = kept.map(str::to_owned).chain([format!("wait={hop}")]).collect();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    set(
        &mut response,
        LOCATION,
        &format!("{}?{}", uri.path(), query.join("&")),
    );
    set(&mut response, http::header::CACHE_CONTROL, "no-store");
    response
}

fn text(text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    set(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

/// The headers that every answer has.
fn finish(front: Front, method: &Method, request: &HeaderMap, response: &mut Response<Body>) {
    if !response.headers().contains_key(CONTENT_TYPE) && response.status() == StatusCode::OK {
        set(response, CONTENT_TYPE, "application/json");
    }
    set(
        response,
        HeaderName::from_static("docker-distribution-api-version"),
        "registry/2.0",
    );
    set(response, http::header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(ALLOW) {
        set(response, ALLOW, "GET, HEAD");
    }
    if request
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto == "http")
    {
        set(
            response,
            http::header::STRICT_TRANSPORT_SECURITY,
            "max-age=604800",
        );
    }
    if !response.headers().contains_key(CONTENT_LENGTH) && response.status() != StatusCode::NOT_MODIFIED {
        let length = response.body().len().to_string();
        set(response, CONTENT_LENGTH, &length);
    }
    if method == Method::HEAD && front == Front::Plain {
        *response.body_mut() = Body::empty();
    }
}

/// Sets a header. Values that are no header's are left out: there is none that a client could choose freely.
fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The value of a field of a query, as it was written.
fn field<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    async fn told(error: Error) -> (u16, serde_json::Value) {
        let (parts, body) = error.response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_tells_nothing() {
        let end = Instant::now() + PATIENCE;
        let bug = async { panic!("s3://secret-bucket") };
        let (status, body) = told(apart::<()>(bug, end).await.unwrap_err()).await;
        assert_eq!((status, &body["errors"][0]["code"]), (500, &"UNKNOWN".into()));
        assert!(!body.to_string().contains("secret"), "{body}");
        // and the next request is answered
        assert_eq!(apart(async { Ok(7) }, end).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_answered_and_goes_on() {
        let done = Arc::new(AtomicBool::new(false));
        let (task, began) = (Arc::clone(&done), tokio::time::Instant::now());
        let slow = async move {
            tokio::time::sleep(PATIENCE * 2).await;
            task.store(true, Ordering::Relaxed);
            Ok(())
        };
        let end = (began + PATIENCE).into_std();
        let (status, body) = told(apart(slow, end).await.unwrap_err()).await;
        assert_eq!((status, &body["errors"][0]["code"]), (503, &"UNAVAILABLE".into()));
        // the clock counts whole milliseconds
        assert!(began.elapsed() <= PATIENCE + Duration::from_millis(10));
        assert!(!done.load(Ordering::Relaxed));
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(done.load(Ordering::Relaxed));
    }
}
