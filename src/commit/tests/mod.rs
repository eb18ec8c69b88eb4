//! The journal on real files, and on the simulated disk with a model beside it.

mod real_files;
