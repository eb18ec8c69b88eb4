//! The command line.

use super::peers::{ALL, Source};
use compare::workloads::Workload;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Compares global allocators: cargo run -p compare --release -- [OPTIONS]

  --quick              fewer workloads, operations and rounds (under 2 minutes)
  --only A,B           only workloads and contests whose name contains A or B
  --allocators A,B     only these: sal sal_shared mimalloc3 mimalloc2 jemalloc snmalloc system
  --runs N             rounds; each runs everything once (default 5, quick 3)
  --no-huge-pages      no process gets transparent huge pages, whatever its allocator asks for
  --no-libraries       without the allocators that are no global ones (lgalloc, bumpalo, heaps in files)
  --lto                build with fat LTO and one codegen unit (in a directory of its own)
  --durable            durable commits instead, beside databases (needs the feature `databases`)
  --directory DIR      the disk for heaps in files, and with --durable to commit to (default: target/compare)
  --list               name the workloads and end
  --help               this text

Tables go to standard output, progress to standard error, results.json, index.html, ratios.svg and summary.svg to
target/compare, or with --no-huge-pages to target/compare/no_huge_pages; each page shows the means of the other run too.
";

/// The options, with defaults filled in.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) only: Vec<String>,
    pub(crate) allocators: Vec<&'static Source>,
    pub(crate) rounds: usize,
    pub(crate) no_huge_pages: bool,
    pub(crate) libraries: bool,
    pub(crate) lto: bool,
    pub(crate) durable: bool,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) list: bool,
    pub(crate) help: bool,
}

impl Arguments {
    /// Reads them, without the program's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            quick: false,
            only: Vec::new(),
            allocators: ALL.iter().collect(),
            rounds: 0,
            no_huge_pages: false,
            libraries: true,
            lto: false,
            durable: false,
            directory: None,
            list: false,
            help: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => arguments.quick = true,
                "--only" => arguments.only = value()?.split(',').map(str::to_owned).collect(),
                "--allocators" => {
                    arguments.allocators = value()?.split(',').map(allocator).collect::<Result<_, _>>()?
                }
                "--runs" => {
                    let number = value()?.parse().ok().filter(|&number| number > 0);
                    arguments.rounds = number.ok_or("--runs needs a number above zero")?;
                }
                "--no-huge-pages" => arguments.no_huge_pages = true,
                "--no-libraries" => arguments.libraries = false,
                "--lto" => arguments.lto = true,
                "--durable" => arguments.durable = true,
                "--directory" => arguments.directory = Some(value()?.into()),
                "--list" => arguments.list = true,
                "--help" | "-h" => arguments.help = true,
                _ => return Err(format!("unknown option {word}; --help shows them")),
            }
        }
        if arguments.rounds == 0 {
            arguments.rounds = if arguments.quick { 3 } else { 5 };
        }
        Ok(arguments)
    }

    /// Whether `workload` is to be run.
    pub(crate) fn wants(&self, workload: &Workload) -> bool {
        self.wants_name(workload.name) && (workload.quick || !self.quick)
    }

    /// Whether what is called so is to be run.
    pub(crate) fn wants_name(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }
}

fn allocator(name: &str) -> Result<&'static Source, String> {
    ALL.iter().find(|source| source.name == name).ok_or_else(|| format!("no allocator is called {name}"))
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn quick_has_fewer_rounds_unless_told() {
        assert_eq!(parse("").unwrap().rounds, 5);
        assert_eq!(parse("--quick").unwrap().rounds, 3);
        assert_eq!(parse("--quick --runs 4").unwrap().rounds, 4);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in ["--allocators mimalloc9", "--runs none", "--runs 0", "--only", "-x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
