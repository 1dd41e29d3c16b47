//! Layers, and that the same packages give the same bytes.

use super::*;

#[test]
fn zstd_has_no_docker_manifest() {
    let mut package = package("hello", &["bin/hello"]);
    package.layers[2].packed.compression = Compression::Zstd;
    assert!(image(&[package]).docker.is_none());
}

/// Fault 3 of the predecessor: five identical pulls gave five digests. If this fails, [`crate::key::FORMAT`] has to grow.
#[test]
fn the_bytes_of_an_image_are_pinned() {
    let image = image(&[
        package("hello", &["bin/hello"]),
        package("git", &["bin/git", "share/git/x"]),
    ]);
    assert_eq!(
        image.oci.digest.to_string(),
        "sha256:d706777296673af950d79505712ecee96fb4d8d10ef8dabee88dca78f1c7986c"
    );
}

/// Fault 15 of the predecessor: one tail for all, which changed with every member.
#[test]
fn layers_do_not_depend_on_company() {
    let layers = |image: &Composed| -> Vec<String> {
        let manifest: serde_json::Value = serde_json::from_slice(&image.oci.bytes).unwrap();
        manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["digest"].to_string())
            .collect()
    };
    let (a, b) = (package("aa", &["bin/a"]), package("bb", &["bin/b"]));
    let alone = layers(&image(std::slice::from_ref(&a)));
    let together = layers(&image(&[a, b]));
    assert!(
        alone[..alone.len() - 1]
            .iter()
            .all(|layer| together.contains(layer))
    );
    let base = alone.iter().zip(&together).take_while(|(a, b)| a == b).count();
    assert!(base > 4, "the base is a prefix that both share");
}

#[test]
fn an_image_never_has_more_than_the_most_layers() {
    for count in [40, 50, 200] {
        let packages = many(count);
        let Outcome::Merge(merges) = outcome(&packages, &base(), &BTreeMap::new()) else {
            assert_eq!(count, 40);
            continue;
        };
        let merged = merges
            .iter()
            .map(|merge| (merge.key.clone(), layer("union", true, 1).packed))
            .collect();
        let Outcome::Image(image) = outcome(&packages, &base(), &merged) else {
            panic!("{count}: still to be merged")
        };
        let manifest: serde_json::Value = serde_json::from_slice(&image.oci.bytes).unwrap();
        assert_eq!(
            manifest["layers"].as_array().unwrap().len(),
            MAX_LAYERS,
            "{count}"
        );
        let base: BTreeSet<Digest> = base()
            .iter()
            .flat_map(|package| &package.layers)
            .map(|l| l.packed.digest)
            .collect();
        assert!(
            merges
                .iter()
                .flat_map(|merge| &merge.layers)
                .all(|layer| !base.contains(&layer.packed.digest))
        );
    }
}

proptest! {
    #[test]
    fn order_and_repetition_change_nothing(order in proptest::collection::vec(0usize..12, 1..30)) {
        let all = many(12);
        let asked: Vec<Package> = order.iter().map(|&n| all[n].clone()).collect();
        let mut sorted: Vec<Package> = asked.clone();
        sorted.sort_by(|a, b| a.attribute.cmp(&b.attribute));
        sorted.dedup();
        prop_assert_eq!(image(&asked), image(&sorted));
    }
}
