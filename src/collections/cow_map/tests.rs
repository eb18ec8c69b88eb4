//! What only shows from within.

use super::node::Node;
use super::*;

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn what_is_not_on_the_way_is_shared() {
    let map: CowMap<u64, u64> = (0..10_000).map(|n| (n * 2, n)).collect();
    let mut changed = map.clone();
    assert!(changed.ptr_eq(&map));
    changed.insert(777, 1);
    assert!(!changed.ptr_eq(&map));
    let mut nodes = std::collections::HashSet::new();
    fn visit(link: &Link<u64, u64>, seen: &mut dyn FnMut(usize)) {
        seen(SalRc::as_ptr(link).addr());
        link.children().iter().for_each(|child| visit(child, seen));
    }
    visit(map.root.as_ref().unwrap(), &mut |node| {
        nodes.insert(node);
    });
    let mut own = 0;
    visit(changed.root.as_ref().unwrap(), &mut |node| own += usize::from(!nodes.contains(&node)));
    let levels = usize::from(map.root.as_ref().unwrap().height()) + 1;
    assert!(own <= levels + 1, "{own} nodes for {levels} levels, one of which was split");
    changed.check().unwrap();
    map.check().unwrap();
}

#[test]
fn a_missing_key_copies_nothing() {
    let map: CowMap<u64, u64> = (0..10_000).map(|n| (n * 2, n)).collect();
    let mut other = map.clone();
    assert_eq!(other.get_mut(&3), None);
    assert_eq!(other.remove(&5), None);
    assert!(other.ptr_eq(&map));
}

#[test]
fn what_nobody_else_has_is_changed_where_it_is() {
    let mut map: CowMap<u64, u64> = (0..10_000).map(|n| (n * 2, n)).collect();
    let root = SalRc::as_ptr(map.root.as_ref().unwrap());
    let place: *const u64 = map.get(&4000).unwrap();
    *map.get_mut(&4000).unwrap() = 7;
    map.insert(4000, 8);
    assert_eq!((SalRc::as_ptr(map.root.as_ref().unwrap()), &raw const map[&4000]), (root, place));
}

#[test]
fn a_tree_is_in_order_after_each_of_many_changes() {
    let mut state = 88_172_645_463_325_252;
    println!("seed {state}");
    let (mut map, mut versions) = (CowMap::<u64, [u64; 40]>::new(), std::vec::Vec::new());
    for step in 0..4000_u64 {
        let key = random(&mut state) % 300;
        if random(&mut state) % 600 > step % 600 {
            map.insert(key, [step; 40]);
        } else {
            map.remove(&key);
        }
        map.check().unwrap();
        if step % 64 == 0 {
            versions.push((map.clone(), map.values().map(|value| value[0]).sum::<u64>()));
        }
        if versions.len() == 4 {
            let (version, sum) = versions.swap_remove(random(&mut state) as usize % 4);
            version.check().unwrap();
            assert_eq!(version.values().map(|value| value[0]).sum::<u64>(), sum);
        }
    }
}

#[test]
fn capacity_follows_the_sizes() {
    assert_eq!((Node::<u32, u32>::LEAF_CAPACITY, Node::<u32, u32>::BRANCH_CAPACITY), (63, 42));
    assert_eq!((Node::<u64, ()>::LEAF_CAPACITY, Node::<(), ()>::LEAF_CAPACITY), (63, 63));
    assert_eq!((Node::<u8, u64>::LEAF_CAPACITY, size_of::<Node<u8, u64>>()), (56, 512));
    assert_eq!(
        (Node::<[u64; 20], [u64; 100]>::LEAF_CAPACITY, size_of::<Node<[u64; 20], [u64; 100]>>()),
        (4, 8 + 4 * 960)
    );
}
