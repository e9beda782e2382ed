//! Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03): PT 206, FMT 15.
//!
//! ```text
//! |V=2|P| FMT=15  |    PT=206     |             length            |
//! |                     SSRC of packet sender                     |
//! |             SSRC of media source (unused, is 0)               |
//! |                         'R' 'E' 'M' 'B'                       |
//! |  num SSRC     | BR exp (6)|       BR mantissa (18)            |
//! |                     SSRC feedback, num times                  |
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u24_at, u32_at};

/// An estimate, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remb<'a> {
    /// The one who estimates.
    pub sender_ssrc: u32,
    /// Bit/s; what 64 bits cannot hold is cut off.
    pub bitrate: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    /// FMT; other application feedback has it too, without the identifier.
    pub const FORMAT: u8 = 15;
    /// The identifier.
    pub const IDENTIFIER: [u8; 4] = *b"REMB";
    const MANTISSA_BITS: u32 = 18;

    /// Is this application feedback a REMB?
    pub(super) fn is_one(packet: &[u8]) -> bool {
        packet.get(12..16) == Some(&Self::IDENTIFIER)
    }

    /// Reads an estimate; the list of streams has to be all there.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::PAYLOAD_FEEDBACK, Some(Self::FORMAT))?;
        let short = ParseError::new("RTCP REMB too short", packet.len());
        let sender_ssrc = u32_at(body, 0).ok_or(short)?;
        if body.get(8..12).ok_or(short)? != Self::IDENTIFIER {
            return Err(ParseError::new("RTCP application feedback not REMB", 12));
        }
        let count = usize::from(u8_at(body, 12).ok_or(short)?);
        let packed = u24_at(body, 13).ok_or(short)?;
        let mantissa = u64::from(packed & ((1 << Self::MANTISSA_BITS) - 1));
        let exponent = packed >> Self::MANTISSA_BITS;
        let bitrate = if mantissa.leading_zeros() >= exponent { mantissa << exponent } else { u64::MAX };
        let ssrcs = body.get(16..16 + 4 * count).ok_or(short)?;
        Ok(Self { sender_ssrc, bitrate: if mantissa == 0 { 0 } else { bitrate }, ssrcs })
    }

    /// The streams that share the estimate.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ssrcs.chunks_exact(4).filter_map(|word| u32_at(word, 0))
    }

    /// Writes an estimate for at most 255 streams; the bitrate is rounded down to 18 bits.
    pub fn write(buf: &mut [u8], sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::PAYLOAD_FEEDBACK, usize::from(Self::FORMAT));
        out.u32(sender_ssrc);
        out.u32(0);
        out.bytes(&Self::IDENTIFIER);
        match u8::try_from(ssrcs.len()) {
            Ok(count) => out.u8(count),
            Err(_) => out.fail(),
        }
        let exponent = (u64::BITS - bitrate.leading_zeros()).saturating_sub(Self::MANTISSA_BITS);
        out.u24(exponent << Self::MANTISSA_BITS | (bitrate >> exponent) as u32);
        ssrcs.iter().for_each(|ssrc| out.u32(*ssrc));
        end(out)
    }
}
