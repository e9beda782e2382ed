//! Source description (RFC 3550, section 6.5).
//!
//! ```text
//! |V=2|P|    SC   |  PT=SDES=202  |             length            |
//! |                          SSRC/CSRC                            |  chunk, SC times
//! |   item type   |  item length  |  text ...                     |
//! |  ... type 0 ends the list, zeros up to 32 bits                |
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u32_at};

/// Item types.
pub mod sdes_item {
    /// Canonical name.
    pub const CNAME: u8 = 1;
    /// MID (RFC 9143).
    pub const MID: u8 = 15;
    /// RID (RFC 8852).
    pub const RTP_STREAM_ID: u8 = 12;
}

/// A description of sources whose chunks are all well-formed, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sdes<'a> {
    body: &'a [u8],
    count: u8,
}

/// What is said about one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdesChunk<'a> {
    /// The source.
    pub ssrc: u32,
    items: &'a [u8],
}

impl<'a> Sdes<'a> {
    /// Checks every chunk: items within the packet, a zero at the end of each list, padding to 32
    /// bits. Linear.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body) = split_as(packet, packet_type::SDES, None)?;
        let mut rest = body;
        for _ in 0..header.count {
            let (_, next) =
                next_chunk(rest).ok_or(ParseError::new("RTCP SDES chunk malformed", packet.len() - rest.len()))?;
            rest = next;
        }
        if !rest.is_empty() {
            return Err(ParseError::new("RTCP SDES longer than its chunks", packet.len() - rest.len()));
        }
        Ok(Self { body, count: header.count })
    }

    /// The chunks, at most 31.
    pub fn chunks(&self) -> impl Iterator<Item = SdesChunk<'a>> + use<'a> {
        let mut rest = self.body;
        (0..self.count).map_while(move |_| {
            let (chunk, next) = next_chunk(rest)?;
            rest = next;
            Some(chunk)
        })
    }

    /// Writes one CNAME per source, at most 31 of at most 255 bytes each.
    pub fn write(buf: &mut [u8], cnames: &[(u32, &[u8])]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::SDES, cnames.len());
        for (ssrc, cname) in cnames {
            out.u32(*ssrc);
            out.u8(sdes_item::CNAME);
            match u8::try_from(cname.len()) {
                Ok(len) => out.u8(len),
                Err(_) => out.fail(),
            }
            out.bytes(cname);
            // At least one zero ends the list.
            out.u8(0);
            out.pad4();
        }
        end(out)
    }
}

impl<'a> SdesChunk<'a> {
    /// Items, type and text.
    pub fn items(&self) -> SdesItems<'a> {
        SdesItems { data: self.items }
    }

    /// Text of the first CNAME.
    pub fn cname(&self) -> Option<&'a [u8]> {
        self.items().find(|(kind, _)| *kind == sdes_item::CNAME).map(|(_, text)| text)
    }
}

/// Iterator over the items of a chunk.
#[derive(Debug, Clone)]
pub struct SdesItems<'a> {
    data: &'a [u8],
}

impl<'a> Iterator for SdesItems<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = u8_at(self.data, 0).filter(|kind| *kind != 0)?;
        let end = 2 + usize::from(u8_at(self.data, 1)?);
        let text = self.data.get(2..end)?;
        self.data = self.data.get(end..)?;
        Some((kind, text))
    }
}

/// Cuts one chunk off; `None` if its list does not end within `data`.
fn next_chunk(data: &[u8]) -> Option<(SdesChunk<'_>, &[u8])> {
    let ssrc = u32_at(data, 0)?;
    let mut at = 4;
    while u8_at(data, at)? != 0 {
        at += 2 + usize::from(u8_at(data, at + 1)?);
    }
    let items = data.get(4..at)?;
    let rest = data.get((at + 1).next_multiple_of(4)..)?;
    Some((SdesChunk { ssrc, items }, rest))
}
