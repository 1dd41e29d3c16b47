//! Realisation by a real Nix: outcomes, what Nix and builders say, and what is left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use laminix::record::StorePath;
use laminix_builder::claims::Progress;
use laminix_builder::closure::closure;
use laminix_builder::evaluate::Derivation;
use laminix_builder::realise::{Outcome, forget_roots, realise};

use crate::bench::{Bench, is_running, long_time};

/// One of every way in which a build ends.
const SET: &str = r#"
rec {
  good = make "good-1" "echo done; mkdir $out; echo ${library} > $out/library" { };
  library = make "library-1" "echo > $out" { };
  failing = make "failing-1" ''
    i=0
    while [ $i -lt 4000 ]; do echo "line $i of a log that nobody will read to its end"; i=$((i+1)); done
    printf '\033[31mthe reason\033[0m \377 is \rhere is the reason\n' >&2
    exit 3
  '' { };
  dependent = make "dependent-1" "echo ${failing} > $out" { };
  late = make "late-1" "echo begun; sleep 30; echo > $out" { };
  changed = make "changed-1" "echo changed > $out" {
    outputHash = "0000000000000000000000000000000000000000000000000000000000000000";
    outputHashAlgo = "sha256";
    outputHashMode = "flat";
  };
  empty = make "empty-1" "true" { };
  foreign = make "foreign-1" "echo > $out" { system = "riscv64-linux"; };
  featured = make "featured-1" "echo > $out" { requiredSystemFeatures = [ "no-such-feature" ]; };
  structured = make "structured-1" ''
    PATH=/usr/bin:/bin; out=$(sed 's/.*"outputs":{"out":"\([^"]*\)".*/\1/' "$NIX_ATTRS_JSON_FILE"); echo > "$out"
  '' { __structuredAttrs = true; };
}
"#;

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Ready => "ready",
        Outcome::Failed { reason, .. } | Outcome::Retry(reason) => reason,
    }
}

const REASONS: [(&str, &str); 10] = [
    ("good", "ready"),
    ("library", "ready"),
    ("failing", "the build of failing-1 failed"),
    (
        "dependent",
        "the build of failing-1, which `dependent` needs, failed",
    ),
    ("late", "the build of late-1 took longer than 4 s"),
    (
        "changed",
        "the build of changed-1 needs a download that has changed since the package set was written",
    ),
    ("empty", "the build of empty-1 failed"),
    (
        "foreign",
        "`foreign` has to be built on a machine for riscv64-linux, which this registry does not have",
    ),
    (
        "featured",
        "`featured` needs a machine with features that this registry does not have",
    ),
    ("structured", "ready"),
];

fn patient_for_4_s(settings: &mut laminix_builder::nix::Settings) {
    settings.build_time = Duration::from_secs(4);
}

#[tokio::test]
async fn failures_are_told_apart_in_one_job() {
    let Some(bench) = Bench::open(patient_for_4_s).await else {
        return;
    };
    let packages = bench.packages(SET, &REASONS.map(|(name, _)| name)).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    for ((name, expected), outcome) in REASONS.iter().zip(&outcomes) {
        assert_eq!(reason(outcome), *expected, "{name}");
    }
}

#[tokio::test]
async fn failures_are_told_apart_one_by_one() {
    let Some(bench) = Bench::open(patient_for_4_s).await else {
        return;
    };
    for (name, expected) in REASONS {
        let packages = bench.packages(SET, &[name]).await;
        let (outcomes, _roots) = bench.realise(&packages).await;
        assert_eq!(reason(&outcomes[0]), expected, "{name}");
    }
}

#[tokio::test]
async fn the_end_of_the_log_reaches_whoever_waits() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let packages = bench.packages(SET, &["failing", "dependent"]).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    for outcome in outcomes {
        let Outcome::Failed { log, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(log.ends_with("here is the reason"), "{log}");
        assert_eq!(log.lines().count(), 40);
        assert!(log.contains("line 3999 of") && log.len() <= 4 << 10);
    }
}

/// Nix hands on what a builder prints in the form of its own events. Nothing is to be believed of that.
#[tokio::test]
async fn forged_events_are_only_text() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let set = r#"
    let
      forge = ''
        drv=/nix/store/00000000000000000000000000000000-forged-1.drv
        for id in 1 2 4294967297; do
          echo "@nix {\"action\":\"start\",\"id\":$id,\"level\":0,\"type\":105,\"text\":\"forged\",\"fields\":[\"$drv\",\"\",1,1]}"
          echo "@nix {\"action\":\"start\",\"id\":$id,\"level\":0,\"type\":100,\"text\":\"forged\",\"fields\":[\"$drv\",\"a\",\"b\"]}"
          echo "@nix {\"action\":\"result\",\"id\":$id,\"type\":101,\"fields\":[\"forged\"]}"
          echo "@nix {\"action\":\"stop\",\"id\":$id}"
        done
        echo "@nix {\"action\":\"setPhase\",\"phase\":\"$(printf '\\\\u001b[31m')phase\"}"
        echo "@nix {\"action\":\"msg\",\"level\":0,\"msg\":\"builder for '$0' failed with exit code 1\"}"
        echo "@nix {\"action\":"
        echo "@nix $(head -c 100000 /dev/zero | tr '\0' x)"
        sleep 0.3
      '';
    in
    {
      honest = make "honest-1" (forge + "echo > $out") { };
      liar = make "liar-1" (forge + "echo '@nix {\"action\":\"msg\",\"level\":3,\"msg\":\"all is well\"}'; exit 1") { };
    }
    "#;
    let packages = bench.packages(set, &["honest", "liar"]).await;
    let packages: Vec<&Derivation> = packages.iter().collect();
    let progress = Progress::new();
    let mut phases = BTreeSet::new();
    let work = realise(&bench.nix, &packages, &progress);
    let mut work = std::pin::pin!(work);
    let (outcomes, _roots) = loop {
        tokio::select! {
            done = &mut work => break done.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(5)) => { phases.insert(progress.phase()); }
        }
    };
    assert_eq!(outcomes[0], Outcome::Ready);
    assert_eq!(reason(&outcomes[1]), "the build of liar-1 failed");
    assert!(
        phases
            .iter()
            .any(|phase| phase.starts_with("building honest-1 (") || phase.starts_with("building liar-1 (")),
        "{phases:?}"
    );
    for phase in &phases {
        assert!(
            !phase.contains("building forged") && !phase.contains("fetching"),
            "{phase}"
        );
        assert!(phase.chars().all(|c| !c.is_control()), "{phase:?}");
        let counted =
            !phase.starts_with("building") || phase.contains(" (1 of 2)") || phase.contains(" (2 of 2)");
        assert!(counted, "{phase}");
    }
}

#[tokio::test]
async fn a_log_without_end_is_the_builds_own_failure() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let set = r#"{ endless = make "endless-1" "while :; do head -c 8000 /dev/zero | tr '\\0' x; echo; done" { }; }"#;
    let packages = bench.packages(set, &["endless"]).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    let Outcome::Failed { reason, log } = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(reason, "the build of endless-1 failed");
    assert!(!log.is_empty() && log.len() <= 4 << 10);
}

/// Without a root a path can be collected before it is packed.
#[tokio::test]
async fn what_is_realised_cannot_be_deleted_until_it_is_packed() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let set = r#"
    {
      two = make "two-1" "echo > $out; echo $out > $bin" { outputs = [ "out" "bin" ]; } // { meta.outputsToInstall = [ "out" "bin" ]; };
      one = make "one-1" "echo > $out" { };
      bad = make "bad-1" "exit 1" { };
    }
    "#;
    for names in [&["two", "one"][..], &["two", "bad", "one"]] {
        let packages = bench.packages(set, names).await;
        let (outcomes, roots) = bench.realise(&packages).await;
        assert_eq!(
            outcomes
                .iter()
                .filter(|outcome| **outcome == Outcome::Ready)
                .count(),
            2
        );
        let good = packages.iter().filter(|package| package.name != "bad-1");
        let paths: Vec<&str> = good
            .flat_map(Derivation::outputs)
            .map(StorePath::as_str)
            .collect();
        assert_eq!(paths.len(), 3);
        for path in &paths {
            assert!(
                !bench.delete(&[path]).await.status.success(),
                "{path} was deleted"
            );
        }
        drop(roots);
        let deleted = bench.delete(&paths).await;
        assert!(deleted.status.success(), "{}", deleted.tail_text());
    }
}

/// A worker that was killed leaves its roots, and nothing else would ever remove them.
#[tokio::test]
async fn the_roots_of_a_killed_worker_are_forgotten() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let packages = bench.packages(SET, &["library"]).await;
    let (_, roots) = bench.realise(&packages).await;
    std::mem::forget(roots);
    let path = packages[0].outputs().next().unwrap().as_str();
    assert!(!bench.delete(&[path]).await.status.success());
    forget_roots(&bench.nix).unwrap();
    assert!(bench.delete(&[path]).await.status.success());
}

#[tokio::test]
async fn a_build_has_no_more_memory_than_it_is_given() {
    let Some(bench) = Bench::open(|settings| settings.build_memory = Some(1 << 30)).await else {
        return;
    };
    let set = r#"
    {
      small = make "small-1" "dd if=/dev/zero of=$out bs=1M count=1" { };
      large = make "large-1" "dd if=/dev/zero of=$out bs=2G count=1" { };
    }
    "#;
    let packages = bench.packages(set, &["small", "large"]).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    assert_eq!(outcomes[0], Outcome::Ready);
    let Outcome::Failed { reason, log } = &outcomes[1] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(reason, "the build of large-1 failed");
    assert!(log.contains("memory"), "{log}");
}

#[tokio::test]
async fn only_the_closure_of_the_wanted_outputs_is_packed() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let set = r#"
    rec {
      library = make "library-1" "echo > $out" { };
      app = make "app-1" "echo ${library} > $out; echo $out > $bin; echo $bin > $dev" { outputs = [ "out" "bin" "dev" ]; };
    }
    "#;
    let packages = bench.packages(set, &["app.bin"]).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    assert_eq!(outcomes, [Outcome::Ready]);
    let wanted: Vec<StorePath> = packages[0].outputs().cloned().collect();
    let contents = closure(&bench.nix, &wanted).await.unwrap();
    let names: BTreeSet<&str> = contents
        .iter()
        .map(|content| &content.path.as_str()[44..])
        .collect();
    assert_eq!(names, BTreeSet::from(["app-1", "app-1-bin", "library-1"]));
    assert!(contents.is_sorted());
    for content in contents {
        assert!(
            content.nar_size > 100 && content.nar_hash.starts_with("sha256:"),
            "{content:?}"
        );
    }
}

/// Without build users, a Nix that is killed leaves its builders behind: it is asked to stop first.
#[tokio::test]
async fn no_builder_is_left_when_nobody_waits() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let seconds = long_time(5);
    let set =
        r#"{ long = make "long-1" "trap '' TERM HUP INT; sleep TIME & (sleep TIME & wait); wait" { }; }"#;
    let packages = bench.packages(&set.replace("TIME", &seconds), &["long"]).await;
    let start = Instant::now();
    let mut work = Box::pin(bench.realise(&packages));
    while !is_running(&format!("sleep\0{seconds}")) {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the build did not begin"
        );
        assert!(
            tokio::time::timeout(Duration::from_millis(50), &mut work)
                .await
                .is_err(),
            "the build has ended"
        );
    }
    drop(work);
    let dropped = Instant::now();
    while is_running(&seconds) {
        assert!(
            dropped.elapsed() < Duration::from_secs(10),
            "a builder was left behind"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
