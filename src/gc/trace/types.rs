//! The descriptions of a heap's roots, from its image.

use super::{Op, Program, Purpose};
use crate::format::type_record::{LONGEST, TypeRecord, record_stride};
use crate::gc::image::Image;
use crate::schema::TypeDescription;

const RECORD: usize = size_of::<TypeRecord>();
const _: () = assert!(RECORD == 8);

impl Program {
    /// The types in a heap's type table, as far as they are known. Whether each root has one of them, marking finds out.
    pub(crate) fn of(image: &Image<'_>) -> Self {
        Self::of_types(image, Purpose::Marking)
    }

    /// As [`Program::of`], [to move](Purpose::Moving) values.
    pub(crate) fn to_move(image: &Image<'_>) -> Self {
        Self::of_types(image, Purpose::Moving)
    }

    /// Whether a program to move values finds all pointers of a type, and knows what they lead to.
    pub(crate) fn finds_all(types: &TypeDescription) -> bool {
        let mut program = Self::for_purpose(Purpose::Moving);
        let is_known = program.add(0, types).is_ok();
        is_known && !program.ops.iter().any(|op| matches!(op, Op::Hidden | Op::Words { .. }))
    }

    fn of_types(image: &Image<'_>, purpose: Purpose) -> Self {
        let mut program = Self::for_purpose(purpose);
        let room = image.types_len();
        let mut at = 0;
        // Records are not empty and lie within the area, so this comes to an end.
        while at + RECORD <= room {
            let [len, checksum] = split(image.types_word(at));
            if len == 0 || len > LONGEST || at as u64 + record_stride(len) > room as u64 {
                break;
            }
            let words = (len as usize).div_ceil(8);
            let mut bytes: Vec<u8> =
                (1..=words).flat_map(|word| image.types_word(at + word * 8).to_le_bytes()).collect();
            bytes.truncate(len as usize);
            if crc32c::crc32c(&bytes) != checksum {
                break;
            }
            if let Ok(types) = TypeDescription::decode(&bytes) {
                // Of a type that is not known there may be no root any more.
                let _ = program.add(at as u64, &types);
            }
            at += record_stride(len) as usize;
        }
        program
    }
}

/// Length and checksum of a record.
fn split(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}
