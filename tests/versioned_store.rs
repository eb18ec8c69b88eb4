//! The example of a store with versions: readers see whole versions only, and what was committed survives kills.
#![allow(unsafe_code)]

#[path = "../examples/versioned_store/load.rs"]
mod load;
#[path = "../examples/versioned_store/store.rs"]
#[allow(dead_code, reason = "the program does more than the tests do")]
mod store;
mod support;

use load::{Load, check};
use std::time::Duration;
use store::Store;
use support::{Random, alone, fresh_path, process, seed};

#[test]
fn changes_snapshots_and_rolling_back_are_seen_where_they_should_be() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let store = Store::open(&path).unwrap();
    let value = |at| store.map(at).unwrap().get("colour").map(|value| value.to_string());
    assert_eq!(store.put("colour", "blue").unwrap(), None);
    store.snapshot("monday").unwrap();
    assert_eq!(store.put("colour", "red").unwrap().as_deref(), Some("blue"));
    assert_eq!((value(None).as_deref(), value(Some("monday")).as_deref()), (Some("red"), Some("blue")));
    store.roll_back("monday").unwrap();
    assert_eq!(value(None).as_deref(), Some("blue"));
    assert_eq!(store.delete("colour").unwrap().as_deref(), Some("blue"));
    assert_eq!((value(None), store.snapshots().unwrap()), (None, vec!["monday".to_owned()]));
    store.drop_snapshot("monday").unwrap();
    assert!(store.map(Some("monday")).is_err());
    store.close().unwrap();
}

#[test]
fn a_store_under_load_is_whole_after_every_kill() {
    let name = "a_store_under_load_is_whole_after_every_kill";
    let load = |seconds| Load { seconds, readers: 2, batch: 20, keys: 2000 };
    if let Some((role, path)) = process::role() {
        let store = Store::open(&path).unwrap();
        match role.as_str() {
            "load" => {
                process::say("open");
                load(60).run(&store).unwrap();
            }
            "begin" => println!("{}", load(1).run(&store).unwrap()),
            _ => println!("{}", check(&store).unwrap()),
        }
        return store.close().unwrap();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    process::run(name, "begin", &path);
    let seed = seed(7);
    println!("seed {seed}");
    let mut random = Random(seed);
    for _ in 0..5 {
        let mut child = process::start(name, "load", &path);
        child.wait_for("open");
        // However long that is: the store may be in the middle of anything.
        std::thread::sleep(Duration::from_micros(random.next() % 400_000));
        child.kill();
        process::run(name, "check", &path);
    }
    let store = Store::open(&path).unwrap();
    // Nothing but the newest version is left then, and it is not larger than at first.
    for name in store.snapshots().unwrap() {
        store.drop_snapshot(&name).unwrap();
    }
    let live = store.live_bytes();
    assert!(live < 2 << 20, "{live}");
    store.close().unwrap();
}
