//! `laminix warm`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use laminix::record::{PackageRecord, SourceRecord, now};

use super::{depth, end, failed, laminix, put, run, said, tag, warm_job, with_input};
use crate::fixture::Registry;

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
