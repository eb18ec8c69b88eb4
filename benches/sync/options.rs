//! The command line.

use sal::{DirtyTracking, Mode};
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Times syncs: cargo bench --bench sync -- [OPTIONS]

  --full               heaps of 100MB, 1GiB and 8GiB, more rounds (otherwise 100MB)
  --sizes A,B          these heaps: a number and MB, MiB, GB or GiB
  --only A,B           only these parts: pages (with quiet syncs) key bulk ops
  --rounds N           measured rounds of each row (default 9, full 21; bulk loads a third of them)
  --mode MODE          atomic (default) or shared
  --tracking HOW       how written pages are found: protect or compare (default: as heaps do by themselves)
  --fold-at MIB        fold the log from this size on, instead of what heaps do by themselves
  --directory DIR      where the files are made (default: TMPDIR, or the directory it is run in)
  --help               this text

Without cargo's own --bench, as in a test, it does one round on a small heap, to see that it works.
";

/// A group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Pages,
    Key,
    Bulk,
    Operations,
}

/// The size of a heap, and as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
    number: u64,
    unit: &'static str,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.number, self.unit)
    }
}

impl Size {
    const UNITS: [(&'static str, u64); 4] =
        [("MB", 1_000_000), ("MiB", 1 << 20), ("GB", 1_000_000_000), ("GiB", 1 << 30)];

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| format!("{text} is no size"))?;
        let found = Self::UNITS.into_iter().find(|known| known.0 == unit);
        let (unit, bytes) = found.ok_or_else(|| format!("{text} has no unit of MB, MiB, GB, GiB"))?;
        let bytes = number.checked_mul(bytes).filter(|&bytes| (4 << 20..=32 << 30).contains(&bytes));
        Ok(Self { bytes: bytes.ok_or_else(|| format!("{text} is not from 4MiB to 32GiB"))?, number, unit })
    }

    /// How many GiB, for a limit that is given for each.
    pub(crate) fn gib_at_least_one(self) -> f64 {
        (self.bytes as f64 / f64::from(1 << 30)).max(1.0)
    }
}

/// The options, with defaults filled in.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) sizes: Vec<Size>,
    parts: Vec<Part>,
    pub(crate) rounds: usize,
    pub(crate) mode: Mode,
    pub(crate) tracking: Option<DirtyTracking>,
    pub(crate) fold_at: Option<u64>,
    pub(crate) directory: PathBuf,
    /// Whether it is only to be seen that it works.
    pub(crate) is_trial: bool,
    pub(crate) help: bool,
}

impl Options {
    /// Reads them, without the program's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut full, mut sizes, mut rounds, mut unknown) = (false, None, None, None);
        let mut options = Self {
            sizes: Vec::new(),
            parts: Vec::new(),
            rounds: 0,
            mode: Mode::Atomic,
            tracking: None,
            fold_at: None,
            directory: std::env::var_os("TMPDIR").map_or_else(|| ".".into(), PathBuf::from),
            is_trial: true,
            help: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--bench" => options.is_trial = false,
                "--full" => full = true,
                "--sizes" => sizes = Some(value()?.split(',').map(Size::parse).collect::<Result<_, _>>()?),
                "--only" => options.parts = value()?.split(',').map(part).collect::<Result<_, _>>()?,
                "--rounds" => rounds = Some(number(&value()?)?),
                "--mode" => options.mode = mode(&value()?)?,
                "--tracking" => options.tracking = Some(tracking(&value()?)?),
                "--fold-at" => options.fold_at = Some((number(&value()?)? as u64) << 20),
                "--directory" => options.directory = value()?.into(),
                "--help" | "-h" => options.help = true,
                _ => unknown = unknown.or(Some(word)),
            }
        }
        // In a test, words that are not known are meant for a test runner.
        if let (Some(word), false) = (unknown, options.is_trial) {
            return Err(format!("unknown option {word}; --help shows them"));
        }
        let default: &[&str] = match (options.is_trial, full) {
            (true, _) => &["8MB"],
            (false, false) => &["100MB"],
            (false, true) => &["100MB", "1GiB", "8GiB"],
        };
        options.sizes = match sizes {
            Some(sizes) => sizes,
            None => default.iter().map(|size| Size::parse(size)).collect::<Result<_, _>>()?,
        };
        options.rounds = rounds.unwrap_or(match (options.is_trial, full) {
            (true, _) => 1,
            (false, false) => 9,
            (false, true) => 21,
        });
        Ok(options)
    }

    /// Whether the part is to be run.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

fn part(name: &str) -> Result<Part, String> {
    match name {
        "pages" => Ok(Part::Pages),
        "key" => Ok(Part::Key),
        "bulk" => Ok(Part::Bulk),
        "ops" => Ok(Part::Operations),
        _ => Err(format!("no part is called {name}; they are pages, key, bulk and ops")),
    }
}

fn mode(name: &str) -> Result<Mode, String> {
    match name {
        "atomic" => Ok(Mode::Atomic),
        "shared" => Ok(Mode::Shared),
        _ => Err(format!("no mode is called {name}; they are atomic and shared")),
    }
}

fn tracking(name: &str) -> Result<DirtyTracking, String> {
    match name {
        "protect" => Ok(DirtyTracking::WriteProtect),
        "compare" => Ok(DirtyTracking::Compare),
        _ => Err(format!("no tracking is called {name}; they are protect and compare")),
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| format!("{text} is no number above zero"))
}
