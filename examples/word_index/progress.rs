//! The progress bar. Nothing is shown where standard error is no terminal.

use crate::index::Observer;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shows files, bytes, their rate and the last commit.
pub(crate) struct Bar {
    bar: ProgressBar,
    files: AtomicU64,
    planned: AtomicU64,
    commit: AtomicU64,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::no_length().with_style(style("{spinner} looking for files: {pos}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, files: AtomicU64::new(0), planned: AtomicU64::new(0), commit: AtomicU64::new(0) }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    // Relaxed: numbers to show.
    fn show(&self) {
        let [files, planned, commit] =
            [&self.files, &self.planned, &self.commit].map(|number| number.load(Ordering::Relaxed));
        self.bar.set_message(format!("{files}/{planned} files, commit {commit}"));
    }
}

impl Observer for Bar {
    fn found(&self, files: u64) {
        self.bar.set_position(files);
    }

    fn planned(&self, files: u64, bytes: u64) {
        self.planned.store(files, Ordering::Relaxed);
        self.bar.set_style(style("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}  {msg}"));
        self.bar.reset();
        self.bar.set_length(bytes);
        self.show();
    }

    fn read(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(bytes);
        if !self.bar.is_hidden() {
            self.show();
        }
    }

    fn synced(&self, commit: u64) {
        self.commit.store(commit, Ordering::Relaxed);
        self.show();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
