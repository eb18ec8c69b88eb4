//! The invariants of a vector, as code.

use super::CowVec;
use super::branch::{Branch, Children, FAN, leaves_of};
use super::leaf::width;

impl<T: 'static> CowVec<T> {
    /// Whether the vector is in order; else what is not. Looks at all nodes, and so takes its time.
    ///
    /// Of a vector that only safe code has used it always is.
    pub fn check(&self) -> Result<(), &'static str> {
        let leaves = self.tree_len / width::<T>();
        if self.tree_len % width::<T>() != 0 {
            return Err("a leaf is not full (L1)");
        }
        match &self.root {
            None if self.height == 0 && leaves == 0 => {}
            Some(root) if root.level() == self.height && leaves > 0 => {
                if leaves > leaves_of(self.height) {
                    return Err("there are more leaves than the tree has room for (V1)");
                }
                check_branch(root, leaves)?;
            }
            _ => return Err("the height is not the root's level (V1)"),
        }
        let in_tail = self.tail.as_ref().map_or(0, |tail| tail.len());
        if self.len.checked_sub(self.tree_len) != Some(in_tail) || in_tail > width::<T>() {
            return Err("the tail has not what is not in the tree (V2)");
        }
        if self.len == 0 && (self.root.is_some() || self.tail.is_some()) {
            return Err("an empty vector has nodes (V3)");
        }
        Ok(())
    }
}

/// Whether a branch leads to so many leaves, and all but the last of its children are full.
fn check_branch<T: 'static>(branch: &Branch<T>, leaves: usize) -> Result<(), &'static str> {
    let below = leaves_of(branch.level() - 1);
    if branch.len() != leaves.div_ceil(below) || branch.len() > FAN {
        return Err("a branch has not as many children as lead to its leaves (N2)");
    }
    if !branch.is_zero_behind() {
        return Err("there is something behind the children of a branch (N1)");
    }
    let Children::Branches(branches) = branch.children() else { return Ok(()) };
    for (at, child) in branches.iter().enumerate() {
        if child.level() + 1 != branch.level() {
            return Err("a child is not one level below (N1)");
        }
        check_branch(child, below.min(leaves - at * below))?;
    }
    Ok(())
}
