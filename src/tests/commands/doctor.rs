//! `laminix doctor`.

use laminix::job::{Job, Work};

use super::{end, laminix, run, said};
use crate::fixture::Registry;

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
    assert!(out.contains("git+https://example.org/set"), "{out}");
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
