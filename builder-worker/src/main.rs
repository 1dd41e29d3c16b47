//! The worker: wiring only.

fn main() {}
