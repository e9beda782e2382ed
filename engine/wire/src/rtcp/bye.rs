//! Goodbye (RFC 3550, section 6.6).
//!
//! ```text
//! |V=2|P|    SC   |   PT=BYE=203  |             length            |
//! |                     SSRC/CSRC, SC times                       |
//! |    length     |  reason for leaving, if any ...               |
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u32_at};

/// Sources that leave, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bye<'a> {
    sources: &'a [u8],
    reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    /// Reads a goodbye. A reason that runs past the end makes it malformed.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body) = split_as(packet, packet_type::BYE, None)?;
        let split = 4 * usize::from(header.count);
        let (Some(sources), Some(rest)) = (body.get(..split), body.get(split..)) else {
            return Err(ParseError::new("RTCP BYE too short", packet.len()));
        };
        let reason = match u8_at(rest, 0) {
            None => None,
            Some(len) => {
                let reason = rest.get(1..1 + usize::from(len));
                Some(reason.ok_or(ParseError::new("RTCP BYE reason past the end", packet.len() - rest.len()))?)
            }
        };
        Ok(Self { sources, reason })
    }

    /// Who leaves, at most 31.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.sources.chunks_exact(4).filter_map(|word| u32_at(word, 0))
    }

    /// Why, as the sender puts it.
    pub fn reason(&self) -> Option<&'a [u8]> {
        self.reason
    }

    /// Writes a goodbye of at most 31 sources, with a reason of at most 255 bytes.
    pub fn write(buf: &mut [u8], ssrcs: &[u32], reason: Option<&[u8]>) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::BYE, ssrcs.len());
        ssrcs.iter().for_each(|ssrc| out.u32(*ssrc));
        if let Some(reason) = reason {
            match u8::try_from(reason.len()) {
                Ok(len) => out.u8(len),
                Err(_) => out.fail(),
            }
            out.bytes(reason);
        }
        end(out)
    }
}
