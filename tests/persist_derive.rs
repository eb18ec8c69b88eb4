//! `#[derive(Persist)]`: what it describes is what the compiler lays out, and it tells types apart.
#![forbid(unsafe_code)]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

use allocator_api2::{boxed::Box, vec::Vec};
use sal::persist::{BlockVisitor, Field, Node, TypeDescription};
use sal::{Persist, SalAlloc};
use std::{marker::PhantomData, num::NonZero};

#[derive(Persist, Clone, Copy)]
#[repr(C)]
struct Mixed {
    small: u8,
    r#large: u64,
    tuple: (u8, u32),
    maybe: Option<NonZero<u16>>,
}

#[derive(Persist)]
#[repr(transparent)]
struct Id<T>(u64, PhantomData<T>);

#[derive(Persist)]
#[repr(C)]
struct Unit;

#[derive(Persist)]
#[repr(C, align(32))]
struct Matrix<T, const ROWS: usize>
where
    T: Copy,
{
    cells: [[T; 3]; ROWS],
}

#[derive(Persist)]
#[repr(C)]
struct Tree {
    name: Vec<u8, SalAlloc>,
    children: Vec<Tree, SalAlloc>,
}

#[derive(Persist, Clone, Copy)]
#[repr(i16)]
enum Fieldless {
    Low = -300,
    Next,
    High = 0x7000,
}

#[derive(Persist)]
#[repr(u8)]
enum Tagged<T> {
    Nothing,
    Pair(u8, u64) = 7,
    Named { flag: bool, value: T, end: u16 },
    Tail(Box<T, SalAlloc>),
}

#[derive(Persist)]
#[repr(C, u8)]
enum CTagged {
    Byte(u8),
    Pair { first: u8, second: u128 },
    Again(Vec<Self, SalAlloc>),
}

#[derive(Persist)]
#[persist(same_build)]
struct Anyhow {
    small: u8,
    large: u64,
    other: u16,
}

#[derive(Persist)]
#[persist(same_build)]
enum AnyEnum {
    Nothing,
    Something(Box<u32, SalAlloc>),
}

fn root<T: Persist>() -> (TypeDescription, Node) {
    let description = TypeDescription::of::<T>();
    let node = description.nodes()[description.root().index()].clone();
    (description, node)
}

fn offsets(fields: &[Field]) -> std::vec::Vec<(&str, usize)> {
    fields.iter().map(|field| (field.name.as_ref(), field.offset as usize)).collect()
}

fn fields_of<T: Persist>() -> std::vec::Vec<Field> {
    let (_, Node::Struct { size, align, fields, .. }) = root::<T>() else { panic!("not a struct") };
    assert_eq!((size, align), (size_of::<T>() as u64, align_of::<T>() as u64));
    fields
}

fn variant_of<T: Persist>(variant: &str) -> (i128, std::vec::Vec<Field>) {
    let (_, Node::Enum { size, align, variants, .. }) = root::<T>() else { panic!("not an enum") };
    assert_eq!((size, align), (size_of::<T>() as u64, align_of::<T>() as u64));
    let variant = variants.into_iter().find(|other| other.name == variant).expect("such a variant");
    (variant.discriminant, variant.fields)
}

/// Where `part` of `whole` really is.
fn offset_in<T, P>(whole: &T, part: &P) -> usize {
    std::ptr::from_ref(part).addr() - std::ptr::from_ref(whole).addr()
}

fn difference<Stored: Persist, Asked: Persist>() -> Option<String> {
    let stored = TypeDescription::decode(&TypeDescription::of::<Stored>().encode()).expect("just encoded");
    stored.difference(&TypeDescription::of::<Asked>()).map(|difference| difference.to_string())
}

#[test]
fn struct_offsets_are_the_real_ones() {
    let value = Mixed { small: 1, large: 2, tuple: (3, 4), maybe: None };
    let real = [
        ("small", offset_in(&value, &value.small)),
        ("large", offset_in(&value, &value.large)),
        ("tuple", offset_in(&value, &value.tuple)),
        ("maybe", offset_in(&value, &value.maybe)),
    ];
    assert_eq!(offsets(&fields_of::<Mixed>()), real);
    assert_eq!(offsets(&fields_of::<Id<u8>>()), [("0", 0), ("1", 0)]);
    assert_eq!(offsets(&fields_of::<Matrix<u8, 2>>()), [("cells", 0)]);
    assert!(fields_of::<Unit>().is_empty());
    let _ = (Unit, Id::<u8>(1, PhantomData).0, Matrix { cells: [[0u8; 3]; 2] }.cells);
}

#[test]
fn enum_offsets_are_the_real_ones() {
    let value = Tagged::Named { flag: true, value: 5u32, end: 6 };
    let Tagged::Named { flag, value: inner, end } = &value else { unreachable!() };
    let real =
        [("flag", offset_in(&value, flag)), ("value", offset_in(&value, inner)), ("end", offset_in(&value, end))];
    let (discriminant, fields) = variant_of::<Tagged<u32>>("Named");
    assert_eq!((discriminant, offsets(&fields)), (8, real.to_vec()));

    let value = Tagged::<u32>::Pair(1, 2);
    let Tagged::Pair(first, second) = &value else { unreachable!() };
    let real = [("0", offset_in(&value, first)), ("1", offset_in(&value, second))];
    let (discriminant, fields) = variant_of::<Tagged<u32>>("Pair");
    assert_eq!((discriminant, offsets(&fields)), (7, real.to_vec()));
    let _ = Tagged::<u32>::Nothing;
}

#[test]
fn offsets_of_enums_with_a_c_layout_are_the_real_ones() {
    let value = CTagged::Byte(1);
    let CTagged::Byte(byte) = &value else { unreachable!() };
    // The payload of all variants begins where the largest alignment lets it.
    assert_eq!(offset_in(&value, byte), 16);
    assert_eq!(offsets(&variant_of::<CTagged>("Byte").1), [("0", 16)]);

    let value = CTagged::Pair { first: 1, second: 2 };
    let CTagged::Pair { first, second } = &value else { unreachable!() };
    let real = [("first", offset_in(&value, first)), ("second", offset_in(&value, second))];
    assert_eq!(offsets(&variant_of::<CTagged>("Pair").1), real);
}

#[test]
fn discriminants_are_those_of_the_source() {
    for (name, value) in [("Low", Fieldless::Low), ("Next", Fieldless::Next), ("High", Fieldless::High)] {
        assert_eq!(variant_of::<Fieldless>(name).0, value as i128);
    }
    let (_, Node::Enum { tag_size, .. }) = root::<Fieldless>() else { panic!("not an enum") };
    assert_eq!(tag_size, 2);
}

#[test]
fn same_build_measures_a_struct_and_adds_the_build() {
    let value = Anyhow { small: 1, large: 2, other: 3 };
    let real = [
        ("(build)", 0),
        ("small", offset_in(&value, &value.small)),
        ("large", offset_in(&value, &value.large)),
        ("other", offset_in(&value, &value.other)),
    ];
    assert_eq!(offsets(&fields_of::<Anyhow>()), real);
    let (description, _) = root::<Anyhow>();
    let build = description.nodes()[fields_of::<Anyhow>()[0].node.index()].clone();
    assert!(matches!(build, Node::Leaf { id, size: 0, .. } if id >> 63 == 1), "{build:?}");
    assert_eq!(difference::<Anyhow, Anyhow>(), None);
}

#[test]
fn another_build_of_a_same_build_type_differs() {
    let asked = TypeDescription::of::<AnyEnum>();
    let mut bytes = asked.encode();
    let name = b"build of the program";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("the leaf of the build");
    // Before the name there are its length and, before that, the eight bytes of the id.
    bytes[at - 9] ^= 1;
    let stored = TypeDescription::decode(&bytes).expect("still a description");
    let text = stored.difference(&asked).expect("another build").to_string();
    assert!(text.starts_with("field `(build).(build)`: stored `build of the program"), "{text}");
    let _ = AnyEnum::Nothing;
}

#[test]
fn recursive_types_are_described_and_compared() {
    assert!(TypeDescription::of::<Tree>().nodes().len() <= 5);
    assert_eq!(difference::<Tree, Tree>(), None);
    assert_eq!(difference::<CTagged, CTagged>(), None);
    let text = TypeDescription::of::<Tree>().to_string();
    assert!(text.contains("[]: Tree (64 bytes, align 8), as above"), "{text}");
}

#[expect(dead_code, reason = "its types are described, not used")]
mod before {
    #[derive(sal::Persist)]
    #[repr(C)]
    pub(crate) struct Root {
        pub(crate) entries: [Entry; 2],
        pub(crate) next: allocator_api2::vec::Vec<Root, sal::SalAlloc>,
    }
    #[derive(sal::Persist)]
    #[repr(C)]
    pub(crate) struct Entry {
        pub(crate) key: u16,
        pub(crate) count: u32,
        pub(crate) sum: u64,
    }
    #[derive(sal::Persist)]
    #[repr(u8)]
    pub(crate) enum State {
        Idle,
        Busy { since: u32 },
    }
}

/// The types of `before`, changed, each in its module.
#[expect(dead_code, reason = "its types are described, not used")]
mod after {
    macro_rules! changed {
        ($($module:ident: $($field:ident: $type:ty),*;)*) => {$(
            pub(crate) mod $module {
                #[derive(sal::Persist)]
                #[repr(C)]
                pub(crate) struct Root {
                    pub(crate) entries: [Entry; 2],
                    pub(crate) next: allocator_api2::vec::Vec<Root, sal::SalAlloc>,
                }
                #[derive(sal::Persist)]
                #[repr(C)]
                pub(crate) struct Entry {
                    $(pub(crate) $field: $type,)*
                }
            }
        )*};
    }
    changed! {
        moved: key: u16, count: u32, sum: u64;
        wider: key: u16, count: u64, sum: u64;
        signed: key: u16, count: i32, sum: u64;
        renamed: key: u16, number: u32, sum: u64;
        longer: key: u16, count: u32, sum: u64, extra: u8;
        shorter: key: u16, sum: u64;
        swapped: key: u16, sum: u64, count: u32;
    }
    pub(crate) mod states {
        #[derive(sal::Persist)]
        #[repr(u8)]
        pub(crate) enum State {
            Idle,
            Busy { since: i32 },
        }
    }
    pub(crate) mod numbers {
        #[derive(sal::Persist)]
        #[repr(u8)]
        pub(crate) enum State {
            Idle = 1,
            Busy { since: u32 },
        }
    }
    pub(crate) mod more {
        #[derive(sal::Persist)]
        #[repr(u8)]
        pub(crate) enum State {
            Idle,
            Waiting,
            Busy { since: u32 },
        }
    }
    pub(crate) mod tags {
        #[derive(sal::Persist)]
        #[repr(u16)]
        pub(crate) enum State {
            Idle,
            Busy { since: u32 },
        }
    }
}

#[test]
fn a_type_that_moved_to_another_module_is_the_same() {
    assert_eq!(difference::<before::Root, after::moved::Root>(), None);
}

#[test]
fn a_difference_names_the_field_and_both_sides() {
    assert_eq!(
        difference::<before::Root, after::wider::Root>().as_deref(),
        Some("field `entries[].count`: stored `u32 (4 bytes, align 4)`, asked `u64 (8 bytes, align 8)`")
    );
    assert_eq!(
        difference::<before::Root, after::signed::Root>().as_deref(),
        Some("field `entries[].count`: stored `u32 (4 bytes, align 4)`, asked `i32 (4 bytes, align 4)`")
    );
    assert_eq!(
        difference::<before::Root, after::renamed::Root>().as_deref(),
        Some("field `entries[].count`: stored `u32 (4 bytes, align 4), field number 1`, asked `no such field`")
    );
    assert_eq!(
        difference::<before::Root, after::longer::Root>().as_deref(),
        Some("field `entries[].extra`: stored `no such field`, asked `u8 (1 byte, align 1), field number 3`")
    );
    assert_eq!(
        difference::<before::Root, after::shorter::Root>().as_deref(),
        Some("field `entries[].count`: stored `u32 (4 bytes, align 4), field number 1`, asked `no such field`")
    );
    assert_eq!(
        difference::<before::Root, after::swapped::Root>().as_deref(),
        Some(
            "field `entries[].count`: stored `u32 (4 bytes, align 4), field number 1`, \
             asked `u32 (4 bytes, align 4), field number 2`"
        )
    );
    assert_eq!(
        difference::<before::Root, before::Entry>().as_deref(),
        Some("the value itself: stored `Root (64 bytes, align 8)`, asked `Entry (16 bytes, align 8)`")
    );
}

#[test]
fn differences_in_enums_name_the_variant() {
    use after::{more, numbers, states, tags};
    assert_eq!(
        difference::<before::State, states::State>().as_deref(),
        Some("field `Busy.since`: stored `u32 (4 bytes, align 4)`, asked `i32 (4 bytes, align 4)`")
    );
    assert_eq!(
        difference::<before::State, numbers::State>().as_deref(),
        Some("field `Idle`: stored `discriminant 0`, asked `discriminant 1`")
    );
    assert_eq!(
        difference::<before::State, more::State>().as_deref(),
        Some("field `Waiting`: stored `no such variant`, asked `variant number 1`")
    );
    assert_eq!(
        difference::<before::State, tags::State>().as_deref(),
        Some("the value itself: stored `tag of 1 bytes`, asked `tag of 2 bytes`")
    );
}

#[test]
fn parameters_tell_instances_apart() {
    assert!(difference::<Id<u8>, Id<u16>>().is_some());
    assert!(difference::<Tagged<u32>, Tagged<i32>>().is_some());
    assert_eq!(
        difference::<Matrix<u8, 2>, Matrix<u8, 3>>().as_deref(),
        Some("field `cells`: stored `[[u8; 3]; 2] (6 bytes, align 1)`, asked `[[u8; 3]; 3] (9 bytes, align 1)`")
    );
}

#[test]
fn only_types_with_blocks_or_handles_are_visited() {
    const {
        assert!(!Mixed::OWNS_BLOCKS && !Fieldless::OWNS_BLOCKS && !<[Unit; 4]>::OWNS_BLOCKS);
        assert!(Tree::OWNS_BLOCKS && Tagged::<u8>::OWNS_BLOCKS && <(u8, [SalAlloc; 1])>::OWNS_BLOCKS);
        assert!(!<Id<Tree>>::OWNS_BLOCKS);
    }
}

#[test]
fn every_block_of_structs_and_variants_is_visited() {
    fn blocks(value: &impl Persist) -> std::vec::Vec<usize> {
        let mut seen = std::vec::Vec::new();
        let mut observer = |start: std::ptr::NonNull<u8>, _| seen.push(start.addr().get());
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        value.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
        seen
    }
    let bytes = |byte: u8| {
        let mut bytes = Vec::new_in(SalAlloc::new());
        bytes.push(byte);
        bytes
    };
    let mut children = Vec::new_in(SalAlloc::new());
    children.push(Tree { name: bytes(1), children: Vec::new_in(SalAlloc::new()) });
    let tree = Tree { name: bytes(2), children };
    let expected = [tree.name.as_ptr().addr(), tree.children.as_ptr().addr(), tree.children[0].name.as_ptr().addr()];
    assert_eq!(blocks(&tree), expected);

    let tail = Tagged::Tail(Box::new_in(7u32, SalAlloc::new()));
    let Tagged::Tail(boxed) = &tail else { unreachable!() };
    assert_eq!(blocks(&tail), [std::ptr::from_ref(&**boxed).addr()]);
    assert!(blocks(&Tagged::Pair::<u32>(1, 2)).is_empty());

    let again = CTagged::Again(Vec::with_capacity_in(3, SalAlloc::new()));
    assert_eq!(blocks(&again).len(), 1);
    assert_eq!(blocks(&AnyEnum::Something(Box::new_in(1, SalAlloc::new()))).len(), 1);
}

/// The derive finds the crate under another name.
mod renamed_crate {
    use ::sal as heap;
    #[derive(heap::Persist)]
    #[repr(C)]
    #[persist(crate = "heap")]
    pub(crate) struct Value {
        pub(crate) number: u64,
    }
}

#[test]
fn the_crate_may_have_another_name() {
    assert_eq!(TypeDescription::of::<renamed_crate::Value>().type_name(), "persist_derive::renamed_crate::Value");
}

/// Whether a type is `Persist`: the inherent constant, where its bound holds, is taken before the trait's.
struct IsPersist<T: ?Sized>(PhantomData<T>);
trait Otherwise {
    const ANSWER: bool = false;
}
impl<T: ?Sized> Otherwise for IsPersist<T> {}
impl<T: ?Sized + Persist> IsPersist<T> {
    const ANSWER: bool = true;
}

macro_rules! answers {
    ($($type:ty),* $(,)?) => {
        [$((stringify!($type), <IsPersist<$type>>::ANSWER)),*]
    };
}

#[test]
fn types_that_mean_something_to_one_process_only_are_refused() {
    use std::{cell, mem, ptr, rc, sync};
    let _ = IsPersist::<u8>(PhantomData).0;
    let answers = answers![
        &'static u8,
        &'static str,
        *const u8,
        *mut u8,
        ptr::NonNull<u8>,
        Option<ptr::NonNull<u8>>,
        fn(),
        extern "C" fn(u8) -> u8,
        cell::UnsafeCell<u8>,
        cell::Cell<u8>,
        cell::OnceCell<u8>,
        sync::atomic::AtomicU64,
        sync::atomic::AtomicPtr<u8>,
        sync::Mutex<u8>,
        sync::RwLock<u8>,
        sync::OnceLock<u8>,
        sync::Arc<u8>,
        rc::Rc<u8>,
        std::string::String,
        std::vec::Vec<u8>,
        std::boxed::Box<u8>,
        std::collections::HashMap<u8, u8>,
        std::fs::File,
        std::thread::ThreadId,
        std::time::Instant,
        mem::MaybeUninit<u8>,
        std::pin::Pin<Box<u8, SalAlloc>>,
        PhantomData<&'static u8>,
        PhantomData<fn()>,
        Vec<u8, allocator_api2::alloc::Global>,
        Box<u8, allocator_api2::alloc::Global>,
        Vec<&'static u8, SalAlloc>,
        Box<dyn Send + Sync, SalAlloc>,
        Box<[u8], SalAlloc>,
        Option<u8>,
        Option<bool>,
        Option<Box<u8, SalAlloc>>,
        Result<u8, u8>,
        [rc::Rc<u8>; 2],
        (u8, *const u8),
        Id<std::string::String>,
        Tagged<std::string::String>,
    ];
    let accepted: std::vec::Vec<_> = answers.iter().filter(|answer| answer.1).collect();
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[test]
fn types_that_mean_the_same_in_every_process_are_accepted() {
    let answers = answers![
        u8,
        i128,
        usize,
        f32,
        bool,
        char,
        (),
        SalAlloc,
        NonZero<u64>,
        Option<NonZero<i8>>,
        [u8; 1000],
        (u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8),
        std::num::Wrapping<u8>,
        std::cmp::Reverse<(u8, i64)>,
        PhantomData<Tree>,
        Vec<Vec<u8, SalAlloc>, SalAlloc>,
        Box<Tree, SalAlloc>,
        Id<Tree>,
        Tagged<[bool; 3]>,
        Anyhow,
    ];
    let refused: std::vec::Vec<_> = answers.iter().filter(|answer| !answer.1).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
