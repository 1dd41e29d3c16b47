//! Which layers an image has, and in which order.
//!
//! Docker's graph drivers share a layer only where all layers below it are the same. So what most images have comes
//! first: the base, then `shell`; then layers of single store paths, then tails; the root layer is last.

use std::collections::{BTreeMap, BTreeSet};

use super::{MAX_LAYERS, Merge, Parts};
use crate::digest::Digest;
use crate::key::LayerKey;
use crate::name::SHELL;
use crate::record::{Compression, Content, Layer, Package, Packed};

/// A layer of an image, and what to say of it in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) packed: Packed,
    /// The names of the store paths in it.
    pub(super) names: Vec<String>,
}

/// The layers below the root layer; or the unions that are missing.
pub(super) fn select(
    parts: &Parts<'_>,
    merged: &BTreeMap<LayerKey, Packed>,
) -> Result<Vec<Selected>, Vec<Merge>> {
    let mut seen = BTreeSet::new();
    let mut base = group(parts.base.values().copied(), &mut seen);
    if parts.has_shell() {
        let shell = SHELL
            .iter()
            .filter_map(|attribute| parts.asked.get(attribute).copied());
        base.extend(group(shell, &mut seen));
    }
    let rest = group(parts.asked.values().copied(), &mut seen);
    let room = MAX_LAYERS - 1;
    if base.len() + rest.len() <= room {
        return Ok(base.into_iter().chain(rest).map(selected).collect());
    }
    // The base is never merged, as long as there is anything else: its layers are the ones that images share. One more
    // layer than room has to go for the union itself.
    let (mut kept, candidates) = if base.len() < room {
        (base, rest)
    } else {
        (Vec::new(), [base, rest].concat())
    };
    let many = kept.len() + candidates.len() + 1 - room;
    let smallest: BTreeSet<Digest> = {
        let mut order: Vec<&Layer> = candidates.to_vec();
        order.sort_by_key(|layer| (!layer.tail, layer.packed.unpacked, layer.packed.digest));
        order.iter().take(many).map(|layer| layer.packed.digest).collect()
    };
    let (join, rest): (Vec<&Layer>, Vec<&Layer>) = candidates
        .into_iter()
        .partition(|layer| smallest.contains(&layer.packed.digest));
    kept.extend(rest);
    let merge = union(&join);
    let Some(packed) = merged.get(&merge.key) else {
        return Err(vec![merge]);
    };
    let names = contents(&join)
        .into_iter()
        .map(|content| content.path.base_name().to_owned())
        .collect();
    let union = Selected {
        packed: packed.clone(),
        names,
    };
    Ok(kept.into_iter().map(selected).chain([union]).collect())
}

fn selected(layer: &Layer) -> Selected {
    let names = layer
        .contents
        .iter()
        .map(|content| content.path.base_name().to_owned())
        .collect();
    Selected {
        packed: layer.packed.clone(),
        names,
    }
}

/// The layers of some packages that were not seen yet: those of single paths first, then tails, each by content.
fn group<'a>(packages: impl Iterator<Item = &'a Package>, seen: &mut BTreeSet<Digest>) -> Vec<&'a Layer> {
    let mut layers: Vec<&Layer> = packages.flat_map(|package| &package.layers).collect();
    layers
        .sort_by(|a, b| (a.tail, &a.contents, a.packed.digest).cmp(&(b.tail, &b.contents, b.packed.digest)));
    layers.retain(|layer| seen.insert(layer.packed.digest));
    layers
}

fn contents(layers: &[&Layer]) -> BTreeSet<Content> {
    layers
        .iter()
        .flat_map(|layer| layer.contents.iter().cloned())
        .collect()
}

fn union(layers: &[&Layer]) -> Merge {
    let compression = Compression::of_union(layers.iter().map(|layer| layer.packed.compression));
    let contents = contents(layers);
    let fields: Vec<(&str, &str)> = contents
        .iter()
        .map(|content| (content.path.as_str(), content.nar_hash.as_str()))
        .collect();
    let key = LayerKey::of(compression.encoding(), &fields);
    Merge {
        key,
        layers: layers.iter().map(|&layer| layer.clone()).collect(),
    }
}
