//! Calls around `fork`.

/// Registers handlers: before the fork, after it in the parent, after it in the child. False when the C library has
/// no room for them.
pub(crate) fn register(
    prepare: unsafe extern "C" fn(),
    parent: unsafe extern "C" fn(),
    child: unsafe extern "C" fn(),
) -> bool {
    // SAFETY: the functions have the right type and live for ever.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) == 0 }
}

/// A pipe over which the child tells its parent that it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    read_end: i32,
    write_end: i32,
}

impl Handshake {
    pub(crate) fn new() -> Option<Self> {
        let mut ends = [0_i32; 2];
        // SAFETY: `ends` has room for both descriptors.
        let returned = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
        (returned == 0).then_some(Self { read_end: ends[0], write_end: ends[1] })
    }

    /// In the parent: returns when the child called [`Handshake::done`] or died.
    pub(crate) fn wait(self) {
        let mut byte = 0_u8;
        // SAFETY: both descriptors are ours. Once our own write end is closed, the read ends with the child's.
        unsafe {
            libc::close(self.write_end);
            while libc::read(self.read_end, (&raw mut byte).cast(), 1) == -1 && super::Errno::last().0 == libc::EINTR {}
            libc::close(self.read_end);
        }
    }

    /// In the child: lets the parent go on.
    pub(crate) fn done(self) {
        // SAFETY: both descriptors are ours in the child.
        unsafe {
            libc::close(self.write_end);
            libc::close(self.read_end);
        }
    }
}
