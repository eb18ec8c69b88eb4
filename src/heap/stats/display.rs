//! Statistics as a table that people read.

use super::Stats;
use std::fmt;

/// A number of bytes with a unit that keeps it short.
pub(in crate::heap) struct Bytes(pub(in crate::heap) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut value, mut unit) = (self.0 as f64, 0);
        while value >= 1024.0 && unit < UNITS.len() - 1 {
            (value, unit) = (value / 1024.0, unit + 1);
        }
        let digits = usize::from(unit > 0 && value < 100.0);
        f.pad(&format!("{value:.digits$} {}", UNITS[unit]))
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "capacity {}, committed {}, used {}, live {} ({:.1}%), cached by {} threads {}, overhead {}",
            Bytes(self.capacity),
            Bytes(self.committed),
            Bytes(self.used),
            Bytes(self.live_bytes),
            self.utilisation() * 100.0,
            self.threads,
            Bytes(self.cached_bytes),
            Bytes(self.overhead())
        )?;
        writeln!(
            f,
            "{} allocations, {} frees ({} remote), {} slow paths, {} purges of {}",
            self.allocations(),
            self.frees(),
            self.remote_frees,
            self.slow_paths(),
            self.purges,
            Bytes(self.purged_bytes)
        )?;
        if let Some(commits) = &self.commits {
            commits.fmt(f)?;
        }
        if let Some(seals) = &self.seals {
            seals.fmt(f)?;
        }
        if let Some(done) = &self.maintenance {
            writeln!(
                f,
                "maintenance: woken {} times, {} made ready, {} purged, {} moved, {} folds of {}, {} errors",
                done.wakeups,
                Bytes(done.prefaulted_bytes),
                Bytes(done.purged_bytes),
                Bytes(done.moved_bytes),
                done.folds,
                Bytes(done.folded_bytes),
                done.errors
            )?;
        }
        writeln!(f, "large objects: {} with {}", self.large_objects, Bytes(self.large_bytes))?;
        writeln!(
            f,
            "{:>10} {:>8} {:>10} {:>10} {:>10} {:>12} {:>6} {:>14} {:>14} {:>12}",
            "block", "slabs", "blocks", "live", "cached", "bytes", "used", "allocations", "frees", "slow paths"
        )?;
        for class in &self.classes {
            writeln!(
                f,
                "{:>10} {:>8} {:>10} {:>10} {:>10} {:>12} {:>5.1}% {:>14} {:>14} {:>12}",
                class.size,
                class.slabs,
                class.blocks,
                class.live,
                class.cached,
                Bytes(class.bytes),
                class.utilisation() * 100.0,
                class.allocations,
                class.frees,
                class.slow_paths
            )?;
        }
        Ok(())
    }
}
