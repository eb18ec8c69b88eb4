//! Numbers about the index and its heap.

use crate::index::{FILES, FileState, WORDS};
use sal::Heap;
use std::error::Error;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Prints them.
pub(crate) fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let heap = crate::open_to_read(path)?;
    let session = heap.read()?;
    let mut out = io::stdout().lock();
    for root in session.roots()? {
        writeln!(out, "root {}: {}, {} bytes", root.tag, root.type_name, root.len)?;
    }
    let (files, shards) = (session.root(FILES)?, session.root(WORDS)?);
    let in_state = |state| files.iter().filter(|file| file.state == state).count();
    writeln!(out, "files      {:>12}", in_state(FileState::Text))?;
    writeln!(out, "  no text  {:>12}", in_state(FileState::Binary))?;
    writeln!(out, "  pending  {:>12}", in_state(FileState::Pending))?;
    let words = || shards.iter().flat_map(|shard| &shard.words);
    writeln!(out, "words      {:>12}", words().count())?;
    writeln!(out, "  bytes    {:>12}", words().map(|(word, _)| word.len()).sum::<usize>())?;
    writeln!(out, "postings   {:>12}", words().map(|(_, postings)| postings.len()).sum::<usize>())?;
    writeln!(out, "  room for {:>12}", words().map(|(_, postings)| postings.capacity()).sum::<usize>())?;
    print_heap_statistics(&heap, &mut out)?;
    Ok(())
}

/// What the heap as such takes.
fn print_heap_statistics(heap: &Heap, out: &mut impl Write) -> io::Result<()> {
    if let Some(Ok(file)) = heap.path().map(Path::metadata) {
        writeln!(out, "file       {:>12} bytes, of which {} are on the disk", file.size(), file.blocks() * 512)?;
    }
    writeln!(out, "capacity   {:>12} bytes", heap.capacity())?;
    writeln!(out, "addresses  {:#x?}", heap.address_range())?;
    write!(out, "{}", heap.stats())
}
