//! The results as one HTML page: means, every number, the drawing.

use super::plot::escape;
use super::results::Results;
use super::tables::{about, means, number};
use std::fmt::Write;

const STYLE: &str = "body{font-family:sans-serif;font-size:14px;margin:2em;max-width:1200px;color:#222;background:#fff}\
table{border-collapse:collapse}th,td{padding:3px 10px;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}\
th:first-child{text-align:left}thead th{position:sticky;top:0;background:#fff}small{color:#666}.best{background:#e3f1e3}\
svg{max-width:100%;height:auto}";

/// The page, with `plot` in it.
pub(crate) fn html(results: &Results, plot: &str) -> String {
    let mut body = String::new();
    let (durable, other) = if results.no_huge_pages {
        ("../durable.html", "../index.html")
    } else {
        ("durable.html", "no_huge_pages/index.html")
    };
    let _ = writeln!(
        body,
        "<p>Each cell: median, times {}; least to greatest of the processes, peak resident memory. The best of a row is \
         shaded; differences under a quarter are ties on a machine that does other work too. What a run with --durable \
         found is <a href=\"{durable}\">on a page of its own</a>.</p>",
        escape(results.base_name())
    );
    if results.other.is_some() {
        let setting = if results.no_huge_pages { "with" } else { "without" };
        let _ = writeln!(body, "<p>The same <a href=\"{other}\">{setting} huge pages</a>.</p>");
    }
    table(&mut body, results);
    body.push_str(&results.libraries.html());
    let _ = writeln!(body, "<h2>Ratios</h2>\n{plot}");
    whole("Global allocators compared", &about(results), &body)
}

/// A whole page: a title, how it was measured, and what `body` says.
pub(crate) fn whole(title: &str, about: &[String], body: &str) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
    );
    for line in about {
        let _ = writeln!(page, "<p>{}</p>", escape(line));
    }
    page.push_str(body);
    page.push_str("</body></html>\n");
    page
}

fn table(page: &mut String, results: &Results) {
    page.push_str("<table><thead><tr><th>workload</th>");
    for peer in &results.peers {
        let _ = write!(page, "<th>{}</th>", escape(peer.source.name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (label, means) in means(results) {
        let _ = write!(page, "<tr><th>{label}</th>");
        for mean in means {
            match mean {
                Some((mean, rows)) => {
                    let _ = write!(page, "<td><b>{mean:.2}x</b> <small>of {rows}</small></td>");
                }
                None => page.push_str("<td>-</td>"),
            }
        }
        page.push_str("</tr>\n");
    }
    for row in &results.rows {
        let unit = row.workload.unit.label();
        let _ = write!(page, "<tr><th>{} <small>{}</small></th>", escape(row.workload.name), escape(&unit));
        let best = row.best();
        for (which, cell) in row.cells.iter().enumerate() {
            let Some(spread) = cell.value() else {
                page.push_str("<td>failed</td>");
                continue;
            };
            let _ = write!(
                page,
                "<td{}>{} <small>{}x</small><br><small>{} to {}, {} MiB</small></td>",
                if best == Some(which) { " class=\"best\"" } else { "" },
                number(spread.median),
                row.ratio(which, results.base).map_or("-".to_owned(), number),
                number(spread.min),
                number(spread.max),
                cell.peak_mib().map_or("-".to_owned(), number),
            );
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
}
