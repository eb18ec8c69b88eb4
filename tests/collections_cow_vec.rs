//! `CowVec` against `Vec`, with versions kept and dropped, and where things go wrong.
#![allow(unsafe_code)]

mod counted;

use counted::{Bomb, Counted, alive, never_panic, panic_after};
use proptest::prelude::*;
use sal::collections::cow_vec::Difference;
use sal::collections::{CowVec, SalString};
use sal::{Heap, HeapOptions, Persist, Root};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    PushRun(u64),
    Pop(u64),
    Truncate(usize),
    Set(usize, u64),
    ChangeAll,
    ChangeFromBothEnds(usize),
    Insert(usize, u64),
    Remove(usize),
    Swap(usize, usize),
    Extend(Vec<u64>),
    ExtendFromSlice(Vec<u64>),
    Append(u64),
    AppendVersion(usize),
    SplitOff(usize, bool),
    Retain(u64),
    Sort,
    Range(usize, usize),
    IntoIterSome(usize, usize),
    Rebuild(u64),
    Clear,
    Keep,
    Return(usize),
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (at, number) = (any::<usize>(), any::<u64>());
    prop_oneof![
        4 => number.prop_map(Step::Push),
        6 => (0..1500u64).prop_map(Step::PushRun),
        4 => (0..400u64).prop_map(Step::Pop),
        3 => at.prop_map(Step::Truncate),
        8 => (at, number).prop_map(|(at, n)| Step::Set(at, n)),
        1 => Just(Step::ChangeAll),
        2 => (0..300usize).prop_map(Step::ChangeFromBothEnds),
        2 => (at, number).prop_map(|(at, n)| Step::Insert(at, n)),
        2 => at.prop_map(Step::Remove),
        2 => (at, at).prop_map(|(a, b)| Step::Swap(a, b)),
        2 => prop::collection::vec(number, 0..200).prop_map(Step::Extend),
        2 => prop::collection::vec(number, 0..200).prop_map(Step::ExtendFromSlice),
        2 => (0..500u64).prop_map(Step::Append),
        2 => at.prop_map(Step::AppendVersion),
        3 => (at, any::<bool>()).prop_map(|(at, behind)| Step::SplitOff(at, behind)),
        1 => (2..9u64).prop_map(Step::Retain),
        1 => Just(Step::Sort),
        2 => (at, at).prop_map(|(a, b)| Step::Range(a, b)),
        2 => (0..400usize, 0..400usize).prop_map(|(a, b)| Step::IntoIterSome(a, b)),
        1 => (0..3000u64).prop_map(Step::Rebuild),
        1 => Just(Step::Clear),
        6 => Just(Step::Keep),
        3 => at.prop_map(Step::Return),
        3 => at.prop_map(Step::Forget),
    ]
}

/// What a vector of the test holds, and what stands for it.
trait Element: Clone + Ord + Debug + 'static {
    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Element for Counted {
    fn of(number: u64) -> Self {
        Self::new(number)
    }
    fn number(&self) -> u64 {
        self.number
    }
}

impl Element for u64 {
    fn of(number: u64) -> Self {
        number
    }
    fn number(&self) -> u64 {
        *self
    }
}

impl Element for u8 {
    fn of(number: u64) -> Self {
        number as u8
    }
    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

impl Element for [u64; 40] {
    fn of(number: u64) -> Self {
        [number; 40]
    }
    fn number(&self) -> u64 {
        assert!(self.iter().all(|part| *part == self[0]));
        self[0]
    }
}

impl Element for SalString {
    fn of(number: u64) -> Self {
        Self::from(format!("{number:020}").as_str())
    }
    fn number(&self) -> u64 {
        self.parse().unwrap()
    }
}

/// As numbers are after a way through the type.
fn through<T: Element>(number: u64) -> u64 {
    T::of(number).number()
}

type Versions<T> = Vec<(CowVec<T>, Vec<u64>)>;

struct Pair<T: 'static> {
    vec: CowVec<T>,
    model: Vec<u64>,
    versions: Versions<T>,
}

impl<T: Element> Pair<T> {
    fn new() -> Self {
        Self { vec: CowVec::new(), model: Vec::new(), versions: Vec::new() }
    }

    fn apply(&mut self, step: &Step) {
        let (vec, model) = (&mut self.vec, &mut self.model);
        let len = model.len();
        let within = |at: usize| at % len.max(1);
        match step.clone() {
            Step::Push(n) => {
                vec.push(T::of(n));
                model.push(through::<T>(n));
            }
            Step::PushRun(n) => {
                for n in 0..n {
                    vec.push(T::of(n));
                    model.push(through::<T>(n));
                }
            }
            Step::Pop(n) => {
                for _ in 0..n {
                    assert_eq!(vec.pop().map(|e| e.number()), model.pop());
                }
            }
            Step::Truncate(at) => {
                vec.truncate(at % (len + 10));
                model.truncate(at % (len + 10));
            }
            Step::Set(at, n) if len > 0 => {
                assert_eq!(vec.set(within(at), T::of(n)).number(), model[within(at)]);
                model[within(at)] = through::<T>(n);
            }
            Step::ChangeAll => {
                vec.iter_mut().for_each(|e| *e = T::of(e.number() / 2 + 1));
                model.iter_mut().for_each(|n| *n = through::<T>(*n / 2 + 1));
            }
            Step::ChangeFromBothEnds(n) => {
                let (mut ours, mut theirs) = (vec.iter_mut(), model.iter_mut());
                for i in 0..n {
                    assert_eq!(ours.len(), theirs.len());
                    let (x, y) =
                        if i % 3 == 0 { (ours.next_back(), theirs.next_back()) } else { (ours.next(), theirs.next()) };
                    assert_eq!(x.is_some(), y.is_some());
                    if let (Some(x), Some(y)) = (x, y) {
                        *x = T::of(i as u64);
                        *y = through::<T>(i as u64);
                    }
                }
            }
            Step::Insert(at, n) => {
                vec.insert(at % (len + 1), T::of(n));
                model.insert(at % (len + 1), through::<T>(n));
            }
            Step::Remove(at) if len > 0 => assert_eq!(vec.remove(within(at)).number(), model.remove(within(at))),
            Step::Swap(a, b) if len > 0 => {
                vec.swap(within(a), within(b));
                model.swap(within(a), within(b));
            }
            Step::Extend(numbers) => {
                vec.extend(numbers.iter().map(|n| T::of(*n)));
                model.extend(numbers.iter().map(|n| through::<T>(*n)));
            }
            Step::ExtendFromSlice(numbers) => {
                vec.extend_from_slice(&numbers.iter().map(|n| T::of(*n)).collect::<Vec<_>>());
                model.extend(numbers.iter().map(|n| through::<T>(*n)));
            }
            Step::Append(n) => {
                let mut other: CowVec<T> = (0..n).map(T::of).collect();
                vec.append(&mut other);
                assert!(other.is_empty());
                model.extend((0..n).map(through::<T>));
            }
            Step::AppendVersion(at) if !self.versions.is_empty() && len < 20_000 => {
                let (other, theirs) = &self.versions[at % self.versions.len()];
                vec.append(&mut other.clone());
                model.extend(theirs);
            }
            Step::SplitOff(at, behind) => {
                let (ours, theirs) = (vec.split_off(at % (len + 1)), model.split_off(at % (len + 1)));
                compare(&ours, &theirs);
                if behind {
                    (*vec, *model) = (ours, theirs);
                }
            }
            Step::Retain(n) => {
                vec.retain(|e| e.number() % n != 0);
                model.retain(|e| e % n != 0);
            }
            Step::Sort => {
                vec.sort();
                model.sort();
                let wanted = model.get(len / 2).copied().unwrap_or(3);
                let place = vec.partition_point(|e| e.number() < wanted);
                assert_eq!(place, model.partition_point(|n| *n < wanted));
                let found = vec.binary_search_by(|e| e.number().cmp(&wanted));
                assert_eq!(found.is_ok(), model.binary_search(&wanted).is_ok());
                assert!(found.is_ok_and(|at| model[at] == wanted) || found == Err(place));
            }
            Step::Range(a, b) => {
                let (a, b) = (a % (len + 1), b % (len + 1));
                let range = a.min(b)..a.max(b);
                assert_eq!(vec.range(range.clone()).len(), range.len());
                assert!(vec.range(range.clone()).map(T::number).eq(model[range.clone()].iter().copied()));
                assert!(vec.range(range.clone()).rev().map(T::number).eq(model[range.clone()].iter().rev().copied()));
                let skip = (a ^ b) % (range.len() + 1);
                assert!(vec.range(range.clone()).skip(skip).map(T::number).eq(model[range].iter().skip(skip).copied()));
            }
            Step::IntoIterSome(a, b) => {
                let (mut ours, mut theirs) = (std::mem::take(vec).into_iter(), std::mem::take(model).into_iter());
                assert!(ours.by_ref().take(a).map(|e| e.number()).eq(theirs.by_ref().take(a)));
                assert!(ours.by_ref().rev().take(b).map(|e| e.number()).eq(theirs.by_ref().rev().take(b)));
                assert_eq!(ours.len(), theirs.len());
                if a % 2 == 0 {
                    *vec = ours.collect();
                    *model = theirs.collect();
                }
            }
            Step::Rebuild(n) => {
                *vec = (0..n).map(T::of).collect();
                *model = (0..n).map(through::<T>).collect();
            }
            Step::Clear => {
                vec.clear();
                model.clear();
            }
            Step::Keep => self.versions.push((vec.clone(), model.clone())),
            Step::Return(at) if !self.versions.is_empty() => {
                let at = at % self.versions.len();
                (*vec, *model) = self.versions[at].clone();
            }
            Step::Forget(at) if !self.versions.is_empty() => {
                self.versions.swap_remove(at % self.versions.len());
            }
            _ => {}
        }
    }

    fn check(&self) {
        compare(&self.vec, &self.model);
        for (version, model) in &self.versions {
            compare(version, model);
            compare_diff(version, model, &self.vec, &self.model);
        }
    }
}

fn compare<T: Element>(vec: &CowVec<T>, model: &[u64]) {
    vec.check().unwrap();
    assert_eq!((vec.len(), vec.is_empty(), vec.iter().len()), (model.len(), model.is_empty(), model.len()));
    assert!(vec.iter().map(T::number).eq(model.iter().copied()));
    assert!(vec.iter().rev().map(T::number).eq(model.iter().rev().copied()));
    let mut numbers = Vec::new();
    vec.iter().for_each(|e| numbers.push(e.number()));
    vec.iter().rev().for_each(|e| assert_eq!(numbers.pop(), Some(e.number())));
    assert!(vec.chunks().flatten().map(T::number).eq(model.iter().copied()));
    assert!(vec.chunks().rev().all(|chunk| !chunk.is_empty()));
    for at in [0, 1, model.len() / 2, model.len().wrapping_sub(1), model.len()] {
        assert_eq!(vec.get(at).map(T::number), model.get(at).copied());
    }
    assert_eq!(vec.first().map(T::number), model.first().copied());
    assert_eq!(vec.last().map(T::number), model.last().copied());
}

fn compare_diff<T: Element>(old: &CowVec<T>, olds: &[u64], new: &CowVec<T>, news: &[u64]) {
    let ours: Vec<_> = old
        .diff(new)
        .map(|difference| match difference {
            Difference::Added(index, after) => (index, None, Some(after.number())),
            Difference::Removed(index, before) => (index, Some(before.number()), None),
            Difference::Changed { index, before, after } => (index, Some(before.number()), Some(after.number())),
        })
        .collect();
    let theirs: Vec<_> = (0..olds.len().max(news.len()))
        .map(|index| (index, olds.get(index).copied(), news.get(index).copied()))
        .filter(|(_, old, new)| old != new)
        .collect();
    assert_eq!(ours, theirs);
}

fn run<T: Element>(steps: &[Step]) {
    let mut pair = Pair::<T>::new();
    for step in steps {
        pair.apply(step);
        pair.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn vector_does_what_the_model_does(steps in prop::collection::vec(step(), 0..60)) {
        run::<Counted>(&steps);
        assert_eq!(alive(), 0);
        run::<u64>(&steps);
        run::<u8>(&steps);
        run::<[u64; 40]>(&steps);
    }

    #[test]
    fn versions_in_a_heap_leave_nothing_behind(steps in prop::collection::vec(step(), 0..40)) {
        let heap = HeapOptions::new().volatile().unwrap();
        let tx = heap.write().unwrap();
        run::<SalString>(&steps);
        drop(tx);
        prop_assert_eq!(heap.stats().live_bytes, 0);
    }

    /// Whatever clone or comparison panics: nothing is lost twice, and all versions are in order.
    #[test]
    fn panics_of_elements_leave_vectors_in_order(steps in prop::collection::vec((step(), 0..4000u32), 0..60)) {
        let mut pair = Pair::<Counted>::new();
        for (step, fuel) in &steps {
            panic_after(*fuel);
            let outcome = catch_unwind(AssertUnwindSafe(|| pair.apply(step)));
            never_panic();
            pair.vec.check().unwrap();
            if outcome.is_err() {
                pair.model = pair.vec.iter().map(|e| e.number).collect();
            }
            pair.check();
        }
        drop(pair);
        prop_assert_eq!(alive(), 0);
    }
}

#[test]
fn every_length_can_be_built_grown_and_emptied() {
    for len in (0..1200).chain((16_300..16_500).step_by(7)) {
        let built: CowVec<u64> = (0..len).collect();
        built.check().unwrap();
        let copied = CowVec::from(&(0..len).collect::<Vec<_>>()[..]);
        let mut pushed = CowVec::new();
        (0..len).for_each(|n| pushed.push(n));
        assert!(built == pushed && copied == built && built.iter().copied().eq(0..len));
        if len % 50 == 3 {
            for n in (0..len).rev() {
                assert_eq!(pushed.pop(), Some(n));
                pushed.check().unwrap();
            }
            assert_eq!(pushed.pop(), None);
        }
    }
}

#[test]
fn a_large_vector_can_be_cut_anywhere_and_goes_on() {
    let whole: CowVec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    whole.check().unwrap();
    for len in [0, 1, 511, 512, 513, 8192, 131_072, 131_073, 2_097_152, 2_097_153, 2_999_999] {
        let mut cut = whole.clone();
        cut.truncate(len);
        cut.check().unwrap();
        assert!(cut.len() == len && cut.diff(&whole).count() == whole.len() - len);
        cut.extend((len..len + 5000).map(|n| n as u8));
        cut.check().unwrap();
        assert!(cut.iter().copied().eq((0..len + 5000).map(|n| n as u8)));
    }
}

#[test]
fn clone_shares_everything_and_a_change_little() {
    let heap = HeapOptions::new().volatile().unwrap();
    let tx = heap.write().unwrap();
    let mut vec: CowVec<u64> = (0..1_000_000).collect();
    let before = heap.stats().live_bytes;
    let versions: Vec<_> = (0..100).map(|_| vec.clone()).collect();
    assert_eq!(heap.stats().live_bytes, before);
    assert!(versions.iter().all(|version| version.ptr_eq(&vec)));
    vec[500_000] = 0;
    assert!(heap.stats().live_bytes - before < 2048);
    assert!(!versions[0].ptr_eq(&vec));
    let once = heap.stats().live_bytes;
    vec[500_001] = 0; // in the same leaf, which is its own by now
    assert_eq!(heap.stats().live_bytes, once);
    drop((vec, versions));
    assert_eq!(heap.stats().live_bytes, 0);
    drop(tx);
}

#[test]
fn elements_without_bytes_are_counted() {
    let mut units: CowVec<()> = std::iter::repeat_n((), 100_000).collect();
    assert_eq!((units.len(), units.iter().count(), units.iter_mut().len()), (100_000, 100_000, 100_000));
    units.truncate(10);
    assert_eq!((units.pop(), units.len(), units.clone().into_iter().count()), (Some(()), 9, 9));
    units.check().unwrap();
}

#[test]
fn large_alignment_is_kept() {
    #[repr(align(64))]
    #[derive(Clone, Debug, PartialEq)]
    struct Aligned(u8);
    let mut vec: CowVec<Aligned> = (0..200).map(Aligned).collect();
    let version = vec.clone();
    vec.iter_mut().for_each(|e| e.0 ^= 1);
    vec.check().unwrap();
    assert!(vec.iter().chain(&version).all(|e| (&raw const *e).addr() % 64 == 0));
    assert!(vec.iter().zip(&version).all(|(a, b)| a.0 == b.0 ^ 1));
}

#[test]
fn elements_that_panic_when_dropped_are_dropped_once() {
    let bomb = |number| Bomb::<0> { counted: Counted::new(number), armed: false };
    type Act = fn(&mut CowVec<BombClone>);
    let acts: [Act; 8] = [
        |vec| vec.truncate(195),
        |vec| drop(vec.remove(150)),
        |vec| vec.truncate(100),
        |vec| vec.truncate(7),
        |vec| vec.clear(),
        |vec| drop(std::mem::take(vec).into_iter().nth(20)),
        |vec| drop(vec.split_off(50)),
        |vec| vec.retain(|e| e.0.counted.number % 2 == 0),
    ];
    for shared in [false, true] {
        for (which, act) in acts.iter().enumerate() {
            for armed in [0, 8, 21, 63, 100, 101, 130, 197, 199] {
                let mut vec: CowVec<BombClone> = (0..200).map(|n| BombClone(bomb(n))).collect();
                vec[armed].0.armed = true;
                let version = shared.then(|| vec.clone());
                let _ = catch_unwind(AssertUnwindSafe(|| act(&mut vec)));
                vec.check().unwrap();
                assert!(vec.iter().chain(version.iter().flatten()).all(|e| e.0.counted.number < 200), "{which}");
                let _ = catch_unwind(AssertUnwindSafe(|| drop(vec)));
                let _ = catch_unwind(AssertUnwindSafe(|| drop(version)));
                assert_eq!(alive(), 0, "act {which}, bomb {armed}");
            }
        }
    }
}

struct BombClone(Bomb<0>);

impl Clone for BombClone {
    fn clone(&self) -> Self {
        Self(Bomb { counted: self.0.counted.clone(), armed: self.0.armed })
    }
}

#[test]
fn readers_keep_their_versions_while_a_writer_goes_on() {
    let mut vec: CowVec<SalString> = (0..5000_u64).map(SalString::of).collect();
    std::thread::scope(|scope| {
        for round in 0..40_u64 {
            let (version, len) = (vec.clone(), vec.len());
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(version.iter().count(), len);
                    let changed = version.iter().enumerate().filter(|(at, e)| e.number() != *at as u64).count() as u64;
                    assert_eq!(changed, 3 * round);
                }
                let mut own = version.clone();
                own.truncate(100);
                own.push(SalString::of(1));
                assert_eq!((own.len(), version.len()), (101, len));
            });
            for n in 0..3 {
                let at = (round * 3 + n) as usize * 37;
                vec[at] = SalString::of(1_000_000);
            }
            vec.push(SalString::of(vec.len() as u64));
        }
    });
    vec.check().unwrap();
}

#[test]
fn vector_goes_to_the_heap_that_it_lies_in_and_stays_there() {
    const ROOT: Root<CowVec<SalString>> = Root::new("versions");
    let heap: Heap = HeapOptions::new().volatile().unwrap();
    {
        let tx = heap.write().unwrap();
        let vec = tx.root_or_default(ROOT).unwrap();
        vec.extend((0..1000).map(SalString::of));
        let version = vec.clone();
        vec[3] = SalString::of(7);
        assert_eq!(version.diff(vec).count(), 1);
    }
    let tx = heap.write().unwrap();
    let vec = tx.root_mut(ROOT).unwrap();
    let address = (&raw const vec[500]).addr();
    assert!(heap.address_range().contains(&address));
    vec.retain(|e| e.number() % 2 == 0);
    assert_eq!(vec.len(), 500);
    vec.clear();
    drop(tx);
}

const KEPT: Root<CowVec<CowVec<SalString>>> = Root::new("versions");

/// A heap file with versions of one vector, of which each has one change more.
fn with_versions(path: &Path) -> Heap {
    // SAFETY: the file is the test's own.
    let heap = unsafe { HeapOptions::new().open_or_create(path) }.unwrap();
    let tx = heap.write().unwrap();
    let versions = tx.root_or_default(KEPT).unwrap();
    if versions.is_empty() {
        let mut vec: CowVec<SalString> = (0..1000).map(SalString::of).collect();
        for at in 0..5 {
            versions.push(vec.clone());
            vec[at] = SalString::of(7000);
        }
    }
    tx.sync().unwrap();
    heap
}

fn reopen(heap: Heap, path: &Path) -> Heap {
    // SAFETY: nothing of the heap is used any more.
    unsafe { heap.close_and_unmap() }.unwrap();
    with_versions(path)
}

#[test]
fn versions_in_a_file_can_be_read_after_it_was_closed() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().join("versions.sal");
    let heap = reopen(with_versions(&path), &path);
    let session = heap.read().unwrap();
    let versions = session.root(KEPT).unwrap();
    versions.check().unwrap();
    assert_eq!(versions.len(), 5);
    for (at, version) in versions.iter().enumerate() {
        version.check().unwrap();
        let expected = (0..1000_u64).map(|n| if n < at as u64 { 7000 } else { n });
        assert!(version.iter().map(SalString::number).eq(expected));
        assert_eq!(versions[0].diff(version).count(), at);
    }
}

#[test]
fn versions_in_a_file_can_be_changed_after_it_was_closed() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().join("versions.sal");
    let heap = reopen(with_versions(&path), &path);
    let tx = heap.write().unwrap();
    let versions = tx.root_mut(KEPT).unwrap();
    let mut next = versions[4].clone();
    next.push(SalString::of(1));
    next[500] = SalString::of(2);
    next.truncate(900);
    assert_eq!(versions[4].diff(&next).count(), 101);
    versions.push(next);
    versions.remove(0);
    versions.check().unwrap();
    tx.sync().unwrap();
}

#[test]
fn nodes_of_another_heap_are_not_linked_to() {
    let heaps = [HeapOptions::new().volatile().unwrap(), HeapOptions::new().volatile().unwrap()];
    let [mut one, mut other] = [&heaps[0], &heaps[1]].map(|heap| {
        let _tx = heap.write().unwrap();
        (0..640).collect::<CowVec<u64>>()
    });
    one.append(&mut other);
    assert_eq!((one.len(), heaps[1].stats().live_bytes), (1280, 0));
    drop(one);
    assert_eq!(heaps[0].stats().live_bytes, 0);
}

#[test]
fn vectors_compare_and_hash_as_their_elements() {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    let numbers: CowVec<u32> = (0..300).collect();
    let mut other: CowVec<u32> = (0..500).collect();
    assert!(numbers < other && numbers != other);
    other.truncate(300);
    assert!(numbers == other && state.hash_one(&numbers) == state.hash_one(&other));
    other[299] = 0;
    assert!(other < numbers);
    assert_eq!(CowVec::from([1, 2]), vec![1, 2]);
    assert_eq!(format!("{:?}", CowVec::from([1, 2])), "[1, 2]");
    assert!(catch_unwind(|| numbers[300]).is_err());
}

#[test]
fn vector_crosses_threads_and_is_stored_within_another() {
    fn crosses<T: Send + Sync>() {}
    fn stored<T: Persist>() {}
    crosses::<CowVec<u64>>();
    stored::<CowVec<CowVec<SalString>>>();
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_vector() {
    let vec: CowVec<String> = (0..200).map(|n| n.to_string()).collect();
    let json = serde_json::to_string(&vec).unwrap();
    assert_eq!(serde_json::from_str::<CowVec<String>>(&json).unwrap(), vec);
}

/// Four of these are a leaf, 64 a branch of leaves, 1024 one above.
type Wide = [u64; 8];

fn wide(numbers: std::ops::Range<u64>) -> CowVec<Wide> {
    numbers.map(|n| [n; 8]).collect()
}

fn is_wide(vec: &CowVec<Wide>, numbers: std::ops::Range<u64>) {
    vec.check().unwrap();
    assert!(vec.iter().map(|wide| wide[0]).eq(numbers));
}

#[test]
fn joined_and_cut_vectors_are_in_order_wherever_the_seam_is() {
    const SEAMS: [u64; 17] = [1, 3, 4, 8, 60, 64, 68, 128, 1020, 1024, 1028, 1088, 2048, 2052, 16_384, 16_448, 17_408];
    for before in SEAMS {
        for behind in [1, 4, 5, 64, 67, 256, 1024, 1025, 1092, 4099, 16_384, 17_413] {
            let total = before + behind;
            let (mut front, mut back) = (wide(0..before), wide(before..total));
            let versions = (front.clone(), back.clone());
            front.append(&mut back);
            assert!(back.is_empty());
            is_wide(&front, 0..total);
            let joined = front.clone();
            // Both parts, and what grows out of them.
            let mut cut = front.split_off(before as usize);
            is_wide(&front, 0..before);
            is_wide(&cut, before..total);
            assert_eq!((front.diff(&versions.0).count(), cut.diff(&versions.1).count()), (0, 0));
            cut.extend((total..total + 70).map(|n| [n; 8]));
            is_wide(&cut, before..total + 70);
            cut.truncate(behind as usize / 2 + 1);
            is_wide(&cut, before..before + behind / 2 + 1);
            cut[0][0] = before;
            front.append(&mut cut);
            is_wide(&front, 0..total - behind + behind / 2 + 1);
            is_wide(&joined, 0..total);
            is_wide(&versions.0, 0..before);
            is_wide(&versions.1, before..total);
        }
    }
}

#[test]
fn vectors_that_are_joined_or_cut_between_branches_share_them() {
    let heap = HeapOptions::new().volatile().unwrap();
    let tx = heap.write().unwrap();
    // Two branches of the second level, and some of another.
    let (mut front, mut back) = (wide(0..2048), wide(2048..6000));
    let (first, second) = (front.clone(), back.clone());
    let live = heap.stats().live_bytes;
    front.append(&mut back);
    let joined = heap.stats().live_bytes - live;
    is_wide(&front, 0..6000);
    let whole = front.clone();
    let live = heap.stats().live_bytes;
    let mut behind = front.split_off(3072);
    let cut = heap.stats().live_bytes - live;
    is_wide(&behind, 3072..6000);
    // A root, a branch of a few, a tail: not the sixty branches below.
    assert!(joined < 1500 && cut < 1500, "{joined} {cut}");
    // At a leaf that begins no branch, leaves are shared.
    let live = heap.stats().live_bytes;
    let rest = behind.split_off(1028);
    let shared = heap.stats().live_bytes - live;
    is_wide(&rest, 4100..6000);
    assert!(shared < (6000 - 4100) * 64 / 4, "{shared}");
    drop((front, back, first, second, whole, behind, rest, tx));
    assert_eq!(heap.stats().live_bytes, 0);
}
