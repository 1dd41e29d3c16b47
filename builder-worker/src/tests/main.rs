//! Tests of the worker against real Nix, by concern.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what helps them"
)]

mod bench;
mod evaluate;
mod fixture;
mod merge;
mod pack;
mod realise;
mod tree;
mod upload;
