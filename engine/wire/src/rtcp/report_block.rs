//! Report blocks of sender and receiver reports (RFC 3550, section 6.4.1): six words each.
//!
//! ```text
//! |                            SSRC                               |
//! | fraction lost |       cumulative number of packets lost       |
//! |           extended highest sequence number received           |
//! |                      interarrival jitter                      |
//! |                         last SR (LSR)                         |
//! |                   delay since last SR (DLSR)                  |
//! ```

use crate::read::{Cursor, u8_at, u24_at, u32_at};

/// What a receiver says about one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning: 24 bits, signed. Duplicates make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number, with the count of its cycles above it.
    pub highest_sequence: u32,
    /// Jitter, in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 for none.
    pub last_sr: u32,
    /// Time since then, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Bytes of a block.
    pub const LEN: usize = 24;
    /// Bounds of the 24 bits of `cumulative_lost`.
    const LOST_MIN: i32 = -(1 << 23);
    const LOST_MAX: i32 = (1 << 23) - 1;

    #[inline]
    fn read(data: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            ssrc: u32_at(data, at)?,
            fraction_lost: u8_at(data, at + 4)?,
            // Shifted up and down again for the sign.
            cumulative_lost: (u24_at(data, at + 5)? << 8) as i32 >> 8,
            highest_sequence: u32_at(data, at + 8)?,
            jitter: u32_at(data, at + 12)?,
            last_sr: u32_at(data, at + 16)?,
            delay_since_last_sr: u32_at(data, at + 20)?,
        })
    }

    pub(super) fn put(&self, out: &mut Cursor<'_>) {
        out.u32(self.ssrc);
        out.u8(self.fraction_lost);
        out.u24(self.cumulative_lost.clamp(Self::LOST_MIN, Self::LOST_MAX) as u32);
        out.u32(self.highest_sequence);
        out.u32(self.jitter);
        out.u32(self.last_sr);
        out.u32(self.delay_since_last_sr);
    }
}

/// The blocks of a report, borrowed: an iterator, at most 31 long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlocks<'a> {
    data: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    /// The first `count` blocks of `body`; `None` if they are not all there.
    #[inline]
    pub(super) fn new(body: &'a [u8], count: u8) -> Option<Self> {
        body.get(..usize::from(count) * ReportBlock::LEN).map(|data| Self { data })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    #[inline]
    fn next(&mut self) -> Option<ReportBlock> {
        let block = ReportBlock::read(self.data, 0)?;
        self.data = self.data.get(ReportBlock::LEN..)?;
        Some(block)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.data.len() / ReportBlock::LEN;
        (len, Some(len))
    }
}

impl ExactSizeIterator for ReportBlocks<'_> {}
