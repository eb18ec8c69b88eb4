#[derive(sal::Persist)]
#[repr(C)]
struct Maybe {
    number: Option<u32>,
}

fn main() {}
