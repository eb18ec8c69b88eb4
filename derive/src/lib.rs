//! The procedural macro behind `#[derive(Persist)]` of the `sal` crate.
