//! A spool directory as the queue.

use std::path::Path;
use std::time::Duration;

use super::{Delivery, Depth, QueueError};
use crate::job::Job;

/// A queue in a directory.
#[derive(Debug, Clone)]
pub struct SpoolQueue {}

/// A delivery of a spool.
#[derive(Debug, Clone)]
pub struct Receipt {}

impl SpoolQueue {
    pub(super) async fn open(_directory: &Path) -> Result<Self, String> {
        todo!()
    }

    pub(super) async fn send(&self, _job: &Job) -> Result<(), QueueError> {
        todo!()
    }

    pub(super) async fn receive(&self, _wait: Duration) -> Result<Option<Delivery>, QueueError> {
        todo!()
    }

    pub(super) async fn extend(&self, _receipt: &Receipt, _time: Duration) -> Result<(), QueueError> {
        todo!()
    }

    pub(super) async fn complete(&self, _receipt: &Receipt) -> Result<(), QueueError> {
        todo!()
    }

    pub(super) async fn give_back(
        &self,
        _: &Receipt,
        _delay: Duration,
        _reason: &str,
    ) -> Result<bool, QueueError> {
        todo!()
    }

    pub(super) async fn park(&self, _receipt: &Receipt, _reason: &str) -> Result<(), QueueError> {
        todo!()
    }

    pub(super) async fn depth(&self) -> Result<Depth, QueueError> {
        todo!()
    }
}
