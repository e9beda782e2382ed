//! Receiver report (RFC 3550, section 6.4.2).
//!
//! ```text
//! |V=2|P|   RC    |   PT=RR=201   |             length            |
//! |                     SSRC of packet sender                     |
//! |                     report blocks, RC times                   |
//! ```

use super::header::{begin, end, packet_type, split_as};
use super::report_block::{ReportBlock, ReportBlocks};
use crate::error::ParseError;
use crate::read::{Cursor, u32_at};

/// Who reports; the blocks are what matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiverReport {
    /// The one who reports.
    pub ssrc: u32,
}

impl ReceiverReport {
    /// Bytes of a report without blocks.
    pub const LEN: usize = 8;

    /// Reads a report and its blocks. What follows them is for profiles, and is left out.
    pub fn parse(packet: &[u8]) -> Result<(Self, ReportBlocks<'_>), ParseError> {
        let (header, body) = split_as(packet, packet_type::RECEIVER_REPORT, None)?;
        let short = ParseError::new("RTCP receiver report too short", packet.len());
        let ssrc = u32_at(body, 0).ok_or(short)?;
        let blocks = body.get(4..).and_then(|rest| ReportBlocks::new(rest, header.count)).ok_or(short)?;
        Ok((Self { ssrc }, blocks))
    }

    /// Writes a report with at most 31 blocks.
    pub fn write(&self, buf: &mut [u8], blocks: &[ReportBlock]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::RECEIVER_REPORT, blocks.len());
        out.u32(self.ssrc);
        blocks.iter().for_each(|block| block.put(&mut out));
        end(out)
    }
}
