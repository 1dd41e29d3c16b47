//! Does the store do what is asked of it, for these credentials, and how fast?

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::{Report, advice};
use crate::command::{Lookup, words};
use crate::digest::Digest;
use crate::key::Key;
use crate::record::Claim;
use crate::store::{Identity, Signer, Store, StoreError};

/// A warm pull reads twice, one after the other: beyond this, people notice.
const SLOW: Duration = Duration::from_millis(250);

/// Opens the store and tries it: the store, and whether it does its part. One that does not can still tell the time.
pub(super) async fn check(url: &str, variables: &Lookup<'_>, report: &mut Report) -> Option<(Store, bool)> {
    let opened = Store::open(url, variables).await;
    let store = match opened {
        Ok(store) => store,
        Err(problem) => {
            let (short, advice) = advice::of_text(&problem);
            report.failed("store", &short, advice);
            return None;
        }
    };
    if !credentials(&store, report).await {
        return None;
    }
    let works = match tries(&store).await {
        Ok(tries) => {
            tell(&tries, report);
            true
        }
        Err(error) => {
            let (short, advice) = advice::of(&error);
            report.failed("store", &short, advice);
            false
        }
    };
    Some((store, works))
}

/// Whether there are any.
async fn credentials(store: &Store, report: &mut Report) -> bool {
    let check = "credentials";
    match store.identity().await {
        Ok(Identity::Files) => report.ok(check, "a directory needs none"),
        Ok(Identity::AccessKey { id, ends: None }) => {
            report.ok(
                check,
                &format!("access key {id}, which does not say when it ends"),
            );
        }
        Ok(Identity::AccessKey { id, ends: Some(ends) }) => match ends.duration_since(SystemTime::now()) {
            Ok(left) => report.ok(
                check,
                &format!(
                    "access key {id}, renewed before it ends in {}",
                    words::span(left.as_secs())
                ),
            ),
            Err(_) => report.failed(
                check,
                &format!("access key {id} has ended"),
                "get new credentials, or a role that renews them",
            ),
        },
        Ok(Identity::Google(Signer::Own(email))) => {
            report.ok(check, &format!("{email}, with its key at hand"));
        }
        Ok(Identity::Google(Signer::Remote(email))) => report.ok(
            check,
            &format!("{email}, whose URLs Google signs: a call for each blob"),
        ),
        Ok(Identity::Google(Signer::Nobody)) => report.warning(
            check,
            "nobody signs URLs: clients can pull only if the bucket is public",
            "set GCS_SIGNING_KEY and GCS_SIGNING_ACCOUNT, or a service account's file",
        ),
        Err(error) => {
            let (short, advice) = advice::of(&error);
            report.failed(check, &short, advice);
            return false;
        }
    }
    true
}

/// What was measured.
struct Tries {
    create: Duration,
    read: Duration,
    delete: Duration,
    /// Whether an object that was there was created once more.
    twice: bool,
    /// Whether what was read was what was written, and nothing once it was deleted.
    faithful: bool,
}

/// A claim that nothing uses, that stands behind nothing, and that nobody else has the name of.
async fn tries(store: &Store) -> Result<Tries, StoreError> {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos());
    let key = Key::Claim(Digest::of(
        format!("laminix doctor {nanos} {}", std::process::id()).as_bytes(),
    ));
    let claim = Claim {
        since: 0,
        seen: 0,
        phase: "laminix doctor".to_owned(),
    };
    let body = serde_json::to_vec(&claim).map_err(|error| StoreError::Broken("create", error.into()))?;
    let body = Bytes::from(body);
    // the first call makes the connection, and is not what a pull feels
    let absent = store.get(&key).await?.is_none();
    let began = Instant::now();
    let created = store.create(&key, body.clone()).await?;
    let create = began.elapsed();
    let used = async {
        let twice = store.create(&key, body.clone()).await?;
        let began = Instant::now();
        let same = store.get(&key).await?.is_some_and(|read| read == body);
        Ok((twice, same, began.elapsed()))
    }
    .await;
    // it is taken back also when something failed
    let began = Instant::now();
    store.delete(&key).await?;
    let delete = began.elapsed();
    let (twice, same, read) = used?;
    let gone = store.get(&key).await?.is_none();
    Ok(Tries {
        create,
        read,
        delete,
        twice,
        faithful: absent && created && same && gone,
    })
}

fn tell(tries: &Tries, report: &mut Report) {
    let times = format!(
        "an object is created in {}, read in {}, deleted in {}",
        words::took(tries.create),
        words::took(tries.read),
        words::took(tries.delete)
    );
    if !tries.faithful {
        report.failed(
            "store",
            "what was written was not read back, or was there before and after",
            "reads must see writes at once: take away any cache between the registry and the store",
        );
    } else if tries.read > SLOW {
        report.warning(
            "store",
            &times,
            "a warm pull reads twice: put the store and the registry into one region",
        );
    } else {
        report.ok("store", &times);
    }
    if tries.twice {
        report.warning(
            "store",
            "an object that is there can be created again: the store ignores `If-None-Match: *`",
            "nothing breaks, but work may be done twice when many ask for the same at once",
        );
    } else {
        report.ok("store", "an object that is there is not created again");
    }
}
