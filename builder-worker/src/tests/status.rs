//! What can be asked of a worker over HTTP.

use std::time::Duration;

use laminix_builder::status::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::shop::{Shop, until};

/// The status line's number and the body.
async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_worker_says_how_it_is_and_what_it_has_done() {
    let Some(shop) = Shop::open().await else { return };
    let revision = shop
        .commit(r#"{ good = make "good-1" "echo > $out" { }; bad = make "bad-1" "exit 1" { }; }"#)
        .await;
    let worker = shop.worker(1, Duration::ZERO);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let status = Status::new(worker.workshop.clone(), worker.meters.clone());
    let serving = status.serve(listener, std::future::pending());
    let (stop, mut stops) = mpsc::channel::<()>(1);
    let script = async {
        assert_eq!(
            get(&address, "/healthz").await,
            (503, "the queue has not answered yet\n".to_owned())
        );
        shop.send(shop.build(&revision, &["good", "bad"])).await;
        let running = worker.run(async || {
            stops.recv().await;
        });
        let asking = async {
            let done = "laminix_jobs_total{kind=\"build\",outcome=\"done\"} 1\n";
            until("the job is counted", async || {
                get(&address, "/metrics").await.1.contains(done)
            })
            .await;
            assert_eq!(get(&address, "/healthz").await, (200, "ok\n".to_owned()));
            let (code, text) = get(&address, "/metrics").await;
            assert_eq!(code, 200);
            let value = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.trim().parse::<f64>().ok())
                    .unwrap_or_else(|| panic!("no {name} in {text}"))
            };
            assert!(value("laminix_packed_bytes_total") > 100.0);
            assert!(value("laminix_nix_store_free_bytes") > 0.0);
            assert!(value("laminix_job_seconds_sum{kind=\"build\"}") > 0.0);
            assert_eq!(value("laminix_job_seconds_count{kind=\"build\"}"), 1.0);
            assert_eq!(value("laminix_jobs_running"), 0.0);
            assert_eq!(get(&address, "/").await.0, 404);
            stop.send(()).await.unwrap();
        };
        tokio::join!(running, asking)
    };
    tokio::select! {
        _ = script => {}
        () = serving => panic!("it stopped answering"),
    }
}

#[tokio::test]
async fn a_store_that_fails_is_seen() {
    let Some(shop) = Shop::open().await else { return };
    let worker = shop.worker(1, Duration::ZERO);
    worker.meters.queue_answered();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let sources = shop.home.path().join("store/sources");
    std::os::unix::fs::symlink(&sources, &sources).unwrap();
    let status = Status::new(worker.workshop.clone(), worker.meters.clone());
    tokio::select! {
        answer = get(&address, "/healthz") => {
            assert_eq!(answer, (503, "the object store is broken at get\n".to_owned()));
        }
        () = status.serve(listener, std::future::pending()) => panic!("it stopped answering"),
    }
}
