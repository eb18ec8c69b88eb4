//! The rows, and the table they end in.

use std::fmt::Write;
use std::time::Duration;

/// Least, middle and greatest of what was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    min: f64,
    median: f64,
    max: f64,
    count: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a row was measured at least once");
        values.sort_by(f64::total_cmp);
        let (middle, last) = (values.len() / 2, values.len() - 1);
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Self { min: values[0], median, max: values[last], count: values.len() }
    }
}

/// What a row should reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// So many times the base at most.
    Ratio(f64),
    /// So much at most, in the row's unit.
    Limit(f64),
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    value: Spread,
    base: Option<Spread>,
    aim: Option<Aim>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.base.map(|base| self.value.median / base.median)
    }

    fn aim(&self) -> String {
        match self.aim {
            Some(Aim::Ratio(most)) => format!("<= {most}x"),
            Some(Aim::Limit(most)) => format!("<= {}", number(most)),
            None => String::new(),
        }
    }

    fn verdict(&self) -> &'static str {
        let is_met = match self.aim {
            Some(Aim::Ratio(most)) => self.ratio().map(|ratio| ratio <= most),
            Some(Aim::Limit(most)) => Some(self.value.median <= most),
            None => None,
        };
        match is_met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

/// All rows, in the order they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a row of numbers, with those of its base if it has one, and says it on standard error.
    pub(crate) fn add(
        &mut self,
        name: String,
        unit: &'static str,
        values: Vec<f64>,
        base: Option<Vec<f64>>,
        aim: Option<Aim>,
    ) {
        let row = Row { name, unit, value: Spread::of(values), base: base.map(Spread::of), aim };
        eprintln!("{}: {} {unit}", row.name, number(row.value.median));
        self.rows.push(row);
    }

    /// The same of times, in milliseconds.
    pub(crate) fn add_times(&mut self, name: String, times: &[Duration], base: Option<&[Duration]>, aim: Option<Aim>) {
        let milliseconds = |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        self.add(name, "ms", milliseconds(times), base.map(milliseconds), aim);
    }

    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let mut text = format!(
            "{:<width$} {:>4} {:>6} {:>9} {:>9} {:>9} {:>9} {:>7} {:>9}\n",
            "", "unit", "rounds", "median", "least", "greatest", "base", "ratio", "aim"
        );
        for row in &self.rows {
            let Spread { min, median, max, count } = row.value;
            let [median, min, max] = [median, min, max].map(number);
            let base = row.base.map_or(String::new(), |base| number(base.median));
            let ratio = row.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}x"));
            let line = format!(
                "{:<width$} {:>4} {count:>6} {median:>9} {min:>9} {max:>9} {base:>9} {ratio:>7} {:>9} {}",
                row.name,
                row.unit,
                row.aim(),
                row.verdict()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// A number with about three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..0.1 => format!("{value:.4}"),
        0.1..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
