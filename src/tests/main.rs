//! Tests that need more than one part, by concern.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what fails here fails a test"
)]

mod calls;
mod commands;
mod faults;
mod fixture;
mod gcs;
mod messages;
mod program;
mod properties;
mod proxy;
mod publishing;
mod queue;
mod requests;
mod revisions;
mod service;
mod serving;
mod spec;
mod store;
mod waiting;
