//! How fast a directory becomes a layer, and in how much memory, next to `tar | gzip -6`:
//! `cargo bench -p laminix-builder --bench pack -- DIRECTORY`. Without one, 300 MB are made up.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use laminix::record::{Compression, Content};
use laminix_builder::pack::Packer;
use tempfile::TempDir;

fn main() -> Result<()> {
    let scratch = TempDir::new()?;
    let given = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let directory = match &given {
        Some(directory) => Path::new(directory).to_owned(),
        None => {
            let made_up = scratch.path().join("made-up");
            make_up(&made_up)?;
            made_up
        }
    };
    let root = scratch.path().join("root");
    let content = add(&root, &directory)?;
    let megabytes = content.nar_size as f64 / 1e6;
    println!("{} as {}: {megabytes:.0} MB", directory.display(), content.path);
    let cores = available_parallelism()?;
    for compression in [Compression::Gzip, Compression::Zstd] {
        for threads in [NonZero::<usize>::MIN, cores] {
            let packer = Packer::new(&root, scratch.path(), threads)?;
            reset_peak();
            let started = Instant::now();
            let layer = packer.pack(std::slice::from_ref(&content), compression)?;
            report(
                &format!("{compression:?}, {threads} to compress"),
                started,
                megabytes,
                layer.packed.size,
                &format!("{} MB at most", peak()? / 1_000_000),
            );
        }
    }
    let started = Instant::now();
    let size = tar_and_gzip(&root, &content)?;
    report("tar | gzip -6", started, megabytes, size, "");
    Ok(())
}

fn report(what: &str, started: Instant, megabytes: f64, size: u64, memory: &str) {
    let seconds = started.elapsed().as_secs_f64();
    let (rate, ratio) = (megabytes / seconds, size as f64 / 1e6 / megabytes);
    println!("{what:24} {seconds:6.2} s  {rate:6.1} MB/s  {ratio:.4}  {memory}");
}

/// Files of letters at random, among them some that repeat.
fn make_up(directory: &Path) -> Result<()> {
    let mut state = 1_u64;
    for n in 0..3000 {
        let sub = directory.join((n / 100).to_string());
        fs::create_dir_all(&sub)?;
        let bytes: Vec<u8> = (0..100_000)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if i % 64 < 40 {
                    b'a' + (i % 23) as u8
                } else {
                    (state >> 58) as u8 + b' '
                }
            })
            .collect();
        fs::write(sub.join(n.to_string()), bytes)?;
    }
    Ok(())
}

/// Adds a directory to a store of its own.
fn add(root: &Path, directory: &Path) -> Result<Content> {
    let directory = directory.to_str().context("a directory whose name is UTF-8")?;
    let path = nix(root, &["--add", directory])?;
    Ok(Content {
        path: path.parse()?,
        nar_hash: nix(root, &["-q", "--hash", &path])?,
        nar_size: nix(root, &["-q", "--size", &path])?.parse()?,
    })
}

#[expect(clippy::disallowed_methods, reason = "outside of the worker")]
fn nix(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("nix-store")
        .arg("--store")
        .arg(root)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "nix-store fails");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The size of what they make.
#[expect(clippy::disallowed_methods, reason = "outside of the worker")]
fn tar_and_gzip(root: &Path, content: &Content) -> Result<u64> {
    let output = Command::new("sh")
        .args(["-c", r#"tar -C "$0" -c ".$1" | gzip -6 | wc -c"#])
        .arg(root)
        .arg(content.path.as_str())
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Starts the count of the peak anew (proc(5), `clear_refs`); where that is not allowed, it is that of all runs.
fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process had, in bytes.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("a peak")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
