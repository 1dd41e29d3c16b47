//! What a packed layer is: the same bytes everywhere, nothing of the machine, nothing that Nix does not know.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::{Read, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use laminix::digest::Digest;
use laminix::record::{Compression, Content};
use laminix_builder::pack::PackedFile;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::fixture::{Fixture, noise, set_mode, store_path};

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

fn bytes(packed: &PackedFile) -> Vec<u8> {
    fs::read(packed.file.path()).unwrap()
}

fn unpack(packed: &PackedFile) -> Vec<u8> {
    let (encoded, mut tar) = (bytes(packed), Vec::new());
    match packed.packed.compression {
        Compression::Gzip => flate2::read::MultiGzDecoder::new(&encoded[..]).read_to_end(&mut tar),
        Compression::Zstd => zstd::Decoder::new(&encoded[..]).unwrap().read_to_end(&mut tar),
    }
    .unwrap();
    tar
}

/// Everything about the disk that Nix does not know is changed: hard links, modes, owners, times, order of creation.
fn disturb(fixture: &Fixture, contents: &[Content]) {
    let app = fixture.on_disk("app");
    fs::remove_file(app.join("share/copy")).unwrap();
    fs::hard_link(app.join("share/a.b"), app.join("share/copy")).unwrap();
    set_mode(&app.join("bin/app"), 0o4711);
    set_mode(&app.join("share/a/x"), 0o600);
    set_mode(&app.join("share"), 0o700);
    for content in contents {
        let name = content.path.base_name().split_once('-').unwrap().1;
        // only root may give files away
        let _ = std::os::unix::fs::lchown(fixture.on_disk(name), Some(4711), Some(4712));
    }
    let past = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890));
    File::open(app.join("bin/app")).unwrap().set_times(past).unwrap();
}

/// Faults 3 and 12 of the predecessor: digests that move, and what is the host's in the layer.
#[test]
fn the_bytes_depend_on_the_contents_alone() {
    for compression in BOTH {
        let (one, other) = (Fixture::new(), Fixture::new());
        let contents = one.sample();
        let first = one.packer(1).pack(&contents, compression).unwrap();
        disturb(&other, &other.sample());
        for threads in [1, 2, 7] {
            let again = other.packer(threads).pack(&contents, compression).unwrap();
            assert_eq!(again.packed, first.packed);
            assert_eq!(bytes(&again), bytes(&first));
        }
    }
}

/// These digests name layers in buckets: if this fails, `laminix::key::FORMAT` or the encoding must change with it.
#[test]
fn the_digests_of_a_sample_are_pinned() {
    let fixture = Fixture::new();
    let contents = fixture.sample();
    let packer = fixture.packer(2);
    let digests = BOTH.map(|compression| {
        let packed = packer.pack(&contents, compression).unwrap().packed;
        assert_eq!(
            packed.diff_id.hex(),
            "8cc9dbd325a2a9554b82fbcebb7d77f62c2d9da3ff01e39e493b9b754475f19e"
        );
        packed.digest.hex()
    });
    assert_eq!(
        digests,
        [
            "f1f355db5f3779cb9da765782b975e97db638f4ddc82a634076aa0ec0c8b7c60",
            "cbca9b7111cc7d7863b1ff09a1fd007c057b0393fe3dd3722b4e5344ae20ab9f",
        ]
    );
}

#[test]
fn digests_and_sizes_are_those_of_the_bytes() {
    let fixture = Fixture::new();
    let contents = fixture.sample();
    for compression in BOTH {
        let file = fixture.packer(2).pack(&contents, compression).unwrap();
        let (encoded, tar, packed) = (bytes(&file), unpack(&file), &file.packed);
        assert_eq!(
            (packed.digest, packed.size),
            (Digest::of(&encoded), encoded.len() as u64)
        );
        assert_eq!(
            (packed.diff_id, packed.unpacked),
            (Digest::of(&tar), tar.len() as u64)
        );
        if compression == Compression::Gzip {
            assert!(encoded == laminix::gzip::encode(&tar), "not the project's gzip");
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "other people's programs are to read it")]
fn gzip_and_tar_read_a_layer() {
    let fixture = Fixture::new();
    let layer = fixture
        .packer(2)
        .pack(&fixture.sample(), Compression::Gzip)
        .unwrap();
    let checked = Command::new("gzip")
        .arg("-t")
        .stdin(layer.file.reopen().unwrap())
        .status()
        .unwrap();
    assert!(checked.success());
    let list = Command::new("tar")
        .args(["--numeric-owner", "--utc", "-tvzf"])
        .arg(layer.file.path())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.lines().count(), 17, "{list}");
    for line in list.lines() {
        assert!(
            line.contains(" 0/0 ") && line.contains(" 1970-01-01 00:00 "),
            "{line}"
        );
    }
    assert!(
        list.contains("-r-xr-xr-x 0/0          100000 1970-01-01 00:00 nix/store/"),
        "{list}"
    );
}

/// Fault 12 of the predecessor: empty directories dropped.
#[test]
fn entries_are_what_nix_has() {
    let long = "n".repeat(255);
    let fixture = Fixture::new();
    let content = fixture.add("odd", |dir| {
        fs::create_dir_all(dir.join("empty")).unwrap();
        fs::create_dir_all(dir.join(&long).join(&long)).unwrap();
        fs::write(dir.join(&long).join(&long).join("x"), "").unwrap();
        fs::write(dir.join(OsStr::from_bytes(b"\xff\xfe")), "bytes").unwrap();
        fs::write(dir.join("setuid"), "").unwrap();
        set_mode(&dir.join("setuid"), 0o6755);
        fs::write(dir.join("new\nline"), "").unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        symlink("/etc/passwd", dir.join("outside")).unwrap();
        symlink(".//empty/", dir.join("untidy")).unwrap();
        symlink("t".repeat(300), dir.join("far")).unwrap();
        symlink(OsStr::from_bytes(b"\xff"), dir.join("to-bytes")).unwrap();
    });
    let top = store_path("odd").as_str()[1..].to_owned();
    let layer = fixture.packer(1).pack(&[content], Compression::Gzip).unwrap();
    let tar = unpack(&layer);
    let found: Vec<_> = tar::Archive::new(&tar[..])
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let target = entry
                .link_name_bytes()
                .map(|target| target.into_owned())
                .unwrap_or_default();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 1)
            );
            (entry.path_bytes().into_owned(), header.mode().unwrap(), target)
        })
        .collect();
    let below = |name: &[u8]| [top.as_bytes(), b"/", name].concat();
    let directory = |name: &[u8]| (below(name), 0o555, Vec::new());
    let link = |name: &[u8], target: &[u8]| (below(name), 0o777, target.to_owned());
    let expected = [
        (b"nix/".to_vec(), 0o555, Vec::new()),
        (b"nix/store/".to_vec(), 0o555, Vec::new()),
        directory(b""),
        directory(b"empty/"),
        link(b"far", &[b't'; 300]),
        link(b"loop", b"loop"),
        (below(b"new\nline"), 0o444, Vec::new()),
        directory(format!("{long}/").as_bytes()),
        directory(format!("{long}/{long}/").as_bytes()),
        (below(format!("{long}/{long}/x").as_bytes()), 0o444, Vec::new()),
        link(b"outside", b"/etc/passwd"),
        (below(b"setuid"), 0o555, Vec::new()),
        link(b"to-bytes", b"\xff"),
        link(b"untidy", b".//empty/"),
        (below(b"\xff\xfe"), 0o444, Vec::new()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_directories_above_the_store_are_the_same_in_every_layer() {
    let fixture = Fixture::new();
    let heads: BTreeSet<_> = fixture
        .sample()
        .into_iter()
        .map(|content| {
            unpack(&fixture.packer(1).pack(&[content], Compression::Gzip).unwrap())[..1024].to_vec()
        })
        .collect();
    assert_eq!(heads.len(), 1);
}

#[test]
fn what_nix_does_not_know_is_refused() {
    let fixture = Fixture::new();
    let fifo = fixture.add("fifo", |dir| {
        fs::create_dir(dir).unwrap();
        mknodat(CWD, dir.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    });
    let socket = fixture.add("socket", |path| drop(UnixListener::bind(path).unwrap()));
    for content in [fifo, socket] {
        let error = fixture.packer(1).pack(&[content], Compression::Gzip).unwrap_err();
        assert!(
            format!("{error:#}").contains("neither a file, a directory nor a symbolic link"),
            "{error:#}"
        );
    }
}

#[test]
fn contents_out_of_order_or_absent_are_refused() {
    let fixture = Fixture::new();
    let contents = fixture.sample();
    let packer = fixture.packer(1);
    let mut swapped = contents.clone();
    swapped.swap(0, 1);
    assert!(packer.pack(&swapped, Compression::Gzip).is_err());
    let twice = [contents[0].clone(), contents[0].clone()];
    assert!(packer.pack(&twice, Compression::Gzip).is_err());
    let mut absent = contents.clone();
    absent[2].path = "/nix/store/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-absent"
        .parse()
        .unwrap();
    // more failures than there are buffers: none is lost on the way
    for _ in 0..20 {
        assert!(packer.pack(&absent, Compression::Gzip).is_err());
    }
    packer.pack(&contents, Compression::Gzip).unwrap();
}

#[test]
fn a_path_that_was_changed_is_refused() {
    let fixture = Fixture::new();
    let contents = fixture.sample();
    fs::write(fixture.on_disk("script.sh"), "#!/bin/bad\n").unwrap();
    let error = fixture.packer(1).pack(&contents, Compression::Gzip).unwrap_err();
    assert!(error.to_string().contains("has been changed"), "{error}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    const SIZE: u64 = 24 << 20;
    let fixture = Fixture::new();
    let content = fixture.add("moving", |file| fs::write(file, vec![1; SIZE as usize]).unwrap());
    let packer = fixture.packer(2);
    packer
        .pack(std::slice::from_ref(&content), Compression::Gzip)
        .unwrap();
    let (path, over) = (fixture.on_disk("moving"), AtomicBool::new(false));
    let truncate = |file: &File| file.set_len(SIZE / 2).unwrap();
    let grow = |file: &File| file.set_len(SIZE + 1).unwrap();
    let write = |mut file: &File| {
        file.seek(std::io::SeekFrom::Start(SIZE - 1)).unwrap();
        file.write_all(&[2]).unwrap();
    };
    for change in [&truncate as &(dyn Fn(&File) + Sync), &grow, &write] {
        over.store(false, Ordering::Relaxed);
        // changes have begun before packing does: on a machine under load it may be over before the first
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = File::options().write(true).open(&path).unwrap();
                change(&file);
                begun.wait();
                while !over.load(Ordering::Relaxed) {
                    change(&file);
                }
            });
            begun.wait();
            let result = packer.pack(std::slice::from_ref(&content), Compression::Gzip);
            over.store(true, Ordering::Relaxed);
            assert!(result.is_err());
        });
        fs::write(&path, vec![1; SIZE as usize]).unwrap();
    }
}

#[test]
fn layers_at_once_do_not_wait_for_each_other() {
    let fixture = Fixture::new();
    let (contents, packer) = (fixture.sample(), fixture.packer(1));
    let alone = packer.pack(&contents, Compression::Gzip).unwrap().packed;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| packer.pack(&contents, Compression::Gzip).unwrap().packed))
            .collect();
        for packed in all {
            assert_eq!(packed.join().unwrap(), alone);
        }
    });
}

#[test]
fn memory_does_not_grow_with_what_is_packed() {
    const SIZE: usize = 192 << 20;
    let fixture = Fixture::new();
    let path = fixture.on_disk("large");
    let block = noise(1 << 20, 7);
    let mut file = File::create(&path).unwrap();
    for n in 0..SIZE >> 20 {
        file.write_all(&[n as u8; 16]).unwrap();
        file.write_all(&block[16..]).unwrap();
    }
    // the NAR hash is the packer's own this time: the fixture would read it whole
    let asked = Content {
        path: store_path("large"),
        nar_hash: String::new(),
        nar_size: 0,
    };
    let (packer, over, peak) = (fixture.packer(2), AtomicBool::new(false), AtomicU64::new(0));
    let before = resident();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let error = packer.pack(&[asked], Compression::Gzip).unwrap_err();
        over.store(true, Ordering::Relaxed);
        assert!(error.to_string().contains("has been changed"), "{error}");
    });
    let grown = peak.into_inner().saturating_sub(before);
    // other tests run beside this one
    assert!(grown < 96 << 20, "{} MiB", grown >> 20);
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
}

#[test]
#[expect(clippy::disallowed_methods, reason = "Nix itself is to say what is right")]
fn a_path_of_a_real_store_is_packed_under_its_own_hash() {
    let nix = |args: &[&OsStr]| {
        let output = Command::new("nix-store")
            .args(args)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let fixture = Fixture::new();
    fixture.sample();
    let root: PathBuf = fixture.root.path().join("real");
    let store = |rest: &[&str]| {
        let mut args = vec![OsStr::new("--store"), root.as_os_str()];
        args.extend(rest.iter().map(OsStr::new));
        nix(&args)
    };
    let app = fixture.on_disk("app");
    let path = store(&["--add", app.to_str().unwrap()]);
    let content = Content {
        path: path.parse().unwrap(),
        nar_hash: store(&["-q", "--hash", &path]),
        nar_size: store(&["-q", "--size", &path]).parse().unwrap(),
    };
    let threads = std::num::NonZero::<usize>::MIN;
    let packer = laminix_builder::pack::Packer::new(&root, Path::new("/tmp"), threads).unwrap();
    let layer = packer.pack(&[content], Compression::Zstd).unwrap();
    assert!(layer.packed.unpacked > 100_000);
}
