//! Lines on standard error, made without allocating.

use crate::os::line::Line;
use crate::os::{kept_stderr, process};
use core::fmt::{self, Write};

/// Writes one line.
pub(super) fn say(text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // Cannot fail: what is too long is cut.
    let _ = writeln!(line, "sal: {text}");
    line.say();
}

/// Writes one line and ends the process.
#[cold]
pub(super) fn abort(text: fmt::Arguments<'_>) -> ! {
    say(text);
    process::abort()
}

/// Writes what is shown, however long it is, to what was standard error when the process began.
pub(super) fn write_at_exit(what: &impl fmt::Display) {
    struct Kept;
    impl Write for Kept {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            kept_stderr::write(text.as_bytes());
            Ok(())
        }
    }
    // Cannot fail: what cannot be written is lost.
    let _ = write!(Kept, "{what}");
}
