//! Being alone with something without an atomic operation, for the one thread that wants it again and again.
//!
//! That thread, the *owner*, announces itself by a plain store and then looks whether others are there; another thread
//! announces itself in a counter and then looks for the owner. With a full barrier between the two steps on both sides, at
//! least one sees the other ([`barrier`] makes the owner's side cheap, and costs the others a system call). Both give way: an
//! owner that sees others does not count as alone, and another thread that goes on seeing the owner does without. So nobody
//! waits for anybody; what both may do at the same time they must do by other means.
//!
//! # Invariants
//! - **B1** While the owner has what [`Bias::alone`] returns, no work runs in [`Bias::without_owner`].
//! - **B2** What is done in the one is seen in the other, if it begins later.
//!
//! # Volatile
//! All of it. A child process does not have the other threads, so nobody is there ([`Bias::begin_again`]).

use crate::os::barrier;
use crate::sync::{AtomicU32, Ordering};

/// Who is there: the owner or others.
#[derive(Debug)]
pub(crate) struct Bias {
    /// 1 while the owner is alone, or looks whether it is; only it writes this.
    owner: AtomicU32,
    /// Threads in [`Bias::without_owner`].
    others: AtomicU32,
}

/// How often another thread looks whether the owner, whose work takes nanoseconds, has gone.
#[cfg(not(loom))]
const LOOKS: u32 = 200;
#[cfg(loom)]
const LOOKS: u32 = 1;

impl Bias {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { owner: AtomicU32::new(0), others: AtomicU32::new(0) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { owner: AtomicU32::new(0), others: AtomicU32::new(0) }
    }

    /// The owner alone, until that is dropped (B1); none if another thread is there. For the owner, once at a time.
    #[inline(always)]
    pub(crate) fn alone(&self) -> Option<Alone<'_>> {
        // Relaxed, and then the barrier, whose partner is that of `without_owner`.
        self.owner.store(1, Ordering::Relaxed);
        barrier::light();
        let alone = Alone(self);
        // Acquire pairs with the Release of all who were there, also of those whose numbers later ones have replaced (B2).
        if self.others.load(Ordering::Acquire) == 0 { Some(alone) } else { None }
    }

    /// Runs `work` if the owner is not, nor comes to be, alone meanwhile (B1); other threads may be here too.
    pub(crate) fn without_owner<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        // Relaxed, and then the barrier, whose partner is that of `alone`.
        self.others.fetch_add(1, Ordering::Relaxed);
        barrier::heavy();
        // Acquire pairs with the Release of the owner that was alone. An owner that is seen may also be one that has seen us.
        let is_gone = (0..LOOKS).any(|_| {
            core::hint::spin_loop();
            self.owner.load(Ordering::Acquire) == 0
        });
        let done = is_gone.then(work);
        // Release pairs with the Acquire in `alone` (B2).
        self.others.fetch_sub(1, Ordering::Release);
        done
    }

    /// Forgets who was there when the process was copied.
    pub(crate) fn begin_again(&self) {
        // Relaxed: the process has one thread.
        self.owner.store(0, Ordering::Relaxed);
        self.others.store(0, Ordering::Relaxed);
    }
}

/// The owner, alone.
pub(crate) struct Alone<'a>(&'a Bias);

impl Drop for Alone<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release pairs with the Acquire in `without_owner` (B2).
        self.0.owner.store(0, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    //! What the owner and others do is done to a loom cell, so two at a time, or one that does not see what the last one did,
    //! are reported.

    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    struct Model {
        bias: Bias,
        data: UnsafeCell<u32>,
        /// For others among themselves.
        others: Mutex<()>,
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self { bias: Bias::new(), data: UnsafeCell::new(0), others: Mutex::new(()) })
        }

        fn touch(&self) {
            // SAFETY: that is what loom checks here.
            self.data.with_mut(|data| unsafe { *data += 1 });
        }

        fn own_turn(&self) -> u32 {
            self.bias.alone().map_or(0, |_alone| {
                self.touch();
                1
            })
        }

        fn other_turn(&self) -> u32 {
            let turn = || {
                let _guard = self.others.lock().unwrap();
                self.touch();
            };
            self.bias.without_owner(turn).map_or(0, |()| 1)
        }

        /// How often anybody had a turn, by the data.
        fn turns(&self) -> u32 {
            // SAFETY: that is what loom checks here.
            self.data.with(|data| unsafe { *data })
        }
    }

    #[test]
    fn the_owner_is_alone_again_and_again_beside_another_thread() {
        loom::model(|| {
            let model = Model::new();
            let other = Arc::clone(&model);
            let other = thread::spawn(move || other.other_turn() + other.other_turn());
            let own = model.own_turn() + model.own_turn();
            let others = other.join().unwrap();
            assert_eq!(model.turns(), own + others);
            assert_eq!(model.own_turn(), 1, "nobody is there any more");
        });
    }

    #[test]
    fn the_owner_is_alone_beside_two_other_threads() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let model = Model::new();
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || model.other_turn())
                })
                .collect();
            let own = model.own_turn() + model.own_turn();
            let others: u32 = others.into_iter().map(|other| other.join().unwrap()).sum();
            assert_eq!(model.turns(), own + others);
        });
    }
}
