//! Which session has which root.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Borrows of the roots of one heap, by directory slot.
#[derive(Debug, Default)]
pub(super) struct Borrows {
    of_slot: HashMap<u32, Borrow>,
    /// Shares for a part of a session that there have been.
    moments: u64,
}

/// Set in the numbers of such shares, and in no session's.
const MOMENT: u64 = 1 << 63;

#[derive(Debug)]
enum Borrow {
    Exclusive(u64),
    Shared(Vec<u64>),
}

/// Somebody else has the root; whether it is the asking session itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy {
    pub(super) by_this_session: bool,
}

impl Borrows {
    /// Lends a root to a session that only reads it.
    pub(super) fn share(&mut self, slot: u32, session: u64) -> Result<(), Busy> {
        match self.of_slot.entry(slot) {
            Entry::Vacant(vacant) => {
                vacant.insert(Borrow::Shared(vec![session]));
                Ok(())
            }
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                Borrow::Exclusive(holder) => Err(Busy { by_this_session: *holder == session }),
                Borrow::Shared(holders) => {
                    if !holders.contains(&session) {
                        holders.push(session);
                    }
                    Ok(())
                }
            },
        }
    }

    /// Lends a root to a session that changes it.
    pub(super) fn take(&mut self, slot: u32, session: u64) -> Result<(), Busy> {
        match self.of_slot.entry(slot) {
            Entry::Vacant(vacant) => {
                vacant.insert(Borrow::Exclusive(session));
                Ok(())
            }
            Entry::Occupied(occupied) => Err(Busy {
                by_this_session: match occupied.get() {
                    Borrow::Exclusive(holder) => *holder == session,
                    Borrow::Shared(holders) => holders.contains(&session),
                },
            }),
        }
    }

    /// Takes one root back, of which no reference is left.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.of_slot.remove(&slot);
    }

    /// Lends a root for a part of a session, beside all that the session has; by the number that is returned it is given back.
    pub(super) fn share_for_a_moment(&mut self, slot: u32, session: u64) -> Result<u64, Busy> {
        if let Some(Borrow::Exclusive(holder)) = self.of_slot.get(&slot) {
            return Err(Busy { by_this_session: *holder == session });
        }
        self.moments += 1;
        let share = MOMENT | self.moments;
        self.share(slot, share)?;
        Ok(share)
    }

    /// Takes such a share back, of which no reference is left.
    pub(super) fn end_share(&mut self, slot: u32, share: u64) {
        if let Some(Borrow::Shared(holders)) = self.of_slot.get_mut(&slot) {
            holders.retain(|holder| *holder != share);
            if holders.is_empty() {
                self.of_slot.remove(&slot);
            }
        }
    }

    /// Takes back all that a session has.
    pub(super) fn end(&mut self, session: u64) {
        self.of_slot.retain(|_, borrow| match borrow {
            Borrow::Exclusive(holder) => *holder != session,
            Borrow::Shared(holders) => {
                holders.retain(|holder| *holder != session);
                !holders.is_empty()
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers_have_a_root() {
        let mut borrows = Borrows::default();
        assert!(borrows.share(1, 10).is_ok() && borrows.share(1, 11).is_ok() && borrows.share(1, 10).is_ok());
        assert_eq!(borrows.take(1, 12), Err(Busy { by_this_session: false }));
        assert_eq!(borrows.take(1, 10), Err(Busy { by_this_session: true }));
        assert!(borrows.take(2, 12).is_ok());
        assert_eq!(borrows.take(2, 12), Err(Busy { by_this_session: true }));
        assert_eq!(borrows.share(2, 10), Err(Busy { by_this_session: false }));
        borrows.end(10);
        assert!(borrows.take(1, 12).is_err());
        borrows.end(11);
        assert!(borrows.take(1, 12).is_ok());
        borrows.end(12);
        assert!(borrows.of_slot.is_empty());
        // What a session has for a part of it is not what it has as a whole.
        let share = borrows.share_for_a_moment(1, 10).unwrap();
        assert!(borrows.share(1, 10).is_ok());
        borrows.end_share(1, share);
        assert_eq!(borrows.take(1, 10), Err(Busy { by_this_session: true }));
        borrows.end(10);
        let [first, second] = [10, 10].map(|session| borrows.share_for_a_moment(1, session).unwrap());
        borrows.end_share(1, first);
        assert!(borrows.take(1, 10).is_err());
        borrows.end_share(1, second);
        assert!(borrows.of_slot.is_empty());
    }
}
