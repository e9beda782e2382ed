//! The four bytes that all RTCP packets begin with (RFC 3550, section 6.4.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P| RC/FMT  |      PT       |   length in words, minus one  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u16_at};

/// Packet types.
pub mod packet_type {
    /// Sender report.
    pub const SENDER_REPORT: u8 = 200;
    /// Receiver report.
    pub const RECEIVER_REPORT: u8 = 201;
    /// Source description.
    pub const SDES: u8 = 202;
    /// Goodbye.
    pub const BYE: u8 = 203;
    /// Application-defined.
    pub const APP: u8 = 204;
    /// Transport layer feedback (RFC 4585).
    pub const TRANSPORT_FEEDBACK: u8 = 205;
    /// Payload-specific feedback (RFC 4585).
    pub const PAYLOAD_FEEDBACK: u8 = 206;
    /// Extended report (RFC 3611).
    pub const EXTENDED_REPORT: u8 = 207;
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtcpHeader {
    /// There is padding at the end.
    pub padding: bool,
    /// RC, SC or FMT: five bits whose meaning depends on the type.
    pub count: u8,
    /// PT.
    pub packet_type: u8,
    /// Bytes of the packet, header and padding included.
    pub len: usize,
}

impl RtcpHeader {
    /// Bytes of a header.
    pub const LEN: usize = 4;

    /// Reads the header at the start of `data`; the packet must lie within `data`.
    #[inline]
    pub fn parse(data: &[u8]) -> Result<Self, ParseError> {
        let short = ParseError::new("RTCP header too short", data.len());
        let first = u8_at(data, 0).ok_or(short)?;
        let packet_type = u8_at(data, 1).ok_or(short)?;
        let words = u16_at(data, 2).ok_or(short)?;
        if first >> 6 != 2 {
            return Err(ParseError::new("RTCP version not 2", 0));
        }
        let len = 4 * (usize::from(words) + 1);
        if len > data.len() {
            return Err(ParseError::new("RTCP length past the end", 2));
        }
        Ok(Self { padding: first & 0x20 != 0, count: first & 0x1f, packet_type, len })
    }
}

/// Splits one packet into its header and its body, without padding. RFC 3550 wants padding to be a
/// multiple of four, but libwebrtc pads transport-cc feedback by one to three bytes, so any count
/// within the packet is taken.
#[inline]
pub(super) fn split(packet: &[u8]) -> Result<(RtcpHeader, &[u8]), ParseError> {
    let header = RtcpHeader::parse(packet)?;
    let mut end = header.len;
    if header.padding {
        let padding = usize::from(u8_at(packet, header.len - 1).unwrap_or(0));
        if padding == 0 || padding > header.len - RtcpHeader::LEN {
            return Err(ParseError::new("RTCP padding count out of range", header.len - 1));
        }
        end -= padding;
    }
    let body = packet.get(RtcpHeader::LEN..end).unwrap_or(&[]);
    Ok((header, body))
}

/// Splits one packet that has to be of a given type, and for feedback of a given format.
#[inline]
pub(super) fn split_as(packet: &[u8], packet_type: u8, format: Option<u8>) -> Result<(RtcpHeader, &[u8]), ParseError> {
    let (header, body) = split(packet)?;
    if header.packet_type != packet_type || format.is_some_and(|format| format != header.count) {
        return Err(ParseError::new("RTCP packet of another type", 1));
    }
    Ok((header, body))
}

/// Begins a packet; [`end`] fills its length in.
#[inline]
pub(super) fn begin(out: &mut Cursor<'_>, packet_type: u8, count: usize) {
    match u8::try_from(count) {
        Ok(count @ 0..=31) => out.u8(0x80 | count),
        _ => out.fail(),
    }
    out.u8(packet_type);
    out.u16(0);
}

/// Pads to 32 bits and completes the header.
#[inline]
pub(super) fn end(mut out: Cursor<'_>) -> Result<usize, ParseError> {
    out.pad4();
    match u16::try_from((out.at() / 4).saturating_sub(1)) {
        Ok(words) => out.patch_u16(2, words),
        Err(_) => out.fail(),
    }
    out.finish()
}
