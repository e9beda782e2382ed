//! An upper bound of what a peer sends, told to it by REMB (draft-alvestrand-rmcat-remb-03).
//!
//! Told: the bound and the SSRCs that share it. Tells: a REMB when the bound changed, and once a
//! second while it holds, since feedback may be lost. A bound that is taken back is told once, as the
//! largest there is. Limits: constant memory; at most 31 SSRCs are named. Left out: estimation.

use std::time::Duration;

use sfu_wire::rtcp::Remb;
use sfu_wire::time::Time;

/// Distance of two REMBs with the same bound.
pub const INTERVAL: Duration = Duration::from_secs(1);
const MAX_SSRCS: usize = 31;
/// What "no bound" is told as, bit/s: about a gigabit, and exact in 18 bits of mantissa.
const UNBOUNDED: u64 = 1 << 30;

/// The bound of one transport.
#[derive(Debug, Default)]
pub struct RembLimit {
    bitrate: u32,
    /// A bound has been told and not taken back.
    told: bool,
    due: Option<Time>,
}

impl RembLimit {
    /// No bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the bound, bit/s; 0 is none.
    pub fn set(&mut self, now: Time, bitrate: u32) {
        if bitrate == self.bitrate {
            return;
        }
        self.bitrate = bitrate;
        self.due = (bitrate != 0 || self.told).then_some(now);
    }

    /// The bound, bit/s; 0 is none.
    pub fn bitrate(&self) -> u32 {
        self.bitrate
    }

    /// Writes a REMB if one is due. Without SSRCs there is nothing to bound yet, and it stays due.
    pub fn poll(&mut self, now: Time, sender_ssrc: u32, ssrcs: &[u32], buf: &mut [u8]) -> Option<usize> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        self.due = Some(now + INTERVAL);
        if ssrcs.is_empty() {
            return None;
        }
        let bitrate = if self.bitrate == 0 { UNBOUNDED } else { u64::from(self.bitrate) };
        self.told = self.bitrate != 0;
        if !self.told {
            self.due = None;
        }
        Remb::write(buf, sender_ssrc, bitrate, &ssrcs[..ssrcs.len().min(MAX_SSRCS)]).ok()
    }

    /// When the next REMB is due.
    pub fn next_timeout(&self) -> Option<Time> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(limit: &mut RembLimit, ms: u64) -> Option<u64> {
        let mut buf = [0u8; 200];
        let len = limit.poll(Time::from_millis(ms), 1, &[7, 8], &mut buf)?;
        let remb = Remb::parse(&buf[..len]).unwrap();
        assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [7, 8]);
        Some(remb.bitrate)
    }

    #[test]
    fn a_bound_is_told_at_once_and_then_every_second() {
        let mut limit = RembLimit::new();
        assert_eq!(poll(&mut limit, 0), None);
        limit.set(Time::ZERO, 300_000);
        assert_eq!(poll(&mut limit, 0), Some(300_000));
        assert_eq!(poll(&mut limit, 999), None);
        assert_eq!(poll(&mut limit, 1_000), Some(300_000));
        limit.set(Time::from_millis(1_001), 100_000);
        assert_eq!(poll(&mut limit, 1_001), Some(100_000));
    }

    #[test]
    fn a_bound_taken_back_is_told_once() {
        let mut limit = RembLimit::new();
        limit.set(Time::ZERO, 300_000);
        poll(&mut limit, 0);
        limit.set(Time::ZERO, 0);
        assert_eq!(poll(&mut limit, 1), Some(UNBOUNDED));
        assert_eq!(poll(&mut limit, 5_000), None);
        assert_eq!(limit.next_timeout(), None);
    }

    #[test]
    fn nothing_is_told_of_no_streams() {
        let mut limit = RembLimit::new();
        limit.set(Time::ZERO, 300_000);
        assert_eq!(limit.poll(Time::ZERO, 1, &[], &mut [0; 100]), None);
        assert!(limit.next_timeout().is_some());
    }
}
