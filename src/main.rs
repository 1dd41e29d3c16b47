//! The request function and its commands: wiring only.

fn main() {}
