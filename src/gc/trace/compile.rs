//! From a description to plans.
//!
//! What lies in a value, structs in structs and short arrays, becomes one list of operations; what lies in other blocks gets a plan
//! of its own, which is made later, so that recursive types end. A description comes from a file and may be of no type at all:
//! structs within themselves, fields on top of each other, sizes without end. So each step is paid for from a budget, values
//! within values are followed to [`DEEPEST`] only, and fields must lie beside each other.

use super::layouts::{HANDLE, HANDLE_SIZE, Shape, is_plain_leaf};
use super::{Arm, Count, DEEPEST, Op, Ops, Otherwise, Plan, PlanId, Program, Purpose, WORDS};
use crate::schema::{Field, Node, NodeId, TypeDescription, Variant};
use std::collections::{BTreeMap, HashMap};

/// Steps that all descriptions of a heap together may take, and operations and arms that they may have.
const MOST_STEPS: u32 = 1 << 20;
const MOST_OPS: usize = 1 << 20;
/// Larger values have no plan.
const LARGEST: u64 = 1 << 30;
/// Arrays up to here become the operations of each element.
const SPELT_OUT: u64 = 4;

/// A description is of no type that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown;

/// What a plan is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// A value of a type.
    Value(NodeId),
    /// Key and value side by side; sets have no value.
    Pair(NodeId, Option<NodeId>),
    /// The block of a shared slice.
    Slice(NodeId),
    /// What a handle leads to: the entry of a value, of a slice, or of a text.
    Entry(NodeId),
    SliceEntry(NodeId),
    TextEntry,
    HashTable(NodeId, Option<NodeId>),
    BTreeNode(NodeId, Option<NodeId>),
    CowMapNode(NodeId, Option<NodeId>),
    CowVecBranch(NodeId),
    CowVecLeaf(NodeId),
    CowVecTail(NodeId),
    CowHashBranch(NodeId, Option<NodeId>),
    CowHashLeaf(NodeId, Option<NodeId>),
    /// A vector of pairs.
    CowHashSame(NodeId, Option<NodeId>),
    PoolControl(NodeId),
    /// An entry of a pool's table of chunks.
    PoolEntry(NodeId),
    PoolChunk(NodeId),
}

/// One description on its way into a program.
pub(super) struct Compiler<'a> {
    pub(super) types: &'a TypeDescription,
    pub(super) program: &'a mut Program,
    plans: HashMap<Of, PlanId>,
    pending: Vec<(Of, PlanId)>,
}

impl Program {
    /// Adds the type of the record at a place of the type table; of one that is not known, nothing.
    pub(crate) fn add(&mut self, record: u64, types: &TypeDescription) -> Result<(), Unknown> {
        let before = (self.plans.len(), self.ops.len(), self.arms.len(), self.has_opaque);
        let mut compiler = Compiler { types, program: self, plans: HashMap::new(), pending: Vec::new() };
        match compiler.compile() {
            Ok(plan) => {
                self.records.insert(record, plan);
                Ok(())
            }
            Err(unknown) => {
                self.plans.truncate(before.0);
                self.ops.truncate(before.1);
                self.arms.truncate(before.2);
                self.has_opaque = before.3;
                Err(unknown)
            }
        }
    }
}

impl Compiler<'_> {
    fn compile(&mut self) -> Result<PlanId, Unknown> {
        let root = self.plan(Of::Value(self.types.root()))?;
        while let Some((of, id)) = self.pending.pop() {
            let plan = self.fill(of)?;
            *self.program.plans.get_mut(id as usize).ok_or(Unknown)? = plan;
        }
        Ok(root)
    }

    /// Pays for one more step.
    pub(super) fn step(&mut self) -> Result<(), Unknown> {
        let program = &mut self.program;
        program.steps = program.steps.saturating_add(1);
        let is_within = program.steps <= MOST_STEPS && program.ops.len() + program.arms.len() <= MOST_OPS;
        is_within.then_some(()).ok_or(Unknown)
    }

    /// The plan of something, which is made later if it is new.
    pub(super) fn plan(&mut self, of: Of) -> Result<PlanId, Unknown> {
        self.step()?;
        if let Some(&known) = self.plans.get(&of) {
            return Ok(known);
        }
        let id = PlanId::try_from(self.program.plans.len()).map_err(|_| Unknown)?;
        self.program.plans.push(Plan::Words);
        self.plans.insert(of, id);
        self.pending.push((of, id));
        Ok(id)
    }

    fn fill(&mut self, of: Of) -> Result<Plan, Unknown> {
        match of {
            Of::Value(node) => {
                let (shape, mut ops) = (self.shape(node)?, Vec::new());
                self.value(node, 0, 0, &mut ops)?;
                self.values(shape.size, ops)
            }
            _ => self.block(of),
        }
    }

    /// The plan of values of that size with these operations.
    pub(super) fn values(&mut self, size: usize, ops: Vec<Op>) -> Result<Plan, Unknown> {
        self.node(size, size, ops)
    }

    /// As [`Compiler::values`], of nodes that have more bytes if they are no leaves.
    pub(super) fn node(&mut self, size: usize, inner: usize, ops: Vec<Op>) -> Result<Plan, Unknown> {
        let ops = self.put(ops)?;
        if size == 0 && !ops.is_empty() {
            return Err(Unknown);
        }
        Ok(Plan::Values { size, ops, least: [size, inner] })
    }

    /// Puts operations where they stay.
    pub(super) fn put(&mut self, ops: Vec<Op>) -> Result<Ops, Unknown> {
        let all = &mut self.program.ops;
        let first = all.len();
        if first + ops.len() > MOST_OPS {
            return Err(Unknown);
        }
        all.extend(ops);
        Ok(Ops { first: first as u32, end: all.len() as u32 })
    }

    /// Size and alignment of a type.
    pub(super) fn shape(&self, node: NodeId) -> Result<Shape, Unknown> {
        let (size, align) = self.types.extent(node).ok_or(Unknown)?;
        if size > LARGEST || align > LARGEST || !align.is_power_of_two() || size % align != 0 {
            return Err(Unknown);
        }
        Ok(Shape { size: size as usize, align: align as usize })
    }

    /// As [`Compiler::shape`], where a set has no type.
    pub(super) fn shape_or_nothing(&self, node: Option<NodeId>) -> Result<Shape, Unknown> {
        node.map_or(Ok(Shape::NOTHING), |node| self.shape(node))
    }

    /// What leads somewhere in a value that lies `at` bytes from where the operations begin.
    pub(super) fn value(&mut self, node: NodeId, at: usize, depth: u32, ops: &mut Vec<Op>) -> Result<(), Unknown> {
        self.step()?;
        if depth > DEEPEST {
            return Err(Unknown);
        }
        let shape = self.shape(node)?;
        if shape.size == 0 {
            return Ok(());
        }
        let types = self.types;
        match types.node(node) {
            Node::Leaf { id: HANDLE, .. } if self.moves() => self.handle(at, shape.size, ops),
            Node::Leaf { id, .. } if is_plain_leaf(*id) => Ok(()),
            Node::Leaf { .. } => self.opaque(at, shape.size, ops),
            Node::Struct { fields, .. } => self.fields(fields, at, 0..shape.size, depth, ops),
            Node::Enum { tag_size, variants, .. } => self.enumeration(*tag_size, variants, at, shape.size, depth, ops),
            Node::Array { len, element } => self.array(*element, *len, at, depth, ops),
            Node::Container { id, size, layout_version, parameters, probe, .. } => {
                self.container(*id, *layout_version, *size, parameters, probe, at, ops)
            }
        }
    }

    /// Whether the program is to [move](Purpose::Moving) values.
    pub(super) fn moves(&self) -> bool {
        self.program.purpose == Purpose::Moving
    }

    /// A heap's name.
    pub(super) fn handle(&mut self, at: usize, size: usize, ops: &mut Vec<Op>) -> Result<(), Unknown> {
        if size != HANDLE_SIZE || at % HANDLE_SIZE != 0 {
            return Err(Unknown);
        }
        ops.push(Op::Handle { at: at as u32 });
        Ok(())
    }

    /// Bytes of which nothing is known. Pointers are aligned words, so in less than a word there is none.
    pub(super) fn opaque(&mut self, at: usize, size: usize, ops: &mut Vec<Op>) -> Result<(), Unknown> {
        if size >= 8 {
            self.program.has_opaque = true;
            ops.push(Op::Words { at: at as u32, len: size as u32 });
        }
        Ok(())
    }

    /// Fields within some bytes, none on top of another.
    fn fields(
        &mut self,
        fields: &[Field],
        at: usize,
        within: core::ops::Range<usize>,
        depth: u32,
        ops: &mut Vec<Op>,
    ) -> Result<(), Unknown> {
        let mut taken = Vec::new();
        for field in fields {
            self.step()?;
            let shape = self.shape(field.node)?;
            if shape.size == 0 {
                continue;
            }
            let start = usize::try_from(field.offset).map_err(|_| Unknown)?;
            let end = start.checked_add(shape.size).ok_or(Unknown)?;
            if start < within.start || end > within.end || start % shape.align != 0 {
                return Err(Unknown);
            }
            taken.push((start, end));
            self.value(field.node, at + start, depth + 1, ops)?;
        }
        taken.sort_unstable();
        let is_beside = taken.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        is_beside.then_some(()).ok_or(Unknown)
    }

    fn enumeration(
        &mut self,
        tag_size: u64,
        variants: &[Variant],
        at: usize,
        size: usize,
        depth: u32,
        ops: &mut Vec<Op>,
    ) -> Result<(), Unknown> {
        let mut arms: BTreeMap<u64, Vec<Op>> = BTreeMap::new();
        for variant in variants {
            let mut inside = Vec::new();
            if tag_size == 0 {
                // Nobody knows where the fields are, so only whether there are any that lead somewhere counts.
                for field in &variant.fields {
                    self.value(field.node, 0, depth + 1, &mut inside)?;
                }
            } else {
                self.fields(&variant.fields, at, tag_size as usize..size, depth, &mut inside)?;
            }
            let value = variant.discriminant as u64 & mask_of(tag_size);
            match arms.get_mut(&value) {
                // What stands for a build is a variant without a place, and shares its number with another one.
                Some(arm) if arm.is_empty() => *arm = inside,
                Some(_) if inside.is_empty() || tag_size == 0 => {}
                Some(_) => return Err(Unknown),
                None => drop(arms.insert(value, inside)),
            }
            self.step()?;
        }
        if arms.values().all(Vec::is_empty) {
            return Ok(());
        }
        match tag_size {
            0 if self.moves() => {
                ops.push(Op::Hidden);
                Ok(())
            }
            0 => self.opaque(at, size, ops),
            1 | 2 | 4 | 8 if tag_size as usize <= size => {
                let choice = self.choice(at, tag_size as u8, u8::MAX, arms.into_iter().collect(), Otherwise::Refuse)?;
                ops.push(choice);
                Ok(())
            }
            _ => Err(Unknown),
        }
    }

    /// What follows from a field of `width` bytes, of which the low byte is looked at through a mask.
    pub(super) fn choice(
        &mut self,
        at: usize,
        width: u8,
        mask: u8,
        arms: Vec<(u64, Vec<Op>)>,
        otherwise: Otherwise,
    ) -> Result<Op, Unknown> {
        let mut placed = Vec::new();
        for (value, ops) in arms {
            placed.push(Arm { value, ops: self.put(ops)? });
        }
        placed.sort_unstable_by_key(|arm| arm.value);
        let all = &mut self.program.arms;
        let first = all.len();
        if first + placed.len() > MOST_OPS {
            return Err(Unknown);
        }
        all.extend(placed);
        let arms = Ops { first: first as u32, end: all.len() as u32 };
        Ok(Op::Choice { at: at as u32, width, mask, arms, otherwise })
    }

    fn array(&mut self, element: NodeId, len: u64, at: usize, depth: u32, ops: &mut Vec<Op>) -> Result<(), Unknown> {
        let shape = self.shape(element)?;
        // The array has a size, so both have, and the size is not too large.
        if len <= SPELT_OUT {
            return (0..len as usize)
                .try_for_each(|number| self.value(element, at + number * shape.size, depth + 1, ops));
        }
        let count = Count::Fixed(u32::try_from(len).map_err(|_| Unknown)?);
        let mut inside = Vec::new();
        self.value(element, 0, depth + 1, &mut inside)?;
        self.repeat(at, shape.size, count, inside, ops)
    }

    /// Values side by side, if they lead anywhere.
    pub(super) fn repeat(
        &mut self,
        at: usize,
        size: usize,
        count: Count,
        inside: Vec<Op>,
        ops: &mut Vec<Op>,
    ) -> Result<(), Unknown> {
        if !inside.is_empty() {
            let inside = self.put(inside)?;
            ops.push(Op::Repeat { at: at as u32, size: size as u32, count, ops: inside });
        }
        Ok(())
    }
}

/// The bits of a field of so many bytes; of none, no bits.
fn mask_of(width: u64) -> u64 {
    match width {
        0 => 0,
        1..8 => u64::MAX >> (64 - 8 * width),
        _ => u64::MAX,
    }
}

const _: () = assert!(WORDS == 0 && LARGEST < u32::MAX as u64);

#[cfg(test)]
mod tests;
