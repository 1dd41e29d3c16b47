//! The bucket's layout: every key there is, in one enum.
//!
//! | key | content | written by | life |
//! |---|---|---|---|
//! | `blobs/sha256/<hex>` | layers, configs, root layers | worker, function | while reachable |
//! | `manifests/sha256/<hex>` | image manifests | function | while reachable |
//! | `images/v1/<source>/<revision>/<image key>` | the manifests of an image ([`crate::record::ImageRecord`]) | function | while reachable |
//! | `packages/v1/<source>/<revision>/<system>/<attribute>` | [`crate::record::PackageRecord`] | worker | by revision |
//! | `layers/<layer key>` | [`crate::record::Packed`] | worker | while reachable |
//! | `sources/v1/<source>/<tag>` | [`crate::record::SourceRecord`] | worker | refreshed |
//! | `claims/<hash>` | [`crate::record::Claim`] | function, worker | short |
//!
//! Keys hold everything that their content depends on. Those that are hashes are sha256 over JSON, never over
//! joined strings, so no two different sets of fields can meet in one key. Images are below their revision, so that those
//! of one revision can be listed ([`Prefix`]): that is how a worker knows what is used.

use serde::Serialize;

use crate::digest::Digest;
use crate::name::{Attribute, Image, System, Tag};
use crate::source::{Revision, Source};

/// The version of everything that is stored. A change of a format or of a rule that digests depend on (composition,
/// layer plan, encoder) changes it, and old objects are simply not found any more.
pub const FORMAT: u32 = 1;

/// A package at a revision: what one [`crate::record::PackageRecord`] is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageRef {
    /// [`Source::id`].
    pub source: String,
    /// The package set's state.
    pub revision: Revision,
    /// The system it is built for.
    pub system: System,
    /// The attribute as it was asked for.
    pub attribute: Attribute,
}

/// A tag of a source: what one [`crate::record::SourceRecord`] is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagRef {
    /// [`Source::id`].
    pub source: String,
    /// The tag.
    pub tag: Tag,
}

/// The hex digits of an image's hash: 160 bits, as of a commit's name. The whole digest would make keys too long for stores
/// that keep a key in a file's name.
const IMAGE_HASH: usize = 40;

/// The name of an image in the cache: a hash of all that its manifest depends on, below its source and revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    source: String,
    revision: Revision,
    hash: String,
}

impl ImageKey {
    /// The key of an image of a source at a revision.
    #[must_use]
    pub fn of(source: &Source, revision: &Revision, image: &Image) -> Self {
        #[derive(Serialize)]
        struct Fields<'a> {
            format: u32,
            source: String,
            revision: &'a Revision,
            system: System,
            attributes: Vec<&'a Attribute>,
        }
        let digest = hash(&Fields {
            format: FORMAT,
            source: source.to_string(),
            revision,
            system: image.system(),
            attributes: image.attributes().iter().collect(),
        });
        Self {
            source: source.id(),
            revision: revision.clone(),
            hash: digest.hex()[..IMAGE_HASH].to_owned(),
        }
    }
}

/// The name of a packed layer: a hash of what is in it and of how it is encoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
pub struct LayerKey(Digest);

impl LayerKey {
    /// The key of a layer that holds these contents, `(store path, NAR hash)` in order, in this encoding (which names
    /// the encoder and its version: they are part of the bytes).
    #[must_use]
    pub fn of(encoding: &str, contents: &[(&str, &str)]) -> Self {
        Self(hash(&(FORMAT, encoding, contents)))
    }
}

#[expect(
    clippy::expect_used,
    reason = "structs of strings and numbers always serialize"
)]
fn hash(fields: &impl Serialize) -> Digest {
    Digest::of(&serde_json::to_vec(fields).expect("plain fields serialize"))
}

/// Something that only a worker can make, and that others wait for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A package's record.
    Package(PackageRef),
    /// The revision that a tag names.
    Tag(TagRef),
    /// A layer that is the union of other layers.
    Layer(LayerKey),
}

impl Subject {
    /// Where the thing will be.
    #[must_use]
    pub fn key(&self) -> Key {
        match self.clone() {
            Self::Package(package) => Key::Package(package),
            Self::Tag(tag) => Key::Source(tag),
            Self::Layer(layer) => Key::Layer(layer),
        }
    }

    /// Where somebody says that it is being made.
    #[must_use]
    pub fn claim(&self) -> Key {
        Key::Claim(Digest::of(self.key().path().as_bytes()))
    }
}

/// A key of the bucket. The layout is in the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A layer or a config.
    Blob(Digest),
    /// A manifest, in the very bytes that its digest is of.
    Manifest(Digest),
    /// An image's manifests.
    Image(ImageKey),
    /// A package's record.
    Package(PackageRef),
    /// A packed layer's digests and sizes.
    Layer(LayerKey),
    /// A tag's revision.
    Source(TagRef),
    /// A claim on a [`Subject`]; made by [`Subject::claim`].
    Claim(Digest),
}

impl Key {
    /// The object's name in the bucket. It holds only `[A-Za-z0-9._/+'-]`, and no level of it is `.` or `..`.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Blob(digest) => format!("blobs/sha256/{}", digest.hex()),
            Self::Manifest(digest) => format!("manifests/sha256/{}", digest.hex()),
            Self::Image(ImageKey {
                source,
                revision,
                hash,
            }) => format!("{}{hash}", images(source, revision)),
            Self::Package(PackageRef {
                source,
                revision,
                system,
                attribute,
            }) => {
                format!("packages/v{FORMAT}/{source}/{revision}/{system}/{attribute}")
            }
            Self::Layer(LayerKey(digest)) => format!("layers/{}", digest.hex()),
            // a tag may hold dots only behind its first character, so no level can be `..`
            Self::Source(TagRef { source, tag }) => format!("sources/v{FORMAT}/{source}/{tag}"),
            Self::Claim(digest) => format!("claims/{}", digest.hex()),
        }
    }

    /// The media type that the object is stored under.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Blob(_) => "application/octet-stream",
            Self::Manifest(_)
            | Self::Image(_)
            | Self::Package(_)
            | Self::Layer(_)
            | Self::Source(_)
            | Self::Claim(_) => "application/json",
        }
    }
}

fn images(source: &str, revision: &Revision) -> String {
    format!("images/v{FORMAT}/{source}/{revision}/")
}

/// Keys that can be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    /// The images of a source ([`Source::id`]) at a revision: what was pulled there.
    Images(String, Revision),
}

impl Prefix {
    /// What the names of all these objects begin with; it ends with `/`.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Images(source, revision) => images(source, revision),
        }
    }

    /// The key of an object that was listed, by its name below [`Prefix::path`]; `None` for what is no key of ours.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<Key> {
        match self {
            Self::Images(source, revision) => {
                let hex = name.len() == IMAGE_HASH
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                hex.then(|| {
                    Key::Image(ImageKey {
                        source: source.clone(),
                        revision: revision.clone(),
                        hash: name.to_owned(),
                    })
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(attribute: &str) -> Subject {
        Subject::Package(PackageRef {
            source: "0".repeat(32),
            revision: "1".repeat(40).parse().unwrap(),
            system: System::Arm64,
            attribute: attribute.parse().unwrap(),
        })
    }

    #[test]
    fn the_layout_is_fixed() {
        let empty = Digest::of(b"");
        assert_eq!(Key::Blob(empty).path(), format!("blobs/sha256/{}", empty.hex()));
        assert_eq!(
            Key::Manifest(empty).path(),
            format!("manifests/sha256/{}", empty.hex())
        );
        assert_eq!(
            package("xorg.xev").key().path(),
            format!(
                "packages/v1/{}/{}/aarch64-linux/xorg.xev",
                "0".repeat(32),
                "1".repeat(40)
            )
        );
        assert_ne!(package("a").claim(), package("b").claim());
    }

    #[test]
    fn what_is_listed_can_be_read() {
        let (source, revision): (Source, Revision) =
            ("path:/a".parse().unwrap(), "1".repeat(40).parse().unwrap());
        let image = Image::parse("git", System::Amd64).unwrap();
        let key = Key::Image(ImageKey::of(&source, &revision, &image));
        let prefix = Prefix::Images(source.id(), revision);
        let path = key.path();
        let name = path.strip_prefix(&prefix.path()).unwrap();
        assert_eq!(prefix.key(name), Some(key));
        for other in ["", "..", "x", &name[1..], &name.to_uppercase()] {
            assert_eq!(prefix.key(other), None, "{other}");
        }
    }

    /// Fault 1 of the predecessor: a key without the system, the source, the format, or separators between names.
    #[test]
    fn an_image_key_tells_all_its_fields_apart() {
        let key = |source: &str, revision: char, name: &str| {
            let image = Image::parse(name, System::Amd64).unwrap();
            let revision = revision.to_string().repeat(40).parse().unwrap();
            ImageKey::of(&source.parse().unwrap(), &revision, &image)
        };
        let base = key("path:/a", '1', "ab/c");
        assert_eq!(base, key("path:/a", '1', "c/ab"));
        for other in [
            key("path:/b", '1', "ab/c"),
            key("path:/a", '2', "ab/c"),
            key("path:/a", '1', "a/bc"),
            key("path:/a", '1', "abc"),
            key("path:/a", '1', "arm64/ab/c"),
        ] {
            assert_ne!(base, other);
        }
    }
}
