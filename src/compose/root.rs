//! The root layer: links into the store, and the files that every image has.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::links::{Links, Place, directory, is_entry};
use super::{Parts, provided};
use crate::archive::Archive;
use crate::record::Tree;

/// The user besides root: the first number that distributions give to people.
const USER: u64 = 1000;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
user:x:1000:1000:user:/home/user:/bin/sh
nobody:x:65534:65534:nobody:/var/empty:/bin/sh
";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nnobody:x:65534:\n";
const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
services: files
protocols: files
";

/// Where programs look for certificates: nixpkgs' and openssl's, Debian's, Red Hat's, BSD's and Alpine's places.
const BUNDLES: [&str; 5] = [
    "etc/ssl/certs/ca-bundle.crt",
    "etc/ssl/certs/ca-certificates.crt",
    "etc/ssl/cert.pem",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// What stands at a path of the root layer.
enum Entry<'a> {
    Directory {
        mode: u32,
        owner: u64,
    },
    File(&'static str),
    /// To a target; what is in that, if it is a directory.
    Link(String, Option<&'a Tree>),
}

/// The tar of the root layer.
pub(super) fn archive(parts: &Parts<'_>, links: &Links<'_>) -> Vec<u8> {
    let mut root = Root {
        entries: BTreeMap::new(),
    };
    root.tree("", &links.0);
    root.contract(parts, links);
    match root.write() {
        Ok(tar) => tar,
        // a vector takes all that is written to it
        Err(error) => unreachable!("writing to memory failed: {error}"),
    }
}

/// The entries by path, which is also the order of the tar: a directory sorts before what is in it.
struct Root<'a> {
    entries: BTreeMap<String, Entry<'a>>,
}

impl<'a> Root<'a> {
    fn tree(&mut self, above: &str, places: &BTreeMap<String, Place<'a>>) {
        for (name, place) in places {
            let path = format!("{above}{name}");
            match place {
                Place::Link(target, inside) => self.put(path, Entry::Link(target.clone(), *inside)),
                Place::Directory(entries) => {
                    self.put(
                        path.clone(),
                        Entry::Directory {
                            mode: 0o755,
                            owner: 0,
                        },
                    );
                    self.tree(&format!("{path}/"), entries);
                }
            }
        }
    }

    fn put(&mut self, path: String, entry: Entry<'a>) {
        self.entries.insert(path, entry);
    }

    fn contract(&mut self, parts: &Parts<'_>, links: &Links<'_>) {
        for (path, mode, owner) in [
            ("dev", 0o755, 0),
            ("home", 0o755, 0),
            ("home/user", 0o755, USER),
            ("proc", 0o555, 0),
            ("root", 0o700, 0),
            ("run", 0o755, 0),
            ("sys", 0o555, 0),
            ("tmp", 0o1777, 0),
            ("usr", 0o755, 0),
            ("usr/bin", 0o755, 0),
            ("var", 0o755, 0),
            ("var/empty", 0o555, 0),
            ("var/tmp", 0o1777, 0),
        ] {
            self.put(path.to_owned(), Entry::Directory { mode, owner });
        }
        for (path, content) in [
            ("etc/group", GROUP),
            ("etc/nsswitch.conf", NSSWITCH),
            ("etc/passwd", PASSWD),
        ] {
            self.own(path, Entry::File(content));
        }
        let bundle = parts
            .asked
            .get("cacert")
            .copied()
            .or_else(|| parts.base("cacert"));
        if let Some(bundle) = bundle.and_then(|cacert| provided(cacert, BUNDLES[0])) {
            for path in BUNDLES {
                self.own(path, Entry::Link(bundle.clone(), None));
            }
        }
        let base = |name: &str, path: &str| parts.base(name).and_then(|package| provided(package, path));
        if links.target("bin/sh").is_none()
            && let Some(shell) =
                base("bashInteractive", "bin/sh").or_else(|| base("bashInteractive", "bin/bash"))
        {
            self.own("bin/sh", Entry::Link(shell, None));
        }
        if let Some(env) = links.target("bin/env").or_else(|| base("coreutils", "bin/env")) {
            self.put("usr/bin/env".to_owned(), Entry::Link(env, None));
        }
    }

    /// Puts an entry of the contract below directories that may be links so far: these become real ones, with links to
    /// what they lead to.
    fn own(&mut self, path: &str, entry: Entry<'a>) {
        for (at, _) in path.match_indices('/') {
            let above = &path[..at];
            match self.entries.get(above) {
                Some(Entry::Directory { .. }) => {}
                Some(Entry::Link(target, inside)) => {
                    let names = inside
                        .iter()
                        .flat_map(|tree| tree.iter())
                        .filter(|(name, _)| is_entry(name));
                    let links: Vec<_> = names
                        .map(|(name, node)| {
                            (
                                format!("{above}/{name}"),
                                Entry::Link(format!("{target}/{name}"), directory(node)),
                            )
                        })
                        .collect();
                    self.put(
                        above.to_owned(),
                        Entry::Directory {
                            mode: 0o755,
                            owner: 0,
                        },
                    );
                    self.entries.extend(links);
                }
                Some(Entry::File(_)) | None => self.put(
                    above.to_owned(),
                    Entry::Directory {
                        mode: 0o755,
                        owner: 0,
                    },
                ),
            }
        }
        // what a package has in the place of a file of the contract goes, with all that is below it
        let below = format!("{path}/");
        self.entries.retain(|other, _| !other.starts_with(&below));
        self.put(path.to_owned(), entry);
    }

    fn write(self) -> io::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        for (path, entry) in &self.entries {
            let path = Path::new(path);
            match entry {
                Entry::Directory { mode, owner: 0 } => archive.directory(path, *mode)?,
                Entry::Directory { mode, owner } => archive.home(path, *mode, *owner)?,
                Entry::File(content) => {
                    archive.file(path, 0o644, content.len() as u64, content.as_bytes())?
                }
                Entry::Link(target, _) => archive.symlink(path, Path::new(target))?,
            }
        }
        archive.finish()
    }
}
