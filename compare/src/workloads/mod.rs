//! The workloads: what programs do with an allocator, one thing at a time.
//!
//! Each runs in a process of its own. Names read `what/size/variant`; the text beside each says what one operation is. What
//! they allocate they also touch, and pointers pass through [`std::hint::black_box`], so that the compiler cannot remove a
//! pair of calls whose memory nobody looks at.

mod block;
mod cache_lines;
mod churn;
mod documents;
mod growth;
mod large;
mod many_threads;
mod maps;
mod messages;
mod orders;
mod pairs;
mod pareto;
mod processes;
mod servers;
mod trees;

use crate::measure::Meter;

/// Something to measure.
#[derive(Debug)]
pub struct Workload {
    /// What it is called on the command line and in the tables.
    pub name: &'static str,
    /// What its value counts.
    pub unit: Unit,
    /// Whether it happens once in a process, so that only more processes give more samples.
    pub cold: bool,
    /// Whether a quick comparison includes it.
    pub quick: bool,
    /// Whether all it allocates again and again has at most 1 KiB.
    pub small_objects: bool,
    /// Does it.
    pub run: fn(&mut Meter),
}

/// What the value of a workload counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds of CPU time for one of what is named.
    Nanoseconds {
        /// One operation.
        per: &'static str,
    },
    /// Nanoseconds of wall time that all but one in a thousand of what is named stay below.
    Tail {
        /// One operation.
        per: &'static str,
    },
    /// KiB resident when the program's `main` begins; nothing is timed.
    ResidentAtStart,
}

impl Unit {
    /// How tables name it.
    pub fn label(self) -> String {
        match self {
            Self::Nanoseconds { per } => format!("ns/{per}"),
            Self::Tail { per } => format!("ns/{per}, p99.9"),
            Self::ResidentAtStart => "KiB".to_owned(),
        }
    }
}

impl Workload {
    /// One that is repeated within its process and that only full comparisons include.
    const fn new(name: &'static str, per: &'static str, run: fn(&mut Meter)) -> Self {
        Self { name, unit: Unit::Nanoseconds { per }, cold: false, quick: false, small_objects: true, run }
    }

    /// The same, in quick comparisons too.
    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    /// The same, with blocks of more than 1 KiB among those it allocates.
    const fn large_blocks(self) -> Self {
        Self { small_objects: false, ..self }
    }

    /// The same, but happening once in a process.
    const fn cold(self) -> Self {
        Self { cold: true, ..self }
    }
}

const GROUPS: [&[Workload]; 14] = [
    pairs::WORKLOADS,
    churn::WORKLOADS,
    growth::WORKLOADS,
    maps::WORKLOADS,
    trees::WORKLOADS,
    documents::WORKLOADS,
    large::WORKLOADS,
    messages::WORKLOADS,
    cache_lines::WORKLOADS,
    servers::WORKLOADS,
    orders::WORKLOADS,
    pareto::WORKLOADS,
    many_threads::WORKLOADS,
    processes::WORKLOADS,
];

/// All workloads in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Workload> {
    GROUPS.iter().flat_map(|group| group.iter())
}

/// The workload called `name`.
pub fn named(name: &str) -> Option<&'static Workload> {
    all().find(|workload| workload.name == name)
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::HashSet;

    #[test]
    fn no_two_workloads_share_a_name() {
        let mut names = HashSet::new();
        assert!(all().all(|workload| names.insert(workload.name)));
    }
}
