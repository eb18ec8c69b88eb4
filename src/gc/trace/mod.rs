//! Following pointers by the types that are stored with the roots.
//!
//! Each root of a heap file has the description of its type beside it ([`crate::schema`]). From the descriptions a [`Program`]
//! is compiled: flat tables, in which a *plan* says what lies in a stretch of memory, and a list of *operations* for each
//! plan where in it pointers are, and what plan holds for what they lead to. The marker carries a plan with each range
//! on its stack and looks at nothing but pointers of values that exist: not at spare capacity, emptied slots, the inactive variant
//! of an enum, or padding. So what it marks is what the roots own, and the pointers that it counts are those there are.
//!
//! [`layouts`] has the byte maps of all containers and their nodes; [`compile`] turns descriptions into plans and [`containers`]
//! does so for what containers have in their blocks; [`types`] reads the descriptions of a heap; [`run`] carries plans out; [`alike`]
//! tells plans that say the same.
//!
//! # Where types do not help
//! A root whose type is not known to the last part, or a value that cannot be (a pointer to no block, a length beyond its block, a
//! tag of no variant), makes marking *refuse*: all of it is done again without types, which finds at least as much. Some parts are
//! opaque and harmless: numbers with a meaning of a program's own, an [`Offset`](crate::Offset), enums whose layout is the
//! compiler's choice. Their words are looked at one by one, as without types, and so is all that hangs on them.
//!
//! # Invariants
//! - **O1** Operations of a plan name bytes of its value only: `at` and what is read there end at its `size`, and what an operation
//!   has within itself ends where the operation does. Bytes that lie behind that, of a tree's inner nodes, are read only after
//!   the block was found to have them.
//! - **O2** Operations nest no deeper than [`DEEPEST`], and no operation is among those within itself: who carries them out ends, in
//!   time that the size of the value bounds.
//! - **O3** Ranges with a plan lie in one block, from the start of a value to the end of one.
//!
//! # What survives a crash
//! Nothing: a program is made anew, from descriptions that are not trusted.

pub(crate) mod alike;
mod compile;
mod containers;
pub(crate) mod layouts;
pub(crate) mod run;
mod types;

use core::ops::Range;
use layouts::pool::Geometry;
use std::collections::HashMap;

/// How deep values are looked into that lie within each other.
pub(crate) const DEEPEST: u32 = 64;

/// Numbers a plan.
pub(crate) type PlanId = u32;

/// The plan of memory of which nothing is known: any word of it may lead anywhere.
pub(crate) const WORDS: PlanId = 0;

/// Operations that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ops {
    pub(crate) first: u32,
    pub(crate) end: u32,
}

impl Ops {
    pub(crate) fn is_empty(self) -> bool {
        self.first == self.end
    }

    fn range(self) -> Range<usize> {
        self.first as usize..self.end as usize
    }
}

/// What lies in a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Anything: [`WORDS`].
    Words,
    /// Values of `size` bytes side by side.
    Values {
        /// Not 0 if there are operations.
        size: usize,
        ops: Ops,
        /// Bytes that the block of a single value has: more than `size` for nodes that have children behind what all nodes have.
        least: [usize; 2],
    },
    /// A whole block: how many values there are, and from `first` on the values.
    Slice { first: usize, values: PlanId },
    /// Control bytes of a hash table, of which the values of the full ones lie behind the last.
    Slots { align: usize, values: PlanId },
    /// A chunk of a pool, of which the values of the slots that are taken are looked at.
    Chunk { geometry: Geometry, values: PlanId },
}

/// How many values there are side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Fixed(u32),
    /// What a field says, less some; more than `most` cannot be.
    Field {
        at: u32,
        width: u8,
        less: u8,
        most: u32,
    },
    /// As many as of sixteen bytes the first are not zero; more than `most` cannot be.
    Tags {
        at: u32,
        most: u32,
    },
}

/// Where something is that leads somewhere. `at` counts from the start of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Words of which nothing is known.
    Words { at: u32, len: u32 },
    /// A heap's name; only [to move](Purpose::Moving).
    Handle { at: u32 },
    /// Something that may hold addresses or names where only the compiler knows; only [to move](Purpose::Moving).
    Hidden,
    /// A counted pointer, or zero.
    Counted { at: u32, to: PlanId },
    /// The address of a block that nothing else leads to, or zero.
    Owned { at: u32, to: PlanId },
    /// The address of a value that may be moved, and its alignment: of an object that nothing else leads to.
    Movable { at: u32, align: u32, to: PlanId },
    /// The address of a block that nothing else leads to, and how many values lie there. Without capacity there is no block; the address of a vector that
    /// `dangles` may then be any.
    Vector { block: u32, len: u32, capacity: u32, dangles: bool, values: PlanId },
    /// The address of a hash table's block, and how many slots it has.
    Table { block: u32, slots: u32, to: PlanId },
    /// The root of a tree, or zero, and the number of levels below it.
    Tree { root: u32, height: u32, to: PlanId },
    /// Nodes below one of a tree, if it is no leaf: one more than `len` says.
    Children { at: u32, len: u32, most: u32, to: PlanId },
    /// Values side by side.
    Repeat { at: u32, size: u32, count: Count, ops: Ops },
    /// What follows from the value of a field.
    Choice { at: u32, width: u8, mask: u8, arms: Ops, otherwise: Otherwise },
}

/// What follows if a field has none of the values that were thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// It cannot be.
    Refuse,
    Ops(Ops),
}

/// One value of a field, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) value: u64,
    pub(crate) ops: Ops,
}

/// What values are followed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To find what they lead to: too much is better than too little.
    #[default]
    Marking,
    /// To move what they lead to: all that depends on where the heap lies, and nothing else. Lengths are looked at, too, of what
    /// leads nowhere.
    Moving,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Program {
    purpose: Purpose,
    plans: Vec<Plan>,
    ops: Vec<Op>,
    arms: Vec<Arm>,
    /// The plans of the types that are known, by where their records lie in the type table.
    records: HashMap<u64, PlanId>,
    /// Steps that compiling has taken.
    steps: u32,
    /// Whether some words are looked at without types, so that a block may be found in a way that is none of its owner.
    has_opaque: bool,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            purpose: Purpose::default(),
            plans: vec![Plan::Words],
            ops: Vec::new(),
            arms: Vec::new(),
            records: HashMap::new(),
            steps: 0,
            has_opaque: false,
        }
    }
}

impl Program {
    fn for_purpose(purpose: Purpose) -> Self {
        Self { purpose, ..Self::default() }
    }

    #[inline(always)]
    pub(crate) fn plan(&self, id: PlanId) -> Plan {
        // Numbers come from this program; of another one nothing would be known.
        self.plans.get(id as usize).copied().unwrap_or(Plan::Words)
    }

    #[inline(always)]
    pub(crate) fn ops(&self, ops: Ops) -> &[Op] {
        self.ops.get(ops.range()).unwrap_or_default()
    }

    /// What follows if the field of a choice has this value; none if it cannot have it.
    #[inline(always)]
    pub(crate) fn arm(&self, arms: Ops, value: u64, otherwise: Otherwise) -> Option<Ops> {
        let arms = self.arms.get(arms.range()).unwrap_or_default();
        // Mostly variants are numbered from 0 on.
        if let Some(arm) = arms.get(value as usize).filter(|arm| arm.value == value) {
            return Some(arm.ops);
        }
        match arms.binary_search_by_key(&value, |arm| arm.value) {
            Ok(at) => Some(arms[at].ops),
            Err(_) => match otherwise {
                Otherwise::Refuse => None,
                Otherwise::Ops(ops) => Some(ops),
            },
        }
    }

    /// The plan of a root's value, and its size; none if its type is not known.
    pub(crate) fn root(&self, type_record: u64) -> Option<(PlanId, usize)> {
        let &plan = self.records.get(&type_record)?;
        match self.plan(plan) {
            Plan::Values { size, .. } => Some((plan, size)),
            _ => None,
        }
    }

    /// Whether values of a plan lead nowhere.
    #[inline(always)]
    pub(crate) fn is_plain(&self, id: PlanId) -> bool {
        match self.plan(id) {
            Plan::Words => false,
            Plan::Values { ops, .. } => ops.is_empty(),
            Plan::Slice { values, .. } | Plan::Slots { values, .. } | Plan::Chunk { values, .. } => {
                matches!(self.plan(values), Plan::Values { ops, .. } if ops.is_empty())
            }
        }
    }

    pub(crate) fn has_opaque(&self) -> bool {
        self.has_opaque
    }
}
