//! Packing: store paths in, a compressed layer and its digests out, in one pass.
//!
//! ```text
//! walk ─entries▶ object ─┬▶ tar ─chunks▶ sha256 ─▶ pool: compress ─in order▶ sha256 ─▶ file
//!                        │               diff id                             digest
//!                        └▶ NAR hash: is it what the layer's key was made of?
//! ```
//!
//! One thread walks and one writes for each layer; the threads of the pool compress for all layers. Chunks are
//! compressed each by itself, so the bytes depend on the contents alone, not on the threads. Memory is bounded by
//! the pool's buffers, whatever is packed and however many layers at once.

mod encoder;
mod nar;
pub(crate) mod object;
mod pool;
mod stream;
mod walk;

use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use laminix::record::{Compression, Content, Packed, STORE_DIR};
use tempfile::NamedTempFile;

use self::object::LayerWriter;
use self::pool::Pool;
use self::stream::Chunker;

/// Packs layers from the store of this machine.
pub struct Packer {
    store: PathBuf,
    work_dir: PathBuf,
    pool: Pool,
    packed: AtomicU64,
}

/// A packed layer in a temporary file, which goes when this is dropped.
#[derive(Debug)]
pub struct PackedFile {
    /// Its digests and sizes.
    pub packed: Packed,
    /// Its bytes.
    pub file: NamedTempFile,
}

impl Packer {
    /// A packer that compresses on this many threads, and writes its files into `work_dir`. `root` is the directory
    /// that `/nix/store` is in: `/`, but for a store that is not at its place.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(root: &Path, work_dir: &Path, threads: NonZero<usize>) -> io::Result<Self> {
        Ok(Self {
            store: root.join(STORE_DIR.trim_start_matches('/')),
            work_dir: work_dir.to_owned(),
            pool: Pool::new(threads)?,
            packed: AtomicU64::new(0),
        })
    }

    /// How many threads compress: as many layers at once keep them busy.
    #[must_use]
    pub fn threads(&self) -> NonZero<usize> {
        self.pool.threads()
    }

    /// The bytes of all layers that it has packed, compressed.
    #[must_use]
    pub fn packed(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }

    /// Where temporary files go.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Packs these contents, which are sorted by path. Blocks.
    ///
    /// # Errors
    /// When a path is absent, holds what is neither file, directory nor link, cannot be read, or is not what its NAR
    /// hash says; and those of the disk that the layer is written to.
    pub fn pack(&self, contents: &[Content], compression: Compression) -> Result<PackedFile> {
        self.layer(compression, |layer| {
            for content in contents {
                layer.object(content, |object| walk::walk(&self.store, &content.path, object))?;
            }
            Ok(())
        })
    }

    /// Packs what `fill` writes. Blocks.
    pub(crate) fn layer(
        &self,
        compression: Compression,
        fill: impl FnOnce(&mut LayerWriter<Chunker<'_>>) -> Result<()>,
    ) -> Result<PackedFile> {
        let mut file = tempfile::Builder::new()
            .prefix("layer-")
            .tempfile_in(&self.work_dir)
            .with_context(|| format!("no temporary file in {}", self.work_dir.display()))?;
        let packed = stream::encode(&self.pool, compression, file.as_file_mut(), |chunker| {
            let mut layer = LayerWriter::new(chunker)?;
            fill(&mut layer)?;
            layer.finish()
        })?;
        self.packed.fetch_add(packed.size, Ordering::Relaxed);
        Ok(PackedFile { packed, file })
    }
}
