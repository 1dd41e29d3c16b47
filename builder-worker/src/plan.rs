//! Which layer a store path goes into: a pure function of the path and its package.
//!
//! The rule knows nothing of what else was asked for, so a package has the same layers in every image, and what one
//! image has brought to a host is there for the next. A path of [`LARGE`] bytes or more is a layer of its own,
//! shared by every package that needs it; the rest of a package's closure is that package's tail.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use laminix::key::LayerKey;
use laminix::record::{Compression, Content, StorePath};

/// From this NAR size on, in bytes, a path has a layer of its own.
///
/// Simulated on 161 popular packages of Debian (1,083 paths) and 300 random images of 1 to 14 of them: 16 layers at
/// the median and 64 at most, 2 % more bytes than the exact closure at the median, and a host that pulls all 300
/// downloads 1.24 times the ideal. Half of this limit gives 1.17 times, for 21 and 85 layers, too near to the 125
/// that Docker can stack.
pub const LARGE: u64 = 4_000_000;

/// The most layers of its own that one package's paths get: its largest paths, the others go into its tail. Without
/// this, one desktop or TeX distribution would be more layers than an image can have (96), and only tails can be
/// merged. Of Debian's popular packages none comes near it.
pub const LARGE_PATHS: usize = 60;

/// A layer that is yet to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Whether it is the rest of the closure.
    pub tail: bool,
    /// What goes into it, sorted by path. Never empty.
    pub contents: Vec<Content>,
}

impl Planned {
    /// The name of the packed layer.
    #[must_use]
    pub fn key(&self, compression: Compression) -> LayerKey {
        key(&self.contents, compression)
    }
}

/// The name of a packed layer with these contents, which are sorted by path.
#[must_use]
pub fn key(contents: &[Content], compression: Compression) -> LayerKey {
    let fields: Vec<_> = contents
        .iter()
        .map(|content| (content.path.as_str(), content.nar_hash.as_str()))
        .collect();
    LayerKey::of(compression.encoding(), &fields)
}

/// Cuts the closure of one package into layers: the large paths in the order of their names, then the tail.
/// Every path is in exactly one layer, in whatever order and however often the closure lists it.
#[must_use]
pub fn plan(closure: &[Content]) -> Vec<Planned> {
    let mut tail: BTreeMap<&StorePath, &Content> =
        closure.iter().map(|content| (&content.path, content)).collect();
    let mut large: Vec<&Content> = tail
        .values()
        .copied()
        .filter(|content| content.nar_size >= LARGE)
        .collect();
    large.sort_by_key(|content| (Reverse(content.nar_size), &content.path));
    large.truncate(LARGE_PATHS);
    large.sort_by_key(|content| &content.path);
    for content in &large {
        tail.remove(&content.path);
    }
    let mut layers: Vec<Planned> = large
        .into_iter()
        .map(|content| Planned {
            tail: false,
            contents: vec![content.clone()],
        })
        .collect();
    if !tail.is_empty() {
        layers.push(Planned {
            tail: true,
            contents: tail.into_values().cloned().collect(),
        });
    }
    layers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;

    fn content(n: u32, nar_size: u64) -> Content {
        Content {
            path: format!("/nix/store/{n:032}-p").parse().unwrap(),
            nar_hash: format!("sha256:{n:052}"),
            nar_size,
        }
    }

    fn universe() -> impl Strategy<Value = Vec<Content>> {
        btree_map(0..1000_u32, 0..3 * LARGE, 1..100)
            .prop_map(|paths| paths.into_iter().map(|(n, size)| content(n, size)).collect())
    }

    proptest! {
        #[test]
        fn every_path_is_in_exactly_one_layer(
            closure in universe().prop_flat_map(|paths| vec(proptest::sample::select(paths), 0..150)),
        ) {
            let layers = plan(&closure);
            let planned: Vec<_> = layers.iter().flat_map(|layer| &layer.contents).map(|c| &c.path).collect();
            let asked: BTreeSet<_> = closure.iter().map(|content| &content.path).collect();
            prop_assert_eq!(planned.len(), asked.len());
            prop_assert_eq!(planned.into_iter().collect::<BTreeSet<_>>(), asked);
            prop_assert!(layers.iter().all(|layer| layer.contents.is_sorted() && !layer.contents.is_empty()));
            prop_assert!(layers.iter().filter(|layer| layer.tail).count() <= 1);
            prop_assert!(layers.iter().filter(|layer| !layer.tail).count() <= LARGE_PATHS);

            let reversed: Vec<_> = closure.iter().rev().cloned().collect();
            prop_assert_eq!(plan(&reversed), layers);
        }

        /// Fault 15 of the predecessor: one merged tail that changes when any member of the image changes.
        /// Here two packages of one universe share the layers of the large paths that they share.
        #[test]
        fn other_packages_do_not_move_a_path(
            (one, other) in universe().prop_flat_map(|paths| {
                let most = paths.len().min(LARGE_PATHS);
                (subsequence(paths.clone(), 0..=most), subsequence(paths, 0..=most))
            }),
        ) {
            let keys = |closure: &[Content]| -> BTreeSet<LayerKey> {
                plan(closure).iter().filter(|l| !l.tail).map(|l| l.key(Compression::Gzip)).collect()
            };
            let shared: Vec<_> = one.iter().filter(|content| other.contains(content)).cloned().collect();
            let both: BTreeSet<_> = keys(&one).intersection(&keys(&other)).cloned().collect();
            prop_assert_eq!(both, keys(&shared));
        }
    }

    #[test]
    fn the_limit_is_the_limit() {
        let layers = plan(&[content(3, LARGE - 1), content(2, LARGE), content(1, 1)]);
        assert_eq!(
            layers
                .iter()
                .map(|l| (l.tail, l.contents.len()))
                .collect::<Vec<_>>(),
            [(false, 1), (true, 2)]
        );
        assert_eq!(plan(&[]), []);
    }

    #[test]
    fn a_huge_package_keeps_its_largest_paths_apart() {
        let closure: Vec<_> = (0..100).map(|n| content(n, LARGE + u64::from(n))).collect();
        let layers = plan(&closure);
        assert_eq!(layers.len(), LARGE_PATHS + 1);
        let tail = &layers[LARGE_PATHS];
        assert!(tail.tail && tail.contents.iter().all(|c| c.nar_size < LARGE + 40));
    }

    #[test]
    fn a_key_tells_contents_and_encoding_apart() {
        let layer = |n| plan(&[content(n, 1)]).remove(0);
        let mut rebuilt = layer(1);
        rebuilt.contents[0].nar_hash = format!("sha256:{:052}", 2);
        let keys: BTreeSet<_> = [
            layer(1).key(Compression::Gzip),
            layer(1).key(Compression::Zstd),
            layer(2).key(Compression::Gzip),
            rebuilt.key(Compression::Gzip),
        ]
        .into();
        assert_eq!(keys.len(), 4);
    }
}
