//! `git+https:` and `git+file:` sources: revisions are commits that an allowed branch or tag contains.
//!
//! A git host serves any object that it stores to whoever knows its name, commits of forks and of closed pull requests
//! among them. So a commit that a tag names is looked for in the history of the allowed branches, and nowhere else.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use laminix::source::{GitUrl, Revision};
use regex::Regex;

use super::Resolved;
use super::tree::Trees;
use crate::process::{Finished, Run};

/// The first fetch of a large history over a slow line is what this has to allow.
const FETCH_TIME: Duration = Duration::from_secs(30 * 60);

/// Asking a host for its branches is one small request.
const ASK_TIME: Duration = Duration::from_secs(60);

/// Which branches and tags may be served: glob patterns, `*` for any run of characters.
#[derive(Debug, Clone)]
pub struct Patterns(Vec<Regex>);

impl Patterns {
    /// All branches and tags of the repository itself.
    #[must_use]
    pub fn all() -> Self {
        Self(Vec::new())
    }

    /// Reads patterns that are parted by commas or spaces; none allow all.
    ///
    /// # Errors
    /// When a pattern is too large to compile.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        let globs = text.split([',', ' ']).filter(|glob| !glob.is_empty());
        globs
            .map(|glob| Regex::new(&format!(r"\A{}\z", regex::escape(glob).replace(r"\*", ".*"))))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn allow(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.is_match(name))
    }
}

/// A repository elsewhere, and the copies of parts of it that are kept here.
#[derive(Debug)]
pub(super) struct Repository {
    url: String,
    allowed: Patterns,
    /// Commits and trees of the revisions that are served, each without history.
    shallow: PathBuf,
    /// The commits of the allowed branches, without their content where the host can leave it out.
    history: PathBuf,
    home: PathBuf,
    fetching: tokio::sync::Mutex<()>,
}

impl Repository {
    pub(super) fn new(url: &GitUrl, state: &Path, allowed: Patterns) -> anyhow::Result<Self> {
        let home = state.join("home");
        std::fs::create_dir_all(&home)?;
        keep_credential(&home, url.credential())?;
        // a repository on this machine may belong to another user: the operator has named it, so it is trusted
        std::fs::write(
            home.join(".gitconfig"),
            "[safe]\n\tdirectory = *\n[protocol]\n\tversion = 2\n[credential]\n\thelper = store\n",
        )?;
        Ok(Self {
            url: url.as_str().to_owned(),
            allowed,
            shallow: state.join("shallow.git"),
            history: state.join("history.git"),
            home,
            fetching: tokio::sync::Mutex::new(()),
        })
    }

    /// The tip of the branch that the repository's HEAD names.
    pub(super) async fn default_branch(&self) -> anyhow::Result<Resolved> {
        let refs = self.ask(&["HEAD"]).await?;
        match refs.lines().find_map(|line| line.strip_suffix("\tHEAD")) {
            Some(commit) => Ok(Resolved::Revision {
                revision: commit.parse()?,
                fixed: false,
            }),
            None => Ok(Resolved::Refused(
                "the repository has no default branch".to_owned(),
            )),
        }
    }

    /// The tip of a branch, else what a tag names.
    pub(super) async fn named(&self, name: &str) -> anyhow::Result<Resolved> {
        let unknown = || Resolved::Refused(format!("the package set has no branch, tag or commit `{name}`"));
        if !self.allowed.allow(name) {
            return Ok(unknown());
        }
        let (branch, tag) = (format!("refs/heads/{name}"), format!("refs/tags/{name}"));
        // an annotated tag is an object of its own: `^{}` is the commit that it names
        let peeled = format!("{tag}^{{}}");
        let refs = self.ask(&[&branch, &tag, &peeled]).await?;
        let find = |wanted: &str| {
            refs.lines()
                .filter_map(|line| line.split_once('\t'))
                .find(|(_, name)| *name == wanted)
        };
        match find(&branch).or_else(|| find(&peeled)).or_else(|| find(&tag)) {
            Some((commit, _)) => Ok(Resolved::Revision {
                revision: commit.parse()?,
                fixed: false,
            }),
            None => Ok(unknown()),
        }
    }

    /// The commit that these hex digits begin, if an allowed branch or tag contains it.
    pub(super) async fn commit(&self, digits: &str) -> anyhow::Result<Resolved> {
        let refused = || {
            Ok(Resolved::Refused(format!(
                "no branch of the package set that is served here contains the commit {digits}"
            )))
        };
        let mut found = self.in_history(digits).await?;
        if found.is_none() {
            self.fetch_history().await?;
            found = self.in_history(digits).await?;
        }
        match found {
            Some(commit) => Ok(Resolved::Revision {
                revision: commit.parse()?,
                fixed: true,
            }),
            None => refused(),
        }
    }

    /// The files of a commit.
    pub(super) async fn tree(&self, revision: &Revision, trees: &Trees) -> anyhow::Result<PathBuf> {
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(tree) = trees.get(revision) {
            return Ok(tree);
        }
        self.init(&self.shallow).await?;
        self.git(
            &self.shallow,
            FETCH_TIME,
            &[
                "fetch",
                "--quiet",
                "--depth=1",
                "--no-tags",
                "--",
                &self.url,
                revision.as_str(),
            ],
        )
        .await
        .with_context(|| format!("fetching {}", revision.short()))?;
        let draft = trees.draft()?;
        let work_tree = format!("--work-tree={}", draft.path().display());
        let index = tempfile::Builder::new()
            .prefix("index-")
            .tempdir_in(&self.shallow)?;
        let index = index.path().join("index");
        let run = self
            .command(&self.shallow, FETCH_TIME)
            .env("GIT_INDEX_FILE", &index);
        done(
            &run.args([
                &work_tree,
                "checkout",
                "--quiet",
                "--force",
                revision.as_str(),
                "--",
                ".",
            ])
            .finish()
            .await?,
        )?;
        Ok(trees.keep(draft, revision)?)
    }

    /// `ls-remote` of these refs: lines of commit, tab, name.
    async fn ask(&self, refs: &[&str]) -> anyhow::Result<String> {
        let run = self
            .command(&self.home, ASK_TIME)
            .args(["ls-remote", "--quiet", "--", &self.url])
            .args(refs);
        done(&run.finish().await?).with_context(|| format!("asking {} for {}", self.url, refs.join(" ")))
    }

    async fn fetch_history(&self) -> anyhow::Result<()> {
        let _one_at_a_time = self.fetching.lock().await;
        self.init(&self.history).await?;
        let refs = self.ask(&["refs/heads/*", "refs/tags/*"]).await?;
        let names = refs
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(_, name)| name);
        let wanted = names.filter(|name| {
            let short = name
                .strip_prefix("refs/heads/")
                .or_else(|| name.strip_prefix("refs/tags/"));
            !name.ends_with("^{}") && short.is_some_and(|short| self.allowed.allow(short))
        });
        let specs: Vec<String> = wanted.map(|name| format!("+{name}:{name}")).collect();
        if specs.is_empty() {
            return Ok(());
        }
        let mut args = vec![
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--filter=tree:0",
            "--",
            self.url.as_str(),
        ];
        args.extend(specs.iter().map(String::as_str));
        self.git(&self.history, FETCH_TIME, &args).await.map(drop)
    }

    /// The one commit that begins with these digits and that a kept branch or tag reaches.
    async fn in_history(&self, digits: &str) -> anyhow::Result<Option<String>> {
        if !self.history.join("HEAD").is_file() {
            return Ok(None);
        }
        // what is reachable is listed, and nothing is looked up by name: a look-up would ask the host for what is missing
        let commits = self
            .git(&self.history, FETCH_TIME, &["rev-list", "--branches", "--tags"])
            .await?;
        let mut matching = commits.lines().filter(|commit| commit.starts_with(digits));
        match (matching.next(), matching.next()) {
            (Some(commit), None) => Ok(Some(commit.to_owned())),
            // none, or digits that are the beginning of several
            (Some(_) | None, _) => Ok(None),
        }
    }

    async fn init(&self, repository: &Path) -> anyhow::Result<()> {
        if !repository.join("HEAD").is_file() {
            std::fs::create_dir_all(repository)?;
            self.git(repository, ASK_TIME, &["init", "--quiet", "--bare"])
                .await?;
        }
        Ok(())
    }

    async fn git(&self, repository: &Path, time: Duration, args: &[&str]) -> anyhow::Result<String> {
        done(&self.command(repository, time).args(args).finish().await?)
    }

    fn command(&self, repository: &Path, time: Duration) -> Run {
        Run::new("git")
            .dir(repository)
            .time(time)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "https:file")
            // a listing of nixpkgs' history is 41 bytes for each of a million commits
            .stdout_limit(256 << 20)
    }
}

/// Name and password, for git alone: neither its arguments nor its messages have them, and no build user reads the file.
fn keep_credential(home: &Path, credential: Option<String>) -> std::io::Result<()> {
    let file = home.join(".git-credentials");
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let Some(credential) = credential else {
        return Ok(());
    };
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{credential}")
}

/// The output of a git that succeeded; what it said on stderr is for the log alone.
fn done(finished: &Finished) -> anyhow::Result<String> {
    if finished.status.success() {
        return Ok(String::from_utf8_lossy(&finished.stdout).into_owned());
    }
    bail!("git failed with {}: {}", finished.status, finished.tail_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_reaches_git_and_nobody_else() {
        let state = tempfile::tempdir().unwrap();
        let url: GitUrl = "https://user:p%40ss@example.org/set".parse().unwrap();
        for (url, password) in [
            (url, "password=p@ss\n"),
            ("https://example.org/set".parse().unwrap(), ""),
        ] {
            let repository = Repository::new(&url, state.path(), Patterns::all()).unwrap();
            assert_eq!(repository.url, "https://example.org/set");
            let asked = Run::new("sh")
                .args([
                    "-c",
                    "printf 'protocol=https\\nhost=example.org\\n\\n' | git credential fill",
                ])
                .env("HOME", state.path().join("home"))
                .env("GIT_TERMINAL_PROMPT", "0");
            let told = String::from_utf8(asked.finish().await.unwrap().stdout).unwrap();
            assert!(
                told.contains(password) && told.is_empty() == password.is_empty(),
                "{told}"
            );
        }
    }

    #[test]
    fn patterns_are_globs_and_nothing_more() {
        let patterns = Patterns::parse("nixos-*, main").unwrap();
        for good in ["nixos-26.05", "nixos-", "main"] {
            assert!(patterns.allow(good), "{good}");
        }
        for bad in ["mainly", "xnixos-1", "ma.n", ""] {
            assert!(!patterns.allow(bad), "{bad}");
        }
        assert!(Patterns::parse("").unwrap().allow("anything"));
        assert!(!Patterns::parse("a.c").unwrap().allow("abc"));
    }
}
