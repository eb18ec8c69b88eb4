//! Other processes: this very test program, started again for one test in another role.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};

const ROLE: &str = "SAL_TEST_ROLE";
const PATH: &str = "SAL_TEST_PATH";

/// The role in which the calling test was started again, and the file it is about; none in the first process.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var(ROLE).ok()?;
    Some((role, PathBuf::from(std::env::var_os(PATH)?)))
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    /// None once somebody listens.
    output: Option<BufReader<ChildStdout>>,
    said: String,
}

/// Starts `test` of this program in a role.
pub(crate) fn start(test: &str, role: &str, path: &Path) -> Process {
    start_with(test, role, path, |_| {})
}

/// As [`start`], after `prepare` has seen the command.
pub(crate) fn start_with(test: &str, role: &str, path: &Path, prepare: impl FnOnce(&mut Command)) -> Process {
    try_start_with(test, role, path, prepare).unwrap()
}

fn try_start_with(test: &str, role: &str, path: &Path, prepare: impl FnOnce(&mut Command)) -> std::io::Result<Process> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role).env(PATH, path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    prepare(&mut command);
    let mut child = command.spawn()?;
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    Ok(Process { child, input, output: Some(BufReader::new(output)), said: String::new() })
}

/// As [`start`]; the directory of `path` is a file system of its own there, of so many MiB, which goes with the process.
/// None if that is not permitted here.
pub(crate) fn start_on_small_disk(test: &str, role: &str, path: &Path, mebibytes: usize) -> Option<Process> {
    let directory = path.parent().unwrap().as_os_str().as_bytes();
    let target = CString::new(directory).unwrap();
    let size = CString::new(format!("size={mebibytes}m")).unwrap();
    let child = try_start_with(test, role, path, |command| {
        // SAFETY: system calls only, between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let flags = libc::CLONE_NEWNS | if libc::geteuid() == 0 { 0 } else { libc::CLONE_NEWUSER };
                let nothing = std::ptr::null();
                let private = libc::MS_REC | libc::MS_PRIVATE;
                if libc::unshare(flags) != 0
                    || libc::mount(nothing, c"/".as_ptr(), nothing, private, nothing.cast()) != 0
                    || libc::mount(c"none".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast()) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
    });
    match child {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS)) => {
            println!("no file system of our own can be mounted: {error}");
            None
        }
        child => Some(child.unwrap()),
    }
}

/// Takes all space that the file system has, until what is returned is dropped.
pub(crate) fn fill_disk(directory: &Path) -> File {
    let name = directory.join("filler");
    let mut file = File::create(&name).unwrap();
    for size in [1 << 20, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    // The file lives on without its name.
    std::fs::remove_file(&name).unwrap();
    file
}

/// Runs `test` of this program in a role; it must succeed.
pub(crate) fn run(test: &str, role: &str, path: &Path) {
    start(test, role, path).succeed();
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has said a line that ends with the word; returns that line.
    pub(crate) fn wait_for(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.as_mut().unwrap().read_line(&mut line).unwrap();
            assert!(read > 0, "the process ended before it said {word:?}; it said:\n{}", self.said);
            self.said.push_str(&line);
            if line.trim_end().ends_with(word) {
                return line;
            }
        }
    }

    /// Lets the process go on from [`hear`].
    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.input, "{word}").unwrap();
        self.input.flush().unwrap();
    }

    /// What the process says from now on, line by line, until it ends.
    pub(crate) fn listen(&mut self) -> Receiver<String> {
        let mut output = self.output.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|read| read > 0) && sender.send(line.clone()).is_ok() {
                line.clear();
            }
        });
        receiver
    }

    /// Kills the process, between any two of its instructions.
    pub(crate) fn kill(mut self) {
        self.kill_but_keep_its_pipes();
    }

    /// As [`Process::kill`], unless it has come to a good end already; it must not have come to a bad one.
    pub(crate) fn kill_unless_done(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(status.success() || signal == Some(libc::SIGKILL), "{status}");
    }

    /// As [`Process::kill`]; processes that it forked can still hear and say something.
    pub(crate) fn kill_but_keep_its_pipes(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut said = std::mem::take(&mut self.said);
        if let Some(mut output) = self.output.take() {
            output.read_to_string(&mut said).unwrap();
        }
        (self.child.wait().unwrap(), said)
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn succeed(self) {
        let (status, said) = self.end();
        assert!(status.success(), "{status}; it said:\n{said}");
        assert!(said.contains("1 passed"), "no such test was run:\n{said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the other process: says a word to the one that started it.
pub(crate) fn say(word: &str) {
    println!("\n{word}");
    std::io::stdout().flush().unwrap();
}

/// In the other process: waits for the next word.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Mappings of this process.
pub(crate) fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// File descriptors of this process.
pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
