use super::*;
use crate::error::SyncError;
use crate::heap::{Heap, HeapOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);
const MOMENT: Option<Duration> = Some(Duration::from_millis(20));

#[track_caller]
fn write(gate: &Gate) -> u64 {
    gate.enter_to_write(false, || false, Location::caller()).unwrap()
}

/// Returns as soon as the gate is as asked; each look lets other threads run.
fn wait_until(gate: &Gate, reached: impl Fn(&State) -> bool) {
    while !reached(&gate.state()) {
        thread::yield_now();
    }
}

fn heap() -> Heap {
    HeapOptions::new().volatile().unwrap()
}

/// Checks that nobody is inside, nor believed to be on the way.
fn check_idle(gate: &Gate) {
    let state = gate.state();
    assert_eq!((state.phase, state.writers.len(), state.by_handle), (Phase::Open, 0, 0));
    assert_eq!((state.waiting, state.admitted, state.syncs), (0, 0, 0));
}

#[test]
fn writers_wait_while_captured_and_only_then() {
    let gate = Gate::default();
    gate.leave_writing(write(&gate));
    let capture = gate.close_for_capture(None).unwrap();
    thread::scope(|scope| {
        let (sender, begun) = mpsc::channel();
        let (gate, again) = (&gate, sender.clone());
        for sender in [sender, again] {
            scope.spawn(move || sender.send(write(gate)).unwrap());
        }
        wait_until(gate, |state| state.waiting == 2);
        gate.enter_to_read(true).unwrap();
        gate.leave_reading(true);
        assert!(begun.try_recv().is_err());
        drop(capture);
        for session in begun {
            gate.leave_writing(session);
        }
    });
    gate.leave_writing(write(&gate));
    check_idle(&gate);
}

#[test]
fn a_capture_waits_until_the_last_writer_has_left() {
    let gate = Gate::default();
    let sessions = [write(&gate), write(&gate)];
    thread::scope(|scope| {
        let capturing = scope.spawn(|| gate.close_for_capture(None).map(drop));
        wait_until(&gate, |state| state.phase == Phase::Closing);
        gate.leave_writing(sessions[0]);
        assert_eq!(gate.state().phase, Phase::Closing);
        gate.leave_writing(sessions[1]);
        capturing.join().unwrap().unwrap();
    });
    check_idle(&gate);
}

#[test]
fn reading_sessions_do_not_hold_the_gate() {
    let heap = heap();
    let gate = &heap.inner().gate;
    let reading = heap.read().unwrap();
    drop(gate.close_for_capture(NO_WAIT).unwrap());
    drop(reading);
    check_idle(gate);
}

#[test]
fn inner_sessions_and_those_of_attached_threads_pass_a_closing_gate() {
    let heap = heap();
    let (gate, other) = (&heap.inner().gate, self::heap());
    let outer = heap.write().unwrap();
    thread::scope(|scope| {
        let capturing = scope.spawn(|| gate.close_for_capture(None).map(drop));
        wait_until(gate, |state| state.phase == Phase::Closing);
        let inner = heap.write().unwrap();
        // Through another heap's session it is still an inner one.
        let elsewhere = other.write().unwrap();
        drop(heap.write().unwrap());
        drop((inner, elsewhere));
        thread::scope(|scope| {
            scope.spawn(|| {
                let _attached = outer.attach();
                drop(heap.write().unwrap());
            });
        });
        assert_eq!(gate.state().phase, Phase::Closing);
        // One that has a session of another heap only must wait.
        let stranger = scope.spawn(|| {
            let _elsewhere = other.write().unwrap();
            drop(heap.write().unwrap());
        });
        wait_until(gate, |state| state.waiting == 1);
        drop(outer);
        capturing.join().unwrap().unwrap();
        stranger.join().unwrap();
    });
    check_idle(gate);
}

#[test]
fn a_forgotten_session_of_another_heap_does_not_lead_into_a_capture() {
    let gate = Gate::default();
    let capture = gate.close_for_capture(NO_WAIT).unwrap();
    thread::scope(|scope| {
        let gate = &gate;
        let writer = scope.spawn(move || gate.enter_to_write(false, || true, Location::caller()).unwrap());
        wait_until(gate, |state| state.waiting == 1);
        drop(capture);
        gate.leave_writing(writer.join().unwrap());
    });
    check_idle(&gate);
}

#[test]
fn when_the_limit_passes_the_holders_are_named_and_the_gate_is_open_again() {
    let heap = heap();
    let gate = &heap.inner().gate;
    let (release, released) = mpsc::channel::<()>();
    let (sender, begun) = mpsc::channel();
    thread::scope(|scope| {
        let heap = &heap;
        let holder = move || {
            let _tx = heap.write().unwrap();
            let line = line!() - 1;
            sender.send(line).unwrap();
            let _ = released.recv();
        };
        thread::Builder::new().name("the holder".into()).spawn_scoped(scope, holder).unwrap();
        let line = begun.recv().unwrap();
        for limit in [NO_WAIT, MOMENT] {
            let waiting = scope.spawn(move || {
                wait_until(gate, |state| state.phase == Phase::Closing || limit == NO_WAIT);
                drop(heap.write().unwrap());
            });
            let began = Instant::now();
            let holders = gate.close_for_capture(limit).unwrap_err();
            assert!(began.elapsed() >= limit.unwrap());
            assert_eq!(holders.len(), 1);
            assert_eq!(holders[0].thread, "the holder");
            assert_eq!((holders[0].begun_at.file(), holders[0].begun_at.line()), (file!(), line));
            assert!(holders[0].open_for >= limit.unwrap());
            if limit == NO_WAIT {
                waiting.join().unwrap();
            } else {
                // It may look too late; another attempt shows it the closing gate.
                while !waiting.is_finished() {
                    gate.close_for_capture(MOMENT).unwrap_err();
                }
            }
        }
        drop(release);
    });
    drop(gate.close_for_capture(NO_WAIT).unwrap());
    check_idle(gate);
}

#[test]
fn a_sync_that_waits_for_a_session_that_panics_does_not_commit() {
    let directory = tempfile::tempdir().unwrap();
    // SAFETY: only this test writes to the file.
    let heap = unsafe { Heap::open(directory.path().join("heap.sal")) }.unwrap();
    let gate = &heap.inner().gate;
    let tx = heap.write().unwrap();
    thread::scope(|scope| {
        let sync = scope.spawn(|| heap.sync());
        wait_until(gate, |state| state.phase == Phase::Closing);
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _tx = tx;
            panic!("half way");
        }));
        assert!(panicked.is_err());
        assert!(matches!(sync.join().unwrap(), Err(SyncError::Poisoned)));
    });
    assert_eq!(heap.last_commit().unwrap(), 0);
    check_idle(gate);
}

#[test]
fn who_waited_at_the_gate_is_let_in_before_it_closes_again() {
    let (gate, has_begun) = (Gate::default(), AtomicBool::new(false));
    let capture = gate.close_for_capture(None).unwrap();
    thread::scope(|scope| {
        let (gate, has_begun) = (&gate, &has_begun);
        scope.spawn(move || {
            let session = write(gate);
            // Relaxed: the mutex lies between.
            has_begun.store(true, Ordering::Relaxed);
            gate.leave_writing(session);
        });
        wait_until(gate, |state| state.waiting == 1);
        drop(capture);
        let _next = gate.close_for_capture(None).unwrap();
        assert!(has_begun.load(Ordering::Relaxed));
    });
    check_idle(&gate);
}

#[test]
fn a_second_capture_waits_for_the_first() {
    let gate = Gate::default();
    let first = gate.close_for_capture(None).unwrap();
    thread::scope(|scope| {
        let (sender, captured) = mpsc::channel();
        let gate = &gate;
        for limit in [NO_WAIT, MOMENT, None] {
            let sender = sender.clone();
            scope.spawn(move || {
                let capture = gate.close_for_capture(limit).unwrap();
                sender.send(()).unwrap();
                drop(capture);
            });
        }
        drop(sender);
        assert!(captured.try_recv().is_err());
        drop(first);
        assert_eq!(captured.iter().count(), 3);
    });
    check_idle(&gate);
}

#[test]
fn a_second_capture_without_time_names_the_holders_while_the_first_waits() {
    let gate = Gate::default();
    let session = write(&gate);
    thread::scope(|scope| {
        let first = scope.spawn(|| gate.close_for_capture(None).map(drop));
        wait_until(&gate, |state| state.phase == Phase::Closing);
        assert_eq!(gate.close_for_capture(NO_WAIT).unwrap_err().len(), 1);
        assert_eq!(gate.state().phase, Phase::Closing);
        gate.leave_writing(session);
        first.join().unwrap().unwrap();
    });
    check_idle(&gate);
}

#[test]
fn closing_waits_for_a_capture_and_sends_waiting_writers_away() {
    let gate = Gate::default();
    let syncing = gate.begin_sync().unwrap();
    let capture = gate.close_for_capture(None).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| gate.enter_to_write(true, || false, Location::caller()));
        wait_until(&gate, |state| state.waiting == 1);
        let closing = scope.spawn(|| gate.close());
        assert_eq!(writer.join().unwrap(), Err(SessionError::Closed));
        assert!(gate.begin_sync().is_none());
        for _ in 0..1000 {
            thread::yield_now();
        }
        assert!(!closing.is_finished());
        drop(capture);
        drop(syncing);
        assert_eq!(closing.join().unwrap(), 0);
    });
    gate.wait_until_empty();
    check_idle(&gate);
}

#[test]
fn closing_does_not_wait_for_a_sync_that_waits_for_a_session() {
    let gate = Gate::default();
    let session = gate.enter_to_write(true, || false, Location::caller()).unwrap();
    thread::scope(|scope| {
        let sync = scope.spawn(|| {
            let _syncing = gate.begin_sync().unwrap();
            gate.close_for_capture(None).map(drop)
        });
        wait_until(&gate, |state| state.phase == Phase::Closing);
        assert_eq!(gate.close(), 1);
        gate.leave_writing(session);
        sync.join().unwrap().unwrap();
    });
    gate.wait_until_empty();
    check_idle(&gate);
}

#[test]
fn a_forgotten_session_holds_a_capture_until_the_owner_closes_the_gate() {
    let gate = Gate::default();
    write(&gate);
    thread::scope(|scope| {
        let sync = scope.spawn(|| {
            let _syncing = gate.begin_sync().unwrap();
            gate.close_for_capture(None).map(drop)
        });
        wait_until(&gate, |state| state.phase == Phase::Closing);
        assert_eq!(gate.close(), 0);
        sync.join().unwrap().unwrap();
    });
}

#[test]
fn what_sessions_write_is_never_seen_half_done_by_a_capture() {
    let (gate, halves) = (Gate::default(), [AtomicU64::new(0), AtomicU64::new(0)]);
    let read = || halves.each_ref().map(|half| half.load(Ordering::Relaxed));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for round in 0..500 {
                    let session = write(&gate);
                    halves[0].fetch_add(1, Ordering::Relaxed);
                    if round % 8 == 0 {
                        thread::yield_now();
                        let inner = gate.enter_to_write(false, || true, Location::caller()).unwrap();
                        gate.leave_writing(inner);
                    }
                    halves[1].fetch_add(1, Ordering::Relaxed);
                    gate.leave_writing(session);
                }
            });
        }
        for limit in [None, NO_WAIT, MOMENT] {
            let (gate, read) = (&gate, &read);
            scope.spawn(move || {
                for _ in 0..200 {
                    let Ok(_capture) = gate.close_for_capture(limit) else { continue };
                    let [first, second] = read();
                    assert_eq!(first, second);
                    thread::yield_now();
                    assert_eq!(read(), [first, second]);
                }
            });
        }
    });
    assert_eq!(read(), [3000, 3000]);
    check_idle(&gate);
}
