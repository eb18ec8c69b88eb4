//! Collections that live in a heap file: `repr(C)`, documented, without a handle.
