//! Evaluation by a real Nix: what a package set can do to it, and what people are told.

use std::fs;
use std::time::Duration;

use laminix::name::Attribute;
use laminix_builder::evaluate::{Evaluated, Evaluation};
use laminix_builder::nix::native;

use crate::bench::Bench;

/// What a person is told, and whether it is for good.
fn told(evaluated: &Evaluated) -> (&'static str, String) {
    match evaluated {
        Evaluated::Package(derivation) => ("package", derivation.name.clone()),
        Evaluated::NotFound(near) => ("not found", near.join(" ")),
        Evaluated::Refused(reason) => ("refused", reason.clone()),
        Evaluated::Failed(reason) => ("failed", reason.clone()),
    }
}

const SET: &str = r#"
let
  escape = builtins.fromJSON "\"\\u001b\"";
  refusing = name: meta: (make name "" { }) // {
    inherit name meta;
    drvPath = throw "Package ‘${name}’ in /x:1 is not to be had, refusing to evaluate.";
  };
in
{
  good = make "good-1" "echo > $out" { };
  better = make "better-1" "echo > $out" { };
  aborting = abort "this set gives up";
  mistyped = 1 + "x";
  recursive = let x = x; in x;
  removed = throw "'removed' has been renamed to/replaced by 'good'";
  loud = throw "${escape}[31mred${escape}[0m <b>bold</b>\r\nsecond line";
  unfree = refusing "steam-1" { unfree = true; license = { shortName = "unfree"; }; };
  broken = refusing "broken-1" { broken = true; };
  insecure = refusing "old-1" { insecure = true; knownVulnerabilities = [ "CVE-2026-1" "CVE-2026-2" ]; };
  unsupported = refusing "mac-1" { unsupported = true; };
  lib = { id = x: x; };
  function = { lib }: lib;
  nothing = null;
  version = "1";
  "\${abort \"x\"}" = make "evil" "" { };
  "good\" or \"x" = make "evil" "" { };
  "--option" = make "evil" "" { };
  "a.b" = make "evil" "" { };
  odd = { type = "derivation"; name = "odd"; drvPath = "/etc/passwd"; outPath = "--version"; };
  bytes = make "bytes-1" "" { } // { meta.description = builtins.readFile ./bytes; };
  nested = { Inner = make "inner-1" "" { }; innermost = 1; };
}
"#;

/// Everything that can be wrong, in one job.
#[tokio::test]
async fn every_attribute_has_its_own_answer() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let expected = [
        ("good", "package", "good-1"),
        (
            "aborting",
            "failed",
            "the evaluation of `aborting` failed: evaluation aborted with the following error message: 'this set gives up'",
        ),
        ("better", "package", "better-1"),
        ("mistyped", "failed", "the evaluation of `mistyped` failed: "),
        (
            "recursive",
            "failed",
            "the evaluation of `recursive` failed: infinite recursion encountered",
        ),
        (
            "removed",
            "refused",
            "the package set does not have `removed`: 'removed' has been renamed to/replaced by 'good'",
        ),
        (
            "loud",
            "refused",
            "the package set does not have `loud`: red <b>bold</b> second line",
        ),
        (
            "unfree",
            "refused",
            "`steam-1` is unfree (unfree), and this registry serves free software",
        ),
        (
            "broken",
            "refused",
            "`broken-1` is marked as broken in the package set",
        ),
        (
            "insecure",
            "refused",
            "`old-1` is marked as insecure in the package set: CVE-2026-1, CVE-2026-2",
        ),
        ("unsupported", "refused", "`mac-1` is not available for "),
        ("lib", "refused", "`lib` is a set of packages, not a package"),
        ("function", "refused", "`function` is a function, not a package"),
        (
            "nothing",
            "refused",
            "`nothing` is nothing for this system, not a package",
        ),
        (
            "version",
            "refused",
            "`version` is a value of type string, not a package",
        ),
        (
            "odd",
            "failed",
            "the evaluation of `odd` failed: what the package set says of it makes no sense",
        ),
        ("bytes", "failed", "the evaluation of `bytes` failed: "),
        ("goood", "not found", "good"),
        ("nested.inner", "package", "inner-1"),
        ("nested.innr", "not found", "nested.inner"),
        ("good.x.y", "not found", ""),
        ("a.b", "not found", ""),
        ("--option", "package", "evil"),
        ("-x", "not found", ""),
    ];
    fs::write(bench.set("").join("bytes"), b"not UTF-8: \xff").unwrap();
    let names: Vec<_> = expected.iter().map(|(name, ..)| *name).collect();
    let found = bench.evaluate(SET, &names).await;
    assert_eq!(found.len(), expected.len());
    for ((name, kind, words), evaluated) in expected.iter().zip(&found) {
        let (found, said) = told(evaluated);
        assert_eq!(found, *kind, "{name}: {said}");
        assert!(said.starts_with(words), "{name}: {said}");
        assert!(!said.contains(['\n', '\r', '\u{1b}']), "{name}: {said:?}");
        // what this machine's directories are called is nobody's business
        assert!(
            !said.contains(bench.dir.path().to_str().unwrap()),
            "{name}: {said}"
        );
    }
}

/// Fault 2 of the predecessor: more than 64 KiB on stderr, and it hung for ever.
#[tokio::test]
async fn a_talkative_set_does_not_hang() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let set = r#"
      builtins.foldl' (set: n: builtins.trace "warning ${toString n}: a line of the kind that nixpkgs prints, and it prints many" set)
        { good = make "good-1" "" { }; bad = abort "at last"; }
        (builtins.genList (n: n) 4000)
    "#;
    let found = bench.evaluate(set, &["good", "bad"]).await;
    assert_eq!(told(&found[0]), ("package", "good-1".to_owned()));
    let (kind, words) = told(&found[1]);
    assert_eq!(kind, "failed");
    assert!(words.ends_with("'at last'"), "{words}");
}

#[tokio::test]
async fn evaluation_does_not_see_this_machine() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "\"a secret of this machine\"").unwrap();
    let set = r#"
    {
      environment = make "environment-${builtins.getEnv "CARGO_MANIFEST_DIR"}${builtins.getEnv "PATH"}" "" { };
      reading = make "reading-${builtins.readFile "OUTSIDE"}" "" { };
      importing = make "importing-${import OUTSIDE}" "" { };
      copying = make "copying" "" { src = OUTSIDE; };
      listing = make "listing-${toString (builtins.attrNames (builtins.readDir /etc))}" "" { };
      fetching = make "fetching" "" { src = builtins.fetchurl "http://127.0.0.1:1/x"; };
      building = make "building-${import (make "expression" "echo '\"built\"' > $out" { })}" "" { };
      searching = make "searching-${toString (builtins.attrNames <nixpkgs>)}" "" { };
    }
    "#;
    let set = set.replace("OUTSIDE", outside.path().to_str().unwrap());
    let names = [
        "environment",
        "reading",
        "importing",
        "copying",
        "listing",
        "fetching",
        "building",
        "searching",
    ];
    let found = bench.evaluate(&set, &names).await;
    assert_eq!(told(&found[0]), ("package", "environment-".to_owned()));
    for (name, evaluated) in names.iter().zip(&found).skip(1) {
        let (kind, words) = told(evaluated);
        // a file that is not found is thrown, and what is forbidden ends the process
        assert!(["failed", "refused"].contains(&kind), "{name}: {evaluated:?}");
        assert!(!words.contains("secret"), "{name}: {words}");
    }
}

#[tokio::test]
async fn what_takes_too_long_sinks_nobody_else() {
    let Some(bench) = Bench::open(|settings| settings.evaluation_time = Duration::from_secs(3)).await else {
        return;
    };
    let set = r#"
    let
      numbers = builtins.genList (n: n) 10000;
      sum = builtins.foldl' (a: b: a + b) 0;
    in
    { good = make "good-1" "" { }; endless = sum (map (a: sum (map (b: sum numbers) numbers)) numbers); }
    "#;
    let found = bench.evaluate(set, &["endless", "good"]).await;
    assert_eq!(
        told(&found[0]),
        (
            "failed",
            "the evaluation of `endless` failed: it takes longer than 3 s".to_owned()
        )
    );
    assert_eq!(told(&found[1]).0, "package");
}

#[tokio::test]
async fn what_takes_too_much_memory_sinks_nobody_else() {
    let Some(bench) = Bench::open(|settings| settings.evaluation_memory = 100 << 20).await else {
        return;
    };
    let set = r#"
    {
      good = make "good-1" "" { };
      large = builtins.length (builtins.filter (n: n > 1) (builtins.concatLists (map (n: builtins.genList (m: n + m) 100000) (builtins.genList (n: n) 1000))));
    }
    "#;
    let found = bench.evaluate(set, &["large", "good"]).await;
    let (kind, words) = told(&found[0]);
    assert_eq!(kind, "failed", "{words}");
    assert!(words.contains("memory"), "{words}");
    assert_eq!(told(&found[1]).0, "package");
}

/// nixpkgs ends the evaluation itself, with words for its operator.
#[tokio::test]
async fn a_set_for_a_newer_nix_is_told_in_our_own_words() {
    let Some(bench) = Bench::open(|_| {}).await else {
        return;
    };
    let attributes = r#"abort "This version of Nixpkgs requires an evaluator with the following features""#;
    let set = bench.set(attributes);
    fs::create_dir(set.join("lib")).unwrap();
    for (file, text, too_old) in [
        ("minver.nix", "\"999.1\"", true),
        ("minver.nix", "\"2.3\"", false),
        (
            "minfeatures.nix",
            "{ missing = [ { description = \"x\"; } ]; }",
            true,
        ),
        ("minfeatures.nix", "{ missing = [ ]; }", false),
    ] {
        fs::write(set.join("lib").join(file), text).unwrap();
        assert_eq!(bench.nix.too_old_for(&set).await.unwrap(), too_old, "{text}");
        if too_old {
            let evaluation = Evaluation {
                nix: &bench.nix,
                set: &set,
                system: native(),
            };
            let names: [Attribute; 2] = ["a".parse().unwrap(), "b".parse().unwrap()];
            for evaluated in evaluation.run(&names).await.unwrap() {
                let (kind, words) = told(&evaluated);
                assert_eq!(kind, "failed");
                assert!(
                    words.contains(bench.nix.version()) && !words.contains("abort"),
                    "{words}"
                );
            }
        }
    }
}
