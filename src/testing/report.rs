//! What a run of the crash tester looked at.

use std::fmt;
use std::ops::AddAssign;

/// What a run looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashReport {
    /// Operations of the disk, each followed by a power cut.
    pub moments: u64,
    /// Crash images that were opened and were as they must be.
    pub images: u64,
    /// Those among them that a second power cut left, during recovery or the work after it.
    pub second_images: u64,
    /// Those that held a commit which had not been acknowledged.
    pub in_flight: u64,
}

impl AddAssign for CrashReport {
    fn add_assign(&mut self, other: Self) {
        self.moments += other.moments;
        self.images += other.images;
        self.second_images += other.second_images;
        self.in_flight += other.in_flight;
    }
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { moments, images, second_images, in_flight } = self;
        write!(
            f,
            "{images} images of power cuts at {moments} moments, {second_images} of them second ones, \
             {in_flight} with a commit in flight"
        )
    }
}
