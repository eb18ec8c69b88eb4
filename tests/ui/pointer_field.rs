#[derive(sal::Persist)]
#[repr(C)]
struct Points {
    to: *const u8,
}

#[derive(sal::Persist)]
#[repr(C)]
struct Calls {
    function: fn(),
}

fn main() {}
