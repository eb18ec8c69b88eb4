//! Following types: any number of workers and any stack find the same, and damage is no harm.

use super::*;
use crate::alloc::heap_core::WORDS_PER_UNIT;
use crate::collections::{CowHashMap, CowMap, CowVec, SalBTreeMap, SalHashMap, SalString, SalVec};
use crate::format::UNIT;
use crate::gc::zeroed::Zeroed;
use crate::ptr::{SalBox, SalRc};
use crate::{HeapOptions, Persist, Root};
use std::sync::atomic::AtomicU64;
use std::thread;

#[derive(Clone, Persist)]
#[repr(u8)]
enum Link {
    End,
    Next { number: u32, next: SalRc<Link> },
    Text(SalString),
}

type Map = SalHashMap<u64, SalVec<SalRc<Link>>>;

const LISTS: Root<SalVec<Link>> = Root::new("lists");
const MAP: Root<Map> = Root::new("map");
const TREE: Root<SalBTreeMap<u64, SalBox<SalVec<Link>>>> = Root::new("tree");
const VERSIONS: Root<SalVec<CowMap<u64, SalRc<[Link]>>>> = Root::new("versions");
const HASHED: Root<SalVec<CowHashMap<u64, SalRc<str>>>> = Root::new("hashed");
const VECTORS: Root<SalVec<CowVec<SalRc<Link>>>> = Root::new("vectors");

/// A list of so many nodes.
fn list(len: usize) -> Link {
    (0..len).fold(Link::End, |next, at| Link::Next { number: at as u32, next: SalRc::new(next) })
}

/// A heap with something of everything, and as much that is gone, of which words are left.
fn filled(scale: usize) -> Heap {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let tx = heap.write().unwrap();
    let lists = tx.root_or_default(LISTS).unwrap();
    lists.extend((0..20).map(|at| list(at * scale)));
    (0..5).for_each(|_| drop(lists.pop()));
    let shared: Vec<SalRc<Link>> = (0..10).map(|_| SalRc::new(list(3))).collect();
    let map = tx.root_or_default(MAP).unwrap();
    for key in 0..10 * scale as u64 {
        map.insert(key, shared.iter().take(key as usize % 11).cloned().collect::<SalVec<_>>());
    }
    map.retain(|key, _| key % 3 != 0);
    let tree = tx.root_or_default(TREE).unwrap();
    for key in 0..5 * scale as u64 {
        tree.insert(key, SalBox::new(SalVec::from([Link::Text("text".into()), list(2), Link::End])));
    }
    tree.retain(|key, _| key % 4 != 0);
    let versions = tx.root_or_default(VERSIONS).unwrap();
    let hashed = tx.root_or_default(HASHED).unwrap();
    let vectors = tx.root_or_default(VECTORS).unwrap();
    versions.push(CowMap::new());
    hashed.push(CowHashMap::new());
    vectors.push(CowVec::new());
    for version in 0..4 {
        let (mut map, mut table) = (versions[version].clone(), hashed[version].clone());
        let mut vector = vectors[version].clone();
        for key in 0..scale as u64 {
            map.insert(key * 7 % 100, SalRc::from([list(1), Link::End].as_slice()));
            table.insert(key * 5 % 100, SalRc::from("text"));
            vector.push(shared[key as usize % 10].clone());
        }
        map.remove(&7);
        table.remove(&5);
        vector.pop();
        versions.push(map);
        hashed.push(table);
        vectors.push(vector);
    }
    drop(tx);
    heap
}

fn snapshot(heap: &Heap) -> Snapshot {
    // SAFETY: no other thread uses the heap.
    unsafe { Snapshot::of(heap.inner()) }.unwrap()
}

/// What the heap itself says of the pointers to a block.
fn count_at(heap: &Heap, address: usize) -> Option<usize> {
    let class = match heap.inner().core().run_of(address)? {
        Run::Slab { class, .. } => Some(class),
        Run::Large { .. } => None,
    };
    // SAFETY: the block is counted, and its heap open.
    unsafe { crate::alloc::count_table::place_of(address, class).as_ref() }.number()
}

fn words(snapshot: &Snapshot, marks: &Marks) -> Vec<u64> {
    (0..snapshot.runs.units() * WORDS_PER_UNIT).map(|word| marks.word(word)).collect()
}

/// What one marking found: marks, numbers, rounds; none if types could not be followed.
type Outcome = Option<(Vec<u64>, Vec<(usize, u32)>, u64)>;

fn mark_with(
    heap: &Heap,
    snapshot: &Snapshot,
    image: Image<'_>,
    program: Option<&Program>,
    [workers, stack]: [usize; 2],
) -> Outcome {
    let marks = copy_of(&snapshot.free, &snapshot.runs).unwrap();
    let tallies = Tallies::new(snapshot.runs.units()).unwrap();
    let job = Job::default();
    let marker = Marker::new(image, &snapshot.runs, &marks, &job).with(workers, stack);
    let marker = marker.typed(program).counting(&tallies);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| marker.work(|| ()).unwrap());
        }
    });
    if job.pool.is_refused() {
        return None;
    }
    assert!(job.pool.is_done());
    let numbers = tallies.all(heap.inner().core(), &snapshot.runs);
    Some((words(snapshot, &marks), numbers, job.counters.rounds.load(Ordering::Relaxed)))
}

#[test]
fn any_number_of_workers_and_any_stack_find_the_same_blocks_and_numbers() {
    let heap = filled(100);
    let snapshot = snapshot(&heap);
    let mark = |program, how| mark_with(&heap, &snapshot, snapshot.image, program, how).unwrap();
    for program in [Some(&snapshot.program), None] {
        let (marks, numbers, rounds) = mark(program, [1, STACK]);
        assert_eq!(rounds, 0);
        if program.is_some() {
            for &(address, number) in &numbers {
                assert_eq!(count_at(&heap, address), Some(number as usize), "at {address:#x}");
            }
            // All that are counted, and nothing else is left.
            // SAFETY: no other thread uses the heap.
            let objects = unsafe { heap.objects() }.unwrap();
            let counted = objects.filter(|block| count_at(&heap, block.start).is_some());
            assert!(numbers.len() == counted.count() && numbers.len() > 1000);
        }
        let mut overflowed = 0;
        for how in [[1, 0], [1, 1], [1, 7], [2, 1], [2, 50], [4, 1 << 16], [3, 0], [4, 3]] {
            let (other, again, rounds) = mark(program, how);
            assert!(marks == other && numbers == again, "{how:?}");
            overflowed += u64::from(rounds > 0);
        }
        assert!(overflowed >= 4, "stacks were meant to be too small");
    }
}

#[test]
fn a_list_of_a_million_shared_nodes_needs_no_stack() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let tx = heap.write().unwrap();
    let lists = tx.root_or_default(LISTS).unwrap();
    lists.push(list(1_000_000));
    drop(tx);
    let snapshot = snapshot(&heap);
    let (_, numbers, rounds) = mark_with(&heap, &snapshot, snapshot.image, Some(&snapshot.program), [1, 4]).unwrap();
    assert_eq!((numbers.len(), rounds), (1_000_000, 0));
    assert!(numbers.iter().all(|&(_, number)| number == 1));
    // SAFETY: nobody else uses the heap.
    assert!(unsafe { heap.collect() }.unwrap().is_precise);
    drop(heap.write().unwrap().take_root(LISTS).unwrap());
    // SAFETY: as above.
    assert_eq!(unsafe { heap.objects() }.unwrap().count(), 0);
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// A copy of a heap that can be damaged.
struct Copied {
    bytes: Zeroed<AtomicU64>,
    snapshot: Snapshot,
    heap: Heap,
}

impl Copied {
    fn of(heap: Heap) -> Self {
        let (core, snapshot) = (heap.inner().core(), snapshot(&heap));
        let len = snapshot.image.len();
        let bytes = Zeroed::<AtomicU64>::new(len / 8).unwrap();
        let layout = core.layout;
        let segments = layout.segments.offset as usize;
        let parts = [layout.roots, layout.types].map(|area| area.offset as usize..(area.offset + area.len) as usize);
        for part in parts.into_iter().chain(std::iter::once(segments..segments + snapshot.runs.units() * UNIT)) {
            for at in part.step_by(8) {
                let word: *const u64 = std::ptr::with_exposed_provenance(core.base + at);
                // SAFETY: usable memory of the heap.
                bytes[at / 8].store(unsafe { word.read_volatile() }, Ordering::Relaxed);
            }
        }
        Self { bytes, snapshot, heap }
    }

    fn image(&self) -> Image<'static> {
        let core = self.heap.inner().core();
        // SAFETY: the copy lives as long as it is used, and whoever damages it does not mark meanwhile.
        unsafe { Image::new(self.bytes.as_ptr().cast(), core.window, core.layout, self.snapshot.runs.units()) }
    }

    fn mark(&self, program: Option<&Program>) -> Outcome {
        mark_with(&self.heap, &self.snapshot, self.image(), program, [1, 64])
    }
}

/// Whether all of one is in the other.
fn is_within(part: &Outcome, whole: &Outcome) -> bool {
    let (Some((marks, numbers, _)), Some((more, larger, _))) = (part, whole) else { return true };
    let larger: std::collections::HashMap<usize, u32> = larger.iter().copied().collect();
    marks.iter().zip(more).all(|(part, whole)| part & !whole == 0)
        && numbers.iter().all(|(address, number)| larger.get(address).is_some_and(|most| number <= most))
}

#[test]
fn damaged_blocks_make_it_refuse_or_find_no_more_than_without_types() {
    let copied = Copied::of(filled(20));
    let segments = copied.heap.inner().core().layout.segments.offset as usize / 8;
    let used: Vec<usize> = (segments..segments + copied.snapshot.runs.units() * UNIT / 8)
        .filter(|&at| copied.bytes[at].load(Ordering::Relaxed) != 0)
        .collect();
    let seed = 0x5EED_1234_u64;
    let mut random = Random(seed);
    let (mut refused, mut followed) = (0, 0);
    for round in 0..250 {
        let mut before = Vec::new();
        for _ in 0..1 + random.below(4) {
            let at = used[random.below(used.len())];
            let word = copied.bytes[at].load(Ordering::Relaxed);
            before.push((at, word));
            let other = copied.bytes[used[random.below(used.len())]].load(Ordering::Relaxed);
            let damaged = match random.below(6) {
                0 => word ^ 1 << random.below(64),
                1 => word ^ 1 << (4 + random.below(16)),
                2 => random.0,
                3 => other,
                4 => word.wrapping_add(random.below(3) as u64).wrapping_sub(1),
                _ => [0, u64::MAX, 1 << 63, 1 << 40][random.below(4)],
            };
            copied.bytes[at].store(damaged, Ordering::Relaxed);
        }
        let (with, without) = (copied.mark(Some(&copied.snapshot.program)), copied.mark(None));
        assert!(without.is_some());
        assert!(is_within(&with, &without), "seed {seed:#x}, round {round}: {before:x?}");
        *if with.is_none() { &mut refused } else { &mut followed } += 1;
        for (at, word) in before.into_iter().rev() {
            copied.bytes[at].store(word, Ordering::Relaxed);
        }
    }
    assert!(refused > 15 && followed > 15, "{refused} refused, {followed} followed");
    assert!(copied.mark(Some(&copied.snapshot.program)).is_some(), "what was damaged is as it was");
}

#[test]
fn damaged_roots_and_types_make_it_refuse() {
    let copied = Copied::of(filled(5));
    let expected = copied.mark(Some(&copied.snapshot.program)).unwrap();
    let layout = copied.heap.inner().core().layout;
    let mut random = Random(0x5EED_4321);
    let mut refused = 0;
    for area in [layout.roots, layout.types] {
        let start = area.offset as usize / 8;
        let used: Vec<usize> = (start..start + area.len as usize / 8)
            .filter(|&at| copied.bytes[at].load(Ordering::Relaxed) != 0)
            .collect();
        for _ in 0..100 {
            let at = used[random.below(used.len())];
            let word = copied.bytes[at].load(Ordering::Relaxed);
            copied.bytes[at].store(word ^ 1 << random.below(64), Ordering::Relaxed);
            let program = Program::of(&copied.image());
            match copied.mark(Some(&program)) {
                // Padding behind a record, say.
                Some((marks, numbers, _)) => assert!(marks == expected.0 && numbers == expected.1),
                None => refused += 1,
            }
            copied.mark(None).unwrap();
            copied.bytes[at].store(word, Ordering::Relaxed);
        }
    }
    assert!(refused > 130, "{refused}");
}

#[test]
fn descriptions_that_are_of_other_types_are_no_harm() {
    let copied = Copied::of(filled(5));
    let types = copied.heap.inner().core().layout.types.offset as usize / 8;
    let records: Vec<(usize, usize)> = {
        let (mut found, mut at) = (Vec::new(), 0);
        loop {
            let len = copied.bytes[types + at].load(Ordering::Relaxed) as u32 as usize;
            if len == 0 {
                break found;
            }
            found.push((types + at, len));
            at += 1 + len.div_ceil(8);
        }
    };
    let seed = 0x5EED_7777_u64;
    let mut random = Random(seed);
    let mut followed = 0;
    for round in 0..400 {
        let (record, len) = records[random.below(records.len())];
        let before: Vec<u64> =
            (0..=len.div_ceil(8)).map(|word| copied.bytes[record + word].load(Ordering::Relaxed)).collect();
        let mut bytes: Vec<u8> = before[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
        for _ in 0..1 + random.below(2) {
            let at = random.below(len);
            bytes[at] = if random.below(2) == 0 { bytes[at] ^ 1 << random.below(8) } else { random.below(9) as u8 };
        }
        for (word, chunk) in bytes.chunks(8).enumerate() {
            let value = u64::from_le_bytes(chunk.try_into().unwrap());
            copied.bytes[record + 1 + word].store(value, Ordering::Relaxed);
        }
        let checksum = crc32c::crc32c(&bytes[..len]);
        copied.bytes[record].store(len as u64 | u64::from(checksum) << 32, Ordering::Relaxed);
        let (with, without) = (copied.mark(Some(&Program::of(&copied.image()))), copied.mark(None));
        assert!(is_within(&with, &without), "seed {seed:#x}, round {round}");
        followed += u64::from(with.is_some());
        for (word, value) in before.into_iter().enumerate() {
            copied.bytes[record + word].store(value, Ordering::Relaxed);
        }
    }
    assert!(followed > 30, "{followed}");
}

#[test]
fn a_block_with_two_owners_makes_it_refuse() {
    const OUTER: Root<SalVec<SalVec<SalVec<u64>>>> = Root::new("outer");
    let heap = HeapOptions::new().capacity(64 << 20).volatile().unwrap();
    let tx = heap.write().unwrap();
    let outer = tx.root_or_default(OUTER).unwrap();
    outer.push(SalVec::from([SalVec::from([1, 2]), SalVec::from([3, 4]), SalVec::new()]));
    let (inside, base) = (outer[0].as_ptr().addr(), heap.address_range().start);
    drop(tx);
    let copied = Copied::of(heap);
    let program = Some(&copied.snapshot.program);
    assert!(copied.mark(program).is_some());
    let word = |vec: usize| &copied.bytes[(inside - base) / 8 + vec * 3];
    let second = word(1).swap(word(0).load(Ordering::Relaxed), Ordering::Relaxed);
    assert!(copied.mark(program).is_none(), "two vectors with one block");
    word(1).store(second + 8, Ordering::Relaxed);
    assert!(copied.mark(program).is_none(), "a block that begins in another one");
    word(1).store(second, Ordering::Relaxed);
    let length = &copied.bytes[(inside - base) / 8 + 3 + 1];
    length.store(1000, Ordering::Relaxed);
    assert!(copied.mark(program).is_none(), "more elements than there is room for");
    length.store(2, Ordering::Relaxed);
    assert!(copied.mark(program).is_some());
}

#[test]
fn pages_of_zeros_need_not_be_looked_at_where_values_lie_across_their_borders() {
    const WIDE: Root<SalVec<(Link, u64)>> = Root::new("wide");
    let heap = HeapOptions::new().capacity(64 << 20).volatile().unwrap();
    let tx = heap.write().unwrap();
    let wide = tx.root_or_default(WIDE).unwrap();
    assert!(crate::format::PAGE % size_of::<(Link, u64)>() != 0);
    for at in 0..100_000 {
        wide.push((if at % 1009 == 0 { list(2) } else { Link::End }, 0));
    }
    drop(tx);
    let snapshot = snapshot(&heap);
    let (core, page) = (heap.inner().core(), crate::format::PAGE);
    let mut data = DataPages::none_of(snapshot.image.len()).unwrap();
    let mut zeros = 0;
    let segments = core.layout.segments.offset as usize;
    data.add(core.layout.roots.offset as usize..(core.layout.types.offset + core.layout.types.len) as usize);
    for at in (segments..snapshot.image.len()).step_by(page) {
        let words = (at..at + page).step_by(8).map(|at| snapshot.image.load(at - segments));
        if words.into_iter().any(|word| word != 0) {
            data.add(at..at + page);
        } else {
            zeros += 1;
        }
    }
    assert!(zeros > 300, "{zeros}");
    let program = Some(&snapshot.program);
    let expected = mark_with(&heap, &snapshot, snapshot.image, program, [1, STACK]).unwrap();
    // SAFETY: all other pages were seen to hold zeros only.
    let image = unsafe { snapshot.image.with_data(Some(&data)) };
    for how in [[1, STACK], [2, 3], [1, 0]] {
        let (marks, numbers, _) = mark_with(&heap, &snapshot, image, program, how).unwrap();
        assert!(marks == expected.0 && numbers == expected.1, "{how:?}");
    }
    assert_eq!(expected.1.len(), 200);
}
