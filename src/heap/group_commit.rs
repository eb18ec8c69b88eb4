//! Many who ask for a commit at once share one.
//!
//! Whoever finds no commit running leads one. While it runs, all who ask gather for the next *round*, and when it is over
//! one of them leads that, at the highest level that any of them asked for. So each gets the outcome of a commit that
//! began after it asked, with everything in it that was changed before; and however many ask, each waits for two commits
//! at most.
//!
//! # Invariants
//! - **C1** At most one commit runs: who sets `is_running` under the mutex leads, and clears it when the commit is over,
//!   also by a panic.
//! - **C2** A round stands in `gathering` until it is led for the first time, so no one joins a round that has begun.
//! - **C3** Whenever `is_running` is cleared all are woken, and each looks whether its round has its outcome or needs a
//!   leader: a leader that panics leaves its round to the others in it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Runs commits one after the other. `L` is how much a commit does, `T` what it returns.
#[derive(Debug)]
pub(super) struct GroupCommit<L, T, E> {
    state: Mutex<State<L, T, E>>,
    over: Condvar,
}

#[derive(Debug)]
struct State<L, T, E> {
    is_running: bool,
    /// Those who asked since the last commit began.
    gathering: Option<Arc<Round<L, T, E>>>,
}

#[derive(Debug)]
struct Round<L, T, E> {
    /// The highest level asked for.
    level: Mutex<L>,
    outcome: OnceLock<Result<T, E>>,
}

impl<L, T, E> Default for GroupCommit<L, T, E> {
    fn default() -> Self {
        Self { state: Mutex::new(State { is_running: false, gathering: None }), over: Condvar::new() }
    }
}

impl<L: Copy + Ord, T, E> Round<L, T, E> {
    fn raise_level(&self, level: L) {
        let mut highest = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        *highest = level.max(*highest);
    }

    fn level(&self) -> L {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears `is_running` on drop.
struct Running<'g, L, T, E>(&'g GroupCommit<L, T, E>);

impl<L, T, E> Drop for Running<'_, L, T, E> {
    fn drop(&mut self) {
        self.0.state().is_running = false;
        self.0.over.notify_all();
    }
}

impl<L, T, E> GroupCommit<L, T, E> {
    fn state(&self) -> MutexGuard<'_, State<L, T, E>> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Copy + Ord, T: Clone, E: Clone> GroupCommit<L, T, E> {
    /// Returns the outcome of a commit of `level` or more that began after this was called: `work`, or that of another
    /// caller. `work` is called at most once, and must not come back here.
    pub(super) fn run(&self, level: L, work: impl FnOnce(L) -> Result<T, E>) -> Result<T, E> {
        let mut state = self.state();
        let round = Arc::clone(
            state
                .gathering
                .get_or_insert_with(|| Arc::new(Round { level: Mutex::new(level), outcome: OnceLock::new() })),
        );
        round.raise_level(level);
        while state.is_running && round.outcome.get().is_none() {
            state = self.over.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(outcome) = round.outcome.get() {
            return outcome.clone();
        }
        // C1, C2
        state.is_running = true;
        if state.gathering.as_ref().is_some_and(|gathering| Arc::ptr_eq(gathering, &round)) {
            state.gathering = None;
        }
        drop(state);
        let _running = Running(self);
        let outcome = work(round.level());
        round.outcome.get_or_init(|| outcome).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;

    type Group = GroupCommit<u8, u64, &'static str>;

    /// Returns when so many callers are in the gathering round.
    fn wait_for_gathering(group: &Group, callers: usize) {
        // One more is the state's own.
        while group.state().gathering.as_ref().map_or(0, Arc::strong_count) < callers + 1 {
            thread::yield_now();
        }
    }

    /// Blocks the group with a first commit, lets `callers` gather, and returns what each got.
    fn gather(group: &Group, callers: usize, call: impl Fn(usize) -> Result<u64, &'static str> + Sync) -> Vec<u64> {
        thread::scope(|scope| {
            let (release, blocked) = mpsc::channel::<()>();
            let (started, has_started) = mpsc::channel();
            let first = scope.spawn(move || {
                group.run(1, |_| {
                    started.send(()).unwrap();
                    blocked.recv().unwrap();
                    Ok(0)
                })
            });
            has_started.recv().unwrap();
            let call = &call;
            let others: Vec<_> = (0..callers)
                .map(|number| scope.spawn(move || catch_unwind(AssertUnwindSafe(|| call(number)))))
                .collect();
            wait_for_gathering(group, callers);
            release.send(()).unwrap();
            assert_eq!(first.join().unwrap(), Ok(0));
            others.into_iter().filter_map(|other| other.join().unwrap().ok()).map(Result::unwrap).collect()
        })
    }

    #[test]
    fn all_who_ask_while_a_commit_runs_share_the_next_one() {
        let (group, runs) = (Group::default(), AtomicU64::new(0));
        let got = gather(&group, 8, |_| group.run(1, |_| Ok(runs.fetch_add(1, Ordering::Relaxed) + 1)));
        assert_eq!(got, [1; 8]);
        assert_eq!(runs.into_inner(), 1);
        assert_eq!(group.run(1, |_| Ok(9)), Ok(9));
    }

    #[test]
    fn a_shared_commit_has_the_highest_level_that_was_asked_for() {
        let group = Group::default();
        let got = gather(&group, 6, |number| group.run(number as u8, |level| Ok(u64::from(level))));
        assert_eq!(got, [5; 6]);
        assert_eq!(group.run(2, |level| Ok(u64::from(level))), Ok(2));
    }

    #[test]
    fn an_error_is_that_of_all_who_shared_the_commit_and_of_none_after_it() {
        let (group, runs) = (Group::default(), AtomicU64::new(0));
        let fail = || {
            runs.fetch_add(1, Ordering::Relaxed);
            Err("disk")
        };
        gather(&group, 4, |_| {
            assert_eq!(group.run(1, |_| fail()), Err("disk"));
            Ok(0)
        });
        assert_eq!(runs.into_inner(), 1);
        assert_eq!(group.run(1, |_| Ok(1)), Ok(1));
    }

    #[test]
    fn a_leader_that_panics_leaves_its_round_to_another_caller() {
        let (group, runs) = (Group::default(), AtomicU64::new(0));
        let got = gather(&group, 5, |_| {
            group.run(1, |_| {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                assert!(run > 1, "the first two leaders do not make it");
                Ok(run)
            })
        });
        assert_eq!(got, [2; 3]);
        assert_eq!(group.run(1, |_| Ok(7)), Ok(7));
    }

    #[test]
    fn what_a_caller_changed_before_it_asked_is_in_its_commit() {
        let (group, changes, running) = (Group::default(), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let mine = changes.fetch_add(1, Ordering::SeqCst) + 1;
                        let committed = group.run(1, |_| {
                            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                            let seen = changes.load(Ordering::SeqCst);
                            thread::yield_now();
                            running.fetch_sub(1, Ordering::SeqCst);
                            Ok(seen)
                        });
                        assert!(committed.unwrap() >= mine);
                    }
                });
            }
        });
        assert_eq!(changes.into_inner(), 16_000);
    }
}
