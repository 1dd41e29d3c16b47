//! Tests that need more than one part, by concern.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what fails here fails a test"
)]

mod fixture;
mod queue;
mod requests;
mod serving;
mod spec;
mod store;
mod waiting;
