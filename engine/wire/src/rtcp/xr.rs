//! Extended report (RFC 3611, section 2): checked as a chain of blocks, whose contents are left raw.
//!
//! ```text
//! |V=2|P|reserved |   PT=XR=207   |             length            |
//! |                              SSRC                             |
//! |      BT       | type-specific |  block length in words        |  block, any number
//! ```

use super::header::{packet_type, split_as};
use crate::error::ParseError;
use crate::read::{u8_at, u16_at, u32_at};

/// An extended report, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xr<'a> {
    /// The one who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> Xr<'a> {
    /// Checks the chain of blocks. Each consumes at least four bytes, empty ones included.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::EXTENDED_REPORT, None)?;
        let short = ParseError::new("RTCP XR too short", packet.len());
        let ssrc = u32_at(body, 0).ok_or(short)?;
        let blocks = body.get(4..).ok_or(short)?;
        let mut rest = blocks;
        while !rest.is_empty() {
            let (_, _, next) =
                next_block(rest).ok_or(ParseError::new("RTCP XR block past the end", packet.len() - rest.len()))?;
            rest = next;
        }
        Ok(Self { ssrc, blocks })
    }

    /// Block type and contents, without the block's header.
    pub fn blocks(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.blocks;
        std::iter::from_fn(move || {
            let (kind, contents, next) = next_block(rest)?;
            rest = next;
            Some((kind, contents))
        })
    }
}

fn next_block(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let kind = u8_at(data, 0)?;
    let end = 4 + 4 * usize::from(u16_at(data, 2)?);
    Some((kind, data.get(4..end)?, data.get(end..)?))
}
