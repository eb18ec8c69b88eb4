//! Running a scenario, and cutting the power at every moment of it.

use super::history::End;
use super::image::{Checker, Position};
use super::report::CrashReport;
use super::scenario::Scenario;
use super::{Granularity, SimulatedDisk};
use crate::commit::simulated::crash::{Random, Strategy};
use crate::heap::{Heap, HeapOptions, Recovery};
use crate::os::env::secure_variable;
use core::ffi::CStr;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Bytes by which the logs of tested heaps grow: so few that they go round.
const LOG_STEP: u64 = 32 << 10;

/// Runs scenarios and looks at what power cuts leave of them.
///
/// A seed, printed when a check fails, decides which images are looked at. The environment variable `SAL_CRASH_SEED`
/// stands for the seed, `SAL_CRASH_IMAGES` for the number of images of each moment, whatever the program says.
///
/// The example is that of the [module](super).
#[derive(Clone, Debug)]
#[must_use]
pub struct CrashTester {
    options: HeapOptions,
    seed: u64,
    images: usize,
    at_end_only: bool,
}

impl Default for CrashTester {
    fn default() -> Self {
        Self::new()
    }
}

/// The number that an environment variable holds.
fn number_in(variable: &CStr) -> Option<u64> {
    secure_variable(variable)?.to_str().ok()?.trim().parse().ok()
}

impl CrashTester {
    /// Eight images of each moment, of heaps that are recovered before they are used.
    pub fn new() -> Self {
        Self {
            options: HeapOptions::new().recovery(Recovery::Eager).log_step(LOG_STEP),
            seed: number_in(c"SAL_CRASH_SEED").unwrap_or(1),
            images: Self::images_of_variable().unwrap_or(8),
            at_end_only: false,
        }
    }

    fn images_of_variable() -> Option<usize> {
        number_in(c"SAL_CRASH_IMAGES").map(|images| images.max(1) as usize)
    }

    /// How heaps are opened. A small [`HeapOptions::fold_at`] lets more happen.
    pub fn options(mut self, options: HeapOptions) -> Self {
        self.options = options.log_step(LOG_STEP);
        self
    }

    /// The seed, unless `SAL_CRASH_SEED` says otherwise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = number_in(c"SAL_CRASH_SEED").unwrap_or(seed);
        self
    }

    /// How many images of each moment are looked at, unless `SAL_CRASH_IMAGES` says otherwise.
    pub fn images(mut self, images: usize) -> Self {
        self.images = Self::images_of_variable().unwrap_or(images.max(1));
        self
    }

    /// Cuts the power only when the scenario has ended; for many short ones, on disks that fail.
    pub fn at_end_only(mut self, only: bool) -> Self {
        self.at_end_only = only;
        self
    }

    /// The seed that counts, for scenarios that are random themselves.
    pub fn seed_in_use(&self) -> u64 {
        self.seed
    }

    /// Runs a scenario, which begins with an empty heap and this model of it. Then opens what power cuts during it can
    /// have left, and has each looked at by `check`, with the model of its commit. In part of the images a root of the
    /// tester's own is added, as a trial whether the heap works on.
    ///
    /// # Panics
    /// If something is not as it must be; the seed and the image are printed then.
    ///
    /// # Safety
    /// Nothing that lies in a heap leaves the closure or the session in which it was reached or made, not even to be
    /// dropped outside, unless it hangs on a root: when a heap ends, it is unmapped.
    pub unsafe fn run<M: Clone>(
        &self,
        model: M,
        scenario: impl FnOnce(&mut Scenario<'_, M>),
        check: impl Fn(&Heap, &M),
    ) -> CrashReport {
        let (disk, heap, _place) = self.create();
        let mut running = Scenario::new(disk, heap, model, &self.options, &check);
        let failing = OnPanic(self.seed);
        scenario(&mut running);
        drop(failing);
        let (disk, history) = running.end();
        let trace = disk.trace();
        drop(disk);

        let checker = Checker { options: &self.options, check: &check };
        let mut report = CrashReport::default();
        let mut random = Random::new(self.seed);
        let mut moment = trace.start();
        let mut before = (Vec::new(), 0);
        let first = if self.at_end_only { trace.len() } else { 0 };
        for point in first..=trace.len() {
            moment.advance_to(point);
            report.moments += 1;
            let granularity = if random.below(3) == 0 { Granularity::Page } else { Granularity::Sector };
            let strategy = Strategy { unit: granularity.unit(), most: self.images, seed: self.seed };
            let expected = history.at(point, End::PowerCut);
            let least = expected.models.keys().next().copied().unwrap_or(0);
            let images = moment.crash_images(strategy);
            for (number, image) in images.iter().enumerate() {
                // What was looked at a moment ago, when no more was expected of it, is good enough.
                if before.1 == least && before.0.contains(image) {
                    continue;
                }
                let mut position = Position { seed: self.seed, moment: point, strategy, image: number, second: None };
                checker.check_image(image, &expected, &mut position, &mut random, &mut report);
            }
            before = (images, least);
        }
        report
    }

    /// A new heap at a place that no other tester has.
    fn create(&self) -> (SimulatedDisk, Heap, Place) {
        loop {
            let disk = SimulatedDisk::new();
            let heap = match disk.open(&self.options) {
                Ok(heap) => heap,
                Err(error) => panic!("no heap can be created: {error}"),
            };
            match Place::take(heap.address_range().start) {
                Some(place) => return (disk, heap, place),
                // SAFETY: nobody has seen the heap.
                None => unsafe { disk.kill(heap) },
            }
        }
    }
}

/// Prints the seed of a scenario that fails.
struct OnPanic(u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was SAL_CRASH_SEED={}, in the scenario itself", self.0);
        }
    }
}

/// Where heaps lie that are tested at the moment: between two images their places look free.
static PLACES: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// A place that nobody else may have.
struct Place(usize);

impl Place {
    fn take(address: usize) -> Option<Self> {
        // A `Self` that is made for nothing would take the lock again, and give back what is another's.
        PLACES.lock().unwrap_or_else(PoisonError::into_inner).insert(address).then(|| Self(address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        PLACES.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::SalVec;
    use crate::heap::SyncLevel;
    use crate::root::Root;

    const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");

    fn check(heap: &Heap, model: &Vec<u64>) {
        let read = heap.read().unwrap();
        let found = read.root(NUMBERS).map(|numbers| numbers.as_slice().to_vec()).unwrap_or_default();
        assert_eq!(&found, model);
    }

    #[test]
    fn a_short_history_survives_power_cuts_at_every_moment() {
        let tester = CrashTester::new().options(HeapOptions::new().fold_at(20_000).huge_pages(false)).images(6);
        let scenario = |scenario: &mut Scenario<'_, Vec<u64>>| {
            for step in 0..12 {
                scenario.change(|tx, model| {
                    tx.root_or_default(NUMBERS).unwrap().extend(0..step * 50);
                    model.extend(0..step * 50);
                });
                match step {
                    3 => scenario.reopen(),
                    7 => scenario.kill(),
                    5 | 10 => drop(scenario.sync_with(SyncLevel::Async)),
                    _ => drop(scenario.sync()),
                }
            }
        };
        // SAFETY: nothing that lies in the heap leaves these closures.
        let report = unsafe { tester.run(Vec::new(), scenario, check) };
        assert!(report.images > 300 && report.second_images > 0 && report.in_flight > 0, "{report}");
    }

    #[test]
    fn a_commit_that_holds_something_else_is_found_out() {
        let lost = std::panic::catch_unwind(|| {
            let scenario = |scenario: &mut Scenario<'_, Vec<u64>>| {
                scenario.change(|tx, _| tx.root_or_default(NUMBERS).unwrap().push(1));
                scenario.sync();
            };
            // SAFETY: as above.
            unsafe { CrashTester::new().images(1).run(Vec::new(), scenario, check) }
        });
        assert!(lost.is_err());
    }
}
