#[derive(sal::Persist)]
#[repr(C, packed)]
struct Packed {
    small: u8,
    large: u64,
}

#[derive(sal::Persist)]
#[repr(packed(2))]
#[persist(same_build)]
struct PackedAnyhow {
    small: u8,
    large: u64,
}

fn main() {}
