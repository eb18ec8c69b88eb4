//! Contenders in turn, round by round.

use std::time::Instant;

const ROUNDS: usize = 15;

/// Begins the table. Says which operations are wanted: those that have the word on the command line in their names, if there is one.
pub(crate) fn begin() -> impl Fn(&str) -> bool {
    // `cargo bench` passes `--bench`.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("{:<34}{:>12} {:>24}{:>8}", "", "median ns", "(least to greatest)", "ratio");
    move |name| only.as_ref().is_none_or(|only| name.contains(only.as_str()))
}

/// One of those that are compared.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    /// Does so many operations.
    pub(crate) run: Box<dyn FnMut(usize) + 'a>,
}

pub(crate) fn contender<'a>(name: &'static str, run: impl FnMut(usize) + 'a) -> Contender<'a> {
    Contender { name, run: Box::new(run) }
}

/// Runs all contenders; the first is what the others are compared with.
pub(crate) fn compare(operation: &str, operations: usize, mut contenders: Vec<Contender<'_>>) {
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..=ROUNDS {
        for at in 0..contenders.len() {
            let at = (at + round) % contenders.len();
            let began = Instant::now();
            (contenders[at].run)(operations);
            let took = began.elapsed().as_nanos() as f64 / operations as f64;
            // The first is for warming up.
            if round > 0 {
                times[at].push(took);
            }
        }
    }
    let mut base = None;
    for (contender, times) in contenders.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        let ratio = median / *base.get_or_insert(median);
        let (least, greatest) = (times[0], times[times.len() - 1]);
        let name = format!("{operation}/{}", contender.name);
        println!("{name:<34}{median:>12.2} {:>24}{ratio:>8.2}", format!("({least:.2} to {greatest:.2})"));
    }
}
