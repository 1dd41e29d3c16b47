//! The registry over real sockets: slow clients, a graceful end, and answers that outlive their client.

use std::time::{Duration, Instant};

use laminix::server::serve_on;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fixture::Registry;

async fn start(registry: &Registry) -> (std::net::SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let app = registry.app.clone();
    let server = tokio::spawn(async move {
        serve_on(app, listener, async { drop(stopped.await) }).await;
    });
    (address, stop, server)
}

async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_real_thing_answers() {
    let registry = Registry::new().await;
    registry.warm().await;
    let (address, _stop, _server) = start(&registry).await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = get("/v2/hello/manifests/latest").replacen("GET", "HEAD", 1);
    let (got, headed) = (
        exchange(address, &get("/v2/hello/manifests/latest")).await,
        exchange(address, &head).await,
    );
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && headed.starts_with("HTTP/1.1 200 OK\r\n"));
    let (headers, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(headers.contains(&format!("content-length: {}", body.len())));
    assert!(headed.contains(&format!("content-length: {}", body.len())) && headed.ends_with("\r\n\r\n"));
    for nonsense in [
        "\x16\x03\x01\x02\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9\r\n\r\n",
        &get(&"/a".repeat(40_000)),
    ] {
        let answer = exchange(address, nonsense).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

/// Fault 18 of the predecessor: no graceful stop.
#[tokio::test]
async fn what_is_on_its_way_is_finished() {
    let registry = Registry::with(&[("LAMINIX_HOP", "2s")]).await;
    registry.resolve("latest", 0).await;
    let (address, stop, server) = start(&registry).await;
    let pull = tokio::spawn(async move {
        exchange(
            address,
            "GET /v2/hello/manifests/latest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    stop.send(()).unwrap();
    server.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(8));
    assert!(pull.await.unwrap().starts_with("HTTP/1.1 307"));
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

/// Fault 10 of the predecessor: what was written was cut short with the request.
#[tokio::test]
async fn an_image_is_published_though_its_client_has_gone() {
    let registry = Registry::with(&[("LAMINIX_HOP", "20s")]).await;
    registry.resolve("latest", 0).await;
    let (address, _stop, _server) = start(&registry).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /v2/hello/manifests/latest HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    registry
        .work(async |attribute: &laminix::name::Attribute| registry.package(attribute.as_str()).await)
        .await;
    let images = registry.directory.path().join("store/images");
    for _ in 0..50 {
        if std::fs::read_dir(&images).is_ok_and(|mut entries| entries.next().is_some()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the image was not published");
}

/// Fault 18 of the predecessor: no timeouts. Whoever connects and says nothing, or not all, or no more, is let go.
#[tokio::test(start_paused = true)]
async fn a_client_that_dawdles_is_cut_off() {
    let registry = Registry::new().await;
    let (address, _stop, _server) = start(&registry).await;
    for said in [
        "",
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nAccept: ",
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let began = tokio::time::Instant::now();
        let limit = Duration::from_secs(60);
        let answer = tokio::time::timeout(limit, exchange(address, said)).await;
        assert!(answer.is_ok(), "{said:?} holds a connection for ever");
        // long enough for a slow network
        assert!(began.elapsed() >= Duration::from_secs(10), "{said:?}");
    }
}

#[tokio::test]
async fn bodies_of_requests_are_not_waited_for() {
    let registry = Registry::new().await;
    registry.warm().await;
    let (address, _stop, _server) = start(&registry).await;
    for (request, status) in [
        ("PUT /v2/hello/manifests/latest", "405"),
        ("POST /v2/hello/blobs/uploads/", "405"),
        ("GET /v2/hello/manifests/latest", "200"),
    ] {
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n{{}}");
        let answer = tokio::time::timeout(Duration::from_secs(5), exchange(address, &head)).await;
        assert!(
            answer.is_ok_and(|answer| answer.starts_with(&format!("HTTP/1.1 {status}"))),
            "{request}"
        );
    }
}

#[tokio::test]
async fn other_forms_of_requests_are_answered_as_http_has_them() {
    let registry = Registry::new().await;
    registry.warm().await;
    let (address, _stop, _server) = start(&registry).await;
    for (line, status) in [
        (
            "GET http://other.example/v2/hello/manifests/latest HTTP/1.1",
            "HTTP/1.1 200",
        ),
        ("GET /v2/ HTTP/1.0", "HTTP/1.0 200"),
        ("OPTIONS * HTTP/1.1", "HTTP/1.1 404"),
        ("CONNECT other.example:443 HTTP/1.1", "HTTP/1.1 405"),
        ("BREW /v2/ HTTP/1.1", "HTTP/1.1 405"),
    ] {
        let request = format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = exchange(address, &request).await;
        assert!(answer.starts_with(status), "{line}: {answer}");
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let registry = Registry::new().await;
    registry.warm().await;
    let (address, _stop, _server) = start(&registry).await;
    let one = "HEAD /v2/hello/manifests/latest HTTP/1.1\r\nHost: x\r\n";
    let answers = exchange(
        address,
        &format!("{one}\r\n{one}\r\n{one}Connection: close\r\n\r\n"),
    )
    .await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
}
