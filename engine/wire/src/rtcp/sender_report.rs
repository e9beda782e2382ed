//! Sender report (RFC 3550, section 6.4.1).
//!
//! ```text
//! |V=2|P|   RC    |   PT=SR=200   |             length            |
//! |                         SSRC of sender                        |
//! |                 NTP timestamp, 64 bits                        |
//! |                         RTP timestamp                         |
//! |                     sender's packet count                     |
//! |                      sender's octet count                     |
//! |                     report blocks, RC times                   |
//! ```

use super::header::{begin, end, packet_type, split_as};
use super::report_block::{ReportBlock, ReportBlocks};
use crate::error::ParseError;
use crate::read::{Cursor, u32_at, u64_at};
use crate::time::NtpTime;

/// What a sender says about its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderReport {
    /// The sender.
    pub ssrc: u32,
    /// Wall clock of the sender.
    pub ntp: NtpTime,
    /// The same moment on the stream's clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the beginning.
    pub packet_count: u32,
    /// Payload bytes sent since the beginning.
    pub octet_count: u32,
}

impl SenderReport {
    /// Bytes of a report without blocks.
    pub const LEN: usize = 28;

    /// Reads a report and its blocks. What follows them is for profiles, and is left out.
    pub fn parse(packet: &[u8]) -> Result<(Self, ReportBlocks<'_>), ParseError> {
        let (header, body) = split_as(packet, packet_type::SENDER_REPORT, None)?;
        let short = ParseError::new("RTCP sender report too short", packet.len());
        let report = Self {
            ssrc: u32_at(body, 0).ok_or(short)?,
            ntp: NtpTime(u64_at(body, 4).ok_or(short)?),
            rtp_timestamp: u32_at(body, 12).ok_or(short)?,
            packet_count: u32_at(body, 16).ok_or(short)?,
            octet_count: u32_at(body, 20).ok_or(short)?,
        };
        let blocks = body.get(24..).and_then(|rest| ReportBlocks::new(rest, header.count)).ok_or(short)?;
        Ok((report, blocks))
    }

    /// Writes a report with at most 31 blocks.
    pub fn write(&self, buf: &mut [u8], blocks: &[ReportBlock]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::SENDER_REPORT, blocks.len());
        out.u32(self.ssrc);
        out.u64(self.ntp.0);
        out.u32(self.rtp_timestamp);
        out.u32(self.packet_count);
        out.u32(self.octet_count);
        blocks.iter().for_each(|block| block.put(&mut out));
        end(out)
    }
}
