//! Making nodes, and making them a map's own before they are changed.
#![allow(unsafe_code)]

use super::node::{Link, Node};
use crate::collections::TryReserveError;
use crate::collections::error::no_room_for;
use crate::heap::placement::HeapScope;
use crate::{SalAlloc, SalRc};
use core::mem::needs_drop;

/// Puts a node without anything in it beside another one.
#[inline]
pub(super) fn new_beside<K: 'static, V: 'static>(
    height: u16,
    other: &Link<K, V>,
) -> Result<Link<K, V>, TryReserveError> {
    SalRc::try_new_near(Node::empty(height), other).map_err(|_| no_room_for::<Node<K, V>>())
}

/// Puts a leaf without anything in it into a heap.
#[inline]
pub(super) fn new_leaf<K: 'static, V: 'static>(heap: SalAlloc) -> Result<Link<K, V>, TryReserveError> {
    SalRc::try_new_in(Node::empty(0), heap).map_err(|_| no_room_for::<Node<K, V>>())
}

/// While it lives, what keys and values take when they are cloned comes from the heap of a node.
#[inline(always)]
pub(super) fn scope<K: 'static, V: 'static>(node: &Link<K, V>) -> Option<HeapScope> {
    // What is dropped without doing anything has no block of its own.
    (needs_drop::<K>() || needs_drop::<V>()).then(|| HeapScope::enter(SalRc::heap(node)))
}

/// The node, to be changed: itself if no other version has it, else a copy, which takes its place.
///
/// If there is no room for a copy, or if a key or a value panics when it is cloned, nothing has changed.
#[inline]
pub(super) fn own<K: Clone + 'static, V: Clone + 'static>(
    link: &mut Link<K, V>,
) -> Result<&mut Node<K, V>, TryReserveError> {
    if SalRc::get_mut(link).is_none() {
        *link = copy(link)?;
    }
    // SAFETY: this is the only pointer to the node, and borrowed mutably: it was before, or the node is new.
    Ok(unsafe { &mut *SalRc::as_ptr(link).cast_mut() })
}

/// The node of a link that was made just now, or is known to be the only one.
#[inline]
pub(super) fn fresh<K: 'static, V: 'static>(link: &mut Link<K, V>) -> &mut Node<K, V> {
    SalRc::alone_mut(link).expect("nobody else has a new node")
}

#[cold]
#[inline(never)]
fn copy<K: Clone + 'static, V: Clone + 'static>(link: &Link<K, V>) -> Result<Link<K, V>, TryReserveError> {
    let _scope = scope(link);
    let mut copy = new_beside(link.height(), link)?;
    let node = fresh(&mut copy);
    if link.is_leaf() {
        copy_pairs(link, node);
    } else {
        copy_children(link, node);
    }
    Ok(copy)
}

fn copy_pairs<K: Clone + 'static, V: Clone + 'static>(from: &Node<K, V>, to: &mut Node<K, V>) {
    let (keys, values) = (to.key_slots(), to.value_slots());
    for (at, (key, value)) in from.keys().iter().zip(from.values()).enumerate() {
        // SAFETY: the nodes have as many slots as each other. A pair counts when both are there; if a clone panics, the ones
        // before are dropped with the node (N1).
        unsafe {
            let key = key.clone();
            values.add(at).write(value.clone());
            keys.add(at).write(key);
        }
        if needs_drop::<K>() || needs_drop::<V>() {
            to.len = at as u16 + 1;
        }
    }
    to.len = from.len;
}

fn copy_children<K: Clone + 'static, V: Clone + 'static>(from: &Node<K, V>, to: &mut Node<K, V>) {
    let (keys, children) = (to.key_slots(), to.child_slots());
    let mut bounds = from.keys().iter();
    for (at, child) in from.children().iter().enumerate() {
        // SAFETY: the nodes have as many slots as each other. A child counts when the bound before it is there; if a clone
        // panics, the ones before are dropped with the node (N2).
        unsafe {
            if at > 0 {
                let Some(bound) = bounds.next() else { break };
                keys.add(at - 1).write(bound.clone());
            }
            children.add(at).write(child.clone());
        }
        to.len = at as u16 + 1;
    }
}
