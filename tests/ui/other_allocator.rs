use allocator_api2::{alloc::Global, vec::Vec};

#[derive(sal::Persist)]
#[repr(C)]
struct List {
    numbers: Vec<u64, Global>,
}

fn main() {}
