//! What is on the simulated medium, and what is still on its way there.

use crate::commit::storage::Part;
use crate::format::PAGE;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_LEN: u64 = PAGE as u64;

/// Compared as a whole, which takes a tenth of the time in builds that are not optimised.
fn is_zero(bytes: &[u8]) -> bool {
    bytes == &[0; PAGE][..bytes.len()]
}

/// A sparse file: only pages that are not zero take space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    len: u64,
}

impl Contents {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Its pages that are not zero, by number.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u64, &[u8; PAGE])> {
        self.pages.iter().map(|(&number, page)| (number, &**page))
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len() as u64);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (at % PAGE_LEN) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE - within));
            let number = at / PAGE_LEN;
            if !is_zero(now) || self.pages.contains_key(&number) {
                let page = Arc::make_mut(self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE])));
                page[within..within + now.len()].copy_from_slice(now);
                if is_zero(&page[..]) {
                    self.pages.remove(&number);
                }
            }
            at += now.len() as u64;
            rest = later;
        }
    }

    fn zero(&mut self, range: Range<u64>) {
        let touched: Vec<u64> =
            self.pages.range(range.start / PAGE_LEN..range.end.div_ceil(PAGE_LEN)).map(|(&number, _)| number).collect();
        for number in touched {
            let start = range.start.max(number * PAGE_LEN);
            let end = range.end.min((number + 1) * PAGE_LEN);
            let len = self.len;
            self.write(start, &[0; PAGE][..(end - start) as usize]);
            self.len = len;
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.zero(len..self.len.next_multiple_of(PAGE_LEN));
        }
        self.len = len;
    }
}

/// A change of one file.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Write(u64, Arc<[u8]>),
    Clear(u64, u64),
    SetLen(u64),
    /// Makes it at least that long.
    Lengthen(u64),
}

impl Change {
    pub(crate) fn apply(&self, to: &mut Contents) {
        match self {
            Self::Write(offset, bytes) => to.write(*offset, bytes),
            Self::Clear(offset, len) => to.zero(*offset..offset + len),
            Self::SetLen(len) => to.set_len(*len),
            Self::Lengthen(len) => to.set_len(to.len.max(*len)),
        }
    }

    /// What it changes the bytes of, in a file that has this length.
    fn range(&self, len: u64) -> Range<u64> {
        match self {
            Self::Write(offset, bytes) => *offset..offset + bytes.len() as u64,
            Self::Clear(offset, len) => *offset..offset + len,
            Self::SetLen(after) => *after..len.max(*after),
            Self::Lengthen(_) => 0..0,
        }
    }

    fn writes(&self) -> bool {
        matches!(self, Self::Write(..))
    }
}

/// A file: what a power cut leaves for sure, and what it may take.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileState {
    pub(super) durable: Contents,
    pub(super) pending: Vec<Change>,
}

/// Everything that was done to the disk.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Change(Part, Change),
    Sync(Part),
    /// A sync that failed: what was to be written never will be, though reading still shows it.
    Lose(Part),
    OpenLog,
    CreateLog,
    RemoveLog,
    SyncDirectory,
}

/// The medium of one heap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium {
    pub(super) data: FileState,
    /// Every log there ever was.
    pub(super) logs: Vec<FileState>,
    /// Which of them has the name, on the medium, and what became of that since.
    pub(super) named: Option<usize>,
    pub(super) renamed: Vec<Option<usize>>,
    open: Option<usize>,
}

impl Medium {
    pub(crate) fn new(data: Contents, log: Option<Contents>) -> Self {
        let of = |durable| FileState { durable, pending: Vec::new() };
        let named = log.as_ref().map(|_| 0);
        Self { data: of(data), logs: log.map(of).into_iter().collect(), named, renamed: Vec::new(), open: None }
    }

    fn part(&mut self, part: Part) -> Option<&mut FileState> {
        match part {
            Part::Data => Some(&mut self.data),
            Part::Log => self.logs.get_mut(self.open?),
        }
    }

    pub(crate) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Change(part, change) => {
                if let Some(file) = self.part(*part) {
                    file.pending.push(change.clone());
                }
            }
            Operation::Sync(part) => {
                if let Some(file) = self.part(*part) {
                    for change in file.pending.drain(..) {
                        change.apply(&mut file.durable);
                    }
                }
            }
            Operation::Lose(part) => {
                if let Some(file) = self.part(*part) {
                    file.pending.clear();
                }
            }
            Operation::OpenLog => self.open = self.renamed.last().copied().unwrap_or(self.named),
            Operation::CreateLog => {
                self.open = Some(self.logs.len());
                self.logs.push(FileState::default());
                self.renamed.push(self.open);
            }
            Operation::RemoveLog => {
                self.open = None;
                self.renamed.push(None);
            }
            Operation::SyncDirectory => {
                self.named = self.renamed.pop().unwrap_or(self.named);
                self.renamed.clear();
            }
        }
    }
}

/// The states that a power cut can leave a file in.
#[derive(Debug)]
pub(super) struct Unsettled<'a> {
    durable: &'a Contents,
    /// For each piece that was written to, where it lies and what it may hold, oldest first.
    pieces: Vec<(u64, Vec<Vec<u8>>)>,
    lens: Vec<u64>,
}

impl<'a> Unsettled<'a> {
    /// With pieces of `unit` bytes that arrive or do not, each on its own.
    pub(super) fn new(file: &'a FileState, unit: u64) -> Self {
        let mut pieces: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        let mut lens = vec![file.durable.len];
        let mut state = file.durable.clone();
        for change in &file.pending {
            let range = change.range(state.len);
            let first = range.start / unit;
            let end = range.end.div_ceil(unit);
            let touched: Vec<u64> = if change.writes() {
                (first..end).collect()
            } else {
                // Only what is there can become zero.
                let mut touched: Vec<u64> = state
                    .pages
                    .range(range.start / PAGE_LEN..range.end.div_ceil(PAGE_LEN))
                    .flat_map(|(number, _)| number * PAGE_LEN / unit..(number + 1) * PAGE_LEN / unit)
                    .filter(|piece| (first..end).contains(piece))
                    .collect();
                touched.dedup();
                touched
            };
            let piece_of = |contents: &Contents, piece: u64| {
                let mut bytes = vec![0; unit as usize];
                let within = (piece * unit % PAGE_LEN) as usize;
                if let Some(page) = contents.pages.get(&(piece * unit / PAGE_LEN)) {
                    bytes.copy_from_slice(&page[within..within + unit as usize]);
                }
                bytes
            };
            for &piece in &touched {
                pieces.entry(piece).or_insert_with(|| vec![piece_of(&state, piece)]);
            }
            change.apply(&mut state);
            for piece in touched {
                let after = piece_of(&state, piece);
                if let Some(versions) = pieces.get_mut(&piece) {
                    if versions.last() != Some(&after) {
                        versions.push(after);
                    }
                }
            }
            if lens.last() != Some(&state.len) {
                lens.push(state.len);
            }
        }
        pieces.retain(|_, versions| versions.len() > 1);
        let pieces = pieces.into_iter().map(|(piece, versions)| (piece * unit, versions)).collect();
        Self { durable: &file.durable, pieces, lens }
    }

    /// How many versions each piece has, and the length.
    pub(super) fn choices(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().map(|(_, versions)| versions.len()).chain([self.lens.len()])
    }

    /// The file with one version of each piece, and one of its lengths, as `choose` says of so many.
    pub(super) fn settle(&self, choose: &mut dyn FnMut(usize) -> usize) -> Contents {
        let mut contents = self.durable.clone();
        for (offset, versions) in &self.pieces {
            let chosen = choose(versions.len());
            if chosen > 0 {
                contents.write(*offset, &versions[chosen]);
            }
        }
        let len = self.lens[choose(self.lens.len())];
        contents.set_len(len);
        contents
    }
}
