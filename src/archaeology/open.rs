//! Opening any heap file, for its bytes.

use super::Archaeology;
use super::image::Image;
use crate::commit::inspect::Inspected;
use crate::commit::journal::Journal;
use crate::commit::real::RealStorage;
use crate::error::OpenError;
use crate::format::header::CLEAN;
use crate::format::{PAGE, WINDOW};
use crate::heap::committed_table::CommittedTable;
use crate::heap::create::{directory_of, log_path, to_c_string};
use crate::heap::lifecycle::{mode_of, newest_header, read_holder, read_slots};
use crate::heap::verify::check_slots;
use crate::heap::{Flaw, Mode, VerifyReport};
use crate::os::errno;
use crate::os::file::File;
use crate::os::mapping;
use std::path::Path;
use std::sync::OnceLock;

/// How a heap file is to be looked at.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ArchaeologyOptions {
    ignore_lock: bool,
    salvage: bool,
}

impl ArchaeologyOptions {
    /// Opens the file also while another heap has it open for writing. What is read then is no single moment's: a
    /// commit log that goes on, pages that are being folded. Nothing of it is unsafe, and anything may be reported as
    /// damaged.
    pub const fn ignore_lock(mut self, ignore: bool) -> Self {
        self.ignore_lock = ignore;
        self
    }

    /// Takes what can be had when the commit log of a heap that was not closed is damaged, missing, or another heap's, or
    /// when the header that named it is damaged: the commits up to there. Without this that is an error. Pages may then be
    /// of a later commit than the one that is named, if they had been folded already.
    pub const fn salvage(mut self, salvage: bool) -> Self {
        self.salvage = salvage;
        self
    }

    /// Opens a heap file; see [`Archaeology::open`].
    ///
    /// # Errors
    /// As for [`Archaeology::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Archaeology, OpenError> {
        open(path.as_ref(), self)
    }
}

fn open(path: &Path, options: &ArchaeologyOptions) -> Result<Archaeology, OpenError> {
    if mapping::page_size() != PAGE {
        return Err(OpenError::OtherMachine);
    }
    let name = to_c_string(path)?;
    let lock = File::open(&name, false).map_err(|error| match error.errno {
        errno::IS_DIRECTORY => OpenError::NotAFile,
        _ => error.into(),
    })?;
    if !lock.metadata()?.is_regular {
        return Err(OpenError::NotAFile);
    }
    if !options.ignore_lock && !lock.try_lock(false)? {
        return Err(OpenError::Locked { holder: read_holder(&lock) });
    }
    let slots = read_slots(&lock)?;
    let mut damage = VerifyReport::default();
    check_slots(&slots, &mut damage);
    let mut header = newest_header(&slots)?;
    let in_file = lock.metadata()?.len;
    let (log, directory) = (to_c_string(&log_path(path))?, to_c_string(&directory_of(path))?);
    // Its descriptor keeps the lock as long as this value lives.
    let storage = RealStorage::read_only(lock, log, directory);
    let mut commit = if mode_of(&header) == Mode::Atomic {
        let (commit, flaw) = Journal::salvage(&storage, &mut header);
        if let Some(error) = flaw {
            if !options.salvage {
                return Err(error);
            }
            damage.add(None, log_flaw(&error));
        }
        commit
    } else {
        // The mapping that wrote it was of the file itself.
        let len = if header.state == CLEAN { header.file_len } else { header.file_len.max(in_file) };
        Inspected::in_file(header.commit, len.min(header.layout.end()))
    };
    // Whole pages: what is left of a page that was cut says nothing.
    commit.data_len = commit.data_len.min(header.layout.end()) / PAGE as u64 * PAGE as u64;
    let expected = if header.state == CLEAN { commit.data_len } else { header.file_len };
    if in_file < expected {
        damage.add(Some(in_file), Flaw::Truncated { expected, found: in_file });
    }
    let is_logged = mode_of(&header) == Mode::Atomic && header.state != CLEAN;
    let folded = if is_logged { header.file_len } else { u64::MAX };
    let address = header.window as usize * WINDOW;
    let image = Image::new(address, commit.data_len, in_file, folded)?;
    let table = CommittedTable::read(&storage, &header, &commit)?;
    Ok(Archaeology { header, storage, commit, table, image, damage: damage.findings, free: OnceLock::new() })
}

fn log_flaw(error: &OpenError) -> Flaw {
    let (offset, part) = match error {
        OpenError::DamagedLog { offset } => (*offset, "record"),
        OpenError::LogMissing => (0, "missing"),
        OpenError::ForeignLog => (0, "another heap's"),
        OpenError::CommitsMissing { .. } => (0, "not that of the header"),
        _ => (0, "unreadable"),
    };
    Flaw::Log { offset, part }
}
