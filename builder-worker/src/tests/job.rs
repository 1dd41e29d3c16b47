//! A job of several packages: what becomes of the others when one is in trouble.

use std::fs;

use laminix::key::Key;
use laminix_builder::claims::Progress;

use crate::bench::{is_running, long_time};
use crate::shop::{Shop, until};

const SET: &str = r#"
{
  a = make "a-1" "sleep 4.0TIME; echo > $out" { };
  b = make "b-1" "echo > $out" { };
}
"#;

#[tokio::test]
async fn a_package_that_cannot_be_packed_takes_no_other_with_it() {
    let Some(shop) = Shop::open().await else { return };
    let time = long_time(25);
    let revision = shop.commit(&SET.replace("TIME", &time)).await;
    let work = shop.build(&revision, &["a", "b"]);
    let progress = Progress::new();
    let record = Key::Package(shop.package(&revision, "a")).path();
    let script = async {
        until("it builds", async || is_running(&time)).await;
        // a directory is in the way of the first one's record
        fs::create_dir_all(shop.home.path().join("store").join(record).join("x")).unwrap();
    };
    let (done, ()) = tokio::join!(shop.workshop.work(&work, &progress), script);
    let error = format!("{:#}", done.unwrap_err());
    assert!(error.starts_with("a: packing: "), "{error}");
    assert!(shop.is_ready(&revision, "b").await);
}
