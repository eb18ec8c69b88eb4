//! Power cuts at every moment of random histories: what is found is the last commit that was acknowledged, or one that
//! was under way, page by page; and so it is when the power fails again during or after the recovery.

use super::model::{World, check_checksums, check_image};
use crate::commit::journal::Durability;
use crate::commit::simulated::crash::{Random, Strategy, Unit};
use crate::commit::simulated::{CallKind, Effect, Fault};
use crate::commit::storage::Part;
use crate::os::errno;

/// A history of `steps` random steps.
fn history(seed: u64, steps: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..steps {
        if world.random.below(12) == 0 {
            lose_a_sync(&mut world);
        } else {
            world.step().unwrap();
        }
    }
    world
}

/// A sync fails and loses what it was to write; the journal is broken, and the heap is opened again.
fn lose_a_sync(world: &mut World) {
    let part = if world.random.below(3) == 0 { Part::Data } else { Part::Log };
    let effect = [Effect::Nothing, Effect::Half, Effect::Half, Effect::Whole][world.random.below(4) as usize];
    let matches =
        Box::new(move |call: &crate::commit::simulated::Call| call.kind == CallKind::Sync && call.part == part);
    let skip = world.random.below(3);
    world.disk.inject(Fault { matches, skip, times: 1, errno: errno::IO, effect });
    for step in 0..4 {
        let done = match step {
            0 | 2 => world.commit(step == 2, Durability::Durable),
            1 => world.journal.fold().map(drop),
            _ => world.finish(),
        };
        if done.is_err() {
            assert!(world.journal.is_broken());
            break;
        }
    }
    world.disk.heal();
    world.reopen();
}

/// Cuts the power at each moment of a history; returns how many images were opened.
fn cut_everywhere(world: &World, strategy: Strategy, again: u64) -> u64 {
    let trace = world.disk.trace();
    let mut moment = trace.start();
    let mut random = Random::new(strategy.seed);
    let mut images = 0;
    for point in 0..=trace.len() {
        moment.advance_to(point);
        let expected = world.expected_at(point);
        for image in moment.crash_images(strategy) {
            let (disk, journal, state) = check_image(&image, &expected, world.first_len());
            images += 1;
            if random.below(again) > 0 {
                continue;
            }
            if random.below(2) == 0 {
                journal.fold().unwrap();
                check_checksums(&journal, &state);
            }
            let mut next = World::after(disk, journal, state, images, world.first_len());
            for _ in 0..4 {
                next.step().unwrap();
            }
            let trace = next.disk.trace();
            let mut moment = trace.start();
            let mut point = 0;
            while point <= trace.len() {
                moment.advance_to(point);
                let few = Strategy { most: 4, ..strategy };
                for image in moment.crash_images(few) {
                    check_image(&image, &next.expected_at(point), next.first_len());
                    images += 1;
                }
                point += 1 + random.below(3) as usize;
            }
        }
    }
    images
}

fn run(first: u64, steps: u64, unit: Unit, most: usize, again: u64) {
    // The debug build is an order of magnitude slower.
    let seeds = if cfg!(debug_assertions) { 3 } else { 25 };
    let start = std::time::Instant::now();
    let images: u64 = (first..first + seeds)
        .map(|seed| {
            println!("seed {seed}");
            cut_everywhere(&history(seed, steps), Strategy { unit, most, seed }, again)
        })
        .sum();
    println!("{images} images in {:?}", start.elapsed());
    assert!(images > 500 * seeds);
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_last_commit_whatever_sectors_arrived() {
    run(1, 24, Unit::Sector, 8, 100);
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_last_commit_whatever_pages_arrived() {
    run(100, 24, Unit::Page, 24, 200);
}
