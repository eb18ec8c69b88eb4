//! Keeping, taking and stealing, taken through all interleavings: a run's contents are a loom cell that whoever has the run
//! writes to, so two owners, or one that does not see what the last one wrote, are reported.

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const WANTED: Wanted = Wanted::new(1, 1, false);

struct Model {
    own: OwnRuns,
    shared: SharedRuns,
    contents: [UnsafeCell<u32>; 2],
}

fn slots() -> Slots<1> {
    Slots { slots: [[AtomicU64::new(0)]] }
}

fn no_runs() -> OwnRuns {
    OwnRuns {
        slots: slots(),
        bias: Bias::new(),
        kept: AtomicI64::new(0),
        stolen: AtomicI64::new(0),
        classes: [AtomicU64::new(0), AtomicU64::new(0)],
    }
}

impl Model {
    fn new() -> Self {
        let shared = SharedRuns { slots: slots(), units: AtomicI64::new(0) };
        Self { own: no_runs(), shared, contents: [UnsafeCell::new(0), UnsafeCell::new(0)] }
    }

    /// As the owner takes.
    fn take(&self) -> Option<FreeRun> {
        self.own.take_at_once(WANTED).or_else(|| self.own.take(WANTED))
    }

    /// As another thread takes, which has none.
    fn steal(&self) -> Option<FreeRun> {
        self.own.steal(WANTED, &no_runs(), 1)
    }

    fn run(head: usize) -> FreeRun {
        FreeRun { head, units: 1, is_zeroed: false, period: 0 }
    }

    /// Uses a run as its only owner.
    fn touch(&self, run: FreeRun) {
        // SAFETY: that is what loom checks here.
        self.contents[run.head].with_mut(|contents| unsafe { *contents += 1 });
    }
}

#[test]
fn a_run_is_had_by_its_owner_or_by_one_thief() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let model = Arc::new(Model::new());
        model.touch(Model::run(0));
        assert!(model.own.put(Model::run(0)));
        let thieves: Vec<_> = (0..2)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    let stolen = model.steal();
                    stolen.map(|run| model.touch(run)).is_some()
                })
            })
            .collect();
        let own = model.take();
        own.map(|run| model.touch(run));
        let stolen: Vec<bool> = thieves.into_iter().map(|thief| thief.join().unwrap()).collect();
        let had = stolen.into_iter().filter(|&stolen| stolen).count() + usize::from(own.is_some());
        assert_eq!((had, model.own.units()), (1, 0));
    });
}

#[test]
fn an_owner_that_takes_and_keeps_again_beside_a_thief_loses_no_run() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        assert!(model.own.put(Model::run(0)));
        let thief = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.steal().inspect(|&run| model.touch(run)))
        };
        let first = model.take();
        if let Some(run) = first {
            model.touch(run);
            assert!(model.own.put(run));
        }
        // If the thief had it first there is room for another one.
        assert!(first.is_some() || model.own.put(Model::run(1)));
        let mut left = Vec::new();
        let stolen = thief.join().unwrap();
        model.own.drain(|_| true, |run| left.push(run.head));
        left.extend(stolen.map(|run| run.head));
        left.sort_unstable();
        assert_eq!(left, if first.is_some() { vec![0] } else { vec![0, 1] });
        assert_eq!(model.own.units(), 0);
    });
}

#[test]
fn a_run_that_its_owner_takes_again_and_again_is_drained_once_or_not_at_all() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let model = Arc::new(Model::new());
        assert!(model.own.put(Model::run(0)));
        let drainer = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let mut drained = 0;
                model.own.drain(
                    |_| true,
                    |run| {
                        model.touch(run);
                        drained += 1;
                    },
                );
                drained
            })
        };
        let mut kept = 1;
        for _ in 0..2 {
            kept = 0;
            let Some(run) = model.take() else { break };
            model.touch(run);
            assert!(model.own.put(run));
            kept = 1;
        }
        let drained = drainer.join().unwrap();
        let left = usize::from(model.take().inspect(|&run| model.touch(run)).is_some());
        assert!(drained + left == 1 && left <= kept, "drained {drained}, kept {kept}, left {left}");
        assert_eq!(model.own.units(), 0);
    });
}

#[test]
fn threads_that_share_slots_keep_and_take_each_run_once() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        let threads: Vec<_> = (0..2)
            .map(|head| {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    model.touch(Model::run(head));
                    let kept = model.shared.put(Model::run(head), 1);
                    let taken = model.shared.take(WANTED).inspect(|&run| model.touch(run));
                    (kept, taken.is_some())
                })
            })
            .collect();
        let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let kept = done.iter().filter(|done| done.0).count();
        let mut taken = done.iter().filter(|done| done.1).count();
        model.shared.drain(
            |_| true,
            |run| {
                model.touch(run);
                taken += 1;
            },
        );
        assert_eq!((kept, model.shared.units()), (taken, 0));
    });
}
