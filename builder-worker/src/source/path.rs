//! `path:` sources: the revision of a directory is a hash of what Nix could see in it.
//!
//! The hash is over every entry but `.git`: its path, its kind, whether it is executable, its content or its target.
//! Evaluation reads a copy that was hashed itself, so a directory that is edited meanwhile never gives a record under
//! the wrong revision.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use laminix::digest::Digest;
use laminix::source::Revision;
use sha2::{Digest as _, Sha256};

use super::Resolved;
use super::tree::Trees;

pub(super) async fn resolve(set: &Path, trees: &Trees) -> anyhow::Result<Resolved> {
    if !set.join("default.nix").is_file() {
        return Ok(Resolved::Refused(
            "the directory that this registry serves holds no default.nix".to_owned(),
        ));
    }
    let directory = set.to_owned();
    let mut revision = tokio::task::spawn_blocking(move || hash(&directory)).await??;
    if trees.get(&revision).is_none() {
        revision = snapshot(set, trees).await?.0;
    }
    Ok(Resolved::Revision {
        revision,
        fixed: false,
    })
}

/// The tree of a revision that is not here (any more): only if the directory still is at that revision.
pub(super) async fn copy(set: &Path, revision: &Revision, trees: &Trees) -> anyhow::Result<PathBuf> {
    let (found, tree) = snapshot(set, trees).await?;
    if found != *revision {
        bail!(
            "the directory has changed since revision {} was seen",
            revision.short()
        );
    }
    Ok(tree)
}

async fn snapshot(set: &Path, trees: &Trees) -> anyhow::Result<(Revision, PathBuf)> {
    let draft = trees.draft()?;
    let (from, to) = (set.to_owned(), draft.path());
    let revision = tokio::task::spawn_blocking(move || {
        copy_entries(&from, &to)?;
        hash(&to)
    })
    .await??;
    let tree = trees.keep(draft, &revision)?;
    Ok((revision, tree))
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.retain(|entry| entry.file_name() != ".git");
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

fn copy_entries(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in entries(from)? {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_entries(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).with_context(|| format!("copying {}", source.display()))?;
        }
    }
    Ok(())
}

fn hash(set: &Path) -> anyhow::Result<Revision> {
    let mut hasher = Sha256::new();
    hash_entries(set, Path::new(""), &mut hasher)?;
    Ok(Digest::from_hasher(hasher).hex().parse()?)
}

/// Every field is preceded by its length, so that no two directories give one stream.
fn hash_entries(directory: &Path, name: &Path, hasher: &mut Sha256) -> anyhow::Result<()> {
    for entry in entries(directory)? {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            field(hasher, b"link", &name);
            let target = fs::read_link(&path)?;
            field(hasher, b"to", &target);
        } else if kind.is_dir() {
            field(hasher, b"directory", &name);
            hash_entries(&path, &name, hasher)?;
        } else if kind.is_file() {
            hash_file(&path, &name, hasher).with_context(|| format!("reading {}", path.display()))?;
        }
    }
    Ok(())
}

fn hash_file(path: &Path, name: &Path, hasher: &mut Sha256) -> anyhow::Result<()> {
    let mut file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    let executable = metadata.permissions().mode() & 0o111 != 0;
    field(hasher, if executable { b"program" } else { b"file" }, name);
    hasher.update(metadata.len().to_be_bytes());
    let mut buffer = vec![0; 1 << 16];
    let mut left = metadata.len();
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        left = left
            .checked_sub(read as u64)
            .context("the file grew while it was read")?;
        hasher.update(&buffer[..read]);
    }
    if left > 0 {
        bail!("the file shrank while it was read");
    }
    Ok(())
}

fn field(hasher: &mut Sha256, kind: &[u8], value: &Path) {
    for bytes in [kind, value.as_os_str().as_bytes()] {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_has_the_revision_of_its_content() {
        let home = tempfile::tempdir().unwrap();
        let (set, state) = (home.path().join("set"), home.path().join("state"));
        fs::create_dir_all(set.join("sub/.git")).unwrap();
        fs::write(set.join("default.nix"), "{}").unwrap();
        let trees = Trees::open(&state).unwrap();
        let revision = async || match resolve(&set, &trees).await.unwrap() {
            Resolved::Revision {
                revision,
                fixed: false,
            } => revision,
            other => panic!("{other:?}"),
        };
        let first = revision().await;
        fs::write(set.join("sub/.git/HEAD"), "x").unwrap();
        assert_eq!(revision().await, first, "what git keeps is not seen");
        fs::write(set.join("sub/a"), "x").unwrap();
        let second = revision().await;
        assert_ne!(second, first);
        fs::set_permissions(set.join("sub/a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(revision().await, second);
        assert!(trees.get(&first).is_some_and(|tree| !tree.join("sub/a").exists()));
        assert_eq!(
            copy(&set, &first, &trees)
                .await
                .unwrap_err()
                .to_string()
                .split(' ')
                .next(),
            Some("the")
        );
    }

    #[tokio::test]
    async fn a_directory_without_a_set_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let trees = Trees::open(&home.path().join("state")).unwrap();
        assert!(matches!(
            resolve(home.path(), &trees).await.unwrap(),
            Resolved::Refused(_)
        ));
    }
}
