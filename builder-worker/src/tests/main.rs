//! Tests of the worker against real Nix, by concern.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what helps them"
)]

mod bench;
mod cache;
mod carry;
mod collect;
mod evaluate;
mod fixture;
mod isolation;
mod job;
mod merge;
mod pack;
mod process;
mod realise;
mod shop;
mod source;
mod status;
mod tree;
mod upload;
mod worker;
