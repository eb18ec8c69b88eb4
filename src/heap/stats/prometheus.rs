//! Statistics as text in the exposition format that Prometheus reads (version 0.0.4): for each metric its help, its type,
//! and a line for each sample.

use super::{ClassStats, Stats};
use std::fmt::{self, Write};

/// A metric of the heap as a whole: its name, what it is, whether it only grows, its value.
type OfHeap = (&'static str, &'static str, bool, fn(&Stats) -> u64);

const OF_HEAP: &[OfHeap] = &[
    ("capacity_bytes", "Most bytes that blocks may take.", false, |s| s.capacity),
    ("mapped_bytes", "Bytes of address space.", false, |s| s.mapped),
    ("committed_bytes", "Bytes that memory or disk space is reserved for.", false, |s| s.committed),
    ("used_bytes", "Bytes in slabs, large objects and leases.", false, |s| s.used),
    ("live_bytes", "Bytes in live blocks.", false, |s| s.live_bytes),
    ("cached_bytes", "Bytes in free blocks that threads keep at hand.", false, |s| s.cached_bytes),
    ("overhead_bytes", "Bytes in use that are in no live block, tables included.", false, Stats::overhead),
    ("large_objects", "Live large objects.", false, |s| s.large_objects),
    ("large_bytes", "Bytes in live large objects.", false, |s| s.large_bytes),
    ("threads", "Thread heaps that were ever in use at once.", false, |s| s.threads.into()),
    ("large_allocations_total", "Large objects allocated.", true, |s| s.large_allocations),
    ("large_frees_total", "Large objects freed.", true, |s| s.large_frees),
    ("remote_frees_total", "Freed blocks that were other threads'.", true, |s| s.remote_frees),
    ("purges_total", "Times that free memory was given back to the system.", true, |s| s.purges),
    ("purged_bytes_total", "Bytes given back to the system.", true, |s| s.purged_bytes),
];

type OfClass = (&'static str, &'static str, bool, fn(&ClassStats) -> u64);

const OF_CLASS: &[OfClass] = &[
    ("class_slabs", "Slabs of a size class.", false, |c| c.slabs),
    ("class_blocks", "Blocks in the slabs of a size class.", false, |c| c.blocks),
    ("class_live_blocks", "Live blocks of a size class.", false, |c| c.live),
    ("class_cached_blocks", "Free blocks of a size class that threads keep at hand.", false, |c| c.cached),
    ("class_allocations_total", "Blocks of a size class allocated.", true, |c| c.allocations),
    ("class_frees_total", "Blocks of a size class freed.", true, |c| c.frees),
    ("class_slow_paths_total", "Times that a thread turned to its slabs.", true, |c| c.slow_paths),
];

/// Labels as they stand between braces, with a comma behind each.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.0 {
            write!(f, "{name}=\"")?;
            for char in value.chars() {
                match char {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    char => f.write_char(char)?,
                }
            }
            f.write_str("\",")?;
        }
        Ok(())
    }
}

fn head(out: &mut dyn Write, name: &str, help: &str, only_grows: bool) -> fmt::Result {
    let kind = if only_grows { "counter" } else { "gauge" };
    write!(out, "# HELP sal_{name} {help}\n# TYPE sal_{name} {kind}\n")
}

impl Stats {
    /// Writes the figures as text that Prometheus reads, each with these labels: names of heaps, say. A label's name is
    /// letters, digits and underscores; its value may be anything.
    ///
    /// ```
    /// let heap = sal::HeapOptions::new().volatile()?;
    /// let mut text = String::new();
    /// heap.stats().write_prometheus(&mut text, &[("heap", "sessions")])?;
    /// assert!(text.contains("sal_live_bytes{heap=\"sessions\",} 0\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_prometheus(&self, out: &mut dyn Write, labels: &[(&str, &str)]) -> fmt::Result {
        let labels = Labels(labels);
        for &(name, help, only_grows, value) in OF_HEAP {
            head(out, name, help, only_grows)?;
            writeln!(out, "sal_{name}{{{labels}}} {}", value(self))?;
        }
        for &(name, help, only_grows, value) in OF_CLASS {
            head(out, name, help, only_grows)?;
            for class in &self.classes {
                writeln!(out, "sal_{name}{{{labels}size=\"{}\"}} {}", class.size, value(class))?;
            }
        }
        if let Some(done) = &self.maintenance {
            let of_maintenance = [
                ("maintenance_wakeups_total", "Times that the maintenance thread was woken.", done.wakeups),
                ("prefaulted_bytes_total", "Bytes made ready before anybody needed them.", done.prefaulted_bytes),
                ("moved_bytes_total", "Bytes of values that were moved together.", done.moved_bytes),
                ("folds_total", "Folds of the log by maintenance.", done.folds),
                ("folded_bytes_total", "Bytes that these wrote into the heap file.", done.folded_bytes),
                ("maintenance_errors_total", "What went wrong in maintenance.", done.errors),
            ];
            for (name, help, value) in of_maintenance {
                head(out, name, help, true)?;
                writeln!(out, "sal_{name}{{{labels}}} {value}")?;
            }
        }
        if let Some(seals) = &self.seals {
            let of_seals = [
                ("protected_bytes", "Bytes that are read-only.", false, seals.protected_bytes),
                ("protected_ranges", "Ranges that these form.", false, seals.ranges),
                ("withheld_bytes", "Bytes of freed blocks that wait there.", false, seals.withheld_bytes),
                ("unprotected_bytes_total", "Bytes left writable for want of ranges.", true, seals.unprotected_bytes),
                ("failed_protections_total", "Calls of mprotect that failed.", true, seals.failed_calls),
            ];
            for (name, help, only_grows, value) in of_seals {
                head(out, name, help, only_grows)?;
                writeln!(out, "sal_{name}{{{labels}}} {value}")?;
            }
        }
        let Some(commits) = &self.commits else { return Ok(()) };
        let of_commits = [
            ("commits_total", "Commits since the heap was opened.", true, commits.commits),
            ("committed_pages_total", "Pages that these commits held.", true, commits.pages),
            ("log_bytes", "Bytes of the log that have not been folded.", false, commits.log_bytes),
            ("broken", "Whether nothing more can become durable.", false, commits.is_broken.into()),
        ];
        for (name, help, only_grows, value) in of_commits {
            head(out, name, help, only_grows)?;
            writeln!(out, "sal_{name}{{{labels}}} {value}")?;
        }
        let pauses = [
            ("last_pause_seconds", "For how long the last commit kept write sessions out.", commits.last_pause),
            ("longest_pause_seconds", "The longest such pause.", commits.longest_pause),
        ];
        for (name, help, pause) in pauses {
            head(out, name, help, false)?;
            writeln!(out, "sal_{name}{{{labels}}} {}", pause.as_secs_f64())?;
        }
        Ok(())
    }
}
