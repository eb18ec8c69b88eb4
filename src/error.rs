//! One error enum for each operation, and [`Error`], which any of them turns into.
