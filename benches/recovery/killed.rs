//! Heap files that were left behind by killed processes: this very program, started again in another role.

use super::{HEADS, link, make, offsets};
use allocator_api2::alloc::Allocator;
use criterion::{Criterion, SamplingMode, Throughput};
use sal::{Heap, HeapOptions, SyncLevel};
use std::alloc::Layout;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "SAL_BENCH_ROLE";
const PATH: &str = "SAL_BENCH_PATH";
const PAGE: usize = 4096;
/// Pages that are replayed.
const PAGES: usize = 16 << 10;

fn open(path: &Path) -> Heap {
    // No log is folded before its process is killed.
    let options = HeapOptions::new().capacity(60 << 30).fold_at(1 << 40);
    // SAFETY: the files are written through this crate only, and by one process at a time.
    unsafe { options.open_or_create(path) }.expect("a heap file")
}

/// In another process: does what it was started for, says a line, and waits to be killed. False in the first process.
pub(super) fn play_role() -> bool {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(PATH)) else { return false };
    let path = PathBuf::from(path);
    let (what, count) = role.split_once(' ').unwrap_or((&role, ""));
    match what {
        "list" => {
            let heap = open(&path);
            let nodes = make(&heap, count.parse().expect("a number"));
            let heads = link(&nodes, &(0..nodes.len()).collect::<Vec<_>>());
            heap.write().expect("a session").root_or_default(HEADS).expect("a root").extend(offsets(&heap, heads));
            heap.sync().expect("a commit");
            wait(&heap, String::from("done"))
        }
        "answer" => {
            let started = Instant::now();
            let heap = open(&path);
            let read = heap.read().expect("a session");
            let first = read.root(HEADS).expect("the root")[0];
            let took = started.elapsed();
            assert_ne!(first.bytes(), 0);
            drop(read);
            let replaying = heap.wait_for_recovery().expect("a recovery").replaying;
            wait(&heap, took.saturating_sub(replaying).as_nanos().to_string())
        }
        shape => {
            let heap = open(&path);
            let stride = if shape == "isolated" { 4 } else { 1 };
            let layout = Layout::from_size_align(PAGES * stride * PAGE, PAGE).expect("a layout");
            let block = heap.alloc().allocate_zeroed(layout).expect("a block").cast::<u8>();
            let fill = |value: u8, stride: usize| {
                for page in (0..PAGES * 4).step_by(stride).take_while(|page| page * PAGE < layout.size()) {
                    // SAFETY: within the block.
                    unsafe { block.add(page * PAGE).write_bytes(value, PAGE) };
                }
            };
            if shape != "holes" {
                fill(1, 1);
            }
            heap.sync_with(SyncLevel::Full).expect("a commit");
            fill(2, stride);
            heap.sync().expect("a commit");
            wait(&heap, String::from("done"))
        }
    }
}

/// The heap stays open until the process is killed.
fn wait(_heap: &Heap, said: String) -> ! {
    println!("{said}");
    std::io::stdout().flush().expect("a reader");
    loop {
        std::thread::park();
    }
}

/// Lets another process play a role, kills it when it has said a line, and returns that.
fn killed(role: &str, path: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let mut child = command.env(ROLE, role).env(PATH, path).stdout(Stdio::piped()).spawn().expect("another process");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    child.kill().expect("it waits");
    child.wait().expect("it has ended");
    assert!(line.ends_with('\n'), "{role} failed");
    line.trim_end().to_owned()
}

fn directory() -> tempfile::TempDir {
    let base = std::env::var_os("SAL_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::Builder::new().prefix("recovery-bench").tempdir_in(base).expect("a directory for the files")
}

pub(super) fn first_answer(criterion: &mut Criterion, objects: usize) {
    let directory = directory();
    let path = directory.path().join("heap.sal");
    let mut is_made = false;
    let mut group = criterion.benchmark_group("recovery/first_answer/64B");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(objects.to_string(), |bencher| {
        bencher.iter_custom(|rounds| {
            if !std::mem::replace(&mut is_made, true) {
                killed(&format!("list {objects}"), &path);
            }
            let answer = |_| Duration::from_nanos(killed("answer", &path).parse().expect("a number"));
            (0..rounds).map(answer).sum()
        });
    });
    group.finish();
}

pub(super) fn replay(criterion: &mut Criterion) {
    for shape in ["neighbours", "isolated", "holes"] {
        let mut group = criterion.benchmark_group(format!("recovery/replay/{shape}"));
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Bytes((PAGES * PAGE) as u64));
        group.bench_function("4KiB", |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        let directory = directory();
                        let path = directory.path().join("heap.sal");
                        killed(shape, &path);
                        let heap = open(&path);
                        let report = heap.wait_for_recovery().expect("a recovery");
                        assert!(report.replayed_pages >= PAGES as u64 && report.replayed_pages < PAGES as u64 + 100);
                        // SAFETY: nothing in the heap is used.
                        unsafe { heap.close_and_unmap() }.expect("the heap closes");
                        report.replaying
                    })
                    .sum()
            });
        });
        group.finish();
    }
}
