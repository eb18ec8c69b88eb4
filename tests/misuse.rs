//! What the checked build says of programs that free wrongly, and that it says nothing of those that do not.
//!
//! Each row of the matrix runs in a process of its own: this program again, told by its environment which row to play.

#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

use allocator_api2::alloc::Allocator;
use sal::SalAlloc;
#[cfg(feature = "checked")]
use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::mpsc;

mod support;
use support::all_are;

#[global_allocator]
static GLOBAL: SalAlloc = SalAlloc::new();

/// A generator with a printed seed; the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[derive(Debug)]
struct Owned {
    block: NonNull<u8>,
    /// One that may be freed with: the size anything from that asked for to that returned.
    layout: Layout,
    tag: u8,
}

// SAFETY: a block may be freed by any thread.
unsafe impl Send for Owned {}

fn random_layout(random: &mut Random) -> Layout {
    let size = match random.below(40) {
        0 => 1 + random.below(3 << 20),
        1..=4 => 1 + random.below(300_000),
        _ => 1 + random.below(1_000),
    };
    Layout::from_size_align(size, 1 << random.below(if size > 5_000 { 14 } else { 8 })).unwrap()
}

/// Any of the layouts that fit what was returned for `layout`.
fn fitting(random: &mut Random, layout: Layout, returned: NonNull<[u8]>) -> Layout {
    let size = layout.size() + random.below(returned.len() - layout.size() + 1);
    Layout::from_size_align(size, layout.align()).unwrap()
}

#[test]
fn legal_churn_between_threads_with_excess_and_resizing_runs_to_its_end() {
    let (seed, threads, rounds) = (0xFEED_u64, 4, 6_000);
    for heap in [SalAlloc::new(), SalAlloc::file_backed()] {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel::<Owned>()).unzip();
        std::thread::scope(|scope| {
            for (at, receiver) in receivers.into_iter().enumerate() {
                let neighbour = senders[(at + 1) % threads].clone();
                scope.spawn(move || churn(heap, seed + at as u64, rounds, &neighbour, &receiver));
            }
            drop(senders);
        });
    }
}

fn churn(heap: SalAlloc, seed: u64, rounds: usize, neighbour: &mpsc::Sender<Owned>, receiver: &mpsc::Receiver<Owned>) {
    let mut random = Random(seed);
    let mut blocks: Vec<Owned> = Vec::new();
    for round in 0..rounds {
        let choice = if blocks.len() < 40 { 0 } else { random.below(100) };
        match choice {
            0..45 => {
                let asked = random_layout(&mut random);
                let zeroed = random.below(8) == 0;
                let returned =
                    if zeroed { heap.allocate_zeroed(asked) } else { heap.allocate(asked) }.expect("there is room");
                let layout = fitting(&mut random, asked, returned);
                let tag = round as u8;
                // SAFETY: the block is ours and as long as returned.
                unsafe { returned.cast::<u8>().as_ptr().write_bytes(tag, layout.size()) };
                blocks.push(Owned { block: returned.cast(), layout, tag });
            }
            45..60 => {
                let at = random.below(blocks.len());
                let Owned { block, layout, tag } = blocks.swap_remove(at);
                let wanted = random_layout(&mut random).size();
                let asked = Layout::from_size_align(wanted, layout.align()).unwrap();
                // SAFETY: the block is ours, of that layout.
                unsafe {
                    let returned = if wanted >= layout.size() {
                        heap.grow(block, layout, asked)
                    } else {
                        heap.shrink(block, layout, asked)
                    }
                    .expect("there is room");
                    let kept = layout.size().min(wanted);
                    assert!(all_are(bytes(returned.cast(), kept), tag), "seed {seed:#x} {round}");
                    let layout = fitting(&mut random, asked, returned);
                    returned.cast::<u8>().as_ptr().write_bytes(tag, layout.size());
                    blocks.push(Owned { block: returned.cast(), layout, tag });
                }
            }
            60..75 => {
                let at = random.below(blocks.len());
                let _ = neighbour.send(blocks.swap_remove(at));
            }
            _ => {
                let at = random.below(blocks.len());
                free(heap, blocks.swap_remove(at), seed);
            }
        }
        while let Ok(block) = receiver.try_recv() {
            free(heap, block, seed);
        }
    }
    for block in blocks {
        free(heap, block, seed);
    }
}

/// # Safety
/// The block has that many initialised bytes.
unsafe fn bytes<'a>(block: NonNull<u8>, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(block.as_ptr(), len) }
}

fn free(heap: SalAlloc, owned: Owned, seed: u64) {
    // SAFETY: the block is ours and freed once, with a layout that fits.
    unsafe {
        assert!(all_are(bytes(owned.block, owned.layout.size()), owned.tag), "seed {seed:#x}");
        heap.deallocate(owned.block, owned.layout);
    }
}

#[test]
fn grow_zeroed_clears_the_excess_too() {
    let heap = SalAlloc::new();
    for (from, to) in [(100, 105), (1_000, 5_000), (300_000, 300_001), (300_000, 3_000_001)] {
        let [old, new] = [from, to].map(|size| Layout::from_size_align(size, 8).unwrap());
        for _ in 0..3 {
            // SAFETY: one block, resized and freed with its layouts.
            unsafe {
                let block = heap.allocate(old).unwrap();
                block.cast::<u8>().as_ptr().write_bytes(0xEE, block.len());
                let grown = heap.grow_zeroed(block.cast(), old, new).unwrap();
                let tail = &bytes(grown.cast(), grown.len())[from..];
                assert!(all_are(tail, 0), "{from} to {to}");
                heap.deallocate(grown.cast(), new);
            }
        }
    }
}

#[cfg(feature = "checked")]
mod matrix {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    const ROW: &str = "SAL_TEST_MISUSE";
    const ABORTED: i32 = 6;

    const HEAPS: [(&str, SalAlloc); 2] = [("anonymous", SalAlloc::new()), ("file", SalAlloc::file_backed())];
    const SIZES: [(&str, usize); 4] = [("small", 60), ("medium", 40_000), ("medium", 100_000), ("large", 1_000_000)];
    const FACES: [Face; 2] = [Face::Global, Face::Container];
    /// What is done, and what the line must say.
    const MISUSES: [(Misuse, &str); 12] = [
        (Misuse::DoubleFree, "double free of 0x"),
        (Misuse::DoubleFreeLater, "double free of 0x"),
        (Misuse::DoubleFreeOnOtherThread, "double free of 0x"),
        (Misuse::Interior, "free of the interior address 0x"),
        (Misuse::OnStack, "which is in no heap"),
        (Misuse::OtherHeap, "which is in the heap SalAlloc("),
        (Misuse::SizeTooLarge, "free with the wrong layout of 0x"),
        (Misuse::SizeTooSmall, "free with the wrong layout of 0x"),
        (Misuse::WrongAlign, "free with the wrong layout of 0x"),
        (Misuse::ResizeOfFreed, "resize after free of 0x"),
        (Misuse::ResizeOfWrongLayout, "resize with the wrong layout of 0x"),
        (Misuse::ResizeOfInterior, "resize of the interior address 0x"),
    ];

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Face {
        Global,
        Container,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Misuse {
        DoubleFree,
        DoubleFreeLater,
        DoubleFreeOnOtherThread,
        Interior,
        OnStack,
        OtherHeap,
        SizeTooLarge,
        SizeTooSmall,
        WrongAlign,
        ResizeOfFreed,
        ResizeOfWrongLayout,
        ResizeOfInterior,
    }

    #[derive(Clone, Copy)]
    struct Row {
        heap: SalAlloc,
        size: usize,
        face: Face,
        misuse: Misuse,
    }

    fn rows() -> Vec<(String, Row, &'static str)> {
        let mut rows = Vec::new();
        for (heap_name, heap) in HEAPS {
            for (size_name, size) in SIZES {
                for face in FACES {
                    for (misuse, says) in MISUSES {
                        let name = format!("{heap_name} {size_name} {size} {face:?} {misuse:?}");
                        rows.push((name, Row { heap, size, face, misuse }, says));
                    }
                }
            }
        }
        rows
    }

    impl Row {
        fn allocate(self, heap: SalAlloc, layout: Layout) -> NonNull<u8> {
            match self.face {
                // SAFETY: the layout has a size.
                Face::Global => NonNull::new(unsafe { heap.alloc(layout) }).unwrap(),
                Face::Container => heap.allocate(layout).unwrap().cast(),
            }
        }

        fn free(self, block: NonNull<u8>, layout: Layout) {
            // SAFETY: there is none; this is what is tested.
            unsafe {
                match self.face {
                    Face::Global => self.heap.dealloc(block.as_ptr(), layout),
                    Face::Container => self.heap.deallocate(block, layout),
                }
            }
        }

        fn resize(self, block: NonNull<u8>, layout: Layout) {
            let new = Layout::from_size_align(layout.size() + 1, layout.align()).unwrap();
            // SAFETY: there is none; this is what is tested.
            unsafe {
                match self.face {
                    Face::Global => _ = self.heap.realloc(block.as_ptr(), layout, new.size()),
                    Face::Container => _ = self.heap.grow(block, layout, new),
                }
            }
        }

        fn play(self) {
            let layout = Layout::from_size_align(self.size, 8).unwrap();
            let block = self.allocate(self.heap, layout);
            let other = self.allocate(self.heap, layout);
            let interior = block.map_addr(|address| address.checked_add(16).unwrap());
            match self.misuse {
                Misuse::DoubleFree => {
                    self.free(block, layout);
                    self.free(block, layout);
                }
                Misuse::DoubleFreeLater => {
                    // Long after: the block has left the magazine, its slab may be gone.
                    let more: Vec<_> =
                        (0..2_000_000 / self.size.max(400)).map(|_| self.allocate(self.heap, layout)).collect();
                    self.free(block, layout);
                    for block in more {
                        self.free(block, layout);
                    }
                    self.free(block, layout);
                }
                Misuse::DoubleFreeOnOtherThread => {
                    self.free(block, layout);
                    let address = block.as_ptr().expose_provenance();
                    let thread = std::thread::spawn(move || {
                        self.free(NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap(), layout);
                    });
                    let _ = thread.join();
                }
                Misuse::Interior => self.free(interior, layout),
                Misuse::OnStack => {
                    let on_stack = [0_u64; 8];
                    self.free(NonNull::from(&on_stack).cast(), layout);
                }
                Misuse::OtherHeap => {
                    let [(_, first), (_, second)] = HEAPS;
                    let block = self.allocate(if self.heap == first { second } else { first }, layout);
                    self.free(block, layout);
                }
                Misuse::SizeTooLarge => self.free(block, Layout::from_size_align(self.size * 2, 8).unwrap()),
                Misuse::SizeTooSmall => self.free(block, Layout::from_size_align(self.size - 1, 8).unwrap()),
                Misuse::WrongAlign => self.free(block, Layout::from_size_align(self.size, 4).unwrap()),
                Misuse::ResizeOfFreed => {
                    self.free(block, layout);
                    self.resize(block, layout);
                }
                Misuse::ResizeOfWrongLayout => self.resize(block, Layout::from_size_align(self.size - 1, 8).unwrap()),
                Misuse::ResizeOfInterior => self.resize(interior, layout),
            }
            self.free(other, layout);
        }
    }

    /// Plays one row in the processes that `every_misuse_aborts_with_its_name` starts; passes anywhere else.
    #[test]
    fn a_row_of_the_matrix_is_played_when_the_environment_names_it() {
        let Ok(wanted) = std::env::var(ROW) else { return };
        let rows = rows();
        let (_, row, _) = rows.iter().find(|(name, ..)| *name == wanted).expect("a row of that name");
        row.play();
        panic!("nothing was noticed");
    }

    #[test]
    fn every_misuse_aborts_with_its_name() {
        let program = std::env::current_exe().unwrap();
        let rows = rows();
        std::thread::scope(|scope| {
            for part in rows.chunks(rows.len().div_ceil(4)) {
                let program = &program;
                scope.spawn(move || {
                    for (name, _, says) in part {
                        let output = Command::new(program)
                            .args(["--exact", "matrix::a_row_of_the_matrix_is_played_when_the_environment_names_it"])
                            .args(["--nocapture", "--test-threads=1"])
                            .env(ROW, name)
                            .output()
                            .unwrap();
                        let text = String::from_utf8_lossy(&output.stderr);
                        assert_eq!(output.status.signal(), Some(ABORTED), "{name}: {text}");
                        assert!(text.contains(says) && text.contains("sal: "), "{name}: {text}");
                    }
                });
            }
        });
    }

    #[test]
    fn the_line_names_block_layout_and_slab() {
        let name = "anonymous small 60 Global DoubleFree";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "matrix::a_row_of_the_matrix_is_played_when_the_environment_names_it", "--nocapture"])
            .env(ROW, name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let tail = ", a block of 64 bytes (allocated with size 60, align 8) in a slab of 64-byte blocks at 0x";
        assert!(text.contains(tail) && text.contains("; given size 60, align 8, through SalAlloc(default)"), "{text}");
    }
}
