//! The library of the feature `preload` under real programs: they run as they do without it.
//!
//! The library is built as the README says, by the cargo that built this test, where it would be built by hand. Each program is
//! run twice, with and without it, and must end and say the same; programs that are not installed are named and skipped.
//! The programs of our own are in `tests/preload`.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The library, built once for all tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let built = Command::new(env!("CARGO"))
            .args("rustc --release --lib --features preload --crate-type cdylib --locked --offline".split(' '))
            .args([OsStr::new("--target-dir"), target.as_os_str()])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("CARGO_BUILD_TARGET")
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", text(&built.stderr));
        target.join("release/libsal.so")
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where a program is, if it is installed; says so if it is not.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not installed");
    }
    found
}

/// A command that is killed when it takes far too long, in `directory`.
fn command(directory: &Path, program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "300"]).arg(program).current_dir(directory);
    for name in ["SAL_BACKING", "SAL_HUGE_PAGES", "SAL_PURGE", "SAL_STATS", "SAL_FILE", "SAL_TMPDIR"] {
        command.env_remove(name);
    }
    command
}

/// What came of a command with the library in front.
fn preloaded(command: &mut Command) -> Output {
    command.env("LD_PRELOAD", library()).output().unwrap()
}

/// Runs a command with and without the library; it must succeed both times and say the same. Returns what it says.
fn same(mut command: Command) -> String {
    let plain = command.output().unwrap();
    let with = preloaded(&mut command);
    let (said, said_with) = (text(&plain.stdout), text(&with.stdout));
    assert!(plain.status.success(), "without: {}\n{}{said}", plain.status, text(&plain.stderr));
    assert!(with.status.success(), "with: {}\n{}{said_with}", with.status, text(&with.stderr));
    assert_eq!(said_with, said);
    assert_eq!(text(&with.stderr), text(&plain.stderr));
    said
}

/// As [`same`], of a program with arguments.
fn same_of<A: AsRef<OsStr>>(directory: &Path, program: &Path, arguments: &[A]) -> String {
    let mut command = command(directory, program);
    command.args(arguments);
    same(command)
}

/// Compiles a program of `tests/preload` with the compiler under the library; none if there is no compiler.
fn compile(directory: &Path, source: &str, arguments: &[&str]) -> Option<PathBuf> {
    let is_cpp = source.ends_with(".cpp");
    let compiler = find(if is_cpp { "g++" } else { "gcc" })?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preload").join(source);
    let program = directory.join(source.file_stem().unwrap());
    let mut command = command(directory, &compiler);
    command.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-fno-builtin"]).args(arguments);
    if is_cpp {
        command.arg("-std=c++17");
    }
    let compiled = preloaded(command.arg("-o").arg(&program).arg(source).arg("-ldl"));
    assert!(compiled.status.success() && compiled.stderr.is_empty(), "{}", text(&compiled.stderr));
    Some(program)
}

#[test]
fn every_function_does_what_standards_and_glibc_say() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = compile(directory.path(), "interface.c", &[]) else { return };
    for (backing, purge) in [("memory", "1G"), ("memory", "1M"), ("file", "1M")] {
        let mut command = command(directory.path(), &program);
        command.env("SAL_BACKING", backing).env("SAL_TMPDIR", directory.path()).env("SAL_PURGE", purge);
        let ran = preloaded(&mut command);
        assert!(ran.status.success(), "{backing}, {purge}: {}\n{}", ran.status, text(&ran.stderr));
        assert_eq!(text(&ran.stdout), "all as promised\n");
    }
}

#[test]
fn threads_may_pass_blocks_on_and_free_while_they_end_and_at_exit() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = compile(directory.path(), "threads.cpp", &[]) else { return };
    for _ in 0..3 {
        assert_eq!(same_of::<&str>(directory.path(), &program, &[]), "all blocks were whole\n");
    }
    // Thread heaps go from one thread to the next: after 1,600 threads, four at a time, only a few exist.
    let ran = preloaded(command(directory.path(), &program).env("SAL_STATS", "1"));
    let said = text(&ran.stderr);
    let threads = said.split("cached by ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(threads.parse::<u32>().unwrap() <= 8, "{said}");
}

#[test]
fn children_of_a_process_whose_threads_allocate_can_allocate_too() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = compile(directory.path(), "forks.cpp", &[]) else { return };
    assert_eq!(same_of::<&str>(directory.path(), &program, &[]), "all children were well\n");
    let ran = preloaded(command(directory.path(), &program).env("SAL_BACKING", "file"));
    assert!(ran.status.success(), "{}\n{}", ran.status, text(&ran.stderr));
}

#[test]
fn the_library_can_be_opened_and_closed_while_the_process_runs() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = compile(directory.path(), "opened.c", &[]) else { return };
    let ran = command(directory.path(), &program).arg(library()).output().unwrap();
    assert!(ran.status.success(), "{}\n{}", ran.status, text(&ran.stderr));
    assert_eq!(text(&ran.stdout), "opened and closed\n");
}

#[test]
fn blocks_from_before_all_constructors_and_of_another_allocator_are_freed_and_no_blocks_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = compile(directory.path(), "early.c", &[]) else { return };
    let Some(plugin) = compile(directory.path(), "plugin.c", &["-shared", "-fPIC"]) else { return };
    assert_eq!(same_of(directory.path(), &program, &[&plugin]), "early and foreign blocks are fine\n");
    for wrong in ["twice", "inside", "nowhere"] {
        let ran = preloaded(command(directory.path(), &program).arg(&plugin).arg(wrong));
        let said = text(&ran.stderr);
        assert!(said.starts_with("sal: free of 0x") && said.contains("which is no block"), "{wrong}: {said}");
        assert_eq!(ran.status.signal().or(ran.status.code().map(|code| code - 128)), Some(libc::SIGABRT), "{wrong}");
    }
}

/// Lists an empty directory under the library, with options and nothing else in the environment; what it complained of.
fn under(options: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut list = Command::new("/bin/ls");
    list.arg("-a").current_dir(directory.path()).env_clear().envs(options.iter().copied());
    let ran = preloaded(&mut list);
    assert!(ran.status.success(), "{}\n{}", ran.status, text(&ran.stderr));
    assert_eq!(text(&ran.stdout), ".\n..\n");
    text(&ran.stderr)
}

#[test]
fn options_are_followed_and_bad_ones_are_named_and_ignored() {
    assert_eq!(under(&[("SAL_BACKING", "file"), ("SAL_PURGE", "64M"), ("SAL_HUGE_PAGES", "0")]), "");
    let statistics = under(&[("SAL_STATS", "1")]);
    assert!(statistics.starts_with("sal: statistics of process ") && statistics.contains("cached by 1 threads"));
    for (name, value, complaint) in [
        ("SAL_BACKING", "disk", "sal: SAL_BACKING=\"disk\" is neither memory nor file and is ignored\n"),
        ("SAL_PURGE", "1\n", "sal: SAL_PURGE=\"1\\n\" is no number of bytes and is ignored\n"),
        ("SAL_HUGE_PAGES", "yes", "sal: SAL_HUGE_PAGES=\"yes\" is neither 0 nor 1 and is ignored\n"),
        ("SAL_STATS", "", "sal: SAL_STATS=\"\" is neither 0 nor 1 and is ignored\n"),
    ] {
        assert_eq!(under(&[(name, value)]), complaint);
    }
    // A name that is taken is no place for a temporary file.
    let complaint = "sal: no temporary file could be made; blocks are in memory\n";
    assert_eq!(under(&[("SAL_BACKING", "file"), ("SAL_FILE", "/dev/null")]), complaint);
}

#[test]
fn a_limit_on_addresses_leaves_a_smaller_heap() {
    let directory = tempfile::tempdir().unwrap();
    for kibibytes in [512 << 10, 2 << 20, 100 << 20] {
        let limited = format!("ulimit -v {kibibytes}; exec /bin/ls -a");
        let said = same_of(directory.path(), Path::new("/bin/sh"), &["-c", &limited]);
        assert_eq!(said, ".\n..\n");
    }
}

#[test]
fn freed_memory_goes_back_to_the_system_when_the_option_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = compile(directory.path(), "purge.c", &[]) else { return };
    for (option, name) in [("64M", "given back\n"), ("0", "kept\n")] {
        for backing in ["memory", "file"] {
            let mut command = command(directory.path(), &program);
            let ran = preloaded(command.env("SAL_PURGE", option).env("SAL_BACKING", backing));
            assert_eq!((text(&ran.stdout).as_str(), text(&ran.stderr).as_str()), (name, ""), "{backing}");
        }
    }
}

const PYTHON: &str = r#"
import json, random, subprocess, sys, threading, zlib
random.seed(7)
words = ["".join(random.choice("abcdefghij") for _ in range(random.randrange(1, 40))) for _ in range(60000)]
counts = {}
for word in words:
    counts[word[:3]] = counts.get(word[:3], 0) + len(word)
text = json.dumps({"counts": counts, "words": words})
again = json.loads(text)
assert again["words"] == words
packed = zlib.compress(text.encode() * 3, 1)
def work(seed, results):
    mine = random.Random(seed)
    blocks = [bytes([mine.randrange(256)]) * mine.randrange(100000) for _ in range(300)]
    for _ in range(2000):
        blocks[mine.randrange(300)] = bytes([mine.randrange(256)]) * mine.randrange(100000)
    results[seed] = zlib.crc32(b"".join(blocks))
results = {}
threads = [threading.Thread(target=work, args=(seed, results)) for seed in range(4)]
for thread in threads: thread.start()
children = [subprocess.run([sys.executable, "-c", "print(sum(range(1000)))"], capture_output=True, text=True).stdout for _ in range(2)]
for thread in threads: thread.join()
big = bytearray()
for i in range(200): big += bytes([i]) * 100000
print(len(text), zlib.crc32(packed), sorted(results.items()), children, zlib.crc32(big), len(sorted(words)))
"#;

#[test]
fn python_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some(python) = find("python3") else { return };
    // What is found first may be a script that leads there.
    let executable = same_of(directory.path(), &python, &["-c", "import sys; print(sys.executable)"]);
    let python = PathBuf::from(executable.trim_end());
    for allocator in ["pymalloc", "malloc"] {
        let mut command = command(directory.path(), &python);
        command.args(["-c", PYTHON]).env("PYTHONMALLOC", allocator).env("PYTHONHASHSEED", "0");
        assert!(same(command).contains("499500"));
    }
}

/// A repository with many commits, made and packed by git.
fn repository(directory: &Path, git: &Path, with_library: bool) -> String {
    let run = |arguments: &[&str]| {
        let mut command = command(directory, git);
        command.args(["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "gc.auto=0"]).args(arguments);
        let date = "2024-01-02T03:04:05Z";
        command.env("GIT_AUTHOR_DATE", date).env("GIT_COMMITTER_DATE", date).env("HOME", directory);
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        if with_library {
            command.env("LD_PRELOAD", library());
        }
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "git {arguments:?}: {}\n{}", ran.status, text(&ran.stderr));
        text(&ran.stdout)
    };
    run(&["init", "-q", "-b", "main"]);
    for commit in 0..25 {
        for file in 0..8 {
            let lines: String = (0..400)
                .map(|line| format!("{}\n", (line * 7919 + file * 31) ^ (commit * usize::from(line % 9 == 0))))
                .collect();
            std::fs::write(directory.join(format!("file{file}")), lines).unwrap();
        }
        run(&["add", "."]);
        run(&["commit", "-q", "--allow-empty", "-m", &format!("commit {commit}")]);
    }
    run(&["gc", "-q", "--aggressive", "--prune=now"]);
    run(&["fsck", "--full", "--strict", "--no-progress"]);
    run(&["log", "--stat", "-p"]) + &run(&["blame", "file3"]) + &run(&["grep", "-c", "77"])
}

#[test]
fn git_makes_the_same_repository() {
    let (plain, with) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(git) = find("git") else { return };
    let said = repository(plain.path(), &git, false);
    assert!(said.len() > 100_000);
    assert!(said == repository(with.path(), &git, true), "the histories differ");
}

/// A program of many functions.
fn generated_source() -> String {
    let functions: String = (0..400)
        .map(|n| {
            format!(
                "static int f{n}(int a, const char *s) {{ int t[{len}]; for (int i = 0; i < {len}; i++) t[i] = a * i + s[i % 3] + {n};\n\
                 switch (a % 5) {{ case 0: return t[{at}]; case 1: return {n} ^ a; case 2: return t[0] / (a | 1); default: return a - {n}; }} }}\n",
                len = n % 37 + 3,
                at = n % 3,
            )
        })
        .collect();
    let calls: String = (0..400).map(|n| format!("    sum += f{n}(count + {n}, \"abc\");\n")).collect();
    format!(
        "{functions}int main(int count, char **arguments) {{ (void)arguments; int sum = 0;\n{calls}    return sum & 63; }}\n"
    )
}

#[test]
fn compilers_make_the_same_code() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("generated.c"), generated_source()).unwrap();
    let cpp = "#include <iostream>\n#include <map>\n#include <regex>\n#include <string>\n\
               int main() { std::map<std::string, int> m; std::regex r(\"a+b*\"); m[\"x\"] = std::regex_match(\"aab\", r);\n\
               for (auto &[k, v] : m) std::cout << k << v << std::endl; }\n";
    std::fs::write(directory.path().join("program.cpp"), cpp).unwrap();
    if let Some(gcc) = find("gcc") {
        let assembly = same_of(directory.path(), &gcc, &["-O2", "-S", "-o", "-", "generated.c"]);
        assert!(assembly.contains("main:"));
    }
    if let Some(gpp) = find("g++") {
        same_of(directory.path(), &gpp, &["-std=c++17", "-O1", "-o", "program", "program.cpp"]);
        assert_eq!(same_of::<&str>(directory.path(), &directory.path().join("program"), &[]), "x1\n");
    }
}

const SQL: &str = "
create table t (a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into t select i, 'text ' || (i * 7919 % 10007) || hex(zeroblob(i % 90)), i * 0.5 from n;
create index by_b on t (b);
select count(*), sum(length(b)), total(c) from t;
select substr(b, 1, 8) as p, count(*) from t group by p order by count(*) desc, p limit 20;
update t set b = b || ' changed ' || a where a % 3 = 0;
delete from t where a % 7 = 0;
select count(*), max(length(b)) from t;
select a.b, b.a from t a join t b on b.a = a.a * 3 where a.a % 1000 = 1 order by a.a;
vacuum;
pragma integrity_check;
";

#[test]
fn sqlite_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some(sqlite) = find("sqlite3") else { return };
    let said = same_of(directory.path(), &sqlite, &[":memory:", SQL]);
    assert!(said.trim_end().ends_with("ok"));
}

#[test]
fn redis_serves() {
    let directory = tempfile::tempdir().unwrap();
    let (Some(server), Some(client)) = (find("redis-server"), find("redis-cli")) else { return };
    let socket = directory.path().join("socket");
    let mut serve = command(directory.path(), &server);
    serve.args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocket"]).arg(&socket);
    let mut serving = serve.env("LD_PRELOAD", library()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let ask = |arguments: &[&str]| {
        let asked = preloaded(command(directory.path(), &client).arg("-s").arg(&socket).args(arguments));
        text(&asked.stdout)
    };
    // It answers once it has started; or it never will.
    while serving.try_wait().unwrap().is_none() && ask(&["ping"]) != "PONG\n" {
        std::thread::yield_now();
    }
    let fill =
        "for i = 1, 50000 do redis.call('set', 'k' .. i, string.rep('v', i % 500)) end return redis.call('dbsize')";
    assert_eq!(ask(&["eval", fill, "0"]).trim_end().trim_start_matches("(integer) "), "50000");
    assert_eq!(ask(&["strlen", "k777"]).trim_end().trim_start_matches("(integer) "), "277");
    ask(&["shutdown", "nosave"]);
    assert!(serving.wait().unwrap().success());
}
