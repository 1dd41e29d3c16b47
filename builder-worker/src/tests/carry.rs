//! A tag that moves: what is made ready before, and what does not hold it up.

use std::time::{Duration, Instant};

use laminix::job::Work;
use laminix::key::{Key, Subject, TagRef};
use laminix::name::Tag;
use laminix::record::{Next, PackageRecord, SourceRecord, now};
use laminix::source::Revision;
use laminix_builder::carry::Idle;
use laminix_builder::claims::{self, Progress};
use tokio::sync::{mpsc, watch};

use crate::shop::{Shop, until};

const SET: &str = r#"
{
  a = make "a-1" "echo > $out" { };
  b = make "b-1" "echo > $out" { };
  c = make "c-1" "echo > $out" { };
  bad = make "bad-1" "exit 1" { };
  slow = make "slow-1" "sleep 60; echo > $out" { };
  coreutils = make "coreutils-1" "echo > $out" { };
}
"#;

impl Shop {
    async fn do_work(&self, work: &Work) -> Option<Tag> {
        self.workshop.work(work, &Progress::new()).await.unwrap()
    }

    /// A first revision, which `latest` names and of which these images were pulled, and a second one that was seen.
    async fn about_to_move(&self, images: &[&str]) -> (Revision, Revision) {
        let old = self.commit(SET).await;
        assert_eq!(self.do_work(&self.resolve()).await, None);
        assert_eq!(
            self.named().await,
            (old.clone(), None),
            "the first look-up waits for nothing"
        );
        for image in images {
            self.pulled(&old, image).await;
        }
        let new = self.commit(SET).await;
        assert_eq!(self.do_work(&self.resolve()).await, Some(Tag::latest()));
        assert_eq!(self.named().await, (old.clone(), Some(new.clone())));
        (old, new)
    }

    async fn carry(&self) {
        let (_busy, places) = watch::channel(0);
        let idle = Idle::new(places, 1);
        self.workshop
            .carry(&Tag::latest(), &Progress::new(), &idle)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_used_is_ready_when_a_tag_moves() {
    let Some(shop) = Shop::open().await else { return };
    let (_, new) = shop.about_to_move(&["a", "a/b"]).await;
    shop.carry().await;
    assert_eq!(shop.named().await, (new.clone(), None));
    for (attribute, ready) in [("a", true), ("b", true), ("coreutils", true), ("c", false)] {
        assert_eq!(shop.is_ready(&new, attribute).await, ready, "{attribute}");
    }
    // of the base, what the set does not have is known not to be there: nobody has to ask for it
    assert!(matches!(
        shop.record(&new, "cacert").await,
        Some(PackageRecord::NotFound { .. })
    ));
    // of that revision nobody has pulled anything yet: the next move has nothing to wait for
    let newest = shop.commit(SET).await;
    shop.do_work(&shop.resolve()).await;
    shop.carry().await;
    assert_eq!(shop.named().await, (newest.clone(), None));
    assert!(!shop.is_ready(&newest, "a").await);
}

#[tokio::test]
async fn the_most_used_packages_are_carried_first() {
    // four of the base, and one
    let Some(shop) = Shop::with(5, Duration::from_secs(3600)).await else {
        return;
    };
    let (_, new) = shop.about_to_move(&["c", "b/c", "a/b"]).await;
    // of two that are in two images each, the one in the younger image
    tokio::time::sleep(Duration::from_millis(1100)).await;
    shop.pulled(&shop.named().await.0, "bad/c").await;
    shop.carry().await;
    assert_eq!(shop.named().await.0, new);
    for (attribute, ready) in [("c", true), ("b", false), ("a", false), ("coreutils", true)] {
        assert_eq!(shop.is_ready(&new, attribute).await, ready, "{attribute}");
    }
}

#[tokio::test]
async fn a_package_that_fails_holds_nothing_up() {
    let Some(shop) = Shop::open().await else { return };
    let (_, new) = shop.about_to_move(&["a/bad"]).await;
    shop.carry().await;
    assert_eq!(shop.named().await.0, new);
    assert!(shop.is_ready(&new, "a").await);
    assert!(matches!(
        shop.record(&new, "bad").await,
        Some(PackageRecord::Failed { .. })
    ));
}

#[tokio::test]
async fn a_tag_moves_when_its_time_is_up() {
    let Some(shop) = Shop::with(500, Duration::from_secs(3)).await else {
        return;
    };
    let (_, new) = shop.about_to_move(&["slow"]).await;
    let began = Instant::now();
    shop.carry().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(shop.named().await, (new.clone(), None));
    assert_eq!(shop.record(&new, "slow").await, None);
}

#[tokio::test]
async fn a_tag_moves_at_once_where_nothing_is_to_be_carried() {
    let Some(shop) = Shop::with(0, Duration::from_secs(3600)).await else {
        return;
    };
    let old = shop.commit(SET).await;
    shop.do_work(&shop.resolve()).await;
    shop.pulled(&old, "a").await;
    let new = shop.commit(SET).await;
    assert_eq!(shop.do_work(&shop.resolve()).await, None);
    assert_eq!(shop.named().await, (new, None));
}

#[tokio::test]
async fn a_tag_that_moves_again_goes_on_with_the_newest() {
    let Some(shop) = Shop::open().await else { return };
    let (_, second) = shop.about_to_move(&["a"]).await;
    let third = shop.commit(SET).await;
    shop.carry().await;
    assert_eq!(shop.named().await, (third.clone(), None));
    assert!(shop.is_ready(&third, "a").await && !shop.is_ready(&second, "a").await);
}

#[tokio::test]
async fn a_tag_that_moves_back_stays_where_it_is() {
    let Some(shop) = Shop::open().await else { return };
    let (old, second) = shop.about_to_move(&["a"]).await;
    shop.reset(&old).await;
    shop.carry().await;
    assert_eq!(shop.named().await, (old, None));
    assert!(!shop.is_ready(&second, "a").await);
}

/// A host that does not answer takes nothing away from those who pull.
#[tokio::test]
async fn what_was_named_before_outlives_a_job_that_is_given_up() {
    let Some(shop) = Shop::open().await else { return };
    shop.workshop.give_up(&shop.resolve()).await.unwrap();
    let bytes = shop.store.get(&Key::Source(shop.latest())).await.unwrap();
    assert!(matches!(
        serde_json::from_slice(&bytes.unwrap()).unwrap(),
        SourceRecord::Refused { .. }
    ));
    let (old, new) = shop.about_to_move(&["a"]).await;
    shop.workshop.give_up(&shop.resolve()).await.unwrap();
    assert_eq!(shop.named().await, (old, Some(new)));
}

/// What the operator has named may be out of reach of its own host for a while.
#[tokio::test]
async fn what_was_named_before_outlives_a_look_up_that_finds_nothing() {
    let Some(shop) = Shop::open().await else { return };
    // nothing is there yet: whoever pulls is told so
    assert_eq!(shop.do_work(&shop.resolve()).await, None);
    let bytes = shop.store.get(&Key::Source(shop.latest())).await.unwrap();
    assert!(matches!(
        serde_json::from_slice(&bytes.unwrap()).unwrap(),
        SourceRecord::Refused { .. }
    ));
    let (old, new) = shop.about_to_move(&["a"]).await;
    shop.lose_branch().await;
    let looked = shop.workshop.work(&shop.resolve(), &Progress::new()).await;
    assert!(looked.unwrap_err().to_string().contains("no default branch"));
    assert_eq!(shop.named().await, (old, Some(new)));
}

#[tokio::test]
async fn others_go_first() {
    let Some(shop) = Shop::open().await else { return };
    let (old, new) = shop.about_to_move(&["a"]).await;
    let (busy, places) = watch::channel(2);
    let idle = Idle::new(places, 2);
    let (tag, progress) = (Tag::latest(), Progress::new());
    let mut carry = Box::pin(shop.workshop.carry(&tag, &progress, &idle));
    let waited = tokio::time::timeout(Duration::from_secs(2), &mut carry).await;
    assert!(waited.is_err() && shop.record(&new, "a").await.is_none());
    assert_eq!(shop.named().await.0, old);
    busy.send_replace(1);
    carry.await.unwrap();
    assert_eq!(shop.named().await.0, new);
}

/// A message that is delivered again is the only one there is: the worker completes it when its carry ends.
#[tokio::test]
async fn a_second_carry_of_a_tag_ends_with_the_first() {
    let Some(shop) = Shop::open().await else { return };
    let (_, new) = shop.about_to_move(&["a"]).await;
    let (busy, places) = watch::channel(1);
    let idle = Idle::new(places, 1);
    let (tag, progress) = (Tag::latest(), Progress::new());
    let carry = || Box::pin(shop.workshop.carry(&tag, &progress, &idle));
    let (mut first, mut second) = (carry(), carry());
    let both = async { tokio::join!(&mut first, &mut second) };
    let waited = tokio::time::timeout(Duration::from_secs(1), both).await;
    assert!(waited.is_err());
    let waited = tokio::time::timeout(Duration::from_secs(1), &mut second).await;
    assert!(waited.is_err(), "the second says that it is done");
    busy.send_replace(0);
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    second.unwrap();
    assert_eq!(shop.named().await, (new, None));
}

/// A revision that was pushed away, say. When the tag names another one, that is what it goes on with.
#[tokio::test]
async fn a_package_set_that_cannot_be_had_holds_up_no_other_tag() {
    let Some(shop) = Shop::open().await else { return };
    let (old, new) = shop.about_to_move(&["a"]).await;
    let lost = TagRef {
        tag: "lost".parse().unwrap(),
        ..shop.latest()
    };
    let record = SourceRecord::Resolved {
        revision: old.clone(),
        at: now(),
        fixed: false,
        next: Some(Next {
            revision: "0".repeat(40).parse().unwrap(),
            since: now(),
        }),
    };
    let body = serde_json::to_vec(&record).unwrap();
    shop.store
        .put(&Key::Source(lost.clone()), body.into())
        .await
        .unwrap();
    let (_busy, places) = watch::channel(0);
    let idle = Idle::new(places, 1);
    let progress = Progress::new();
    let mut first = Box::pin(shop.workshop.carry(&lost.tag, &progress, &idle));
    // long enough to ask for it in vain
    let waited = tokio::time::timeout(Duration::from_secs(3), &mut first).await;
    assert!(waited.is_err());
    let other = async {
        let moved = tokio::time::timeout(Duration::from_secs(20), shop.carry()).await;
        assert!(moved.is_ok(), "it waits for the other tag");
        assert_eq!(shop.named().await, (new.clone(), None));
        shop.branch("lost").await;
    };
    let both = async { tokio::join!(first, other) };
    let (first, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    first.unwrap();
    let bytes = shop.store.get(&Key::Source(lost)).await.unwrap().unwrap();
    let record = serde_json::from_slice(&bytes).unwrap();
    assert!(
        matches!(&record, SourceRecord::Resolved { revision, next: None, .. } if *revision == new),
        "{record:?}"
    );
}

/// What is made ready beforehand is ready for those who pull now, and for those who pull when the tag has moved.
#[tokio::test]
async fn an_image_is_warmed_at_both_revisions() {
    let Some(shop) = Shop::open().await else { return };
    let (old, new) = shop.about_to_move(&["a"]).await;
    let warm = shop.warm("c");
    assert_eq!(shop.do_work(&warm).await, Some(Tag::latest()));
    assert!(shop.is_ready(&old, "c").await && shop.is_ready(&new, "c").await);
    assert_eq!(shop.named().await.0, old);
}

/// The tag has a job of its own, which carries it and keeps the claim.
#[tokio::test]
async fn who_warms_an_image_carries_no_tag_that_another_worker_carries() {
    let Some(shop) = Shop::open().await else { return };
    let (old, new) = shop.about_to_move(&["slow"]).await;
    let subjects = [Subject::Tag(shop.latest())];
    let carrying = Progress::new();
    carrying.say("carrying it elsewhere");
    shop.send(shop.warm("c")).await;
    let (stop, mut stops) = mpsc::channel::<()>(1);
    let running = shop.worker(1, Duration::ZERO).run(async || {
        stops.recv().await;
    });
    let script = async {
        let done = until("the job is done with", async || {
            shop.is_ready(&new, "c").await && shop.queue.depth().await.unwrap().running == 0
        });
        tokio::select! {
            () = done => {}
            () = claims::keep(&shop.store, &subjects, &carrying) => {}
        }
        stop.send(()).await.unwrap();
        stop
    };
    tokio::join!(running, script);
    assert_eq!(shop.named().await, (old, Some(new)));
    assert_eq!(shop.queue.depth().await.unwrap().waiting, 0);
    let claim = shop.claim(&subjects[0].claim()).await.unwrap();
    assert_eq!(claim.phase, "carrying it elsewhere");
}

/// A claim that was left by its own first attempt stops no carry: there may be no other message about the tag.
#[tokio::test]
async fn a_tag_is_carried_when_the_job_that_warmed_an_image_comes_again() {
    let Some(shop) = Shop::open().await else { return };
    let (_, new) = shop.about_to_move(&["a"]).await;
    claims::hand_on(&shop.store, &[Subject::Tag(shop.latest())]).await;
    shop.send(shop.warm("c")).await;
    let first = shop.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    shop.queue.extend(&first.receipt, Duration::ZERO).await.unwrap();
    let (stop, mut stops) = mpsc::channel::<()>(1);
    let running = shop.worker(1, Duration::ZERO).run(async || {
        stops.recv().await;
    });
    let script = async {
        until("the tag has moved", async || {
            shop.named().await == (new.clone(), None)
        })
        .await;
        stop.send(()).await.unwrap();
        stop
    };
    tokio::join!(running, script);
}

/// A carry takes no place, keeps its claim, and is given back at once when its worker drains; the next one finishes it.
#[tokio::test]
async fn a_carry_goes_from_worker_to_worker_and_blocks_nobody() {
    let Some(shop) = Shop::open().await else { return };
    let (old, new) = shop.about_to_move(&["slow"]).await;
    let claim = Subject::Tag(shop.latest()).claim();
    shop.send(shop.resolve()).await;
    let (stop, mut stops) = mpsc::channel::<()>(1);
    let running = shop.worker(1, Duration::from_secs(60)).run(async || {
        stops.recv().await;
    });
    let script = async {
        until("the carry says what it does", async || {
            let claim = shop.claim(&claim).await;
            claim.is_some_and(|claim| claim.phase.starts_with("carrying `latest` over to"))
        })
        .await;
        // the only place is free for others, also while a package is being made
        shop.send(shop.build(&old, &["b"])).await;
        until("another job is done", async || shop.is_ready(&old, "b").await).await;
        stop.send(()).await.unwrap();
        stop
    };
    let began = Instant::now();
    tokio::join!(running, script);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(shop.named().await.0, old);
    let again = shop.queue.receive(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((again.attempt, again.job.unwrap().work), (2, shop.resolve()));
    assert!(shop.claim(&claim).await.is_some());
    // whoever gets it next passes over what has a record
    shop.workshop
        .store
        .put(
            &Key::Package(shop.package(&new, "slow")),
            serde_json::to_vec(&PackageRecord::NotFound { near: Vec::new() })
                .unwrap()
                .into(),
        )
        .await
        .unwrap();
    assert_eq!(shop.do_work(&shop.resolve()).await, Some(Tag::latest()));
    shop.carry().await;
    assert_eq!(shop.named().await, (new, None));
}
