#[derive(sal::Persist)]
enum Shape {
    Circle(f64),
    Square(f64),
}

#[derive(sal::Persist)]
#[repr(C)]
enum PlatformTag {
    A,
    B,
}

fn main() {}
