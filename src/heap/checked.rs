//! The checked build's door: every block passes here, and a bad free ends the process with a line that says what it was.
//!
//! The line is made in a buffer on the stack: the allocator may be the one that would serve a `String`.

use super::SalAlloc;
use super::allocate::{usable_size, with_core};
use super::handle::Place;
use crate::alloc::checked::{Kind, Misuse, Where};
use crate::alloc::current;
use crate::alloc::heap_core::Core;
use crate::os::line::Line;
use crate::os::process;
use core::alloc::Layout;
use core::fmt::{self, Write};
use core::ptr::NonNull;

/// What the program asked for.
#[derive(Clone, Copy, Debug)]
enum Act {
    Allocation,
    Free,
    Resize,
}

/// Says how large a block of the heap is that is made for a layout.
fn usable_in(core: &Core) -> impl Fn(Layout) -> usize {
    let ladder = core.ladder;
    move |layout| usable_size(ladder, layout)
}

/// Notes a block that was allocated; null stays null.
pub(super) fn allocated(place: Place, layout: Layout, block: *mut u8) -> *mut u8 {
    if !block.is_null() {
        let noted = with_core(place, |core| core.note_allocated(block.addr(), layout));
        if let Some(Err(misuse)) = noted {
            report(place, Act::Allocation, layout, &misuse);
        }
    }
    block
}

/// Whether a block is to be freed; not if the heap is closed. Ends the process if it is no such block.
pub(super) fn freed(place: Place, block: *mut u8, layout: Layout) -> bool {
    let check = |core: &Core, number| core.note_freed(block.addr(), layout, number, usable_in(core));
    passes(place, Act::Free, layout, check)
}

/// Notes that a block has been freed whose memory is given back later. Ends the process if it is no such block.
pub(super) fn withheld(core: &Core, number: u32, block: NonNull<u8>, layout: Layout) {
    if let Err(misuse) = core.note_freed(block.addr().get(), layout, number, usable_in(core)) {
        report(Place::Window(core.name()), Act::Free, layout, &misuse);
    }
}

/// Whether a block may be resized; not if the heap is closed. Ends the process if it is no such block.
pub(super) fn may_resize(place: Place, block: *mut u8, layout: Layout) -> bool {
    let check = |core: &Core, number| core.check_block(block.addr(), layout, number, usable_in(core));
    passes(place, Act::Resize, layout, check)
}

/// Notes that a block was resized in place.
pub(super) fn resized(place: Place, block: *mut u8, layout: Layout) {
    with_core(place, |core| core.note_resized(block.addr(), layout));
}

fn passes(place: Place, act: Act, layout: Layout, check: impl FnOnce(&Core, u32) -> Result<(), Misuse>) -> bool {
    let checked = match place {
        // Default heaps have no blocks of earlier processes, for which the thread's number would be needed.
        Place::Default(_) => with_core(place, |core| check(core, 0)),
        // SAFETY: the heap is open while the closure runs, and outlives its thread heaps.
        Place::Window(name) => current::with_window(name, |heap| unsafe { check(&*(*heap).core, (*heap).number) }),
    };
    if let Some(Err(misuse)) = &checked {
        report(place, act, layout, misuse);
    }
    checked.is_some()
}

/// Writes what is wrong to standard error and ends the process.
#[cold]
fn report(place: Place, act: Act, given: Layout, misuse: &Misuse) -> ! {
    let mut line = Line::new();
    // Cannot fail: what is too long is cut.
    let _ = describe(&mut line, place, act, given, misuse);
    line.say();
    process::abort()
}

fn describe(line: &mut Line, place: Place, act: Act, given: Layout, misuse: &Misuse) -> fmt::Result {
    let heap = match place {
        Place::Default(current::Default::Anonymous) => SalAlloc::new(),
        Place::Default(current::Default::File) => SalAlloc::file_backed(),
        Place::Window(name) => SalAlloc::of_name(name),
    };
    let address = misuse.address;
    let mut allocated = None;
    let act = match act {
        Act::Allocation => "allocation",
        Act::Free => "free",
        Act::Resize => "resize",
    };
    write!(line, "sal: ")?;
    match misuse.kind {
        Kind::DoubleFree { allocated: layout } => {
            allocated = layout;
            match act {
                "free" => write!(line, "double free of {address:#x}")?,
                _ => write!(line, "{act} after free of {address:#x}")?,
            }
        }
        Kind::Foreign(place) => {
            write!(line, "{act} of the foreign address {address:#x}, which is ")?;
            match place {
                Where::NoHeap => write!(line, "in no heap")?,
                Where::OtherHeap(window) => {
                    write!(
                        line,
                        "in the heap {:?}",
                        SalAlloc::of_address(address).unwrap_or(SalAlloc::of_name(window))
                    )?;
                }
                Where::Bookkeeping => write!(line, "among the heap's own data")?,
                Where::NoRun => write!(line, "in free memory of the heap")?,
                Where::NoBlock => write!(line, "no block that was handed out")?,
            }
        }
        Kind::Interior { block_start, offset } => {
            write!(line, "{act} of the interior address {address:#x}, {offset} bytes into {block_start:#x}")?;
        }
        Kind::WrongLayout { allocated: layout, .. } => {
            allocated = Some(layout);
            write!(line, "{act} with the wrong layout of {address:#x}")?;
        }
        Kind::HandedOutTwice { .. } => {
            write!(line, "the heap is damaged: {act} of {address:#x}, which is in use")?;
        }
    }
    if let Some(block) = misuse.block {
        write!(line, ", a block of {} bytes", block.size)?;
        if let Some(layout) = allocated {
            write!(line, " (allocated with size {}, align {})", layout.size(), layout.align())?;
        }
        match block.slab {
            Some(slab) => write!(line, " in a slab of {}-byte blocks at {slab:#x}", block.size)?,
            None => write!(line, " that stands alone")?,
        }
    } else if let Some(layout) = allocated {
        write!(line, ", once allocated with size {}, align {}", layout.size(), layout.align())?;
    }
    writeln!(line, "; given size {}, align {}, through {heap:?}", given.size(), given.align())
}

#[cfg(test)]
mod tests {
    use super::super::allocate;
    use super::*;
    use crate::alloc::heap_core::{state, testing::TestHeap};
    use crate::alloc::windows;
    use core::sync::atomic::Ordering;

    #[test]
    fn a_free_in_a_closed_heap_is_no_misuse_and_does_nothing() {
        let heap = TestHeap::new(64 << 20);
        windows::publish(heap.0, heap.window);
        let (handle, layout) = (SalAlloc::of_name(heap.name()), Layout::new::<[u64; 9]>());
        let place = handle.place();
        let [first, second] = [0; 2].map(|_| allocate::allocate(handle, layout));
        assert!(!first.is_null() && freed(place, first, layout));
        heap.state.store(state::RETIRED, Ordering::SeqCst);
        windows::withdraw(heap.window);
        heap.wait_until_idle();
        for block in [first, second, second] {
            assert!(!freed(place, block, layout) && !may_resize(place, block, layout));
        }
        assert!(allocate::allocate(handle, layout).is_null());
    }
}
