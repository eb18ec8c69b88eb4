//! Power cuts, killed processes and failing disks, for tests of what a program keeps in a heap.
//!
//! A [`SimulatedDisk`] is a disk in memory that holds one atomic heap. It remembers all that was done to it, gives the
//! images that a power cut at any moment could have left, and fails where it is told to. A [`CrashTester`] runs a scenario
//! on such a disk, with a model of what each commit has to hold; then it cuts the power at every moment, opens what is
//! left, and looks whether it is the last commit that was acknowledged, or one that was under way.
//!
//! ```
//! use sal::prelude::*;
//! use sal::testing::CrashTester;
//!
//! const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
//!
//! // SAFETY: nothing that lies in the heap leaves these closures.
//! let report = unsafe {
//!     CrashTester::new().images(2).run(
//!         Vec::new(),
//!         |scenario| {
//!             for number in 0..2 {
//!                 scenario.change(|tx, model: &mut Vec<u64>| {
//!                     tx.root_or_default(NUMBERS).unwrap().push(number);
//!                     model.push(number);
//!                 });
//!                 scenario.sync();
//!             }
//!         },
//!         |heap, model| {
//!             let read = heap.read().unwrap();
//!             match read.root(NUMBERS) {
//!                 Ok(numbers) => assert_eq!(numbers.as_slice(), model.as_slice()),
//!                 Err(_) => assert!(model.is_empty()),
//!             }
//!         },
//!     )
//! };
//! println!("{report}");
//! ```
//!
//! # What a power cut may leave
//! Of everything that was written and not synced, each sector of 512 bytes (or, in other images, each page of 4 KiB)
//! has any of the contents it had since the last sync, independently of all others; lengths and names likewise. What was
//! synced is there. All images are looked at where there are few, random ones elsewhere.
//!
//! # Volatile
//! Everything: a disk ends with its last handle.

#![allow(unsafe_code)]

mod crash_tester;
mod disk;
mod history;
mod image;
mod report;
mod scenario;

pub use crash_tester::CrashTester;
pub use disk::{Effect, Granularity, SimulatedDisk};
pub use report::CrashReport;
pub use scenario::Scenario;
