//! Generic NACK (RFC 4585, section 6.2.1): PT 205, FMT 1.
//!
//! ```text
//! |V=2|P|  FMT=1  |    PT=205     |             length            |
//! |                     SSRC of packet sender                     |
//! |                     SSRC of media source                      |
//! |        packet id (PID)        |  bitmask of following (BLP)   |  at least once
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u16_at, u32_at};

/// Packets that somebody misses, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack<'a> {
    /// The one who misses them.
    pub sender_ssrc: u32,
    /// The stream they are of.
    pub media_ssrc: u32,
    pairs: &'a [u8],
}

impl<'a> Nack<'a> {
    /// FMT.
    pub const FORMAT: u8 = 1;

    /// Reads a NACK of at least one pair.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::TRANSPORT_FEEDBACK, Some(Self::FORMAT))?;
        let short = ParseError::new("RTCP NACK too short", packet.len());
        let sender_ssrc = u32_at(body, 0).ok_or(short)?;
        let media_ssrc = u32_at(body, 4).ok_or(short)?;
        // Padding of odd length may leave less than a pair.
        let pairs = body.get(8..).filter(|pairs| !pairs.is_empty() && pairs.len() % 4 == 0).ok_or(short)?;
        Ok(Self { sender_ssrc, media_ssrc, pairs })
    }

    /// Packet id and bitmask of the 16 packets after it, as written.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<'a> {
        self.pairs.chunks_exact(4).filter_map(|pair| Some((u16_at(pair, 0)?, u16_at(pair, 2)?)))
    }

    /// Sequence numbers, as written: up to 17 per pair, repeated ones included. The receiver has to
    /// cap what it answers.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.pairs().flat_map(|(first, mask)| {
            let following = (0..16).filter(move |bit| mask >> bit & 1 != 0).map(move |bit| first.wrapping_add(bit + 1));
            std::iter::once(first).chain(following)
        })
    }

    /// Writes a NACK. Sequence numbers in ascending order, wraps included, take the fewest bytes.
    pub fn write(buf: &mut [u8], sender_ssrc: u32, media_ssrc: u32, sequences: &[u16]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::TRANSPORT_FEEDBACK, usize::from(Self::FORMAT));
        out.u32(sender_ssrc);
        out.u32(media_ssrc);
        let mut sequences = sequences.iter().copied().peekable();
        if sequences.peek().is_none() {
            return Err(ParseError::new("RTCP NACK of nothing", 0));
        }
        while let Some(first) = sequences.next() {
            let mut mask = 0_u16;
            while let Some(ahead) = sequences.peek().map(|next| next.wrapping_sub(first)).filter(|ahead| *ahead <= 16) {
                // 0 is the packet id again.
                mask |= ((1_u32 << ahead) >> 1) as u16;
                sequences.next();
            }
            out.u16(first);
            out.u16(mask);
        }
        end(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_that_leaves_no_whole_pair_is_refused() {
        for padding in [5, 6, 7, 8] {
            let packet = [0xa1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0x8f, 0xcd, 0, 15, 0, 0, 0, padding];
            assert!(Nack::parse(&packet).is_err(), "padding {padding}");
        }
        let packet = [0xa1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0x8f, 0xcd, 0, 15, 0, 0, 0, 4];
        assert_eq!(Nack::parse(&packet).map(|nack| nack.pairs().count()), Ok(1));
    }
}
