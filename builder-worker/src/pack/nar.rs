//! The NAR hash of a store object, from its entries as they go into a layer.
//!
//! A NAR is Nix's own archive (Nix manual, "Nix Archive (NAR) format"). A layer's key names its paths by their NAR
//! hashes, so what is packed under a key is made sure to be what the key says: a path that was changed on disk, or a
//! stored layer that holds something else, is never packed under another's name.

use sha2::{Digest as _, Sha256};

/// Hashes one store object, entry by entry, parents first and siblings in the order of their bytes.
pub(super) struct Nar {
    hasher: Sha256,
    size: u64,
    /// Directories that are open: their number is the depth at which the next entry can be.
    open: usize,
}

impl Nar {
    pub(super) fn new() -> Self {
        let mut nar = Self {
            hasher: Sha256::new(),
            size: 0,
            open: 0,
        };
        nar.text(b"nix-archive-1");
        nar
    }

    pub(super) fn directory(&mut self, depth: usize, name: &[u8]) {
        self.enter(depth, name);
        self.tokens(&["(", "type", "directory"]);
        self.open += 1;
    }

    pub(super) fn symlink(&mut self, depth: usize, name: &[u8], target: &[u8]) {
        self.enter(depth, name);
        self.tokens(&["(", "type", "symlink", "target"]);
        self.text(target);
        self.leave(depth);
    }

    /// Starts a file of `size` bytes, which go to [`Nar::data`]; then [`Nar::end_file`].
    pub(super) fn file(&mut self, depth: usize, name: &[u8], executable: bool, size: u64) {
        self.enter(depth, name);
        self.tokens(&["(", "type", "regular"]);
        if executable {
            self.tokens(&["executable", ""]);
        }
        self.tokens(&["contents"]);
        self.raw(&size.to_le_bytes());
    }

    pub(super) fn data(&mut self, bytes: &[u8]) {
        self.raw(bytes);
    }

    pub(super) fn end_file(&mut self, depth: usize, size: u64) {
        self.pad(size);
        self.leave(depth);
    }

    /// The hash as `nix-store -q --hash` prints it, and the NAR's size.
    pub(super) fn finish(mut self) -> (String, u64) {
        self.close_to(0);
        let hash = self.hasher.finalize();
        (format!("sha256:{}", nix32(&hash.into())), self.size)
    }

    /// Closes the directories that the next entry is not in, and begins it. The object itself is at depth 0 and has
    /// no name.
    fn enter(&mut self, depth: usize, name: &[u8]) {
        self.close_to(depth);
        if depth > 0 {
            self.tokens(&["entry", "(", "name"]);
            self.text(name);
            self.tokens(&["node"]);
        }
    }

    fn close_to(&mut self, depth: usize) {
        while self.open > depth {
            self.open -= 1;
            self.leave(self.open);
        }
    }

    fn leave(&mut self, depth: usize) {
        self.tokens(if depth > 0 { &[")", ")"] } else { &[")"] });
    }

    fn tokens(&mut self, tokens: &[&str]) {
        for token in tokens {
            self.text(token.as_bytes());
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        self.raw(&(bytes.len() as u64).to_le_bytes());
        self.raw(bytes);
        self.pad(bytes.len() as u64);
    }

    fn pad(&mut self, size: u64) {
        let rest = (8 - size % 8) as usize % 8;
        self.raw(&[0; 8][..rest]);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }
}

/// Nix's base 32: from the last bit to the first, without the letters e, o, u and t.
fn nix32(hash: &[u8; 32]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    (0..52)
        .rev()
        .map(|digit| {
            let (byte, shift) = (digit * 5 / 8, digit * 5 % 8);
            let high = hash.get(byte + 1).copied().unwrap_or(0);
            let pair = u16::from_le_bytes([hash[byte], high]);
            char::from(DIGITS[usize::from(pair >> shift) % 32])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `nix-store --dump | nix-hash --flat --type sha256 --base32` of the same tree.
    #[test]
    fn hashes_are_those_of_nix() {
        let mut nar = Nar::new();
        nar.directory(0, b"");
        nar.directory(1, b"bin");
        nar.file(2, b"x", true, 3);
        nar.data(b"abc");
        nar.end_file(2, 3);
        nar.symlink(2, b"y", b"x");
        nar.directory(1, b"empty");
        nar.file(1, b"z", false, 0);
        nar.end_file(1, 0);
        assert_eq!(
            nar.finish(),
            (
                "sha256:1makjz3nlmlx3a0xz526ycw9yhmf0bm0vr46v31qf66c59y4v7zp".to_owned(),
                1032
            )
        );

        let mut nar = Nar::new();
        nar.file(0, b"", false, 8);
        nar.data(b"12345678");
        nar.end_file(0, 8);
        assert_eq!(
            nar.finish(),
            (
                "sha256:0g7mwcdnivpkvcv7aydv8b9a4qp0nc3daxhdl95fciv488ik5mi2".to_owned(),
                120
            )
        );
    }
}
