//! Values of all types that heaps can have, at random. They have been worked with before: there is spare capacity with old
//! elements in it, there are emptied slots, inactive variants, padding.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unsafe_code, reason = "what derives `Persist`")]

use crate::support::Random;
use allocator_api2::boxed::Box as AllocBox;
use allocator_api2::vec::Vec as AllocVec;
use sal::collections::{CowHashMap, CowHashSet, CowMap, CowSet, CowVec, SalBTreeSet};
use sal::pool::{FinalizerId, QueueId};
use sal::prelude::*;
use sal::{Gc, Handle, Movable, Pool, SalBox, SalMovable};
use std::hash::Hash;
use std::num::NonZero;

/// Values of a type at random, for a heap.
pub(crate) trait Sample: Persist {
    fn sample(random: &mut Random, heap: &Heap) -> Self;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Sample for $number {
            fn sample(random: &mut Random, _: &Heap) -> Self {
                random.next() as $number
            }
        }
    )*};
}
numbers! { u8 u16 u32 u64 }

impl Sample for () {
    fn sample(_: &mut Random, _: &Heap) -> Self {}
}

impl Sample for Option<NonZero<u64>> {
    fn sample(random: &mut Random, _: &Heap) -> Self {
        NonZero::new(random.next() % 3)
    }
}

impl<T: Sample, const N: usize> Sample for [T; N] {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        std::array::from_fn(|_| T::sample(random, heap))
    }
}

impl<A: Sample, B: Sample> Sample for (A, B) {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        (A::sample(random, heap), B::sample(random, heap))
    }
}

impl<A: Sample, B: Sample, C: Sample> Sample for (A, B, C) {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        (A::sample(random, heap), B::sample(random, heap), C::sample(random, heap))
    }
}

impl Sample for SalString {
    fn sample(random: &mut Random, _: &Heap) -> Self {
        let mut text = SalString::from(&*random.next().to_string().repeat(random.below(9)));
        text.truncate(random.below(text.len() + 1));
        text
    }
}

fn len(random: &mut Random) -> usize {
    match random.below(8) {
        0 => 0,
        1 => 40,
        _ => random.below(7),
    }
}

impl<T: Sample> Sample for SalVec<T> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let mut vec: Self = (0..len(random)).map(|_| T::sample(random, heap)).collect();
        // What was moved out still stands in the block.
        (0..random.below(4)).for_each(|_| drop(vec.pop()));
        vec
    }
}

impl<T: Sample> Sample for AllocVec<T, SalAlloc> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let mut vec = AllocVec::new_in(heap.alloc());
        (0..len(random)).for_each(|_| vec.push(T::sample(random, heap)));
        (0..random.below(4)).for_each(|_| drop(vec.pop()));
        vec
    }
}

impl<T: Sample> Sample for AllocBox<T, SalAlloc> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        AllocBox::new_in(T::sample(random, heap), heap.alloc())
    }
}

impl<T: Sample> Sample for SalRc<T> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        heap.rc(T::sample(random, heap))
    }
}

impl<T: Sample + Clone> Sample for SalRc<[T]> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let elements: Vec<T> = (0..len(random)).map(|_| T::sample(random, heap)).collect();
        heap.rc_slice(elements)
    }
}

impl Sample for SalRc<str> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        heap.rc_str(&random.next().to_string())
    }
}

impl<T: Sample> Sample for SalBox<T> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        heap.boxed(T::sample(random, heap))
    }
}

impl<T: Sample> Sample for SalBox<[T]> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let _session = heap.write().unwrap();
        (0..len(random)).map(|_| T::sample(random, heap)).collect::<Vec<T>>().into()
    }
}

impl Sample for SalBox<str> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let _session = heap.write().unwrap();
        random.next().to_string().as_str().into()
    }
}

/// Some have stood in the place of others, and been moved.
impl<T: Sample + Movable> Sample for Handle<T> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let handle = heap.handle(T::sample(random, heap));
        if random.below(3) == 0 {
            handle.update(T::sample(random, heap)).unwrap();
        }
        handle
    }
}

impl<T: Sample + Movable + Clone> Sample for Handle<[T]> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let elements: Vec<T> = (0..len(random)).map(|_| T::sample(random, heap)).collect();
        heap.handle_slice(&elements)
    }
}

impl Sample for Handle<str> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        heap.handle_str(&random.next().to_string())
    }
}

/// One in three is none.
macro_rules! options {
    ($([$($generics:tt)*] $pointer:ty;)*) => {$(
        impl<$($generics)*> Sample for Option<$pointer> {
            fn sample(random: &mut Random, heap: &Heap) -> Self {
                (random.below(3) > 0).then(|| Sample::sample(random, heap))
            }
        }
    )*};
}
options! {
    [T: Sample + Movable] Handle<T>;
    [] Handle<str>;
    [T: Sample] SalRc<T>;
    [T: Sample + Clone] SalRc<[T]>;
    [] SalRc<str>;
    [T: Sample] SalBox<T>;
    [T: Sample] SalBox<[T]>;
    [] SalBox<str>;
}

/// Maps and sets: filled, then half of what is in them is taken out, and something put in again.
macro_rules! tables {
    ($([$($parameter:ident: $bound:path),*] $table:ty, $entry:ty $(, $key:tt)?;)*) => {$(
        impl<$($parameter: $bound),*> Sample for $table {
            fn sample(random: &mut Random, heap: &Heap) -> Self {
                let entries: Vec<$entry> = (0..len(random)).map(|_| Sample::sample(random, heap)).collect();
                let mut table: Self = entries.clone().into_iter().collect();
                for entry in entries.iter().filter(|_| random.below(2) == 0) {
                    table.remove(&(*entry)$(.$key)?);
                }
                table.extend((0..random.below(5)).map(|_| <$entry>::sample(random, heap)));
                table
            }
        }
    )*};
}

pub(crate) trait Key: Sample + Clone + Eq + Hash + Ord {}
impl<T: Sample + Clone + Eq + Hash + Ord> Key for T {}
pub(crate) trait Value: Sample + Clone {}
impl<T: Sample + Clone> Value for T {}

tables! {
    [K: Key, V: Value] SalHashMap<K, V>, (K, V), 0;
    [K: Key] SalHashSet<K>, K;
    [K: Key, V: Value] SalBTreeMap<K, V>, (K, V), 0;
    [K: Key] SalBTreeSet<K>, K;
    [K: Key, V: Value] CowMap<K, V>, (K, V), 0;
    [K: Key] CowSet<K>, K;
    [K: Key, V: Value] CowHashMap<K, V>, (K, V), 0;
    [K: Key] CowHashSet<K>, K;
}

impl<T: Value> Sample for CowVec<T> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let many = if random.below(20) == 0 { 600 } else { len(random) };
        let mut vec: Self = (0..many).map(|_| T::sample(random, heap)).collect();
        (0..random.below(20)).for_each(|_| drop(vec.pop()));
        vec
    }
}

#[derive(Clone, Debug, Persist)]
#[repr(u8)]
pub(crate) enum Tree {
    Empty,
    Text(SalString),
    Shared { number: u16, node: SalRc<Tree> },
    Many(u8, SalVec<Tree>),
}

impl Sample for Tree {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        match random.below(9) {
            0 | 1 => Self::Empty,
            2..5 => Self::Text(Sample::sample(random, heap)),
            5 | 6 => Self::Shared { number: 7, node: Sample::sample(random, heap) },
            7 => Self::Many(3, (0..random.below(3)).map(|_| Tree::sample(random, heap)).collect()),
            // What was there before is still in the bytes.
            _ => {
                let mut tree = Self::Shared { number: 1, node: heap.rc(Tree::Empty) };
                let was = std::mem::replace(&mut tree, Self::Empty);
                drop(was);
                tree
            }
        }
    }
}

#[derive(Clone, Debug, Persist)]
#[repr(C, i16)]
pub(crate) enum Signed {
    Below(SalRc<u64>) = -5,
    Above(u8, [SalString; 6]) = 700,
    Nothing = 3,
}

impl Sample for Signed {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        match random.below(3) {
            0 => Self::Below(Sample::sample(random, heap)),
            1 => Self::Above(1, Sample::sample(random, heap)),
            _ => Self::Nothing,
        }
    }
}

#[derive(Clone, Debug, Persist)]
#[persist(same_build)]
pub(crate) struct Mixed {
    small: u8,
    text: SalString,
    rest: (u16, SalRc<Tree>, u8),
}

impl Sample for Mixed {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        Self { small: 1, text: Sample::sample(random, heap), rest: (2, Sample::sample(random, heap), 3) }
    }
}

/// Aligned to more than its parts, and large.
#[derive(Clone, Debug, Persist, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C, align(32))]
pub(crate) struct Wide {
    pub(crate) text: SalString,
    more: [u64; 12],
}

impl Sample for Wide {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        Self { text: Sample::sample(random, heap), more: [random.next(); 12] }
    }
}

/// Chunks that objects have been freed in, and all tables in use.
impl<T: Sample> Sample for Pool<T> {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        let _session = heap.write().unwrap();
        let mut pool = Self::new();
        let all: Vec<Gc<T>> = (0..len(random)).map(|_| pool.insert(T::sample(random, heap))).collect();
        for &gc in &all {
            match random.below(4) {
                0 => drop(pool.downgrade_with_queue(gc, QueueId(1)).unwrap()),
                1 => pool.arm(gc, FinalizerId(2)).unwrap(),
                _ => {}
            }
        }
        all.iter().filter(|_| random.below(3) == 0).for_each(|&gc| pool.free(gc).unwrap());
        pool.check();
        pool
    }
}

/// An object of a pool, with pointers that own nothing and may lead nowhere.
#[derive(Persist, Debug)]
#[repr(C)]
pub(crate) struct Object {
    text: SalString,
    shared: SalRc<SalString>,
    next: Option<Gc<Object>>,
    others: SalVec<Gc<Object>>,
}

impl Sample for Object {
    fn sample(random: &mut Random, heap: &Heap) -> Self {
        // Of a pool that is there while this is made.
        let mut pool = Pool::new();
        let place = pool.insert(Self {
            text: SalString::new(),
            shared: Sample::sample(random, heap),
            next: None,
            others: SalVec::new(),
        });
        drop(pool);
        let others = (0..len(random)).map(|_| place).collect();
        let next = (random.below(2) == 0).then_some(place);
        Self { text: Sample::sample(random, heap), shared: Sample::sample(random, heap), next, others }
    }
}
