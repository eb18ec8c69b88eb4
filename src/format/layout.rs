//! Where the areas of a heap lie, computed from the number of its units.

use super::fold_mark::FOLD_MARK_LEN;
use super::soft::{GROUP_UNITS, SlabState, SoftHeader};
use super::{PAGE, SEGMENT_UNITS, UNIT, UNIT_SHIFT, WINDOW};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An area: bytes from the start of the window, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Area {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The areas of a heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Layout {
    /// Units in the segments area.
    pub(crate) units: u64,
    pub(crate) slab_table: Area,
    pub(crate) roots: Area,
    pub(crate) types: Area,
    pub(crate) soft: Area,
    pub(crate) slab_states: Area,
    pub(crate) free_bits: Area,
    pub(crate) remote_bits: Area,
    pub(crate) segments: Area,
}

const _: () = assert!(size_of::<Layout>() == 136);

/// Bytes before the first area.
const PREFIX: u64 = 65_536;
/// Bytes of the root directory.
const ROOTS: u64 = 64 << 20;
/// Bytes of the type table.
const TYPES: u64 = 64 << 20;
/// Bytes of free bits, and again of remote bits, for a unit: a bit for each 16 bytes.
pub(crate) const BITS_PER_UNIT_BYTES: usize = UNIT / 16 / 8;
/// Alignment of the segments area, and so the largest that blocks can have.
pub(crate) const SEGMENTS_ALIGN: u64 = 4 << 20;

impl Layout {
    /// The layout for `units` units, which are rounded up to whole segments; with room for the checksums of all pages, if
    /// the heap has them.
    pub(crate) const fn for_units(units: u64, checksums: bool) -> Self {
        let units = units.next_multiple_of(SEGMENT_UNITS as u64);
        let mut end = PREFIX;
        const fn place(end: u64, len: u64, align: u64) -> Area {
            Area { offset: end.next_multiple_of(align), len: len.next_multiple_of(PAGE as u64) }
        }
        let slab_table = place(end, units * 8, PAGE as u64);
        end = slab_table.offset + slab_table.len;
        let roots = place(end, ROOTS, PAGE as u64);
        end = roots.offset + roots.len;
        let types = place(end, TYPES, PAGE as u64);
        end = types.offset + types.len;
        let soft = place(end, Self::soft_len(units), PAGE as u64);
        end = soft.offset + soft.len;
        let slab_states = place(end, units * size_of::<SlabState>() as u64, PAGE as u64);
        end = slab_states.offset + slab_states.len;
        let free_bits = place(end, units * BITS_PER_UNIT_BYTES as u64, PAGE as u64);
        end = free_bits.offset + free_bits.len;
        let remote_bits = place(end, units * BITS_PER_UNIT_BYTES as u64, PAGE as u64);
        end = remote_bits.offset + remote_bits.len;
        if checksums {
            end += checksums_len(end, units);
        }
        let segments = place(end, units * UNIT as u64, SEGMENTS_ALIGN);
        Self { units, slab_table, roots, types, soft, slab_states, free_bits, remote_bits, segments }
    }

    /// Where the checksums of the file's pages lie, four bytes for each: in the layout of a heap that has them.
    pub(crate) const fn checksums(&self) -> Area {
        let offset = self.remote_bits.offset + self.remote_bits.len;
        Area { offset, len: checksums_len(offset, self.units) }
    }

    /// Where [`FoldMark`](super::fold_mark::FoldMark) lies: the last bytes of the checksums, which no page has.
    pub(crate) const fn fold_mark(&self) -> u64 {
        let checksums = self.checksums();
        checksums.offset + checksums.len - FOLD_MARK_LEN as u64
    }

    /// Bytes of the allocator state: its header, group counters, unit map, dirty map.
    const fn soft_len(units: u64) -> u64 {
        size_of::<SoftHeader>() as u64 + Self::groups(units) * 8 + 2 * Self::map_len(units)
    }

    /// Groups of the unit map.
    pub(crate) const fn groups(units: u64) -> u64 {
        units.div_ceil(GROUP_UNITS as u64)
    }

    /// Bytes of a map with one bit a unit; whole groups.
    pub(crate) const fn map_len(units: u64) -> u64 {
        Self::groups(units) * (GROUP_UNITS as u64 / 8)
    }

    /// Where the group counters, the unit map and the dirty map begin, from the start of the window.
    pub(crate) const fn soft_parts(&self) -> [u64; 3] {
        let groups = self.soft.offset + size_of::<SoftHeader>() as u64;
        let map = groups + Self::groups(self.units) * 8;
        [groups, map, map + Self::map_len(self.units)]
    }

    /// What is read of every heap, however little it holds: the first roots and types, the state's header and counters. A
    /// file system in memory takes space for a hole that is read, so in a file that is mapped these are reserved.
    pub(crate) fn always_read(&self) -> [Area; 3] {
        let [_, map, _] = self.soft_parts();
        let first = |area: Area| Area { len: PAGE as u64, ..area };
        [first(self.roots), first(self.types), Area { len: map - self.soft.offset, ..self.soft }]
    }

    /// The layout whose segments hold at least `capacity` bytes.
    pub(crate) const fn for_capacity(capacity: u64, checksums: bool) -> Self {
        Self::for_units(capacity.div_ceil(UNIT as u64), checksums)
    }

    /// The largest layout that fits in `windows` windows.
    pub(crate) fn filling_windows(windows: u32, checksums: bool) -> Self {
        let space = u64::from(windows) * WINDOW as u64;
        let mut units = space >> UNIT_SHIFT;
        loop {
            let layout = Self::for_units(units, checksums);
            let Some(excess) = layout.end().checked_sub(space).filter(|&excess| excess > 0) else {
                return layout;
            };
            units -= (excess >> UNIT_SHIFT).max(SEGMENT_UNITS as u64);
            units -= units % SEGMENT_UNITS as u64;
        }
    }

    /// Bytes from the start of the window to the end of the last area.
    pub(crate) const fn end(&self) -> u64 {
        self.segments.offset + self.segments.len
    }

    /// How many windows the heap takes.
    pub(crate) fn windows(&self) -> u32 {
        u32::try_from(self.end().div_ceil(WINDOW as u64)).unwrap_or(u32::MAX)
    }
}

/// Bytes of the area of checksums behind `before` bytes of other areas: enough for every page of the file, itself included.
const fn checksums_len(before: u64, units: u64) -> u64 {
    let pages = (before + units * UNIT as u64 + 2 * SEGMENTS_ALIGN) / PAGE as u64;
    // A page of checksums for 1,024 pages, and for those pages of checksums again.
    ((pages + pages / 512 + 2) * 4).next_multiple_of(PAGE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(layout: &Layout) -> [Area; 8] {
        [
            layout.slab_table,
            layout.roots,
            layout.types,
            layout.soft,
            layout.slab_states,
            layout.free_bits,
            layout.remote_bits,
            layout.segments,
        ]
    }

    #[test]
    fn areas_follow_each_other_without_overlap() {
        for capacity in [1, 1 << 20, 1 << 30, 64 << 30, 1 << 40] {
            let layout = Layout::for_capacity(capacity, false);
            let mut end = PREFIX;
            for area in areas(&layout) {
                assert!(area.offset >= end && area.offset % PAGE as u64 == 0 && area.len % PAGE as u64 == 0);
                end = area.offset + area.len;
            }
            assert!(layout.segments.len >= capacity && layout.segments.offset % SEGMENTS_ALIGN == 0);
            assert_eq!(end, layout.end());
        }
    }

    #[test]
    fn every_page_of_the_file_has_room_for_its_checksum() {
        for capacity in [1, 1 << 20, 1 << 30, 64 << 30, 1 << 40] {
            let layout = Layout::for_capacity(capacity, true);
            let (checksums, last) = (layout.checksums(), layout.remote_bits);
            assert_eq!(checksums.offset, last.offset + last.len);
            assert!(checksums.offset + checksums.len <= layout.segments.offset);
            assert!(checksums.len / 4 * PAGE as u64 >= layout.end());
            assert!(layout.end() / PAGE as u64 * 4 <= layout.fold_mark() - checksums.offset);
            assert!(checksums.len / 4 * PAGE as u64 <= layout.end() + layout.end() / 256 + (32 << 20));
        }
    }

    #[test]
    fn a_layout_that_fills_windows_fits_in_them_and_wastes_little() {
        for windows in 1..=8 {
            let layout = Layout::filling_windows(windows, false);
            let space = u64::from(windows) << super::super::WINDOW_SHIFT;
            assert!(layout.end() <= space && layout.windows() == windows);
            assert!(layout.segments.len > space / 100 * 97);
        }
    }
}
