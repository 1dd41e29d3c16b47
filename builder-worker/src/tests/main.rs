//! Tests of the worker against real Nix, by concern.
