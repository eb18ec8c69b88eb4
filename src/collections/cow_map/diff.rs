//! What two versions do not have in common.
//!
//! Both trees are walked side by side. Where both walks come to the same node, what is below it is skipped; where they come to
//! different ones, they go into the higher one, or into both if they are of one height. So what is visited is what is not shared,
//! and the nodes on the way there.

use super::CowMap;
use super::node::{Link, Node};
use crate::SalRc;
use core::cmp::Ordering;
use core::fmt;
use core::iter::FusedIterator;

/// One entry in which two versions of a map differ.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'a, K: 'static, V: 'static> {
    /// The later version has this key, the earlier one has not.
    Added(&'a K, &'a V),
    /// The earlier version has this key, the later one has not.
    Removed(&'a K, &'a V),
    /// Both have this key, with different values.
    Changed {
        /// As the later version has it.
        key: &'a K,
        /// What the earlier version has.
        before: &'a V,
        /// What the later version has.
        after: &'a V,
    },
}

impl<K: 'static, V: 'static> Clone for Difference<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: 'static, V: 'static> Copy for Difference<'_, K, V> {}

/// The differences between two versions in the order of their keys, from [`CowMap::diff`].
pub struct Diff<'a, K: 'static, V: 'static> {
    before: Walk<'a, K, V>,
    after: Walk<'a, K, V>,
}

impl<K: Ord + 'static, V: PartialEq + 'static> CowMap<K, V> {
    /// What has to be done to this map to get `later`. What is in nodes that both share counts as equal and is not looked at: for
    /// two versions of one map the time depends on their differences, not on their size.
    ///
    /// ```
    /// use sal::collections::CowMap;
    /// use sal::collections::cow_map::Difference::*;
    ///
    /// let monday: CowMap<u32, char> = [(1, 'a'), (2, 'b'), (3, 'c')].into();
    /// let mut tuesday = monday.clone();
    /// tuesday.remove(&1);
    /// tuesday.insert(3, 'x');
    /// tuesday.insert(4, 'd');
    /// let differences: Vec<_> = monday.diff(&tuesday).collect();
    /// assert_eq!(differences, [Removed(&1, &'a'), Changed { key: &3, before: &'c', after: &'x' }, Added(&4, &'d')]);
    /// ```
    pub fn diff<'a>(&'a self, later: &'a Self) -> Diff<'a, K, V> {
        Diff { before: Walk::new(self), after: Walk::new(later) }
    }
}

/// A walk over a tree that goes into subtrees only if it is told to.
struct Walk<'a, K: 'static, V: 'static> {
    /// The root, if the walk has not gone into it yet.
    root: Option<&'a Link<K, V>>,
    /// The nodes that the walk is in, and where in them.
    inside: Vec<(&'a Node<K, V>, usize)>,
}

/// What a walk comes to.
enum Ahead<'a, K: 'static, V: 'static> {
    Node(&'a Link<K, V>),
    Pair(&'a K, &'a V),
    Nothing,
}

impl<'a, K: 'static, V: 'static> Walk<'a, K, V> {
    fn new(map: &'a CowMap<K, V>) -> Self {
        Self { root: map.root.as_ref(), inside: Vec::new() }
    }

    fn ahead(&mut self) -> Ahead<'a, K, V> {
        if let Some(root) = self.root {
            return Ahead::Node(root);
        }
        while let Some(&(node, at)) = self.inside.last() {
            if let Some(child) = node.children().get(at) {
                return Ahead::Node(child);
            }
            if let (Some(key), Some(value)) = (node.keys().get(at), node.values().get(at)) {
                return Ahead::Pair(key, value);
            }
            self.inside.pop();
        }
        Ahead::Nothing
    }

    /// Goes over what is ahead.
    fn skip(&mut self) {
        if self.root.take().is_none() {
            if let Some((_, at)) = self.inside.last_mut() {
                *at += 1;
            }
        }
    }

    /// Goes into the node that is ahead.
    fn enter(&mut self, node: &'a Link<K, V>) {
        self.skip();
        self.inside.push((node, 0));
    }
}

/// The smallest key below a node.
fn first_key<K: 'static, V: 'static>(node: &Link<K, V>) -> Option<&K> {
    let mut node: &Node<K, V> = node;
    while let Some(child) = node.children().first() {
        node = child;
    }
    node.keys().first()
}

impl<'a, K: Ord + 'static, V: PartialEq + 'static> Iterator for Diff<'a, K, V> {
    type Item = Difference<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        use Ahead::{Node, Nothing, Pair};
        let (before, after) = (&mut self.before, &mut self.after);
        loop {
            let order = match (before.ahead(), after.ahead()) {
                (Nothing, Nothing) => return None,
                (Node(a), Node(b)) => {
                    if SalRc::ptr_eq(a, b) {
                        before.skip();
                        after.skip();
                        continue;
                    }
                    let (a_height, b_height) = (a.height(), b.height());
                    if a_height >= b_height {
                        before.enter(a);
                    }
                    if b_height >= a_height {
                        after.enter(b);
                    }
                    continue;
                }
                (Node(a), Pair(key, _)) if first_key(a).is_none_or(|first| first <= key) => {
                    before.enter(a);
                    continue;
                }
                (Pair(key, _), Node(b)) if first_key(b).is_none_or(|first| first <= key) => {
                    after.enter(b);
                    continue;
                }
                (Node(a), Nothing) => {
                    before.enter(a);
                    continue;
                }
                (Nothing, Node(b)) => {
                    after.enter(b);
                    continue;
                }
                (Pair(a, _), Pair(b, _)) => a.cmp(b),
                (Pair(..), Node(_) | Nothing) => Ordering::Less,
                (Node(_) | Nothing, Pair(..)) => Ordering::Greater,
            };
            let (a, b) = (before.ahead(), after.ahead());
            if order.is_le() {
                before.skip();
            }
            if order.is_ge() {
                after.skip();
            }
            return Some(match (order, a, b) {
                (Ordering::Less, Pair(key, value), _) => Difference::Removed(key, value),
                (Ordering::Greater, _, Pair(key, value)) => Difference::Added(key, value),
                (_, Pair(_, before), Pair(key, after)) if before != after => Difference::Changed { key, before, after },
                _ => continue,
            });
        }
    }
}

impl<K: Ord + 'static, V: PartialEq + 'static> FusedIterator for Diff<'_, K, V> {}

impl<K: 'static, V: 'static> Clone for Diff<'_, K, V> {
    fn clone(&self) -> Self {
        Self { before: self.before.clone(), after: self.after.clone() }
    }
}

impl<K: 'static, V: 'static> Clone for Walk<'_, K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root, inside: self.inside.clone() }
    }
}

impl<K: Ord + fmt::Debug + 'static, V: PartialEq + fmt::Debug + 'static> fmt::Debug for Diff<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
