//! `channel:` sources: a channel's revision is the nixpkgs commit of its latest release.
//!
//! `<host>/<name>/git-revision` redirects to the immutable URL of a release and holds the commit. The package set is
//! that release's `nixexprs.tar.xz`; where only the commit is known, it comes from the nixpkgs repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use laminix::source::Revision;
use ureq::ResponseExt as _;

use super::git::{Patterns, Repository};
use super::tree::Trees;
use super::{ChannelHosts, Resolved};
use crate::process::Run;

/// The branches of nixpkgs that channels are made from: commits that none of them contains are nobody's release.
const CHANNEL_BRANCHES: &str = "nixos-* nixpkgs-*";

/// A release is 30 to 50 MB.
const DOWNLOAD_TIME: Duration = Duration::from_secs(15 * 60);
const ASK_TIME: Duration = Duration::from_secs(20);
const UNPACK_TIME: Duration = Duration::from_secs(10 * 60);

/// The channels of a host.
#[derive(Debug)]
pub(super) struct Channels {
    name: String,
    host: String,
    /// The base URLs of the releases that were seen, by revision.
    releases: PathBuf,
    nixpkgs: Repository,
}

impl Channels {
    pub(super) fn new(name: &str, state: &Path, hosts: ChannelHosts) -> anyhow::Result<Self> {
        let releases = state.join("releases");
        fs::create_dir_all(&releases)?;
        let nixpkgs = hosts.nixpkgs.parse().context("LAMINIX_NIXPKGS")?;
        let nixpkgs = Repository::new(&nixpkgs, state, Patterns::parse(CHANNEL_BRANCHES)?)?;
        Ok(Self {
            name: name.to_owned(),
            host: hosts.channels,
            releases,
            nixpkgs,
        })
    }

    pub(super) async fn latest(&self) -> anyhow::Result<Resolved> {
        self.named(&self.name).await
    }

    pub(super) async fn named(&self, name: &str) -> anyhow::Result<Resolved> {
        let url = format!("{}/{name}/git-revision", self.host);
        let Some((body, release)) = tokio::task::spawn_blocking(move || ask(&url)).await?? else {
            return Ok(Resolved::Refused(format!("there is no channel `{name}`")));
        };
        let revision: Revision = body
            .trim()
            .parse()
            .context("the channel's host named no revision")?;
        fs::write(self.releases.join(revision.as_str()), release)?;
        Ok(Resolved::Revision {
            revision,
            fixed: false,
        })
    }

    pub(super) async fn commit(&self, digits: &str) -> anyhow::Result<Resolved> {
        // a release that was seen needs no history of nixpkgs, which takes minutes to fetch
        for entry in fs::read_dir(&self.releases)? {
            let name = entry?.file_name();
            if let Some(Ok(revision)) = name
                .to_str()
                .filter(|name| name.starts_with(digits))
                .map(str::parse)
            {
                return Ok(Resolved::Revision {
                    revision,
                    fixed: true,
                });
            }
        }
        self.nixpkgs.commit(digits).await
    }

    pub(super) async fn tree(&self, revision: &Revision, trees: &Trees) -> anyhow::Result<PathBuf> {
        let Ok(release) = fs::read_to_string(self.releases.join(revision.as_str())) else {
            return self.nixpkgs.tree(revision, trees).await;
        };
        let draft = trees.draft()?;
        let archive = tempfile::Builder::new()
            .suffix(".tar.xz")
            .tempfile_in(&self.releases)?
            .into_temp_path();
        let (url, file) = (format!("{release}/nixexprs.tar.xz"), archive.to_path_buf());
        tokio::task::spawn_blocking(move || download(&url, &file)).await??;
        let (from, to) = (archive.display().to_string(), draft.path().display().to_string());
        let tar = Run::new("tar").time(UNPACK_TIME);
        let unpacked = tar
            .args([
                "--extract",
                "--xz",
                "--no-same-owner",
                "--strip-components=1",
                "--file",
                &from,
                "--directory",
                &to,
            ])
            .finish()
            .await?;
        if !unpacked.status.success() {
            bail!("unpacking {release} failed: {}", unpacked.tail_text());
        }
        let said = fs::read_to_string(draft.path().join(".git-revision")).unwrap_or_default();
        if said.trim() != revision.as_str() {
            bail!("{release} is not of revision {revision}");
        }
        Ok(trees.keep(draft, revision)?)
    }
}

/// The body of a small file and the URL that it was found under at last, less the file's name; `None` if it is absent.
fn ask(url: &str) -> anyhow::Result<Option<(String, String)>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ASK_TIME))
        .build()
        .into();
    let mut response = match agent.get(url).call() {
        Ok(response) => response,
        Err(ureq::Error::StatusCode(403 | 404 | 410)) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("asking {url}")),
    };
    let found = response.get_uri().to_string();
    let (release, _) = found.rsplit_once('/').context("the redirect went nowhere")?;
    let body = response.body_mut().with_config().limit(1024).read_to_string()?;
    Ok(Some((body, release.to_owned())))
}

fn download(url: &str, to: &Path) -> anyhow::Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(DOWNLOAD_TIME))
        .build()
        .into();
    let mut response = agent.get(url).call().with_context(|| format!("fetching {url}"))?;
    io::copy(&mut response.body_mut().as_reader(), &mut fs::File::create(to)?)?;
    Ok(())
}
