//! The results as text for a terminal.

use super::peers::{OURS, Peer};
use super::results::{Cell, MEANS, Results, Row};
use std::fmt::Write;

const NAME_WIDTH: usize = 42;
const CELL_WIDTH: usize = 17;

/// A number with about three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0..0.1 => format!("{value:.4}"),
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        100.0..100_000.0 => format!("{value:.0}"),
        _ => format!("{value:.2e}"),
    }
}

/// Everything: medians with ratios, spreads, peaks, means, machine.
pub(crate) fn text(results: &Results) -> String {
    let base = results.base;
    let mut text = String::new();
    table(&mut text, results, &format!("median, and how many times {}", results.base_name()), |row, which| {
        let median = number(row.cells[which].value()?.median);
        Some(match row.ratio(which, base) {
            Some(ratio) => format!("{median} {:>6}x", number(ratio)),
            None => format!("{median} {:>7}", "-"),
        })
    });
    let of_cell = |value: fn(&Cell) -> Option<String>| move |row: &Row, which: usize| value(&row.cells[which]);
    let spread = |cell: &Cell| cell.value().map(|spread| format!("{}..{}", number(spread.min), number(spread.max)));
    table(&mut text, results, "least and greatest of the processes", of_cell(spread));
    table(&mut text, results, "peak resident MiB", of_cell(|cell| cell.peak_mib().map(number)));

    for (label, means) in means(results) {
        let _ = write!(text, "{label:<NAME_WIDTH$}");
        for mean in means {
            let mean = mean.map_or("-".to_owned(), |(mean, rows)| format!("{mean:.2}x of {rows}"));
            let _ = write!(text, "{mean:>CELL_WIDTH$}");
        }
        text.push('\n');
    }
    if !results.libraries.is_empty() {
        text.push('\n');
        text.push_str(results.libraries.text().trim_end_matches('\n'));
        text.push('\n');
    }
    let _ = writeln!(text, "\n{}", about(results).join("\n"));
    text
}

/// A geometric mean of each peer: its ratio, and the number of rows.
pub(crate) type Means = Vec<Option<(f64, usize)>>;

/// The lines of geometric means: of this run, and of the run with the other setting of huge pages.
pub(crate) fn means(results: &Results) -> Vec<(String, Means)> {
    let mut lines = Vec::new();
    for of in MEANS {
        let mean = |which| results.mean(of, which);
        lines.push((of.label().to_owned(), (0..results.peers.len()).map(mean).collect()));
    }
    if let Some(other) = &results.other {
        let setting = if results.no_huge_pages { "huge pages" } else { "no huge pages" };
        for of in MEANS {
            let mean = |peer: &Peer| other.mean(of, peer.source.name);
            lines.push((format!("{setting}: {}", of.label()), results.peers.iter().map(mean).collect()));
        }
    }
    lines
}

/// Machine, method, load, versions, losses and failures, a line each.
pub(crate) fn about(results: &Results) -> Vec<String> {
    let versions = results.peers.iter().map(|peer| format!("{} = {}", peer.source.name, peer.version));
    let versions: Vec<String> = versions.collect();
    let mut lines = vec![
        format!("machine: {}", results.machine.line()),
        format!("build: {}", results.build),
        format!("method: {}", results.method),
        format!("load average: {} at the start, {} at the end", results.load_at_start, results.load_at_end),
        format!("allocators: {}", versions.join(", ")),
    ];
    lines.extend(lost(results));
    if let Some(other) = &results.other {
        lines.push(format!("the other run: {}", other.method));
    }
    lines.extend(results.failures().into_iter().map(|failure| format!("FAILED: {failure}")));
    lines
}

/// What is lost, in a line; none if nothing is.
fn lost(results: &Results) -> Option<String> {
    let losses = results.losses();
    let names = losses.iter().map(|(row, best, ratio)| {
        format!("{} {}x of {}", row.workload.name, number(*ratio), results.peers[*best].source.name)
    });
    let names: Vec<String> = names.collect();
    let (lost, rows) = (losses.len(), results.rows.len());
    (lost > 0)
        .then(|| format!("{OURS} is over a quarter behind the best in {lost} of {rows} rows: {}", names.join(", ")))
}

fn table(text: &mut String, results: &Results, title: &str, cell: impl Fn(&Row, usize) -> Option<String>) {
    let _ = write!(text, "{title}\n{:<NAME_WIDTH$}", "");
    for peer in &results.peers {
        let _ = write!(text, "{:>CELL_WIDTH$}", peer.source.name);
    }
    text.push('\n');
    for row in &results.rows {
        let _ = write!(text, "{:<NAME_WIDTH$}", row.workload.name);
        for which in 0..results.peers.len() {
            let _ = write!(text, "{:>CELL_WIDTH$}", cell(row, which).unwrap_or_else(|| "failed".to_owned()));
        }
        let _ = writeln!(text, "  {}", row.workload.unit.label());
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_keep_the_digits_that_count() {
        let shown = [0.00487, 0.456, 12.34, 345.6, 98_765.4, 1_234_567.0].map(number);
        assert_eq!(shown, ["0.0049", "0.46", "12.3", "346", "98765", "1.23e6"]);
    }
}
