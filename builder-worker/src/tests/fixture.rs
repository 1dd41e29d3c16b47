//! A store of made-up objects below a temporary directory.

use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use laminix::record::{Content, StorePath};
use laminix_builder::pack::Packer;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) struct Fixture {
    pub(crate) root: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("nix/store")).unwrap();
        Self { root }
    }

    /// Where a store path of this name is on disk.
    pub(crate) fn on_disk(&self, name: &str) -> PathBuf {
        self.root.path().join(&store_path(name).as_str()[1..])
    }

    /// Makes a store object, and says what its record would be.
    pub(crate) fn add(&self, name: &str, make: impl FnOnce(&Path)) -> Content {
        make(&self.on_disk(name));
        self.content(name)
    }

    /// The record of what is there.
    pub(crate) fn content(&self, name: &str) -> Content {
        let mut nar = Vec::new();
        text(&mut nar, b"nix-archive-1");
        dump(&mut nar, &self.on_disk(name));
        Content {
            path: store_path(name),
            nar_hash: format!("sha256:{}", nix32(&Sha256::digest(&nar))),
            nar_size: nar.len() as u64,
        }
    }

    pub(crate) fn packer(&self, threads: usize) -> Arc<Packer> {
        let threads = NonZero::new(threads).unwrap();
        Arc::new(Packer::new(self.root.path(), self.root.path(), threads).unwrap())
    }

    /// Some objects of all kinds, sorted by path. The contents are the same in every fixture.
    pub(crate) fn sample(&self) -> Vec<Content> {
        let mut contents = vec![
            self.add("zlib", |dir| {
                fs::create_dir_all(dir.join("lib/empty")).unwrap();
                fs::write(dir.join("lib/libz.so.1.3"), noise(3 << 20, 1)).unwrap();
                symlink("libz.so.1.3", dir.join("lib/libz.so")).unwrap();
            }),
            self.add("app", |dir| {
                fs::create_dir_all(dir.join("bin")).unwrap();
                fs::write(dir.join("bin/app"), noise(100_000, 2)).unwrap();
                set_mode(&dir.join("bin/app"), 0o755);
                symlink("bin", dir.join("sbin")).unwrap();
                // as whole paths `share/a.b` would come before `share/a/x`; by names, `a` comes before `a.b`
                fs::create_dir_all(dir.join("share/a")).unwrap();
                fs::write(dir.join("share/a/x"), "x").unwrap();
                fs::write(dir.join("share/a.b"), "y").unwrap();
                fs::write(dir.join("share/copy"), "y").unwrap();
            }),
            self.add("script.sh", |file| fs::write(file, "#!/bin/sh\n").unwrap()),
        ];
        contents.sort();
        contents
    }
}

pub(crate) fn store_path(name: &str) -> StorePath {
    // a hash of the name, in letters that Nix has
    let hash = &hex::encode(Sha256::digest(name))[..32].replace('e', "x");
    format!("/nix/store/{hash}-{name}").parse().unwrap()
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Bytes that compress a little: letters of an xorshift.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 & 0x3f
    };
    (0..size).map(|_| next()).collect()
}

/// NAR by the book, apart from the worker's own.
fn dump(nar: &mut Vec<u8>, path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    for token in ["(", "type"] {
        text(nar, token.as_bytes());
    }
    if metadata.is_dir() {
        text(nar, b"directory");
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            for token in [&b"entry"[..], b"(", b"name", name.as_bytes(), b"node"] {
                text(nar, token);
            }
            dump(nar, &path.join(&name));
            text(nar, b")");
        }
    } else if metadata.is_symlink() {
        text(nar, b"symlink");
        text(nar, b"target");
        text(nar, fs::read_link(path).unwrap().as_os_str().as_bytes());
    } else {
        text(nar, b"regular");
        if metadata.permissions().mode() & 0o100 != 0 {
            text(nar, b"executable");
            text(nar, b"");
        }
        text(nar, b"contents");
        // what is no file is packed for its error: its hash does not matter
        text(
            nar,
            &if metadata.is_file() {
                fs::read(path).unwrap()
            } else {
                Vec::new()
            },
        );
    }
    text(nar, b")");
}

fn text(nar: &mut Vec<u8>, bytes: &[u8]) {
    nar.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    nar.extend_from_slice(bytes);
    nar.resize(nar.len().next_multiple_of(8), 0);
}

fn nix32(hash: &[u8]) -> String {
    let bit = |n: usize| hash.get(n / 8).map_or(0, |byte| usize::from(byte >> (n % 8) & 1));
    (0..52)
        .rev()
        .map(|digit| (0..5).map(|n| bit(digit * 5 + n) << n).sum::<usize>())
        .map(|value| char::from(b"0123456789abcdfghijklmnpqrsvwxyz"[value]))
        .collect()
}
