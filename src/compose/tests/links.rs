//! What the root of an image links to.

use super::*;

#[test]
fn directories_merge_and_collisions_have_a_winner() {
    let mut a = package("a", &["bin/tool", "share/man/a", "share/x/deep/1", "lib"]);
    let b = package(
        "b",
        &[
            "bin/tool",
            "share/man/b",
            "share/x/deep/2",
            "lib/b.so",
            "share/only/b",
        ],
    );
    let root_of = |a: &Package| root(&image(&[b.clone(), a.clone()]));
    let root = root_of(&a);
    assert_eq!(
        link(&root, "bin/tool"),
        format!("{}/bin/tool", store_path("a")),
        "same priority: by name"
    );
    assert_eq!(
        link(&root, "share/x/deep/1"),
        format!("{}/share/x/deep/1", store_path("a"))
    );
    assert_eq!(
        link(&root, "share/x/deep/2"),
        format!("{}/share/x/deep/2", store_path("b"))
    );
    assert_eq!(
        link(&root, "share/only"),
        format!("{}/share/only", store_path("b"))
    );
    assert_eq!(
        link(&root, "lib"),
        format!("{}/lib", store_path("a")),
        "a file that wins hides a directory"
    );
    a.priority = 6;
    let root = root_of(&a);
    assert_eq!(
        link(&root, "bin/tool"),
        format!("{}/bin/tool", store_path("b")),
        "the lower priority wins"
    );
    assert_eq!(link(&root, "lib"), format!("{}/lib", store_path("b")));
}

#[test]
fn names_that_are_none_never_leave_the_root() {
    let mut evil = package("evil", &["bin/good"]);
    let long = "x".repeat(256);
    let Node::Directory(bin) = evil.outputs[0].tree.get_mut("bin").unwrap() else {
        panic!()
    };
    for name in ["..", ".", "", "a/b", "/abs", "nul\0", &long] {
        bin.insert(name.to_owned(), Node::Leaf(()));
    }
    for other in [vec![], vec![package("other", &["bin/other"])]] {
        let root = root(&image(&[other, vec![evil.clone()]].concat()));
        assert!(
            root.keys().all(|path| !path.starts_with('/')
                && path.split('/').all(|level| level != ".." && level.len() < 256))
        );
        assert!(root.contains_key("bin/good"));
    }
}

#[test]
fn large_trees_are_quick() {
    let files: Vec<String> = (0..30_000).map(|n| format!("share/{}/{n}", n % 100)).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let image = image(&[package("large", &files), package("other", &["share/1/other"])]);
    assert_eq!(
        root(&image)
            .keys()
            .filter(|path| path.starts_with("share/1/"))
            .count(),
        301
    );
}

proptest! {
    #[test]
    fn every_link_leads_somewhere(choice in proptest::collection::vec((0usize..6, 0usize..6, 0usize..6), 1..12)) {
        let names = ["bin", "lib", "share", "x", "y", "z"];
        let mut files: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (package, a, b) in choice {
            files.entry(package).or_default().insert(format!("{}/{}/file", names[a], names[b]));
        }
        let packages: Vec<Package> = files.iter().map(|(n, files)| {
            package(&format!("p{n}"), &files.iter().map(String::as_str).collect::<Vec<_>>())
        }).collect();
        let all: Vec<&Package> = packages.iter().collect();
        let base = base();
        for (path, (kind, _, _, target)) in root(&image(&packages)) {
            if kind == 'l' {
                let found = all.iter().copied().chain(&base).any(|package| {
                    let output = package.outputs[0].path.as_str();
                    target.strip_prefix(output).is_some_and(|rest| provided(package, &rest[1..]).is_some())
                });
                prop_assert!(found, "{} -> {}", path, target);
            }
        }
    }
}
