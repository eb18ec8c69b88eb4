//! What the numbers were measured on.

use serde_json::{Value, json};
use std::env;
use std::fs;
use std::process::Command;
use std::thread;

/// The machine, its kernel and what the kernel does about huge pages.
#[derive(Debug)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    huge_pages: String,
}

impl Machine {
    /// Reads it from /proc and /sys; what cannot be read is "unknown".
    pub(crate) fn this() -> Self {
        let huge_pages = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
        let chosen = huge_pages.split(['[', ']']).nth(1).map(str::to_owned);
        let memory_kib = field("/proc/meminfo", "MemTotal");
        let memory_kib = memory_kib.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib.unwrap_or(0.0) / f64::from(1 << 20),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            huge_pages: chosen.unwrap_or_else(unknown),
        }
    }

    /// As one line of text.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}, {} cores, {:.0} GiB, Linux {}, transparent huge pages: {}",
            self.cpu, self.cores, self.memory_gib, self.kernel, self.huge_pages
        )
    }

    /// For results.json.
    pub(crate) fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "memory_gib": self.memory_gib,
            "kernel": self.kernel,
            "transparent_huge_pages": self.huge_pages,
        })
    }
}

/// Type and device of the file system that a directory lies on: of the longest mount point above it.
#[cfg(feature = "databases")]
pub(crate) fn file_system(directory: &std::path::Path) -> String {
    let directory = directory.canonicalize().unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let above = mounts.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let mut words = system.split(' ');
        let found = format!("{} on {}", words.next()?, words.next()?);
        directory.starts_with(point).then_some((point.len(), found))
    });
    // Of equal ones the last, which hides those before it.
    above.max_by_key(|found| found.0).map_or_else(unknown, |found| found.1)
}

/// The load averages of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    first_line("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The commit that the working directory is at.
pub(crate) fn commit() -> String {
    output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
}

/// The commit this was built from, the compiler and the command: what another needs to repeat the run.
pub(crate) fn build() -> String {
    let rustc = output("rustc", &["--version"]);
    let features = if cfg!(feature = "databases") { " --features databases" } else { "" };
    let options: String = env::args().skip(1).map(|option| format!(" {option}")).collect();
    let separator = if options.is_empty() { "" } else { " --" };
    format!("commit {}, {rustc}; cargo run -p compare --release{features}{separator}{options}", commit())
}

/// The first line that a program prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let printed = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let text = printed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.as_deref().and_then(|text| text.lines().next()).map_or_else(unknown, str::to_owned)
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().map_or_else(unknown, |line| line.trim().to_owned())
}

/// The value of the first `key : value` line.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
