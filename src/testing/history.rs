//! Which commits a crash at a given moment may leave, and what each of them holds.
//!
//! A moment is a number of operations of the disk. What was acknowledged as durable before it must be there; what had
//! only been begun may be there.

use std::collections::BTreeMap;

/// A commit, or an attempt at one.
#[derive(Clone, Debug)]
struct Attempt<M> {
    number: u64,
    model: M,
    begun: usize,
    /// From when on a killed process cannot take it any more, and from when on a power cut cannot.
    written: Option<usize>,
    durable: Option<usize>,
    /// From when on it cannot be found any more.
    lost: Option<usize>,
}

/// All commits of a scenario.
#[derive(Clone, Debug)]
pub(super) struct History<M> {
    attempts: Vec<Attempt<M>>,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Killed,
    PowerCut,
}

/// What may be found.
#[derive(Clone, Debug)]
pub(super) struct Expected<M> {
    /// The commits that may be found, by number.
    pub(super) models: BTreeMap<u64, M>,
}

impl<M: Clone> History<M> {
    /// One in which all of this was possible when it began.
    pub(super) fn after(expected: &Expected<M>) -> Self {
        let first = expected.models.keys().next().copied();
        let attempts = expected
            .models
            .iter()
            .map(|(&number, model)| {
                let since = (Some(number) == first).then_some(0);
                Attempt { number, model: model.clone(), begun: 0, written: since, durable: since, lost: None }
            })
            .collect();
        Self { attempts }
    }

    pub(super) fn of(number: u64, model: M) -> Self {
        Self::after(&Expected { models: BTreeMap::from([(number, model)]) })
    }

    /// An attempt begins that would get this number.
    pub(super) fn begin(&mut self, now: usize, number: u64, model: M) {
        self.attempts.push(Attempt { number, model, begun: now, written: None, durable: None, lost: None });
    }

    /// The newest attempt was acknowledged with this number: its own, or that of an earlier commit, beside which there was
    /// nothing to commit.
    pub(super) fn acknowledge(&mut self, now: usize, number: u64, is_durable: bool) {
        if self.attempts.last().is_some_and(|attempt| attempt.number != number) {
            self.attempts.pop();
        }
        let newest = self.attempts.iter_mut().rev().find(|attempt| attempt.number == number);
        let Some(attempt) = newest else { panic!("commit {number} was acknowledged, which nobody had begun") };
        attempt.written.get_or_insert(now);
        if is_durable {
            attempt.durable.get_or_insert(now);
        }
    }

    /// The newest attempt was refused before anything was done.
    pub(super) fn refuse(&mut self) {
        self.attempts.pop();
    }

    /// The heap was opened, and is at this commit.
    pub(super) fn opened(&mut self, now: usize, number: u64) {
        for attempt in &mut self.attempts {
            if attempt.number > number {
                attempt.lost.get_or_insert(now);
            } else if attempt.number == number {
                attempt.written.get_or_insert(now);
                attempt.durable.get_or_insert(now);
            }
        }
    }

    /// What may be found after `point` operations.
    pub(super) fn at(&self, point: usize, end: End) -> Expected<M> {
        let by_then = |moment: Option<usize>| moment.is_some_and(|moment| moment <= point);
        let possible = self.attempts.iter().filter(|attempt| attempt.begun <= point && !by_then(attempt.lost));
        let is_sure = |attempt: &&Attempt<M>| match end {
            End::Killed => by_then(attempt.written),
            End::PowerCut => by_then(attempt.durable),
        };
        let least = possible.clone().filter(is_sure).map(|attempt| attempt.number).max().unwrap_or(0);
        let models = possible.filter(|attempt| attempt.number >= least);
        Expected { models: models.map(|attempt| (attempt.number, attempt.model.clone())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(history: &History<char>, point: usize, end: End) -> Vec<(u64, char)> {
        history.at(point, end).models.into_iter().collect()
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_was_begun_may() {
        let mut history = History::of(3, 'a');
        history.begin(10, 4, 'b');
        history.acknowledge(15, 4, false);
        history.begin(20, 5, 'c');
        history.acknowledge(25, 5, true);
        assert_eq!(numbers(&history, 9, End::PowerCut), [(3, 'a')]);
        assert_eq!(numbers(&history, 10, End::PowerCut), [(3, 'a'), (4, 'b')]);
        assert_eq!(numbers(&history, 15, End::PowerCut), [(3, 'a'), (4, 'b')]);
        assert_eq!(numbers(&history, 15, End::Killed), [(4, 'b')]);
        assert_eq!(numbers(&history, 24, End::PowerCut), [(3, 'a'), (4, 'b'), (5, 'c')]);
        assert_eq!(numbers(&history, 25, End::PowerCut), [(5, 'c')]);
    }

    #[test]
    fn an_attempt_that_failed_is_replaced_by_the_next_and_lost_when_the_heap_opens_without_it() {
        let mut history = History::of(3, 'a');
        history.begin(10, 4, 'b');
        history.begin(20, 4, 'c');
        assert_eq!(numbers(&history, 15, End::PowerCut), [(3, 'a'), (4, 'b')]);
        assert_eq!(numbers(&history, 20, End::PowerCut), [(3, 'a'), (4, 'c')]);
        history.opened(30, 3);
        assert_eq!(numbers(&history, 29, End::PowerCut), [(3, 'a'), (4, 'c')]);
        assert_eq!(numbers(&history, 30, End::PowerCut), [(3, 'a')]);
        history.begin(40, 4, 'd');
        assert_eq!(numbers(&history, 40, End::PowerCut), [(3, 'a'), (4, 'd')]);
    }

    #[test]
    fn a_sync_that_finds_nothing_to_commit_makes_the_last_commit_durable() {
        let mut history = History::of(3, 'a');
        history.begin(10, 4, 'b');
        history.acknowledge(12, 4, false);
        history.begin(20, 5, 'b');
        history.acknowledge(22, 4, true);
        assert_eq!(numbers(&history, 30, End::PowerCut), [(4, 'b')]);
    }
}
