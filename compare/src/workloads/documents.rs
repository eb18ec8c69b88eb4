//! A generated JSON document parsed into a tree of values and dropped.

use super::Workload;
use crate::measure::Meter;
use crate::random::Random;
use serde_json::Value;
use std::fmt::Write;
use std::hint::black_box;

pub(super) const WORKLOADS: &[Workload] = &[Workload::new("json/parse_drop/50MB", "KB", parse_and_drop).quick()];

fn parse_and_drop(meter: &mut Meter) {
    let document = document(meter.scaled(50_000_000));
    meter.repeat(2, document.len() / 1_000, || {
        let value: Value = serde_json::from_str(&document).expect("the document is valid");
        drop(black_box(value));
    });
}

/// An array of records, at least `length` bytes long and the same in every run.
fn document(length: usize) -> String {
    const WORDS: [&str; 8] = ["ash", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hornbeam"];
    let mut random = Random::new(6);
    let mut text = String::with_capacity(length + 1_024);
    text.push('[');
    while text.len() < length {
        if text.len() > 1 {
            text.push(',');
        }
        let word = WORDS[random.below(WORDS.len())];
        let (id, score) = (random.below(1_000_000), random.below(10_000));
        let written =
            write!(text, r#"{{"id":{id},"name":"{word} {id}","score":{score}.5,"live":{},"tags":["#, id % 2 == 0);
        written.expect("a string takes all text");
        for tag in 0..random.between(1, 6) {
            text.push_str(if tag == 0 { "\"" } else { ",\"" });
            text.push_str(WORDS[random.below(WORDS.len())]);
            text.push('"');
        }
        text.push_str(r#"],"place":{"row":1,"column":[2,3,null]}}"#);
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::document;
    use serde_json::Value;

    #[test]
    fn the_generated_document_is_json_of_about_the_length_asked_for() {
        let text = document(100_000);
        assert!((100_000..101_000).contains(&text.len()));
        assert!(serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().len() > 100);
    }
}
