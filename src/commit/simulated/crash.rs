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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::simulated::SimulatedDisk;
    use crate::commit::storage::{Part, Storage};
    use std::collections::BTreeSet;

    const ALL: Strategy = Strategy { unit: Unit::Sector, most: 1000, seed: 1 };

    fn disk() -> SimulatedDisk {
        let mut data = Contents::default();
        data.write(0, &[1; 1024]);
        SimulatedDisk::new(&CrashImage { data, log: None }).unwrap()
    }

    /// The first bytes of the two sectors, and the length, of each image.
    fn seen(images: &[CrashImage]) -> BTreeSet<(u8, u8, u64)> {
        let of = |image: &CrashImage| {
            let page = image.data.pages().next().map_or([0; 4096], |(_, page)| *page);
            (page[0], page[512], image.data.len())
        };
        images.iter().map(of).collect()
    }

    #[test]
    fn every_sector_has_any_of_its_versions_since_the_last_sync() {
        let disk = disk();
        disk.write_at(Part::Data, &[2; 1024], 0).unwrap();
        disk.write_at(Part::Data, &[3; 512], 512).unwrap();
        let trace = disk.trace();
        let images = trace.crash_images(2, ALL);
        assert_eq!((images.len(), seen(&images).len()), (6, 6));
        assert_eq!(trace.crash_images(1, ALL).len(), 4);
        let whole = Strategy { unit: Unit::Page, ..ALL };
        assert_eq!(seen(&trace.crash_images(2, whole)), BTreeSet::from([(1, 1, 1024), (2, 2, 1024), (2, 3, 1024)]));
        disk.sync_data(Part::Data).unwrap();
        assert_eq!(seen(&disk.trace().crash_images(3, ALL)), BTreeSet::from([(2, 3, 1024)]));
    }

    #[test]
    fn a_length_is_old_or_new_and_what_was_cut_off_may_come_back() {
        let disk = disk();
        disk.set_len(Part::Data, 512).unwrap();
        disk.set_len(Part::Data, 2048).unwrap();
        let seen = seen(&disk.trace().crash_images(2, ALL));
        assert_eq!(seen, [(1, 0, 512), (1, 0, 1024), (1, 0, 2048), (1, 1, 1024), (1, 1, 2048)].into());
    }

    #[test]
    fn a_failed_sync_loses_what_is_not_written_again() {
        use crate::commit::simulated::{CallKind, Effect, Fault};
        let disk = disk();
        disk.write_at(Part::Data, &[2; 1024], 0).unwrap();
        let matches = Box::new(|call: &crate::commit::simulated::Call| call.kind == CallKind::Sync);
        disk.inject(Fault { matches, skip: 0, times: 1, errno: crate::os::errno::IO, effect: Effect::Half });
        assert!(disk.sync_data(Part::Data).is_err());
        disk.write_at(Part::Data, &[2; 512], 0).unwrap();
        disk.sync_data(Part::Data).unwrap();
        let mut bytes = [0; 1024];
        disk.read_at(Part::Data, &mut bytes, 0).unwrap();
        assert_eq!(bytes, [2; 1024]);
        let trace = disk.trace();
        assert_eq!(seen(&trace.crash_images(trace.len(), ALL)), BTreeSet::from([(2, 1, 1024)]));
    }

    #[test]
    fn a_name_is_there_for_good_only_when_the_directory_is_synced() {
        let disk = disk();
        disk.create_log().unwrap();
        disk.write_at(Part::Log, &[5; 10], 0).unwrap();
        disk.sync_data(Part::Log).unwrap();
        let logs = |disk: &SimulatedDisk| {
            let images = disk.trace().crash_images(disk.operations(), ALL);
            images.iter().map(|image| image.log.as_ref().map(Contents::len)).collect::<BTreeSet<_>>()
        };
        assert_eq!(logs(&disk), BTreeSet::from([None, Some(10)]));
        disk.sync_directory().unwrap();
        assert_eq!(logs(&disk), BTreeSet::from([Some(10)]));
        disk.remove_log().unwrap();
        assert_eq!(logs(&disk), BTreeSet::from([None, Some(10)]));
        disk.sync_directory().unwrap();
        assert_eq!(logs(&disk), BTreeSet::from([None]));
    }
}
