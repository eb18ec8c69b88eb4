#[derive(sal::Persist)]
#[repr(C)]
struct Borrows {
    text: &'static str,
}

#[derive(sal::Persist)]
#[repr(C)]
struct BorrowsFor<'a> {
    text: &'a str,
}

fn main() {}
