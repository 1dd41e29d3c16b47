//! # Laminix: a container registry whose images are made on demand from Nix packages
//!
//! Work in progress: the map comes with the parts.

pub mod archive;
pub mod body;
pub mod compose;
pub mod config;
pub mod digest;
pub mod gzip;
pub mod job;
pub mod key;
pub mod log;
pub mod name;
pub mod queue;
pub mod record;
pub mod registry;
pub mod route;
pub mod server;
pub mod source;
pub mod store;
pub mod wait;
