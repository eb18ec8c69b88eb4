//! Numbers about the index and its heap.

use crate::index::{FILES, FileState, WORDS};
use sal::Heap;
use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(crate) fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let heap = crate::open_to_read(path)?;
    let session = heap.read()?;
    for root in session.roots()? {
        println!("root {}: {}, {} bytes", root.tag, root.type_name, root.len);
    }
    let (files, shards) = (session.root(FILES)?, session.root(WORDS)?);
    let in_state = |state| files.iter().filter(|file| file.state == state).count();
    println!("files      {:>12}", in_state(FileState::Text));
    println!("  no text  {:>12}", in_state(FileState::Binary));
    println!("  pending  {:>12}", in_state(FileState::Pending));
    let words = || shards.iter().flat_map(|shard| &shard.words);
    println!("words      {:>12}", words().count());
    println!("  bytes    {:>12}", words().map(|(word, _)| word.len()).sum::<usize>());
    println!("postings   {:>12}", words().map(|(_, postings)| postings.len()).sum::<usize>());
    println!("  room for {:>12}", words().map(|(_, postings)| postings.capacity()).sum::<usize>());
    print_heap_statistics(&heap);
    Ok(())
}

/// What the heap as such takes.
fn print_heap_statistics(heap: &Heap) {
    if let Some(Ok(file)) = heap.path().map(Path::metadata) {
        println!("file       {:>12} bytes, of which {} are on the disk", file.size(), file.blocks() * 512);
    }
    println!("capacity   {:>12} bytes", heap.capacity());
    println!("addresses  {:#x?}", heap.address_range());
}
