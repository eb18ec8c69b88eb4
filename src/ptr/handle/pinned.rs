//! The right to read what handles lead to.

use crate::handle::pin::Pins;
use core::fmt;
use core::marker::PhantomData;

/// As long as it is there, values that its thread has got by [`Handle::get`](super::Handle::get) stay where they are; from
/// [`SalMovable::pin`](super::SalMovable::pin).
///
/// To have a pin and to drop it costs about a nanosecond. It holds for all heaps of the process. What is replaced or dropped while somebody has
/// one is kept, so a pin that stays for long costs memory ([`CompactReport::readers`](crate::CompactReport::readers) names such threads), and nothing else.
#[must_use = "what is read may go when the pin is dropped"]
pub struct Pinned<'h> {
    _pins: Pins,
    heap: PhantomData<&'h ()>,
}

impl Pinned<'_> {
    #[inline(always)]
    pub(super) fn begin() -> Self {
        Self { _pins: Pins::begin(), heap: PhantomData }
    }
}

impl fmt::Debug for Pinned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}
