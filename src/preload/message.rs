//! Lines on standard error, made without allocating.

use crate::os::{kept_stderr, process};
use core::fmt::{self, Write};

/// A line of text of limited length; what does not fit is dropped.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

/// Writes one line.
pub(super) fn say(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 512], len: 0 };
    // Cannot fail: what is too long is cut.
    let _ = writeln!(line, "sal: {text}");
    process::write_stderr(&line.bytes[..line.len]);
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
