//! What the environment asks for.

use super::message;
use crate::os::env::secure_variable;
use core::ffi::CStr;

/// The options that a process started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Whether blocks live in a temporary file.
    pub(super) is_over_file: bool,
    /// After how many freed bytes free memory is given back; 0 for never.
    pub(super) purge_after: usize,
    /// Whether statistics are written at exit.
    pub(super) has_statistics: bool,
}

const PURGE_AFTER: usize = 1 << 30;

impl Options {
    /// Reads the environment; says what is ignored if `tell` is set.
    pub(super) fn read(tell: bool) -> Self {
        let switch = |name| value(tell, name, switch, "is neither 0 nor 1");
        // Read again where the heap is made, which takes everything but 0 for 1.
        switch(c"SAL_HUGE_PAGES");
        Self {
            is_over_file: value(tell, c"SAL_BACKING", backing, "is neither memory nor file").unwrap_or(false),
            purge_after: value(tell, c"SAL_PURGE", bytes, "is no number of bytes").unwrap_or(PURGE_AFTER),
            has_statistics: switch(c"SAL_STATS").unwrap_or(false),
        }
    }
}

/// The value of a variable as `parse` understands it; what it does not understand counts as not set.
fn value<T>(tell: bool, name: &CStr, parse: fn(&[u8]) -> Option<T>, wrong: &str) -> Option<T> {
    let text = secure_variable(name)?;
    let parsed = parse(text.to_bytes());
    if parsed.is_none() && tell {
        // Escapes of bytes that are no text are made as it is written.
        let (name, text) = (name.to_bytes().escape_ascii(), text.to_bytes().escape_ascii());
        message::say(format_args!("{name}=\"{text}\" {wrong} and is ignored"));
    }
    parsed
}

fn switch(text: &[u8]) -> Option<bool> {
    match text {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

fn backing(text: &[u8]) -> Option<bool> {
    match text {
        b"memory" => Some(false),
        b"file" => Some(true),
        _ => None,
    }
}

/// A decimal number, and perhaps a unit.
fn bytes(text: &[u8]) -> Option<usize> {
    let (digits, shift) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        digits => (digits, 0),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_usize;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
    }
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_understood_or_refused_as_a_whole() {
        let sizes: [(&[u8], Option<usize>); 10] = [
            (b"0", Some(0)),
            (b"12", Some(12)),
            (b"3k", Some(3 << 10)),
            (b"64M", Some(64 << 20)),
            (b"2G", Some(2 << 30)),
            (b"", None),
            (b"G", None),
            (b"-1", None),
            (b"1 G", None),
            (b"99999999999G", None),
        ];
        for (text, expected) in sizes {
            assert_eq!(bytes(text), expected, "{}", text.escape_ascii());
        }
        assert_eq!([switch(b"0"), switch(b"1"), switch(b"yes"), switch(b"")], [Some(false), Some(true), None, None]);
        assert_eq!([backing(b"memory"), backing(b"file"), backing(b"disk")], [Some(false), Some(true), None]);
    }
}
