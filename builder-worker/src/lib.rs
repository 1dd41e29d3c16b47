//! # The worker: jobs in, package records out
//!
//! The only process with Nix, and the only writer of package records. A job walks through these files:
//!
//! 1. [`worker`] takes it off the queue, keeps it alive, and settles it. [`claims`] tells those who wait what is being done.
//! 2. [`job`] does it: it is the order of all that follows.
//! 3. [`source`] finds out which revision a tag names, and gets the package set at that revision as a directory.
//! 4. [`evaluate`] turns attributes into derivations, all of a job in one process, or into the reason why not; [`near`] into
//!    suggestions.
//! 5. [`realise`] gets exactly the wanted outputs, substituted or built, and keeps them from being collected; [`events`] reads
//!    Nix's progress.
//! 6. [`mod@closure`] lists all that the outputs refer to, [`mod@plan`] cuts it into layers, [`pack`] makes them, [`upload`]
//!    stores those that are not stored yet, [`tree`] lists what the image's root may link to.
//! 7. [`mod@publish`] writes the record, last. Of a job that is given up, `failure` says so to those who wait.
//!
//! [`carry`] holds a tag that moves back until what people use of it is ready. [`collect`] keeps the disk of the Nix store
//! from filling up. [`meters`] counts, and [`status`] tells whoever asks.
//!
//! [`mod@merge`] joins stored layers for images that have too many. [`nix`] is Nix as it is found here, and [`process`] is the
//! only place that starts processes. [`config`] is read once.
//!
//! ## Invariants
//!
//! - Names reach Nix as data, in a file, and never as code or as an option.
//! - Outcomes are decided by exit codes and by what is valid; logs are text that anybody may have written.
//! - A sandbox is believed when a build was seen not to see the machine.
//! - What a job evaluates and builds is not collected: it holds the store until its roots stand.
//! - A record names only layers that are stored; a stored layer is believed only if its content is its digest's.

pub mod carry;
pub mod claims;
pub mod closure;
pub mod collect;
pub mod config;
pub mod evaluate;
pub mod events;
mod failure;
pub mod job;
pub mod merge;
pub mod meters;
pub mod near;
pub mod nix;
pub mod pack;
pub mod plan;
pub mod process;
pub mod publish;
pub mod realise;
pub mod source;
pub mod status;
mod taken;
pub mod tree;
pub mod upload;
mod words;
pub mod worker;
