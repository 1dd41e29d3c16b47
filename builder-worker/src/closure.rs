//! The closure of a package's outputs.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use laminix::record::{Content, StorePath};

use crate::nix::Nix;

/// All that these paths refer to, themselves among it, sorted by path.
///
/// # Errors
/// When a path is not valid, or Nix cannot be asked.
pub async fn closure(nix: &Nix, outputs: &[StorePath]) -> anyhow::Result<Vec<Content>> {
    let outputs: Vec<_> = outputs.iter().map(StorePath::as_str).collect();
    let paths: BTreeSet<_> = nix
        .query(&["-q", "--requisites"], &outputs)
        .await?
        .into_iter()
        .collect();
    let paths: Vec<_> = paths.into_iter().collect();
    let hashes = nix.query(&["-q", "--hash"], &paths).await?;
    let sizes = nix.query(&["-q", "--size"], &paths).await?;
    ensure!(
        hashes.len() == paths.len() && sizes.len() == paths.len(),
        "nix-store left a path out"
    );
    let facts = paths.iter().zip(hashes).zip(sizes);
    facts
        .map(|((path, nar_hash), size)| {
            let nar_size = size.parse().with_context(|| format!("the size of {path}"))?;
            Ok(Content {
                path: path.parse()?,
                nar_hash,
                nar_size,
            })
        })
        .collect()
}
