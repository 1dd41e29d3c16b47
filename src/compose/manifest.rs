//! Image manifests: OCI's (image-spec, manifest.md), and Docker's schema 2 of the same image.

use serde::Serialize;

use super::Blob;
use crate::digest::Digest;
use crate::record::{Compression, Packed};

/// The media type of an OCI image manifest.
pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of a Docker schema 2 manifest.
pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// A descriptor (image-spec, descriptor.md).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: Digest,
    size: u64,
}

pub(super) fn oci(config: &Blob, layers: &[Packed]) -> Vec<u8> {
    let layer = |packed: &Packed| Descriptor {
        media_type: match packed.compression {
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        },
        digest: packed.digest,
        size: packed.size,
    };
    write(
        OCI,
        "application/vnd.oci.image.config.v1+json",
        config,
        layers.iter().map(layer).collect(),
    )
}

/// There is a Docker type for zstd in no standard.
pub(super) fn docker(config: &Blob, layers: &[Packed]) -> Option<Vec<u8>> {
    let layer = |packed: &Packed| match packed.compression {
        Compression::Gzip => Some(Descriptor {
            media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip",
            digest: packed.digest,
            size: packed.size,
        }),
        Compression::Zstd => None,
    };
    let layers = layers.iter().map(layer).collect::<Option<Vec<_>>>()?;
    Some(write(
        DOCKER,
        "application/vnd.docker.container.image.v1+json",
        config,
        layers,
    ))
}

#[expect(clippy::expect_used, reason = "structs of strings always serialize")]
fn write(
    media_type: &'static str,
    config_type: &'static str,
    config: &Blob,
    layers: Vec<Descriptor>,
) -> Vec<u8> {
    let config = Descriptor {
        media_type: config_type,
        digest: config.digest,
        size: config.bytes.len() as u64,
    };
    serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type,
        config,
        layers,
    })
    .expect("a manifest serializes")
}
