//! The allocators: how each is built, and what it says it is.
//!
//! Each binary is built by a cargo call of its own with its own feature only, because the two versions of mimalloc are one
//! crate with a feature. `debug = false` is forced, and snmalloc gets `-DNDEBUG`, which its build without CMake forgets; its
//! binary is then searched for the text of its assertions.

use super::arguments::Arguments;
use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An allocator that can be built.
#[derive(Debug)]
pub(crate) struct Source {
    /// Name of the binary and of the allocator in every table.
    pub(crate) name: &'static str,
    feature: Option<&'static str>,
    /// The package whose version in the lock file is the allocator's.
    package: Option<&'static str>,
    /// The colour of its bars.
    pub(crate) colour: &'static str,
}

const fn source(
    name: &'static str,
    feature: Option<&'static str>,
    package: Option<&'static str>,
    colour: &'static str,
) -> Source {
    Source { name, feature, package, colour }
}

/// All of them in the order of the tables. The colours can be told apart without red and green.
pub(crate) const ALL: [Source; 7] = [
    source("sal", Some("sal"), Some("sal"), "#d55e00"),
    source("sal_shared", Some("sal"), Some("sal"), "#e69f00"),
    source("mimalloc3", Some("mimalloc3"), Some("libmimalloc-sys"), "#222222"),
    source("mimalloc2", Some("mimalloc2"), Some("libmimalloc-sys"), "#999999"),
    source("jemalloc", Some("jemalloc"), Some("tikv-jemalloc-sys"), "#0072b2"),
    source("snmalloc", Some("snmalloc"), Some("snmalloc-sys"), "#009e73"),
    source("system", None, None, "#cc79a7"),
];

/// The allocator that the others are compared with, if it takes part.
pub(crate) const BASE: &str = "mimalloc3";

/// The allocator whose losses are listed.
pub(crate) const OURS: &str = "sal";

/// An allocator that was built.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) source: &'static Source,
    pub(crate) executable: PathBuf,
    /// What it says of itself, with the version of the crate it comes from.
    pub(crate) version: String,
}

/// Builds the chosen allocators; one that cannot be built is named on standard error and left out.
pub(crate) fn build(arguments: &Arguments, target: &Path) -> Result<Vec<Peer>, String> {
    let mut peers = Vec::new();
    for source in &arguments.allocators {
        eprintln!("building {}", source.name);
        match build_one(source, arguments.lto, target) {
            Ok(peer) => peers.push(peer),
            Err(message) => eprintln!("LEFT OUT: {}: {message}", source.name),
        }
    }
    if peers.is_empty() { Err("no allocator could be built".to_owned()) } else { Ok(peers) }
}

fn build_one(source: &'static Source, lto: bool, target: &Path) -> Result<Peer, String> {
    let executable = build_binary(source.name, source.feature, lto, target)?;
    if source.name == "snmalloc" && holds_assertions(&executable)? {
        return Err("it was compiled with its assertions; numbers of a debug build would be false".to_owned());
    }
    let version = describe(source, &executable)?;
    Ok(Peer { source, executable, version })
}

/// Builds one of this package's binaries with one feature; returns its path.
pub(crate) fn build_binary(name: &str, feature: Option<&str>, lto: bool, target: &Path) -> Result<PathBuf, String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    cargo.args(["--no-default-features", "--bin", name]).arg("--target-dir").arg(target);
    cargo.args(feature.map(|feature| format!("--features={feature}")));
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    if lto {
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "fat").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    }
    if name == "snmalloc" {
        let given = env::var("CXXFLAGS").unwrap_or_default();
        cargo.env("CXXFLAGS", format!("{given} -DNDEBUG").trim_start());
    }
    let status = cargo.status().map_err(|error| format!("cargo does not start: {error}"))?;
    if status.success() { Ok(target.join("release").join(name)) } else { Err("cargo build failed".to_owned()) }
}

/// Whether the file contains the text that every assertion of snmalloc begins with.
fn holds_assertions(executable: &Path) -> Result<bool, String> {
    let bytes = fs::read(executable).map_err(|error| format!("cannot read {}: {error}", executable.display()))?;
    let text = b"assert fail: ";
    Ok(bytes.windows(text.len()).any(|window| window == text))
}

fn describe(source: &Source, executable: &Path) -> Result<String, String> {
    let output = Command::new(executable).arg("--describe").output();
    let output = output.map_err(|error| format!("cannot start {}: {error}", executable.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let line: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("says no JSON: {error}"))?;
    let says = line["version"].as_str().unwrap_or("unknown").to_owned();
    let Some(package) = source.package else {
        return Ok(says);
    };
    let version = version_of(package);
    Ok(if package == "sal" { format!("{says} {version}") } else { format!("{says} ({package} {version})") })
}

/// The version of `package` that this was built with.
pub(crate) fn version_of(package: &str) -> String {
    version_that_begins(package, "")
}

/// The version of `package` that this was built with and that begins so, where several are in use.
pub(crate) fn version_that_begins(package: &str, start: &str) -> String {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap_or_default();
    locked_version(&lock, package, start).unwrap_or("unknown").to_owned()
}

/// The first version of `package` in the text of a lock file that begins with `start`, without build metadata.
fn locked_version<'a>(lock: &'a str, package: &str, start: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"\n");
    let entries = lock.split(name.as_str()).skip(1);
    let mut versions = entries.filter_map(|after| after.split_once("version = \"")?.1.split(['"', '+']).next());
    versions.find(|version| version.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::locked_version;

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let lock = "[[package]]\nname = \"sal-derive\"\nversion = \"0.2.0\"\n\n[[package]]\nname = \"sal\"\nversion = \"0.1.0+x\"\n";
        assert_eq!(locked_version(lock, "sal", ""), Some("0.1.0"));
        assert_eq!(locked_version(lock, "other", ""), None);
    }

    #[test]
    fn of_two_versions_the_one_asked_for_is_found() {
        let lock = "name = \"a\"\nversion = \"0.6.0\"\n\n[[package]]\nname = \"a\"\nversion = \"0.7.1\"\n";
        assert_eq!(locked_version(lock, "a", "0.7."), Some("0.7.1"));
        assert_eq!(locked_version(lock, "a", "0.8."), None);
    }
}
