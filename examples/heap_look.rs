//! Shows what a heap file holds, whatever state it is in: `heap_look words.sal --verify --orphans`.

use clap::Parser;
use sal::Archaeology;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows what a heap file holds, without changing it.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The heap file.
    path: PathBuf,
    /// Looks the file through for damage: its tables, and the checksums of its pages.
    #[arg(long)]
    verify: bool,
    /// Lists blocks that nothing leads to.
    #[arg(long)]
    orphans: bool,
    /// Shows the layout of each root's type.
    #[arg(long)]
    types: bool,
    /// Shows bytes: offset and length, decimal or with 0x.
    #[arg(long, num_args = 2, value_names = ["OFFSET", "LEN"], value_parser = number)]
    hex: Vec<u64>,
    /// Says where an address that was stored in the heap leads to now.
    #[arg(long, value_name = "ADDRESS", value_parser = number)]
    rebase: Option<u64>,
    /// Opens the file also while a program has it open for writing.
    #[arg(long)]
    ignore_lock: bool,
    /// Takes what can be had of a damaged commit log.
    #[arg(long)]
    salvage: bool,
}

fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16))
}

fn show_header(found: &Archaeology) {
    let id: String = found.id().iter().map(|byte| format!("{byte:02x}")).collect();
    let closed = if found.is_clean() { "closed well" } else { "not closed" };
    println!("{:?} heap {id}, {closed}, commit {}", found.mode(), found.commit());
    println!("{} bytes, capacity {}, at {:#x?}", found.len(), found.capacity(), found.address_range());
    for (number, base) in found.bases().enumerate() {
        println!("base {number}: {base:#x}");
    }
    found.damage().iter().for_each(|finding| println!("damage {finding}"));
}

fn show_roots(found: &Archaeology, types: bool) {
    for root in found.roots() {
        let place = root.offset.map_or("nowhere".into(), |offset| format!("at {offset:#x}"));
        println!("root {} {}: {} bytes {place}, {}", root.info.id, root.info.tag, root.info.len, root.info.type_name);
        if let (true, Some(description)) = (types, &root.description) {
            print!("{description}");
        }
    }
}

fn show_blocks(found: &Archaeology) {
    let (mut count, mut bytes, mut large) = (0_u64, 0, 0_u64);
    for block in found.blocks() {
        count += 1;
        bytes += block.len;
        large += u64::from(block.is_large);
    }
    let known = if found.knows_free_blocks() { "" } else { ", free ones among them" };
    println!("{count} blocks of {bytes} bytes, {large} of them large objects{known}");
}

fn show_orphans(found: &Archaeology) -> Result<(), Box<dyn Error>> {
    let orphans = found.orphans()?;
    println!("{} orphans of {} bytes", orphans.len(), orphans.iter().map(|orphan| orphan.len).sum::<u64>());
    for orphan in &orphans {
        println!("orphan at {:#x}: {} bytes", orphan.offset, orphan.len);
        show_bytes(found, orphan.offset, orphan.len.min(16));
    }
    Ok(())
}

fn show_bytes(found: &Archaeology, offset: u64, len: u64) {
    let mut at = offset;
    let end = offset.saturating_add(len);
    while at < end {
        let len = (end - at).min(16 - at % 16);
        let Some(bytes) = found.bytes(at, len) else {
            println!("{at:#012x}  not to be had");
            return;
        };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text: String =
            bytes.iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '.' }).collect();
        println!("{at:#012x}  {hex:<48} {text}");
        at += len;
    }
}

/// Says what is damaged; true if nothing is.
fn verify(found: &Archaeology) -> bool {
    let report = found.verify();
    let scrubbed = found.scrub(|_| ControlFlow::Continue(()));
    print!("{report}{scrubbed}");
    report.is_good() && scrubbed.is_good()
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let options = Archaeology::options().ignore_lock(arguments.ignore_lock).salvage(arguments.salvage);
    let found = options.open(&arguments.path)?;
    show_header(&found);
    show_roots(&found, arguments.types);
    show_blocks(&found);
    if arguments.orphans {
        show_orphans(&found)?;
    }
    if let [offset, len] = arguments.hex[..] {
        show_bytes(&found, offset, len);
    }
    if let Some(address) = arguments.rebase {
        match found.rebase(address) {
            Some(offset) => println!("{address:#x} is offset {offset:#x}, in {:?}", found.block_at(offset)),
            None => println!("{address:#x} is no address of this heap"),
        }
    }
    Ok(!arguments.verify || verify(&found))
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
