//! What only the crate itself can test.
