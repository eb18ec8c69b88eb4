//! Several roots of any types, had by one session for a while.
#![allow(unsafe_code)]

use super::directory::{Directory, Found};
use super::registry::{Registry, Visit};
use super::types::TypeTable;
use crate::error::RootError;
use crate::heap::{HeapInner, Write};
use crate::persist::{BlockVisitor, TypeDescription};

/// Roots that a session has alone, until this is dropped.
pub(crate) struct TakenRoots<'s> {
    heap: &'s HeapInner,
    taken: Vec<(Found, Visit)>,
    unknown: Option<String>,
}

impl Write<'_> {
    /// Takes all roots whose types' descriptions are wanted. If the type of one of them is not known in this process, none is taken.
    ///
    /// # Errors
    /// [`RootError::RootBusy`] if any session has one, and [`RootError::Damaged`]; then none is taken.
    pub(crate) fn take_roots(
        &self,
        mut is_wanted: impl FnMut(&TypeDescription) -> bool,
    ) -> Result<TakenRoots<'_>, RootError> {
        let heap = self.heap_inner();
        let mut taken = TakenRoots { heap, taken: Vec::new(), unknown: None };
        let mut state = Registry::of(heap)?;
        let types = TypeTable::of(heap);
        let (roots, damaged) = state.all();
        if let Some(error) = damaged.first() {
            return Err(error.clone());
        }
        let mut wanted = Vec::new();
        let mut decided = std::collections::HashMap::new();
        for found in roots {
            let record = found.entry.type_record;
            let is_wanted = match decided.get(&record) {
                Some(&known) => known,
                None => {
                    let root = || found.tag.to_string();
                    let description = types.description(record);
                    let description = description.ok_or_else(|| RootError::Damaged { root: root(), part: "type" })?;
                    let is_wanted = is_wanted(&description);
                    decided.insert(record, is_wanted);
                    is_wanted
                }
            };
            if is_wanted {
                wanted.push(found.clone());
            }
        }
        let mut known = Vec::new();
        for found in wanted {
            match state.visit(super::key::RootId(found.entry.sequence)) {
                Some(visit) => known.push((found, visit)),
                None => {
                    taken.unknown.get_or_insert_with(|| found.tag.to_string());
                }
            }
        }
        if taken.unknown.is_some() {
            return Ok(taken);
        }
        for (found, visit) in known {
            if let Err(error) = state.take(&found, self.number()) {
                // Its drop gives back what was taken, and wants the lock.
                drop(state);
                return Err(error);
            }
            taken.taken.push((found, visit));
        }
        drop(state);
        Ok(taken)
    }
}

impl TakenRoots<'_> {
    /// The first root whose type is not known.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// Visits the values of all.
    pub(crate) fn visit(&self, visitor: &mut BlockVisitor<'_>) {
        let directory = Directory::of(self.heap);
        for (found, visit) in &self.taken {
            // SAFETY: the value is of the visited type (D2), and this session alone has its root (D1), of which it has no reference.
            unsafe { visit(directory.value(&found.entry), visitor) };
        }
    }
}

impl Drop for TakenRoots<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = Registry::of(self.heap) {
            self.taken.iter().for_each(|(found, _)| state.borrows.give_back(found.slot));
        }
    }
}
