//! Odd and hostile requests: what each is answered, and that nothing of it reaches a worker.

use http::Method;
use laminix::digest::Digest;
use laminix::queue::Depth;

use crate::fixture::Registry;

/// Method, target, status, code of the error ("" for none), and a header that has to be there.
type Row = (
    &'static str,
    String,
    u16,
    &'static str,
    (&'static str, &'static str),
);

const JSON: (&str, &str) = ("content-type", "application/json");
const READS: (&str, &str) = ("allow", "GET, HEAD");

fn table() -> Vec<Row> {
    let missing = Digest::of(b"missing");
    let long = "a".repeat(256);
    let row = |method, target: &str, status, code, header| (method, target.to_owned(), status, code, header);
    vec![
        // the version check
        row(
            "GET",
            "/v2/",
            200,
            "",
            ("docker-distribution-api-version", "registry/2.0"),
        ),
        row("GET", "/v2", 200, "", JSON),
        row("HEAD", "/v2/", 200, "", ("content-length", "2")),
        row("GET", "/v2/?ns=docker.io", 200, "", JSON),
        row("POST", "/v2/", 405, "UNSUPPORTED", READS),
        row("OPTIONS", "/v2/", 405, "UNSUPPORTED", READS),
        // names outside of the grammar
        row("GET", "/v2/Hello/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/hello+/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/a..b/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/../manifests/latest", 400, "NAME_INVALID", JSON),
        row(
            "GET",
            "/v2/a/../../etc/passwd/manifests/latest",
            400,
            "NAME_INVALID",
            JSON,
        ),
        row("GET", "/v2/%2e%2e/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/a%00b/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/a%0ab/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/a%20b/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/a|b/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/$%7Bx%7D/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/-a/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/--option/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/a//b/manifests/latest", 400, "NAME_INVALID", JSON),
        row(
            "GET",
            &format!("/v2/{long}/manifests/latest"),
            400,
            "NAME_INVALID",
            JSON,
        ),
        row("GET", "/v2/%E2%9D%84/manifests/latest", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/arm64/manifests/latest", 400, "NAME_INVALID", JSON),
        row(
            "GET",
            "/v2/arm64/amd64/hello/manifests/latest",
            400,
            "NAME_INVALID",
            JSON,
        ),
        // references
        row(
            "GET",
            "/v2/hello/manifests/.INVALID_MANIFEST_NAME",
            404,
            "MANIFEST_UNKNOWN",
            JSON,
        ),
        row(
            "HEAD",
            "/v2/hello/manifests/.INVALID_MANIFEST_NAME",
            404,
            "",
            JSON,
        ),
        row(
            "GET",
            "/v2/hello/manifests/sha256:totallywrong",
            400,
            "DIGEST_INVALID",
            JSON,
        ),
        row(
            "GET",
            "/v2/hello/manifests/sha512:00",
            400,
            "DIGEST_INVALID",
            JSON,
        ),
        row("GET", "/v2/hello/manifests/a:b", 400, "DIGEST_INVALID", JSON),
        row(
            "GET",
            &format!("/v2/hello/manifests/{missing}"),
            404,
            "MANIFEST_UNKNOWN",
            JSON,
        ),
        row("HEAD", &format!("/v2/hello/manifests/{missing}"), 404, "", JSON),
        row(
            "GET",
            &format!("/v2/hello/manifests/sha256-{}", missing.hex()),
            404,
            "MANIFEST_UNKNOWN",
            JSON,
        ),
        row(
            "GET",
            &format!("/v2/hello/manifests/sha256-{}.sig", missing.hex()),
            404,
            "MANIFEST_UNKNOWN",
            JSON,
        ),
        row(
            "GET",
            &format!("/v2/hello/manifests/{}", "t".repeat(129)),
            404,
            "MANIFEST_UNKNOWN",
            JSON,
        ),
        row("GET", "/v2/hello/manifests/a%2Fb", 404, "NAME_UNKNOWN", JSON),
        row("GET", "/v2/hello/manifests/", 404, "MANIFEST_UNKNOWN", JSON),
        row("GET", "/v2/hello/manifests", 404, "NAME_UNKNOWN", JSON),
        row("GET", "/v2/manifests/latest", 404, "NAME_UNKNOWN", JSON),
        // what works, in odd ways
        row(
            "GET",
            "/v2/hello/manifests/latest?ns=example.org",
            200,
            "",
            ("vary", "Accept"),
        ),
        row(
            "GET",
            "/v2/hel%6co/manifests/lat%65st",
            200,
            "",
            ("vary", "Accept"),
        ),
        row(
            "GET",
            "/v2/hello%2Fhello/manifests/latest",
            200,
            "",
            ("vary", "Accept"),
        ),
        row(
            "GET",
            "/v2/hello/manifests/latest?wait=7&wait=x&%00",
            200,
            "",
            ("cache-control", "no-cache"),
        ),
        row(
            "GET",
            "/v2/hello/manifests/latest?wait=99999999999999999999",
            200,
            "",
            ("vary", "Accept"),
        ),
        row(
            "HEAD",
            "/v2/hello/manifests/latest",
            200,
            "",
            ("content-type", "application/vnd.oci.image.manifest.v1+json"),
        ),
        // nothing is pushed or deleted
        row("PUT", "/v2/hello/manifests/latest", 405, "UNSUPPORTED", READS),
        row("DELETE", "/v2/hello/manifests/latest", 405, "UNSUPPORTED", READS),
        row("POST", "/v2/hello/manifests/latest", 405, "UNSUPPORTED", READS),
        row("PATCH", "/v2/cold/manifests/latest", 405, "UNSUPPORTED", READS),
        row("TRACE", "/v2/cold/manifests/latest", 405, "UNSUPPORTED", READS),
        row("POST", "/v2/hello/blobs/uploads/", 405, "UNSUPPORTED", READS),
        row(
            "GET",
            "/v2/hello/blobs/uploads/some-id",
            405,
            "UNSUPPORTED",
            READS,
        ),
        row(
            "DELETE",
            &format!("/v2/hello/blobs/{missing}"),
            405,
            "UNSUPPORTED",
            READS,
        ),
        // blobs
        row(
            "GET",
            &format!("/v2/hello/blobs/{missing}"),
            307,
            "",
            ("cache-control", "no-store"),
        ),
        row(
            "GET",
            &format!("/v2/hello/blobs/sha256%3A{}", missing.hex()),
            307,
            "",
            ("cache-control", "no-store"),
        ),
        row("HEAD", &format!("/v2/hello/blobs/{missing}"), 404, "", JSON),
        row("GET", "/v2/hello/blobs/sha256:x", 400, "DIGEST_INVALID", JSON),
        row("GET", "/v2/hello/blobs/..%2f..%2fetc", 404, "NAME_UNKNOWN", JSON),
        row(
            "GET",
            &format!("/v2/hello/blobs/SHA256:{}", missing.hex()),
            400,
            "DIGEST_INVALID",
            JSON,
        ),
        // discovery
        row("GET", "/v2/hello/tags/list", 200, "", JSON),
        row("GET", "/v2/Hello/tags/list", 400, "NAME_INVALID", JSON),
        row("GET", "/v2/hello/tags/other", 404, "NAME_UNKNOWN", JSON),
        row("POST", "/v2/hello/tags/list", 405, "UNSUPPORTED", READS),
        row("GET", "/v2/_catalog", 405, "UNSUPPORTED", JSON),
        row("GET", "/v2/hello/referrers/x", 400, "DIGEST_INVALID", JSON),
        // signed objects
        row("GET", "/objects/blobs/sha256/x", 403, "DENIED", JSON),
        row("GET", "/objects/../.key", 403, "DENIED", JSON),
        row("PUT", "/objects/x", 405, "UNSUPPORTED", ("allow", "GET")),
        // elsewhere
        row("GET", "/", 200, "", ("content-type", "text/html; charset=utf-8")),
        row("POST", "/", 405, "UNSUPPORTED", READS),
        row("GET", "/healthz", 200, "", ("content-length", "3")),
        row("GET", "/v1/repositories", 404, "NAME_UNKNOWN", JSON),
        row("GET", "/v2/x", 404, "NAME_UNKNOWN", JSON),
        row("GET", "/.git/config", 404, "NAME_UNKNOWN", JSON),
        row("GET", "/%ff%fe", 404, "NAME_UNKNOWN", JSON),
        row("GET", "//v2//", 404, "NAME_UNKNOWN", JSON),
    ]
}

#[tokio::test]
async fn odd_requests_have_plain_answers() {
    let registry = Registry::new().await;
    registry.warm().await;
    let table = table();
    assert!(table.len() >= 60);
    for (method, target, status, code, (name, value)) in table {
        let answer = registry
            .ask(Method::from_bytes(method.as_bytes()).unwrap(), &target, &[])
            .await;
        let row = format!("{method} {target}");
        assert_eq!(answer.status, status, "{row}");
        if !code.is_empty() {
            let (found, message) = answer.error();
            assert_eq!(found, code, "{row}");
            assert!(
                !message.is_empty() && !message.contains("/tmp"),
                "{row}: {message}"
            );
        }
        assert_eq!(answer.header(name), value, "{row}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{row}");
        if method == "HEAD" {
            assert!(
                answer.body.is_empty() && answer.header("content-length") != "0",
                "{row}"
            );
        } else {
            assert_eq!(
                answer.header("content-length"),
                answer.body.len().to_string(),
                "{row}"
            );
        }
    }
    let idle = Depth {
        waiting: 0,
        running: 0,
        parked: 0,
    };
    assert_eq!(
        registry.queue.depth().await.unwrap(),
        idle,
        "nothing of this asked a worker for anything"
    );
}

/// Fault 6 of the predecessor: only Content-Type was ever set. And clients that know no OCI get Docker's manifest.
#[tokio::test]
async fn manifests_come_in_the_type_that_a_client_takes() {
    let registry = Registry::new().await;
    registry.warm().await;
    let (oci, docker) = (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    );
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    for (accept, wanted) in [
        (vec![], oci),
        (vec![oci], oci),
        (vec!["*/*"], oci),
        (vec![docker], docker),
        (vec![list, docker], docker),
        (
            vec!["application/vnd.docker.distribution.manifest.v2+json;q=0.5, application/json"],
            docker,
        ),
        (vec![docker, oci], oci),
        (vec!["text/html"], oci),
    ] {
        let headers: Vec<(&str, &str)> = accept.iter().map(|value| ("accept", *value)).collect();
        let answer = registry
            .ask(Method::GET, "/v2/hello/manifests/latest", &headers)
            .await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, wanted),
            "{accept:?}"
        );
        assert_eq!(answer.json()["mediaType"], wanted);
        let digest = Digest::of(&answer.body).to_string();
        assert_eq!(answer.header("docker-content-digest"), digest);
        let by_digest = registry.get(&format!("/v2/hello/manifests/{digest}")).await;
        assert_eq!(
            (
                by_digest.status,
                &by_digest.body,
                by_digest.header("content-type")
            ),
            (200, &answer.body, wanted)
        );
        assert!(by_digest.header("cache-control").contains("immutable"));
    }
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let registry = Registry::new().await;
    registry.warm().await;
    let etag = registry
        .get("/v2/hello/manifests/latest")
        .await
        .header("etag")
        .to_owned();
    for (tags, status) in [
        (etag.clone(), 304),
        (format!("\"x\", W/{etag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ] {
        let answer = registry
            .ask(
                Method::GET,
                "/v2/hello/manifests/latest",
                &[("if-none-match", &tags)],
            )
            .await;
        assert_eq!(
            (answer.status, answer.body.is_empty()),
            (status, status == 304),
            "{tags}"
        );
        assert_eq!(answer.header("etag"), etag);
    }
}

#[tokio::test]
async fn transport_security_is_said_behind_a_proxy() {
    let registry = Registry::new().await;
    let answer = registry
        .ask(Method::GET, "/v2/", &[("x-forwarded-proto", "http")])
        .await;
    assert_eq!(answer.header("strict-transport-security"), "max-age=604800");
    assert_eq!(registry.get("/v2/").await.header("strict-transport-security"), "");
}

/// Fault 17 of the predecessor: its error page printed what Nix said, unescaped.
#[tokio::test]
async fn the_page_shows_nothing_as_markup() {
    let registry = Registry::new().await;
    let answer = registry
        .ask(Method::GET, "/", &[("host", "<script>alert(1)</script>")])
        .await;
    assert!(!String::from_utf8_lossy(&answer.body).contains("alert(1)"));
    assert!(
        answer
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    let page = registry
        .ask(Method::GET, "/", &[("host", "registry.example:5726")])
        .await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(
        page.contains("registry.example:5726") && !page.contains("{{"),
        "a placeholder is left"
    );
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_and_no_secret() {
    let registry = Registry::new().await;
    registry.warm().await;
    let store = registry.directory.path().join("store");
    std::fs::remove_dir_all(store.join("sources")).unwrap();
    std::fs::write(store.join("sources"), "").unwrap();
    std::fs::remove_dir_all(store.join("packages")).unwrap();
    std::fs::create_dir_all(store.join("claims")).unwrap();
    std::fs::remove_dir_all(registry.directory.path().join("queue")).unwrap();
    let answer = registry.get("/v2/cold/manifests/latest").await;
    assert_eq!((answer.status, answer.error().0.as_str()), (503, "UNAVAILABLE"));
    assert!(!answer.header("retry-after").is_empty());
    assert!(!answer.error().1.contains('/'), "{}", answer.error().1);
}
