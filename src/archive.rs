//! Deterministic tar: the one way in which layers are written (OCI image-spec, layer.md).
//!
//! Every entry is owned by root, by number alone, with the modification time 1 that Nix gives its store; nothing of
//! the machine that packs gets in. Callers add entries in sorted order.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use tar::{Builder, EntryType, Header};

/// The modification time of every entry, in seconds since 1970: Nix's own.
pub const MTIME: u64 = 1;

/// Writes a tar stream entry by entry. Paths are relative, without a leading `./`.
pub struct Archive<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub fn new(writer: W) -> Self {
        Self {
            builder: Builder::new(writer),
        }
    }

    /// The directories above all store paths, with the same headers in every layer: `nix` and `nix/store`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn store_directories(&mut self) -> io::Result<()> {
        self.directory(Path::new("nix"), 0o555)?;
        self.directory(Path::new("nix/store"), 0o555)
    }

    /// A directory.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.append_directory(header(EntryType::Directory, mode, 0), path)
    }

    fn append_directory(&mut self, mut header: Header, path: &Path) -> io::Result<()> {
        // archivers mark directories by a trailing slash
        let mut name = path.as_os_str().to_owned();
        name.push("/");
        self.builder.append_data(&mut header, name, io::empty())
    }

    /// A directory that belongs to somebody else than root: a home.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn home(&mut self, path: &Path, mode: u32, owner: u64) -> io::Result<()> {
        let mut header = header(EntryType::Directory, mode, 0);
        header.set_uid(owner);
        header.set_gid(owner);
        self.append_directory(header, path)
    }

    /// A regular file with `size` bytes from `content`.
    ///
    /// # Errors
    /// Those of the reader and the writer; `UnexpectedEof` when the reader ends early.
    pub fn file(&mut self, path: &Path, mode: u32, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = header(EntryType::Regular, mode, size);
        let mut content = Counted {
            inner: content.take(size),
            left: size,
        };
        self.builder.append_data(&mut header, path, &mut content)?;
        if content.left == 0 {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// A symbolic link. Its target is written as it is: `tar` itself would turn `a//b` into `a/b`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn symlink(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let target = target.as_os_str().as_bytes();
        let mut link = header(EntryType::Symlink, 0o777, 0);
        if link.set_link_name_literal(target).is_err() {
            // GNU's extension for what does not fit into the header: an entry before it, ended by a NUL
            let mut long = header(EntryType::GNULongLink, 0o644, target.len() as u64 + 1);
            long.set_path("@LongLink")?;
            long.set_cksum();
            self.builder.append(&long, target.chain(&[0][..]))?;
        }
        self.builder.append_data(&mut link, path, io::empty())
    }

    /// Ends the archive and gives the writer back.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header.set_size(size);
    header
}

/// Counts what was read: `tar` itself does not notice a file that shrank.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(long: &str) -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.store_directories().unwrap();
        archive
            .file(Path::new("nix/store/x"), 0o444, 3, &b"abc"[..])
            .unwrap();
        archive
            .symlink(Path::new(long), Path::new("/nix/store/x"))
            .unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn entries_carry_nothing_of_the_machine() {
        let long = format!("nix/store/{}/{}", "y".repeat(120), "z".repeat(120));
        let bytes = sample(&long);
        assert_eq!(bytes, sample(&long));
        let mut reader = tar::Archive::new(&bytes[..]);
        let mut names = Vec::new();
        for entry in reader.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, MTIME)
            );
            assert_eq!(
                (header.username(), header.groupname()),
                (Ok(Some("")), Ok(Some("")))
            );
            names.push(entry.path().unwrap().into_owned());
        }
        assert_eq!(
            names,
            ["nix/", "nix/store/", "nix/store/x", &long].map(std::path::PathBuf::from)
        );
    }

    #[test]
    fn a_file_can_be_larger_than_an_octal_size() {
        let (size, mut bytes) = (9 << 30, Vec::new());
        let ends_early = Archive::new(&mut bytes).file(Path::new("x"), 0o444, size, io::empty());
        assert!(ends_early.is_err());
        assert_eq!(Header::from_byte_slice(&bytes[..512]).entry_size().unwrap(), size);
    }

    #[test]
    fn link_targets_are_kept_to_the_byte() {
        let long = "../".repeat(50);
        for target in ["a//b", "./a/.", "a/", &long] {
            let mut archive = Archive::new(Vec::new());
            let name = format!("{}/x", "d".repeat(120));
            archive.symlink(Path::new(&name), Path::new(target)).unwrap();
            let bytes = archive.finish().unwrap();
            let mut reader = tar::Archive::new(&bytes[..]);
            let entry = reader.entries().unwrap().next().unwrap().unwrap();
            assert_eq!(
                (entry.path_bytes().as_ref(), entry.link_name_bytes().as_deref()),
                (name.as_bytes(), Some(target.as_bytes()))
            );
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file(Path::new("x"), 0o444, 4, &b"abc"[..]).is_err());
    }
}
