//! Elements that know who is alive: a leak, a double drop and the use of a dropped element all fail.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Books every element that is created and dropped. Armed, it panics at a later clone or drop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Rc<Books>);

#[derive(Debug, Default)]
struct Books {
    alive: RefCell<Vec<bool>>,
    clones_left: Cell<Option<usize>>,
    drops_left: Cell<Option<usize>>,
}

impl Ledger {
    pub(crate) fn element(&self, value: u8) -> Element {
        let mut alive = self.0.alive.borrow_mut();
        alive.push(true);
        Element { value, serial: alive.len() - 1, ledger: self.clone() }
    }

    /// How many elements are alive.
    pub(crate) fn alive(&self) -> usize {
        self.0.alive.borrow().iter().filter(|&&alive| alive).count()
    }

    /// The clone after `clones` more panics.
    pub(crate) fn arm_clone(&self, clones: usize) {
        self.0.clones_left.set(Some(clones));
    }

    /// The drop after `drops` more panics.
    pub(crate) fn arm_drop(&self, drops: usize) {
        self.0.drops_left.set(Some(drops));
    }

    pub(crate) fn disarm(&self) {
        self.0.clones_left.set(None);
        self.0.drops_left.set(None);
    }

    fn count_down(fuse: &Cell<Option<usize>>) {
        match fuse.get() {
            Some(0) => {
                fuse.set(None);
                panic!("the ledger was armed");
            }
            left => fuse.set(left.map(|left| left - 1)),
        }
    }
}

/// An element, compared by its value and booked by its serial number.
#[derive(Debug)]
pub(crate) struct Element {
    value: u8,
    serial: usize,
    ledger: Ledger,
}

impl Element {
    pub(crate) fn value(&self) -> u8 {
        assert!(self.ledger.0.alive.borrow()[self.serial], "element {} was dropped", self.serial);
        self.value
    }

    pub(crate) fn set(&mut self, value: u8) {
        self.value();
        self.value = value;
    }
}

impl Clone for Element {
    fn clone(&self) -> Self {
        Ledger::count_down(&self.ledger.0.clones_left);
        self.ledger.element(self.value())
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        let was_alive = std::mem::take(&mut self.ledger.0.alive.borrow_mut()[self.serial]);
        assert!(was_alive, "element {} was dropped twice", self.serial);
        Ledger::count_down(&self.ledger.0.drops_left);
    }
}

/// The values of elements, all of them alive.
pub(crate) fn values<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Vec<u8> {
    elements.into_iter().map(Element::value).collect()
}
