//! What an output holds, as the root of an image links to it.
//!
//! The listing is a function of the output alone and has bounds, so that a record stays small whatever a package
//! installs. What is cut off is not lost: a directory that is not looked into is linked as a whole.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use laminix::record::{Node, Output, STORE_DIR, StorePath, Tree};

/// The most entries that a listing has. A package with headers, translations and manual pages for all it does has a
/// few thousand; at 20,000 its record is about half a megabyte, still one quick read.
pub const ENTRIES: usize = 20_000;

/// The most levels that a listing has. Packages meet in `share/locale/*/LC_MESSAGES` and the like, far above this;
/// readers of JSON give up at 128.
pub const DEPTH: usize = 16;

/// How many links are followed on the way to an entry: `sbin` → `bin`, and a link to a directory in there.
const LINKS: usize = 3;

/// How many links the target of one link may lead over, as in Linux (`path_resolution(7)`).
const HOPS: usize = 40;

/// Nix's notes for those who build with the output. Nobody looks for them in an image.
const SKIPPED: &str = "nix-support";

/// Lists an output of the store below `root`. An output that is a single file has an empty tree.
///
/// Links to directories are listed as directories where they stay in the store and do not lead back into one that
/// the listing is in; all other links are leaves. Names that are not UTF-8 are left out (their files are in the
/// layer), as is `nix-support` at the top.
///
/// A level that would bring the listing above [`ENTRIES`], or that is deeper than [`DEPTH`], is left out as a whole:
/// the directories above it are leaves. An output whose top already holds more has an empty tree.
///
/// # Errors
/// When the output is absent or cannot be read.
pub fn output(root: &Path, path: &StorePath) -> Result<Output> {
    let tree = Listing::of(root, path)
        .with_context(|| format!("{path} cannot be listed"))?
        .map(Listing::into_tree)
        .unwrap_or_default();
    Ok(Output {
        path: path.clone(),
        tree,
    })
}

#[derive(Default)]
struct Listing {
    directories: Vec<Directory>,
    /// By level, and for each directory together, sorted.
    entries: Vec<Entry>,
    /// How many of the directories have been looked into.
    listed: usize,
}

/// A directory that has been found.
struct Directory {
    parent: Option<usize>,
    /// Its path in the store, with all links resolved.
    real: PathBuf,
    /// How many links lead to it.
    links: usize,
}

struct Entry {
    /// The directory that it is in.
    parent: usize,
    name: String,
    /// The directory that it is.
    directory: Option<usize>,
}

impl Listing {
    /// Nothing when the output is no directory.
    fn of(root: &Path, path: &StorePath) -> Result<Option<Self>> {
        let on_disk = |real: &Path| root.join(real.strip_prefix("/").unwrap_or(real));
        let top = Path::new(path.as_str());
        fs::symlink_metadata(on_disk(top))?;
        let Some(real) = resolve(&on_disk, Path::new(STORE_DIR), top)? else {
            return Ok(None);
        };
        if !on_disk(&real).is_dir() {
            return Ok(None);
        }
        let links = usize::from(real != top);
        let mut listing = Self::default();
        listing.directories.push(Directory {
            parent: None,
            real,
            links,
        });
        for depth in 1..=DEPTH {
            let level = listing.listed..listing.directories.len();
            if level.is_empty() {
                break;
            }
            let before = (listing.entries.len(), level.end);
            for directory in level {
                listing.look_into(directory, &on_disk)?;
                if listing.entries.len() > ENTRIES {
                    tracing::warn!(%path, depth, "output is too large to be listed further");
                    listing.entries.truncate(before.0);
                    listing.directories.truncate(before.1);
                    return Ok(if depth == 1 { None } else { Some(listing) });
                }
            }
            listing.listed = before.1;
        }
        Ok(Some(listing))
    }

    fn look_into(&mut self, parent: usize, on_disk: &impl Fn(&Path) -> PathBuf) -> Result<()> {
        let real = self.directories[parent].real.clone();
        let mut names = Vec::new();
        for entry in fs::read_dir(on_disk(&real))? {
            let entry = entry?;
            match entry.file_name().into_string() {
                Ok(name) if parent == 0 && name == SKIPPED => {}
                Ok(name) => names.push((name, entry.file_type()?)),
                Err(name) => {
                    tracing::warn!(directory = %real.display(), ?name, "name is not UTF-8: not linked")
                }
            }
            if self.entries.len() + names.len() > ENTRIES {
                break;
            }
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, kind) in names {
            let found = if kind.is_dir() {
                Some((real.join(&name), self.directories[parent].links))
            } else if kind.is_symlink() {
                self.follow(parent, &name, on_disk)?
            } else {
                None
            };
            let directory = found.map(|(real, links)| {
                self.directories.push(Directory {
                    parent: Some(parent),
                    real,
                    links,
                });
                self.directories.len() - 1
            });
            self.entries.push(Entry {
                parent,
                name,
                directory,
            });
        }
        Ok(())
    }

    /// The directory that a link leads to, if it may be listed in the link's place.
    fn follow(
        &self,
        parent: usize,
        name: &str,
        on_disk: &impl Fn(&Path) -> PathBuf,
    ) -> io::Result<Option<(PathBuf, usize)>> {
        let from = &self.directories[parent];
        if from.links == LINKS {
            return Ok(None);
        }
        let Some(real) = resolve(on_disk, &from.real, Path::new(name))? else {
            return Ok(None);
        };
        let mut above = Some(parent);
        while let Some(index) = above {
            if self.directories[index].real.starts_with(&real) {
                return Ok(None);
            }
            above = self.directories[index].parent;
        }
        Ok(on_disk(&real).is_dir().then_some((real, from.links + 1)))
    }

    fn into_tree(self) -> Tree {
        let mut trees: Vec<Option<Tree>> = (0..self.directories.len())
            .map(|index| (index < self.listed).then(Tree::new))
            .collect();
        // from the last level to the first: what is put into its parent is complete
        for entry in self.entries.into_iter().rev() {
            let tree = entry.directory.and_then(|index| trees[index].take());
            let node = tree.map_or(Node::Leaf(()), Node::Directory);
            if let Some(parent) = &mut trees[entry.parent] {
                parent.insert(entry.name, node);
            }
        }
        trees.into_iter().next().flatten().unwrap_or_default()
    }
}

/// Where a path leads to, from a directory of the store; nothing if it leads nowhere, out of the store or in circles.
fn resolve(on_disk: &impl Fn(&Path) -> PathBuf, from: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let (mut place, mut hops) = (from.to_owned(), 0);
    let mut ahead: VecDeque<PathBuf> = parts(path).collect();
    while let Some(part) = ahead.pop_front() {
        if part == Path::new("..") {
            place.pop();
            continue;
        }
        place.push(part);
        // above the store nothing is looked at, and nothing there is a link: Nix sees to it
        if Path::new(STORE_DIR).starts_with(&place) {
            continue;
        }
        if !place.starts_with(STORE_DIR) {
            return Ok(None);
        }
        match fs::read_link(on_disk(&place)) {
            Ok(target) => {
                hops += 1;
                if hops > HOPS {
                    return Ok(None);
                }
                place.pop();
                for part in parts(&target).rev() {
                    ahead.push_front(part);
                }
            }
            // it is there, and no link
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        }
    }
    Ok((place.starts_with(STORE_DIR) && place != Path::new(STORE_DIR)).then_some(place))
}

/// The components of a path, one by one; the root is one that replaces what is before it.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| PathBuf::from(<Component<'_> as AsRef<OsStr>>::as_ref(&part)))
}
