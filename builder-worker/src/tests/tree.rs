//! What of an output an image's root may link to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use laminix_builder::tree::{DEPTH, ENTRIES, output};

use crate::fixture::{Fixture, store_path};

/// The tree of an output, as JSON.
fn listed(fixture: &Fixture, name: &str) -> String {
    let output = output(fixture.root.path(), &store_path(name)).unwrap();
    assert_eq!(output.path, store_path(name));
    serde_json::to_string(&output.tree).unwrap()
}

fn made(make: impl FnOnce(&Path)) -> String {
    let fixture = Fixture::new();
    fs::create_dir(fixture.on_disk("x")).unwrap();
    make(&fixture.on_disk("x"));
    listed(&fixture, "x")
}

#[test]
fn directories_nest_and_the_rest_are_leaves() {
    let tree = made(|dir| {
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::create_dir_all(dir.join("share/empty")).unwrap();
        fs::create_dir_all(dir.join("nix-support/x")).unwrap();
        fs::create_dir_all(dir.join("share/nix-support")).unwrap();
        fs::write(dir.join("bin/git"), "").unwrap();
        fs::write(dir.join(OsStr::from_bytes(b"\xff")), "").unwrap();
        symlink("git", dir.join("bin/git-link")).unwrap();
        symlink("nowhere", dir.join("dangling")).unwrap();
        symlink("/etc", dir.join("host")).unwrap();
        symlink("bin/git/x", dir.join("through-a-file")).unwrap();
        symlink("/nix/store", dir.join("store")).unwrap();
        symlink("../../../../../../etc", dir.join("up")).unwrap();
    });
    assert_eq!(
        tree,
        concat!(
            r#"{"bin":{"git":null,"git-link":null},"dangling":null,"host":null,"#,
            r#""share":{"empty":{},"nix-support":{}},"store":null,"through-a-file":null,"up":null}"#
        )
    );
}

#[test]
fn links_to_directories_of_the_store_can_be_merged() {
    let fixture = Fixture::new();
    fixture.add("lib", |dir| {
        fs::create_dir_all(dir.join("share/man")).unwrap();
        fs::write(dir.join("share/man/x.1"), "").unwrap();
    });
    fixture.add("x", |dir| {
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(dir.join("bin/x"), "").unwrap();
        symlink("bin", dir.join("sbin")).unwrap();
        symlink(format!("{}/share", store_path("lib")), dir.join("share")).unwrap();
        symlink("share/../share/man", dir.join("man")).unwrap();
    });
    fixture.add("out", |link| symlink(store_path("lib").as_str(), link).unwrap());
    assert_eq!(
        listed(&fixture, "x"),
        // `share/..` is the other store path, as it is for the kernel
        r#"{"bin":{"x":null},"man":{"x.1":null},"sbin":{"x":null},"share":{"man":{"x.1":null}}}"#
    );
    assert_eq!(listed(&fixture, "out"), r#"{"share":{"man":{"x.1":null}}}"#);
}

#[test]
fn circles_end() {
    let tree = made(|dir| {
        fs::create_dir_all(dir.join("a/b")).unwrap();
        symlink(".", dir.join("here")).unwrap();
        symlink("..", dir.join("a/up")).unwrap();
        symlink("self", dir.join("self")).unwrap();
        symlink("pong", dir.join("ping")).unwrap();
        symlink("ping", dir.join("pong")).unwrap();
        symlink("../../a", dir.join("a/b/again")).unwrap();
    });
    assert_eq!(
        tree,
        r#"{"a":{"b":{"again":null},"up":null},"here":null,"ping":null,"pong":null,"self":null}"#
    );
}

#[test]
fn links_that_multiply_are_followed_three_deep() {
    let fixture = Fixture::new();
    for n in 0..8 {
        fixture.add(&format!("d{n}"), |dir| {
            fs::create_dir(dir).unwrap();
            for name in ["a", "b"] {
                symlink(store_path(&format!("d{}", n + 1)).as_str(), dir.join(name)).unwrap();
            }
        });
    }
    let leaves = r#"{"a":null,"b":null}"#;
    let one = format!(r#"{{"a":{leaves},"b":{leaves}}}"#);
    let two = format!(r#"{{"a":{one},"b":{one}}}"#);
    assert_eq!(listed(&fixture, "d0"), format!(r#"{{"a":{two},"b":{two}}}"#));
}

#[test]
fn a_file_and_an_absent_output() {
    let fixture = Fixture::new();
    fixture.add("file", |file| fs::write(file, "").unwrap());
    assert_eq!(listed(&fixture, "file"), "{}");
    assert!(output(fixture.root.path(), &store_path("absent")).is_err());
}

#[test]
fn what_is_too_deep_is_linked_as_a_whole() {
    let tree = made(|dir| fs::create_dir_all(dir.join("d/".repeat(200))).unwrap());
    assert_eq!(
        tree,
        format!("{}null{}", r#"{"d":"#.repeat(DEPTH), "}".repeat(DEPTH))
    );
}

#[test]
fn what_is_too_much_is_linked_as_a_whole() {
    let fixture = Fixture::new();
    let many = ENTRIES.isqrt() + 1;
    fixture.add("many", |dir| {
        fs::create_dir(dir).unwrap();
        (0..many).for_each(|n| fs::create_dir(dir.join(n.to_string())).unwrap());
    });
    fixture.add("x", |dir| {
        fs::create_dir_all(dir.join("share/few/one")).unwrap();
        // many times many, made of few files
        for n in 0..many {
            symlink(store_path("many").as_str(), dir.join("share").join(n.to_string())).unwrap();
        }
    });
    let leaves: String = (0..many)
        .map(|n| format!(r#""{n}":null"#))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|leaf| leaf + ",")
        .collect();
    assert_eq!(
        listed(&fixture, "x"),
        format!(r#"{{"share":{{{leaves}"few":null}}}}"#)
    );
}

#[test]
fn a_top_that_is_too_large_is_not_linked() {
    let tree = made(|dir| (0..=ENTRIES).for_each(|n| symlink("x", dir.join(n.to_string())).unwrap()));
    assert_eq!(tree, "{}");
}
