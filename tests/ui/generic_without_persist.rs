#[derive(sal::Persist)]
#[repr(C)]
struct Wrapper<T> {
    value: T,
}

fn store<T: sal::Persist>() {}

fn store_any<T: Send + Sync + 'static>() {
    store::<Wrapper<T>>();
}

fn main() {
    store::<Wrapper<u8>>();
    store::<Wrapper<String>>();
    store_any::<u8>();
}
