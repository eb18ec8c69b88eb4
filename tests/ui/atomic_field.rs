#[derive(sal::Persist)]
#[repr(C)]
struct Counter {
    count: std::sync::atomic::AtomicU64,
}

fn main() {}
