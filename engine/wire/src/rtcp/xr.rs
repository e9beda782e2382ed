//! Extended report (RFC 3611, section 2), with the two blocks by which receivers measure round trips
//! (sections 4.4 and 4.5). Other blocks are checked as a chain and left raw.
//!
//! ```text
//! |V=2|P|reserved |   PT=XR=207   |             length            |
//! |                              SSRC                             |
//! |      BT       | type-specific |  block length in words        |  block, any number
//!
//! |     BT=4      |   reserved    |       block length = 2        |  receiver reference time (RRT)
//! |              NTP timestamp, 64 bits                           |
//!
//! |     BT=5      |   reserved    |   block length, 3 each        |  delay since last RRT (DLRR)
//! |                 SSRC of the receiver                          |
//! |                         last RR (LRR)                         |
//! |                   delay since last RR (DLRR)                  |
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u16_at, u32_at, u64_at};
use crate::time::NtpTime;

/// Block types that are read here.
mod block_type {
    pub(super) const REFERENCE_TIME: u8 = 4;
    pub(super) const DLRR: u8 = 5;
}

/// What a sender says to one receiver about that one's reference time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DlrrBlock {
    /// The receiver.
    pub ssrc: u32,
    /// Middle 32 bits of its last reference time; 0 for none.
    pub last_rr: u32,
    /// Time since that came, in 1/65536 s.
    pub delay_since_last_rr: u32,
}

/// An extended report, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xr<'a> {
    /// The one who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> Xr<'a> {
    /// Checks the chain of blocks, and that reference times and DLRR have the size they must have.
    /// Each block consumes at least four bytes, empty ones included.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::EXTENDED_REPORT, None)?;
        let short = ParseError::new("RTCP XR too short", packet.len());
        let ssrc = u32_at(body, 0).ok_or(short)?;
        let blocks = body.get(4..).ok_or(short)?;
        let mut rest = blocks;
        while !rest.is_empty() {
            let at = packet.len() - rest.len();
            let (kind, contents, next) = next_block(rest).ok_or(ParseError::new("RTCP XR block past the end", at))?;
            let sound = match kind {
                block_type::REFERENCE_TIME => contents.len() == 8,
                block_type::DLRR => contents.len().is_multiple_of(12),
                _ => true,
            };
            if !sound {
                return Err(ParseError::new("RTCP XR block of a wrong size", at));
            }
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

    /// The reporter's clock when it sent this, if it says so.
    pub fn reference_time(&self) -> Option<NtpTime> {
        let (_, contents) = self.blocks().find(|(kind, _)| *kind == block_type::REFERENCE_TIME)?;
        u64_at(contents, 0).map(NtpTime)
    }

    /// What the reporter says about the reference times of receivers.
    pub fn dlrr(&self) -> impl Iterator<Item = DlrrBlock> + use<'a> {
        let lists = self.blocks().filter(|(kind, _)| *kind == block_type::DLRR);
        lists.flat_map(|(_, contents)| {
            contents.chunks_exact(12).filter_map(|block| {
                Some(DlrrBlock {
                    ssrc: u32_at(block, 0)?,
                    last_rr: u32_at(block, 4)?,
                    delay_since_last_rr: u32_at(block, 8)?,
                })
            })
        })
    }

    /// Writes a report: a reference time, then one list of answers, each only if there is one.
    pub fn write(
        buf: &mut [u8],
        ssrc: u32,
        reference: Option<NtpTime>,
        dlrr: &[DlrrBlock],
    ) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::EXTENDED_REPORT, 0);
        out.u32(ssrc);
        if let Some(reference) = reference {
            out.bytes(&[block_type::REFERENCE_TIME, 0, 0, 2]);
            out.u64(reference.0);
        }
        if !dlrr.is_empty() {
            out.bytes(&[block_type::DLRR, 0]);
            match u16::try_from(3 * dlrr.len()) {
                Ok(words) => out.u16(words),
                Err(_) => out.fail(),
            }
            for block in dlrr {
                out.u32(block.ssrc);
                out.u32(block.last_rr);
                out.u32(block.delay_since_last_rr);
            }
        }
        end(out)
    }
}

fn next_block(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let kind = u8_at(data, 0)?;
    let end = 4 + 4 * usize::from(u16_at(data, 2)?);
    Some((kind, data.get(4..end)?, data.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reference: Option<NtpTime>, dlrr: &[DlrrBlock]) -> Vec<u8> {
        let mut buf = vec![0; 2000];
        let len = Xr::write(&mut buf, 7, reference, dlrr).unwrap();
        buf.truncate(len);
        buf
    }

    #[test]
    fn reference_times_and_answers_are_read_as_they_were_written() {
        let blocks: Vec<_> =
            (0..40).map(|ssrc| DlrrBlock { ssrc, last_rr: ssrc * 3, delay_since_last_rr: ssrc * 5 }).collect();
        for (reference, dlrr) in [(Some(NtpTime(0x1122_3344_5566_7788)), &blocks[..]), (None, &blocks[..1])] {
            let bytes = written(reference, dlrr);
            let xr = Xr::parse(&bytes).unwrap();
            assert_eq!((xr.ssrc, xr.reference_time()), (7, reference));
            assert!(xr.dlrr().eq(dlrr.iter().copied()));
        }
        let bytes = written(None, &[]);
        assert_eq!((Xr::parse(&bytes).unwrap().reference_time(), bytes.len()), (None, 8));
        for len in 0..20 {
            assert!(Xr::write(&mut vec![0; len], 7, Some(NtpTime(1)), &[]).is_err());
        }
    }

    #[test]
    fn row_045_blocks_of_a_wrong_size_are_malformed_and_strangers_are_skipped() {
        let mut bytes = written(Some(NtpTime(1)), &[DlrrBlock::default()]);
        assert!(Xr::parse(&bytes).is_ok());
        bytes[11] = 1;
        assert!(Xr::parse(&bytes).is_err(), "half a reference time");
        let mut bytes = written(None, &[DlrrBlock::default()]);
        bytes[11] = 2;
        bytes.truncate(20);
        bytes[3] = 4;
        assert!(Xr::parse(&bytes).is_err(), "two thirds of an answer");
        let zero = [0x80, 207, 0, 3, 0, 0, 0, 1, 5, 0, 0, 0, 99, 0, 0, 0];
        let xr = Xr::parse(&zero).unwrap();
        assert_eq!((xr.dlrr().count(), xr.blocks().count()), (0, 2));
    }
}
