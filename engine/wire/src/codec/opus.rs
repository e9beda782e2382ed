//! Opus packets (RFC 6716, section 3): their first byte, and how long they last.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! +-+-+-+-+-+-+-+-+
//! | config  |s| c |
//! +-+-+-+-+-+-+-+-+
//! ```

use std::time::Duration;

use crate::read::u8_at;

/// Longest packet (RFC 6716, section 3.4, R5).
const MAX_DURATION: Duration = Duration::from_millis(120);

/// What the first byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusToc {
    /// Mode, bandwidth and frame size: 0 to 31.
    pub config: u8,
    /// Two channels.
    pub stereo: bool,
    /// How frames are packed: 0 to 3.
    pub code: u8,
}

impl OpusToc {
    /// Reads the first byte; `None` for an empty payload.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let byte = u8_at(payload, 0)?;
        Some(Self { config: byte >> 3, stereo: byte & 4 != 0, code: byte & 3 })
    }

    /// Length of one frame (RFC 6716, table 2).
    pub const fn frame_duration(self) -> Duration {
        let micros = match self.config {
            0..12 => [10_000, 20_000, 40_000, 60_000][(self.config & 3) as usize],
            12..16 => [10_000, 20_000][(self.config & 1) as usize],
            _ => [2_500, 5_000, 10_000, 20_000][(self.config & 3) as usize],
        };
        Duration::from_micros(micros)
    }
}

/// Length of a whole packet; `None` if it is empty, has no frames or lasts more than 120 ms.
pub fn duration(payload: &[u8]) -> Option<Duration> {
    let toc = OpusToc::parse(payload)?;
    let frames = match toc.code {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(u8_at(payload, 1)? & 0x3f),
    };
    let duration = toc.frame_duration() * frames;
    (frames > 0 && duration <= MAX_DURATION).then_some(duration)
}

/// Is this a packet of discontinuous transmission, which says that nothing is said? Those have no
/// frame data, or one byte of it.
#[inline]
pub fn is_dtx(payload: &[u8]) -> bool {
    payload.len() <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_066_packets_without_frames_and_with_noise_have_no_duration() {
        assert_eq!(duration(&[]), None);
        assert_eq!(duration(&[0x7b]), None, "frame count missing");
        assert_eq!(duration(&[0x7b, 0]), None, "no frames");
        assert_eq!(duration(&[0x1b, 3]), None, "180 ms");
        assert!(is_dtx(&[]) && is_dtx(&[0x78]) && !is_dtx(&[0x78, 1, 2]));
    }

    #[test]
    fn durations_follow_the_first_byte() {
        for (payload, micros) in [
            (&[0x00][..], 10_000),
            (&[0x18], 60_000),
            (&[0x60], 10_000),
            (&[0x78], 20_000),
            (&[0x80], 2_500),
            (&[0xfc], 20_000),
            (&[0xfd], 40_000),
            (&[0xfe], 40_000),
            (&[0xff, 6], 120_000),
        ] {
            assert_eq!(duration(payload), Some(Duration::from_micros(micros)), "{payload:02x?}");
        }
        let toc = OpusToc::parse(&[0xfd]).unwrap();
        assert_eq!((toc.config, toc.stereo, toc.code), (31, true, 1));
    }
}
