//! A number that changes when the standard library hashes its types in another way.
//!
//! What `str`, tuples or `Option` feed into a [`Hasher`] is not promised from one compiler to the next. The
//! fingerprint is the hash of the hashes of sample values of such types under a fixed seed, computed once per
//! process. A map notes the fingerprint under which it was filled; where it differs, the positions of its
//! entries mean nothing to this process.

use super::{SalHashBuilder, SalHasher};
use core::hash::{BuildHasher, Hash, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};

/// No process has this fingerprint.
pub(crate) const UNKNOWN_FINGERPRINT: u64 = 0;

/// Part of the fingerprint; to be raised when [`SalHasher`]'s output or a table's use of it changes.
const VERSION: u64 = 1;

static COMPUTED: AtomicU64 = AtomicU64::new(UNKNOWN_FINGERPRINT);

/// How this process hashes.
#[inline]
pub(crate) fn fingerprint() -> u64 {
    #[cfg(test)]
    if let Some(other) = OVERRIDE.get() {
        return other;
    }
    // Relaxed: the number guards no other data, and whoever computes it computes the same.
    match COMPUTED.load(Ordering::Relaxed) {
        UNKNOWN_FINGERPRINT => fingerprint_slow(),
        known => known,
    }
}

#[cold]
#[inline(never)]
fn fingerprint_slow() -> u64 {
    let computed = compute();
    COMPUTED.store(computed, Ordering::Relaxed);
    computed
}

fn compute() -> u64 {
    let builder = SalHashBuilder::with_seed(0x5a1);
    let mut all = SalHasher::with_seed(VERSION);
    macro_rules! samples {
        ($($value:expr),* $(,)?) => { $( all.write_u64(builder.hash_one($value)); )* };
    }
    samples![true, 'x', '\u{10ffff}', (), 7u8, 7u16, 7u32, 7u64, 7u128, 7usize];
    samples![-7i8, -7i16, -7i32, -7i64, -7i128, -7isize];
    samples!["", "sample", "a sample of more than sixteen bytes", &"by reference"];
    samples![(1u8,), (1u8, 2u16), (1u8, "two", 3u64), ((1u32, 2u32), (3u32, 4u32))];
    samples![[1u8, 2, 3], [1u64, 2], [[1u16, 2], [3, 4]], ["one", "two"], [(); 2]];
    samples![&[1u8, 2, 3][..], &[1u32, 2][..], &["one"][..], &[true, false][..], &['a', 'b'][..]];
    samples![Some(1u8), None::<u8>, Some("one"), Some(Some(1u32)), Ok::<u8, u16>(1), Err::<u8, u16>(2)];
    samples![core::num::NonZeroU32::MIN, core::cmp::Ordering::Less, core::cmp::Reverse(3u8), core::num::Wrapping(3u8)];
    samples![core::time::Duration::from_millis(1500), core::ops::Bound::Included(1u8), 1u8..2, 1u8..=2];
    samples![String::from("owned"), vec![1u16, 2], Box::new(5u64)];
    samples![
        std::borrow::Cow::Borrowed("cow"),
        std::path::Path::new("a/b"),
        std::collections::BTreeSet::from([1u8, 2])
    ];
    samples![core::net::Ipv4Addr::LOCALHOST, core::net::Ipv6Addr::LOCALHOST, std::ffi::OsStr::new("os")];
    samples![Derived::Unit, Derived::Tuple(1, 'b'), Derived::Named { name: "n", flags: [true, false] }];
    match all.finish() {
        UNKNOWN_FINGERPRINT => 1,
        other => other,
    }
}

/// What `derive(Hash)` makes of an enum.
#[derive(Hash)]
enum Derived {
    Unit,
    Tuple(u8, char),
    Named { name: &'static str, flags: [bool; 2] },
}

#[cfg(test)]
std::thread_local! {
    static OVERRIDE: core::cell::Cell<Option<u64>> = const { core::cell::Cell::new(None) };
}

/// Lets this thread's maps believe that the process hashes differently; `None` ends that.
#[cfg(test)]
pub(crate) fn override_fingerprint(other: Option<u64>) {
    OVERRIDE.set(other);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_stable_and_known() {
        assert_ne!(fingerprint(), UNKNOWN_FINGERPRINT);
        assert_eq!(fingerprint(), compute());
    }

    #[test]
    fn override_changes_only_this_thread() {
        override_fingerprint(Some(1));
        assert_eq!(fingerprint(), 1);
        assert_ne!(std::thread::spawn(fingerprint).join().expect("no panic"), 1);
        override_fingerprint(None);
        assert_ne!(fingerprint(), 1);
    }
}
