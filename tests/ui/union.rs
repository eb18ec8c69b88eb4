#[derive(sal::Persist)]
#[repr(C)]
union Bits {
    number: u32,
    float: f32,
}

fn main() {}
