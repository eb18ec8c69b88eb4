//! Opening, closing and killing heaps.
//!
//! The tests write their files through this crate only; where they damage one on purpose, or interfere with it, it is so that
//! no object suffers or nothing is believed.

use super::process;
use sal::{Heap, HeapOptions, OpenError};
use std::path::{Path, PathBuf};

/// Opens a heap file, or creates it.
pub(crate) fn open_with(options: &HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: see the module.
    unsafe { options.open_or_create(path) }
}

/// As [`open_with`]; it must go well.
pub(crate) fn opened(options: &HeapOptions, path: &Path) -> Heap {
    open_with(options, path).unwrap()
}

/// As [`opened`], with the default options.
pub(crate) fn open(path: &Path) -> Heap {
    opened(&HeapOptions::new(), path)
}

/// Closes a heap and gives its addresses back. The tests use nothing of it afterwards.
pub(crate) fn unmap(heap: Heap) {
    // SAFETY: as said.
    unsafe { heap.close_and_unmap() }.unwrap();
}

/// The commit log of a heap file.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-log");
    name.into()
}

/// In the other process: waits to be killed.
pub(crate) fn wait_for_the_kill() {
    process::say("done");
    process::hear();
    unreachable!("killed before");
}

/// Runs a test in another role, up to where it [waits](wait_for_the_kill), and kills it there.
pub(crate) fn run_and_kill(test: &str, role: &str, path: &Path) {
    let mut child = process::start(test, role, path);
    child.wait_for("done");
    child.kill();
}
