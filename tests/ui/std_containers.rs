#[derive(sal::Persist)]
#[repr(C)]
struct Named {
    name: String,
}

#[derive(sal::Persist)]
#[repr(u8)]
enum Listed {
    Numbers(Vec<u64>),
}

fn main() {}
