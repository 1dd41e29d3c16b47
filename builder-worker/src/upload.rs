//! Layers into the store: each is packed at most once, and believed only if its blob is what the record says.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use laminix::key::{Key, LayerKey};
use laminix::record::{Compression, Content, Layer, Packed};
use laminix::store::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::pack::{PackedFile, Packer};
use crate::plan::{self, Planned};

/// The layer with these contents, which are sorted by path: as it is stored, or packed and stored now.
///
/// The record is written last. A worker that is killed before leaves a blob that nobody names, and whoever is next
/// writes the same bytes over it; two workers at one layer do the same to each other.
///
/// # Errors
/// Those of [`Packer::pack`], and of the store.
pub async fn ensure_layer(
    store: &Store,
    packer: &Arc<Packer>,
    contents: &[Content],
    compression: Compression,
) -> Result<Packed> {
    let key = plan::key(contents, compression);
    if let Some(packed) = stored(store, &key).await? {
        return Ok(packed);
    }
    let (packer, contents) = (Arc::clone(packer), contents.to_vec());
    let file = tokio::task::spawn_blocking(move || packer.pack(&contents, compression))
        .await
        .context("packing was broken off")??;
    publish(store, key, file).await
}

/// The layers of a plan, in its order; as many at once as the packer has threads.
///
/// # Errors
/// Those of [`ensure_layer`]; the other layers are given up with the first one that fails.
pub async fn ensure_layers(
    store: &Store,
    packer: &Arc<Packer>,
    planned: Vec<Planned>,
    compression: Compression,
) -> Result<Vec<Layer>> {
    // a few large buffers and temporary files for each layer under way: no more of them than can make progress
    let at_once = Arc::new(Semaphore::new(packer.threads().get()));
    let mut tasks = JoinSet::new();
    let mut done = BTreeMap::new();
    for (index, planned) in planned.into_iter().enumerate() {
        let (store, packer, at_once) = (store.clone(), Arc::clone(packer), Arc::clone(&at_once));
        tasks.spawn(async move {
            let _permit = at_once.acquire().await?;
            let packed = ensure_layer(&store, &packer, &planned.contents, compression).await?;
            let Planned { tail, contents } = planned;
            anyhow::Ok((
                index,
                Layer {
                    packed,
                    tail,
                    contents,
                },
            ))
        });
    }
    while let Some(layer) = tasks.join_next().await {
        let (index, layer) = layer.context("packing was broken off")??;
        done.insert(index, layer);
    }
    Ok(done.into_values().collect())
}

/// A layer's record, if there is one and its blob is stored intact. A record that cannot be read is as good as none.
pub(crate) async fn stored(store: &Store, key: &LayerKey) -> Result<Option<Packed>> {
    let name = Key::Layer(key.clone());
    let Some(record) = store.get(&name).await? else {
        return Ok(None);
    };
    let packed: Packed = match serde_json::from_slice(&record) {
        Ok(packed) => packed,
        Err(error) => {
            tracing::warn!(key = name.path(), %error, "layer record is broken: packing again");
            return Ok(None);
        }
    };
    if store.intact(&packed.digest, packed.size).await? {
        Ok(Some(packed))
    } else {
        tracing::warn!(key = name.path(), digest = %packed.digest, "stored layer is not intact: packing again");
        Ok(None)
    }
}

/// Stores a packed layer: the blob, which the store verifies, then its record.
pub(crate) async fn publish(store: &Store, key: LayerKey, file: PackedFile) -> Result<Packed> {
    let PackedFile { packed, file } = file;
    store.upload(&packed.digest, file.path()).await?;
    let record = serde_json::to_vec(&packed)?;
    store.put(&Key::Layer(key), record.into()).await?;
    tracing::info!(digest = %packed.digest, size = packed.size, unpacked = packed.unpacked, "layer is stored");
    Ok(packed)
}
