//! Lines of text that are made without allocating.

use super::process;
use core::fmt::{self, Write};

/// A line of limited length; what does not fit is dropped.
pub(crate) struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Writes it to standard error.
    pub(crate) fn say(&self) {
        process::write_stderr(self.as_bytes());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let mut line = Line::new();
        for _ in 0..40 {
            line.write_str("twenty-seven characters ...").unwrap();
        }
        assert_eq!(line.as_bytes().len(), 512);
    }
}
