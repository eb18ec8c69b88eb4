//! Collecting the pools of a heap, with all of its roots.

use super::Collector;
use super::collector::{Owned, PoolReport};
use super::error::GcError;
use crate::heap::Write;

impl Write<'_> {
    /// Collects all pools that roots of the heap have, together, as [`Collector::collect`] does. Every other pointer to an object in any
    /// root's value keeps it, whatever the root; so do the collector's guards and sources.
    ///
    /// # Errors
    /// [`GcError::UnknownRoot`] if a root has pools or pointers to objects, and this process has not asked for it yet, nor made it;
    /// [`GcError::SharedPool`] as for [`Collector::collect`]; [`GcError::Root`] while any session has such a root, this one
    /// included. Nothing was done then.
    ///
    /// ```
    /// use sal::prelude::*;
    /// use sal::{Collector, Gc, HeapOptions, Pool};
    ///
    /// const NUMBERS: Root<Pool<u64>> = Root::new("numbers");
    /// const BEST: Root<Option<Gc<u64>>> = Root::new("best");
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// let mut tx = heap.write()?;
    /// let numbers = tx.root_or_default(NUMBERS)?;
    /// let [best, _other] = [8, 7].map(|number| numbers.insert(number));
    /// tx.set_root(BEST, Some(best))?;
    /// tx.release_roots()?;
    /// let report = tx.collect_pools(&Collector::new())?;
    /// assert_eq!((report.live, report.freed), (1, 1));
    /// # drop(tx);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn collect_pools(&self, collector: &Collector<'_>) -> Result<PoolReport, GcError> {
        let mut shared = None;
        let leads_to_pools = |description: &crate::persist::TypeDescription| {
            let owned = Owned::by(description);
            if !owned.is_exclusive {
                shared.get_or_insert_with(|| description.type_name().to_owned());
            }
            owned.leads_to_pools
        };
        let roots = self.take_roots(leads_to_pools)?;
        if let Some(root) = roots.unknown() {
            return Err(GcError::UnknownRoot { root: root.to_owned() });
        }
        if let Some(type_name) = shared {
            return Err(GcError::SharedPool { type_name });
        }
        Ok(collector.collect_all(&mut |visitor| roots.visit(visitor)))
    }
}
