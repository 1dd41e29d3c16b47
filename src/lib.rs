//! # Laminix: a container registry whose images are made on demand from Nix packages
//!
//! `docker pull HOST/shell/git/python3`: every component of the path is a package. The request function answers, an object
//! store holds everything, and a worker (the crate `laminix-builder`) is needed only for a package that nobody has asked for
//! before. This crate is the function, and what function and worker share.
//!
//! ## Images are composed, not built
//!
//! Store paths never change and never overlap, so layers of store paths commute. A worker writes a *record* of every package:
//! its layers, and what is in its outputs ([`record`]). An image is a set of records; the function makes its root layer,
//! config and manifest by a pure function ([`mod@compose`]). Which layer a store path goes into depends on the path and its
//! package, never on what else was asked for.
//!
//! ## The way of a pull
//!
//! 1. [`server`] takes a request, or [`lambda`] does behind a function URL; [`route`] reads it from the end of its path,
//!    [`registry`] answers.
//! 2. [`name`] turns the repository's name into attributes and a system; [`source`] says what the tag may mean.
//! 3. The tag's revision is read from the store. One that is unknown is asked of a worker; one that is old is answered at
//!    once, and asked for anew in the background.
//! 4. The image is in the cache: that is one read. Or it is not: the records of all its packages are read side by side. They
//!    are all there: the image is composed, and published, its pointer last.
//! 5. Records are missing: [`wait`] claims them, sends one [`job`] over the [`queue`], and looks until they are there. After
//!    25 s the client is redirected to the same address, because some give up on headers after 30 s; after 8 hops it is told
//!    who is at work since when.
//! 6. Blobs are redirects to URLs that the [`store`] signs, with no call to it.
//!
//! ## Where it runs
//!
//! [`config`] reads the variables of the process, and nothing else does. [`Store`](store::Store) and [`Queue`](queue::Queue)
//! are what a URL says: directories, S3 and SQS (both by `aws`: credentials, retries, kinds of errors), or Google's storage.
//! [`command`] has what operators type: `warm`, `status`, `doctor`. [`mod@log`] writes for people or for CloudWatch.
//!
//! ## Invariants
//!
//! - [`key::Key`] owns the layout of the bucket; keys hold everything that their content depends on.
//! - Nothing is named before it is stored, and every write is whole or not at all.
//! - Same packages, same bytes: composition and [`archive`] know no clock, no randomness and no machine.
//! - Claims save work; correctness never depends on them. Every job can be done twice.
//! - What a client sees is in [`registry::error`]; internals are logged once and never sent.

mod address;
pub mod archive;
mod aws;
pub mod body;
pub mod command;
pub mod compose;
pub mod config;
mod connector;
pub mod digest;
pub mod gzip;
pub mod job;
pub mod key;
pub mod lambda;
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
