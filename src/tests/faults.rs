//! What clients see while the store or the queue fails, and afterwards, by the table in [`laminix::registry::error`]. On real servers
//! behind a proxy, which `.ci/stores` starts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method};
use laminix::job::Work;
use laminix::key::{Key, PackageRef, Prefix, Subject};
use laminix::name::System;
use laminix::queue::Queue;
use laminix::registry::App;
use laminix::store::Store;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

use crate::fixture::{Answer, Registry};
use crate::proxy::{Act, Proxy, Rule};
use crate::service::services;

/// A call of the store or of the queue tries this often at most.
const TRIES: u32 = 4;

const WRITES: &[Method] = &[Method::PUT, Method::POST, Method::DELETE];

/// Of the store and of the queue, as people are told.
const STORE: &str = "the registry's object store does not answer: try again in a minute";
const QUEUE: &str = "the registry cannot reach its builders: try again in a minute";

/// One registry behind faults, and its places past them.
struct Setting {
    registry: Registry,
    app: App,
    store: Proxy,
    queue: Proxy,
}

impl Setting {
    async fn new(store: &str, queue: &str) -> Self {
        let store = below(store);
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::at(directory, &store, queue, &[("LAMINIX_HOP", "1s")]).await;
        let endpoint = between(&store, "endpoint=http://", '&').to_owned();
        let host = between(queue, "sqs://", '/').to_owned();
        let (before_store, before_queue) = (Proxy::start(&endpoint).await, Proxy::start(&host).await);
        let (store, queue) = (
            store.replace(&endpoint, &before_store.address),
            queue.replace(&host, &before_queue.address),
        );
        let store = Store::open(&store, &|_| None).await.unwrap();
        let queue = Queue::open(&queue).await.unwrap();
        let app = App::new(registry.config.clone(), store, queue);
        Self {
            registry,
            app,
            store: before_store,
            queue: before_queue,
        }
    }

    /// The answer, how long it took, and how often it called the store.
    async fn ask(&self, method: Method, target: &str) -> (Answer, Duration, u32) {
        ask(self.app.clone(), method, target.to_owned()).await
    }
}

async fn ask(app: App, method: Method, target: String) -> (Answer, Duration, u32) {
    let (uri, began) = (target.parse().unwrap(), Instant::now());
    let (response, report) = app.answer_by(None, &method, &uri, &HeaderMap::new()).await;
    (Answer::read(response).await, began.elapsed(), report.store_calls)
}

/// The same bucket, below a prefix that nobody else has. A short one: s3s-fs makes names of files of whole keys.
fn below(url: &str) -> String {
    let moment = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let (place, query) = url.split_once('?').unwrap();
    format!("{place}/{:010x}?{query}", moment & 0xff_ffff_ffff)
}

fn between<'a>(text: &'a str, begin: &str, end: char) -> &'a str {
    text.split_once(begin).unwrap().1.split(end).next().unwrap()
}

/// The pairs of a store and a queue, to be used by one test at a time.
async fn pairs() -> (Vec<(String, String, String)>, MutexGuard<'static, ()>) {
    static ONE: Mutex<()> = Mutex::const_new(());
    let stores = services("LAMINIX_TEST_STORES");
    let queues = services("LAMINIX_TEST_QUEUES");
    let pairs = stores.into_iter().zip(queues);
    let pairs = pairs.map(|((name, store), (_, queue))| (name, store, queue));
    (pairs.collect(), ONE.lock().await)
}

/// All that was asked of workers and not of one yet: the attributes of each job.
async fn jobs(queue: &Queue) -> Vec<BTreeSet<String>> {
    let mut jobs = Vec::new();
    while let Some(delivery) = queue.receive(Duration::from_secs(1)).await.unwrap() {
        queue.complete(&delivery.receipt).await.unwrap();
        match delivery.job.unwrap().work {
            Work::Build { attributes, .. } => {
                jobs.push(attributes.iter().map(ToString::to_string).collect());
            }
            // the contract's, which was tried on the same queues before
            Work::Resolve { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    jobs
}

/// A row of the table: the fault, what is seen in each column, and the bound of the time.
#[derive(Debug, Clone)]
struct Row {
    number: usize,
    fault: String,
    seen: Vec<u16>,
    within: Duration,
}

fn table() -> Vec<Row> {
    let docs = include_str!("../registry/error.rs");
    let rows = docs
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|line| line.starts_with("store ") || line.starts_with("queue "));
    let rows = rows.enumerate().map(|(number, line)| {
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let (within, seen) = cells[1..].split_last().unwrap();
        Row {
            number,
            fault: cells[0].to_owned(),
            seen: seen.iter().map(|cell| cell.parse().unwrap()).collect(),
            within: Duration::from_secs(within.strip_suffix(" s").unwrap().parse().unwrap()),
        }
    });
    rows.collect()
}

impl Row {
    async fn begin(&self, setting: &Setting) {
        let (place, fault) = self.fault.split_once(' ').unwrap();
        let proxy = if place == "store" {
            &setting.store
        } else {
            &setting.queue
        };
        let rule = match fault {
            "refuses connections" => return proxy.refuse().await,
            "stalls before headers" => Rule::all(Act::Stall),
            "stalls in bodies" => Rule::all(Act::StallBody),
            "resets connections" => Rule::all(Act::Reset),
            "cuts bodies off" => Rule::all(Act::Cut),
            "answers 503" => Rule::all(Act::Status(503, "SlowDown")),
            "answers 500" => Rule::all(Act::Status(500, "InternalError")),
            "answers 429" => Rule::all(Act::Status(429, "TooManyRequests")),
            "answers 403" => Rule::all(Act::Status(403, "AccessDenied")),
            "answers 403 to writes" => Rule::on(WRITES, "", Act::Status(403, "AccessDenied")),
            "stalls at writes" => Rule::on(WRITES, "", Act::Stall),
            "is slow by 2 s" => Rule::all(Act::Slow(Duration::from_secs(2))),
            unknown => panic!("{unknown}"),
        };
        proxy.rule([rule]);
    }

    /// The requests of each column.
    fn requests(&self, digest: &str) -> Vec<(u16, Method, String)> {
        let warm = ["latest", digest].map(|reference| format!("/v2/hello/manifests/{reference}"));
        let image = |name: &str| format!("/v2/{name}{}/manifests/latest", self.number);
        let blob = format!("/v2/hello/blobs/{digest}");
        let columns = [
            vec![
                (Method::GET, warm[0].clone()),
                (Method::HEAD, warm[0].clone()),
                (Method::GET, warm[1].clone()),
                (Method::HEAD, warm[1].clone()),
            ],
            vec![(Method::GET, image("hello/known"))],
            vec![(Method::HEAD, image("hello/cold"))],
            vec![(Method::HEAD, blob.clone())],
            vec![(Method::GET, blob)],
            vec![(Method::GET, "/v2/".into()), (Method::GET, "/healthz".into())],
        ];
        assert_eq!(columns.len(), self.seen.len());
        let columns = columns.into_iter().zip(&self.seen);
        columns
            .flat_map(|(requests, seen)| {
                requests
                    .into_iter()
                    .map(|(method, target)| (*seen, method, target))
            })
            .collect()
    }

    /// The row holds, and when the fault is over nothing of it is left.
    async fn holds(self, name: String, store: String, queue: String) {
        let setting = Setting::new(&store, &queue).await;
        let registry = &setting.registry;
        let known = format!("known{}", self.number);
        registry.warm().await;
        registry.record(&known, &registry.package(&known).await).await;
        // past the proxy: the function behind it remembers no revision
        let warm = registry.get("/v2/hello/manifests/latest").await;
        assert_eq!(warm.status, 200);
        let config = warm.json()["config"]["digest"].as_str().unwrap().to_owned();
        let digest = warm.header("docker-content-digest").to_owned();
        let requests: Vec<_> = self
            .requests(&digest)
            .into_iter()
            .map(|(status, method, target)| {
                (
                    status,
                    method,
                    target.replace(&format!("blobs/{digest}"), &format!("blobs/{config}")),
                )
            })
            .collect();
        // a connection that is open already
        let (open, ..) = setting
            .ask(Method::HEAD, &format!("/v2/hello/blobs/{config}"))
            .await;
        assert_eq!(open.status, 200);
        let seen = setting.store.seen();
        self.begin(&setting).await;
        let mut asked = JoinSet::new();
        for (expected, method, target) in requests.clone() {
            let app = setting.app.clone();
            asked.spawn(async move {
                (
                    expected,
                    target.clone(),
                    method.clone(),
                    ask(app, method, target).await,
                )
            });
        }
        let mut calls = 0;
        while let Some(done) = asked.join_next().await {
            let (expected, target, method, (answer, took, called)) = done.unwrap();
            let case = format!(
                "{name}: {}: {method} {target} after {took:?}: {answer:?}",
                self.fault
            );
            calls += called;
            assert_eq!(answer.status, expected, "{case}");
            assert!(took <= self.within, "{case}");
            if expected == 503 {
                assert_eq!(answer.header("retry-after"), "10", "{case}");
                let message = if self.fault.starts_with("store") {
                    STORE
                } else {
                    QUEUE
                };
                if method == Method::GET {
                    assert_eq!(answer.error(), ("UNAVAILABLE".into(), message.into()), "{case}");
                }
                // the headers tell nothing either
                let told = format!("{:?}", answer.headers).to_lowercase();
                for internal in ["127.0.0.1", "s3", "sqs", "aws", "bucket", "minio"] {
                    assert!(!told.contains(internal), "{case}");
                }
            }
        }
        assert!(
            setting.store.seen() - seen <= calls * TRIES,
            "{name}: {}",
            self.fault
        );
        setting.store.pass().await;
        setting.queue.pass().await;
        for (_, method, target) in requests {
            let (answer, took, _) = setting.ask(method.clone(), &target).await;
            let good = match (&method, target.contains("/blobs/"), target.contains("/cold")) {
                (&Method::GET, true, _) | (_, _, true) => 307,
                _ => 200,
            };
            let case = format!(
                "{name}: after {}: {method} {target} after {took:?}: {answer:?}",
                self.fault
            );
            assert_eq!(answer.status, good, "{case}");
            assert!(took <= Duration::from_secs(10), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: .ci/stores"]
async fn clients_see_what_the_table_says() {
    let (pairs, _one) = pairs().await;
    let rows = table();
    assert_eq!(rows.len(), 17);
    // first: the tries of all clients of a process have one budget, which many faults at once use up
    for (name, store, queue) in &pairs {
        one_bad_answer_is_not_seen(name, store, queue).await;
    }
    for (name, store, queue) in &pairs {
        let mut holding = JoinSet::new();
        for row in rows.clone() {
            holding.spawn(row.holds(name.clone(), store.clone(), queue.clone()));
        }
        while let Some(held) = holding.join_next().await {
            held.unwrap();
        }
        let asked: Vec<_> = jobs(&Queue::open(queue).await.unwrap()).await;
        for row in &rows {
            let cold = format!("cold{}", row.number);
            assert!(
                asked.contains(&BTreeSet::from([cold])),
                "{name}: {}: {asked:?}",
                row.fault
            );
        }
    }
}

/// What is over after a moment is the registry's own affair.
async fn one_bad_answer_is_not_seen(name: &str, store: &str, queue: &str) {
    for act in [
        Act::Status(503, "SlowDown"),
        Act::Status(500, "InternalError"),
        Act::Reset,
        Act::Stall,
        Act::Cut,
        Act::StallBody,
    ] {
        let setting = Setting::new(store, queue).await;
        setting.registry.warm().await;
        setting.store.rule([Rule::all(act).times(1)]);
        let (answer, took, _) = setting.ask(Method::GET, "/v2/hello/manifests/latest").await;
        assert_eq!(answer.status, 200, "{name}: {act:?}: {answer:?}");
        assert!(took <= Duration::from_secs(10), "{name}: {act:?}: {took:?}");
    }
}

/// A fault at any step of publishing leaves nothing named that is not stored, and the next pull makes all of it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: .ci/stores"]
async fn a_fault_while_publishing_names_nothing_that_is_not_stored() {
    let (pairs, _one) = pairs().await;
    for (name, store, queue) in &pairs {
        let setting = Setting::new(store, queue).await;
        let registry = &setting.registry;
        registry.warm().await;
        let images = Prefix::Images(registry.source.id(), "1".repeat(40).parse().unwrap());
        // what the image is like, made elsewhere: same packages, same bytes
        let other = Registry::new().await;
        other.warm().await;
        let made = other.get("/v2/hello/manifests/latest").await;
        let manifest = Key::Manifest(made.header("docker-content-digest").parse().unwrap());
        for (part, stored) in [("/blobs/", false), ("/manifests/", false), ("/images/", true)] {
            for act in [
                Act::Status(503, "SlowDown"),
                Act::Reset,
                Act::Status(403, "AccessDenied"),
            ] {
                setting.store.rule([Rule::on(WRITES, part, act)]);
                let (answer, ..) = setting.ask(Method::GET, "/v2/hello/manifests/latest").await;
                let case = format!("{name}: {act:?} at {part}: {answer:?}");
                assert_eq!((answer.status, answer.error().1.as_str()), (503, STORE), "{case}");
                assert!(registry.store.list(&images).await.unwrap().is_empty(), "{case}");
                let named = registry.store.get(&manifest).await.unwrap().is_some();
                assert_eq!(named, stored, "{case}");
            }
        }
        setting.store.pass().await;
        let (answer, ..) = setting.ask(Method::GET, "/v2/hello/manifests/latest").await;
        assert_eq!((answer.status, &answer.body), (200, &made.body), "{name}");
        assert_eq!(registry.store.list(&images).await.unwrap().len(), 1, "{name}");
    }
}

/// Whatever fails between the first claim and the job that was sent, the next pull asks at once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: .ci/stores"]
async fn a_fault_while_asking_leaves_no_claim_behind() {
    let (pairs, _one) = pairs().await;
    let put: &[Method] = &[Method::PUT];
    let delete: &[Method] = &[Method::DELETE];
    let bad = Act::Status(503, "SlowDown");
    for (name, store, queue) in &pairs {
        let cases: [(&str, Vec<Rule>, Vec<Rule>); 5] = [
            // the third claim cannot be written, after two that can
            (
                "third",
                vec![
                    Rule::on(put, "/claims/", Act::Slow(Duration::ZERO)).times(2),
                    Rule::on(put, "/claims/", bad),
                ],
                vec![],
            ),
            ("lost", vec![Rule::on(put, "/claims/", Act::Lose)], vec![]),
            (
                "lost-once",
                vec![Rule::on(put, "/claims/", Act::Lose).times(1)],
                vec![],
            ),
            ("queue", vec![], vec![Rule::all(Act::Reset)]),
            (
                "both",
                vec![Rule::on(delete, "", Act::Stall).times(2)],
                vec![Rule::all(Act::Stall)],
            ),
        ];
        for (fault, at_store, at_queue) in cases {
            let setting = Setting::new(store, queue).await;
            setting.registry.resolve("latest", 0).await;
            setting.store.rule(at_store);
            setting.queue.rule(at_queue);
            let target = "/v2/hello/manifests/latest";
            let (answer, took, _) = setting.ask(Method::GET, target).await;
            let case = format!("{name}: {fault} after {took:?}: {answer:?}");
            assert!(took <= Duration::from_secs(20), "{case}");
            // the SDK may or may not have tries left
            let overcome = fault == "lost-once" && answer.status == 307;
            assert!(overcome || answer.status == 503, "{case}");
            setting.store.pass().await;
            setting.queue.pass().await;
            let (answer, took, _) = setting.ask(Method::GET, target).await;
            assert_eq!(answer.status, 307, "{case}: {answer:?}");
            assert!(took <= Duration::from_secs(10), "{case}: {took:?}");
            let asked = jobs(&setting.registry.queue).await;
            let all = ["bashInteractive", "cacert", "coreutils", "hello", "iana-etc"];
            let all: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
            assert_eq!(asked, [all], "{case}");
        }
    }
}

/// A caller that stops listening gets an answer before.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: .ci/stores"]
async fn an_invocation_that_ends_soon_is_answered_before() {
    let (pairs, _one) = pairs().await;
    let (_, store, queue) = &pairs[0];
    let setting = Setting::new(store, queue).await;
    setting.registry.warm().await;
    setting.store.rule([Rule::all(Act::Stall)]);
    let (uri, deadline) = (
        "/v2/hello/manifests/latest".parse().unwrap(),
        Instant::now() + Duration::from_secs(6),
    );
    let answer = setting
        .app
        .answer_by(Some(deadline), &Method::GET, &uri, &HeaderMap::new())
        .await
        .0;
    assert!(Instant::now() < deadline);
    let answer = Answer::read(answer).await;
    let slow = "the registry takes too long to answer: try again in a minute";
    assert_eq!((answer.status, answer.header("retry-after")), (503, "10"));
    assert_eq!(answer.error(), ("UNAVAILABLE".into(), slow.into()));
}

/// What a worker has taken over is not given back, although the answer to the job that was sent was lost.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: .ci/stores"]
async fn a_claim_that_a_worker_holds_stays() {
    let (pairs, _one) = pairs().await;
    let (_, store, queue) = &pairs[0];
    let setting = Setting::new(store, queue).await;
    let registry = &setting.registry;
    registry.resolve("latest", 0).await;
    setting.queue.rule([Rule::all(Act::Stall)]);
    let app = setting.app.clone();
    let pull = tokio::spawn(ask(app, Method::GET, "/v2/hello/manifests/latest".to_owned()));
    let subject = Subject::Package(PackageRef {
        source: registry.source.id(),
        revision: "1".repeat(40).parse().unwrap(),
        system: System::Amd64,
        attribute: "hello".parse().unwrap(),
    });
    while registry.store.get(&subject.claim()).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = bytes::Bytes::from_static(br#"{"since":1,"seen":9999999999,"phase":"building"}"#);
    registry.store.put(&subject.claim(), held.clone()).await.unwrap();
    let (answer, ..) = pull.await.unwrap();
    assert_eq!((answer.status, answer.error().1.as_str()), (503, QUEUE));
    assert_eq!(registry.store.get(&subject.claim()).await.unwrap(), Some(held));
    assert!(jobs(&registry.queue).await.is_empty());
}
