//! The one file that reads the clock.
//!
//! Told: nothing. Tells: [`Time`] since the engine's epoch from the monotonic clock, the wall clock
//! at that epoch (read once), kernel receive stamps as [`Time`], and CPU time of threads.
//!
//! The wall clock may step at any moment (NTP, operators): it only ever serves to translate kernel
//! receive stamps, which are wall-clock, and a translation that makes no sense is replaced by "now".

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sfu_wire::time::Time;

use crate::sys;

/// A receive stamp further back than this is taken for a step of the wall clock.
const MAX_QUEUEING: Duration = Duration::from_secs(1);
/// How long the distance between wall clock and monotonic clock is trusted. NTP slews by at most
/// 500 ppm, so the error stays below 50 us.
const RESYNC: Duration = Duration::from_millis(100);

/// Reads the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the one file that reads the clock")]
pub(crate) fn instant_now() -> Instant {
    Instant::now()
}

/// Reads the wall clock: nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one file that reads the clock")]
fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The moment that all shards of an engine count from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    origin: Instant,
    unix_nanos: u64,
}

impl Epoch {
    /// Now.
    pub(crate) fn now() -> Self {
        Self { origin: instant_now(), unix_nanos: unix_nanos() }
    }

    /// The wall clock at the epoch.
    pub(crate) fn unix_nanos(&self) -> u64 {
        self.unix_nanos
    }
}

/// One shard's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Epoch,
    /// Wall clock minus engine time, and when that was measured.
    wall_offset: i128,
    measured: Time,
}

impl Clock {
    /// A clock that counts from `epoch`.
    pub(crate) fn new(epoch: Epoch) -> Self {
        let mut clock = Self { epoch, wall_offset: 0, measured: Time::from_nanos(0) };
        let now = clock.now();
        clock.measure(now);
        clock
    }

    /// Engine time now.
    pub(crate) fn now(&self) -> Time {
        let nanos = instant_now().saturating_duration_since(self.epoch.origin).as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Engine time of a kernel receive stamp (nanoseconds since 1970), never after `now`.
    pub(crate) fn arrival(&mut self, now: Time, stamp: u64) -> Time {
        if now.saturating_since(self.measured) > RESYNC {
            self.measure(now);
        }
        if let Some(time) = self.translate(now, stamp) {
            return time;
        }
        // Either the wall clock stepped since the last look, or before the packet was stamped.
        self.measure(now);
        self.translate(now, stamp).unwrap_or(now)
    }

    fn measure(&mut self, now: Time) {
        self.wall_offset = i128::from(unix_nanos()) - i128::from(self.now().as_nanos());
        self.measured = now;
    }

    fn translate(&self, now: Time, stamp: u64) -> Option<Time> {
        let now = i128::from(now.as_nanos());
        let time = i128::from(stamp) - self.wall_offset;
        let oldest = now - MAX_QUEUEING.as_nanos() as i128;
        // A stamp may be a little younger than `now`, which was read before the batch.
        let youngest = now + MAX_QUEUEING.as_nanos() as i128;
        if time < oldest || time > youngest {
            return None;
        }
        u64::try_from(time.min(now)).ok().map(Time::from_nanos)
    }
}

/// The CPU-time clock of a thread, readable from any thread of the process while it lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThreadCpuClock(libc::clockid_t);

impl ThreadCpuClock {
    /// The clock of the calling thread.
    pub(crate) fn of_this_thread() -> Option<Self> {
        sys::cpu_clock().map(Self)
    }

    /// The number by which the kernel knows the clock.
    pub(crate) fn raw(self) -> i32 {
        self.0
    }

    /// The clock with the number that [`raw`](Self::raw) told.
    pub(crate) fn from_raw(raw: i32) -> Self {
        Self(raw)
    }

    /// CPU time used so far; `None` when the thread has ended.
    pub(crate) fn read(self) -> Option<Duration> {
        sys::read_clock(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_093_a_stepped_wall_clock_does_not_move_arrival_times() {
        let mut clock = Clock::new(Epoch::now());
        let now = clock.now();
        let hour = 3_600_000_000_000;
        for stamp in [unix_nanos() + hour, unix_nanos() - hour, 0, u64::MAX] {
            assert_eq!(clock.arrival(now, stamp), now, "a stamp that makes no sense is now");
        }
        // The offset is an hour off: the next sensible stamp finds out.
        clock.wall_offset += i128::from(hour);
        let now = clock.now();
        let arrival = clock.arrival(now, unix_nanos());
        assert!(now.saturating_since(arrival) < Duration::from_millis(100));
        assert!(arrival <= now);
    }

    #[test]
    fn a_stamp_of_the_near_past_keeps_its_distance() {
        let mut clock = Clock::new(Epoch::now());
        let now = clock.now() + Duration::from_millis(500);
        let stamp = clock.wall_offset + i128::from(now.as_nanos()) - 20_000_000;
        let arrival = clock.arrival(now, u64::try_from(stamp).unwrap());
        let age = now.saturating_since(arrival);
        assert!(age <= Duration::from_millis(25) && age >= Duration::from_millis(15), "{age:?}");
    }

    #[test]
    fn cpu_time_of_this_thread_grows() {
        let clock = ThreadCpuClock::of_this_thread().unwrap();
        let before = clock.read().unwrap();
        let mut x = 0u64;
        while clock.read().unwrap() == before {
            x = std::hint::black_box(x.wrapping_add(1));
        }
        assert!(ThreadCpuClock::from_raw(clock.raw()).read().unwrap() > before);
    }
}
