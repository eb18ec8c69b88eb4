//! Copies of memory that other threads may be writing to.
//!
//! While pages are copied for a commit, threads without a write session go on: they allocate, and free, and change
//! memory that no root reaches. Each byte of the copy is one that was there at some time during the call; what of it
//! matters was written before. Nobody may form a reference to such memory, and the compiler must not see a copy that
//! it could repeat or take apart. So the bytes are moved by one instruction in assembly, which to the compiler is
//! opaque, as a system call would be (`process_vm_readv` on oneself takes twice the time: it looks up every page), and
//! elsewhere by relaxed atomic loads, word by word.

use super::mapping::PAGE;

/// Copies what lies at `from` now.
///
/// # Safety
/// `into.len()` bytes from `from` on are mapped, readable and initialised, and stay so; they are none of `into`. If they
/// are of a file, it is that long.
pub(crate) unsafe fn copy_out(from: usize, into: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's promise.
    unsafe {
        copy_by_instruction(from, into);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's promise.
    unsafe {
        copy_by_words(from, into);
    }
}

/// Copies scattered pages, one after the other, into a buffer of just their size.
///
/// # Safety
/// As for [`copy_out`], of each page.
pub(crate) unsafe fn copy_out_many(pages: &[usize], into: &mut [u8]) {
    debug_assert_eq!(into.len(), pages.len() * PAGE);
    for (&page, into) in pages.iter().zip(into.chunks_exact_mut(PAGE)) {
        // SAFETY: the caller's promise.
        unsafe { copy_out(page, into) };
    }
}

/// # Safety
/// As for [`copy_out`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy_by_instruction(from: usize, into: &mut [u8]) {
    // SAFETY: the instruction moves `rcx` bytes from `rsi` to `rdi`, upwards, since the direction flag is clear on entry
    // to assembly. The source is readable by the caller's promise, the target is ours. To the abstract machine, the loads
    // are relaxed ones of single bytes.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") into.len() => _,
            inout("rsi") from => _,
            inout("rdi") into.as_mut_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// As for [`copy_out`].
#[cfg(any(test, not(all(target_arch = "x86_64", not(miri)))))]
unsafe fn copy_by_words(from: usize, into: &mut [u8]) {
    use core::ptr::with_exposed_provenance as pointer;
    use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    const WORD: usize = size_of::<u64>();
    // SAFETY: readable by the caller's promise; a byte is always aligned. Relaxed, here and below: what orders the copy
    // after the writes that matter is whatever shut the writers out.
    let byte = |at: usize| unsafe { (*pointer::<AtomicU8>(at)).load(Ordering::Relaxed) };
    let (head, rest) = into.split_at_mut((from.wrapping_neg() % WORD).min(into.len()));
    let mut at = from;
    for target in head {
        *target = byte(at);
        at += 1;
    }
    let mut words = rest.chunks_exact_mut(WORD);
    for target in &mut words {
        // SAFETY: readable by the caller's promise. `at` is a multiple of a word, because the head has ended at one.
        let word = unsafe { (*pointer::<AtomicU64>(at)).load(Ordering::Relaxed) };
        target.copy_from_slice(&word.to_ne_bytes());
        at += WORD;
    }
    for target in words.into_remainder() {
        *target = byte(at);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::mapping::{Access, Source, map_anywhere, unmap};
    use std::sync::atomic::{AtomicU64, Ordering};

    type Copy = unsafe fn(usize, &mut [u8]);
    const WAYS: [Copy; 2] = [copy_out, copy_by_words];

    #[test]
    fn every_alignment_and_length_is_copied_exactly() {
        let source: Vec<u8> = (0..200).map(|byte| byte as u8).collect();
        for way in WAYS {
            for start in 0..20 {
                for len in 0..60 {
                    let mut copy = [0xEE; 70];
                    // SAFETY: within `source`, which is another allocation than `copy`.
                    unsafe { way(source.as_ptr().expose_provenance() + start, &mut copy[5..5 + len]) };
                    assert_eq!(copy[5..5 + len], source[start..start + len], "start {start}, len {len}");
                    assert!(copy[..5].iter().chain(&copy[5 + len..]).all(|&byte| byte == 0xEE));
                }
            }
        }
    }

    #[test]
    fn scattered_pages_arrive_in_the_order_asked_for() {
        let at = map_anywhere(16 * PAGE, Access::ReadWrite, Source::Anonymous).unwrap();
        let pages: Vec<usize> = [9, 2, 15, 0, 2].map(|page| at + page * PAGE).into();
        for &page in &pages {
            let fill = ((page - at) / PAGE) as u8;
            // SAFETY: mapped above.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(page).write_bytes(fill + 1, PAGE) };
        }
        let mut copy = vec![0; pages.len() * PAGE];
        // SAFETY: mapped above.
        unsafe { copy_out_many(&pages, &mut copy) };
        let fills: Vec<u8> = copy.chunks(PAGE).map(|page| page[0]).collect();
        assert_eq!(fills, [10, 3, 16, 1, 3]);
        assert!(copy.chunks(PAGE).all(|page| page.iter().all(|&byte| byte == page[0])));
        // SAFETY: as above.
        unsafe { unmap(at, 16 * PAGE).unwrap() };
    }

    #[test]
    fn bytes_beside_a_writer_are_never_older_than_those_of_the_copy_before() {
        let words: Vec<AtomicU64> = (0..PAGE / 8).map(|_| AtomicU64::new(0)).collect();
        let start = words.as_ptr().expose_provenance();
        let copies = AtomicU64::new(0);
        let mut grows = true;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=u8::MAX {
                    // Each value is there for one copy at least.
                    while copies.load(Ordering::Relaxed) < u64::from(round) {
                        std::hint::spin_loop();
                    }
                    let word = u64::from_ne_bytes([round; 8]);
                    words.iter().for_each(|to| to.store(word, Ordering::Relaxed));
                }
            });
            let mut before = vec![0; PAGE];
            let mut copy = vec![0; PAGE];
            while copy != [u8::MAX; PAGE] {
                let way = WAYS[copies.fetch_add(1, Ordering::Relaxed) as usize % 2];
                // SAFETY: `words` is borrowed here, is a page long, and only written atomically.
                unsafe { way(start, &mut copy) };
                grows &= copy.iter().zip(&before).all(|(now, before)| now >= before);
                before.copy_from_slice(&copy);
            }
        });
        assert!(grows);
    }
}
