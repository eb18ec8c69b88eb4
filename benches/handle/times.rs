//! How long each of many calls took: counted by nanoseconds, so that noting one is an addition and takes no new memory.

/// Longer ones are counted as so long.
const MOST: usize = 1 << 16;

pub(crate) struct Times {
    counts: Vec<u64>,
    longest: u64,
    sum: u64,
}

impl Times {
    pub(crate) fn new() -> Self {
        // Written, so that there is memory under it.
        Self { counts: (0..=MOST).map(|_| std::hint::black_box(0)).collect(), longest: 0, sum: 0 }
    }

    pub(crate) fn note(&mut self, took: u64) {
        self.counts[(took as usize).min(MOST)] += 1;
        self.longest = self.longest.max(took);
        self.sum += took;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.longest = self.longest.max(other.longest);
        self.sum += other.sum;
    }

    pub(crate) fn len(&self) -> u64 {
        self.above(0)
    }

    /// How many took so long or longer.
    pub(crate) fn above(&self, least: u64) -> u64 {
        self.counts[least as usize..].iter().copied().sum()
    }

    /// What such a part of them did not take longer than.
    pub(crate) fn at(&self, part: f64) -> u64 {
        let mut left = (self.len() as f64 * part) as u64;
        let found = self.counts.iter().position(|&count| match left.checked_sub(count) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        found.map_or(self.longest, |at| at as u64)
    }

    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum as f64 / self.len() as f64
    }
}
