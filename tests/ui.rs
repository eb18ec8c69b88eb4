//! What must not compile, and what the compiler says then.
//!
//! The texts beside the cases are those of the stable compiler; `TRYBUILD=overwrite cargo test --test ui` renews them.

#[test]
fn what_cannot_be_stored_is_refused_with_a_clear_text() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
