//! The results as text for a terminal.

use super::results::{Cell, Results, Row};
use std::fmt::Write;

const NAME_WIDTH: usize = 28;
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

    let mut line = |label: &str, value: &dyn Fn(usize) -> Option<(f64, usize)>| {
        let _ = write!(text, "{label:<NAME_WIDTH$}");
        for which in 0..results.peers.len() {
            let mean = value(which).map_or("-".to_owned(), |(mean, rows)| format!("{mean:.2}x of {rows}"));
            let _ = write!(text, "{mean:>CELL_WIDTH$}");
        }
        text.push('\n');
    };
    line("geometric mean, time", &|which| results.mean_ratio(which));
    line("geometric mean, peak memory", &|which| results.mean_memory_ratio(which));
    let _ = writeln!(text, "\n{}", about(results).join("\n"));
    text
}

/// Machine, method, load, versions and failures, a line each.
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
    lines.extend(results.failures().into_iter().map(|failure| format!("FAILED: {failure}")));
    lines
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
