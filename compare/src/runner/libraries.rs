//! The allocators that are no global ones: what the binary `libraries` can do, and what its contenders took.
//!
//! The binary says which contests there are. They are run after the workloads, interleaved in the same way; a table has a
//! line for each contender, because each contest has others.

use super::arguments::Arguments;
use super::peers;
use super::plot::escape;
use super::results::Cell;
use super::rounds;
use super::tables::number;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All contests that were chosen.
#[derive(Debug)]
pub(crate) struct Libraries {
    executable: PathBuf,
    /// Where heaps in files are laid.
    place: PathBuf,
    contests: Vec<Contest>,
}

#[derive(Debug)]
struct Contest {
    name: String,
    unit: String,
    contenders: Vec<Contender>,
}

#[derive(Debug)]
struct Contender {
    name: String,
    version: String,
    cell: Cell,
}

impl Contest {
    /// From what the binary says of it.
    fn parse(described: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let contender = |described: &Value| {
            let (package, start) = (described["package"].as_str()?, described["version"].as_str()?);
            let version = format!("{package} {}", peers::version_that_begins(package, start));
            Some(Contender { name: text(&described["name"])?, version, cell: Cell::default() })
        };
        let contenders = described["contenders"].as_array()?.iter().map(contender).collect::<Option<_>>()?;
        Some(Self { name: text(&described["name"])?, unit: text(&described["unit"])?, contenders })
    }

    /// Median of a contender divided by that of the first.
    fn ratio(&self, which: usize) -> Option<f64> {
        let (mine, first) = (self.contenders[which].cell.value()?.median, self.contenders[0].cell.value()?.median);
        (first > 0.0).then(|| mine / first)
    }
}

impl Libraries {
    /// Without a contest.
    pub(crate) fn none() -> Self {
        Self { executable: PathBuf::new(), place: PathBuf::new(), contests: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.contests.is_empty()
    }

    /// Builds the binary and asks what it can do; `place` is for heaps in files.
    pub(crate) fn build(arguments: &Arguments, target: &Path, place: &Path) -> Result<Self, String> {
        eprintln!("building libraries");
        let executable = peers::build_binary("libraries", Some("libraries"), arguments.lto, target)?;
        let output = Command::new(&executable).arg("--list").output();
        let output = output.map_err(|error| format!("cannot start {}: {error}", executable.display()))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let list: Vec<Value> = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let contests = list.iter().map(Contest::parse).collect::<Option<Vec<_>>>();
        let mut contests = contests.ok_or("its list of contests lacks something")?;
        contests.retain(|contest| arguments.wants_name(&contest.name));
        Ok(Self { executable, place: place.to_owned(), contests })
    }

    /// Runs the rounds.
    pub(crate) fn run(&mut self, arguments: &Arguments) {
        for round in 0..arguments.rounds {
            for (index, contest) in self.contests.iter_mut().enumerate() {
                eprintln!("libraries, round {}: {}", round + 1, contest.name);
                let count = contest.contenders.len();
                for turn in 0..count {
                    let contender = &mut contest.contenders[(turn + round + index) % count];
                    let mut command = Command::new(&self.executable);
                    command.args(["--contest", &contest.name, "--contender", &contender.name]);
                    command.arg("--directory").arg(&self.place);
                    let name = format!("{} {}", contender.name, contest.name);
                    rounds::run_one(command, &name, arguments, &mut contender.cell);
                }
            }
        }
    }

    /// Contest, contender and reason of every process that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for contest in &self.contests {
            for contender in &contest.contenders {
                let line = |message| format!("{} by {}: {message}", contest.name, contender.name);
                failures.extend(contender.cell.failures.iter().map(line));
            }
        }
        failures
    }

    /// The table for a terminal, if there is one.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if self.is_empty() {
            return text;
        }
        text.push_str("called by name: median, how many times the first, least and greatest, peak resident MiB\n");
        for contest in &self.contests {
            let _ = writeln!(text, "{} [{}]", contest.name, contest.unit);
            for (which, contender) in contest.contenders.iter().enumerate() {
                let _ = writeln!(text, "    {:<24}{}  {}", contender.name, fields(contest, which), contender.version);
            }
        }
        text.push('\n');
        text
    }

    /// The table for the page, if there is one.
    pub(crate) fn html(&self) -> String {
        let mut html = String::new();
        if self.is_empty() {
            return html;
        }
        html.push_str(
            "<h2>Called by name</h2>\n<p>Each contest against its first contender; the global allocator is mimalloc 3.</p>\n\
             <table><thead><tr><th>contest</th><th>contender</th><th>median</th><th>ratio</th><th>least to greatest</th>\
             <th>peak MiB</th><th>version</th></tr></thead>\n<tbody>\n",
        );
        for contest in &self.contests {
            for (which, contender) in contest.contenders.iter().enumerate() {
                let name = if which == 0 { contest.name.as_str() } else { "" };
                let unit = if which == 0 { contest.unit.as_str() } else { "" };
                let (median, ratio, spread, peak) = columns(contest, which);
                let _ = writeln!(
                    html,
                    "<tr><th>{} <small>{}</small></th><td>{}</td><td>{median}</td><td>{ratio}</td><td>{spread}</td>\
                     <td>{peak}</td><td><small>{}</small></td></tr>",
                    escape(name),
                    escape(unit),
                    escape(&contender.name),
                    escape(&contender.version),
                );
            }
        }
        html.push_str("</tbody></table>\n");
        html
    }

    /// For results.json.
    pub(crate) fn json(&self) -> Value {
        Value::from_iter(self.contests.iter().map(|contest| {
            let contenders = contest.contenders.iter().enumerate().map(|(which, contender)| {
                let spread = contender.cell.value();
                json!({
                    "contender": contender.name,
                    "version": contender.version,
                    "median": spread.map(|spread| spread.median),
                    "min": spread.map(|spread| spread.min),
                    "max": spread.map(|spread| spread.max),
                    "ratio": contest.ratio(which),
                    "wall_ns": contender.cell.wall_ns(),
                    "peak_rss_mib": contender.cell.peak_mib(),
                    "failures": contender.cell.failures,
                    "processes": contender.cell.lines(),
                })
            });
            json!({ "contest": contest.name, "unit": contest.unit, "contenders": contenders.collect::<Vec<_>>() })
        }))
    }
}

/// Median, ratio, spread and peak of a contender, as text.
fn columns(contest: &Contest, which: usize) -> (String, String, String, String) {
    let cell = &contest.contenders[which].cell;
    let Some(spread) = cell.value() else {
        return ("failed".to_owned(), String::new(), String::new(), String::new());
    };
    (
        number(spread.median),
        contest.ratio(which).map_or("-".to_owned(), |ratio| format!("{}x", number(ratio))),
        format!("{}..{}", number(spread.min), number(spread.max)),
        cell.peak_mib().map_or("-".to_owned(), number),
    )
}

fn fields(contest: &Contest, which: usize) -> String {
    let (median, ratio, spread, peak) = columns(contest, which);
    format!("{median:>9} {ratio:>8} {spread:>18} {peak:>7}")
}

#[cfg(test)]
mod tests {
    use super::Contest;
    use serde_json::json;

    #[test]
    fn a_contest_needs_a_name_a_unit_and_contenders() {
        let whole =
            json!({ "name": "a", "unit": "ns/b", "contenders": [{ "name": "c", "package": "sal", "version": "" }] });
        assert_eq!(Contest::parse(&whole).unwrap().contenders.len(), 1);
        for key in ["name", "unit", "contenders"] {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(key);
            assert!(Contest::parse(&less).is_none(), "{key}");
        }
    }
}
