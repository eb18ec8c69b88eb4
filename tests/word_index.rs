//! The example `word_index` against an index that is made in a few lines of std.
#![allow(unsafe_code)]

#[path = "../examples/word_index/index/mod.rs"]
mod index;

use index::{FILES, FileState, IndexError, Observer, Options, ProblemKind, Report, WORDS};
use sal::{Heap, HeapOptions, OpenError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[global_allocator]
static GLOBAL: sal::SalAlloc = sal::SalAlloc::new();

/// For each word the files that it occurs in, and how often.
type Plain = HashMap<String, BTreeMap<PathBuf, u64>>;

/// Adds all files below a path.
fn add_plain(plain: &mut Plain, path: &Path) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| add_plain(plain, &entry.unwrap().path()));
        return;
    }
    let Ok(bytes) = fs::read(path) else { return };
    if bytes.iter().take(8192).any(|&byte| byte == 0) {
        return;
    }
    for run in String::from_utf8_lossy(&bytes).split(|character: char| !character.is_alphanumeric()) {
        let word: String = run.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect();
        if !word.is_empty() && word.len() <= 64 {
            *plain.entry(word).or_default().entry(path.to_path_buf()).or_default() += 1;
        }
    }
}

fn plain(directories: &[PathBuf]) -> Plain {
    let mut plain = Plain::new();
    directories.iter().for_each(|directory| add_plain(&mut plain, &directory.canonicalize().unwrap()));
    plain
}

/// What the plain index says: all files with all the words, by number and path.
fn plain_answer(plain: &Plain, words: &[String]) -> Vec<(u64, PathBuf)> {
    let none = BTreeMap::new();
    let of = |word: &String| plain.get(word).unwrap_or(&none);
    let mut answer = Vec::new();
    for path in words.first().map_or(&none, of).keys() {
        if let Some(counts) = words.iter().map(|word| of(word).get(path)).collect::<Option<Vec<_>>>() {
            answer.push((counts.into_iter().sum(), path.clone()));
        }
    }
    answer.sort_by(|a: &(u64, PathBuf), b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    answer
}

/// Asserts that the heap answers as the plain index does: for every word, for pairs, and for what occurs nowhere.
fn assert_answers(heap: &Heap, plain: &Plain) {
    let session = heap.read().unwrap();
    let (files, shards) = (session.root(FILES).unwrap(), session.root(WORDS).unwrap());
    let stored: BTreeSet<&str> = shards.iter().flat_map(|shard| shard.words.keys()).map(|word| &**word).collect();
    let expected: BTreeSet<&str> = plain.keys().map(String::as_str).collect();
    assert_eq!(stored, expected, "the words that are stored");
    for postings in shards.iter().flat_map(|shard| shard.words.values()) {
        assert!(postings.windows(2).all(|pair| pair[0].file < pair[1].file));
        assert!(postings.iter().all(|posting| files[posting.file as usize].state == FileState::Text));
    }
    let mut words: Vec<&String> = plain.keys().collect();
    words.sort();
    // In parts, for this file is indexed too.
    let nowhere = ["no", "such", "word"].concat();
    let singles = words.iter().map(|word| vec![(*word).clone()]);
    let pairs = words.windows(40).step_by(7).map(|some| vec![some[0].clone(), some[39].clone()]);
    let common =
        words.iter().step_by(5).filter(|word| **word != "the").map(|word| vec!["the".to_owned(), (*word).clone()]);
    for asked in singles.chain(pairs).chain(common).chain([vec![nowhere]]) {
        let expected = plain_answer(plain, &asked);
        let answer = index::query(&session, &index::words_of_query(&asked), usize::MAX).unwrap();
        assert_eq!((answer.files, &answer.best), (expected.len(), &expected), "{asked:?}");
        let first = index::query(&session, &index::words_of_query(&asked), 3).unwrap();
        assert_eq!((first.files, &*first.best), (expected.len(), &expected[..expected.len().min(3)]), "{asked:?}");
    }
}

fn options() -> Options {
    Options { threads: 3, all: false, sync_every: Duration::from_secs(5) }
}

fn update(heap: &Heap, directories: &[PathBuf]) -> Report {
    index::update(heap, directories, &options(), &()).unwrap()
}

fn try_open(path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the files are in directories of this test, and only the index writes them.
    unsafe { Heap::open(path) }
}

fn close(heap: Heap) {
    // SAFETY: no session is open, so no reference into the heap is left.
    unsafe { heap.close_and_unmap() }.unwrap();
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to.join(entry.file_name())),
            false => fs::write(to.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory with a copy of some sources, and the path of a heap that is not there yet.
fn copy_of_sources() -> (TempDir, Vec<PathBuf>, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    for part in ["src/root", "src/heap", "examples"] {
        copy_tree(&repository().join(part), &tree.join(part));
    }
    let heap = directory.path().join("words.sal");
    (directory, vec![tree], heap)
}

/// The problems of a run as people see them, by file name.
fn problems(report: &Report) -> BTreeMap<String, String> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    report.problems.iter().map(|problem| (name(&problem.path), problem.kind.to_string())).collect()
}

#[test]
fn the_repository_is_answered_as_by_a_plain_index() {
    let directory = tempfile::tempdir().unwrap();
    // Not all of `tests`: the golden heap file is no text.
    let directories = ["src", "derive/src", "examples", "compare/src", "tests/ui", "tests/support"];
    let directories = directories.map(|part| repository().join(part));
    let heap = try_open(&directory.path().join("words.sal")).unwrap();
    let report = update(&heap, &directories);
    assert!(report.indexed > 100 && report.problems.is_empty() && report.syncs > 0, "{report:?}");
    assert_answers(&heap, &plain(&directories));
}

#[test]
fn a_second_run_indexes_nothing() {
    let (_directory, tree, path) = copy_of_sources();
    fs::write(tree[0].join("picture.png"), b"\x89PNG\0\0").unwrap();
    let heap = try_open(&path).unwrap();
    let first = update(&heap, &tree);
    let second = update(&heap, &tree);
    assert_eq!((second.indexed, second.removed, second.syncs), (0, 0, 0), "{second:?}");
    assert_eq!(second.unchanged, first.indexed + 1, "the picture is not read again");
    assert!(second.problems.is_empty());
}

#[test]
fn after_changes_answers_are_those_of_a_fresh_index() {
    let (_directory, tree, path) = copy_of_sources();
    let heap = try_open(&path).unwrap();
    let first = update(&heap, &tree);
    let at = |name: &str| tree[0].join(name);
    for round in 0..3 {
        fs::write(at("src/root/key.rs"), format!("the root key number {round}, and uniqueofround{round}")).unwrap();
        fs::write(at(&format!("new{round}.txt")), "the new file of the tree: root heap NEW").unwrap();
        let mut grown = fs::read(at("src/heap/owner.rs")).unwrap();
        grown.extend_from_slice(b" the owner");
        fs::write(at("src/heap/owner.rs"), grown).unwrap();
        match round {
            0 => fs::remove_dir_all(at("src/root/../heap/../../examples")).unwrap(),
            1 => fs::rename(at("src/root/types.rs"), at("src/root/kinds.rs")).unwrap(),
            _ => fs::write(at("new0.txt"), b"no text any more\0").unwrap(),
        }
        let report = update(&heap, &tree);
        assert_eq!(report.indexed, 3 + u64::from(round == 1), "{report:?}");
        assert!(report.removed + report.unchanged < first.indexed + 3 && (report.removed > 0) == (round < 2));
        assert_answers(&heap, &plain(&tree));
    }
    fs::remove_dir_all(at("src")).unwrap();
    (0..3).for_each(|round| fs::remove_file(at(&format!("new{round}.txt"))).unwrap());
    update(&heap, &tree);
    assert_answers(&heap, &Plain::new());
    copy_tree(&repository().join("src/root"), &at("src"));
    update(&heap, &tree);
    assert_answers(&heap, &plain(&tree));
}

#[test]
fn what_lies_elsewhere_stays_and_trees_within_trees_count_once() {
    let (_directory, tree, path) = copy_of_sources();
    let parts = ["src", "examples", "src/root"].map(|part| tree[0].join(part));
    let heap = try_open(&path).unwrap();
    update(&heap, &parts[..1]);
    update(&heap, &parts[1..]);
    let report = update(&heap, &parts);
    assert_eq!(report.indexed, 0);
    assert_answers(&heap, &plain(&parts[..2]));
}

#[test]
fn hidden_and_ignored_files_are_indexed_only_if_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let tree = vec![directory.path().to_path_buf()];
    let at = |name: &str| directory.path().join(name);
    fs::write(at("plain.txt"), "words").unwrap();
    let heap = try_open(&at("words.sal")).unwrap();
    fs::write(at(".gitignore"), "*.log\n").unwrap();
    fs::write(at("noise.log"), "words").unwrap();
    fs::write(at(".hidden"), "words").unwrap();
    assert_eq!(update(&heap, &tree).indexed, 1);
    let all = Options { all: true, ..options() };
    let report = index::update(&heap, &tree, &all, &()).unwrap();
    assert_eq!((report.indexed, report.unchanged, report.problems.len()), (3, 1, 0), "not the heap itself");
    assert_eq!(update(&heap, &tree).removed, 3);
}

#[test]
fn what_is_not_utf_8_separates_words_and_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("latin.txt"), b"na\xEFve caf\xE9s and tea").unwrap();
    fs::write(tree.join("binary"), b"words\0words").unwrap();
    fs::write(tree.join(OsStr::from_bytes(b"name \xFF.txt")), "words in a file of any name").unwrap();
    let heap = try_open(&directory.path().join("words.sal")).unwrap();
    let report = update(&heap, std::slice::from_ref(&tree));
    let found = problems(&report);
    assert_eq!(found.len(), 2);
    assert!(found["latin.txt"].contains("not all of it is UTF-8") && found["binary"].contains("no text"), "{found:?}");
    assert_answers(&heap, &plain(&[tree]));
}

#[test]
fn words_across_the_pieces_of_a_large_file_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let text: String = (0..90_000).map(|n| format!("Word{n} straße{} İİ—{}, ", n % 7, "x".repeat(n % 130))).collect();
    fs::write(tree.join("large.txt"), &text).unwrap();
    fs::write(tree.join("solid.txt"), "é–ß–".repeat(100_000)).unwrap();
    fs::write(tree.join("broken.txt"), b"many \xF0\x9F words ".repeat(60_000)).unwrap();
    fs::write(tree.join("empty.txt"), "").unwrap();
    let heap = try_open(&directory.path().join("words.sal")).unwrap();
    assert_eq!(update(&heap, std::slice::from_ref(&tree)).indexed, 4);
    assert_answers(&heap, &plain(&[tree]));
}

#[test]
fn files_that_cannot_be_read_are_reported_and_leave_nothing() {
    let (_directory, tree, path) = copy_of_sources();
    let heap = try_open(&path).unwrap();
    let locked = tree[0].join("locked.txt");
    fs::write(&locked, "a file that only its owner may read, or root").unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // A file whose first byte cannot be read, whoever asks.
    let broken = PathBuf::from("/proc/self/mem");
    let report = update(&heap, &[tree[0].clone(), broken]);
    let mut expected = vec!["mem"];
    if File::open(&locked).is_err() {
        expected.insert(0, "locked.txt");
    }
    let found = problems(&report);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected);
    assert!(found.values().all(|kind| kind.starts_with("skipped: ")), "{found:?}");
    assert_answers(&heap, &plain(&tree));
}

/// Does something when the plan is made, so after the scan.
struct OncePlanned<F>(F);

impl<F: Fn() + Sync> Observer for OncePlanned<F> {
    fn planned(&self, _files: u64, _bytes: u64) {
        self.0();
    }
}

#[test]
fn files_that_vanish_between_scan_and_reading_are_reported_and_leave_nothing() {
    let (_directory, tree, path) = copy_of_sources();
    let heap = try_open(&path).unwrap();
    let vanish = OncePlanned(|| fs::remove_file(tree[0].join("src/root/key.rs")).unwrap());
    let report = index::update(&heap, &tree, &options(), &vanish).unwrap();
    assert!(matches!(report.problems[0].kind, ProblemKind::Vanished), "{report:?}");
    assert!(report.problems.len() == 1 && report.problems[0].path.ends_with("root/key.rs"));
    assert_answers(&heap, &plain(&tree));
    assert_eq!(update(&heap, &tree).indexed, 0);
}

/// Panics at a certain file.
struct PanicsAt(u64, AtomicU64);

impl Observer for PanicsAt {
    fn read(&self, _bytes: u64) {
        if self.1.fetch_add(1, Ordering::Relaxed) == self.0 {
            panic!("at file {}", self.0);
        }
    }
}

#[test]
fn a_run_that_panicked_leaves_its_last_sync_and_the_next_one_goes_on_there() {
    let (_directory, tree, path) = copy_of_sources();
    for number in [0, 5, 17] {
        assert!(child(&format!("panic {number}"), &path, &tree[0]).wait().unwrap().success());
        fs::write(tree[0].join(format!("{number}.txt")), "the file that came after the panic").unwrap();
    }
    assert!(child("go on", &path, &tree[0]).wait().unwrap().success());
}

#[test]
fn a_run_for_which_the_heap_was_too_small_is_finished_in_a_larger_one() {
    let (_directory, tree, path) = copy_of_sources();
    assert_eq!(child("index small", &path, &tree[0]).wait().unwrap().code(), Some(FULL));
    assert!(child("finish larger", &path, &tree[0]).wait().unwrap().success());
}

/// The exit status of a child whose heap was too small.
const FULL: i32 = 18;

const ROLE: &str = "SAL_TEST_WORD_INDEX_ROLE";

/// Runs this test program again as [`acts_as_child`].
fn child(role: &str, heap: &Path, tree: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acts_as_child", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env("SAL_TEST_HEAP", heap)
        .env("SAL_TEST_TREE", tree)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// No test by itself: what the child processes of the others do.
#[test]
fn acts_as_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let path = |name| PathBuf::from(std::env::var_os(name).unwrap());
    let (heap, tree) = (path("SAL_TEST_HEAP"), vec![path("SAL_TEST_TREE")]);
    match role.as_str() {
        "index" => {
            let heap = try_open(&heap).unwrap();
            let quick = Options { sync_every: Duration::from_millis(5), ..options() };
            index::update(&heap, &tree, &quick, &()).unwrap();
            close(heap);
        }
        "index small" => {
            // SAFETY: as in `try_open`.
            let heap = unsafe { HeapOptions::new().capacity(2 << 20).create(heap) }.unwrap();
            let outcome = index::update(&heap, &tree, &options(), &());
            assert!(matches!(outcome, Err(IndexError::Full(_))), "{outcome:?}");
            close(heap);
            std::process::exit(FULL);
        }
        "finish larger" => {
            // SAFETY: as in `try_open`.
            let heap = unsafe { HeapOptions::new().capacity(1 << 30).open(heap) }.unwrap();
            update(&heap, &tree);
            assert_answers(&heap, &plain(&tree));
        }
        "go on" => {
            let heap = try_open(&heap).unwrap();
            go_on(&heap, &tree);
            close(heap);
        }
        "index and wait" => {
            let heap = try_open(&heap).unwrap();
            let quick = Options { sync_every: Duration::ZERO, ..options() };
            index::update(&heap, &tree, &quick, &WaitsAfter(4, AtomicU64::new(0))).unwrap();
        }
        role if role.starts_with("panic ") => {
            let heap = try_open(&heap).unwrap();
            let observer = PanicsAt(role[6..].parse().unwrap(), AtomicU64::new(0));
            let quick = Options { sync_every: Duration::ZERO, ..options() };
            let run = catch_unwind(AssertUnwindSafe(|| index::update(&heap, &tree, &quick, &observer)));
            assert!(run.is_err());
            close(heap);
        }
        _ => {
            // SAFETY: as in `try_open`.
            let heap = unsafe { HeapOptions::new().read_only(true).open(heap) }.unwrap();
            assert_answers(&heap, &plain(&tree));
        }
    }
}

#[test]
fn another_process_answers_from_the_file() {
    let (_directory, tree, path) = copy_of_sources();
    assert!(child("index", &path, &tree[0]).wait().unwrap().success());
    let mut readers = [(); 2].map(|()| child("query", &path, &tree[0]));
    readers.iter_mut().for_each(|reader| assert!(reader.wait().unwrap().success()));
    assert!(child("go on", &path, &tree[0]).wait().unwrap().success());
}

/// Says that there were so many syncs, and waits for its end.
struct WaitsAfter(u64, AtomicU64);

impl Observer for WaitsAfter {
    fn synced(&self, commit: u64) {
        assert!(commit > 0);
        if self.1.fetch_add(1, Ordering::Relaxed) + 1 == self.0 {
            println!("\nsynced");
            loop {
                std::thread::park();
            }
        }
    }
}

/// Counts the files that are read.
#[derive(Default)]
struct Reads(AtomicU64);

impl Observer for Reads {
    fn read(&self, _bytes: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Goes on with an index that somebody left in any state; returns how many files had been indexed, and how many were read.
/// All files but one at most must be as they were.
fn go_on(heap: &Heap, tree: &[PathBuf]) -> (u64, u64) {
    let settled = |heap: &Heap| {
        let read = heap.read().unwrap();
        let Ok(files) = read.root(FILES) else { return 0 };
        files.iter().filter(|file| [FileState::Text, FileState::Binary].contains(&file.state)).count() as u64
    };
    let before = settled(heap);
    let reads = Reads::default();
    let report = index::update(heap, tree, &options(), &reads).unwrap();
    let read = reads.0.into_inner();
    assert!((before.saturating_sub(1)..=before).contains(&report.unchanged), "{before} were indexed: {report:?}");
    assert_eq!(read + report.unchanged, settled(heap), "{report:?}");
    assert_answers(heap, &plain(tree));
    (before, read)
}

#[test]
fn a_run_that_is_killed_between_two_syncs_goes_on_from_the_first_and_ends_like_one_that_was_not() {
    let (directory, tree, path) = copy_of_sources();
    let mut killed = child("index and wait", &path, &tree[0]);
    let lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "synced"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let heap = try_open(&path).unwrap();
    let (before, read) = go_on(&heap, &tree);
    assert!(before >= 4 && read > 0, "{before} before the kill, {read} after it");
    let undisturbed = try_open(&directory.path().join("undisturbed.sal")).unwrap();
    update(&undisturbed, &tree);
    let contents = |heap: &Heap| -> BTreeMap<(String, PathBuf), u32> {
        let session = heap.read().unwrap();
        let (files, shards) = (session.root(FILES).unwrap(), session.root(WORDS).unwrap());
        let mut contents = BTreeMap::new();
        for (word, list) in shards.iter().flat_map(|shard| &shard.words) {
            let of = |file: u32| (word.to_string(), files[file as usize].path().to_path_buf());
            contents.extend(list.iter().map(|posting| (of(posting.file), posting.count)));
        }
        contents
    };
    assert_eq!(contents(&heap), contents(&undisturbed));
}

#[test]
fn runs_that_are_killed_at_any_moment_go_on_from_their_last_sync() {
    let (_directory, tree, path) = copy_of_sources();
    let started = Instant::now();
    assert!(child("index", &path, &tree[0]).wait().unwrap().success());
    let whole_run = started.elapsed();
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    for number in 0..10 {
        if number % 2 == 0 {
            fs::remove_file(&path).unwrap();
        }
        // Changes what the run has to do if the heap is kept.
        fs::write(tree[0].join("src/heap/gate.rs"), format!("the gate, number {number}")).unwrap();
        let share = (seed.rotate_left(6 * number) % 1000) as f64 / 900.0;
        let mut indexer = child("index", &path, &tree[0]);
        let lines = BufReader::new(indexer.stdout.take().unwrap()).lines();
        let (sender, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            lines.for_each(drop);
            drop(sender);
        });
        // Until then, or until it has ended by itself.
        let _ = ended.recv_timeout(whole_run.mul_f64(share));
        indexer.kill().unwrap();
        indexer.wait().unwrap();
        let status = child("go on", &path, &tree[0]).wait().unwrap();
        assert!(status.success(), "seed {seed}, kill {number}: {status}");
    }
}
