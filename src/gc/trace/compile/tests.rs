//! What becomes of descriptions, of types that cannot be above all.

use super::*;
use crate::SalAlloc;
use crate::collections::{CowMap, SalHashMap, SalString, SalVec};
use crate::gc::trace::layouts;
use crate::persist::Persist;
use crate::ptr::{Offset, SalRc};
use allocator_api2::boxed::Box as AllocBox;
use allocator_api2::vec::Vec as AllocVec;
use std::time::{Duration, Instant};

fn program_of(types: &TypeDescription) -> Option<Program> {
    let mut program = Program::default();
    program.add(0, types).ok().map(|()| program)
}

fn ops_of_root(types: &TypeDescription) -> Vec<Op> {
    let program = program_of(types).unwrap();
    let (plan, _) = program.root(0).unwrap();
    match program.plan(plan) {
        Plan::Values { ops, .. } => program.ops(ops).to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_owns_nothing_has_no_operations_and_what_does_has_one_for_each_pointer() {
    assert_eq!(ops_of_root(&TypeDescription::of::<(u64, [u32; 9], bool)>()), []);
    let ops = ops_of_root(&TypeDescription::of::<[(u64, SalRc<u8>); 3]>());
    let places: Vec<u32> = ops.iter().map(|op| if let Op::Counted { at, .. } = op { *at } else { u32::MAX }).collect();
    assert_eq!(places.len(), 3);
    assert!(places.windows(2).all(|pair| pair[1] == pair[0] + 16));
    let ops = ops_of_root(&TypeDescription::of::<(SalString, SalVec<()>)>());
    assert!(matches!(ops[..], [Op::Owned { .. }]), "{ops:?}");
    let ops = ops_of_root(&TypeDescription::of::<[SalVec<u8>; 100]>());
    assert!(matches!(ops[..], [Op::Repeat { at: 0, size: 24, count: Count::Fixed(100), .. }]), "{ops:?}");
    assert!(program_of(&TypeDescription::of::<Offset<u8>>()).unwrap().has_opaque());
}

/// The operations of a type's values, to move them.
fn ops_to_move<T: Persist>() -> Vec<Op> {
    let mut program = Program::for_purpose(Purpose::Moving);
    program.add(0, &TypeDescription::of::<T>()).unwrap();
    match program.plan(program.root(0).unwrap().0) {
        Plan::Values { ops, .. } => program.ops(ops).to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_moves_values_is_told_of_handles_and_not_of_offsets() {
    assert_eq!(ops_to_move::<(u64, Offset<u8>, [Option<Offset<u8>>; 9])>(), []);
    assert_eq!(ops_to_move::<[SalAlloc; 2]>(), [Op::Handle { at: 0 }, Op::Handle { at: 4 }]);
    // Without elements that have a size there is no block, but a handle.
    assert!(matches!(ops_to_move::<AllocVec<(), SalAlloc>>()[..], [Op::Handle { .. }]));
    let ops = ops_to_move::<AllocVec<u8, SalAlloc>>();
    assert!(matches!(ops[..], [Op::Handle { .. }, Op::Vector { dangles: true, .. }]), "{ops:?}");
    let ops = ops_to_move::<AllocBox<u8, SalAlloc>>();
    let [Op::Handle { at: handle }, Op::Owned { at, .. }] = ops[..] else { panic!("{ops:?}") };
    assert_eq!(handle / 8 * 8 + at, 8);
    // The lengths of texts are looked at.
    assert!(matches!(ops_to_move::<SalString>()[..], [Op::Vector { dangles: false, .. }]));
    assert!(ops_of_root(&TypeDescription::of::<(SalAlloc, [SalAlloc; 9])>()).is_empty());
}

#[test]
fn handles_that_cannot_be_are_not_known_to_who_moves_them() {
    let known = |node: Node| {
        let types = of(vec![node, Node::leaf::<u8>(1, "u8")]);
        let marks = Program::default().add(0, &types).is_ok();
        (marks, Program::for_purpose(Purpose::Moving).add(0, &types).is_ok())
    };
    let vec = |probe: [u64; 5]| known(container(0x11, 1, 32, vec![NodeId(1)], probe.to_vec()));
    assert_eq!(vec([0, 8, 16, 24, 4]), (true, true));
    assert_eq!(vec([0, 8, 16, 28, 4]), (true, true));
    for probe in
        [[0, 8, 16, 25, 4], [0, 8, 16, 20, 4], [0, 8, 16, 32, 4], [0, 8, 16, 24, 8], [0, 8, 16, u64::MAX - 3, 4]]
    {
        assert_eq!(vec(probe), (true, false), "{probe:?}");
    }
    assert_eq!(known(Node::Leaf { id: layouts::HANDLE, name: "SalAlloc".into(), size: 8, align: 4 }), (true, false));
}

fn field(offset: u64, node: u32) -> Field {
    Field { name: "f".into(), offset, node: NodeId(node) }
}

fn structure(size: u64, fields: Vec<Field>) -> Node {
    Node::Struct { name: "S".into(), size, align: 8, fields }
}

fn container(id: u64, layout_version: u32, size: u64, parameters: Vec<NodeId>, probe: Vec<u64>) -> Node {
    Node::Container { id, name: "C".into(), size, align: 8, layout_version, parameters, probe }
}

fn of(nodes: Vec<Node>) -> TypeDescription {
    TypeDescription::of_nodes(nodes, NodeId(0))
}

#[test]
fn types_that_cannot_be_are_not_known() {
    let number = || Node::leaf::<u64>(4, "u64");
    let vec = || container(0x21, 1, 24, vec![NodeId(0)], Vec::new());
    assert!(program_of(&of(vec![vec()])).is_some(), "a vector of such vectors");
    let impossible = [
        ("a struct of itself", vec![structure(8, vec![field(0, 0)])]),
        ("an array of itself", vec![Node::Array { len: 1, element: NodeId(0) }]),
        ("a field beyond the end", vec![structure(8, vec![field(8, 1)]), number()]),
        ("a field far beyond", vec![structure(8, vec![field(u64::MAX - 3, 1)]), number()]),
        ("two fields in one place", vec![structure(16, vec![field(0, 1), field(0, 1)]), number()]),
        ("a field that is not aligned", vec![structure(16, vec![field(4, 1)]), number()]),
        ("too large", vec![Node::Array { len: 1 << 40, element: NodeId(1) }, number()]),
        ("larger than numbers", vec![Node::Array { len: u64::MAX, element: NodeId(1) }, number()]),
        ("another version", vec![container(0x21, 2, 24, vec![NodeId(0)], Vec::new())]),
        ("another size", vec![container(0x21, 1, 32, vec![NodeId(0)], Vec::new())]),
        ("two elements", vec![container(0x21, 1, 24, vec![NodeId(0), NodeId(0)], Vec::new())]),
        ("no container", vec![container(0x999, 1, 24, vec![NodeId(0)], Vec::new())]),
        ("words of a container that has none", vec![container(0x21, 1, 24, vec![NodeId(0)], vec![0])]),
        ("a word beyond the end", vec![container(0x11, 1, 32, vec![NodeId(0)], vec![0, 8, 32, 16, 4])]),
        ("words in one place", vec![container(0x11, 1, 32, vec![NodeId(0)], vec![0, 8, 8, 16, 4])]),
    ];
    for (what, nodes) in impossible {
        assert!(program_of(&of(nodes)).is_none(), "{what}");
    }
}

#[test]
fn what_grows_without_end_is_given_up_soon() {
    // Each struct has four of the next one side by side: 4^15 pointers.
    let mut nodes: Vec<Node> = (0..15)
        .map(|level| {
            let size = 8 << (2 * (14 - level));
            structure(4 * size, (0..4).map(|at| field(at * size, level as u32 + 1)).collect())
        })
        .collect();
    nodes.push(container(0x42, 1, 8, vec![NodeId(15)], Vec::new()));
    let types = of(nodes);
    let started = Instant::now();
    let mut program = Program::default();
    for record in 0..1000 {
        assert_eq!(program.add(record, &types), Err(Unknown));
    }
    assert!(program.plans.len() == 1 && program.ops.is_empty() && program.arms.is_empty());
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_type_that_is_not_known_leaves_nothing_and_those_before_it_stay() {
    let mut program = Program::default();
    let known = TypeDescription::of::<SalHashMap<SalString, CowMap<u64, SalRc<str>>>>();
    program.add(8, &known).unwrap();
    let before = (program.plans.clone(), program.ops.clone(), program.arms.clone());
    let mut nodes = known.nodes().to_vec();
    nodes.push(structure(72, vec![field(0, 0), field(48, nodes.len() as u32 + 1)]));
    nodes.push(container(0x999, 1, 24, Vec::new(), Vec::new()));
    let unknown = TypeDescription::of_nodes(nodes.clone(), NodeId(nodes.len() as u32 - 2));
    assert_eq!(program.add(16, &unknown), Err(Unknown));
    assert_eq!((program.plans.clone(), program.ops.clone(), program.arms.clone()), before);
    assert!(program.root(8).is_some() && program.root(16).is_none() && program.root(9).is_none());
}
