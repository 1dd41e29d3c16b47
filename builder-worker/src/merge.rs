//! One layer of several that are stored, byte for byte what packing their contents off the disk would give.
//!
//! Nothing of it needs Nix or the paths themselves, which may have been collected long ago. Nor is the job believed:
//! what goes into the merged layer is checked against the NAR hashes that its key is made of.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use laminix::key::LayerKey;
use laminix::record::{Compression, Content, Layer, Packed, STORE_DIR};
use laminix::store::Store;
use tar::EntryType;
use tempfile::{NamedTempFile, TempPath};

use crate::pack::object::{LayerWriter, ObjectWriter};
use crate::pack::{PackedFile, Packer};
use crate::plan;
use crate::upload;

/// Makes the layer `key`, which is the union of `layers`, unless it is stored. A store path that is in several of
/// them is taken once.
///
/// # Errors
/// When the key is not that of the union, when one of the layers is not stored, or is not what the job says; and
/// those of the store and of the disk.
pub async fn merge(
    store: &Store,
    packer: &Arc<Packer>,
    key: LayerKey,
    layers: &[Layer],
    compression: Compression,
) -> Result<Packed> {
    let contents = union(layers);
    ensure!(
        !contents.is_empty() && plan::key(&contents, compression) == key,
        "the key is not that of the union of the layers"
    );
    if let Some(packed) = upload::stored(store, &key).await? {
        return Ok(packed);
    }
    let mut sources = Vec::with_capacity(layers.len());
    for Layer { packed, .. } in layers {
        let file = NamedTempFile::new_in(packer.work_dir())?.into_temp_path();
        let found = store.download(&packed.digest, &file).await?;
        ensure!(found, "layer {} is not stored", packed.digest);
        sources.push((file, packed.compression));
    }
    let packer = Arc::clone(packer);
    let file = tokio::task::spawn_blocking(move || pack(&packer, &contents, &sources, compression))
        .await
        .context("packing was broken off")??;
    upload::publish(store, key, file).await
}

/// The contents of the union, sorted by path.
fn union(layers: &[Layer]) -> Vec<Content> {
    let contents: BTreeMap<_, _> = layers
        .iter()
        .flat_map(|layer| &layer.contents)
        .map(|content| (&content.path, content))
        .collect();
    contents.into_values().cloned().collect()
}

/// Packs these contents out of the layers in these files, each of which is sorted as the contents are.
fn pack(
    packer: &Packer,
    contents: &[Content],
    sources: &[(TempPath, Compression)],
    compression: Compression,
) -> Result<PackedFile> {
    let mut archives = sources
        .iter()
        .map(|(file, compression)| Ok(tar::Archive::new(decoder(File::open(file)?, *compression)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut entries = Vec::with_capacity(archives.len());
    for archive in &mut archives {
        let mut stream = archive.entries()?.peekable();
        // the directories above all store paths
        for _ in 0..2 {
            stream.next().transpose()?;
        }
        entries.push(stream);
    }
    packer.layer(compression, |layer| {
        for content in contents {
            take(layer, content, &mut entries)?;
        }
        for stream in &mut entries {
            ensure!(stream.next().is_none(), "a layer holds more than the job says");
        }
        Ok(())
    })
}

/// Any compressed layer as a stream of tar bytes.
fn decoder(file: File, compression: Compression) -> Result<Box<dyn Read>> {
    let file = BufReader::new(file);
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
    })
}

/// Takes a store object from the first layer that is at it, and passes over it in the others.
fn take<'a, R, I, W>(layer: &mut LayerWriter<W>, content: &Content, streams: &mut [Peekable<I>]) -> Result<()>
where
    R: Read + 'a,
    I: Iterator<Item = std::io::Result<tar::Entry<'a, R>>>,
    W: Write,
{
    let top = Path::new(STORE_DIR.trim_start_matches('/')).join(content.path.base_name());
    layer.object(content, |object| {
        let mut taken = false;
        for stream in streams {
            let mut here = false;
            while let Some(entry) = next_below(stream, &top)? {
                if !taken {
                    add(object, &top, entry)?;
                }
                here = true;
            }
            taken |= here;
        }
        ensure!(taken, "no layer holds it, or not in its place");
        Ok(())
    })
}

/// The next entry of a layer, if it belongs to the store object `top`.
fn next_below<'a, R: Read + 'a>(
    stream: &mut Peekable<impl Iterator<Item = std::io::Result<tar::Entry<'a, R>>>>,
    top: &Path,
) -> Result<Option<tar::Entry<'a, R>>> {
    let below = |entry: &tar::Entry<'_, R>| bytes_path(&entry.path_bytes()).starts_with(top);
    Ok(stream
        .next_if(|entry| entry.as_ref().map_or(true, below))
        .transpose()?)
}

/// Writes an entry as it was written first.
fn add<W: Write>(
    object: &mut ObjectWriter<'_, W>,
    top: &Path,
    entry: tar::Entry<'_, impl Read>,
) -> Result<()> {
    let path = entry.path_bytes().into_owned();
    let path = bytes_path(path.strip_suffix(b"/").unwrap_or(&path));
    let inner = path.strip_prefix(top)?;
    let executable = entry.header().mode()? & 0o100 != 0;
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        object.directory(inner)
    } else if kind == EntryType::Regular {
        let size = entry.size();
        object.file(inner, executable, size, entry)
    } else if kind == EntryType::Symlink {
        let target = entry
            .link_name_bytes()
            .context("a link has no target")?
            .into_owned();
        object.symlink(inner, bytes_path(&target))
    } else {
        bail!("an entry is of the type {kind:?}")
    }
}

fn bytes_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
