//! The commands for operators, started as they are started, with a store and a queue in a directory and a played worker.

#![expect(
    clippy::disallowed_methods,
    reason = "the program is started as its users start it"
)]

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use laminix::job::{Job, Work};
use laminix::key::{Key, PackageRef, Subject, TagRef};
use laminix::name::System;
use laminix::queue::Depth;
use laminix::record::{Claim, Next, PackageRecord, SourceRecord, now};

use crate::fixture::Registry;

const BASE: [&str; 4] = ["bashInteractive", "cacert", "coreutils", "iana-etc"];

/// The program with a registry's variables.
fn laminix(registry: &Registry, arguments: &[&str]) -> Command {
    let place = |name: &str| format!("file://{}/{name}", registry.directory.path().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_laminix"));
    command
        .args(arguments)
        .env_clear()
        .env("LAMINIX_STORE", place("store"))
        .env("LAMINIX_QUEUE", place("queue"))
        .env("LAMINIX_SOURCE", "git+file:///set")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Exit code, stdout, stderr.
type Said = (Option<i32>, String, String);

fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(registry: &Registry, arguments: &[&str]) -> Said {
    said(&laminix(registry, arguments).output().unwrap())
}

/// Waits for one that was started, while others here go on.
async fn end(child: Child) -> Said {
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    said(&output.await.unwrap().unwrap())
}

fn with_input(registry: &Registry, arguments: &[&str], input: &str) -> Said {
    let mut child = laminix(registry, arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    said(&child.wait_with_output().unwrap())
}

fn depth(waiting: usize) -> Depth {
    Depth {
        waiting,
        running: 0,
        parked: 0,
    }
}

fn failed(reason: &str, until: u64) -> PackageRecord {
    PackageRecord::Failed {
        reason: reason.to_owned(),
        log: "first\nmake: *** [all] Error 2\n".to_owned(),
        until,
    }
}

/// The next job of the queue, which must be a warm one: its name and tag.
async fn warm_job(registry: &Registry) -> (String, String) {
    let delivery = registry.queue.receive(std::time::Duration::from_secs(10)).await;
    let delivery = delivery.unwrap().expect("a job");
    registry.queue.complete(&delivery.receipt).await.unwrap();
    match delivery.job.unwrap().work {
        Work::Warm { name, tag, source } => {
            assert_eq!(source, registry.source);
            (name, tag.as_str().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn names_are_checked_before_anything_is_sent() {
    let registry = Registry::new().await;
    let list = "# tools\ngit\nUPPER\n\n  curl:nixos/26 # no\n";
    let (code, out, problems) = with_input(&registry, &["warm", "good", "arm64", "--file", "-"], list);
    assert_eq!((code, out.as_str()), (Some(64), ""));
    for words in [
        "`arm64`: the name asks for a system",
        "-:3: `UPPER`:",
        "-:5: `curl:nixos/26`:",
        "3 names cannot be read",
    ] {
        assert!(problems.contains(words), "{words}: {problems}");
    }
    let (code, _, problem) = run(&registry, &["warm", "--file", "/nowhere/list"]);
    assert!(code == Some(64) && problem.contains("/nowhere/list"), "{problem}");
    let (code, _, problem) = with_input(&registry, &["warm", "--file", "-"], "# nothing\n");
    assert!(code == Some(64) && problem.contains("no image"), "{problem}");
    assert_eq!(registry.queue.depth().await.unwrap(), depth(0));
}

#[tokio::test]
async fn warm_sends_a_job_for_each_image_and_needs_no_store() {
    let registry = Registry::new().await;
    let mut command = laminix(
        &registry,
        &["warm", "shell/git", "arm64/git:v1", "--file", "-", "shell/git"],
    );
    let mut child = command
        .env_remove("LAMINIX_STORE")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"curl\ngit/shell\n")
        .unwrap();
    let (code, out, problems) = said(&child.wait_with_output().unwrap());
    assert!(
        code == Some(0) && out.starts_with("4 jobs sent"),
        "{out}{problems}"
    );
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.push(warm_job(&registry).await);
    }
    sent.sort();
    let expected = [
        "amd64/curl",
        "amd64/git/shell",
        "amd64/shell/git",
        "arm64/arm64/git",
    ];
    let names: Vec<&str> = sent.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names, expected,
        "`git/shell` is another image: behind a package, `shell` is a package"
    );
    assert_eq!(sent[3].1, "v1");
    let mut command = laminix(&registry, &["warm", "git", "--wait"]);
    let (code, _, problems) = said(&command.env_remove("LAMINIX_STORE").output().unwrap());
    assert!(
        code == Some(64) && problems.contains("LAMINIX_STORE"),
        "{problems}"
    );
}

#[tokio::test]
async fn warm_waits_until_each_is_ready_or_has_failed() {
    let registry = Registry::new().await;
    // what the tag named a minute ago is not what is waited for: the job looks it up anew
    registry.warm().await;
    registry.resolve("latest", 60).await;
    let child = laminix(
        &registry,
        &[
            "warm",
            "hello",
            "git",
            "nope",
            "hello:gone",
            "--wait",
            "--for",
            "60s",
        ],
    )
    .spawn()
    .unwrap();
    for _ in 0..4 {
        warm_job(&registry).await;
    }
    registry.resolve("latest", 0).await;
    registry
        .record("git", &failed("building git-2.47.0 failed", now() + 600))
        .await;
    let near = vec!["nop".to_owned(), "node".to_owned()];
    registry.record("nope", &PackageRecord::NotFound { near }).await;
    let gone = SourceRecord::Refused {
        reason: "the repository has no `gone`".to_owned(),
        until: now() + 60,
    };
    put(&registry, &tag(&registry, "gone").key(), &gone).await;
    let (code, out, progress) = end(child).await;
    assert_eq!(code, Some(1), "{out}{progress}");
    for line in [
        "ready   hello:latest\n",
        "failed  git:latest: building git-2.47.0 failed\n",
        "failed  nope:latest: the package set has no `nope`; near it are `nop`, `node`\n",
        "failed  hello:gone: the repository has no `gone`\n",
        "1 of 4 ready, 3 failed\n",
    ] {
        assert!(out.contains(line), "{line}{out}");
    }
    // nothing is rewritten where there is no terminal
    assert!(
        progress.starts_with("4 jobs sent\n") && !progress.contains('\x1b'),
        "{progress:?}"
    );
}

#[tokio::test]
async fn warm_ends_well_when_all_is_ready() {
    let registry = Registry::new().await;
    registry.warm().await;
    // a set without certificates is a set: the base may lack what nobody asked for
    registry
        .record("cacert", &PackageRecord::NotFound { near: Vec::new() })
        .await;
    let (code, out, progress) = run(&registry, &["warm", "hello", "--wait"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "ready   hello:latest\n1 of 1 ready\n"),
        "{progress}"
    );
}

#[tokio::test]
async fn what_is_not_there_in_time_goes_on_without_us() {
    let registry = Registry::new().await;
    let (code, out, note) = run(&registry, &["warm", "git", "--wait", "--for", "1s"]);
    assert_eq!(code, Some(75), "{out}{note}");
    assert!(
        out.contains("0 of 1 ready, 1 not there yet\nwaiting git:latest\n"),
        "{out}"
    );
    assert!(note.contains("time is up (1 s): the jobs go on"), "{note}");
    assert_eq!(registry.queue.depth().await.unwrap(), depth(1));
    // and so it is when somebody has enough
    let child = laminix(&registry, &["warm", "git", "--wait"]).spawn().unwrap();
    let id = child.id().to_string();
    while registry.queue.depth().await.unwrap() != depth(2) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let (code, _, note) = end(child).await;
    assert_eq!(code, Some(130), "{note}");
    assert!(note.contains("stopped: the jobs go on"), "{note}");
    assert_eq!(registry.queue.depth().await.unwrap(), depth(2));
}

fn tag(registry: &Registry, tag: &str) -> Subject {
    Subject::Tag(TagRef {
        source: registry.source.id(),
        tag: tag.parse().unwrap(),
    })
}

async fn put(registry: &Registry, key: &Key, record: &impl serde::Serialize) {
    let body = serde_json::to_vec(record).unwrap();
    registry.store.put(key, body.into()).await.unwrap();
}

/// What `status --json` says a pull would do.
fn pull(registry: &Registry, image: &str) -> (String, serde_json::Value) {
    let (code, out, problems) = run(registry, &["status", "--json", image]);
    assert_eq!(code, Some(0), "{problems}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    (json["pull"].as_str().unwrap().to_owned(), json)
}

/// What it foretells is what the registry does.
#[tokio::test]
async fn status_tells_what_a_pull_would_do() {
    let registry = Registry::with(&[("LAMINIX_HOP", "0s")]).await;
    let manifest = "/v2/hello/manifests/latest";
    assert_eq!(pull(&registry, "hello").0, "waits");
    assert_eq!(registry.get(manifest).await.status, 307);
    registry.warm().await;
    let (foretold, json) = pull(&registry, "hello");
    assert_eq!(foretold, "composed");
    let answer = registry.get(manifest).await;
    assert_eq!(answer.status, 200);
    // what it says of the image before it is made is true of the image
    let layers = answer.json()["layers"].as_array().unwrap().clone();
    assert_eq!(json["layers"], layers.len());
    let sizes: u64 = layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    let config = answer.json()["config"]["size"].as_u64().unwrap();
    assert_eq!(json["download"], sizes + config);
    let (foretold, cached) = pull(&registry, "hello");
    assert_eq!((foretold.as_str(), &cached["cached"]), ("cached", &true.into()));
    assert_eq!(cached["download"], json["download"]);
    registry.record("git", &failed("it fails", now() + 600)).await;
    assert_eq!(pull(&registry, "git/hello").0, "refused");
    assert_eq!(registry.get("/v2/git/hello/manifests/latest").await.status, 403);
    // a failure that is old counts as nothing
    registry.record("git", &failed("it fails", now() - 1)).await;
    assert_eq!(pull(&registry, "git/hello").0, "waits");
    assert_eq!(registry.get("/v2/git/hello/manifests/latest").await.status, 307);
}

#[tokio::test]
async fn status_tells_of_each_package() {
    let registry = Registry::new().await;
    registry.warm().await;
    let moving = SourceRecord::Resolved {
        revision: "1".repeat(40).parse().unwrap(),
        at: now() - 7 * 3600,
        fixed: false,
        next: Some(Next {
            revision: "2".repeat(40).parse().unwrap(),
            since: now() - 130,
        }),
    };
    put(&registry, &tag(&registry, "latest").key(), &moving).await;
    registry
        .record("git", &failed("building git failed", now() + 600))
        .await;
    let near = vec!["curl".to_owned()];
    registry.record("curll", &PackageRecord::NotFound { near }).await;
    let unfree = PackageRecord::Refused {
        reason: "`steam` is unfree\u{1b}[31m".to_owned(),
        until: now() + 600,
    };
    registry.record("steam", &unfree).await;
    let claim = Claim {
        since: now() - 60,
        seen: now(),
        phase: "building nano-8 (3 of 7)".to_owned(),
    };
    let nano = Subject::Package(PackageRef {
        source: registry.source.id(),
        revision: "1".repeat(40).parse().unwrap(),
        system: System::Amd64,
        attribute: "nano".parse().unwrap(),
    });
    put(&registry, &nano.claim(), &claim).await;
    let (code, out, _) = run(&registry, &["status", "hello/git/curll/steam/nano/moreutils"]);
    assert_eq!(code, Some(0));
    for words in [
        &format!(
            "{}, looked up 7 h ago, and again behind the next pull",
            "1".repeat(40)
        ),
        &format!(
            "moves to {} when its packages are ready (seen 2 min ago)",
            "2".repeat(40)
        ),
        "image     not in the cache",
        "a pull    waits for a builder",
        "hello            ready: hello-1.0",
        "git              failed: building git failed; tried again in ",
        "      make: *** [all] Error 2",
        "curll            not in the package set; near it are curl",
        "steam            refused: `steam` is unfree[31m; tried again in ",
        "nano             being made since 1 min ago: building nano-8 (3 of 7)",
        "moreutils        missing\n",
        "bashInteractive  ready: bashInteractive-1.0 (in every image)",
    ] {
        assert!(out.contains(words), "{words}:\n{out}");
    }
    let packages = pull(&registry, "hello/git").1["packages"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(packages, 2 + BASE.len());
    let (code, _, problem) = run(&registry, &["status", "Hello"]);
    assert!(code == Some(64) && problem.contains("`Hello`"), "{problem}");
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_has_its_exit_code() {
    let registry = Registry::new().await;
    registry.break_part("sources");
    for command in [&["status", "hello"][..], &["warm", "hello", "--wait"]] {
        let (code, out, problem) = run(&registry, command);
        assert_eq!((code, out.as_str()), (Some(69), ""), "{problem}");
        assert!(
            problem.contains("object store") && problem.contains("laminix doctor"),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn doctor_finds_nothing_where_all_is_well() {
    let registry = Registry::new().await;
    let (code, out, _) = run(&registry, &["doctor"]);
    assert_eq!(code, Some(0), "{out}");
    for line in [
        "ok       credentials    a directory needs none",
        "ok       store          an object is created in",
        "ok       store          an object that is there is not created again",
        "ok       download       a blob is fetched by a signed URL",
        "ok       queue          0 jobs waiting, 0 running",
        "ok       dead letters   0 jobs given up",
        "nothing FAILED, 0 warnings",
    ] {
        assert!(out.contains(line), "{line}:\n{out}");
    }
    // it leaves nothing behind but its blob
    let claims = registry.directory.path().join("store/claims");
    assert_eq!(std::fs::read_dir(claims).unwrap().count(), 0);
}

#[tokio::test]
async fn doctor_tells_what_is_wrong_and_what_to_do() {
    let registry = Registry::new().await;
    let nothing = laminix(&registry, &["doctor"])
        .env_remove("LAMINIX_STORE")
        .env("LAMINIX_QUEUE", "file:///dev/null/queue")
        .env("LAMINIX_HOP", "soon")
        .output();
    let (code, out, _) = said(&nothing.unwrap());
    assert_eq!(code, Some(1), "{out}");
    for line in [
        "FAILED   configuration  LAMINIX_STORE is not set",
        "FAILED   configuration  LAMINIX_HOP: `soon`",
        "FAILED   queue          `file:///dev/null/queue` is no queue",
        "3 FAILED, 0 warnings",
    ] {
        assert!(out.contains(line), "{line}:\n{out}");
    }
    for (part, line) in [
        ("claims", "FAILED   store "),
        ("blobs", "FAILED   download       a small blob cannot be stored"),
    ] {
        registry.break_part(part);
        let (code, out, _) = run(&registry, &["doctor"]);
        assert!(code == Some(1) && out.contains(line), "{part}: {out}");
        assert!(
            out.contains("1 FAILED"),
            "only the first thing that is wrong is told: {out}"
        );
        registry.mend_part(part);
    }
    // a secret in a URL stays one, and so does one in a variable
    let secret = laminix(&registry, &["doctor"])
        .env("LAMINIX_SOURCE", "git+https://user:hidden@example.org/set")
        .env("LAMINIX_STORE_SECRET_KEY", "hidden")
        .output();
    let (_, out, problems) = said(&secret.unwrap());
    assert!(out.contains("…@example.org/set"), "{out}");
    assert!(!format!("{out}{problems}").contains("hidden"), "{out}{problems}");
}

#[tokio::test]
async fn doctor_looks_at_the_queue() {
    let registry = Registry::new().await;
    let job = Job::new(Work::Resolve {
        source: registry.source.clone(),
        tag: "latest".parse().unwrap(),
    });
    registry.queue.send(&job).await.unwrap();
    let (code, out, _) = run(&registry, &["doctor"]);
    assert!(
        code == Some(0) && out.contains("warning  worker         jobs wait, and none is at work"),
        "{out}"
    );
    let delivery = registry
        .queue
        .receive(std::time::Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let (_, out, _) = run(&registry, &["doctor"]);
    assert!(out.contains("ok       worker         one is at work"), "{out}");
    registry
        .queue
        .park(&delivery.receipt, "it cannot be done")
        .await
        .unwrap();
    let (code, out, _) = run(&registry, &["doctor"]);
    assert!(
        code == Some(0) && out.contains("warning  dead letters   1 job given up"),
        "{out}"
    );
}

#[tokio::test]
async fn doctor_asks_a_worker() {
    let registry = Registry::new().await;
    // one that was resolved this very second is told from one that is resolved now
    registry.resolve("latest", 0).await;
    let child = laminix(&registry, &["doctor", "--worker", "--for", "30s"])
        .spawn()
        .unwrap();
    registry
        .work(async |_| unreachable!("nothing is to be built"))
        .await;
    let (code, out, problems) = end(child).await;
    assert_eq!(code, Some(0), "{out}{problems}");
    assert!(
        out.contains("ok       worker         one has answered in"),
        "{out}"
    );
    let (code, out, _) = run(&registry, &["doctor", "--worker", "--for", "1s"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("FAILED   worker         none has answered within 1 s"),
        "{out}"
    );
}

/// The worker's own address is asked where it is set.
#[tokio::test]
async fn doctor_asks_the_worker_of_this_machine() {
    let registry = Registry::new().await;
    for (status, sandboxed, grade, nix) in [
        (
            200,
            true,
            "ok       worker",
            "ok       nix            2.8.0, builds are sandboxed, its disk has 9.0 GB free",
        ),
        (
            200,
            false,
            "ok       worker",
            "warning  nix            2.8.0, builds are not sandboxed",
        ),
        (503, true, "FAILED   worker", ""),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = move |_, uri: http::Uri, _| async move {
            let metrics = format!(
                "# TYPE laminix_nix_info gauge\nlaminix_nix_info{{version=\"2.8.0\",sandboxed=\"{sandboxed}\"}} 1\n"
            );
            let text = match uri.path() {
                "/healthz" => "the queue is silent\n".to_owned(),
                "/metrics" => metrics + "laminix_nix_store_free_bytes 9000000000\n",
                other => panic!("{other}"),
            };
            let mut answer = http::Response::new(laminix::body::Body::from(text));
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            answer
        };
        let server = tokio::spawn(laminix::server::serve_with(
            answer,
            listener,
            std::future::pending(),
        ));
        let child = laminix(&registry, &["doctor"])
            .env("LAMINIX_STATUS", &address)
            .spawn();
        let (_, out, _) = end(child.unwrap()).await;
        let line = format!("{grade}         the one at {address}");
        assert!(out.contains(&line) && out.contains(nix), "{line}, {nix}:\n{out}");
        assert_eq!(out.contains("the queue is silent"), status == 503, "{out}");
        server.abort();
    }
    let child = laminix(&registry, &["doctor"])
        .env("LAMINIX_STATUS", "127.0.0.1:1")
        .spawn();
    let (code, out, _) = end(child.unwrap()).await;
    assert!(
        code == Some(1) && out.contains("nothing answers at 127.0.0.1:1"),
        "{out}"
    );
}
