//! From a stream of tar bytes to an encoded file and both its digests, in one pass.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use laminix::digest::Digest;
use laminix::record::{Compression, Packed};
use sha2::{Digest as _, Sha256};

use super::encoder::chunk_size;
use super::pool::{Chunk, Encoded, Pool, stopped};

/// A chunk that is being compressed.
type Pending = Receiver<io::Result<Encoded>>;

/// Takes tar bytes, and hands them on in chunks.
pub(crate) struct Chunker<'a> {
    pool: &'a Pool,
    compression: Compression,
    chunk: Option<Chunk>,
    ordered: Sender<Pending>,
    diff_id: Sha256,
    unpacked: u64,
}

/// Compresses what `fill` writes into `file`.
pub(super) fn encode(
    pool: &Pool,
    compression: Compression,
    file: &mut File,
    fill: impl FnOnce(Chunker<'_>) -> Result<Chunker<'_>>,
) -> Result<Packed> {
    let (ordered, pending) = channel();
    let chunker = Chunker {
        pool,
        compression,
        chunk: None,
        ordered,
        diff_id: Sha256::new(),
        unpacked: 0,
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_out(pending, file));
        let filled = fill(chunker).and_then(|chunker| Ok(chunker.finish()?));
        let written = writer
            .join()
            .map_err(|_| anyhow!("the thread that writes a layer panicked"))?;
        // when the disk is full, that is what must be said, not that nobody takes chunks any more
        let (digest, size) = written.context("a layer cannot be written")?;
        let (diff_id, unpacked) = filled?;
        Ok(Packed {
            digest,
            size,
            diff_id,
            unpacked,
            compression,
        })
    })
}

fn write_out(pending: Receiver<Pending>, file: &mut File) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    for encoded in pending {
        let encoded = encoded.recv().map_err(|_| stopped())??;
        hasher.update(&encoded.bytes);
        size += encoded.bytes.len() as u64;
        file.write_all(&encoded.bytes)?;
    }
    Ok((Digest::from_hasher(hasher), size))
}

impl Chunker<'_> {
    fn hand_on(&mut self, chunk: Chunk) -> io::Result<()> {
        self.diff_id.update(&chunk.bytes);
        self.unpacked += chunk.bytes.len() as u64;
        let pending = self.pool.compress(chunk, self.compression)?;
        self.ordered.send(pending).map_err(|_| stopped())
    }

    fn finish(mut self) -> io::Result<(Digest, u64)> {
        if let Some(last) = self.chunk.take() {
            self.hand_on(last)?;
        }
        Ok((Digest::from_hasher(self.diff_id), self.unpacked))
    }
}

impl Write for Chunker<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut chunk = match self.chunk.take() {
            Some(chunk) => chunk,
            None => self.pool.buffer()?,
        };
        let size = chunk_size(self.compression);
        let taken = bytes.len().min(size - chunk.bytes.len());
        chunk.bytes.extend_from_slice(&bytes[..taken]);
        if chunk.bytes.len() == size {
            self.hand_on(chunk)?;
        } else {
            self.chunk = Some(chunk);
        }
        Ok(taken)
    }

    /// Nothing is handed on before its chunk is full: the cuts must not depend on who flushes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
