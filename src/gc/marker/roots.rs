//! Where marking begins: the root directory.

use super::{Found, Worker};
use crate::format::root_entry::{BY_NAME, RootEntry};
use crate::gc::image::Found as Entry;
use crate::gc::stack::Span;
use crate::gc::trace::run::{Refused, Tracer, Way};

impl Worker<'_, '_> {
    /// Looks at the roots.
    pub(super) fn roots(&mut self) {
        let image = self.marker.image;
        let Some(tracer) = self.marker.tracer else {
            return image.for_each_root(self.marker.runs, |word| self.visit(word));
        };
        image.for_each_entry(self.marker.runs, |entry| {
            let is_understood = match entry {
                Entry::Root(entry) => self.root(&tracer, &entry).is_ok(),
                Entry::Damage => false,
                Entry::Word(_) => true,
            };
            if !is_understood {
                self.marker.pool.refuse();
            }
        });
    }

    /// Finds the value of a root, and its name.
    fn root(&mut self, tracer: &Tracer<'_>, entry: &RootEntry) -> Result<(), Refused> {
        let [_, offset] = self.marker.image.segments_start();
        let block_at = |offset_in_heap: u64| {
            let position = offset_in_heap.checked_sub(offset).ok_or(Refused)?;
            self.marker.runs.find(position as usize).map(|block| (position as usize, block)).ok_or(Refused)
        };
        if entry.state == BY_NAME && entry.name_len > 0 {
            let (_, block) = block_at(entry.tag)?;
            self.find(Found { block, inside: Span::words(block.start, block.start), way: Way::Any });
        }
        if entry.value_len == 0 {
            return Ok(());
        }
        let (plan, size) = tracer.program.root(entry.type_record).ok_or(Refused)?;
        let (position, block) = block_at(entry.value)?;
        if size as u64 != entry.value_len || position != block.start || size > block.len {
            return Err(Refused);
        }
        let end = block.start + if tracer.program.is_plain(plan) { 0 } else { size };
        self.find(Found { block, inside: Span { start: block.start, end, plan, above: 0 }, way: Way::Owned });
        Ok(())
    }
}
