//! The encoders of layers. Their bytes are the digests of all layers: whatever changes the bytes must change
//! [`Compression::encoding`] too.

use std::io;

use laminix::gzip;
use laminix::record::Compression;

/// zstd's level: as fast as gzip here (libdeflate 6), and a tenth smaller: 0.307 against 0.342 of 1 GB of Debian's
/// libraries.
const ZSTD_LEVEL: i32 = 6;

/// Bytes of content in a zstd frame (RFC 8878, section 3.1). The level's window is 2 MiB: frames of 4 MiB cost
/// nothing against a single stream (0.327 and 0.329 of gcc), those of 1 MiB cost 4 %.
const ZSTD_FRAME: usize = 4 << 20;

/// How many bytes of content are compressed together. Only the last chunk of a layer is shorter.
pub(super) fn chunk_size(compression: Compression) -> usize {
    match compression {
        Compression::Gzip => gzip::MEMBER,
        Compression::Zstd => ZSTD_FRAME,
    }
}

/// Compresses chunks, one after the other; each thread has its own.
pub(super) struct Encoder {
    gzip: gzip::Encoder,
    zstd: zstd::bulk::Compressor<'static>,
}

impl Encoder {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            gzip: gzip::Encoder::default(),
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
        })
    }

    /// The chunk as a gzip member or a zstd frame.
    pub(super) fn encode(&mut self, compression: Compression, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match compression {
            Compression::Gzip => Ok(self.gzip.member(chunk)),
            Compression::Zstd => self.zstd.compress(chunk),
        }
    }
}

#[cfg(test)]
mod tests {
    use laminix::digest::Digest;

    use super::*;

    /// If this fails, [`Compression::encoding`] must change with it.
    #[test]
    fn the_bytes_of_zstd_are_pinned() {
        assert_eq!(
            Compression::Zstd.encoding(),
            format!(
                "zstd:{}:{ZSTD_LEVEL}:{}MiB",
                zstd::zstd_safe::version_string(),
                ZSTD_FRAME >> 20
            )
        );
        let content: Vec<u8> = (0..ZSTD_FRAME)
            .map(|i| (i % 251) as u8 ^ (i >> 12) as u8)
            .collect();
        let frame = Encoder::new()
            .unwrap()
            .encode(Compression::Zstd, &content)
            .unwrap();
        assert_eq!(
            Digest::of(&frame).to_string(),
            "sha256:24c1133de052c0f505404dd2f342f8b144625575e5a621cd236b76ec085c4713"
        );
    }
}
