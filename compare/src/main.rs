//! Runs one set of workloads under several global allocators.
fn main() {}
