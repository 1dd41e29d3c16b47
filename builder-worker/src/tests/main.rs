//! Tests of the worker against real Nix, by concern.

mod fixture;
mod merge;
mod pack;
mod tree;
mod upload;
