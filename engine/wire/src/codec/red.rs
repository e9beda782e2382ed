//! Redundant audio (RFC 2198, section 3): the newest payload behind older ones.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |1|   block PT  |  timestamp offset         |   block length    |  redundant, any number
//! |0|   block PT  |                                                  primary, the last
//! | redundant blocks in the same order, then the primary one       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Limits: [`MAX_BLOCKS`] redundant blocks. Blocks are slices of the payload; a block that is RED
//! itself is the caller's to refuse, who knows what payload types mean.

use crate::error::ParseError;
use crate::read::{u8_at, u24_at};

/// Most redundant blocks that are taken. Browsers send one or two, nine at the most.
pub const MAX_BLOCKS: usize = 32;

/// Bytes of a redundant block's header.
const BLOCK_HEADER: usize = 4;

/// A payload whose blocks are all there, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedPayload<'a> {
    /// Payload type of the primary block.
    pub payload_type: u8,
    /// The primary block: what a sender without redundancy would have sent. May be empty.
    pub primary: &'a [u8],
    headers: &'a [u8],
    blocks: &'a [u8],
}

/// A redundant block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedBlock<'a> {
    /// What it is.
    pub payload_type: u8,
    /// How much older than the primary one it is, in timestamp units; 14 bits.
    pub timestamp_offset: u16,
    /// Its bytes.
    pub data: &'a [u8],
}

impl<'a> RedPayload<'a> {
    /// Reads a payload. One without a primary block, with more than [`MAX_BLOCKS`] redundant ones,
    /// or with one past the end is malformed.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        let mut at = 0;
        let mut len = 0;
        let mut count = 0;
        let payload_type = loop {
            let first = u8_at(payload, at).ok_or(ParseError::new("RED without a primary block", at))?;
            if first & 0x80 == 0 {
                break first;
            }
            count += 1;
            if count > MAX_BLOCKS {
                return Err(ParseError::new("RED with too many blocks", at));
            }
            let fields = u24_at(payload, at + 1).ok_or(ParseError::new("RED block header too short", at))?;
            len += (fields & 0x3ff) as usize;
            at += BLOCK_HEADER;
        };
        let headers = payload.get(..at).unwrap_or(&[]);
        let data = payload.get(at + 1..).unwrap_or(&[]);
        let (blocks, primary) = data.split_at_checked(len).ok_or(ParseError::new("RED block past the end", at))?;
        Ok(Self { payload_type, primary, headers, blocks })
    }

    /// How many redundant blocks there are.
    #[inline]
    pub fn redundancy(&self) -> usize {
        self.headers.len() / BLOCK_HEADER
    }

    /// The redundant blocks, oldest first.
    pub fn redundant(&self) -> impl DoubleEndedIterator<Item = RedBlock<'a>> + use<'a> {
        let (headers, blocks) = (self.headers, self.blocks);
        let header = move |index: usize| u24_at(headers, index * BLOCK_HEADER + 1);
        let len = move |index: usize| header(index).map_or(0, |fields| (fields & 0x3ff) as usize);
        (0..self.redundancy()).filter_map(move |index| {
            // At most 32 of them: adding lengths up again costs less than keeping them.
            let start = (0..index).map(len).sum::<usize>();
            Some(RedBlock {
                payload_type: u8_at(headers, index * BLOCK_HEADER)? & 0x7f,
                timestamp_offset: (header(index)? >> 10) as u16,
                data: blocks.get(start..start + len(index))?,
            })
        })
    }

    /// Where the primary block is, in the payload that was parsed.
    #[inline]
    pub fn primary_range(&self) -> std::ops::Range<usize> {
        let start = self.headers.len() + 1 + self.blocks.len();
        start..start + self.primary.len()
    }
}

/// Bytes of the block headers of a payload, that of the primary block included; `None` if they do not end in it.
#[inline]
pub fn headers_len(payload: &[u8]) -> Option<usize> {
    let mut at = 0;
    while u8_at(payload, at)? & 0x80 != 0 {
        at += BLOCK_HEADER;
        if at > MAX_BLOCKS * BLOCK_HEADER {
            return None;
        }
    }
    Some(at + 1)
}

/// Gives the primary block another payload type, and with it each block that had the same. `headers` are as long as
/// [`headers_len`] says.
#[inline]
pub fn set_payload_type(headers: &mut [u8], payload_type: u8) {
    let Some((primary, redundant)) = headers.split_last_mut() else { return };
    let old = *primary;
    *primary = payload_type & 0x7f;
    for first in redundant.iter_mut().step_by(BLOCK_HEADER).filter(|first| **first & 0x7f == old) {
        *first = 0x80 | payload_type & 0x7f;
    }
}

/// Writes a payload: redundant blocks, oldest first, and the primary one.
pub fn write(
    buf: &mut [u8],
    redundant: &[RedBlock<'_>],
    payload_type: u8,
    primary: &[u8],
) -> Result<usize, ParseError> {
    let mut out = crate::read::Cursor::new(buf);
    for block in redundant {
        if block.timestamp_offset >= 1 << 14 || block.data.len() >= 1 << 10 {
            return Err(ParseError::new("RED block too old or too long", out.at()));
        }
        out.u8(0x80 | block.payload_type);
        out.u24(u32::from(block.timestamp_offset) << 10 | block.data.len() as u32);
    }
    out.u8(payload_type & 0x7f);
    redundant.iter().for_each(|block| out.bytes(block.data));
    out.bytes(primary);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_primary_kind_get_its_other_payload_type_and_the_rest_is_untouched() {
        let block = |payload_type, data| RedBlock { payload_type, timestamp_offset: 960, data };
        let mut buf = [0; 64];
        let len = write(&mut buf, &[block(111, b"ab"), block(13, b"c"), block(111, b"de")], 111, b"f").unwrap();
        let headers = headers_len(&buf[..len]).unwrap();
        assert_eq!(headers, 13);
        let before = buf;
        set_payload_type(&mut buf[..headers], 96);
        let red = RedPayload::parse(&buf[..len]).unwrap();
        assert_eq!(red.payload_type, 96);
        assert_eq!(red.redundant().collect::<Vec<_>>(), [block(96, b"ab"), block(13, b"c"), block(96, b"de")]);
        assert_eq!(buf[headers..], before[headers..]);
        for cut in 0..headers {
            assert_eq!(headers_len(&buf[..cut]), None, "{cut}");
        }
        assert_eq!(headers_len(&[0xff; 200]), None, "more blocks than are taken");
        set_payload_type(&mut [], 96);
    }

    #[test]
    fn blocks_are_read_as_they_were_written() {
        let blocks = [
            RedBlock { payload_type: 111, timestamp_offset: 1920, data: b"older" },
            RedBlock { payload_type: 111, timestamp_offset: 960, data: b"" },
            RedBlock { payload_type: 13, timestamp_offset: 0x3fff, data: &[7; 1023] },
        ];
        let mut buf = [0; 1500];
        for count in 0..=blocks.len() {
            let len = write(&mut buf, &blocks[..count], 111, b"new").unwrap();
            let read = RedPayload::parse(&buf[..len]).unwrap();
            assert_eq!((read.payload_type, read.primary, read.redundancy()), (111, &b"new"[..], count));
            assert!(read.redundant().eq(blocks[..count].iter().copied()));
            assert!(read.redundant().rev().eq(blocks[..count].iter().rev().copied()));
            assert_eq!(&buf[read.primary_range()], b"new");
            for short in 0..len - 3 {
                assert!(RedPayload::parse(&buf[..short]).is_err(), "{count} {short}");
                assert!(write(&mut vec![0; short], &blocks[..count], 111, b"new").is_err());
            }
        }
        let long = RedBlock { data: &[0; 1024], ..blocks[0] };
        assert!(write(&mut buf, &[long], 111, b"").is_err());
        assert!(write(&mut buf, &[RedBlock { timestamp_offset: 1 << 14, ..blocks[0] }], 111, b"").is_err());
    }

    #[test]
    fn h39_row_032_blocks_lie_within_the_payload() {
        assert!(RedPayload::parse(&[]).is_err(), "zero blocks");
        let only = RedPayload::parse(&[111]).unwrap();
        assert_eq!((only.primary, only.redundancy()), (&[][..], 0));
        for len in 1..200 {
            assert!(RedPayload::parse(&vec![0xff; len]).is_err(), "the F bit to the end");
        }
        assert!(RedPayload::parse(&[0x80 | 111, 0, 0, 1, 111]).is_err(), "a block past the end");
        assert!(RedPayload::parse(&[0x80 | 111, 0, 3, 0xff, 111, 1, 2]).is_err());
        assert!(RedPayload::parse(&[0x80 | 111, 0, 0, 1, 111, 9]).is_ok(), "an empty primary block");
        let many = |count: usize| [[0x80 | 111, 0, 0, 0].repeat(count), vec![111, 1]].concat();
        assert_eq!(RedPayload::parse(&many(MAX_BLOCKS)).unwrap().redundancy(), MAX_BLOCKS);
        assert!(RedPayload::parse(&many(MAX_BLOCKS + 1)).is_err());
        // An offset larger than any timestamp there was is a number like others.
        let old = RedPayload::parse(&[0x80 | 111, 0xff, 0xfc, 0, 111, 1]).map(|red| red.redundant().next().unwrap());
        assert_eq!(old.unwrap().timestamp_offset, 0x3fff);
    }
}
