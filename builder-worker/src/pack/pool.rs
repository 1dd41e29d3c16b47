//! The threads that compress, and the buffers that bound the memory of all packing.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use laminix::record::Compression;

use super::encoder::Encoder;

/// Buffers for each thread: one that it compresses, one that waits for it, one that is filled or written out.
const BUFFERS: usize = 3;

/// Threads that compress chunks for any number of layers. They end when the pool is dropped.
pub(super) struct Pool {
    jobs: Sender<Job>,
    free: Mutex<Receiver<Vec<u8>>>,
    home: Sender<Vec<u8>>,
    threads: NonZero<usize>,
}

struct Job {
    chunk: Chunk,
    compression: Compression,
    done: SyncSender<io::Result<Encoded>>,
}

/// A buffer of the pool, which goes back there when it is dropped, whatever went wrong meanwhile.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    home: Sender<Vec<u8>>,
}

/// A compressed chunk. It keeps the chunk's buffer until it is written out: else a slow disk would let compressed
/// chunks pile up.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    _chunk: Chunk,
}

impl Pool {
    pub(super) fn new(threads: NonZero<usize>) -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..threads.get() {
            let (queue, mut encoder) = (Arc::clone(&queue), Encoder::new()?);
            thread::Builder::new().name(format!("pack-{n}")).spawn(move || {
                while let Some(job) = next(&queue) {
                    let encoded = encoder.encode(job.compression, &job.chunk.bytes);
                    // nobody waits when the layer has failed meanwhile
                    let _ = job.done.send(encoded.map(|bytes| Encoded {
                        bytes,
                        _chunk: job.chunk,
                    }));
                }
            })?;
        }
        let (home, free) = channel();
        for _ in 0..threads.get().saturating_mul(BUFFERS) {
            let _ = home.send(Vec::new());
        }
        Ok(Self {
            jobs,
            free: Mutex::new(free),
            home,
            threads,
        })
    }

    pub(super) fn threads(&self) -> NonZero<usize> {
        self.threads
    }

    /// An empty buffer; waits until one is free. Who waits must not hold one, or layers could wait for each other.
    pub(super) fn buffer(&self) -> io::Result<Chunk> {
        let mut bytes = next(&self.free).ok_or_else(stopped)?;
        bytes.clear();
        Ok(Chunk {
            bytes,
            home: self.home.clone(),
        })
    }

    /// Has a chunk compressed; the result comes through the channel.
    pub(super) fn compress(
        &self,
        chunk: Chunk,
        compression: Compression,
    ) -> io::Result<Receiver<io::Result<Encoded>>> {
        let (done, result) = sync_channel(1);
        let job = Job {
            chunk,
            compression,
            done,
        };
        self.jobs.send(job).map_err(|_| stopped())?;
        Ok(result)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // no pool, no need for buffers
        let _ = self.home.send(std::mem::take(&mut self.bytes));
    }
}

fn next<T>(queue: &Mutex<Receiver<T>>) -> Option<T> {
    let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.recv().ok()
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("the threads that compress have ended")
}
