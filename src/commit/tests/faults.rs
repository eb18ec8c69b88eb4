//! Each call of a history fails once, or from then on: nothing is acknowledged that is not there afterwards.

use super::model::{World, check_image};
use crate::commit::journal::{AppendError, Durability};
use crate::commit::simulated::crash::{Strategy, Unit};
use crate::commit::simulated::{Effect, Fault};
use crate::os::{Errno, errno};

fn steps(world: &mut World) {
    for step in 0..14 {
        let done = match step {
            0 | 1 | 5 | 8 | 9 | 10 | 13 => world.commit(false, Durability::Durable),
            2 | 6 => world.commit(true, Durability::Durable),
            3 => world.commit(false, Durability::Written),
            4 | 11 => world.journal.fold().map(drop),
            7 => world.journal.try_empty().map(drop),
            _ => world.finish(),
        };
        match done {
            Ok(()) => assert!(!world.journal.is_broken()),
            Err(AppendError::Os(_)) => {}
            Err(AppendError::Broken) => assert!(world.journal.is_broken()),
        }
    }
}

fn every_call_fails(seed: u64, errno: Errno, effect: Effect, times: u64) {
    let calls = {
        let mut world = World::new(seed);
        steps(&mut world);
        world.disk.calls()
    };
    assert!(calls > 50);
    for skip in 0..calls {
        println!("call {skip} of seed {seed}");
        let mut world = World::new(seed);
        world.disk.inject(Fault { matches: Box::new(|_| true), skip, times, errno, effect });
        steps(&mut world);
        let hits = world.disk.heal();
        if times == 1 && errno == errno::NO_SPACE && !world.journal.is_broken() {
            world.commit(false, Durability::Durable).unwrap();
        }
        let point = world.disk.operations();
        let strategy = Strategy { unit: Unit::Sector, most: 6, seed: skip };
        for image in world.disk.trace().crash_images(point, strategy) {
            check_image(&image, &world.expected_at(point), world.first_len());
        }
        // The process ends, and what it wrote is there.
        world.reopen();
        world.commit(true, Durability::Durable).unwrap();
        let trace = world.disk.trace();
        let mut moment = trace.start();
        for point in point..=trace.len() {
            moment.advance_to(point);
            let few = Strategy { most: if point == trace.len() { 6 } else { 3 }, ..strategy };
            for image in moment.crash_images(few) {
                check_image(&image, &world.expected_at(point), world.first_len());
            }
        }
        assert!(hits > 0 || skip > 50, "call {skip} was never made");
    }
}

#[test]
fn an_input_output_error_of_any_call_loses_nothing_that_was_acknowledged() {
    every_call_fails(1, errno::IO, Effect::Half, 1);
    every_call_fails(2, errno::IO, Effect::Whole, 1);
    every_call_fails(3, errno::IO, Effect::Nothing, u64::MAX);
}

#[test]
fn a_full_disk_at_any_call_loses_nothing_that_was_acknowledged() {
    every_call_fails(4, errno::NO_SPACE, Effect::Half, 1);
    every_call_fails(5, errno::NO_SPACE, Effect::Nothing, u64::MAX);
}
