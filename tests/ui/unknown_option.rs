#[derive(sal::Persist)]
#[repr(C)]
#[persist(same_bild)]
struct Misspelt {
    number: u32,
}

#[derive(sal::Persist)]
#[repr(C)]
struct Misplaced {
    #[persist(same_build)]
    number: u32,
}

fn main() {}
