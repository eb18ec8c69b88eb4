//! The layers of the crate: no module names one above it or a peer, and only `os` makes system calls.
//!
//! What stands on one line are peers. Code of tests may do as it likes. `super` counts from the file, so a module within
//! a file names what is outside of it through `crate`.
//! ```text
//! testing | preload
//! archaeology
//! pool
//! root | collections | region
//! persist
//! heap
//! gc | commit
//! handle
//! alloc
//! os | format | schema
//! error | sync
//! ```

use std::path::{Path, PathBuf};

const LAYERS: [&[&str]; 12] = [
    &["error", "sync"],
    &["os", "format", "schema"],
    &["alloc"],
    &["handle"],
    &["gc", "commit"],
    &["heap"],
    &["persist"],
    &["ptr"],
    &["root", "collections", "region"],
    &["pool"],
    &["archaeology"],
    &["testing", "preload"],
];

/// What the crate's root exports again, and where it comes from.
const EXPORTED: &[(&str, &str)] = &[
    ("Attached", "heap"),
    ("BlockInfo", "heap"),
    ("ClassStats", "heap"),
    ("Classes", "heap"),
    ("CloseError", "error"),
    ("CollectError", "error"),
    ("CollectReport", "heap"),
    ("Error", "error"),
    ("CommitStats", "heap"),
    ("DirtyTracking", "heap"),
    ("Recovery", "heap"),
    ("SnapshotProgress", "heap"),
    ("Finding", "heap"),
    ("Flaw", "heap"),
    ("DamagedPage", "heap"),
    ("PageDamage", "heap"),
    ("Place", "heap"),
    ("ScrubProgress", "heap"),
    ("ScrubReport", "heap"),
    ("VerifyReport", "heap"),
    ("Heap", "heap"),
    ("HeapOptions", "heap"),
    ("Leak", "heap"),
    ("LeakReport", "heap"),
    ("Maintenance", "heap"),
    ("MaintenanceError", "error"),
    ("MaintenanceOptions", "heap"),
    ("MaintenanceReport", "heap"),
    ("MaintenanceStats", "heap"),
    ("Mode", "heap"),
    ("Objects", "heap"),
    ("Collector", "pool"),
    ("Gc", "pool"),
    ("GcWeak", "pool"),
    ("Pool", "pool"),
    ("Rooted", "pool"),
    ("Offset", "ptr"),
    ("SalArcCell", "ptr"),
    ("SalBox", "ptr"),
    ("SalCow", "ptr"),
    ("SalRc", "ptr"),
    ("SalRcK", "ptr"),
    ("SalWeak", "ptr"),
    ("CloneTarget", "ptr"),
    ("Handle", "ptr"),
    ("Movable", "ptr"),
    ("Pinned", "ptr"),
    ("SalMovable", "ptr"),
    ("WeakHandle", "ptr"),
    ("CompactOptions", "heap"),
    ("CompactReport", "heap"),
    ("Order", "heap"),
    ("UpdateError", "error"),
    ("Target", "ptr"),
    ("OpenError", "error"),
    ("Persist", "persist"),
    ("Trace", "persist"),
    ("Read", "heap"),
    ("RecoveryPhase", "heap"),
    ("RecoveryProgress", "heap"),
    ("RecoveryReport", "heap"),
    ("Region", "region"),
    ("RegionError", "error"),
    ("Residency", "heap"),
    ("Root", "root"),
    ("RootError", "error"),
    ("RootId", "root"),
    ("RootInfo", "root"),
    ("SalAlloc", "heap"),
    ("SalCollect", "heap"),
    ("SalRoots", "root"),
    ("SalVersions", "root"),
    ("SalSync", "heap"),
    ("SessionError", "error"),
    ("SessionHolder", "error"),
    ("SizeClasses", "heap"),
    ("Stats", "heap"),
    ("SyncError", "error"),
    ("SealPolicy", "heap"),
    ("SyncLevel", "heap"),
    ("Tag", "root"),
    ("Growth", "heap"),
    ("Purge", "heap"),
    ("Tuning", "heap"),
    ("Watermark", "heap"),
    ("WatermarkReached", "heap"),
    ("Write", "heap"),
];

/// Modules of `std` that are system calls in disguise.
const SYSTEM: [&str; 6] = ["fs", "process", "net", "env", "os", "io"];

/// What of these may be named anywhere: plain data, and bytes of names.
const HARMLESS: [&str; 4] = ["io::Error", "io::ErrorKind", "os::unix::ffi", "io"];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Names and signs of a source text; without comments, strings, characters, and items that are for tests only.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |position: usize| chars.get(position).copied().unwrap_or('\0');
    let mut tokens: Vec<String> = Vec::new();
    let mut position = 0;
    while position < chars.len() {
        let char = at(position);
        if char == '/' && at(position + 1) == '/' {
            while position < chars.len() && at(position) != '\n' {
                position += 1;
            }
        } else if char == '/' && at(position + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(position), at(position + 1)) {
                    ('/', '*') => (depth, position) = (depth + 1, position + 2),
                    ('*', '/') => (depth, position) = (depth - 1, position + 2),
                    _ => position += 1,
                }
                if depth == 0 || position >= chars.len() {
                    break;
                }
            }
        } else if char == '"' {
            position = end_of_string(&chars, position);
        } else if let Some(end) = end_of_raw_string(&chars, position) {
            position = end;
        } else if char == '\'' {
            // A character, or a lifetime.
            let escaped = at(position + 1) == '\\';
            if escaped {
                position += 3;
                while position < chars.len() && at(position) != '\'' {
                    position += 1;
                }
                position += 1;
            } else if at(position + 2) == '\'' {
                position += 3;
            } else {
                position += 1;
            }
        } else if char.is_alphanumeric() || char == '_' {
            let start = position;
            while at(position).is_alphanumeric() || at(position) == '_' {
                position += 1;
            }
            tokens.push(chars[start..position].iter().collect());
        } else if char == ':' && at(position + 1) == ':' {
            tokens.push("::".into());
            position += 2;
        } else {
            if !char.is_whitespace() {
                tokens.push(char.into());
            }
            position += 1;
        }
    }
    without_tests(tokens)
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut position = start + 1;
    while position < chars.len() && chars[position] != '"' {
        position += if chars[position] == '\\' { 2 } else { 1 };
    }
    position + 1
}

fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let is_name = |position: usize| chars.get(position).is_some_and(|char| char.is_alphanumeric() || *char == '_');
    if start > 0 && is_name(start - 1) {
        return None;
    }
    let mut position = start;
    while matches!(chars.get(position), Some('b' | 'c')) {
        position += 1;
    }
    if chars.get(position) == Some(&'"') && position > start {
        return Some(end_of_string(chars, position));
    }
    if chars.get(position) != Some(&'r') {
        return None;
    }
    let hashes = chars[position + 1..].iter().take_while(|char| **char == '#').count();
    if chars.get(position + 1 + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let from = position + 2 + hashes;
    let found = chars[from..].windows(end.len()).position(|window| window == end)?;
    Some(from + found + end.len())
}

/// Leaves out each item behind a `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        if !tokens[position..].iter().take(marker.len()).eq(marker.iter()) {
            kept.push(tokens[position].clone());
            position += 1;
            continue;
        }
        position += marker.len();
        let mut depth = 0;
        while position < tokens.len() {
            let token = tokens[position].as_str();
            position += 1;
            match token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 && (token == ";" || token == "}") {
                break;
            }
        }
    }
    kept
}

/// All paths of a text, `use` trees spelled out, each as its segments.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        let starts = is_name(&tokens[position]) && tokens.get(position + 1).is_some_and(|next| next == "::");
        if starts && (position == 0 || tokens[position - 1] != "::" || !position_is_inside(tokens, position)) {
            position = tree(tokens, position, &[], &mut found);
        } else {
            position += 1;
        }
    }
    found
}

/// Whether a name behind `::` goes on a path, which `::name` at the start of one does not.
fn position_is_inside(tokens: &[String], position: usize) -> bool {
    position >= 2 && (is_name(&tokens[position - 2]) || tokens[position - 2] == ">")
}

fn is_name(token: &str) -> bool {
    token.starts_with(|char: char| char.is_alphabetic() || char == '_')
}

/// Reads one path, or a tree of them, from `position`; returns where it ends.
fn tree(tokens: &[String], mut position: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(position).map(String::as_str) {
            Some("{") => {
                position += 1;
                while tokens.get(position).is_some_and(|token| token != "}") {
                    position =
                        if tokens[position] == "," { position + 1 } else { tree(tokens, position, &path, found) };
                }
                return position + 1;
            }
            Some("*") => {
                found.push(path);
                return position + 1;
            }
            Some(name) if is_name(name) => {
                path.push(name.to_owned());
                position += 1;
            }
            _ => {
                found.push(path);
                // A token that belongs to no path must not stop the reader of a tree for ever.
                return position + usize::from(!before.is_empty());
            }
        }
        if tokens.get(position).is_some_and(|token| token == "as") && !before.is_empty() {
            position += 2;
        }
        if tokens.get(position).is_none_or(|token| token != "::") {
            found.push(path);
            return position;
        }
        position += 1;
    }
}

/// Where a path leads, from the crate's root: its first segments, without `crate`, `self`, `super`. None if out of it.
fn resolve(path: &[String], module: &[&str]) -> Option<Vec<String>> {
    let mut place: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" | "sal" => {
            place.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {}
        _ => return None,
    }
    while rest.first().is_some_and(|part| part == "super") {
        place.pop()?;
        rest = &rest[1..];
    }
    place.extend(rest.iter().cloned());
    Some(place)
}

/// What of a file breaks the rules. `module` is the file's place, such as `["heap", "owner"]`.
fn violations(source: &str, module: &[&str]) -> Vec<String> {
    let tokens = tokens(source);
    let own = module[0];
    let mut found = Vec::new();
    for path in paths(&tokens) {
        let text = path.join("::");
        if own != "os" {
            let is_system = matches!(path.as_slice(), [root, module, ..]
            if root == "std" && SYSTEM.contains(&module.as_str())
                && !HARMLESS.iter().any(|harmless| {
                    let rest = &text["std::".len()..];
                    rest == *harmless || rest.starts_with(&format!("{harmless}::")) && *harmless != "io"
                }));
            if path[0] == "libc" || is_system {
                found.push(format!("{text} is a matter of os"));
            }
        }
        let Some(target) = resolve(&path, module) else { continue };
        let Some(first) = target.first() else { continue };
        let exported = EXPORTED.iter().find(|(name, _)| name == first).map(|(_, module)| *module);
        let named = exported.unwrap_or(first.as_str());
        match (layer_of(named), layer_of(own)) {
            (Some(layer), Some(here)) if layer > here || layer == here && named != own => {
                found.push(format!("{text} is not below {own}"));
            }
            (Some(_), Some(_)) => {}
            // Macros and derives of the crate's root are in no layer.
            _ if first == "persist" || first.ends_with("_macro") => {}
            (None, _) => found.push(format!("{text} is in no layer")),
            (_, None) => found.push(format!("{own} is in no layer")),
        }
    }
    found.dedup();
    found
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_module_names_one_above_it_or_a_peer_and_only_os_makes_system_calls() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    assert!(all.len() > 50);
    let mut found = Vec::new();
    for path in all {
        let inside = path.strip_prefix(&source).unwrap().with_extension("");
        let mut module: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
        if module.last() == Some(&"mod") {
            module.pop();
        }
        // The crate's root, and files of tests, which `#[cfg(test)] mod` brings in.
        if module == ["lib"] || module.contains(&"tests") || module.last() == Some(&"damage") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        found.extend(violations(&text, &module).into_iter().map(|what| format!("{}: {what}", inside.display())));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn one(source: &str, module: &[&str]) -> String {
    let found = violations(source, module);
    assert_eq!(found.len(), 1, "{source}: {found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn planted_violations_are_found_in_every_form() {
    let alloc = &["alloc", "slab"][..];
    for upward in [
        "use crate::heap::SalAlloc;",
        "use crate::{error::OpenError, heap::{placement, owner as other}};",
        "fn f() { crate::heap::open() }",
        "use super::super::heap::Heap;",
        "type A = super::super::super::alloc::B; ",
        "use crate::SalAlloc;",
        "fn f(x: &sal::Heap) {}",
        "fn f<'a>(x: &'a crate::root::Root<u8>) {}",
        "const C: char = '\"'; use crate::heap::X;",
        "const S: &str = \"\\\"\"; use crate::persist::X;",
        "const R: &str = r#\"\"\"#; use crate::persist::X;",
        "/* /* */ */ use crate::persist::X;",
    ] {
        if upward.contains("super::super::super") {
            assert!(violations(upward, alloc).is_empty(), "leads out of the crate");
            continue;
        }
        assert!(!violations(upward, alloc).is_empty(), "{upward}");
    }
    assert!(one("use crate::collections::SalVec;", &["root", "access"]).contains("not below root"));
    assert!(one("use crate::format::PAGE;", &["os", "mapping"]).contains("not below os"));
    assert!(one("use crate::unheard::Of;", &["heap"]).contains("no layer"));
    for call in [
        "fn f() { unsafe { libc::getpid() }; }",
        "use libc::{open, close};",
        "use std::fs::File;",
        "fn f() { ::std::process::exit(1) }",
        "use std::{io::Read, sync::Arc};",
        "fn f() { std::env::var(\"X\").ok(); }",
        "use std::os::fd::AsRawFd;",
    ] {
        let found = violations(call, &["heap", "owner"]);
        assert!(!found.is_empty() && found.iter().all(|what| what.contains("a matter of os")), "{call}: {found:?}");
        assert!(violations(call, &["os", "file"]).is_empty(), "{call}");
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (source, module) in [
        ("use crate::os::File; use crate::format::PAGE; use crate::error::X;", &["alloc", "space"][..]),
        ("use super::space::Space; use self::inner::X; use super::{a, b::c};", &["alloc", "slab"]),
        ("use crate::heap::SalAlloc; use crate::SalAlloc as A;", &["persist", "blocks"]),
        ("// use crate::root::Root;\n/* crate::root::X */ const S: &str = \"crate::root::X\";", &["alloc"]),
        ("#[cfg(test)] mod tests { use crate::root::Root; use std::fs::File; }", &["alloc"]),
        ("#[cfg(test)] mod tests; use crate::os::X;", &["alloc"]),
        ("use std::io; fn f(e: std::io::Error) -> io::Error { e } use std::os::unix::ffi::OsStrExt;", &["heap"]),
        ("fn f<'a>(x: &'a str) -> char { 'x' } use core::ffi::CStr;", &["heap"]),
    ] {
        assert_eq!(violations(source, module), Vec::<String>::new(), "{source}");
    }
}
