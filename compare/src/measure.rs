//! Times the repetitions of a workload.
//!
//! A workload hands its body to a [`Meter`], which runs it once to warm up and then several times between two readings of
//! the clocks. What counts is CPU time, user and system of all threads: on a machine that does other work too it moves far
//! less than wall time, and page faults, which decide many rows, are system time. Wall time is kept beside it. A process
//! reports its median repetition; the runner then takes the median of processes.

use crate::process;

/// What one repetition cost.
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// CPU nanoseconds for each operation.
    pub cpu_ns: f64,
    /// Wall nanoseconds for each operation.
    pub wall_ns: f64,
}

/// Runs the body of a workload and keeps its times.
#[derive(Debug)]
pub struct Meter {
    quick: bool,
    operations: u64,
    repetitions: Vec<Repetition>,
}

impl Meter {
    /// A meter without times. With `quick`, workloads do less of the same.
    pub fn new(quick: bool) -> Self {
        // The room is taken now, so that the meter itself allocates nothing between two repetitions.
        Self { quick, operations: 0, repetitions: Vec::with_capacity(64) }
    }

    /// `full`, or a quarter of it in a quick run: for numbers of operations.
    pub fn scaled(&self, full: usize) -> usize {
        if self.quick { full / 4 } else { full }
    }

    /// Runs `body`, which does `operations` operations, once unmeasured and then up to `times` times measured: at most three
    /// times in a quick run, and no more than three if they take long.
    pub fn repeat(&mut self, times: usize, operations: usize, mut body: impl FnMut()) {
        const LONG_NS: u64 = 1_000_000_000;
        let times = if self.quick { times.min(3) } else { times };
        body();
        let start = process::wall_ns();
        for done in 0..times {
            if done >= 3 && process::wall_ns() - start > LONG_NS {
                break;
            }
            self.once(operations, &mut body);
        }
    }

    /// Runs `body` once, measured, without a warm-up: for what happens once in a process.
    pub fn once(&mut self, operations: usize, body: impl FnOnce()) {
        let (cpu, wall) = (process::cpu_ns(), process::wall_ns());
        body();
        let (cpu, wall) = (process::cpu_ns() - cpu, process::wall_ns() - wall);
        self.operations += operations as u64;
        self.repetitions
            .push(Repetition { cpu_ns: cpu as f64 / operations as f64, wall_ns: wall as f64 / operations as f64 });
    }

    /// Takes a number of nanoseconds that the workload itself found over so many operations.
    pub fn report(&mut self, operations: usize, ns: f64) {
        self.operations += operations as u64;
        self.repetitions.push(Repetition { cpu_ns: ns, wall_ns: ns });
    }

    /// The number of operations measured.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// The repetitions in the order they ran.
    pub fn repetitions(&self) -> &[Repetition] {
        &self.repetitions
    }
}

/// Least, middle and greatest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of `values`, if there are any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { min, median, max })
    }
}

/// The least of `values` that at most one in `many` of them exceeds; zero if there are none. Reorders them.
pub fn exceeded_by_one_in(many: usize, values: &mut [u32]) -> f64 {
    let Some(place) = values.len().checked_sub(values.len() / many + 1) else { return 0.0 };
    f64::from(*values.select_nth_unstable(place).1)
}

#[cfg(test)]
mod tests {
    use super::{Meter, Spread, exceeded_by_one_in};

    #[test]
    fn one_in_a_thousand_exceeds_the_tail() {
        let mut values: Vec<u32> = (1..=10_000).rev().collect();
        assert_eq!(exceeded_by_one_in(1_000, &mut values), 9_990.0);
        assert_eq!(exceeded_by_one_in(1_000, &mut [7]), 7.0);
        assert_eq!(exceeded_by_one_in(1_000, &mut []), 0.0);
    }

    #[test]
    fn the_median_ignores_an_outlier() {
        let spread = Spread::of([3.0, 1.0, 900.0]).unwrap();
        assert_eq!(spread, Spread { min: 1.0, median: 3.0, max: 900.0 });
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn the_warm_up_is_run_but_not_measured() {
        let (mut meter, mut calls) = (Meter::new(false), 0);
        meter.repeat(5, 10, || calls += 1);
        assert_eq!((calls, meter.repetitions().len(), meter.operations()), (6, 5, 50));
    }
}
