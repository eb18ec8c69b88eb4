#[derive(sal::Persist)]
#[repr(C)]
struct Counted {
    shared: std::rc::Rc<u64>,
}

#[derive(sal::Persist)]
#[repr(C)]
struct Locked {
    lock: std::sync::Mutex<u64>,
}

fn main() {}
