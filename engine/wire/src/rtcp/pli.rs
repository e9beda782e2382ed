//! Picture loss indication (RFC 4585, section 6.3.1): PT 206, FMT 1.
//!
//! ```text
//! |V=2|P|  FMT=1  |    PT=206     |          length=2             |
//! |                     SSRC of packet sender                     |
//! |                     SSRC of media source                      |
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u32_at};

/// Somebody lost a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pli {
    /// The one who lost it.
    pub sender_ssrc: u32,
    /// The stream it is of.
    pub media_ssrc: u32,
}

impl Pli {
    /// FMT.
    pub const FORMAT: u8 = 1;
    /// Bytes of the packet.
    pub const LEN: usize = 12;

    /// Reads an indication.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::PAYLOAD_FEEDBACK, Some(Self::FORMAT))?;
        let short = ParseError::new("RTCP PLI too short", packet.len());
        Ok(Self { sender_ssrc: u32_at(body, 0).ok_or(short)?, media_ssrc: u32_at(body, 4).ok_or(short)? })
    }

    /// Writes an indication.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::PAYLOAD_FEEDBACK, usize::from(Self::FORMAT));
        out.u32(self.sender_ssrc);
        out.u32(self.media_ssrc);
        end(out)
    }
}
