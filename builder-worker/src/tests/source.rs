//! Sources: real git repositories, and a channel's host with the files and redirects of the real one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use laminix::source::Revision;
use laminix_builder::process::Run;
use laminix_builder::source::{ChannelHosts, Patterns, Resolved, Resolver};

/// A repository with some history, and a directory for the worker.
struct Home(tempfile::TempDir);

impl Home {
    async fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.path("repo")).unwrap();
        home.git(&["init", "--quiet", "--initial-branch=main"]).await;
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn git(&self, args: &[&str]) -> String {
        let identity = [
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@b"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a@b"),
        ];
        let run = Run::new("git")
            .args(args)
            .dir(self.path("repo"))
            .env("HOME", self.0.path());
        let run = identity
            .iter()
            .fold(run, |run, (name, value)| run.env(name, value));
        let done = run.finish().await.unwrap();
        assert!(done.status.success(), "git {args:?}: {}", done.tail_text());
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Commits a package set that says this, and gives the commit.
    async fn commit(&self, text: &str) -> String {
        fs::write(self.path("repo/default.nix"), text).unwrap();
        self.git(&["add", "."]).await;
        self.git(&["commit", "--quiet", "--message", text]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }

    fn resolver(&self, source: &str, allowed: &str, channels: &str) -> Resolver {
        let hosts = ChannelHosts {
            channels: channels.to_owned(),
            nixpkgs: format!("file://{}", self.path("repo").display()),
        };
        Resolver::open(
            source.parse().unwrap(),
            &self.path("state"),
            Patterns::parse(allowed).unwrap(),
            hosts,
        )
        .unwrap()
    }

    fn repository(&self, allowed: &str) -> Resolver {
        self.resolver(
            &format!("git+file://{}", self.path("repo").display()),
            allowed,
            "",
        )
    }
}

async fn resolve(resolver: &Resolver, tag: &str) -> Result<(String, bool), String> {
    match resolver.resolve(&tag.parse().unwrap()).await.unwrap() {
        Resolved::Revision { revision, fixed } => Ok((revision.to_string(), fixed)),
        Resolved::Refused(reason) => Err(reason),
    }
}

async fn set_at(resolver: &Resolver, revision: &str) -> anyhow::Result<String> {
    let tree = resolver.tree(&revision.parse::<Revision>().unwrap()).await?;
    assert!(tree.ends_with("source") && !tree.join(".git").exists());
    Ok(fs::read_to_string(tree.join("default.nix")).unwrap())
}

#[tokio::test]
async fn branches_tags_and_commits_of_a_repository_are_revisions() {
    let home = Home::new().await;
    let first = home.commit("first").await;
    home.git(&["tag", "--annotate", "--message", "x", "v1"]).await;
    home.git(&["branch", "stable"]).await;
    let second = home.commit("second").await;
    let resolver = home.repository("");
    for (tag, revision, fixed) in [
        ("latest", &second, false),
        ("main", &second, false),
        ("stable", &first, false),
        ("v1", &first, false),
        (first.as_str(), &first, true),
        (&first[..12], &first, true),
    ] {
        assert_eq!(
            resolve(&resolver, tag).await,
            Ok((revision.clone(), fixed)),
            "{tag}"
        );
    }
    assert_eq!(set_at(&resolver, &first).await.unwrap(), "first");
    assert_eq!(set_at(&resolver, &second).await.unwrap(), "second");
    for unknown in ["none", "HEAD", "sta", "refs", "123456789012"] {
        assert!(resolve(&resolver, unknown).await.is_err(), "{unknown}");
    }
    // a branch that moves is seen at the next look
    let third = home.commit("third").await;
    assert_eq!(resolve(&resolver, "latest").await, Ok((third.clone(), false)));
    assert_eq!(resolve(&resolver, &third).await, Ok((third, true)));
}

/// Fault 17 of the predecessor: any commit that the host serves was evaluated, those of forks too.
#[tokio::test]
async fn a_commit_that_no_allowed_branch_contains_is_refused() {
    let home = Home::new().await;
    let good = home.commit("good").await;
    home.git(&["checkout", "--quiet", "-b", "feature"]).await;
    let feature = home.commit("feature").await;
    home.git(&["checkout", "--quiet", "--detach"]).await;
    let fork = home.commit("of a fork").await;
    // as a host keeps a pull request
    home.git(&["update-ref", "refs/pull/1/head", &fork]).await;
    home.git(&["checkout", "--quiet", "main"]).await;
    let resolver = home.repository("main nixos-*");
    assert_eq!(resolve(&resolver, &good).await, Ok((good.clone(), true)));
    for (refused, what) in [(&fork, "a fork's"), (&feature, "another branch's")] {
        assert!(
            resolve(&resolver, refused)
                .await
                .unwrap_err()
                .contains("no branch"),
            "{what}"
        );
        assert!(resolve(&resolver, &refused[..12]).await.is_err(), "{what}");
        // a job that names it is not believed either
        assert!(
            set_at(&resolver, refused)
                .await
                .unwrap_err()
                .to_string()
                .contains("in no branch"),
            "{what}"
        );
    }
    assert!(resolve(&resolver, "feature").await.is_err());
    assert_eq!(set_at(&resolver, &good).await.unwrap(), "good");
    // all branches, but still no fork
    let resolver = home.repository("");
    assert!(resolve(&resolver, &feature).await.is_ok() && resolve(&resolver, &fork).await.is_err());
}

#[tokio::test]
async fn a_repository_that_is_gone_is_trouble_that_may_pass() {
    let home = Home::new().await;
    home.commit("x").await;
    let resolver = home.repository("");
    fs::rename(home.path("repo"), home.path("moved")).unwrap();
    assert!(resolver.resolve(&"latest".parse().unwrap()).await.is_err());
}

/// The files of a channel's host: what redirects to where, and what is there.
fn channels(releases: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let releases = releases.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .trim_start_matches('/')
                .to_owned();
            let (head, body) = match path.strip_prefix("nixos-unstable/") {
                Some(file) => (format!("302 Found\r\nLocation: /releases/{file}"), Vec::new()),
                None => match path
                    .strip_prefix("releases/")
                    .map(|file| fs::read(releases.join(file)))
                {
                    Some(Ok(body)) => ("200 OK".to_owned(), body),
                    Some(Err(_)) | None => ("404 Not Found".to_owned(), Vec::new()),
                },
            };
            let head = format!(
                "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    host
}

#[tokio::test]
async fn a_channel_is_the_commit_of_its_latest_release() {
    let home = Home::new().await;
    let old = home.commit("old").await;
    home.git(&["branch", "nixos-old"]).await;
    home.git(&["checkout", "--quiet", "-b", "nixos-unstable"]).await;
    let released = home.commit("released").await;
    home.git(&["checkout", "--quiet", "-b", "staging"]).await;
    let staging = home.commit("staging").await;
    let (releases, unpacked) = (home.path("releases"), home.path("unpacked/nixos-26.05"));
    fs::create_dir_all(&releases).unwrap();
    fs::create_dir_all(&unpacked).unwrap();
    fs::write(releases.join("git-revision"), &released).unwrap();
    fs::write(unpacked.join(".git-revision"), &released).unwrap();
    fs::write(unpacked.join("default.nix"), "from the tarball").unwrap();
    let tar = Run::new("tar")
        .args(["-cJf", "nixexprs.tar.xz", "-C", "../unpacked", "nixos-26.05"])
        .dir(&releases);
    assert!(tar.finish().await.unwrap().status.success());
    let resolver = home.resolver("channel:nixos-unstable", "", &channels(&releases));
    for tag in ["latest", "nixos-unstable"] {
        assert_eq!(resolve(&resolver, tag).await, Ok((released.clone(), false)));
    }
    assert!(
        resolve(&resolver, "nixos-99.99")
            .await
            .unwrap_err()
            .contains("no channel `nixos-99.99`")
    );
    assert_eq!(resolve(&resolver, &released).await, Ok((released.clone(), true)));
    assert_eq!(set_at(&resolver, &released).await.unwrap(), "from the tarball");
    // a commit that was no release that was seen here comes from the repository, if a channel's branch contains it
    assert_eq!(resolve(&resolver, &old).await, Ok((old.clone(), true)));
    assert_eq!(set_at(&resolver, &old).await.unwrap(), "old");
    assert!(resolve(&resolver, &staging).await.is_err());
    // a release that is of another revision is not taken
    fs::write(releases.join("git-revision"), "0".repeat(40)).unwrap();
    let (lie, _) = resolve(&resolver, "latest").await.unwrap();
    assert!(
        set_at(&resolver, &lie)
            .await
            .unwrap_err()
            .to_string()
            .contains("is not of revision")
    );
}
