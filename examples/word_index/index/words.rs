//! What a word is, and how the words of a file are read.
//!
//! A word is a longest run of alphanumeric characters (by Unicode), each turned to lower case by itself, without what is
//! not alphanumeric in that (the dot above of a Turkish capital i); so a word's words are the word. HTML and program text
//! are read like any other. A word of more than [`LONGEST_WORD`] bytes is left out: such runs are data.
//!
//! A file is read in pieces that end at an ASCII character that belongs to no word, so memory is bounded however large
//! the file is (unless it has no such character). What is not UTF-8 separates words. A file with a NUL among its first
//! [`PROBE`] bytes is no text.

use std::io::{self, Read};

/// Longest word, in bytes of its lower-case form.
pub(crate) const LONGEST_WORD: usize = 64;

/// Bytes at the start of a file that are looked at for a NUL.
pub(crate) const PROBE: usize = 8 << 10;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

const SEPARATOR: u8 = 0;
const PLAIN: u8 = 1;
const UPPER: u8 = 2;
const NOT_ASCII: u8 = 4;

/// What each byte of UTF-8 text means for words.
const CLASSES: [u8; 256] = {
    let mut classes = [SEPARATOR; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' => PLAIN,
            b'A'..=b'Z' => UPPER,
            0x80.. => NOT_ASCII,
            _ => SEPARATOR,
        };
        byte += 1;
    }
    classes
};

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Text.
    Text {
        /// Whether all of it was UTF-8.
        is_utf8: bool,
    },
    /// Something else, which was not read to its end.
    Binary,
}

/// Buffers for reading one file after another.
pub(crate) struct Reader {
    piece: Vec<u8>,
    lower: String,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { piece: vec![0; PIECE], lower: String::new() }
    }

    /// Calls `each` for every word of `source`.
    pub(crate) fn read_words(&mut self, source: &mut impl Read, mut each: impl FnMut(&str)) -> io::Result<Content> {
        let mut is_utf8 = true;
        let mut filled = 0;
        let mut is_first = true;
        loop {
            let is_last = !self.fill(source, &mut filled)?;
            if std::mem::take(&mut is_first) && self.piece[..filled.min(PROBE)].contains(&0) {
                return Ok(Content::Binary);
            }
            let piece = &self.piece[..filled];
            let end = match piece.iter().rposition(|&byte| CLASSES[usize::from(byte)] == SEPARATOR) {
                _ if is_last => filled,
                Some(separator) => separator,
                None => {
                    self.piece.resize(2 * filled, 0);
                    continue;
                }
            };
            match std::str::from_utf8(&piece[..end]) {
                Ok(text) => for_each_word(text, &mut self.lower, &mut each),
                Err(_) => {
                    is_utf8 = false;
                    for_each_word(&String::from_utf8_lossy(&piece[..end]), &mut self.lower, &mut each);
                }
            }
            if is_last {
                self.piece.truncate(PIECE);
                return Ok(Content::Text { is_utf8 });
            }
            self.piece.copy_within(end..filled, 0);
            filled -= end;
        }
    }

    /// Reads until the buffer is full; returns whether it is.
    fn fill(&mut self, source: &mut impl Read, filled: &mut usize) -> io::Result<bool> {
        while *filled < self.piece.len() {
            match source.read(&mut self.piece[*filled..]) {
                Ok(0) => return Ok(false),
                Ok(count) => *filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Calls `each` for every word of `text`; `lower` is a buffer.
pub(crate) fn for_each_word(text: &str, lower: &mut String, mut each: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut seen = 0;
        while at < bytes.len() && CLASSES[usize::from(bytes[at])] != SEPARATOR {
            seen |= CLASSES[usize::from(bytes[at])];
            at += 1;
        }
        // Both ends are beside ASCII characters or the ends of the text.
        let run = &text[start..at];
        at += 1;
        if seen & NOT_ASCII != 0 {
            run.split(|character: char| !character.is_alphanumeric()).for_each(|word| {
                lower.clear();
                lower.extend(word.chars().flat_map(char::to_lowercase).filter(|character| character.is_alphanumeric()));
                give(lower, &mut each);
            });
        } else if seen & UPPER != 0 {
            lower.clear();
            lower.push_str(run);
            lower.make_ascii_lowercase();
            give(lower, &mut each);
        } else {
            give(run, &mut each);
        }
    }
}

fn give(word: &str, each: &mut impl FnMut(&str)) {
    if (1..=LONGEST_WORD).contains(&word.len()) {
        each(word);
    }
}
