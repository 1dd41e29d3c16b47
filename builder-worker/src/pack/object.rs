//! Store objects as entries of a layer: the one way in which they get there, off the disk or out of another layer.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use laminix::archive::Archive;
use laminix::record::{Content, STORE_DIR, StorePath};

use super::nar::Nar;

/// The mode of directories and of files that can be executed. Nix knows no other difference.
const EXECUTABLE: u32 = 0o555;
const PLAIN: u32 = 0o444;

/// Writes a layer, store object by store object.
pub(crate) struct LayerWriter<W: Write> {
    archive: Archive<W>,
    last: Option<StorePath>,
}

/// Writes one store object: parents first, siblings in the order of their bytes. Names are relative to the object,
/// whose own is empty.
pub(crate) struct ObjectWriter<'a, W: Write> {
    archive: &'a mut Archive<W>,
    /// Its path, relative to `/`.
    path: PathBuf,
    nar: Nar,
}

impl<W: Write> LayerWriter<W> {
    pub(crate) fn new(writer: W) -> Result<Self> {
        let mut archive = Archive::new(writer);
        archive.store_directories()?;
        Ok(Self { archive, last: None })
    }

    /// Writes what `fill` says, and makes sure that it is what the content's NAR hash says.
    pub(crate) fn object(
        &mut self,
        content: &Content,
        fill: impl FnOnce(&mut ObjectWriter<'_, W>) -> Result<()>,
    ) -> Result<()> {
        ensure!(
            self.last.as_ref().is_none_or(|last| *last < content.path),
            "{} is not in its place in the layer",
            content.path
        );
        let path = Path::new(STORE_DIR.trim_start_matches('/')).join(content.path.base_name());
        let mut object = ObjectWriter {
            archive: &mut self.archive,
            path,
            nar: Nar::new(),
        };
        fill(&mut object).with_context(|| format!("{} cannot be packed", content.path))?;
        let found = object.nar.finish();
        ensure!(
            found.0 == content.nar_hash && found.1 == content.nar_size,
            "{} has been changed: its NAR is {} of {} bytes, not {} of {}",
            content.path,
            found.0,
            found.1,
            content.nar_hash,
            content.nar_size,
        );
        self.last = Some(content.path.clone());
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<W> {
        Ok(self.archive.finish()?)
    }
}

impl<W: Write> ObjectWriter<'_, W> {
    pub(crate) fn directory(&mut self, inner: &Path) -> Result<()> {
        let (depth, name) = place(inner);
        self.nar.directory(depth, name);
        Ok(self.archive.directory(&self.full(inner), EXECUTABLE)?)
    }

    /// A file of `size` bytes; an error when `content` ends before that.
    pub(crate) fn file(
        &mut self,
        inner: &Path,
        executable: bool,
        size: u64,
        content: impl Read,
    ) -> Result<()> {
        let (depth, name) = place(inner);
        let full = self.full(inner);
        self.nar.file(depth, name, executable, size);
        let mode = if executable { EXECUTABLE } else { PLAIN };
        self.archive.file(
            &full,
            mode,
            size,
            Hashed {
                content,
                nar: &mut self.nar,
            },
        )?;
        self.nar.end_file(depth, size);
        Ok(())
    }

    pub(crate) fn symlink(&mut self, inner: &Path, target: &Path) -> Result<()> {
        let (depth, name) = place(inner);
        self.nar.symlink(depth, name, target.as_os_str().as_bytes());
        Ok(self.archive.symlink(&self.full(inner), target)?)
    }

    fn full(&self, inner: &Path) -> PathBuf {
        if inner.as_os_str().is_empty() {
            self.path.clone()
        } else {
            self.path.join(inner)
        }
    }
}

/// How deep in its object an entry is, and its name. Bytes are split rather than [`Path::components`] taken, which
/// would see no component in `.`, a name that a layer made elsewhere could hold.
fn place(inner: &Path) -> (usize, &[u8]) {
    let bytes = inner.as_os_str().as_bytes();
    let depth = if bytes.is_empty() {
        0
    } else {
        bytes.split(|byte| *byte == b'/').count()
    };
    (depth, bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes))
}

struct Hashed<'a, R> {
    content: R,
    nar: &'a mut Nar,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read(buffer)?;
        self.nar.data(&buffer[..n]);
        Ok(n)
    }
}
