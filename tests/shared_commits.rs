//! Shared heaps that were not closed go back to their last sync: after a kill, and after power cuts in which any page of the file
//! may be as it was at any moment since.
#![allow(unsafe_code)]

mod support;

use sal::collections::{CowMap, CowVec};
use sal::prelude::*;
use sal::{HeapOptions, Mode, OpenError, SealPolicy, SyncLevel};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::heaps::{run_and_kill, unmap};
use support::power_cuts::{PAGE, Tracer, data_pages, for_each_image};
use support::{Random, alone, fresh_path, process};

const MAP: Root<CowMap<u64, SalString>> = Root::new("map");
const LIST: Root<CowVec<SalRc<[u64]>>> = Root::class(7);
const PLAIN: Root<SalVec<u64>> = Root::new("plain");

fn options() -> HeapOptions {
    HeapOptions::new().mode(Mode::Shared).capacity(64 << 20)
}

fn open_with(options: &HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the tests write these files through this crate only, or as a power cut might leave them.
    unsafe { options.open_or_create(path) }
}

fn open(path: &Path) -> Heap {
    open_with(&options(), path).unwrap()
}

/// Drops all roots and versions, and syncs.
fn drop_all(heap: &Heap) {
    let tx = heap.write().unwrap();
    for name in tx.versions(MAP).unwrap() {
        tx.drop_version(MAP, &name).unwrap();
    }
    let _ = tx.take_root(MAP);
    let _ = tx.take_root(LIST);
    drop(tx);
    heap.sync().unwrap();
}

/// What the roots hold, as text.
fn state_of(heap: &Heap) -> String {
    let mut text = String::new();
    let show = |text: &mut String, name: &str, map: &CowMap<u64, SalString>| {
        map.check().unwrap();
        write!(text, "{name}:").unwrap();
        map.iter().for_each(|(key, value)| write!(text, " {key}={}", value.as_str()).unwrap());
        writeln!(text).unwrap();
    };
    let read = heap.read().unwrap();
    if let Ok(map) = read.root(MAP) {
        show(&mut text, "map", map);
    }
    for name in read.versions(MAP).unwrap() {
        show(&mut text, &name, read.version(MAP, &name).unwrap());
    }
    if let Ok(list) = read.root(LIST) {
        write!(text, "list:").unwrap();
        list.iter().for_each(|slice| write!(text, " {}*{:?}", slice.len(), slice.first()).unwrap());
        writeln!(text).unwrap();
    }
    text
}

/// The same of standard collections.
#[derive(Clone, Default)]
struct Model {
    map: Option<BTreeMap<u64, String>>,
    versions: Vec<(String, BTreeMap<u64, String>)>,
    list: Option<Vec<(usize, u64)>>,
}

impl Model {
    fn state(&self) -> String {
        let mut text = String::new();
        let maps = self.map.iter().map(|map| ("map", map));
        for (name, map) in maps.chain(self.versions.iter().map(|(name, map)| (name.as_str(), map))) {
            write!(text, "{name}:").unwrap();
            map.iter().for_each(|(key, value)| write!(text, " {key}={value}").unwrap());
            writeln!(text).unwrap();
        }
        if let Some(list) = &self.list {
            write!(text, "list:").unwrap();
            list.iter().for_each(|(len, first)| write!(text, " {len}*{:?}", Some(first)).unwrap());
            writeln!(text).unwrap();
        }
        text
    }
}

/// Changes a heap at random, and the model with it.
struct Changer {
    random: Random,
    model: Model,
    /// Pointers that no root has.
    held: Vec<SalRc<[u64]>>,
    held_maps: Vec<CowMap<u64, SalString>>,
}

impl Changer {
    fn new(seed: u64) -> Self {
        Self { random: Random(seed), model: Model::default(), held: Vec::new(), held_maps: Vec::new() }
    }

    fn text(&mut self) -> String {
        let len = [3, 20, 300][self.random.below(3)];
        format!("{:x}", self.random.next()).repeat(len / 3 + 1)
    }

    fn change(&mut self, heap: &Heap) {
        let tx = heap.write().unwrap();
        let key = self.random.below(400) as u64;
        match self.random.below(24) {
            0..=11 => {
                let map = tx.root_or_default(MAP).unwrap();
                for key in key..key + self.random.below(8) as u64 {
                    let text = self.text();
                    map.insert(key, text.as_str().into());
                    self.model.map.get_or_insert_default().insert(key, text);
                }
                self.model.map.get_or_insert_default();
            }
            12..=14 => {
                if let Some(model) = &mut self.model.map {
                    let map = tx.root_mut(MAP).unwrap();
                    for key in key..key + 9 {
                        assert_eq!(map.remove(&key).is_some(), model.remove(&key).is_some());
                    }
                    if let (Some(value), Some(model)) = (map.get_mut(&(key + 9)), model.get_mut(&(key + 9))) {
                        value.push_str("!");
                        model.push('!');
                    }
                }
            }
            15..=17 => {
                let list = tx.root_or_default(LIST).unwrap();
                let model = self.model.list.get_or_insert_default();
                let len = [1, 50, 3000, 40_000][self.random.below(4)];
                if model.len() > 8 {
                    self.held.extend(list.pop());
                    model.pop();
                    let at = self.random.below(model.len());
                    list[at] = SalRc::from_iter_in([key], heap.alloc());
                    model[at] = (1, key);
                } else {
                    list.push(SalRc::from_iter_in(vec![key; len], heap.alloc()));
                    model.push((len, key));
                }
            }
            18 | 19 => {
                if self.model.map.is_some() {
                    let name = format!("v{}", self.random.below(5));
                    tx.keep_version(MAP, &name).unwrap();
                    let map = self.model.map.clone().unwrap();
                    match self.model.versions.iter_mut().find(|version| version.0 == name) {
                        Some(version) => version.1 = map,
                        None => self.model.versions.push((name, map)),
                    }
                }
            }
            20 => {
                if !self.model.versions.is_empty() {
                    let (name, map) = self.model.versions.remove(self.random.below(self.model.versions.len()));
                    if key % 2 == 0 {
                        tx.roll_back(MAP, &name).unwrap();
                        self.model.map = Some(map);
                    }
                    tx.drop_version(MAP, &name).unwrap();
                }
            }
            21 => {
                if self.model.map.take().is_some() {
                    let map = tx.take_root(MAP).unwrap();
                    if key % 2 == 0 {
                        self.held_maps.push(map);
                    }
                }
            }
            22 => {
                if self.model.list.take().is_some() {
                    drop(tx.take_root(LIST).unwrap());
                }
            }
            _ => {
                self.held.clear();
                self.held_maps.truncate(1);
            }
        }
        drop(tx);
        if self.random.below(6) == 0 {
            heap.purge();
        }
    }
}

/// See the table of [`SyncLevel`].
#[test]
fn a_killed_heap_is_as_of_the_last_sync_that_counts_and_loses_and_leaks_nothing() {
    let name = "a_killed_heap_is_as_of_the_last_sync_that_counts_and_loses_and_leaks_nothing";
    let levels = [SyncLevel::None, SyncLevel::Seal, SyncLevel::Async, SyncLevel::Data, SyncLevel::Full];
    let options = |mode: Mode| options().mode(mode).seal_policy(SealPolicy::Logical).recovery(sal::Recovery::Eager);
    let parse = |role: &str| {
        let (mode, level) = role.split_once(' ').unwrap();
        let mode = if mode == "Shared" { Mode::Shared } else { Mode::Atomic };
        (mode, *levels.iter().find(|known| format!("{known:?}") == level).unwrap())
    };
    if let Some((role, path)) = process::role() {
        let (mode, level) = parse(&role);
        let heap = open_with(&options(mode), &path).unwrap();
        let mut changer = Changer::new(3);
        for step in 0..300 {
            changer.change(&heap);
            if step % 50 == 7 {
                heap.sync().unwrap();
            }
        }
        heap.sync().unwrap();
        let before = changer.model.state();
        (0..20).for_each(|_| changer.change(&heap));
        heap.sync_with(level).unwrap();
        let counts = level >= if mode == Mode::Shared { SyncLevel::Seal } else { SyncLevel::Async };
        let expected = if counts { changer.model.state() } else { before };
        std::fs::write(path.with_extension("state"), expected).unwrap();
        (0..40).for_each(|_| changer.change(&heap));
        heap.sync_with(SyncLevel::None).unwrap();
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    for role in [Mode::Shared, Mode::Atomic].iter().flat_map(|mode| levels.map(|level| format!("{mode:?} {level:?}"))) {
        let (_directory, path) = fresh_path();
        run_and_kill(name, &role, &path);
        let expected = std::fs::read_to_string(path.with_extension("state")).unwrap();
        let heap = open_with(&options(parse(&role).0), &path).unwrap();
        assert!(state_of(&heap) == expected, "{role}");
        // Counts are right: what nothing leads to any more goes.
        drop_all(&heap);
        assert!(heap.stats().live_bytes < 4096, "{role}: {}", heap.stats());
        unmap(heap);
    }
}

#[test]
fn a_heap_is_the_same_after_it_was_closed_and_holds_nothing_more_than_before() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let mut changer = Changer::new(5);
    let mut live = None;
    for round in 0..4 {
        let heap = open(&path);
        assert!(state_of(&heap) == changer.model.state(), "{round}");
        (0..100).for_each(|_| changer.change(&heap));
        changer.held.clear();
        changer.held_maps.clear();
        if round % 2 == 0 {
            heap.sync().unwrap();
        }
        unmap(heap);
        let heap = open(&path);
        let before = heap.stats().live_bytes;
        unmap(heap);
        let heap = open(&path);
        assert_eq!(heap.stats().live_bytes, before, "opening and closing leaves nothing behind");
        live = Some(before);
        unmap(heap);
    }
    assert!(live.unwrap() > 1000);
}

#[test]
fn roots_that_are_not_copy_on_write_are_refused_or_dropped() {
    let name = "roots_that_are_not_copy_on_write_are_refused_or_dropped";
    if let Some((role, path)) = process::role() {
        let heap = open_with(&options().seal_policy(SealPolicy::Logical), &path).unwrap();
        let mut changer = Changer::new(8);
        (0..50).for_each(|_| changer.change(&heap));
        let add = || heap.with_session(|tx| tx.set_root(PLAIN, (0..9).collect())).unwrap();
        if role == "before" {
            add();
        }
        heap.sync().unwrap();
        std::fs::write(path.with_extension("state"), changer.model.state()).unwrap();
        if role == "after" {
            add();
        }
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    for role in ["before", "after"] {
        let (_directory, path) = fresh_path();
        run_and_kill(name, role, &path);
        let refused = open_with(&options(), &path).unwrap_err();
        assert!(matches!(&refused, OpenError::PlainRoots { roots } if roots == &["plain"]), "{refused}");
        let heap = open_with(&options().drop_plain_roots(true), &path).unwrap();
        assert!(state_of(&heap) == std::fs::read_to_string(path.with_extension("state")).unwrap());
        assert!(heap.read().unwrap().root(PLAIN).is_err());
        heap.with_session(|tx| tx.set_root(PLAIN, (0..3).collect())).unwrap();
        unmap(heap);
        // One that was closed has them.
        let heap = open(&path);
        assert_eq!(heap.read().unwrap().root(PLAIN).unwrap().len(), 3);
        unmap(heap);
    }
}

#[test]
fn without_seals_nothing_is_gone_back_to_and_a_copy_of_a_file_in_use_is_refused() {
    let name = "without_seals_nothing_is_gone_back_to_and_a_copy_of_a_file_in_use_is_refused";
    if let Some((role, path)) = process::role() {
        let policy = if role == "off" { SealPolicy::Off } else { SealPolicy::Logical };
        let heap = open_with(&options().seal_policy(policy), &path).unwrap();
        heap.with_session(|tx| tx.set_root(MAP, [(1, "one".into())].into())).unwrap();
        heap.sync().unwrap();
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "off", &path);
    assert!(matches!(open_with(&options(), &path), Err(OpenError::Unclean)));
    let (_directory, path) = fresh_path();
    run_and_kill(name, "seals", &path);
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).unwrap();
    assert!(matches!(open_with(&options(), &copy), Err(OpenError::Unclean)));
    let read = open_with(&options().read_only(true), &path);
    assert!(matches!(read, Err(OpenError::Unclean)));
    let heap = open(&path);
    assert_eq!(state_of(&heap), "map: 1=one\n");
    unmap(heap);
}

#[test]
fn a_power_cut_leads_back_to_the_last_durable_sync_whatever_has_reached_the_disk() {
    let name = "a_power_cut_leads_back_to_the_last_durable_sync_whatever_has_reached_the_disk";
    if let Some((role, path)) = process::role() {
        let heap = open(&path);
        let mut tracer = Tracer::new(&path);
        let mut changer = Changer::new(role.parse().unwrap());
        tracer.cut(Some(&changer.model.state()));
        for _ in 0..25 {
            for _ in 0..3 {
                (0..changer.random.below(10)).for_each(|_| changer.change(&heap));
                match changer.random.below(6) {
                    0 => drop(heap.sync_with(SyncLevel::Seal).unwrap()),
                    1 => drop(heap.sync_with(SyncLevel::Async).unwrap()),
                    _ => {}
                }
                tracer.cut(None);
            }
            heap.sync().unwrap();
            tracer.cut(Some(&changer.model.state()));
        }
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    let mut images = 0;
    for seed in [11, 12] {
        println!("seed {seed}");
        let (_directory, path) = fresh_path();
        run_and_kill(name, &seed.to_string(), &path);
        for_each_image(&path, seed, |disk, what| {
            let heap = open(&path);
            assert!(state_of(&heap) == disk, "seed {seed}, image {images}, {what}");
            if images % 10 == 0 {
                assert!(heap.verify().is_good());
                // It can be used, and what is dropped goes.
                let mut changer = Changer::new(images);
                drop_all(&heap);
                assert!(heap.stats().live_bytes < 4096, "{}", heap.stats());
                (0..20).for_each(|_| changer.change(&heap));
                assert!(state_of(&heap) == changer.model.state());
            }
            unmap(heap);
            images += 1;
        });
    }
    println!("{images} images");
    assert!(images > 400);
}

#[test]
fn collecting_frees_what_nothing_leads_to_once_and_keeps_what_the_heap_has_for_itself() {
    use sal::SalCollect;
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let mut changer = Changer::new(4);
    for round in 0..10 {
        (0..100).for_each(|_| changer.change(&heap));
        if round % 3 == 0 {
            heap.sync().unwrap();
        }
        changer.held.clear();
        changer.held_maps.clear();
        // SAFETY: this thread alone uses the heap, and holds nothing of it.
        let leaks = unsafe { heap.leak_report() }.unwrap();
        assert_eq!(leaks.blocks, 0, "{leaks}");
        std::mem::forget(heap.rc([7_u8; 100]));
        // SAFETY: as above.
        let collected = unsafe { heap.collect() }.unwrap();
        assert_eq!(collected.reclaimed_blocks, 1, "{collected}");
        assert!(state_of(&heap) == changer.model.state());
        heap.sync().unwrap();
        assert!(heap.verify().is_good());
    }
    let before = heap.stats().live_bytes;
    heap.sync().unwrap();
    assert_eq!(heap.stats().live_bytes, before);
    heap.close().unwrap();
}

#[test]
fn a_heap_in_which_a_session_panicked_is_closed_as_of_its_last_sync() {
    let _alone = alone();
    for unmaps in [false, true] {
        let (_directory, path) = fresh_path();
        let heap = open(&path);
        let mut changer = Changer::new(9);
        (0..60).for_each(|_| changer.change(&heap));
        heap.sync().unwrap();
        let held = heap.with_root(MAP, CowMap::clone).unwrap();
        let synced = changer.model.state();
        (0..20).for_each(|_| changer.change(&heap));
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let tx = heap.write().unwrap();
            tx.root_or_default(MAP).unwrap().clear();
            panic!("half done");
        }));
        assert!(broken.is_err() && heap.sync().is_err());
        if unmaps {
            drop((held, changer));
            unmap(heap);
            let heap = open(&path);
            assert!(state_of(&heap) == synced);
            unmap(heap);
        } else {
            heap.close().unwrap();
            // What was held can be read, whoever changes the file now.
            let file = File::options().read(true).write(true).open(&path).unwrap();
            data_pages(&file).iter().for_each(|page| file.write_all_at(&[7; PAGE], page * PAGE as u64).unwrap());
            held.check().unwrap();
        }
    }
}
