//! # The worker: jobs in, package records out
//!
//! Work in progress: the map comes with the parts.

pub mod claims;
pub mod process;
pub mod source;
