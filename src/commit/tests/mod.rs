//! The journal on real files, and on the simulated disk with a model beside it.

mod costs;
mod crashes;
mod faults;
mod header_slots;
mod jumps;
mod model;
mod real_files;
