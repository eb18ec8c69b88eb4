//! Where marking begins: the root directory.

use super::{Found, Worker};
use crate::format::root_entry::RootEntry;
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
        if let Some(block) = tracer.root_name(entry)? {
            self.find(Found { block, inside: Span::words(block.start, block.start), way: Way::Any });
        }
        if let Some((block, inside)) = tracer.root(entry)? {
            self.find(Found { block, inside, way: Way::Owned });
        }
        Ok(())
    }
}
