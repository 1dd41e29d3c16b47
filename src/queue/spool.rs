//! A spool directory as the queue, for one machine.
//!
//! A message is a file, and its state is where the file lies:
//!
//! | directory | name | meaning |
//! |---|---|---|
//! | `waiting/` | `<anything>.json` | to be delivered, oldest name first |
//! | `running/` | `<visible from, ms>-<attempt>-<name>` | delivered; delivered again from that time on |
//! | `parked/` | `<name>` with `<name>.reason` beside it | failed for good |
//!
//! Every change of state is one rename, so of several receivers one gets a message, and whoever is killed leaves it in one
//! of the three. An operator sends a job by moving a file into `waiting`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Delivery, Depth, Queue, QueueError, Receipt as AnyReceipt, Redrive};
use crate::job::Job;

/// How often a receiver that waits looks again.
const LOOK: Duration = Duration::from_millis(100);

/// A queue in a directory. Clones share it.
#[derive(Debug, Clone)]
pub struct SpoolQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    visibility: Duration,
}

/// A delivery: the file's name while it is running. Extending a delivery changes the name, so it is shared.
#[derive(Debug, Clone)]
pub struct Receipt(Arc<std::sync::Mutex<Running>>);

/// The name of a message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    visible: u128,
    attempt: u32,
    name: String,
}

impl Running {
    fn parse(file: &str) -> Option<Self> {
        let (visible, rest) = file.split_once('-')?;
        let (attempt, name) = rest.split_once('-')?;
        Some(Self {
            visible: visible.parse().ok()?,
            attempt: attempt.parse().ok()?,
            name: name.to_owned(),
        })
    }

    fn file(&self) -> String {
        format!("{:013}-{}-{}", self.visible, self.attempt, self.name)
    }
}

impl SpoolQueue {
    /// Opens the queue in a directory, and makes it where there is none.
    ///
    /// # Errors
    /// A sentence for the operator, when the directory cannot be written.
    pub async fn open(root: &Path) -> Result<Self, String> {
        Self::open_with(root, Queue::VISIBILITY).await
    }

    /// The same with another visibility time, which all processes of a queue must share.
    ///
    /// # Errors
    /// A sentence for the operator, when the directory cannot be written.
    pub async fn open_with(root: &Path, visibility: Duration) -> Result<Self, String> {
        if !root.is_absolute() {
            return Err(format!(
                "the queue's directory must be absolute, and `{}` is not",
                root.display()
            ));
        }
        for state in ["drafts", "waiting", "running", "parked"] {
            fs::create_dir_all(root.join(state))
                .map_err(|error| format!("cannot use the queue's directory: {error}"))?;
        }
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            visibility,
        })))
    }

    pub(super) async fn send(&self, job: &Job) -> Result<(), QueueError> {
        let body = job.to_json().map_err(|error| QueueError("send", error.into()))?;
        self.blocking("send", move |inner| {
            let mut draft = tempfile::Builder::new().tempfile_in(inner.root.join("drafts"))?;
            draft.write_all(body.as_bytes())?;
            draft.as_file().sync_all()?;
            // the time keeps the order, the random name of the draft keeps messages of one moment apart
            let random = draft
                .path()
                .file_name()
                .map(|name| name.to_string_lossy().replace('.', ""))
                .unwrap_or_default();
            let name = format!("{:013}-{random}.json", millis(SystemTime::now()));
            draft
                .persist_noclobber(inner.root.join("waiting").join(name))
                .map_err(|error| error.error)?;
            sync(&inner.root.join("waiting"))
        })
        .await
    }

    pub(super) async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(delivery) = self.blocking("receive", Inner::take).await? {
                return Ok(Some(delivery));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK.min(left)).await;
        }
    }

    pub(super) async fn extend(&self, receipt: &Receipt, time: Duration) -> Result<(), QueueError> {
        let receipt = receipt.clone();
        self.blocking("extend", move |inner| {
            let mut running = receipt.lock();
            let longer = Running {
                visible: millis(SystemTime::now() + time),
                ..running.clone()
            };
            let directory = inner.root.join("running");
            // fails when the message has been delivered to another worker: its name is another then
            fs::rename(directory.join(running.file()), directory.join(longer.file()))?;
            *running = longer;
            Ok(())
        })
        .await
    }

    pub(super) async fn complete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let receipt = receipt.clone();
        self.blocking("complete", move |inner| {
            fs::remove_file(inner.root.join("running").join(receipt.lock().file()))?;
            sync(&inner.root.join("running"))
        })
        .await
    }

    pub(super) async fn give_back(
        &self,
        receipt: &Receipt,
        delay: Duration,
        reason: &str,
    ) -> Result<bool, QueueError> {
        if receipt.lock().attempt >= Queue::ATTEMPTS {
            return self.park(receipt, reason).await.map(|()| true);
        }
        self.extend(receipt, delay).await.map(|()| false)
    }

    pub(super) async fn park(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        let (receipt, reason) = (receipt.clone(), reason.to_owned());
        self.blocking("park", move |inner| {
            let running = receipt.lock().clone();
            inner.park(&running, &reason)
        })
        .await
    }

    pub(super) async fn depth(&self) -> Result<Depth, QueueError> {
        self.blocking("depth", |inner| {
            Ok(Depth {
                waiting: inner.names("waiting")?.len(),
                running: inner.names("running")?.len(),
                parked: inner
                    .names("parked")?
                    .iter()
                    .filter(|name| !name.ends_with(".reason"))
                    .count(),
            })
        })
        .await
    }

    pub(super) fn redrive(&self) -> Redrive {
        Redrive {
            to: self.0.root.join("parked").display().to_string(),
            after: Queue::ATTEMPTS,
        }
    }

    pub(super) async fn oldest(&self) -> Result<Option<Duration>, QueueError> {
        self.blocking("depth", |inner| {
            // a file that was moved in by hand has any name, so its own time counts
            let times = inner.names("waiting")?.into_iter().filter_map(|name| {
                let written = fs::metadata(inner.root.join("waiting").join(name)).ok()?;
                written.modified().ok()
            });
            Ok(times.min().map(|oldest| oldest.elapsed().unwrap_or_default()))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        at: &'static str,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result.map_err(|error| QueueError(at, error.into())),
            Err(stopped) => Err(QueueError(at, stopped.into())),
        }
    }
}

impl Receipt {
    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        // nothing panics while it holds the lock; if it did, the name is still whole
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    /// The next message: one whose delivery has run out before one that was never delivered.
    fn take(&self) -> io::Result<Option<Delivery>> {
        let now = millis(SystemTime::now());
        for file in self.names("running")? {
            // names sort by the time from which they are visible
            let Some(running) = Running::parse(&file).filter(|running| running.visible <= now) else {
                break;
            };
            if running.attempt >= Queue::ATTEMPTS {
                self.park(&running, "every worker that took the job ended without a word")?;
            } else if let Some(delivery) =
                self.deliver("running", &file, running.attempt + 1, running.name)?
            {
                return Ok(Some(delivery));
            }
        }
        for file in self.names("waiting")? {
            if let Some(delivery) = self.deliver("waiting", &file, 1, file.clone())? {
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    /// Takes a message, unless another receiver was faster.
    fn deliver(&self, state: &str, file: &str, attempt: u32, name: String) -> io::Result<Option<Delivery>> {
        let running = Running {
            visible: millis(SystemTime::now() + self.visibility),
            attempt,
            name,
        };
        let place = self.root.join("running").join(running.file());
        match fs::rename(self.root.join(state).join(file), &place) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let job = Job::parse(&fs::read(&place)?);
        let receipt = AnyReceipt::Spool(Receipt(Arc::new(std::sync::Mutex::new(running))));
        Ok(Some(Delivery {
            job,
            attempt,
            receipt,
        }))
    }

    fn park(&self, running: &Running, reason: &str) -> io::Result<()> {
        let parked = self.root.join("parked");
        fs::write(parked.join(format!("{}.reason", running.name)), reason)?;
        match fs::rename(
            self.root.join("running").join(running.file()),
            parked.join(&running.name),
        ) {
            // somebody else has parked it
            Err(error) if error.kind() == io::ErrorKind::NotFound && parked.join(&running.name).exists() => {
                Ok(())
            }
            result => result.and_then(|()| sync(&parked)),
        }
    }

    /// The messages of a state, in order. Other files are nobody's message.
    fn names(&self, state: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(state))? {
            if let Ok(name) = entry?.file_name().into_string()
                && !name.starts_with('.')
                && (state != "waiting" || name.ends_with(".json"))
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn millis(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_millis())
}
