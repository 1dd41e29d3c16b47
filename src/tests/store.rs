//! The contract that every store keeps, and what only the file store can be asked.

use std::fs;

use bytes::Bytes;
use http::{HeaderMap, Method};
use laminix::digest::Digest;
use laminix::key::{ImageKey, Key, Prefix, Subject, TagRef};
use laminix::name::{Image, System};
use laminix::record::now;
use laminix::source::{Revision, Source};
use laminix::store::{Place, Store};

use crate::fixture::Answer;

async fn file_store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", directory.path().display()), &|_| None)
        .await
        .unwrap();
    (directory, store)
}

fn claim(tag: &str) -> Key {
    Subject::Tag(TagRef {
        source: "s".repeat(32),
        tag: tag.parse().unwrap(),
    })
    .claim()
}

/// Of many who create an object at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Winners {
    /// One does, and the others are told.
    One,
    /// At least one does: the service looks and then writes.
    Some,
}

/// What every store does, whatever it is.
pub(crate) async fn contract(store: &Store, winners: Winners) {
    let key = claim("a");
    // absence is a value
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.size(&key).await.unwrap(), None);
    store.delete(&key).await.unwrap();
    // put replaces, and what is read is what was written
    for body in [&b"one"[..], b"", b"\0\xff\r\n"] {
        store.put(&key, Bytes::copy_from_slice(body)).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().as_deref(), Some(body));
        assert_eq!(store.size(&key).await.unwrap(), Some(body.len() as u64));
    }
    store.delete(&key).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
    // of many who create, one does
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (store, key) = (store.clone(), claim("race"));
        racers.spawn(async move { (n, store.create(&key, Bytes::from(format!("{n}"))).await.unwrap()) });
    }
    let won: Vec<i32> = racers
        .join_all()
        .await
        .into_iter()
        .filter(|(_, won)| *won)
        .map(|(n, _)| n)
        .collect();
    assert!(
        won.len() == 1 || (winners == Winners::Some && won.len() > 1),
        "{won:?}"
    );
    let stands = store.get(&claim("race")).await.unwrap().unwrap();
    assert!(
        won.iter().any(|n| stands == format!("{n}")),
        "{stands:?} of {won:?}"
    );
    // readers see an object whole, whoever writes
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..8u8 {
        let store = store.clone();
        writers.spawn(async move {
            for _ in 0..8 {
                store.put(&claim("whole"), vec![n; 100_000].into()).await.unwrap();
                let read = store.get(&claim("whole")).await.unwrap().unwrap();
                assert!(read.len() == 100_000 && read.iter().all(|byte| *byte == read[0]));
            }
        });
    }
    writers.join_all().await;
    listing(store).await;
    blobs(store).await;
}

/// What is below a prefix is listed, and nothing beside it.
async fn listing(store: &Store) {
    let (source, other): (Source, Source) = ("path:/a".parse().unwrap(), "path:/b".parse().unwrap());
    let (old, new): (Revision, Revision) = ("1".repeat(40).parse().unwrap(), "2".repeat(40).parse().unwrap());
    let prefix = Prefix::Images(source.id(), old.clone());
    assert_eq!(store.list(&prefix).await.unwrap(), []);
    let before = now();
    let mut expected = Vec::new();
    for name in ["git", "jq", "git/jq"] {
        let image = Image::parse(name, System::Amd64).unwrap();
        for (source, revision) in [(&source, &old), (&source, &new), (&other, &old)] {
            let key = Key::Image(ImageKey::of(source, revision, &image));
            store.put(&key, Bytes::from("{}")).await.unwrap();
        }
        expected.push(Key::Image(ImageKey::of(&source, &old, &image)));
    }
    let listed = store.list(&prefix).await.unwrap();
    assert!(
        listed
            .iter()
            .all(|(_, written)| (before.saturating_sub(2)..=now() + 2).contains(written)),
        "{listed:?}"
    );
    let mut keys: Vec<Key> = listed.iter().filter_map(|(name, _)| prefix.key(name)).collect();
    keys.sort();
    expected.sort();
    assert_eq!((keys, listed.len()), (expected, 3));
}

async fn blobs(store: &Store) {
    let directory = tempfile::tempdir().unwrap();
    let (local, copy) = (directory.path().join("local"), directory.path().join("copy"));
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(&local, &content).unwrap();
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    assert!(!store.intact(&digest, size).await.unwrap());
    assert!(!store.download(&digest, &copy).await.unwrap());
    // what is not the digest's is not stored under it
    assert!(store.upload(&Digest::of(b"other"), &local).await.is_err());
    assert_eq!(store.size(&Key::Blob(Digest::of(b"other"))).await.unwrap(), None);
    store.upload(&digest, &local).await.unwrap();
    assert!(store.intact(&digest, size).await.unwrap());
    assert!(!store.intact(&digest, size + 1).await.unwrap());
    assert!(store.download(&digest, &copy).await.unwrap());
    assert_eq!(fs::read(&copy).unwrap(), content);
    // a truncated or a changed object is noticed, and replaced
    for damaged in [content[..1000].to_vec(), [&content[1..], b"x"].concat()] {
        store.put(&Key::Blob(digest), damaged.into()).await.unwrap();
        assert!(!store.intact(&digest, size).await.unwrap());
        assert!(!store.download(&digest, &copy).await.unwrap());
        store.upload(&digest, &local).await.unwrap();
        assert!(store.intact(&digest, size).await.unwrap());
    }
    assert!(!store.presign(&digest, &Method::GET).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_file_store_keeps_the_contract() {
    let (_directory, store) = file_store().await;
    contract(&store, Winners::One).await;
}

/// Fault 11 of the predecessor: files were written in place, and two processes shared one staging file.
#[tokio::test]
async fn drafts_of_the_killed_are_nobodys_object() {
    let (directory, store) = file_store().await;
    let key = claim("a");
    store.put(&key, Bytes::from_static(b"old")).await.unwrap();
    fs::write(directory.path().join(".drafts/draft-killed"), b"half of it").unwrap();
    let again = Store::open(&format!("file://{}", directory.path().display()), &|_| None)
        .await
        .unwrap();
    assert_eq!(again.get(&key).await.unwrap().unwrap(), "old");
    let left: Vec<_> = fs::read_dir(directory.path().join(".drafts")).unwrap().collect();
    assert_eq!(
        left.len(),
        1,
        "a draft that somebody may still write is left alone"
    );
}

#[tokio::test]
async fn a_directory_that_cannot_be_one_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    for url in [
        format!("file://{}/file/store", directory.path().display()),
        "file://relative".into(),
        "s4://x".into(),
    ] {
        assert!(Store::open(&url, &|_| None).await.is_err(), "{url}");
    }
}

async fn fetch(store: &Store, method: Method, url: &str, headers: &[(&str, &str)]) -> Answer {
    let Place::File(store) = store.place() else {
        panic!("not a directory")
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(
            http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    Answer::read(store.serve(&method, url, &map).await).await
}

/// Faults 5 and 9 of the predecessor: a missing blob was 200 and empty; URLs for GET failed for HEAD without a word.
#[tokio::test]
async fn signed_urls_give_out_what_was_signed() {
    let (_directory, store) = file_store().await;
    let content = b"0123456789";
    let digest = Digest::of(content);
    let url = store.presign(&digest, &Method::GET).await.unwrap();
    assert_eq!(fetch(&store, Method::GET, &url, &[]).await.status, 404);
    store
        .put(&Key::Blob(digest), Bytes::from_static(content))
        .await
        .unwrap();
    let whole = fetch(&store, Method::GET, &url, &[]).await;
    assert_eq!(
        (whole.status, &whole.body[..], whole.header("content-length")),
        (200, &content[..], "10")
    );
    assert_eq!(
        (whole.header("accept-ranges"), whole.header("etag")),
        ("bytes", format!("\"{digest}\"").as_str())
    );
    let etag = format!("\"{digest}\"");
    for (headers, status, body, range) in [
        (vec![("range", "bytes=2-4")], 206, &b"234"[..], "bytes 2-4/10"),
        (vec![("range", "bytes=-2")], 206, b"89", "bytes 8-9/10"),
        (vec![("range", "bytes=8-")], 206, b"89", "bytes 8-9/10"),
        (
            vec![("range", "bytes=2-4"), ("if-range", &etag)],
            206,
            b"234",
            "bytes 2-4/10",
        ),
        (
            vec![("range", "bytes=2-4"), ("if-range", "\"x\"")],
            200,
            content,
            "",
        ),
        (vec![("range", "bytes=0-1,3-4")], 200, content, ""),
    ] {
        let part = fetch(&store, Method::GET, &url, &headers).await;
        assert_eq!(
            (part.status, &part.body[..], part.header("content-range")),
            (status, body, range),
            "{headers:?}"
        );
        assert_eq!(part.header("content-length"), body.len().to_string());
    }
    let beyond = fetch(&store, Method::GET, &url, &[("range", "bytes=10-")]).await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, "bytes */10")
    );
    assert_eq!(fetch(&store, Method::HEAD, &url, &[]).await.status, 403);
    assert_eq!(fetch(&store, Method::POST, &url, &[]).await.status, 405);
    let tampered = url.replace(&digest.hex(), &Digest::of(b"x").hex());
    for bad in [
        tampered.as_str(),
        "/objects/.key",
        "/objects/../store/.key",
        url.split('?').next().unwrap(),
    ] {
        assert_eq!(fetch(&store, Method::GET, bad, &[]).await.status, 403, "{bad}");
    }
}

#[tokio::test]
async fn a_url_of_one_process_is_good_in_another() {
    let (directory, store) = file_store().await;
    let digest = Digest::of(b"x");
    store
        .put(&Key::Blob(digest), Bytes::from_static(b"x"))
        .await
        .unwrap();
    let other = Store::open(&format!("file://{}", directory.path().display()), &|_| None)
        .await
        .unwrap();
    let url = store.presign(&digest, &Method::GET).await.unwrap();
    assert_eq!(fetch(&other, Method::GET, &url, &[]).await.status, 200);
}
