//! `Vec` and `Box` of `allocator_api2` with a [`SalAlloc`] (with the feature `nightly`, those of `std`).
//!
//! Their layout is the compiler's choice, made anew for each element type; the version of the compiler does not tell
//! it. So it is measured: a value is made of known parts, and the places of the parts are looked up in its bytes. The
//! offsets of pointer, length, capacity and handle go into the description, and with them any other choice differs.
//!
//! The handle is found through the reference that `allocator()` gives to it. Its word, which may have padding, is not
//! read; all other words are pointer, length or capacity.
#![allow(unsafe_code)]

use super::composite::visit_all;
use super::{BlockVisitor, Describer, Node, NodeId, Persist};
use crate::SalAlloc;
use crate::gc::trace::layouts::id;
use allocator_api2::{
    alloc::{Allocator, handle_alloc_error},
    boxed::Box,
    vec::Vec,
};
use core::{alloc::Layout, mem::ManuallyDrop, ptr, ptr::NonNull};
use std::borrow::Cow;

/// Containers' ids, see [`Node::Container`]: the ones of this file.
const VEC_ID: u64 = id::VEC;
const BOX_ID: u64 = id::BOX;

const WORD: usize = size_of::<usize>();
/// The whole words that a handle takes in a container.
const HANDLE_WORDS: usize = size_of::<SalAlloc>().div_ceil(WORD);
const _: () = assert!(align_of::<SalAlloc>() <= WORD && size_of::<SalAlloc>() > 0);

// SAFETY: the vector owns one block, whose address it keeps in a word of its own, and a handle; block, handle and
// elements are named. The measured offsets make vectors of another layout differ.
unsafe impl<T: Persist> Persist for Vec<T, SalAlloc> {
    const OWNS_BLOCKS: bool = true;
    fn describe(describer: &mut Describer) -> Node {
        probed::<Self>(VEC_ID, "Vec", describer.node_of::<T>(), &probe_vec::<T>())
    }
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visitor.handle(*self.allocator());
        let layout = Layout::array::<T>(self.capacity()).expect("the block was allocated with this layout");
        if let Some(block) = NonNull::new(self.as_ptr().cast_mut()).filter(|_| layout.size() != 0) {
            visitor.block(block.cast(), layout);
        }
        visit_all(self, visitor);
    }
}

// SAFETY: as for `Vec`.
unsafe impl<T: Persist> Persist for Box<T, SalAlloc> {
    const OWNS_BLOCKS: bool = true;
    fn describe(describer: &mut Describer) -> Node {
        probed::<Self>(BOX_ID, "Box", describer.node_of::<T>(), &probe_box::<T>())
    }
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visitor.handle(*Box::allocator(self));
        if size_of::<T>() != 0 {
            visitor.block(NonNull::from(&**self).cast(), Layout::new::<T>());
        }
        visitor.value::<T>(self);
    }
}

/// The node of a container whose parts have these offsets. The size of a handle is added to them; should the meaning
/// of its bits change, so must the version.
fn probed<T>(id: u64, name: &'static str, parameter: NodeId, offsets: &[u64]) -> Node {
    Node::Container {
        id,
        name: Cow::Borrowed(name),
        size: size_of::<T>() as u64,
        align: align_of::<T>() as u64,
        layout_version: 1,
        parameters: vec![parameter],
        probe: offsets.iter().copied().chain([size_of::<SalAlloc>() as u64]).collect(),
    }
}

/// The offsets of pointer, length, capacity and handle in `Vec<T, SalAlloc>`.
fn probe_vec<T>() -> [u64; 4] {
    const { assert!(size_of::<Vec<T, SalAlloc>>() == (3 + HANDLE_WORDS) * WORD) };
    const LENGTH: usize = 5;
    const CAPACITY: usize = 7;
    // Aligned, not null, and three times a power of two, so neither of the numbers above.
    let pointer = ptr::without_provenance_mut::<T>(3 * align_of::<T>());
    // SAFETY: what `from_raw_parts_in` asks of block and length is for the methods that touch the elements and for
    // drop. None is called: this vector is only looked at, as bytes and for its handle's address, and never dropped.
    // The pointer is aligned and not null, and the length is below the capacity.
    let vec = ManuallyDrop::new(unsafe { Vec::from_raw_parts_in(pointer, LENGTH, CAPACITY, SalAlloc::new()) });
    let handle = offset_in(&vec, vec.allocator());
    // SAFETY: the size asserted above has room for three words besides the handle's. Pointer, length and capacity can
    // take any value but a few, so each fills a word, and all words but the handle's are initialised.
    let words = unsafe { words_beside_handle::<_, 3>(&vec, handle) };
    let [pointer, length] = [pointer.addr(), LENGTH].map(|value| offset_of_value(&words, value));
    // For elements without size, what is stored as the capacity is not what was given; it is the word that is left.
    let (capacity, value) = words.into_iter().find(|word| word.0 != pointer && word.0 != length).expect("three words");
    assert!(size_of::<T>() == 0 || value == CAPACITY, "a vector keeps its capacity");
    [pointer, length, capacity, handle].map(|offset| offset as u64)
}

/// The offsets of pointer and handle in `Box<T, SalAlloc>`.
fn probe_box<T>() -> [u64; 2] {
    const { assert!(size_of::<Box<T, SalAlloc>>() == (1 + HANDLE_WORDS) * WORD) };
    let layout = Layout::new::<T>();
    // A box may be required to point to memory that is there, so it gets some.
    let block = match layout.size() {
        0 => NonNull::dangling(),
        _ => SalAlloc::new().allocate(layout).unwrap_or_else(|_| handle_alloc_error(layout)).cast::<T>(),
    };
    // SAFETY: the block is live, aligned, of the size of `T`, and from this very allocator. It holds no `T`, which
    // matters to whoever looks at the content or drops it: this box is only looked at for its handle's address and as
    // bytes, and never dropped.
    let boxed = ManuallyDrop::new(unsafe { Box::from_raw_in(block.as_ptr(), SalAlloc::new()) });
    let handle = offset_in(&boxed, Box::allocator(&boxed));
    // SAFETY: the size asserted above has room for one word besides the handle's; the pointer fills it.
    let words = unsafe { words_beside_handle::<_, 1>(&boxed, handle) };
    let pointer = offset_of_value(&words, block.addr().get());
    if layout.size() != 0 {
        // SAFETY: allocated above from this allocator with this layout, and the box that points to it is forgotten.
        unsafe { SalAlloc::new().deallocate(block.cast(), layout) };
    }
    [pointer, handle].map(|offset| offset as u64)
}

/// Where in `whole` its part `handle` lies.
fn offset_in<T>(whole: &ManuallyDrop<T>, handle: &SalAlloc) -> usize {
    let offset = ptr::from_ref(handle).addr().wrapping_sub(ptr::from_ref(whole).addr());
    assert!(offset <= size_of::<T>() - size_of::<SalAlloc>(), "a container holds its handle itself");
    offset
}

/// The `N` words of `whole` that the handle at offset `handle` has no part in, with their offsets.
///
/// # Safety
/// All words of `whole` without a byte of the handle are initialised.
unsafe fn words_beside_handle<T, const N: usize>(whole: &ManuallyDrop<T>, handle: usize) -> [(usize, usize); N] {
    const { assert!(align_of::<T>() >= WORD) };
    let mut offsets = (0..size_of::<T>())
        .step_by(WORD)
        .filter(|&offset| offset + WORD <= handle || handle + size_of::<SalAlloc>() <= offset);
    let words = core::array::from_fn(|_| {
        let offset = offsets.next().expect("the size leaves a word for every part");
        // SAFETY: the word at `offset` lies in `whole`, is aligned as `T` is at least as a word is, and is initialised,
        // which the caller promises.
        (offset, unsafe { ptr::from_ref(whole).byte_add(offset).cast::<usize>().read() })
    });
    assert!(offsets.next().is_none(), "a container has no words but its parts");
    words
}

fn offset_of_value(words: &[(usize, usize)], value: usize) -> usize {
    words.iter().find(|word| word.1 == value).expect("a container keeps each part in a word of its own").0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::{Foreign, TypeDescription};

    fn word_at<T>(value: &T, offset: u64) -> usize {
        let word = ptr::from_ref(value).wrapping_byte_add(offset as usize).cast::<usize>();
        // SAFETY: the tests pass offsets of a pointer, a length or a capacity inside `value`.
        unsafe { word.read() }
    }

    #[test]
    fn the_probed_words_of_a_vec_are_where_a_real_one_has_them() {
        fn check<T: Clone>(element: T) {
            let [pointer, length, capacity, handle] = probe_vec::<T>();
            let mut vec = Vec::with_capacity_in(17, SalAlloc::new());
            vec.extend(std::iter::repeat_n(element, 3));
            assert_eq!(word_at(&vec, pointer), vec.as_ptr().addr());
            assert_eq!(word_at(&vec, length), 3);
            assert!(size_of::<T>() == 0 || word_at(&vec, capacity) == vec.capacity());
            let mut all = [pointer, length, capacity, handle / WORD as u64 * WORD as u64];
            all.sort_unstable();
            assert_eq!(all, [0, 8, 16, 24]);
        }
        check(1u8);
        check(1u64);
        check([1u128; 3]);
        check(std::string::String::from("text"));
        check(());
    }

    #[test]
    fn the_probed_pointer_of_a_box_is_where_a_real_one_has_it() {
        fn check<T>(value: T) {
            let [pointer, handle] = probe_box::<T>();
            let boxed = Box::new_in(value, SalAlloc::new());
            assert_eq!(word_at(&boxed, pointer), ptr::from_ref(&*boxed).addr());
            assert_eq!(pointer + handle / WORD as u64 * WORD as u64, 8);
        }
        check(7u8);
        check([7u64; 100]);
        check(true);
        check(());
    }

    #[test]
    fn all_blocks_of_nested_containers_are_named_with_their_layouts() {
        let mut inner = Vec::with_capacity_in(4, SalAlloc::new());
        inner.push(Box::new_in(1u32, SalAlloc::new()));
        let mut outer = Vec::with_capacity_in(2, SalAlloc::new());
        let mut expected = vec![
            (inner[0].as_ref() as *const u32 as usize, Layout::new::<u32>()),
            (inner.as_ptr() as usize, Layout::array::<Box<u32, SalAlloc>>(inner.capacity()).unwrap()),
        ];
        outer.push(inner);
        outer.push(Vec::new_in(SalAlloc::new()));
        let outer_layout = Layout::array::<Vec<Box<u32, SalAlloc>, SalAlloc>>(outer.capacity()).unwrap();
        expected.push((outer.as_ptr() as usize, outer_layout));

        let mut seen = std::vec::Vec::new();
        let mut observer = |start: NonNull<u8>, layout| seen.push((start.addr().get(), layout));
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        outer.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
        seen.reverse();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_block_outside_the_window_is_found_inside_an_element() {
        let mut vec = Vec::new_in(SalAlloc::new());
        vec.push(Box::new_in(1u64, SalAlloc::new()));
        let start = vec.as_ptr().addr();
        let window = start..start + vec.capacity() * size_of::<Box<u64, SalAlloc>>();
        let mut visitor = BlockVisitor::new(window, SalAlloc::new());
        vec.visit_blocks(&mut visitor);
        let address = ptr::from_ref(&*vec[0]).addr();
        assert_eq!(visitor.finish().expect_err("the box lies elsewhere").found(), Foreign::Block { address, size: 8 });
    }

    #[test]
    fn vectors_and_boxes_without_size_own_no_block() {
        let mut visitor = BlockVisitor::new(0..0, SalAlloc::new());
        let mut units = Vec::new_in(SalAlloc::new());
        units.push(());
        units.visit_blocks(&mut visitor);
        Box::new_in((), SalAlloc::new()).visit_blocks(&mut visitor);
        Vec::<u64, SalAlloc>::new_in(SalAlloc::new()).visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
    }

    #[test]
    fn a_vec_and_a_box_of_one_type_differ_and_say_in_what() {
        let (vec, boxed) = (TypeDescription::of::<Vec<u8, SalAlloc>>(), TypeDescription::of::<Box<u8, SalAlloc>>());
        let text = vec.difference(&boxed).expect("other containers").to_string();
        assert!(text.contains("stored `Vec (") && text.contains("asked `Box ("), "{text}");
        let other = TypeDescription::of::<Vec<i8, SalAlloc>>();
        assert_eq!(vec.difference(&other).expect("other elements").path(), "[]");
    }
}
