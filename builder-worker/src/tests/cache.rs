//! Binary caches: what is fetched, and what happens where nothing can be.

use std::fs;
use std::path::{Path, PathBuf};

use laminix::record::StorePath;
use laminix_builder::evaluate::Derivation;
use laminix_builder::realise::Outcome;

use crate::bench::Bench;

/// Each build has another content, so that one that is fetched can be told from one that is built anew.
const SET: &str = r#"
rec {
  cached = make "cached-1" ''
    read random < /proc/sys/kernel/random/uuid
    echo $random ${library} > $out; echo $random > $dev
  '' { outputs = [ "out" "dev" ]; };
  library = make "library-1" "read random < /proc/sys/kernel/random/uuid; echo $random > $out" { };
  uncached = make "uncached-1" "echo > $out" { };
  failing = make "failing-1" "exit 1" { };
}
"#;

/// A bench whose `cached` is in a binary cache and no longer in the store.
struct Cached {
    bench: Bench,
    /// Where the cache is.
    dir: PathBuf,
    key: String,
    /// What `cached` was when it was built.
    content: Vec<u8>,
}

impl Cached {
    async fn new() -> Option<Self> {
        let bench = Bench::open(|_| {}).await?;
        let packages = bench.packages(SET, &["cached", "cached.dev"]).await;
        let (outcomes, roots) = bench.realise(&packages).await;
        assert_eq!(outcomes, [Outcome::Ready, Outcome::Ready]);
        let dir = bench.dir.path().join("cache");
        let at = |name: &str| bench.dir.path().join(name).display().to_string();
        let (secret, public) = (at("secret"), at("public"));
        let generate = bench.nix_run("nix-store").arg("--generate-binary-cache-key");
        let made = generate.args(["laminix-test-1", &secret, &public]).finish().await;
        assert!(made.unwrap().status.success());
        let url = format!("file://{}?secret-key={secret}", dir.display());
        let copy = bench.nix_run("nix").args(["copy", "--to", &url]);
        let copied = copy.args(paths(&packages)).finish().await.unwrap();
        assert!(copied.status.success(), "{}", copied.tail_text());
        let content = fs::read(output(&packages[0])).unwrap();
        drop(roots);
        let cached = Self {
            key: fs::read_to_string(public).unwrap(),
            bench,
            dir,
            content,
        };
        cached.forget(&packages).await;
        Some(cached)
    }

    /// Takes packages and their library out of the store.
    async fn forget(&self, packages: &[Derivation]) {
        let mut paths = paths(packages);
        let library = String::from_utf8_lossy(&self.content);
        paths.extend(
            library
                .split_whitespace()
                .filter(|word| word.starts_with("/nix/"))
                .map(str::to_owned),
        );
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        let deleted = self.bench.delete(&paths).await;
        assert!(deleted.status.success(), "{}", deleted.tail_text());
    }

    /// The same bench with this cache, which compiles nothing.
    async fn with(&self, url: &str, keys: &[&str]) -> Bench {
        let change = |settings: &mut laminix_builder::nix::Settings| {
            settings.substituters = vec![url.to_owned()];
            settings.trusted_keys = keys.iter().map(|&key| key.to_owned()).collect();
            settings.build_limit = 0;
        };
        self.bench.with(change).await
    }

    fn url(&self) -> String {
        format!("file://{}", self.dir.display())
    }
}

fn output(package: &Derivation) -> &Path {
    Path::new(package.outputs().next().unwrap().as_str())
}

fn paths(packages: &[Derivation]) -> Vec<String> {
    let paths = packages.iter().flat_map(Derivation::outputs);
    paths.map(|path: &StorePath| path.as_str().to_owned()).collect()
}

fn is_in_no_cache(outcome: &Outcome, count: usize) -> bool {
    let Outcome::Failed { reason, .. } = outcome else {
        return false;
    };
    reason.contains(&format!(
        "is in no binary cache that this registry reaches and trusts: {count} derivation"
    ))
}

#[tokio::test]
async fn what_a_cache_has_is_fetched_and_no_more_than_is_wanted() {
    let Some(cached) = Cached::new().await else { return };
    let bench = cached.with(&cached.url(), &[cached.key.trim()]).await;
    let packages = bench.packages(SET, &["uncached", "cached"]).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    // one that has to be compiled does not sink one that has not
    assert!(is_in_no_cache(&outcomes[0], 1), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Ready);
    assert_eq!(fs::read(output(&packages[1])).unwrap(), cached.content);
    let dev = bench.packages(SET, &["cached.dev"]).await;
    assert!(
        !output(&dev[0]).exists(),
        "an output was fetched that nobody wants"
    );
}

/// Nix would only warn, and then compile for a day.
#[tokio::test]
async fn a_missing_key_does_not_mean_compiling() {
    let Some(cached) = Cached::new().await else { return };
    let other = "laminix-test-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for keys in [&[][..], &[other]] {
        let bench = cached.with(&cached.url(), keys).await;
        let packages = bench.packages(SET, &["cached"]).await;
        let (outcomes, _roots) = bench.realise(&packages).await;
        assert!(is_in_no_cache(&outcomes[0], 2), "{outcomes:?}");
        assert!(!output(&packages[0]).exists());
    }
}

#[tokio::test]
async fn a_dead_cache_does_not_mean_compiling() {
    let Some(cached) = Cached::new().await else { return };
    for url in ["http://127.0.0.1:9", "file:///no/such/cache"] {
        let bench = cached.with(url, &[cached.key.trim()]).await;
        let packages = bench.packages(SET, &["cached"]).await;
        let (outcomes, _roots) = bench.realise(&packages).await;
        assert!(is_in_no_cache(&outcomes[0], 2), "{url}: {outcomes:?}");
        assert!(!output(&packages[0]).exists());
    }
}

/// A download that breaks off says nothing of the package, whatever became of its neighbours.
#[tokio::test]
async fn a_broken_download_is_tried_again_and_not_recorded() {
    let Some(cached) = Cached::new().await else { return };
    for entry in fs::read_dir(cached.dir.join("nar")).unwrap() {
        let nar = fs::File::options()
            .write(true)
            .open(entry.unwrap().path())
            .unwrap();
        nar.set_len(nar.metadata().unwrap().len() / 2).unwrap();
    }
    let bench = cached.with(&cached.url(), &[cached.key.trim()]).await;
    let packages = bench.packages(SET, &["cached"]).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    assert!(
        matches!(&outcomes[0], Outcome::Retry(said) if !said.is_empty()),
        "{outcomes:?}"
    );

    let bench = bench.with(|settings| settings.build_limit = 100).await;
    let packages = bench.packages(SET, &["cached", "failing", "uncached"]).await;
    let (outcomes, _roots) = bench.realise(&packages).await;
    assert!(matches!(outcomes[0], Outcome::Retry(_)), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Failed { .. }), "{outcomes:?}");
    assert_eq!(outcomes[2], Outcome::Ready);
}
