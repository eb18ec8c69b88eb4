//! Objects of 2 MiB, beside lgalloc, an allocator for large objects.
//!
//! One is allocated and freed: without a look at it, which is the price of the two calls, and with a byte of each 4 KiB page
//! written. In the third contest a random one of 32 such objects is replaced. lgalloc 0.6 lays its memory into a file in
//! the directory that the comparison works in, 0.7 into anonymous memory with huge pages; both keep what is freed.
#![allow(unsafe_code)]

use super::{Contender, Contest, MIMALLOC, SAL, Setting, contender};
use crate::random::Random;
use allocator_api2::alloc::{Allocator, Global};
use sal::SalAlloc;
use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

const SIZE: usize = 2 << 20;
const PAGE: usize = 4096;

pub(super) const CONTESTS: &[Contest] = &[
    Contest {
        name: "large/2MiB/untouched",
        per: "object",
        contenders: &contenders([
            untouched::<Lgalloc07>,
            untouched::<Lgalloc06>,
            untouched::<Mimalloc>,
            untouched::<Sal>,
        ]),
    },
    Contest {
        name: "large/2MiB/touched",
        per: "object",
        contenders: &contenders([touched::<Lgalloc07>, touched::<Lgalloc06>, touched::<Mimalloc>, touched::<Sal>]),
    },
    Contest {
        name: "large/2MiB/32_live",
        per: "object",
        contenders: &contenders([replaced::<Lgalloc07>, replaced::<Lgalloc06>, replaced::<Mimalloc>, replaced::<Sal>]),
    },
];

const fn contenders(run: [fn(&mut Setting<'_>); 4]) -> [Contender; 4] {
    [
        contender("lgalloc 0.7", ("lgalloc", "0.7."), run[0]),
        contender("lgalloc 0.6", ("lgalloc", "0.6."), run[1]),
        contender("mimalloc3", MIMALLOC, run[2]),
        contender("sal", SAL, run[3]),
    ]
}

/// Who has objects of 2 MiB.
trait Source {
    /// What is needed to give one back.
    type Object;
    fn prepare(_setting: &Setting<'_>) {}
    fn take() -> (NonNull<u8>, Self::Object);
    fn give(object: Self::Object);
}

struct Lgalloc07;

impl Source for Lgalloc07 {
    type Object = lgalloc_07::Handle;
    fn prepare(_setting: &Setting<'_>) {
        lgalloc_07::lgalloc_set_config(lgalloc_07::LgAlloc::new().enable());
    }
    fn take() -> (NonNull<u8>, Self::Object) {
        let (start, _, handle) = lgalloc_07::allocate(SIZE).expect("there is memory for a few objects");
        (start, handle)
    }
    fn give(object: Self::Object) {
        lgalloc_07::deallocate(object);
    }
}

struct Lgalloc06;

impl Source for Lgalloc06 {
    type Object = lgalloc_06::Handle;
    fn prepare(setting: &Setting<'_>) {
        lgalloc_06::lgalloc_set_config(lgalloc_06::LgAlloc::new().enable().with_path(setting.directory.to_owned()));
    }
    fn take() -> (NonNull<u8>, Self::Object) {
        let (start, _, handle) = lgalloc_06::allocate(SIZE).expect("there is room on the disk for a few objects");
        (start, handle)
    }
    fn give(object: Self::Object) {
        lgalloc_06::deallocate(object);
    }
}

/// Those that speak the trait `Allocator`.
trait Named {
    const ALLOCATOR: Self::Allocator;
    type Allocator: Allocator;
}

struct Mimalloc;
struct Sal;

impl Named for Mimalloc {
    const ALLOCATOR: Global = Global;
    type Allocator = Global;
}

impl Named for Sal {
    const ALLOCATOR: SalAlloc = SalAlloc::new();
    type Allocator = SalAlloc;
}

const LAYOUT: Layout = Layout::new::<[u64; SIZE / 8]>();

impl<N: Named> Source for N {
    type Object = NonNull<u8>;
    #[inline(always)]
    fn take() -> (NonNull<u8>, NonNull<u8>) {
        let start = N::ALLOCATOR.allocate(LAYOUT).expect("there is memory for a few objects").cast();
        (start, start)
    }
    #[inline(always)]
    fn give(object: NonNull<u8>) {
        // SAFETY: `take` got it from this allocator with this layout, and each object is given back once.
        unsafe { N::ALLOCATOR.deallocate(object, LAYOUT) };
    }
}

fn touch(start: NonNull<u8>) {
    for page in (0..SIZE).step_by(PAGE) {
        // SAFETY: an object that `take` returned has SIZE bytes, and is ours.
        unsafe { start.as_ptr().add(page).write_volatile(1) };
    }
}

fn untouched<S: Source>(setting: &mut Setting<'_>) {
    S::prepare(setting);
    let count = setting.meter.scaled(50_000);
    setting.meter.repeat(5, count, || {
        for _ in 0..count {
            let (start, object) = S::take();
            black_box(start);
            S::give(object);
        }
    });
}

fn touched<S: Source>(setting: &mut Setting<'_>) {
    S::prepare(setting);
    let count = setting.meter.scaled(400);
    setting.meter.repeat(5, count, || {
        for _ in 0..count {
            let (start, object) = S::take();
            touch(start);
            S::give(object);
        }
    });
}

fn replaced<S: Source>(setting: &mut Setting<'_>) {
    S::prepare(setting);
    const LIVE: usize = 32;
    let mut random = Random::new(61);
    let take = || {
        let (start, object) = S::take();
        touch(start);
        object
    };
    let mut live: Vec<S::Object> = (0..LIVE).map(|_| take()).collect();
    let count = setting.meter.scaled(400);
    setting.meter.repeat(5, count, || {
        for _ in 0..count {
            S::give(live.swap_remove(random.below(LIVE)));
            live.push(take());
        }
    });
    live.into_iter().for_each(S::give);
}
