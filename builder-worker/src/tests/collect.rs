//! Collection by a real Nix, on a Nix store of the test's own: the machine's is other people's.

use std::fs;
use std::time::Duration;

use laminix::record::StorePath;
use laminix_builder::collect::Collector;
use laminix_builder::evaluate::Derivation;
use laminix_builder::meters::{Machine, Meters};
use laminix_builder::process::Run;
use laminix_builder::source::{ChannelHosts, Patterns, Resolver};

use crate::bench::{Bench, is_installed};

const SET: &str = r#"
rec {
  kept = make "kept-1" "echo ${library} > $out" { };
  library = make "library-1" "echo > $out" { };
  garbage = make "garbage-1" "dd if=/dev/zero of=$out bs=1M count=8" { };
}
"#;

/// Runs a test of this file with an empty directory in the place of `/nix`.
async fn with_a_store_of_its_own(test: &str) {
    if !is_installed().await {
        return;
    }
    let nix = tempfile::tempdir().unwrap();
    let mount = "mount --bind \"$0\" /nix && exec \"$@\"";
    let run = Run::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-c", mount])
        .arg(nix.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .time(Duration::from_secs(120));
    let done = run.finish().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &done.tail_text();
    if said.contains("Operation not permitted") && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: a mount namespace needs root");
        return;
    }
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

struct Place {
    bench: Bench,
    resolver: Resolver,
    meters: Meters,
}

impl Place {
    async fn open() -> Self {
        assert!(
            fs::read_dir("/nix").unwrap().next().is_none(),
            "this is not a store of its own"
        );
        let bench = Bench::open(|_| {}).await.unwrap();
        let hosts = ChannelHosts {
            channels: String::new(),
            nixpkgs: String::new(),
        };
        let source = format!("path:{}", bench.dir.path().display()).parse().unwrap();
        let resolver = Resolver::open(source, bench.dir.path(), Patterns::all(), hosts).unwrap();
        Self {
            bench,
            resolver,
            meters: Meters::default(),
        }
    }

    /// A collector that has just too little space.
    fn collector(&self) -> Collector {
        Collector::new(Collector::new(0).free().unwrap() + (1 << 30))
    }

    async fn tidy(&self, collector: &Collector) -> bool {
        let tidied = collector
            .tidy(&self.bench.nix, &self.resolver, &self.meters)
            .await;
        tidied.unwrap()
    }
}

fn exists(package: &Derivation) -> bool {
    package.outputs().all(|path| fs::exists(path.as_str()).unwrap())
}

#[tokio::test]
async fn what_a_job_has_realised_is_not_collected() {
    with_a_store_of_its_own("collect::inside_what_a_job_has_realised").await;
}

#[tokio::test]
#[ignore = "it empties the Nix store: `what_a_job_has_realised_is_not_collected` runs it with one of its own"]
async fn inside_what_a_job_has_realised() {
    let place = Place::open().await;
    let packages = place.bench.packages(SET, &["kept", "garbage"]).await;
    let (kept, garbage) = (&packages[..1], &packages[1..]);
    let (_, roots) = place.bench.realise(kept).await;
    drop(place.bench.realise(garbage).await);
    assert!(exists(&kept[0]) && exists(&garbage[0]));
    // the closure too, which is packed with it
    let closure: Vec<StorePath> =
        laminix_builder::closure::closure(&place.bench.nix, &kept[0].outputs().cloned().collect::<Vec<_>>())
            .await
            .unwrap()
            .into_iter()
            .map(|content| content.path)
            .collect();
    assert_eq!(closure.len(), 2);

    assert!(place.tidy(&place.collector()).await);
    assert!(!exists(&garbage[0]), "what nobody needs is gone");
    for path in &closure {
        assert!(fs::exists(path.as_str()).unwrap(), "{path} was collected");
    }
    let text = place.meters.text(&Machine::default());
    assert!(text.contains("\nlaminix_gc_runs_total 1\n"), "{text}");
    let freed = text
        .lines()
        .find_map(|line| line.strip_prefix("laminix_gc_freed_bytes_total "));
    assert!(freed.unwrap().parse::<u64>().unwrap() > 4 << 20, "{text}");

    drop(roots);
    assert!(place.tidy(&place.collector()).await);
    assert!(!exists(&kept[0]), "nobody needs it any more");
}

#[tokio::test]
async fn nothing_is_collected_between_the_processes_of_a_job() {
    with_a_store_of_its_own("collect::inside_the_processes_of_a_job").await;
}

#[tokio::test]
#[ignore = "it empties the Nix store: `nothing_is_collected_between_the_processes_of_a_job` runs it with one of its own"]
async fn inside_the_processes_of_a_job() {
    let place = Place::open().await;
    let collector = place.collector();
    let hold = collector.hold().await;
    let packages = place.bench.packages(SET, &["kept"]).await;
    let drv = packages[0].drvs[0].drv_path.as_str();
    assert!(!place.tidy(&collector).await);
    assert!(fs::exists(drv).unwrap());
    // without the hold it is what a collection takes first
    drop(hold);
    assert!(place.tidy(&collector).await);
    assert!(!fs::exists(drv).unwrap());
    // the disk stays full: it is not tried again and again
    let packages = place.bench.packages(SET, &["kept"]).await;
    assert!(!place.tidy(&collector).await);
    assert!(fs::exists(packages[0].drvs[0].drv_path.as_str()).unwrap());
    // where there is room, nothing is touched
    assert!(!place.tidy(&Collector::new(0)).await);
    assert!(fs::exists(packages[0].drvs[0].drv_path.as_str()).unwrap());
}
