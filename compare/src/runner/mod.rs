//! The comparison itself: build the peers, run the rounds, write the results.

mod arguments;
#[cfg(feature = "databases")]
mod durable;
mod libraries;
mod machine;
mod page;
mod peers;
mod plot;
mod results;
mod rounds;
mod tables;

use arguments::{Arguments, HELP};
use compare::process;
use compare::workloads::{self, Workload};
use libraries::Libraries;
use results::{OtherRun, Results};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where, below the directory of the results, those of a run without huge pages are written.
const NO_HUGE_PAGES: &str = "no_huge_pages";

/// Does what the command line asks; an error is a sentence for the user.
pub(crate) fn run() -> Result<(), String> {
    #[cfg(feature = "databases")]
    if env::args().nth(1).is_some_and(|word| word == durable::WORKER) {
        return durable::work(env::args().skip(2));
    }
    let arguments = Arguments::parse(env::args().skip(1))?;
    if arguments.help {
        print!("{HELP}");
        return Ok(());
    }
    if arguments.durable {
        return compare_stores(&arguments);
    }
    let chosen: Vec<&'static Workload> = workloads::all().filter(|workload| arguments.wants(workload)).collect();
    if arguments.list {
        chosen.iter().for_each(|workload| println!("{} [{}]", workload.name, workload.unit.label()));
        return Ok(());
    }
    if arguments.no_huge_pages && !process::forbid_huge_pages() {
        return Err("the kernel refused to forbid huge pages".to_owned());
    }

    let target = target_directory()?;
    let directory = target.join("compare");
    let cannot = |error| format!("cannot work in {}: {error}", directory.display());
    fs::create_dir_all(directory.join(NO_HUGE_PAGES)).map_err(cannot)?;
    let binaries = if arguments.lto { target.join("lto") } else { target };
    let mut libraries = Libraries::none();
    if arguments.libraries {
        let place = arguments.directory.as_deref().unwrap_or(&directory);
        libraries = Libraries::build(&arguments, &binaries, place).unwrap_or_else(|message| {
            eprintln!("LEFT OUT: the libraries: {message}");
            Libraries::none()
        });
    }
    if chosen.is_empty() {
        if libraries.is_empty() {
            return Err("no workload is left to run; --list shows them".to_owned());
        }
        libraries.run(&arguments);
        print!("{}", libraries.text());
        libraries.failures().iter().for_each(|failure| println!("FAILED: {failure}"));
        return Ok(());
    }
    let peers = peers::build(&arguments, &binaries)?;
    let load_at_start = machine::load();
    let rows = rounds::run(&arguments, &peers, &chosen);
    libraries.run(&arguments);
    let mut results = Results::new(&arguments, peers, rows, libraries, load_at_start);

    let without = directory.join(NO_HUGE_PAGES);
    let (directory, other) = if arguments.no_huge_pages { (without, directory) } else { (directory, without) };
    let other = fs::read_to_string(other.join("results.json")).unwrap_or_default();
    results.other = OtherRun::parse(&other, &results);
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    print!("{}", tables::text(&results));
    let plot = plot::svg(&results);
    write("results.json", results.json())?;
    write("index.html", page::html(&results, &plot))?;
    write("ratios.svg", plot)?;
    write("summary.svg", plot::summary(&results))?;
    println!("\nwritten: {}/{{results.json, ratios.svg, summary.svg, index.html}}", directory.display());
    Ok(())
}

#[cfg(feature = "databases")]
fn compare_stores(arguments: &Arguments) -> Result<(), String> {
    durable::run(arguments.rounds, arguments.quick, arguments.directory.as_deref(), &target_directory()?)
}

#[cfg(not(feature = "databases"))]
fn compare_stores(_arguments: &Arguments) -> Result<(), String> {
    Err("it was built without the databases; build it with --features databases".to_owned())
}

/// The target directory this binary was built in.
fn target_directory() -> Result<PathBuf, String> {
    let executable = env::current_exe().map_err(|error| format!("cannot find this program's file: {error}"))?;
    let target = executable.parent().and_then(Path::parent);
    target.map(Path::to_owned).ok_or_else(|| "this program is not in a cargo target directory".to_owned())
}
