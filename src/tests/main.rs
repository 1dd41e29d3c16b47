//! Tests that need more than one part, by concern.

mod fixture;
mod queue;
mod requests;
mod serving;
mod spec;
mod store;
mod waiting;
