//! Time as an argument: nanoseconds since the engine's epoch, and NTP time for RTCP. Nobody on this
//! floor reads a clock.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment: nanoseconds since the engine's epoch, monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(u64);

impl Time {
    /// The epoch.
    pub const ZERO: Time = Time(0);
    /// The end of time, 584 years after the epoch.
    pub const MAX: Time = Time(u64::MAX);

    /// From nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From microseconds.
    #[inline]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// From milliseconds.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the epoch.
    #[inline]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the epoch.
    #[inline]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`; zero if that is later.
    #[inline]
    pub const fn saturating_since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds of a duration, cut off at the end of time.
#[inline]
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Time;

    #[inline]
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(nanos(rhs)))
    }
}

impl AddAssign<Duration> for Time {
    #[inline]
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    #[inline]
    fn sub(self, rhs: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(rhs)))
    }
}

/// Seconds from 1900 to 1970.
const NTP_UNIX_OFFSET: u64 = 2_208_988_800;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// NTP time, seconds since 1900 as 32.32 fixed point (RFC 3550, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// From nanoseconds since 1970. Rounds up, so that [`NtpTime::to_unix_nanos`] gives them back.
    pub const fn from_unix_nanos(unix: u64) -> Self {
        let seconds = (unix / NANOS_PER_SECOND).wrapping_add(NTP_UNIX_OFFSET) & 0xffff_ffff;
        let fraction = ((unix % NANOS_PER_SECOND) << 32).div_ceil(NANOS_PER_SECOND);
        Self(seconds << 32 | fraction)
    }

    /// Nanoseconds since 1970; 0 for earlier moments. Seconds below 2^31 are taken to belong to the
    /// era that begins in 2036 (RFC 4330, section 3).
    pub const fn to_unix_nanos(self) -> u64 {
        let seconds = self.0 >> 32;
        let seconds = if seconds & 0x8000_0000 == 0 { seconds + (1 << 32) } else { seconds };
        let fraction = ((self.0 & 0xffff_ffff) * NANOS_PER_SECOND) >> 32;
        match seconds.checked_sub(NTP_UNIX_OFFSET) {
            Some(seconds) => seconds * NANOS_PER_SECOND + fraction,
            None => 0,
        }
    }

    /// The middle 32 bits, as in LSR (RFC 3550, section 6.4.1).
    #[inline]
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A duration in units of 1/65536 s, as in DLSR; cut off at the largest value.
pub fn duration_to_short_ntp(duration: Duration) -> u32 {
    let units = duration.as_nanos().saturating_mul(1 << 16) / u128::from(NANOS_PER_SECOND);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// The inverse of [`duration_to_short_ntp`].
pub const fn short_ntp_to_duration(units: u32) -> Duration {
    Duration::from_nanos((units as u64 * NANOS_PER_SECOND) >> 16)
}

/// A longer round trip is not believed: the report is older than the reporter says.
pub const MAX_ROUND_TRIP: Duration = Duration::from_secs(10);

/// The round trip that an answer shows: `now` less the moment of ours that it names, less the time it
/// waited there (RFC 3550, section 6.4.1; RFC 3611, section 4.5). `None` if it names no moment, or
/// the result cannot be; a result just below zero (clocks are rounded) is zero.
pub fn round_trip(now: NtpTime, named: u32, waited: u32) -> Option<Duration> {
    if named == 0 {
        return None;
    }
    let units = now.middle().wrapping_sub(named).wrapping_sub(waited);
    // A thousandth of a second below zero is rounding.
    if units > u32::MAX - 65 {
        return Some(Duration::ZERO);
    }
    let rtt = short_ntp_to_duration(units);
    (rtt <= MAX_ROUND_TRIP).then_some(rtt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Time::MAX + second, Time::MAX);
        assert_eq!(Time::ZERO - second, Time::ZERO);
        assert_eq!(Time::ZERO + Duration::MAX, Time::MAX);
        assert_eq!(Time::ZERO.saturating_since(Time::MAX), Duration::ZERO);
        assert_eq!(Time::from_millis(1500).saturating_since(Time::from_millis(500)), second);
        assert_eq!(Time::from_millis(7).as_micros(), 7_000);
        assert_eq!(Time::from_micros(u64::MAX), Time::MAX);
    }

    #[test]
    fn ntp_round_trips_to_the_nanosecond_across_the_era() {
        // 1970, a moment of 2024, the last and first seconds around the era change, 2100.
        for seconds in [0, 1_700_000_000, 2_085_978_495, 2_085_978_496, 4_102_444_800] {
            for nanos in [0, 1, 2, 499_999_999, 999_999_999] {
                let unix = seconds * NANOS_PER_SECOND + nanos;
                assert_eq!(NtpTime::from_unix_nanos(unix).to_unix_nanos(), unix);
            }
        }
        assert_eq!(NtpTime(0x8000_0000_0000_0000).to_unix_nanos(), 0);
        assert_eq!(NtpTime::from_unix_nanos(0).0 >> 32, NTP_UNIX_OFFSET);
        assert_eq!(NtpTime(0x0123_4567_89ab_cdef).middle(), 0x4567_89ab);
    }

    #[test]
    fn short_ntp_is_a_65536th_of_a_second() {
        assert_eq!(duration_to_short_ntp(Duration::from_millis(5500)), 360_448);
        assert_eq!(short_ntp_to_duration(360_448), Duration::from_millis(5500));
        assert_eq!(duration_to_short_ntp(Duration::MAX), u32::MAX);
    }

    #[test]
    fn row_038_impossible_round_trips_are_not_believed() {
        let ntp = |middle: u32| NtpTime(u64::from(middle) << 16);
        // (now, named, waited): negative, half a day, nothing named, all ones.
        for (now, named, waited) in [
            (100, 200, 0),
            (0, 1, 0x1_0000),
            (u32::MAX / 2, 1, 0),
            (1000, 0, 0),
            (5, u32::MAX, u32::MAX / 2),
            (0, 0x8000_0000, 0),
        ] {
            assert_eq!(round_trip(ntp(now), named, waited), None, "{now} {named} {waited}");
        }
        assert_eq!(round_trip(ntp(1000), 900, 101), Some(Duration::ZERO), "rounding");
        assert_eq!(round_trip(ntp(5), u32::MAX - 4, 0), Some(short_ntp_to_duration(10)), "across the wrap");
        assert_eq!(round_trip(ntp(0x3_0000), 0x1_0000, 0x8000), Some(Duration::from_millis(1500)));
    }
}
