use allocator_api2::boxed::Box;
use sal::SalAlloc;

trait Draw: Send + Sync {}

#[derive(sal::Persist)]
#[repr(C)]
struct Scene {
    first: Box<dyn Draw, SalAlloc>,
}

fn main() {}
