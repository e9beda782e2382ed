//! The clock of the load generators, which live in real time.

use std::time::{Duration, Instant};

use sfu_wire::time::Time;

/// Counts from its making.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    #[expect(clippy::new_without_default, reason = "it reads the clock")]
    pub fn new() -> Self {
        Self(real_now())
    }

    /// Since its making.
    pub fn now(&self) -> Duration {
        real_now().saturating_duration_since(self.0)
    }

    /// Since its making, as the engine counts.
    pub fn time(&self) -> Time {
        Time::from_nanos(u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX))
    }
}

#[expect(clippy::disallowed_methods, reason = "a load generator lives in real time")]
fn real_now() -> Instant {
    Instant::now()
}
