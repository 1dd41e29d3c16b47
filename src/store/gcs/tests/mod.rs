//! The store against a server that does what it is told.

mod access;
mod fake;
mod faults;
mod transfer;
