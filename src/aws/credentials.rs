//! Credentials that are at hand, and renewed before they end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::RwLock;
use tracing::warn;

/// Credentials are renewed when they have less than this left: URLs that they sign are to live for a while.
const RENEW: Duration = Duration::from_secs(20 * 60);

/// After a renewal that brought nothing longer, the source is left alone for this time.
const PAUSE: Duration = Duration::from_secs(60);

/// The credentials of a source. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Renewed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: SharedCredentialsProvider,
    held: RwLock<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    credentials: Credentials,
    asked: SystemTime,
}

impl Held {
    fn is_good(&self, now: SystemTime) -> bool {
        let Some(expiry) = self.credentials.expiry() else {
            return true;
        };
        expiry > now + RENEW || (expiry > now && self.asked + PAUSE > now)
    }
}

impl Renewed {
    pub(crate) fn new(source: SharedCredentialsProvider) -> Self {
        Self(Arc::new(Inner {
            source,
            held: RwLock::new(None),
        }))
    }

    /// Those at hand, or new ones.
    ///
    /// # Errors
    /// Those of the source, when what is held has ended.
    pub(crate) async fn credentials(&self) -> aws_credential_types::provider::Result {
        let now = SystemTime::now();
        if let Some(held) = &*self.0.held.read().await
            && held.is_good(now)
        {
            return Ok(held.credentials.clone());
        }
        // one asks, the others wait for it
        let mut held = self.0.held.write().await;
        if let Some(held) = &*held
            && held.is_good(now)
        {
            return Ok(held.credentials.clone());
        }
        let credentials = match (self.0.source.provide_credentials().await, held.take()) {
            (Ok(new), _) => new,
            (Err(error), Some(old)) if old.credentials.expiry().is_some_and(|expiry| expiry > now) => {
                warn!(%error, "credentials cannot be renewed: going on with those that there are");
                old.credentials
            }
            (Err(error), _) => return Err(error),
        };
        *held = Some(Held {
            credentials: credentials.clone(),
            asked: now,
        });
        Ok(credentials)
    }
}

impl ProvideCredentials for Renewed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    /// A source whose credentials live for so many seconds; none when it is 0.
    #[derive(Debug)]
    struct Source(Arc<AtomicU64>, Arc<AtomicU64>);

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let asked = self.0.fetch_add(1, SeqCst);
            let result = match self.1.load(SeqCst) {
                0 => Err(aws_credential_types::provider::error::CredentialsError::not_loaded("gone")),
                life => {
                    let expiry = SystemTime::now() + Duration::from_secs(life);
                    Ok(Credentials::new(
                        format!("{asked}"),
                        "s",
                        None,
                        Some(expiry),
                        "test",
                    ))
                }
            };
            future::ProvideCredentials::ready(result)
        }
    }

    #[tokio::test]
    async fn the_source_is_asked_when_they_end_and_not_before() {
        let (asked, life) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(7200)));
        let source = Source(Arc::clone(&asked), Arc::clone(&life));
        let renewed = Renewed::new(SharedCredentialsProvider::new(source));
        for _ in 0..5 {
            assert_eq!(renewed.credentials().await.unwrap().access_key_id(), "0");
        }
        // what has little left is asked for anew, once, and not again for a while
        renewed.0.held.write().await.as_mut().unwrap().credentials =
            Credentials::new("old", "s", None, Some(SystemTime::now() + RENEW / 2), "test");
        renewed.0.held.write().await.as_mut().unwrap().asked = SystemTime::now() - PAUSE;
        life.store(60, SeqCst);
        assert_eq!(renewed.credentials().await.unwrap().access_key_id(), "1");
        assert_eq!(renewed.credentials().await.unwrap().access_key_id(), "1");
        // a source that fails is no reason to stop while there is time left
        renewed.0.held.write().await.as_mut().unwrap().asked = SystemTime::now() - PAUSE;
        life.store(0, SeqCst);
        assert_eq!(renewed.credentials().await.unwrap().access_key_id(), "1");
        renewed.0.held.write().await.as_mut().unwrap().credentials =
            Credentials::new("ended", "s", None, Some(SystemTime::now()), "test");
        assert!(renewed.credentials().await.is_err());
    }
}
