//! Sleeping until a word changes.
//!
//! The kernel looks at the word and puts the thread to sleep in one step, as seen by whoever wakes.

#[cfg(not(loom))]
pub(super) use kernel::{Word, wait, wait_for, wake_one};
#[cfg(loom)]
pub(super) use model::{Word, wait, wait_for, wake_one};

#[cfg(not(loom))]
mod kernel {
    use core::ptr;
    pub(in crate::os) use core::sync::atomic::AtomicU32 as Word;
    use core::time::Duration;

    /// Sleeps while `word` is `expected`; may return early.
    pub(in crate::os) fn wait(word: &Word, expected: u32) {
        wait_for(word, expected, None);
    }

    /// As [`wait`], for at most so long.
    pub(in crate::os) fn wait_for(word: &Word, expected: u32, limit: Option<Duration>) {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let timeout = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: `word` is a live, aligned u32, and the time, if there is one, lives as long as the call. Every outcome
        // means: look again.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, expected, timeout) };
    }

    pub(in crate::os) fn wake_one(word: &Word) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: `word` is only an address to the kernel here.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
    }
}

#[cfg(loom)]
mod model {
    //! A stand-in: the kernel's bucket lock and queue are a mutex and a condition variable. It never returns early, so
    //! that a wake-up that is lost is a deadlock, which loom reports. There is no time.

    use core::time::Duration;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    #[derive(Debug)]
    pub(in crate::os) struct Word {
        value: AtomicU32,
        bucket: Mutex<()>,
        queue: Condvar,
    }

    impl Word {
        pub(in crate::os) fn new(value: u32) -> Self {
            Self { value: AtomicU32::new(value), bucket: Mutex::new(()), queue: Condvar::new() }
        }
    }

    impl core::ops::Deref for Word {
        type Target = AtomicU32;

        fn deref(&self) -> &AtomicU32 {
            &self.value
        }
    }

    pub(in crate::os) fn wait(word: &Word, expected: u32) {
        let bucket = word.bucket.lock().unwrap();
        // Relaxed: ordered by the bucket against those who wake.
        if word.value.load(Ordering::Relaxed) == expected {
            drop(word.queue.wait(bucket).unwrap());
        }
    }

    pub(in crate::os) fn wait_for(word: &Word, expected: u32, limit: Option<Duration>) {
        assert!(limit.is_none());
        wait(word, expected);
    }

    pub(in crate::os) fn wake_one(word: &Word) {
        drop(word.bucket.lock().unwrap());
        word.queue.notify_one();
    }
}
