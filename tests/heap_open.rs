//! Creating and opening heap files: what is accepted, what is refused and with which words.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box as SalBox;
use allocator_api2::vec::Vec as SalVector;
use sal::{Heap, HeapOptions, Mode, OpenError, Root, SalAlloc};
use std::alloc::Layout;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::bytes::{self, header, put};
use support::heaps::unmap;
use support::process::{self, hear, say};
use support::{alone, fresh_path};

const NUMBERS: Root<SalVector<u64, SalAlloc>> = Root::new("numbers");

fn open(path: &Path) -> Result<Heap, OpenError> {
    open_with(&HeapOptions::new(), path)
}

fn open_with(options: &HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: only these tests write to the file; what they damage is meant to be refused.
    unsafe { options.open(path) }
}

fn create(path: &Path) -> Heap {
    // SAFETY: as above.
    unsafe { HeapOptions::new().mode(Mode::Shared).create(path) }.unwrap()
}

/// A heap file that was closed well, with a root in it.
fn filled(path: &Path) {
    let heap = create(path);
    let tx = heap.write().unwrap();
    let mut numbers = SalVector::new_in(heap.alloc());
    numbers.extend(0..1000);
    tx.set_root(NUMBERS, numbers).unwrap();
    drop(tx);
    unmap(heap);
}

fn os_kind(error: &OpenError) -> Option<ErrorKind> {
    match error {
        OpenError::Os { source, .. } => Some(source.kind()),
        _ => None,
    }
}

#[test]
fn create_refuses_a_file_that_exists_and_leaves_it_alone() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let before = bytes::hash(&path);
    // SAFETY: see `open_with`.
    let error = unsafe { HeapOptions::new().create(&path) }.unwrap_err();
    assert_eq!(os_kind(&error), Some(ErrorKind::AlreadyExists));
    assert_eq!(bytes::hash(&path), before);
    std::fs::write(&path, "").unwrap();
    // SAFETY: see `open_with`.
    let error = unsafe { HeapOptions::new().create(&path) }.unwrap_err();
    assert_eq!(os_kind(&error), Some(ErrorKind::AlreadyExists));
}

#[test]
fn open_needs_a_file_and_open_or_create_makes_one() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    assert_eq!(os_kind(&open(&path).unwrap_err()), Some(ErrorKind::NotFound));
    assert!(!path.exists());
    for round in 0..3 {
        // SAFETY: see `open_with`.
        let heap = unsafe { Heap::open(&path) }.unwrap();
        assert_eq!((heap.mode(), heap.path()), (Mode::Atomic, Some(path.as_path())));
        let tx = heap.write().unwrap();
        *tx.root_or_default(Root::<u64>::new("rounds")).unwrap() += 1;
        assert_eq!(*tx.root(Root::<u64>::new("other")).err().map_or(&0, |_| &round), round);
        drop(tx);
        assert!(heap.read().unwrap().root(Root::<u64>::new("rounds")).is_ok_and(|rounds| *rounds == round + 1));
        unmap(heap);
    }
    let missing = path.with_file_name("no").join("heap.sal");
    // SAFETY: see `open_with`.
    let error = unsafe { Heap::open(&missing) }.unwrap_err();
    assert_eq!(os_kind(&error), Some(ErrorKind::NotFound));
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let (directory, path) = fresh_path();
    for options in [HeapOptions::new(), HeapOptions::new().read_only(true)] {
        assert!(matches!(open_with(&options, directory.path()), Err(OpenError::NotAFile)));
        assert!(matches!(open_with(&options, Path::new("/dev/null")), Err(OpenError::NotAFile)));
    }
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a terminated string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    for options in [HeapOptions::new(), HeapOptions::new().read_only(true)] {
        assert!(matches!(open_with(&options, &path), Err(OpenError::NotAFile)));
    }
}

#[test]
fn a_file_that_is_no_heap_is_refused_and_kept() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let mut late = vec![0; 100_000];
    late[99_000] = 1;
    for contents in [b"some text".to_vec(), vec![7; 20_000], late] {
        std::fs::write(&path, &contents).unwrap();
        assert!(matches!(open(&path), Err(OpenError::NotAHeap)));
        // SAFETY: see `open_with`.
        assert!(matches!(unsafe { Heap::open(&path) }, Err(OpenError::NotAHeap)));
        assert_eq!(std::fs::read(&path).unwrap(), contents);
    }
}

#[test]
fn an_empty_file_and_one_of_zeros_become_heaps_only_where_one_may_be_created() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for len in [0, 5000, 3 << 30] {
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(len).unwrap();
        assert!(matches!(open(&path), Err(OpenError::NotAHeap)));
        assert!(matches!(open_with(&HeapOptions::new().read_only(true), &path), Err(OpenError::NotAHeap)));
        assert_eq!(file.metadata().unwrap().len(), len);
        // SAFETY: see `open_with`.
        unmap(unsafe { Heap::open(&path) }.unwrap());
        unmap(open(&path).unwrap());
    }
}

#[test]
fn a_failed_creation_leaves_no_file() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for (capacity, text) in [(0, "capacity of zero"), (u64::MAX, "at most")] {
        let options = HeapOptions::new().capacity(capacity);
        // SAFETY: see `open_with`.
        let created = unsafe { options.create(&path) };
        // SAFETY: see `open_with`.
        let opened = unsafe { options.open_or_create(&path) };
        for outcome in [created, opened] {
            assert!(outcome.unwrap_err().to_string().contains(text));
        }
        assert!(!path.exists());
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let (directory, path) = fresh_path();
    let temporary = HeapOptions::new().temporary_in(directory.path());
    let volatile = HeapOptions::new().mode(Mode::Volatile);
    let read_only = HeapOptions::new().read_only(true);
    // SAFETY: see `open_with`.
    let outcomes = unsafe {
        [temporary.create(&path), volatile.open_or_create(&path), read_only.create(&path), read_only.volatile()]
    };
    for outcome in outcomes {
        assert!(matches!(outcome, Err(OpenError::InvalidOptions { .. })));
    }
    assert!(!path.exists());
}

#[test]
fn a_new_file_is_private_and_small() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = create(&path);
    let permissions = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(permissions & 0o7777, 0o600);
    assert!(bytes::disk(&path) < 1 << 20, "{} bytes", bytes::disk(&path));
    heap.close().unwrap();
    assert!(bytes::disk(&path) < 1 << 20, "{} bytes", bytes::disk(&path));

    let wider = path.with_file_name("wider.sal");
    // SAFETY: see `open_with`.
    drop(unsafe { HeapOptions::new().permissions(0o640).create(&wider) }.unwrap());
    assert_eq!(std::fs::metadata(&wider).unwrap().permissions().mode() & 0o7000, 0);
    assert_eq!(std::fs::metadata(&wider).unwrap().permissions().mode() & 0o007, 0);
}

#[test]
fn of_many_who_create_one_file_at_once_one_gets_it_and_nobody_overwrites_it() {
    let _alone = alone();
    for round in 0..30_u64 {
        let (_directory, path) = fresh_path();
        let made = std::sync::Mutex::new(0_u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        // SAFETY: see `open_with`.
                        match unsafe { Heap::open(&path) } {
                            Ok(heap) => {
                                let tx = heap.write().unwrap();
                                *tx.root_or_default(Root::<u64>::new("count")).unwrap() += 1;
                                *made.lock().unwrap() += 1;
                                drop(tx);
                                return unmap(heap);
                            }
                            // Whoever has it unlocks it before the addresses are free.
                            Err(OpenError::Locked { .. } | OpenError::AddressTaken { .. }) => std::thread::yield_now(),
                            Err(error) => panic!("round {round}: {error:?}"),
                        }
                    }
                });
            }
        });
        let heap = open(&path).unwrap();
        assert_eq!(heap.read().unwrap().root(Root::<u64>::new("count")).unwrap(), &*made.lock().unwrap());
        unmap(heap);
    }
}

/// Where a new heap is to lie is chosen, written to the file, and then used: nobody else may come there in between.
#[test]
fn heaps_that_are_created_at_once_have_places_of_their_own() {
    let _alone = alone();
    // So long that of two places that are chosen at random many overlap.
    let options = HeapOptions::new().capacity(6 << 40);
    for round in 0..20 {
        let (_directory, path) = fresh_path();
        std::thread::scope(|scope| {
            for name in ["one", "other"] {
                let path = path.with_extension(name);
                let options = &options;
                scope.spawn(move || {
                    // SAFETY: a file of our own.
                    let heap = unsafe { options.create(&path) };
                    unmap(heap.unwrap_or_else(|error| panic!("round {round}: {error}")));
                });
            }
        });
    }
}

#[test]
fn damage_to_either_slot_is_survived_or_refused_and_to_both_refused() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let copy = path.with_file_name("copy.sal");
    let [(newest, _), (oldest, _)] = bytes::slots(&path);
    let open_damaged = |damaged: &[u64]| {
        bytes::copy(&path, &copy);
        for slot in damaged {
            bytes::write(&copy, slot + 200, &[0xEE; 9]);
        }
        open_with(&HeapOptions::new().read_only(true), &copy).map(unmap)
    };
    assert!(open_damaged(&[]).is_ok());
    assert!(open_damaged(&[oldest]).is_ok());
    // The older slot says that the heap is in use.
    assert!(matches!(open_damaged(&[newest]), Err(OpenError::Unclean)));
    assert!(matches!(open_damaged(&[newest, oldest]), Err(OpenError::Damaged)));
}

#[test]
fn fields_that_make_no_sense_are_refused_by_name_in_spite_of_a_good_checksum() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let copy = path.with_file_name("copy.sal");
    let edited = |field: usize, bytes: &[u8]| {
        bytes::copy(&path, &copy);
        bytes::edit_header(&copy, |slot| slot[field..field + bytes.len()].copy_from_slice(bytes));
        let before = bytes::hash(&copy);
        let error = open(&copy).unwrap_err();
        assert_eq!(bytes::hash(&copy), before, "{error}");
        error
    };
    let cases: [(usize, &[u8], &str); 12] = [
        (header::WINDOW, &3_u32.to_le_bytes(), "window"),
        (header::WINDOW, &u32::MAX.to_le_bytes(), "window"),
        (header::WINDOWS, &9_u32.to_le_bytes(), "window"),
        (header::UNITS, &u64::MAX.to_le_bytes(), "layout"),
        (header::UNITS, &1_u64.to_le_bytes(), "layout"),
        (header::ROOTS, &4096_u64.to_le_bytes(), "layout"),
        (header::CAPACITY, &u64::MAX.to_le_bytes(), "capacity"),
        (header::STATE, &77_u32.to_le_bytes(), "state"),
        (header::MODE, &9_u32.to_le_bytes(), "mode"),
        (header::GENERATION, &u64::MAX.to_le_bytes(), "counters"),
        (header::EPOCH, &u64::MAX.to_le_bytes(), "counters"),
        (header::FILE_LEN, &5_u64.to_le_bytes(), "file length"),
    ];
    for (field, bytes, name) in cases {
        match edited(field, bytes) {
            OpenError::Inconsistent { field: found } => assert!(found.contains(name), "{found} instead of {name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(edited(header::PAGE_LEN, &65_536_u32.to_le_bytes()), OpenError::OtherMachine));
    assert!(matches!(edited(header::POINTER_LEN, &4_u32.to_le_bytes()), OpenError::OtherMachine));
    assert!(matches!(edited(header::ENDIANNESS, &[1, 2, 3, 4]), OpenError::OtherMachine));
    let too_long = edited(header::FILE_LEN, &u64::MAX.to_le_bytes());
    assert!(matches!(too_long, OpenError::Inconsistent { field: "file length" }), "{too_long:?}");
    let other_epoch = edited(header::EPOCH, &9_u64.to_le_bytes());
    assert!(matches!(other_epoch, OpenError::Unclean), "{other_epoch:?}");
    assert!(matches!(edited(header::STATE, &2_u32.to_le_bytes()), OpenError::Unclean));
    assert!(matches!(edited(header::VERSION, &2_u32.to_le_bytes()), OpenError::NewerVersion { found: 2, known: 1 }));
    let unknown = edited(header::INCOMPATIBLE, &(1_u64 << 40).to_le_bytes());
    assert!(matches!(unknown, OpenError::UnknownFeatures { mask } if mask == 1 << 40));
    assert!(matches!(edited(header::CAPACITY, &32_768_u64.to_le_bytes()), OpenError::CapacityBelowUse { .. }));
}

#[test]
fn an_unknown_read_only_compatible_feature_opens_for_reading_only() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    bytes::edit_header(&path, |slot| put(slot, header::READ_ONLY_COMPATIBLE, 4_u64.to_le_bytes()));
    let before = bytes::hash(&path);
    let heap = open(&path).unwrap();
    assert!(matches!(heap.write(), Err(sal::SessionError::ReadOnly)));
    assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().len(), 1000);
    assert!(heap.alloc().allocate(Layout::new::<u64>()).is_err());
    unmap(heap);
    assert_eq!(bytes::hash(&path), before);
}

#[test]
fn the_allocator_state_must_have_the_headers_epoch_and_fit_the_file() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let soft = bytes::word(&bytes::newest(&path), header::SOFT);
    let good = bytes::read(&path, soft, 24);
    bytes::write(&path, soft, &[0xEE; 8]);
    assert!(matches!(open(&path), Err(OpenError::Unclean)));
    bytes::write(&path, soft, &good);
    for (field, value) in [(8, u64::MAX), (8, 1 << 40), (16, u64::MAX), (8, 0)] {
        bytes::write(&path, soft, &good);
        bytes::write(&path, soft + field, &value.to_le_bytes());
        assert!(matches!(open(&path), Err(OpenError::Inconsistent { field: "allocator state" })), "{field} {value}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused_at_every_length() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let len = std::fs::metadata(&path).unwrap().len();
    let file = bytes::writable(&path);
    file.set_len(len + 12_345).unwrap();
    unmap(open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), len, "closing cuts what does not belong to the heap");
    for shorter in [len - 1, len / 2, 10_000, 4_096 + 100, 600] {
        file.set_len(shorter).unwrap();
        let error = open(&path).unwrap_err();
        let known = matches!(error, OpenError::Truncated { expected, found } if (expected, found) == (len, shorter))
            || matches!(error, OpenError::Unclean | OpenError::Damaged);
        assert!(known, "{shorter} bytes: {error:?}");
    }
    for shorter in [511, 8, 3] {
        file.set_len(shorter).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Damaged | OpenError::NotAHeap)), "{shorter} bytes");
        // SAFETY: see `open_with`.
        assert!(unsafe { Heap::open(&path) }.is_err(), "what is left is nobody's to overwrite");
    }
}

#[test]
fn damage_by_a_text_mode_transfer_is_noticed() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let copy = path.with_file_name("copy.sal");
    let head = bytes::read(&path, 0, 70_000);
    let replace = |from: &[u8], to: &[u8]| {
        let mut changed = Vec::new();
        let mut rest = &head[..];
        while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
            changed.extend_from_slice(&rest[..at]);
            changed.extend_from_slice(to);
            rest = &rest[at + from.len()..];
        }
        changed.extend_from_slice(rest);
        changed
    };
    let seven_bits = head.iter().map(|byte| byte & 0x7F).collect();
    let to_end_of_file_mark = head[..6].to_vec();
    for damaged in [replace(b"\r\n", b"\n"), replace(b"\n", b"\r\n"), seven_bits, to_end_of_file_mark] {
        std::fs::write(&copy, damaged).unwrap();
        assert!(matches!(open(&copy), Err(OpenError::NotAHeap)));
    }
}

#[test]
fn a_heap_that_is_open_is_locked_for_everyone_else_and_names_the_holder() {
    if let Some((_, path)) = process::role() {
        let error = open(&path).unwrap_err();
        let OpenError::Locked { holder } = error else { panic!("{error:?}") };
        return say(&format!("{} holder", holder.unwrap()));
    }
    let (_directory, path) = fresh_path();
    let heap = create(&path);
    for options in [HeapOptions::new(), HeapOptions::new().read_only(true)] {
        let error = open_with(&options, &path).unwrap_err();
        assert!(matches!(error, OpenError::Locked { holder } if holder == Some(std::process::id())), "{error:?}");
        assert!(error.to_string().contains(&std::process::id().to_string()));
    }
    let link = path.with_file_name("link.sal");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(open(&link), Err(OpenError::Locked { .. })));
    let name = "a_heap_that_is_open_is_locked_for_everyone_else_and_names_the_holder";
    let line = process::start(name, "other", &path).wait_for("holder");
    assert_eq!(line.trim(), format!("{} holder", std::process::id()));
    heap.close().unwrap();
}

#[test]
fn a_heap_whose_process_died_is_as_of_its_last_sync_or_refused() {
    if let Some((role, path)) = process::role() {
        let heap = create(&path);
        let tx = heap.write().unwrap();
        tx.set_root(Root::new("seven"), 7_u64).unwrap();
        if role == "plain" {
            tx.set_root(Root::new("eight"), sal::collections::SalString::from("eight")).unwrap();
        }
        if role == "sync" {
            tx.sync().unwrap();
        } else {
            drop(tx);
        }
        say("made");
        if role == "exit" {
            std::mem::forget(heap);
            std::process::exit(0);
        }
        hear();
        return;
    }
    let _alone = alone();
    for role in ["kill", "sync", "exit", "plain"] {
        let (_directory, path) = fresh_path();
        let mut child = process::start("a_heap_whose_process_died_is_as_of_its_last_sync_or_refused", role, &path);
        child.wait_for("made");
        if role == "exit" {
            assert!(child.end().0.success());
        } else {
            assert!(matches!(open(&path), Err(OpenError::Locked { holder }) if holder == Some(child.id())));
            child.kill();
        }
        let refused = open_with(&HeapOptions::new().read_only(true), &path);
        assert!(matches!(refused, Err(OpenError::Unclean)), "{role}");
        if role == "plain" {
            assert!(matches!(open(&path), Err(OpenError::PlainRoots { roots }) if roots == ["eight"]));
            // SAFETY: see `open_with`.
            let refused = unsafe { Heap::open(&path) };
            assert!(matches!(refused, Err(OpenError::PlainRoots { .. })));
            continue;
        }
        let heap = open(&path).unwrap();
        let seven = heap.read().unwrap().root(Root::<u64>::new("seven")).ok().copied();
        assert_eq!(seven, (role == "sync").then_some(7), "{role}");
        unmap(heap);
    }
}

#[test]
fn a_copy_beside_its_original_is_refused_and_the_error_names_the_original() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let copy = path.with_file_name("backup.sal");
    bytes::copy(&path, &copy);
    let heap = open(&path).unwrap();
    let error = open(&copy).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    let OpenError::AddressTaken { range, by } = error else { panic!("{error:?}") };
    assert!(range.start <= heap.address_range().start && heap.address_range().end <= range.end);
    assert_eq!(by.as_deref(), Some(path.as_path()));
    unmap(heap);
    let twin = open(&copy).unwrap();
    assert!(matches!(open(&path), Err(OpenError::AddressTaken { by: Some(by), .. }) if by == copy));
    unmap(twin);
}

#[test]
fn a_closed_heap_keeps_its_addresses_and_the_error_says_so() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = create(&path);
    let kept = SalBox::leak(SalBox::new_in(11_u64, heap.alloc()));
    heap.close().unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(&error, OpenError::AddressTaken { by: Some(by), .. } if *by == path), "{error:?}");
    assert!(error.to_string().contains("closed heap keeps them"), "{error}");
    assert_eq!(*kept, 11);
    // The lock was given back, and the file is whole.
    assert_eq!(bytes::half_word(&bytes::newest(&path), header::STATE), 1);
    assert_eq!(bytes::read(&path, bytes::HOLDER, 8), [0; 8]);
}

#[test]
fn memory_in_the_way_of_a_heap_is_an_error_and_stays() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let start = bytes::half_word(&bytes::newest(&path), header::WINDOW) as usize * (1 << 36) + (7 << 20);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let (address, access) = (std::ptr::with_exposed_provenance_mut(start), libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: takes only free addresses.
    let page = unsafe { libc::mmap(address, 4096, access, flags, -1, 0) };
    assert_eq!(page.addr(), start);
    // SAFETY: mapped just now.
    unsafe { page.cast::<u64>().write(99) };
    assert!(matches!(open(&path), Err(OpenError::AddressTaken { by: None, .. })));
    // SAFETY: still mapped; nobody else uses it.
    unsafe {
        assert_eq!(page.cast::<u64>().read(), 99);
        libc::munmap(page, 4096);
    }
    unmap(open(&path).unwrap());
}

#[test]
fn a_heap_can_be_closed_unmapped_and_opened_again_a_hundred_times_without_a_trace() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let mut figures = Vec::new();
    let (orders, waiting) = std::sync::mpsc::channel::<(SalAlloc, std::sync::mpsc::Sender<()>)>();
    // A thread that lives on has to notice, too.
    let helper = std::thread::spawn(move || {
        for (heap, done) in waiting {
            let block = SalBox::new_in([3_u8; 300], heap);
            assert!(SalAlloc::of_address((&raw const *block).addr()) == Some(heap));
            drop(block);
            done.send(()).unwrap();
        }
    });
    for round in 0..100 {
        let heap = open(&path).unwrap();
        let mut numbers = SalVector::new_in(heap.alloc());
        assert!(numbers.try_reserve(10 + round).is_ok(), "the first allocation of round {round}");
        numbers.push(round);
        drop(numbers);
        assert_eq!(heap.stats().live_bytes, live_bytes_of_filled(), "round {round}");
        let (done, finished) = std::sync::mpsc::channel();
        orders.send((heap.alloc(), done)).unwrap();
        finished.recv().unwrap();
        assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().iter().sum::<u64>(), 999 * 500);
        unmap(heap);
        if round % 20 == 19 {
            figures.push((process::mappings(), process::open_files()));
        }
    }
    drop(orders);
    helper.join().unwrap();
    let (first, last) = (figures[0], figures[4]);
    assert!(last.0 <= first.0 + 4 && last.1 <= first.1, "{figures:?}");
}

/// The numbers and the name of their root, in whole blocks.
fn live_bytes_of_filled() -> u64 {
    let (_directory, path) = fresh_path();
    filled(&path);
    let heap = open(&path).unwrap();
    let live = heap.stats().live_bytes;
    unmap(heap);
    live
}

#[test]
fn closed_heaps_of_other_files_leave_no_descriptors_with_threads_that_live_on() {
    let _alone = alone();
    let (directory, _) = fresh_path();
    let before = process::open_files();
    for number in 0..40 {
        let heap = create(&directory.path().join(format!("{number}.sal")));
        drop(SalBox::new_in(number, heap.alloc()));
        unmap(heap);
    }
    assert!(process::open_files() <= before + 2, "{} then {before}", process::open_files());
}

/// Bytes read and pages faulted in by this thread so far.
fn effort() -> (u64, i64) {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).and_then(|count| count.parse().ok());
    // SAFETY: `usage` is plain data, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is ours.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0);
    (read.unwrap_or(0), usage.ru_minflt + usage.ru_majflt)
}

#[test]
fn opening_reads_the_same_few_pages_however_large_the_heap() {
    let name = "opening_reads_the_same_few_pages_however_large_the_heap";
    if let Some((_, path)) = process::role() {
        let first = effort();
        let second = effort();
        let heap = open(&path).unwrap();
        let third = effort();
        let read = (third.0 - second.0).saturating_sub(second.0 - first.0);
        say(&format!("{read} {} effort", third.1 - second.1));
        return unmap(heap);
    }
    let mut efforts = Vec::new();
    for size in [1_usize << 12, 1 << 20, 512 << 20] {
        let (_directory, path) = fresh_path();
        let heap = create(&path);
        let mut words = SalVector::new_in(heap.alloc());
        words.resize(size / 8, 5_u64);
        for at in 0..size as u64 / 200_000 {
            // Something in many segments, not only one large object.
            SalBox::leak(SalBox::new_in([at; 500], heap.alloc()));
        }
        heap.write().unwrap().set_root(NUMBERS, words).unwrap();
        unmap(heap);
        let line = process::start(name, "open", &path).wait_for("effort");
        let mut figures = line.split_whitespace().map(|figure| figure.parse::<u64>().unwrap_or(0));
        efforts.push((figures.next().unwrap(), figures.next().unwrap()));
    }
    let ((read, faults), largest) = (efforts[0], efforts[2]);
    assert!(largest.0 <= read + 4096 && largest.1 <= faults + 16, "{efforts:?}");
    assert!(largest.0 <= 64 << 10, "{efforts:?}");
}

#[test]
fn a_sparse_heap_of_ten_gib_opens_and_takes_little_disk() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    filled(&path);
    let heap = open(&path).unwrap();
    // The space is reserved for a moment; where the disk is too full for that, less must do.
    let sizes = [10_u64 << 30, 1 << 30].map(|size| Layout::from_size_align(size as usize, 1 << 20).unwrap());
    let taken = sizes.into_iter().find_map(|layout| Some((heap.alloc().allocate(layout).ok()?, layout)));
    let (large, layout) = taken.expect("the disk has room for one GiB");
    let mut last = SalVector::new_in(heap.alloc());
    last.resize(600_000, 9_u64);
    // SAFETY: allocated with that layout, and never used.
    unsafe { heap.alloc().deallocate(large.cast(), layout) };
    heap.write().unwrap().set_root(Root::new("last"), last).unwrap();
    unmap(heap);
    assert!(std::fs::metadata(&path).unwrap().len() > layout.size() as u64);
    assert!(bytes::disk(&path) < 600 << 20, "{} MiB", bytes::disk(&path) >> 20);
    let heap = open(&path).unwrap();
    let session = heap.read().unwrap();
    assert_eq!(session.root(NUMBERS).unwrap().len(), 1000);
    let last = session.root(Root::<SalVector<u64, SalAlloc>>::new("last")).unwrap();
    assert!(last.len() == 600_000 && last.iter().all(|&word| word == 9));
    drop(session);
    unmap(heap);
}
