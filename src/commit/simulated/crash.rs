//! Power cuts: from what was done to a disk, the images that a cut at any time could leave.

use super::medium::{Contents, Medium, Operation, Unsettled};

/// What the medium holds after a power cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CrashImage {
    pub(crate) data: Contents,
    pub(crate) log: Option<Contents>,
}

/// What is written whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Sector,
    Page,
}

/// Which images of a power cut are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strategy {
    pub(crate) unit: Unit,
    /// All images if there are no more than this, else this many: that to which nothing of what was not synced has come,
    /// that to which all has, and random ones.
    pub(crate) most: usize,
    pub(crate) seed: u64,
}

/// Everything that was done to a disk, from a state in which all was durable.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(super) base: Medium,
    pub(super) operations: Vec<Operation>,
}

/// A moment of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Moment<'a> {
    trace: &'a Trace,
    medium: Medium,
    done: usize,
}

/// Xorshift, by Marsaglia: tests print its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end.max(1)
    }
}

impl Trace {
    /// How many operations it has: the moments are before each, and after the last.
    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    /// The beginning.
    pub(crate) fn start(&self) -> Moment<'_> {
        Moment { trace: self, medium: self.base.clone(), done: 0 }
    }

    /// The images of a power cut after the first `point` operations.
    pub(crate) fn crash_images(&self, point: usize, strategy: Strategy) -> Vec<CrashImage> {
        let mut moment = self.start();
        moment.advance_to(point);
        moment.crash_images(strategy)
    }
}

impl Moment<'_> {
    /// Goes on to after the first `point` operations.
    pub(crate) fn advance_to(&mut self, point: usize) {
        for operation in &self.trace.operations[self.done..point] {
            self.medium.apply(operation);
        }
        self.done = point;
    }

    /// The images of a power cut now.
    pub(crate) fn crash_images(&self, strategy: Strategy) -> Vec<CrashImage> {
        let unit = match strategy.unit {
            Unit::Sector => 512,
            Unit::Page => 4096,
        };
        let data = Unsettled::new(&self.medium.data, unit);
        let names: Vec<Option<usize>> =
            [self.medium.named].into_iter().chain(self.medium.renamed.iter().copied()).collect();
        let logs: Vec<Unsettled<'_>> = self.medium.logs.iter().map(|log| Unsettled::new(log, unit)).collect();
        let settle = |choose: &mut dyn FnMut(usize) -> usize| {
            let named = names[choose(names.len())];
            CrashImage { data: data.settle(choose), log: named.map(|log| logs[log].settle(choose)) }
        };
        let named = logs.iter().enumerate().filter(|(log, _)| names.contains(&Some(*log)));
        // If there are several, images of one are counted as often as the others have versions.
        let choices = data.choices().chain(named.flat_map(|(_, log)| log.choices())).chain([names.len()]);
        let count = choices.fold(1_usize, |count, choice| count.saturating_mul(choice));
        if count <= strategy.most {
            return (0..count)
                .map(|number| {
                    let mut rest = number;
                    settle(&mut |versions| {
                        let chosen = rest % versions;
                        rest /= versions;
                        chosen
                    })
                })
                .collect();
        }
        let mut random = Random::new(strategy.seed ^ self.done as u64);
        (0..strategy.most)
            .map(|number| match number {
                0 => settle(&mut |_| 0),
                1 => settle(&mut |versions| versions - 1),
                // All but one, none but one.
                2 | 3 => {
                    let mut odd = random.below(self.pieces(&data, &logs));
                    settle(&mut |versions| {
                        let is_odd = odd == 0;
                        odd = odd.wrapping_sub(1);
                        if is_odd == (number == 2) { 0 } else { versions - 1 }
                    })
                }
                _ => {
                    let odds = [1, 4, 7][number % 3];
                    settle(&mut |versions| match random.below(8) {
                        draw if draw < odds => versions - 1,
                        _ => random.below(versions as u64) as usize,
                    })
                }
            })
            .collect()
    }

    fn pieces(&self, data: &Unsettled<'_>, logs: &[Unsettled<'_>]) -> u64 {
        let of_log = logs.last().map_or(0, |log| log.choices().count());
        (1 + data.choices().count() + of_log) as u64
    }
}
