//! Layers and records in a real store: packed once, believed only when intact, recorded last.

use std::fs;

use laminix::key::{Key, PackageRef};
use laminix::name::System;
use laminix::record::{Compression, Content, Layer, PackageRecord, Packed};
use laminix::store::Store;
use laminix_builder::evaluate::Derivation;
use laminix_builder::plan::{self, plan};
use laminix_builder::publish::{publish, ready};
use laminix_builder::upload::{ensure_layer, ensure_layers};
use tempfile::TempDir;

use crate::fixture::Fixture;

const GZIP: Compression = Compression::Gzip;

pub(crate) async fn store() -> (TempDir, Store) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&format!("file://{}", directory.path().display()), &|_| None)
        .await
        .unwrap();
    (directory, store)
}

async fn recorded(store: &Store, contents: &[Content]) -> Option<Packed> {
    let key = Key::Layer(plan::key(contents, GZIP));
    let record = store.get(&key).await.unwrap()?;
    Some(serde_json::from_slice(&record).unwrap())
}

#[tokio::test]
async fn a_stored_layer_is_not_packed_again() {
    let ((_directory, store), fixture) = (store().await, Fixture::new());
    let (contents, packer) = (fixture.sample(), fixture.packer(2));
    let packed = ensure_layer(&store, &packer, &contents, GZIP).await.unwrap();
    assert_eq!(recorded(&store, &contents).await.as_ref(), Some(&packed));
    assert!(store.intact(&packed.digest, packed.size).await.unwrap());
    // with the paths gone, packing would fail
    fs::remove_dir_all(fixture.root.path().join("nix")).unwrap();
    assert_eq!(
        ensure_layer(&store, &packer, &contents, GZIP).await.unwrap(),
        packed
    );
}

/// Faults 9 and 11 of the predecessor: a record that points at nothing, or at half an upload, for ever.
#[tokio::test]
async fn a_damaged_or_lost_blob_is_replaced() {
    let ((directory, store), fixture) = (store().await, Fixture::new());
    let (contents, packer) = (fixture.sample(), fixture.packer(2));
    let packed = ensure_layer(&store, &packer, &contents, GZIP).await.unwrap();
    let blob = directory.path().join(Key::Blob(packed.digest).path());
    let bytes = fs::read(&blob).unwrap();
    let mut other = bytes.clone();
    other[100] ^= 1;
    for damaged in [Some(&other[..]), Some(&bytes[..100]), Some(b""), None] {
        // the store's own file may be read-only: a new one is put in its place
        fs::remove_file(&blob).unwrap();
        if let Some(damaged) = damaged {
            fs::write(&blob, damaged).unwrap();
        }
        assert_eq!(
            ensure_layer(&store, &packer, &contents, GZIP).await.unwrap(),
            packed
        );
        assert_eq!(fs::read(&blob).unwrap(), bytes);
    }
    store
        .put(&Key::Layer(plan::key(&contents, GZIP)), "{}".into())
        .await
        .unwrap();
    assert_eq!(
        ensure_layer(&store, &packer, &contents, GZIP).await.unwrap(),
        packed
    );
    assert_eq!(recorded(&store, &contents).await, Some(packed));
}

#[tokio::test]
async fn a_worker_killed_between_blob_and_record_does_no_harm() {
    let ((_directory, store), fixture) = (store().await, Fixture::new());
    let (contents, packer) = (fixture.sample(), fixture.packer(2));
    // what such a worker leaves behind
    let file = packer.pack(&contents, GZIP).unwrap();
    store.upload(&file.packed.digest, file.file.path()).await.unwrap();
    assert_eq!(recorded(&store, &contents).await, None);
    let packed = ensure_layer(&store, &packer, &contents, GZIP).await.unwrap();
    assert_eq!(packed, file.packed);
    assert_eq!(recorded(&store, &contents).await, Some(packed));
}

#[tokio::test]
async fn two_workers_at_one_layer_write_the_same() {
    let ((_directory, store), fixture) = (store().await, Fixture::new());
    let contents = fixture.sample();
    let (one, other) = (fixture.packer(1), fixture.packer(3));
    let (a, b) = tokio::join!(
        ensure_layer(&store, &one, &contents, GZIP),
        ensure_layer(&store, &other, &contents, GZIP)
    );
    let packed = a.unwrap();
    assert_eq!(b.unwrap(), packed);
    assert!(store.intact(&packed.digest, packed.size).await.unwrap());
}

#[tokio::test]
async fn a_failed_layer_leaves_no_record() {
    let ((_directory, store), fixture) = (store().await, Fixture::new());
    let mut contents = fixture.sample();
    contents[1].nar_hash = format!("sha256:{}", "0".repeat(52));
    assert!(
        ensure_layer(&store, &fixture.packer(2), &contents, GZIP)
            .await
            .is_err()
    );
    assert_eq!(recorded(&store, &contents).await, None);
    let left: Vec<_> = fs::read_dir(fixture.root.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["nix"], "temporary files stay behind");
}

fn package(attribute: &str, layers: Vec<Layer>) -> (PackageRef, PackageRecord) {
    let reference = PackageRef {
        source: "0".repeat(32),
        revision: "1".repeat(40).parse().unwrap(),
        system: System::Amd64,
        attribute: attribute.parse().unwrap(),
    };
    let derivation = Derivation {
        attribute: reference.attribute.clone(),
        drvs: Vec::new(),
        name: "app-1".to_owned(),
        version: None,
        description: None,
        licenses: Vec::new(),
        homepage: None,
        main_program: None,
        priority: 5,
    };
    (reference, ready(derivation, Vec::new(), layers))
}

#[tokio::test]
async fn a_package_is_recorded_only_after_its_layers() {
    let ((directory, store), fixture) = (store().await, Fixture::new());
    let mut contents = fixture.sample();
    contents.push(fixture.add("large", |file| fs::write(file, vec![0; 5_000_000]).unwrap()));
    let layers = ensure_layers(&store, &fixture.packer(2), plan(&contents), GZIP)
        .await
        .unwrap();
    assert_eq!(
        layers
            .iter()
            .map(|l| (l.tail, l.contents.len()))
            .collect::<Vec<_>>(),
        [(false, 1), (true, 3)]
    );
    let (reference, record) = package("app", layers.clone());
    publish(&store, &reference, &record).await.unwrap();
    let stored = store.get(&Key::Package(reference)).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<PackageRecord>(&stored).unwrap(), record);

    fs::remove_file(directory.path().join(Key::Blob(layers[1].packed.digest).path())).unwrap();
    let (reference, record) = package("other", layers);
    assert!(publish(&store, &reference, &record).await.is_err());
    assert_eq!(store.get(&Key::Package(reference)).await.unwrap(), None);
}
