//! How long all benches measure.

use criterion::Criterion;
use std::time::Duration;

/// Criterion as the command line configures it, with less time per bench than it takes by itself.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args()
}
