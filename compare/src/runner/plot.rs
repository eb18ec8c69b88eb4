//! The ratios as a drawing in SVG: for each workload one bar per allocator, on a logarithmic scale, from the line of 1 to the
//! left if it is faster than the base and to the right if it is slower.

use super::results::{Mean, Results, Row};
use super::tables::number;
use std::fmt::Write;

const LEFT: f64 = 240.0;
const PLOT: f64 = 620.0;
const WIDTH: f64 = LEFT + PLOT + 40.0;
const BAR: f64 = 11.0;
const GAP: f64 = 14.0;
/// Where ratios that would make the scale useless for the others end.
const WIDEST: f64 = 32.0;

/// The horizontal axis: ratios from `low` to `high`, both powers of two.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// One on which all `ratios` up to [`WIDEST`] have room.
    fn of(ratios: impl Iterator<Item = f64> + Clone) -> Self {
        let least = ratios.clone().fold(0.5, f64::min).max(1.0 / WIDEST);
        let greatest = ratios.fold(2.0, f64::max).min(WIDEST);
        // A little more than the least and the greatest, for the numbers at the ends of the bars.
        Self { low: (least / 1.5).log2().floor().exp2(), high: (greatest * 1.5).log2().ceil().exp2() }
    }

    fn x(&self, ratio: f64) -> f64 {
        let share = (ratio / self.low).log2() / (self.high / self.low).log2();
        LEFT + PLOT * share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low.log2() as i32..=self.high.log2() as i32).map(|power| f64::from(power).exp2())
    }
}

/// The rows of the summary: of each kind the plainest, whoever is ahead in it.
const SUMMARY: [&str; 18] = [
    "pair/64B/const",
    "batch_lifo/1KiB/const",
    "churn/64B/1M_live",
    "vec_growth/80MB/cold",
    "realloc/64B..1MiB",
    "hash_map/churn",
    "btree_map/churn",
    "binary_trees/depth16",
    "json/parse_drop/50MB",
    "large/1..64MiB",
    "producer_consumer/64B/2t",
    "larson/16..512B/2t",
    "mstress/2t",
    "rptest/16B..16KiB/2t",
    "sh8/1..1000B/2t",
    "alloc_test/2t",
    "thread_churn/64_allocations",
    "cold_objects/64B",
];

/// Draws the geometric means and every workload.
pub(crate) fn svg(results: &Results) -> String {
    draw(results, &results.rows.iter().collect::<Vec<_>>())
}

/// Draws the geometric means and a few workloads, which are always the same: small enough to be shown among text.
pub(crate) fn summary(results: &Results) -> String {
    let chosen = results.rows.iter().filter(|row| SUMMARY.contains(&row.workload.name));
    draw(results, &chosen.collect::<Vec<_>>())
}

fn draw(results: &Results, rows: &[&Row]) -> String {
    let peers = 0..results.peers.len();
    let ratios_of =
        |row: &Row| -> Vec<Option<f64>> { peers.clone().map(|which| row.ratio(which, results.base)).collect() };
    let mean_of = |of: Mean| peers.clone().map(|which| results.mean(of, which).map(|mean| mean.0)).collect();
    let mut groups: Vec<(String, String, Vec<Option<f64>>)> = [Mean::SmallObjects, Mean::Time]
        .map(|of| (of.label().to_owned(), "geometric mean".to_owned(), mean_of(of)))
        .into();
    let means = groups.len();
    groups.extend(rows.iter().map(|row| {
        let unit = format!("{}{}", row.workload.unit.label(), if row.workload.cold { ", cold" } else { "" });
        (row.workload.name.to_owned(), unit, ratios_of(row))
    }));

    let scale = Scale::of(groups.iter().flat_map(|group| group.2.iter().flatten().copied()));
    let group_height = BAR * results.peers.len() as f64 + GAP;
    let top = 92.0;
    let bottom = top + group_height * groups.len() as f64;
    let height = bottom + 40.0;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"16\" font-weight=\"bold\">CPU time relative to {}</text>\n\
         <text x=\"12\" y=\"40\" fill=\"#555555\">left of 1 is faster, right is slower; logarithmic; {}</text>\n",
        escape(results.base_name()),
        escape(&results.method)
    );
    legend(&mut svg, results);
    grid(&mut svg, &scale, top, bottom);
    for (index, (name, unit, ratios)) in groups.iter().enumerate() {
        let y = top + group_height * index as f64;
        let row = index.checked_sub(means).map(|index| rows[index]);
        group(&mut svg, results, &scale, y, (name, unit), ratios, row);
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, results: &Results) {
    let mut x = 12.0;
    for peer in &results.peers {
        let (name, colour) = (escape(peer.source.name), peer.source.colour);
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"52\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"62\">{name}</text>", x + 17.0);
        x += 40.0 + 7.0 * name.len() as f64;
    }
}

fn grid(svg: &mut String, scale: &Scale, top: f64, bottom: f64) {
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let (colour, width) = if tick == 1.0 { ("#000000", 1.2) } else { ("#dddddd", 1.0) };
        let label = if tick < 1.0 { format!("1/{}", 1.0 / tick) } else { tick.to_string() };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
        for y in [top - 5.0, bottom + 14.0] {
            let _ =
                writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#555555\">{label}</text>");
        }
    }
}

fn group(
    svg: &mut String,
    results: &Results,
    scale: &Scale,
    y: f64,
    (name, unit): (&str, &str),
    ratios: &[Option<f64>],
    row: Option<&Row>,
) {
    let middle = y + GAP / 2.0 + BAR * ratios.len() as f64 / 2.0;
    let _ = writeln!(svg, "<line x1=\"12\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#eeeeee\"/>", WIDTH - 12.0);
    let _ = writeln!(svg, "<text x=\"12\" y=\"{middle:.1}\" font-weight=\"bold\">{}</text>", escape(name));
    let _ = writeln!(svg, "<text x=\"12\" y=\"{:.1}\" fill=\"#555555\">{}</text>", middle + 13.0, escape(unit));
    for (which, (peer, ratio)) in results.peers.iter().zip(ratios).enumerate() {
        let y = y + GAP / 2.0 + BAR * which as f64;
        let (one, colour) = (scale.x(1.0), peer.source.colour);
        let (x, label) = match ratio {
            Some(ratio) => {
                let median = row.and_then(|row| row.cells[which].value()).map(|spread| number(spread.median));
                let beyond = if *ratio > scale.high || *ratio < scale.low { " (beyond the scale)" } else { "" };
                let median = median.map_or(String::new(), |median| format!(" = {median}"));
                (scale.x(*ratio), format!("{}x{median}{beyond}", number(*ratio)))
            }
            None => (one, "failed".to_owned()),
        };
        let (left, width) = (x.min(one), (x - one).abs().max(1.5));
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            BAR - 2.0
        );
        // Inside the scale's margin where it fits; beyond it the number goes to the other side of the line.
        let (text_x, anchor) = match (x < one, x) {
            (true, x) if x > LEFT + 70.0 => (x - 4.0, "end"),
            (false, x) if x < LEFT + PLOT - 60.0 => (x + 4.0, "start"),
            (true, _) => (one + 4.0, "start"),
            (false, _) => (one - 4.0, "end"),
        };
        let _ = writeln!(
            svg,
            "<text x=\"{text_x:.1}\" y=\"{:.1}\" font-size=\"9\" text-anchor=\"{anchor}\" fill=\"#333333\">{label}</text>",
            y + BAR - 3.0
        );
    }
}

/// `text` where markup is read.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{LEFT, PLOT, SUMMARY, Scale, escape};
    use compare::workloads;

    #[test]
    fn the_rows_of_the_summary_exist() {
        for name in SUMMARY {
            assert!(workloads::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn one_lies_between_what_is_faster_and_what_is_slower() {
        let scale = Scale::of([0.3, 1.0, 5.0].into_iter());
        assert!((LEFT..scale.x(1.0)).contains(&scale.x(0.3)));
        assert!((scale.x(1.0)..LEFT + PLOT).contains(&scale.x(5.0)));
        assert_eq!(scale.x(1e9), LEFT + PLOT);
    }

    #[test]
    fn markup_in_names_is_harmless() {
        assert_eq!(escape("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
    }
}
