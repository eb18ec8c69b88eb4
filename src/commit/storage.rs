//! The files of one heap, as commits see them.

use crate::os::CallError;
use core::fmt::Debug;

/// One of a heap's two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// The heap file.
    Data,
    /// The commit log beside it.
    Log,
}

/// All file operations of an atomic heap.
///
/// What has been written is on the medium only after [`Storage::sync_data`] of the same part has returned; until then any
/// part of it may be there, or none. A name is there for good only after [`Storage::sync_directory`].
pub(crate) trait Storage: Send + Sync + Debug {
    /// Reads until `bytes` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, part: Part, bytes: &mut [u8], offset: u64) -> Result<usize, CallError>;

    /// Writes all of `bytes`.
    fn write_at(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError>;

    /// The same for what nobody will read soon: whole pages of memory go around the page cache, if the system can.
    fn write_around(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.write_at(part, bytes, offset)
    }

    /// Makes everything that was written to a part, and its length, durable.
    fn sync_data(&self, part: Part) -> Result<(), CallError>;

    /// Reserves space, and makes the file at least that long.
    fn reserve(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError>;

    /// Makes the file that long; what is added reads as zeros.
    fn set_len(&self, part: Part, len: u64) -> Result<(), CallError>;

    /// Makes a range read as zeros, and gives its space back where that is possible.
    fn clear(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError>;

    /// As [`Storage::clear`], of a range that nobody relies on: nothing happens where its space cannot be given back; whether it was.
    fn punch(&self, part: Part, offset: u64, len: u64) -> Result<bool, CallError> {
        self.clear(part, offset, len).map(|()| true)
    }

    /// Bytes of the file.
    fn len(&self, part: Part) -> Result<u64, CallError>;

    /// Opens the log if it exists; false if there is none. Before this or [`Storage::create_log`], nothing can be done
    /// with [`Part::Log`].
    fn open_log(&self) -> Result<bool, CallError>;

    /// Creates an empty log, in place of the one that exists.
    fn create_log(&self) -> Result<(), CallError>;

    /// Removes the log's name, if it has one, and closes it.
    fn remove_log(&self) -> Result<(), CallError>;

    /// Makes the names of both files durable, and that the log has none.
    fn sync_directory(&self) -> Result<(), CallError>;

    /// Fails unless both files are still those that were opened, have their names and are at least that long; the log's
    /// length is given if there is one. What is written to a file without a name is lost, and of a file that somebody has
    /// cut off, memory is lost, too.
    fn check(&self, _data_len: u64, _log_len: Option<u64>) -> Result<(), CallError> {
        Ok(())
    }

    /// The descriptor of the heap file, to map it.
    fn data_fd(&self) -> i32;

    /// From now on, and as long as the heap file is mapped by this process, nobody makes it shorter: memory that is still
    /// its own would vanish.
    fn keep_length(&self);

    /// Closes the descriptors: nothing more is asked.
    fn close(&self);
}
