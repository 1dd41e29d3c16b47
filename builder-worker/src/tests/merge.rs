//! Merged layers are the bytes that packing the union off the disk gives, and never more than the job may ask for.

use std::fs;
use std::os::unix::fs::symlink;

use laminix::key::Key;
use laminix::record::{Compression, Content, Layer};
use laminix_builder::merge::merge;
use laminix_builder::plan;
use laminix_builder::upload::ensure_layer;

use crate::fixture::{Fixture, noise};
use crate::upload::store;

/// More objects than [`Fixture::sample`] has, some that come first and some that come last in an archive.
fn objects(fixture: &Fixture) -> Vec<Content> {
    let mut contents = fixture.sample();
    let long = "n".repeat(200);
    for n in 0..12 {
        contents.push(fixture.add(&format!("p{n}"), |dir| {
            fs::create_dir_all(dir.join(&long).join(&long)).unwrap();
            fs::write(dir.join(&long).join("x"), noise(200_000, n)).unwrap();
            symlink("t//".repeat(60), dir.join("link")).unwrap();
        }));
    }
    contents.push(fixture.add("empty", |file| fs::write(file, "").unwrap()));
    contents.push(fixture.add("empty-dir", |dir| fs::create_dir(dir).unwrap()));
    contents.push(fixture.add("link", |link| symlink("nowhere", link).unwrap()));
    contents.sort();
    contents
}

#[tokio::test]
async fn a_merged_layer_is_the_union_packed() {
    for (from, to) in [
        (Compression::Gzip, Compression::Gzip),
        (Compression::Zstd, Compression::Zstd),
        (Compression::Gzip, Compression::Zstd),
    ] {
        let ((_directory, store), fixture) = (store().await, Fixture::new());
        let (contents, packer) = (objects(&fixture), fixture.packer(2));
        let expected = packer.pack(&contents, to).unwrap();
        // three layers that overlap: every second object, every third, and all that the two do not have
        let mut layers = Vec::new();
        let parts: [fn(usize) -> bool; 3] = [|n| n % 2 == 0, |n| n % 3 == 0, |n| n % 2 != 0 && n % 3 != 0];
        for part in parts {
            let contents: Vec<_> = (0..contents.len())
                .filter(|n| part(*n))
                .map(|n| contents[n].clone())
                .collect();
            let packed = ensure_layer(&store, &packer, &contents, from).await.unwrap();
            layers.push(Layer {
                packed,
                tail: true,
                contents,
            });
        }
        // the paths may have been collected since
        fs::remove_dir_all(fixture.root.path().join("nix")).unwrap();
        let key = plan::key(&contents, to);
        let merged = merge(&store, &packer, key.clone(), &layers, to).await.unwrap();
        assert_eq!(merged, expected.packed);
        let copy = fixture.root.path().join("copy");
        assert!(store.download(&merged.digest, &copy).await.unwrap());
        assert!(fs::read(&copy).unwrap() == fs::read(expected.file.path()).unwrap());
        let record = store.get(&Key::Layer(key.clone())).await.unwrap().unwrap();
        assert_eq!(
            serde_json::from_slice::<laminix::record::Packed>(&record).unwrap(),
            merged
        );

        // what is stored is not made again
        store.delete(&Key::Blob(layers[0].packed.digest)).await.unwrap();
        assert_eq!(merge(&store, &packer, key, &layers, to).await.unwrap(), merged);
    }
}

/// The queue can be written to by less than the worker itself: a job must not put one layer under another's key.
#[tokio::test]
async fn a_job_that_lies_makes_no_layer() {
    let ((_directory, store), fixture) = (store().await, Fixture::new());
    let (contents, packer) = (fixture.sample(), fixture.packer(2));
    let gzip = Compression::Gzip;
    let layer = |contents: &[Content], packed| Layer {
        packed,
        tail: true,
        contents: contents.to_vec(),
    };
    let whole = ensure_layer(&store, &packer, &contents, gzip).await.unwrap();
    let one = ensure_layer(&store, &packer, &contents[..1], gzip).await.unwrap();
    let evil = Fixture::new();
    evil.sample();
    fs::write(evil.on_disk("script.sh"), "#!/bin/evil\n").unwrap();
    let mut other = contents.clone();
    for content in &mut other {
        *content = evil.content(content.path.base_name().split_once('-').unwrap().1);
    }
    let evil = ensure_layer(&store, &evil.packer(1), &other, gzip).await.unwrap();

    let lies = [
        ("another content", layer(&contents, evil)),
        ("more than it says", layer(&contents[1..], whole.clone())),
        ("less than it says", layer(&contents, one)),
    ];
    for (why, lie) in lies {
        let key = plan::key(&lie.contents, gzip);
        // the true layer of that name may be stored: what counts is that nothing is made of the lie
        store.delete(&Key::Layer(key.clone())).await.unwrap();
        assert!(
            merge(&store, &packer, key.clone(), &[lie], gzip).await.is_err(),
            "{why}"
        );
        assert_eq!(store.get(&Key::Layer(key)).await.unwrap(), None, "{why}");
    }
    let key = plan::key(&contents[..1], gzip);
    let truth = layer(&contents, whole.clone());
    assert!(
        merge(&store, &packer, key.clone(), &[truth], gzip).await.is_err(),
        "another key"
    );
    assert!(merge(&store, &packer, key, &[], gzip).await.is_err(), "no layers");
    store.delete(&Key::Blob(whole.digest)).await.unwrap();
    let key = plan::key(&contents, gzip);
    store.delete(&Key::Layer(key.clone())).await.unwrap();
    assert!(
        merge(&store, &packer, key, &[layer(&contents, whole)], gzip)
            .await
            .is_err(),
        "a lost layer"
    );
}
