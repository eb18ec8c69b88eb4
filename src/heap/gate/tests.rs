use super::*;
use std::sync::mpsc;

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

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
    assert_eq!(gate.state().admitted, 0);
}
