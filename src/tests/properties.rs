//! Requests that nobody thought of: whatever comes, the answer is in order and tells nothing of the inside.

use http::{Method, Uri};
use laminix::digest::Digest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{Answer, Registry};

/// The codes that the distribution spec knows and a registry that nobody pushes to can mean. There are no others below 500.
const CODES: [&str; 9] = [
    "BLOB_UNKNOWN",
    "DENIED",
    "DIGEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "TOOMANYREQUESTS",
    "UNSUPPORTED",
];

fn level() -> impl Strategy<Value = String> {
    let known = [
        "v2",
        "hello",
        "manifests",
        "blobs",
        "tags",
        "list",
        "latest",
        "referrers",
        "uploads",
        "_catalog",
        "objects",
        "arm64",
        "shell",
        ".",
        "..",
        "",
        "%2f",
        "%2e%2e",
        "%00",
        "%ff",
        "sha256:",
        ".key",
    ];
    prop_oneof![
        4 => prop::sample::select(known.map(str::to_owned).to_vec()),
        1 => Just(Digest::of(b"nothing").to_string()),
        2 => "[!-~]{0,12}",
    ]
}

/// Levels in any order, and paths that are nearly right.
fn target() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec!["/v2/", "/v2/hello/", "/objects/", "/"]);
    let loose = (start, prop::collection::vec(level(), 0..6))
        .prop_map(|(start, levels)| format!("{start}{}", levels.join("/")));
    let name = prop_oneof![2 => Just("hello".to_owned()), 1 => "[a-z]{1,9}(/[a-z.-]{1,9})?", 1 => level()];
    let kind = prop::sample::select(vec!["manifests", "blobs", "tags", "referrers"]);
    let close = (name, kind, level()).prop_map(|(name, kind, last)| format!("/v2/{name}/{kind}/{last}"));
    let query = prop_oneof![
        2 => Just(String::new()),
        1 => "\\?[!-~]{0,30}",
        1 => "\\?(wait|n|last|ns|expires)=[!-~]{0,20}",
    ];
    (prop_oneof![1 => loose, 3 => close], query).prop_map(|(path, query)| format!("{path}{query}"))
}

fn method() -> impl Strategy<Value = Method> {
    let others = [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::TRACE,
    ];
    prop_oneof![3 => Just(Method::GET), 2 => Just(Method::HEAD), 1 => prop::sample::select(others.to_vec())]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let name = prop::sample::select(vec![
        "accept",
        "host",
        "if-none-match",
        "range",
        "x-forwarded-proto",
    ]);
    prop::collection::vec((name, "[ -~]{0,30}"), 0..4)
}

/// What every answer keeps to.
fn in_order(method: &Method, answer: &Answer, inside: &str) {
    let known = [200, 206, 304, 307, 400, 403, 404, 405, 416, 429];
    assert!(known.contains(&answer.status));
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let (head, unchanged) = (method == Method::HEAD, answer.status == 304);
    assert_eq!(answer.body.is_empty(), head || unchanged || answer.status == 307);
    if !head && !unchanged {
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    }
    if answer.status == 307 {
        let location = answer.header("location");
        assert!(
            location.starts_with("/objects/") || location.starts_with("/v2/"),
            "{location}"
        );
    }
    if answer.status >= 400 && !head {
        let (code, message) = answer.error();
        assert!(CODES.contains(&code.as_str()), "{code}");
        assert!(!message.is_empty() && !message.contains(char::is_control));
    }
    assert!(
        !String::from_utf8_lossy(&answer.body).contains(inside),
        "a path of the machine"
    );
}

/// Faults 5, 6 and 7 of the predecessor, for requests that no table has.
#[test]
fn any_request_has_an_answer_in_order() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(async {
        let registry = Registry::with(&[("LAMINIX_HOP", "0s")]).await;
        registry.warm().await;
        registry
    });
    let inside = registry.directory.path().to_str().unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    });
    let tried = runner.run(&(method(), target(), headers()), |(method, target, headers)| {
        // what is no target does not get past the HTTP parser
        prop_assume!(target.parse::<Uri>().is_ok());
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = runtime.block_on(registry.ask(method.clone(), &target, &headers));
        in_order(&method, &answer, inside);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
