//! Handles in shared heaps: after a kill, and after power cuts in which any page of the file may be as it was at any moment since, each
//! leads to where its value was at the last durable sync, whoever has moved or replaced it.
#![allow(unsafe_code)]

mod support;

use sal::collections::{CowMap, CowVec};
use sal::prelude::*;
use sal::{CompactOptions, Handle, HeapOptions, Mode, Movable, OpenError, Order, SalCollect, SalMovable, SyncLevel};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::heaps::{opened, run_and_kill, unmap, wait_for_the_kill};
use support::power_cuts::{Tracer, for_each_image};
use support::{Random, SetAtEnd, alone, fresh_path, process};

/// A value whose parts must fit together, whatever its noise is.
#[derive(Persist, Movable)]
#[repr(C)]
struct Record {
    number: u64,
    text: SalString,
    /// Changes at any moment.
    noise: [u64; 3],
    numbers: SalVec<u64>,
}

impl Record {
    fn new(number: u64, noise: u64) -> Self {
        let text = "ab".repeat(number as usize % 90);
        let numbers = (0..number % 40).map(|at| at ^ number ^ noise).collect();
        Self { number, text: text.as_str().into(), noise: [noise, noise.rotate_left(7), !noise], numbers }
    }

    fn check(&self) {
        let wanted = Self::new(self.number, self.noise[0]);
        assert!(self.noise == wanted.noise && self.text == wanted.text && self.numbers == wanted.numbers);
    }
}

/// Whoever drops one where the last commit has it spoils the commit.
impl Drop for Record {
    fn drop(&mut self) {
        self.noise = std::hint::black_box([1, 2, 3]);
    }
}

const MAP: Root<CowMap<u64, Handle<Record>>> = Root::new("map");
/// The same values by another way, and texts; large ones have blocks of their own.
const LIST: Root<CowVec<Handle<Record>>> = Root::new("list");
const TEXTS: Root<CowVec<SalRc<SalVec<Handle<str>>>>> = Root::new("texts");

fn options() -> HeapOptions {
    HeapOptions::new().mode(Mode::Shared).capacity(256 << 20)
}

fn open(path: &Path) -> Heap {
    opened(&options(), path)
}

/// What the roots hold, as text; no noise.
fn state_of(heap: &Heap) -> String {
    let mut text = String::new();
    let (read, pin) = (heap.read().unwrap(), heap.pin());
    let number = |handle: &Handle<Record>| {
        handle.get(&pin).check();
        handle.get(&pin).number
    };
    if let Ok(map) = read.root(MAP) {
        map.check().unwrap();
        map.iter().for_each(|(key, handle)| write!(text, " {key}={}", number(handle)).unwrap());
    }
    for name in read.versions(MAP).unwrap() {
        write!(text, "\n{name}:").unwrap();
        let map = read.version(MAP, &name).unwrap();
        map.iter().for_each(|(key, handle)| write!(text, " {key}={}", number(handle)).unwrap());
    }
    if let Ok(list) = read.root(LIST) {
        write!(text, "\nlist:").unwrap();
        list.iter().for_each(|handle| write!(text, " {}", number(handle)).unwrap());
    }
    if let Ok(texts) = read.root(TEXTS) {
        write!(text, "\ntexts:").unwrap();
        for handle in texts.iter().flat_map(|texts| texts.iter()) {
            let value = handle.get(&pin);
            assert!(value.chars().all(|char| char == 'x'));
            write!(text, " {}", value.len()).unwrap();
        }
    }
    text
}

/// Changes a heap at random.
struct Changer {
    random: Random,
    /// Handles that no root has.
    held: Vec<Handle<Record>>,
    /// Whether it moves values: then hardly any is where it was at the last sync, whatever else is done with it.
    moves: bool,
}

impl Changer {
    fn new(seed: u64) -> Self {
        Self { random: Random(seed), held: Vec::new(), moves: true }
    }

    fn change(&mut self, heap: &Heap) {
        let tx = heap.write().unwrap();
        let key = self.random.below(300) as u64;
        let (number, noise) = (self.random.next() % 1_000, self.random.next());
        match self.random.below(20) {
            0..=5 => {
                let map = tx.root_or_default(MAP).unwrap();
                for key in key..key + self.random.below(9) as u64 {
                    map.insert(key, heap.handle(Record::new(number, noise)));
                }
            }
            // The same value for all who have it, versions too.
            6..=9 => {
                let map = tx.root_or_default(MAP).unwrap();
                for (_, handle) in map.range(key..key + 15) {
                    handle.update(Record::new(number, noise)).unwrap();
                }
            }
            10 | 11 => {
                let map = tx.root_or_default(MAP).unwrap();
                for key in key..key + 12 {
                    self.held.extend(map.remove(&key));
                }
            }
            12 => {
                let (map, list) = (tx.root_or_default(MAP).unwrap(), tx.root_or_default(LIST).unwrap());
                for (_, handle) in map.range(key..key + 5) {
                    list.push(handle.clone());
                }
                while list.len() > 40 {
                    list.pop();
                }
            }
            // There may be no such root just now.
            13 => drop(tx.keep_version(MAP, &format!("v{}", self.random.below(3)))),
            14 => {
                let names = tx.versions(MAP).unwrap();
                if !names.is_empty() {
                    let name = &names[self.random.below(names.len())];
                    if key % 2 == 0 {
                        let _ = tx.roll_back(MAP, name);
                    }
                    tx.drop_version(MAP, name).unwrap();
                }
            }
            15 => {
                let texts = tx.root_or_default(TEXTS).unwrap();
                let len = [0, 100, 5_000, 300_000][self.random.below(4)];
                let few = (0..3).map(|more| heap.handle_str(&"x".repeat(len + more))).collect::<SalVec<_>>();
                texts.push(heap.rc(few));
                if texts.len() > 6 {
                    texts.remove(2);
                }
            }
            16 if key < 20 => drop(tx.take_root(MAP)),
            17 => self.held.truncate(3),
            _ => {
                for handle in &self.held {
                    handle.update_with(|old| Record::new(old.number, noise)).unwrap();
                }
            }
        }
        drop(tx);
        match self.random.below(12) {
            0 => drop(heap.purge()),
            1 | 2 if self.moves => compact(heap, &mut self.random),
            _ => {}
        }
    }
}

fn compact(heap: &Heap, random: &mut Random) {
    let order = [Order::Address, Order::Entry][random.below(2)];
    heap.compact_with(CompactOptions::new().sparse([0.5, 1.0][random.below(2)]).order(order)).unwrap();
}

/// All values of the map.
fn values(heap: &Heap) -> Vec<Handle<Record>> {
    heap.with_root(MAP, |map| map.values().cloned().collect()).unwrap_or_default()
}

/// Moves values, and gives some of them other noise, until it is over, or has been done a few times: what is moved or replaced takes
/// memory until the next sync.
fn disturb(heap: &Heap, values: &[Handle<Record>], seed: u64, is_over: &AtomicBool) {
    let mut random = Random(seed);
    for _ in 0..10 {
        compact(heap, &mut random);
        let noise = random.next();
        for handle in values.iter().filter(|_| random.below(3) == 0) {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            // Parts of a new value come into the heap of the session.
            let _session = heap.write().unwrap();
            handle.update_with(|old| Record::new(old.number, noise)).unwrap();
            DISTURBED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Drops all roots and versions, syncs, and looks that nothing is left but what handles need for the next value.
fn drop_all(heap: &Heap) {
    let tx = heap.write().unwrap();
    for name in tx.versions(MAP).unwrap() {
        tx.drop_version(MAP, &name).unwrap();
    }
    drop((tx.take_root(MAP), tx.take_root(LIST), tx.take_root(TEXTS)));
    drop(tx);
    // What is dropped may wait for pins, and then for a sync.
    heap.compact().unwrap();
    heap.sync().unwrap();
    heap.compact().unwrap();
    heap.sync().unwrap();
    assert!(heap.stats().live_bytes < 2 * (2 << 20) + 4096, "{}", heap.stats());
    // SAFETY: nobody else uses the heap, and nothing in it is held.
    let collected = unsafe { heap.collect() }.unwrap();
    assert!(collected.reclaimed_blocks == 0 && collected.is_precise, "{collected}");
}

/// What writes the file's changes down, in the process that is killed.
static TRACER: Mutex<Option<Tracer>> = Mutex::new(None);
/// Whether the next sync of a file is one before the header that makes a commit count.
static BEFORE_HEADER: AtomicBool = AtomicBool::new(false);
/// Whether somebody changes values, and how many have been.
static IS_DISTURBED: AtomicBool = AtomicBool::new(false);
static DISTURBED: AtomicU64 = AtomicU64::new(0);

/// What is told of a sync of a file, by its number from 1 on, before it and after it; if it answers false before it, the sync fails.
type Hook = fn(u32, bool) -> bool;
static HOOK: Mutex<Option<(Hook, u32)>> = Mutex::new(None);

fn set_hook(hook: Option<Hook>) {
    *HOOK.lock().unwrap() = hook.map(|hook| (hook, 0));
}

/// The crate's calls come here. When a file has been synced before its header is written, somebody else goes on changing it for a while,
/// and then a power cut may come.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: libc::c_int) -> libc::c_int {
    let hook = HOOK.lock().unwrap().as_mut().map(|(hook, number)| {
        *number += 1;
        (*hook, *number)
    });
    if hook.is_some_and(|(hook, number)| !hook(number, true)) {
        // SAFETY: a word of the thread.
        unsafe { *libc::__errno_location() = libc::EIO };
        return -1;
    }
    // SAFETY: the call of that name, with its argument.
    let done = unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) } as libc::c_int;
    if let Some((hook, number)) = hook {
        hook(number, false);
    }
    if BEFORE_HEADER.swap(false, Ordering::Relaxed) {
        let begun = DISTURBED.load(Ordering::Relaxed);
        while IS_DISTURBED.load(Ordering::Relaxed) && DISTURBED.load(Ordering::Relaxed) < begun + 150 {
            std::thread::yield_now();
        }
        TRACER.lock().unwrap().as_mut().unwrap().before_the_header();
    }
    done
}

#[test]
fn a_power_cut_leads_each_handle_back_to_its_last_durable_value() {
    let name = "a_power_cut_leads_each_handle_back_to_its_last_durable_value";
    if let Some((role, path)) = process::role() {
        let seed = role.parse().unwrap();
        let heap = open(&path);
        let mut changer = Changer::new(seed);
        *TRACER.lock().unwrap() = Some(Tracer::new(&path));
        let trace = |work: &dyn Fn(&mut Tracer)| work(TRACER.lock().unwrap().as_mut().unwrap());
        trace(&|tracer| tracer.cut(Some(&state_of(&heap))));
        for round in 0..16 {
            changer.moves = round % 8 >= 4;
            for _ in 0..3 {
                (0..changer.random.below(10)).for_each(|_| changer.change(&heap));
                match changer.random.below(5) {
                    0 => drop(heap.sync_with(SyncLevel::Seal).unwrap()),
                    1 => drop(heap.sync_with(SyncLevel::Async).unwrap()),
                    _ => {}
                }
                trace(&|tracer| tracer.cut(None));
            }
            let (state, values) = (state_of(&heap), values(&heap));
            if round % 2 == 0 || !changer.moves {
                BEFORE_HEADER.store(true, Ordering::Relaxed);
                heap.sync().unwrap();
                trace(&|tracer| tracer.durable_before(&state));
                continue;
            }
            // While the commit is being written, too.
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let _ends = SetAtEnd(&is_over);
                IS_DISTURBED.store(true, Ordering::Relaxed);
                scope.spawn(|| {
                    disturb(&heap, &values, seed + round, &is_over);
                    IS_DISTURBED.store(false, Ordering::Relaxed);
                });
                BEFORE_HEADER.store(true, Ordering::Relaxed);
                heap.sync().unwrap();
                trace(&|tracer| tracer.durable_before(&state));
                trace(&|tracer| tracer.cut(None));
            });
        }
        wait_for_the_kill();
    }
    let _alone = alone();
    let mut images = 0;
    // More, if it is wanted: `SAL_CRASH_SCENARIOS`.
    let seeds = std::env::var("SAL_CRASH_SCENARIOS").ok().and_then(|value| value.parse().ok()).unwrap_or(1);
    for seed in 21..21 + seeds {
        println!("seed {seed}");
        let (_directory, path) = fresh_path();
        run_and_kill(name, &seed.to_string(), &path);
        for_each_image(&path, seed, |durable, what| {
            let heap = open(&path);
            assert!(state_of(&heap) == durable, "seed {seed}, image {images}, {what}");
            if images % 10 == 0 {
                assert!(heap.verify().is_good());
                let mut changer = Changer::new(images);
                (0..20).for_each(|_| changer.change(&heap));
                heap.sync().unwrap();
                drop(changer);
                drop_all(&heap);
            }
            unmap(heap);
            images += 1;
        });
    }
    println!("{images} images");
    assert!(images > 150);
}

/// A killed heap is opened, which goes back to a sync that had not waited for the disk, and then the power is cut.
#[test]
fn a_power_cut_while_a_killed_heap_is_opened_leads_to_one_of_the_two_syncs() {
    fn hook(number: u32, is_before: bool) -> bool {
        let trace = |work: &dyn Fn(&mut Tracer)| work(TRACER.lock().unwrap().as_mut().unwrap());
        let sealed = || std::fs::read_to_string(support::process::role().unwrap().1.with_extension("sealed")).unwrap();
        match (number, is_before) {
            // What the last sync left is being made durable; the heap is back there; the first commit of the next run is made.
            (1 | 3 | 6, true) => trace(&|tracer| tracer.cut(None)),
            (2 | 4 | 7, false) => trace(&|tracer| tracer.durable_before(&sealed())),
            _ => {}
        }
        true
    }
    let name = "a_power_cut_while_a_killed_heap_is_opened_leads_to_one_of_the_two_syncs";
    if let Some((role, path)) = process::role() {
        if let Some(seed) = role.strip_prefix("kill ") {
            let heap = open(&path);
            let mut changer = Changer::new(seed.parse().unwrap());
            changer.moves = false;
            (0..40).for_each(|_| changer.change(&heap));
            heap.sync().unwrap();
            let mut tracer = Tracer::new(&path);
            tracer.cut(Some(&state_of(&heap)));
            (0..20).for_each(|_| changer.change(&heap));
            heap.sync_with(SyncLevel::Seal).unwrap();
            std::fs::write(path.with_extension("sealed"), state_of(&heap)).unwrap();
            (0..10).for_each(|_| changer.change(&heap));
            tracer.cut(None);
            wait_for_the_kill();
        } else {
            *TRACER.lock().unwrap() = Some(Tracer::resume(&path));
            set_hook(Some(hook));
            let heap = open(&path);
            set_hook(None);
            assert_eq!(state_of(&heap), std::fs::read_to_string(path.with_extension("sealed")).unwrap());
            wait_for_the_kill();
        }
    }
    let _alone = alone();
    for seed in [41, 42, 43] {
        let (_directory, path) = fresh_path();
        run_and_kill(name, &format!("kill {seed}"), &path);
        run_and_kill(name, "open", &path);
        let sealed = std::fs::read_to_string(path.with_extension("sealed")).unwrap();
        let mut found = [0, 0];
        for_each_image(&path, seed, |durable, what| {
            let heap = open(&path);
            let state = state_of(&heap);
            assert!(state == durable || state == sealed, "seed {seed}, {found:?}, {what}");
            found[usize::from(state == sealed)] += 1;
            unmap(heap);
        });
        assert!(found[0] > 3 && found[1] > 3, "{found:?}");
    }
}

/// Of a root that is not copy-on-write nothing is gone back to; but when there is nothing to go back from, there it is.
#[test]
fn a_heap_that_is_killed_while_it_is_opened_or_closed_needs_nobody_to_find_its_handles() {
    #[derive(Persist, Movable)]
    #[persist(same_build)]
    #[expect(dead_code, reason = "it is only stored")]
    enum Hidden {
        Nothing,
        Something(SalString),
    }
    const HIDDEN: Root<SalRc<(Hidden, Handle<u64>)>> = Root::new("hidden");
    fn die(number: u32, _: bool) -> bool {
        let dies_at: u32 = process::role().unwrap().0.parse().unwrap();
        if number >= dies_at {
            // SAFETY: it ends the process, as a kill would.
            unsafe { libc::_exit(0) };
        }
        true
    }
    let name = "a_heap_that_is_killed_while_it_is_opened_or_closed_needs_nobody_to_find_its_handles";
    if let Some((_, path)) = process::role() {
        set_hook(Some(die));
        unmap(open(&path));
        return;
    }
    let _alone = alone();
    for dies_at in 1..12 {
        let (_directory, path) = fresh_path();
        let heap = open(&path);
        heap.with_session(|tx| tx.set_root(HIDDEN, heap.rc((Hidden::Something("text".into()), heap.handle(7)))))
            .unwrap();
        unmap(heap);
        process::start(name, &dies_at.to_string(), &path).end();
        match support::heaps::open_with(&options(), &path) {
            Ok(heap) => {
                assert_eq!(heap.with_root(HIDDEN, |root| *root.1.get(&heap.pin())).unwrap(), 7);
                unmap(heap);
            }
            // Between the first commit of that run and its last: then the root is refused, as always.
            Err(error) => assert!(matches!(error, OpenError::PlainRoots { .. }), "{dies_at}: {error}"),
        }
    }
}

/// The heap's own maintenance would move what a collection is about to free, while that makes a commit.
#[test]
fn a_collection_beside_somebody_who_moves_values_spoils_nothing() {
    static HEAP: Mutex<Option<SalAlloc>> = Mutex::new(None);
    fn compact_meanwhile(_: u32, is_before: bool) -> bool {
        let heap = HEAP.lock().unwrap().unwrap();
        if !is_before {
            let all = CompactOptions::new().sparse(1.0);
            std::thread::scope(|scope| drop(scope.spawn(|| heap.compact_with(all).unwrap()).join().unwrap()));
        }
        true
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    *HEAP.lock().unwrap() = Some(heap.alloc());
    heap.with_session(|tx| tx.set_root(MAP, (0..300).map(|key| (key, heap.handle(Record::new(key, 0)))).collect()))
        .unwrap();
    for round in 0..5 {
        // Nobody has these.
        std::mem::forget((0..6_000_u64).map(|n| heap.handle([n; 10])).collect::<Vec<_>>());
        set_hook(Some(compact_meanwhile));
        // SAFETY: only the root holds anything, and what moves values holds nothing.
        let report = unsafe { heap.collect() }.unwrap();
        set_hook(None);
        assert!(report.is_precise && report.reclaimed_blocks >= 6_000, "{report}");
        // What is made next lies where entries were.
        let held: Vec<_> = (0..10_000_u64).map(|n| heap.rc([n; 2])).collect();
        heap.sync().unwrap();
        assert!(held.iter().enumerate().all(|(n, value)| **value == [n as u64; 2]), "{round}");
        let pin = heap.pin();
        heap.with_root(MAP, |map| map.values().for_each(|handle| handle.get(&pin).check())).unwrap();
    }
    drop_all(&heap);
    unmap(heap);
}

#[test]
fn a_killed_heap_has_the_values_of_the_last_sync_that_counts() {
    let name = "a_killed_heap_has_the_values_of_the_last_sync_that_counts";
    let levels = [SyncLevel::Seal, SyncLevel::Async, SyncLevel::Data];
    if let Some((role, path)) = process::role() {
        let level = *levels.iter().find(|level| format!("{level:?}") == role).unwrap();
        let heap = open(&path);
        let mut changer = Changer::new(31);
        changer.moves = level == SyncLevel::Data;
        for step in 0..200 {
            changer.change(&heap);
            match step % 20 {
                5 => drop(heap.sync().unwrap()),
                12 | 14 => drop(heap.sync_with(level).unwrap()),
                _ => {}
            }
        }
        // Twice, with changes of the same values in between: neither is durable.
        heap.sync_with(level).unwrap();
        (0..30).for_each(|_| changer.change(&heap));
        heap.sync_with(level).unwrap();
        std::fs::write(path.with_extension("state"), state_of(&heap)).unwrap();
        let (values, is_over) = (values(&heap), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| disturb(&heap, &values, 5, &is_over));
            (0..60).for_each(|_| changer.change(&heap));
            wait_for_the_kill();
        });
    }
    let _alone = alone();
    for level in levels {
        let (_directory, path) = fresh_path();
        run_and_kill(name, &format!("{level:?}"), &path);
        let heap = open(&path);
        let expected = std::fs::read_to_string(path.with_extension("state")).unwrap();
        assert!(!expected.is_empty() && state_of(&heap) == expected, "{level:?}");
        drop_all(&heap);
        unmap(heap);
    }
}

#[test]
fn a_heap_that_was_closed_has_its_last_values_and_leaves_nothing_behind() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let mut state = String::new();
    for round in 0..4 {
        let heap = open(&path);
        assert_eq!(state_of(&heap), state);
        let mut changer = Changer::new(round);
        (0..150).for_each(|_| changer.change(&heap));
        if round % 2 == 0 {
            heap.sync().unwrap();
        }
        drop(changer);
        state = state_of(&heap);
        unmap(heap);
    }
    let heap = open(&path);
    drop_all(&heap);
    unmap(heap);
}

/// A value that was replaced is in the file until a sync is durable, so a program that never syncs again needs the more room.
#[test]
fn what_was_replaced_is_given_back_by_the_next_durable_sync() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    heap.with_session(|tx| tx.set_root(LIST, (0..2_000).map(|n| heap.handle(Record::new(n, n))).collect())).unwrap();
    heap.sync().unwrap();
    let mut held = Vec::new();
    for round in 0..20 {
        heap.with_root_mut(LIST, |list| {
            list.iter().for_each(|handle| handle.update_with(|old| Record::new(old.number, round)).unwrap());
        })
        .unwrap();
        heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
        heap.sync().unwrap();
        held.push(heap.stats().live_bytes);
    }
    assert!(held[19] <= held[3] + (4 << 20), "{held:?}");
    drop_all(&heap);
    unmap(heap);
}

/// The commit is one that keeps writers out until it is durable: it needs no list of what was replaced.
#[test]
fn a_heap_that_is_full_to_the_brim_is_synced_without_room_for_the_list_of_what_was_replaced() {
    const NUMBERS: Root<CowVec<Handle<u64>>> = Root::new("numbers");
    let name = "a_heap_that_is_full_to_the_brim_is_synced_without_room_for_the_list_of_what_was_replaced";
    let sum = |heap: &Heap| {
        let (read, pin) = (heap.read().unwrap(), heap.pin());
        read.root(NUMBERS).unwrap().iter().map(|handle| *handle.get(&pin)).sum::<u64>()
    };
    if let Some((role, path)) = process::role() {
        let heap = opened(&options().capacity(32 << 20), &path);
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..100_000).map(|n| heap.handle(n)).collect())).unwrap();
        heap.sync().unwrap();
        // More and more of it full, so that at some time there is no room for the list, but for all else.
        let handles: Vec<_> = heap.with_root(NUMBERS, |numbers| numbers.iter().cloned().collect()).unwrap();
        let mut round = 0;
        while handles.iter().all(|handle| handle.update_with(|n| n + 1).is_ok()) {
            round += 1;
        }
        assert!(round > 0);
        let mut held = Vec::new();
        while let Ok(block) = SalRc::try_new_in([0_u64; 2048], heap.alloc()) {
            held.push(block);
        }
        let level = if role == "seal" { SyncLevel::Seal } else { SyncLevel::Data };
        if role == "fails" {
            // The header of the commit is written, but not its sync; what counts before goes on doing so.
            let before = (0..100_000).sum::<u64>();
            set_hook(Some(|number, _| number != 2));
            assert!(heap.sync().is_err());
            set_hook(None);
            std::fs::write(path.with_extension("state"), before.to_string()).unwrap();
            drop(held);
            handles.iter().for_each(|handle| drop(handle.update_with(|n| n + 1)));
            wait_for_the_kill();
        }
        // What was replaced is given back by and by, so that there is room again.
        let mut has_room = false;
        for more in 1..6 {
            heap.sync_with(level).unwrap();
            std::fs::write(path.with_extension("state"), sum(&heap).to_string()).unwrap();
            has_room = handles[..50_000].iter().all(|handle| handle.update_with(|n| n + more).is_ok());
        }
        assert!(has_room);
        wait_for_the_kill();
    }
    let _alone = alone();
    for role in ["data", "seal", "fails"] {
        let (_directory, path) = fresh_path();
        run_and_kill(name, role, &path);
        let heap = opened(&options().capacity(32 << 20), &path);
        assert_eq!(sum(&heap).to_string(), std::fs::read_to_string(path.with_extension("state")).unwrap());
        unmap(heap);
    }
}

/// Handles where nobody finds them again are no part of what a heap goes back to.
#[test]
fn roots_that_may_hide_handles_are_plain() {
    #[derive(Persist, Movable)]
    #[persist(same_build)]
    #[expect(dead_code, reason = "it is only stored")]
    enum Hidden {
        Nothing,
        Something(SalString),
    }
    const HIDDEN: Root<SalRc<(Hidden, Handle<u64>)>> = Root::new("hidden");
    let name = "roots_that_may_hide_handles_are_plain";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        heap.with_session(|tx| tx.set_root(HIDDEN, heap.rc((Hidden::Something("text".into()), heap.handle(7)))))
            .unwrap();
        heap.sync().unwrap();
        wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "hide", &path);
    // SAFETY: the tests write these files through this crate only.
    let refused = unsafe { options().open(&path) }.unwrap_err();
    assert!(matches!(&refused, OpenError::PlainRoots { roots } if roots == &["hidden"]), "{refused}");
}

#[test]
fn models_agree_with_what_is_replaced_by_many_threads_between_syncs() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    heap.with_session(|tx| tx.set_root(MAP, (0..500).map(|key| (key, heap.handle(Record::new(key, 0)))).collect()))
        .unwrap();
    let mut model: BTreeMap<u64, u64> = (0..500).map(|key| (key, key)).collect();
    for round in 1..=6 {
        std::thread::scope(|scope| {
            let heap = &heap;
            for part in 0..4_u64 {
                scope.spawn(move || {
                    let all: Vec<_> = heap.with_root(MAP, |map| map.values().cloned().collect()).unwrap();
                    for handle in all {
                        // Each value once for each thread. Parts of a new value come into the heap of the session.
                        let _session = heap.write().unwrap();
                        handle.update_with(|old| Record::new(old.number + part * round, part)).unwrap();
                    }
                });
            }
            for _ in 0..5 {
                heap.sync().unwrap();
            }
        });
        model.values_mut().for_each(|number| *number += 6 * round);
    }
    heap.sync().unwrap();
    unmap(heap);
    let heap = open(&path);
    let (read, pin) = (heap.read().unwrap(), heap.pin());
    let found = read.root(MAP).unwrap();
    assert!(found.iter().map(|(&key, handle)| (key, handle.get(&pin).number)).eq(model));
    drop((read, pin));
    unmap(heap);
}
