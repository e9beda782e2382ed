//! Full intra request (RFC 5104, section 4.3.1): PT 206, FMT 4.
//!
//! ```text
//! |V=2|P|  FMT=4  |    PT=206     |             length            |
//! |                     SSRC of packet sender                     |
//! |             SSRC of media source (unused, is 0)               |
//! |                             SSRC                              |  entry,
//! |    seq nr     |                 reserved                      |  at least once
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u32_at};

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FirEntry {
    /// The stream that shall send a key frame.
    pub ssrc: u32,
    /// Counts requests; a repeated one is the same request.
    pub sequence: u8,
}

/// Requests, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fir<'a> {
    /// The one who asks.
    pub sender_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Fir<'a> {
    /// FMT.
    pub const FORMAT: u8 = 4;

    /// Reads requests; half an entry is malformed.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::PAYLOAD_FEEDBACK, Some(Self::FORMAT))?;
        let wrong = ParseError::new("RTCP FIR of wrong length", packet.len());
        let sender_ssrc = u32_at(body, 0).ok_or(wrong)?;
        let entries = body.get(8..).filter(|rest| !rest.is_empty() && rest.len() % 8 == 0).ok_or(wrong)?;
        Ok(Self { sender_ssrc, entries })
    }

    /// The requests, as many as the bytes hold.
    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + use<'a> {
        self.entries
            .chunks_exact(8)
            .filter_map(|entry| Some(FirEntry { ssrc: u32_at(entry, 0)?, sequence: u8_at(entry, 4)? }))
    }

    /// Writes requests.
    pub fn write(buf: &mut [u8], sender_ssrc: u32, entries: &[FirEntry]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::PAYLOAD_FEEDBACK, usize::from(Self::FORMAT));
        out.u32(sender_ssrc);
        out.u32(0);
        if entries.is_empty() {
            return Err(ParseError::new("RTCP FIR of nothing", 0));
        }
        for entry in entries {
            out.u32(entry.ssrc);
            out.u8(entry.sequence);
            out.u24(0);
        }
        end(out)
    }
}
