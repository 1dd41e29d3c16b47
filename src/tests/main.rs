//! Tests that need more than one part, by concern.
