//! What containers lead to: the plans of their blocks and nodes.

use super::compile::{Compiler, Of, Unknown};
use super::layouts::{
    Shape, cow_hash_map, cow_map, cow_vec, handle, id, is_plain_leaf, pool, sal_btree_map, sal_hash_map, sal_vec,
    slice_elements,
};
use super::{Count, Op, Otherwise, Plan, PlanId};
use crate::schema::{Node, NodeId};

/// Of a block without anything in it that leads on.
const BYTES: Plan = Plan::Values { size: 0, ops: super::Ops { first: 0, end: 0 }, least: [0, 0] };

/// Key and value of a map; a set has no value.
fn key_and_value(parameters: &[NodeId], is_set: bool) -> Result<(NodeId, Option<NodeId>), Unknown> {
    match (parameters, is_set) {
        (&[key, value], false) => Ok((key, Some(value))),
        (&[key], true) => Ok((key, None)),
        _ => Err(Unknown),
    }
}

impl Compiler<'_> {
    /// What leads somewhere in a container.
    #[expect(clippy::too_many_arguments, reason = "the parts of one node")]
    pub(super) fn container(
        &mut self,
        id: u64,
        version: u32,
        size: u64,
        parameters: &[NodeId],
        probe: &[u64],
        at: usize,
        ops: &mut Vec<Op>,
    ) -> Result<(), Unknown> {
        if version != 1 || probe.is_empty() == matches!(id, id::VEC | id::BOX) {
            return Err(Unknown);
        }
        let sized = |expected: usize| if size == expected as u64 { Ok(()) } else { Err(Unknown) };
        let only = || if let &[only] = parameters { Ok(only) } else { Err(Unknown) };
        let place = |offset: usize| (at + offset) as u32;
        match id {
            id::PHANTOM => {}
            id::OPTION => self.option(only()?, size, at, ops)?,
            // It means the same wherever the heap lies.
            id::OFFSET if self.moves() => {}
            // It owns nothing, but nobody who has one expects it to lead nowhere after a recovery.
            id::OFFSET => self.opaque(at, size as usize, ops)?,
            id::VEC => {
                let (element, words) = (only()?, probed(probe, size)?);
                let &[block, len, capacity] = words.as_slice() else { return Err(Unknown) };
                self.handle_beside(&words, probe, size, at, ops)?;
                if self.has_size(element)? {
                    let values = self.plan(Of::Value(element))?;
                    let [block, len, capacity] = [block, len, capacity].map(place);
                    ops.push(Op::Vector { block, len, capacity, dangles: true, values });
                }
            }
            id::BOX => {
                let (value, words) = (only()?, probed(probe, size)?);
                let &[pointer] = words.as_slice() else { return Err(Unknown) };
                self.handle_beside(&words, probe, size, at, ops)?;
                if self.has_size(value)? {
                    ops.push(Op::Owned { at: place(pointer), to: self.plan(Of::Value(value))? });
                }
            }
            id::SAL_VEC => {
                sized(sal_vec::SIZE)?;
                let element = only()?;
                if self.has_size(element)? {
                    let values = self.plan(Of::Value(element))?;
                    ops.push(vector(at, values));
                }
            }
            id::SAL_STRING => {
                sized(sal_vec::SIZE)?;
                match self.moves() {
                    true => ops.push(vector(at, self.counted_bytes()?)),
                    false => ops.push(Op::Owned { at: place(sal_vec::BLOCK), to: self.bytes()? }),
                }
            }
            id::SAL_HASH_MAP | id::SAL_HASH_SET => {
                sized(sal_hash_map::SIZE)?;
                let (key, value) = key_and_value(parameters, id == id::SAL_HASH_SET)?;
                let to = self.plan(Of::HashTable(key, value))?;
                let (block, slots) = (place(sal_hash_map::BLOCK), place(sal_hash_map::SLOTS));
                ops.push(Op::Table { block, slots, to });
            }
            id::SAL_BTREE_MAP | id::SAL_BTREE_SET => {
                sized(sal_btree_map::SIZE)?;
                let (key, value) = key_and_value(parameters, id == id::SAL_BTREE_SET)?;
                let to = self.plan(Of::BTreeNode(key, value))?;
                let (root, height) = (place(sal_btree_map::ROOT), place(sal_btree_map::HEIGHT));
                ops.push(Op::Tree { root, height, to });
            }
            id::SAL_RC | id::SAL_BOX => {
                sized(8)?;
                let value = only()?;
                ops.push(Op::Counted { at: place(0), to: self.plan(Of::Value(value))? });
            }
            id::SAL_RC_SLICE | id::SAL_BOX_SLICE => {
                sized(8)?;
                let element = only()?;
                ops.push(Op::Counted { at: place(0), to: self.plan(Of::Slice(element))? });
            }
            id::SAL_RC_STR | id::SAL_BOX_STR => {
                sized(8)?;
                let to = if self.moves() { self.text()? } else { self.bytes()? };
                ops.push(Op::Counted { at: place(0), to });
            }
            id::HANDLE => {
                sized(8)?;
                ops.push(Op::Counted { at: place(0), to: self.plan(Of::Entry(only()?))? });
            }
            id::HANDLE_SLICE => {
                sized(8)?;
                ops.push(Op::Counted { at: place(0), to: self.plan(Of::SliceEntry(only()?))? });
            }
            id::HANDLE_STR => {
                sized(8)?;
                ops.push(Op::Counted { at: place(0), to: self.plan(Of::TextEntry)? });
            }
            id::COW_VEC => {
                sized(cow_vec::SIZE)?;
                let element = only()?;
                let to = self.plan(Of::CowVecBranch(element))?;
                ops.push(Op::Counted { at: place(cow_vec::ROOT), to });
                let to = self.plan(Of::CowVecTail(element))?;
                ops.push(Op::Counted { at: place(cow_vec::TAIL), to });
            }
            id::COW_MAP | id::COW_SET => {
                sized(cow_map::SIZE)?;
                let (key, value) = key_and_value(parameters, id == id::COW_SET)?;
                let to = self.plan(Of::CowMapNode(key, value))?;
                ops.push(Op::Counted { at: place(cow_map::ROOT), to });
            }
            id::COW_HASH_MAP | id::COW_HASH_SET => {
                sized(cow_hash_map::SIZE)?;
                let (key, value) = key_and_value(parameters, id == id::COW_HASH_SET)?;
                let link = place(cow_hash_map::ROOT);
                ops.push(self.link(at + cow_hash_map::KIND, 8, u8::MAX, link, key, value)?);
            }
            // A pool looks its chunks up by their addresses: in another place its tables would have to be made anew.
            id::POOL | id::GC | id::GC_WEAK if self.moves() => return Err(Unknown),
            id::POOL => {
                sized(pool::SIZE)?;
                ops.push(Op::Owned { at: place(0), to: self.plan(Of::PoolControl(only()?))? });
            }
            // What they lead to its pool owns.
            id::GC | id::GC_WEAK => {
                sized(8)?;
                only()?;
            }
            _ => return Err(Unknown),
        }
        Ok(())
    }

    /// A number or a pointer, or zeros.
    fn option(&mut self, of: NodeId, size: u64, at: usize, ops: &mut Vec<Op>) -> Result<(), Unknown> {
        const POINTERS: [u64; 12] = [
            id::OFFSET,
            id::SAL_RC,
            id::SAL_RC_SLICE,
            id::SAL_RC_STR,
            id::SAL_BOX,
            id::SAL_BOX_SLICE,
            id::SAL_BOX_STR,
            id::HANDLE,
            id::HANDLE_SLICE,
            id::HANDLE_STR,
            id::GC,
            id::GC_WEAK,
        ];
        match self.types.nodes().get(of.index()).ok_or(Unknown)? {
            Node::Leaf { id, size: inner, .. } if is_plain_leaf(*id) && *inner == size => Ok(()),
            // None of these looks into another one here, so this ends.
            Node::Container { id, layout_version, size: inner, parameters, probe, .. }
                if POINTERS.contains(id) && *inner == size =>
            {
                let (parameters, probe) = (parameters.clone(), probe.clone());
                self.container(*id, *layout_version, size, &parameters, &probe, at, ops)
            }
            _ => Err(Unknown),
        }
    }

    fn has_size(&self, node: NodeId) -> Result<bool, Unknown> {
        Ok(self.shape(node)?.size != 0)
    }

    /// The handle of a `Vec` or `Box`, which lies beside its other words.
    fn handle_beside(
        &mut self,
        words: &[usize],
        probe: &[u64],
        size: u64,
        at: usize,
        ops: &mut Vec<Op>,
    ) -> Result<(), Unknown> {
        if !self.moves() {
            return Ok(());
        }
        let &[.., handle, len] = probe else { return Err(Unknown) };
        let is_possible = handle.checked_add(len).is_some_and(|end| end <= size)
            && words.iter().all(|&word| word as u64 != handle / 8 * 8);
        if !is_possible {
            return Err(Unknown);
        }
        self.handle(at + handle as usize, len as usize, ops)
    }

    /// The plan of a block in which nothing leads on.
    fn bytes(&mut self) -> Result<PlanId, Unknown> {
        self.add(BYTES)
    }

    /// The plan of single bytes, of which there are so many.
    fn counted_bytes(&mut self) -> Result<PlanId, Unknown> {
        self.add(Plan::Values { size: 1, ops: super::Ops::default(), least: [1, 1] })
    }

    /// The plan of a shared text.
    fn text(&mut self) -> Result<PlanId, Unknown> {
        let values = self.counted_bytes()?;
        self.add(Plan::Slice { first: slice_elements(Shape { size: 1, align: 1 }), values })
    }

    fn add(&mut self, plan: Plan) -> Result<PlanId, Unknown> {
        self.step()?;
        self.program.plans.push(plan);
        PlanId::try_from(self.program.plans.len() - 1).map_err(|_| Unknown)
    }

    /// The plan of an entry that leads to a value with that plan and alignment.
    fn entry(&mut self, to: PlanId, align: usize) -> Result<Plan, Unknown> {
        self.values(handle::ENTRY, vec![Op::Movable { at: handle::LOCATION as u32, align: align as u32, to }])
    }

    /// The plan of values of so many bytes that lead nowhere.
    fn plain(&mut self, size: usize) -> Result<super::PlanId, Unknown> {
        self.step()?;
        let plan = self.values(size, Vec::new())?;
        self.program.plans.push(plan);
        super::PlanId::try_from(self.program.plans.len() - 1).map_err(|_| Unknown)
    }

    /// A link to a node of a `CowHashMap`, whose kind a field says.
    fn link(
        &mut self,
        kind_at: usize,
        width: u8,
        mask: u8,
        link: u32,
        key: NodeId,
        value: Option<NodeId>,
    ) -> Result<Op, Unknown> {
        use cow_hash_map::kind;
        let mut arms = vec![(u64::from(kind::NONE), Vec::new())];
        for (kind, of) in [
            (kind::LEAF, Of::CowHashLeaf(key, value)),
            (kind::BRANCH, Of::CowHashBranch(key, value)),
            (kind::SAME, Of::CowHashSame(key, value)),
        ] {
            arms.push((u64::from(kind), vec![Op::Counted { at: link, to: self.plan(of)? }]));
        }
        self.choice(kind_at, width, mask, arms, Otherwise::Refuse)
    }

    /// So many values of a type, if any.
    fn several(&mut self, of: Option<NodeId>, at: usize, count: Count, ops: &mut Vec<Op>) -> Result<(), Unknown> {
        let Some(node) = of else { return Ok(()) };
        let (shape, mut inside) = (self.shape(node)?, Vec::new());
        self.value(node, 0, 1, &mut inside)?;
        self.repeat(at, shape.size, count, inside, ops)
    }

    /// Key and value side by side; where the value is; and how large both are.
    fn pair(&mut self, key: NodeId, value: Option<NodeId>) -> Result<(Shape, Vec<Op>), Unknown> {
        let (at, shape) = sal_hash_map::pair(self.shape(key)?, self.shape_or_nothing(value)?);
        let mut ops = Vec::new();
        self.value(key, 0, 1, &mut ops)?;
        if let Some(value) = value {
            self.value(value, at, 1, &mut ops)?;
        }
        Ok((shape, ops))
    }

    /// The plan of a block.
    pub(super) fn block(&mut self, of: Of) -> Result<Plan, Unknown> {
        let mut ops = Vec::new();
        match of {
            Of::Value(_) => Err(Unknown),
            Of::Pair(key, value) => {
                let (shape, ops) = self.pair(key, value)?;
                self.values(shape.size, ops)
            }
            Of::Slice(element) => {
                let first = slice_elements(self.shape(element)?);
                Ok(Plan::Slice { first, values: self.plan(Of::Value(element))? })
            }
            Of::Entry(value) => {
                let (align, to) = (self.shape(value)?.align, self.plan(Of::Value(value))?);
                self.entry(to, align)
            }
            Of::SliceEntry(element) => {
                // The length lies before the elements.
                let (align, to) = (self.shape(element)?.align.max(Shape::WORD.align), self.plan(Of::Slice(element))?);
                self.entry(to, align)
            }
            Of::TextEntry => {
                let to = self.text()?;
                self.entry(to, Shape::WORD.align)
            }
            Of::HashTable(key, value) => {
                let (_, pair) = sal_hash_map::pair(self.shape(key)?, self.shape_or_nothing(value)?);
                Ok(Plan::Slots { align: pair.align, values: self.plan(Of::Pair(key, value))? })
            }
            Of::BTreeNode(key, value) => {
                let node = sal_btree_map::node(self.shape(key)?, self.shape_or_nothing(value)?);
                let most = sal_btree_map::CAPACITY as u32;
                let len = Count::Field { at: node.len as u32, width: 8, less: 0, most };
                self.several(Some(key), node.keys, len, &mut ops)?;
                self.several(value, node.values, len, &mut ops)?;
                let to = self.plan(of)?;
                ops.push(Op::Children { at: node.children as u32, len: node.len as u32, most, to });
                self.node(node.leaf.size, node.internal.size, ops)
            }
            Of::CowMapNode(key, value) => {
                let node = cow_map::node(self.shape(key)?, self.shape_or_nothing(value)?);
                let field =
                    |less: u8, most: usize| Count::Field { at: node.len as u32, width: 2, less, most: most as u32 };
                let mut leaf = Vec::new();
                self.several(Some(key), node.keys, field(0, node.leaf_capacity), &mut leaf)?;
                self.several(value, node.values, field(0, node.leaf_capacity), &mut leaf)?;
                let mut branch = Vec::new();
                self.several(Some(key), node.keys, field(1, node.branch_capacity - 1), &mut branch)?;
                let child = vec![Op::Counted { at: 0, to: self.plan(of)? }];
                self.repeat(node.children, 8, field(0, node.branch_capacity), child, &mut branch)?;
                let otherwise = Otherwise::Ops(self.put(branch)?);
                ops.push(self.choice(node.height, 2, u8::MAX, vec![(0, leaf)], otherwise)?);
                self.values(node.whole.size, ops)
            }
            Of::CowVecBranch(element) => {
                use cow_vec::branch;
                let count = Count::Field { at: branch::LEN as u32, width: 4, less: 0, most: branch::FAN as u32 };
                let [mut leaves, mut branches] = [Vec::new(), Vec::new()];
                let to = self.plan(Of::CowVecLeaf(element))?;
                self.repeat(branch::CHILDREN, 8, count, vec![Op::Counted { at: 0, to }], &mut leaves)?;
                let to = self.plan(of)?;
                self.repeat(branch::CHILDREN, 8, count, vec![Op::Counted { at: 0, to }], &mut branches)?;
                let otherwise = Otherwise::Ops(self.put(branches)?);
                ops.push(self.choice(branch::LEVEL, 4, u8::MAX, vec![(1, leaves)], otherwise)?);
                self.values(branch::SIZE, ops)
            }
            Of::CowVecLeaf(element) => {
                let shape = self.shape(element)?;
                if shape.size == 0 {
                    return Ok(BYTES);
                }
                let count = Count::Fixed(cow_vec::width(shape) as u32);
                self.several(Some(element), 0, count, &mut ops)?;
                self.values(cow_vec::leaf(shape).size, ops)
            }
            Of::CowVecTail(element) => {
                let shape = self.shape(element)?;
                if shape.size == 0 {
                    return Ok(BYTES);
                }
                let (at, tail) = cow_vec::tail(shape);
                let count = Count::Field { at: 0, width: 8, less: 0, most: cow_vec::width(shape) as u32 };
                self.several(Some(element), at, count, &mut ops)?;
                self.values(tail.size, ops)
            }
            Of::CowHashBranch(key, value) => {
                use cow_hash_map::{branch, kind};
                for slot in 0..branch::WIDTH {
                    let link = (branch::LINKS + 8 * slot) as u32;
                    ops.push(self.link(slot, 1, kind::MASK, link, key, value)?);
                }
                self.values(branch::SIZE, ops)
            }
            Of::CowHashLeaf(key, value) => {
                let (pair, inside) = self.pair(key, value)?;
                let (at, leaf) = cow_hash_map::leaf(pair);
                let count = Count::Tags { at: 0, most: cow_hash_map::leaf_capacity(pair) as u32 };
                self.repeat(at, pair.size, count, inside, &mut ops)?;
                self.values(leaf.size, ops)
            }
            Of::CowHashSame(key, value) => {
                let (pair, _) = self.pair(key, value)?;
                if pair.size != 0 {
                    let values = self.plan(Of::Pair(key, value))?;
                    ops.push(vector(0, values));
                }
                self.values(sal_vec::SIZE, ops)
            }
            Of::PoolControl(value) => {
                let entries = self.plan(Of::PoolEntry(value))?;
                ops.push(vector(pool::control::CHUNKS, entries));
                for (at, size) in pool::control::PLAIN {
                    let plain = self.plain(size)?;
                    ops.push(vector(at, plain));
                }
                self.values(pool::control::SIZE, ops)
            }
            Of::PoolEntry(value) => {
                ops.push(Op::Owned { at: 0, to: self.plan(Of::PoolChunk(value))? });
                self.values(pool::ENTRY, ops)
            }
            Of::PoolChunk(value) => {
                let geometry = pool::geometry(self.shape(value)?).ok_or(Unknown)?;
                Ok(Plan::Chunk { geometry, values: self.plan(Of::Value(value))? })
            }
        }
    }
}

/// A `SalVec`.
fn vector(at: usize, values: PlanId) -> Op {
    let [block, len, capacity] = [sal_vec::BLOCK, sal_vec::LEN, sal_vec::CAPACITY].map(|offset| (at + offset) as u32);
    Op::Vector { block, len, capacity, dangles: false, values }
}

/// The offsets of the words that were measured, without those of the handle and its size.
fn probed(probe: &[u64], size: u64) -> Result<Vec<usize>, Unknown> {
    let words = probe.len().checked_sub(2).and_then(|words| probe.get(..words)).ok_or(Unknown)?;
    let is_possible = |&word: &u64| word % 8 == 0 && word.checked_add(8).is_some_and(|end| end <= size);
    if !words.iter().all(is_possible) {
        return Err(Unknown);
    }
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != words.len() {
        return Err(Unknown);
    }
    Ok(words.iter().map(|&word| word as usize).collect())
}
