//! Store objects on disk, in the order of a NAR. Of what the file system says, only names, types, contents, the
//! targets of links and the owner's x bit count: the rest is accidents of the machine (hard links of an optimised
//! store among them, which are simply files here).

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use laminix::record::StorePath;
use rustix::fs::OFlags;

use super::object::ObjectWriter;

/// Writes the store object `path` of the store directory `store`.
///
/// Symbolic links are never followed. An object that changes meanwhile comes out as a mix, which its NAR hash tells.
/// A stack instead of recursion: how deep directories are is up to the package.
pub(super) fn walk<W: Write>(store: &Path, path: &StorePath, object: &mut ObjectWriter<'_, W>) -> Result<()> {
    let base = store.join(path.base_name());
    let mut stack = vec![PathBuf::new()];
    while let Some(inner) = stack.pop() {
        let full = if inner.as_os_str().is_empty() {
            base.clone()
        } else {
            base.join(&inner)
        };
        entry(&full, &inner, object, &mut stack).with_context(|| full.display().to_string())?;
    }
    Ok(())
}

fn entry<W: Write>(
    full: &Path,
    inner: &Path,
    object: &mut ObjectWriter<'_, W>,
    stack: &mut Vec<PathBuf>,
) -> Result<()> {
    let kind = fs::symlink_metadata(full)?.file_type();
    if kind.is_dir() {
        object.directory(inner)?;
        let names: Result<Vec<OsString>, _> = fs::read_dir(full)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect();
        let mut names = names?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        stack.extend(names.into_iter().map(|name| inner.join(name)));
        Ok(())
    } else if kind.is_file() {
        // without blocking, should it have become a FIFO meanwhile
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(full)?;
        let metadata = file.metadata()?;
        object.file(inner, metadata.mode() & 0o100 != 0, metadata.size(), file)
    } else if kind.is_symlink() {
        object.symlink(inner, &fs::read_link(full)?)
    } else {
        bail!("it is neither a file, a directory nor a symbolic link: {kind:?}")
    }
}
