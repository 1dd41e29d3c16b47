//! # The worker: jobs in, package records out
//!
//! Work in progress: the map comes with the parts.

pub mod claims;
pub mod closure;
pub mod config;
pub mod evaluate;
pub mod events;
pub mod job;
pub mod merge;
pub mod near;
pub mod nix;
pub mod pack;
pub mod plan;
pub mod process;
pub mod publish;
pub mod realise;
pub mod source;
pub mod tree;
pub mod upload;
pub mod worker;
