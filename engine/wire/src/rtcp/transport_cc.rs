//! Transport-wide congestion control feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1): PT 205, FMT 15.
//!
//! ```text
//! |V=2|P| FMT=15  |    PT=205     |             length            |
//! |                     SSRC of packet sender                     |
//! |                     SSRC of media source                      |
//! |      base sequence number     |      packet status count      |
//! |          reference time, 64 ms, signed        | feedback count|
//! |   packet chunk, 16 bits       |   packet chunk ...            |
//! |   receive deltas, 250 us each, 8 or 16 bits ...               |
//!
//! run length  |0| S |      run length (13)    |
//! 1-bit       |1|0|  14 symbols of 1 bit      |   0 missing, 1 small delta
//! 2-bit       |1|1|  7 symbols of 2 bits      |   0 missing, 1 small, 2 large, 3 reserved
//! ```

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u16_at, u24_at, u32_at};

/// Most packets that one feedback may speak of. A run costs two bytes however long it is, so it is
/// this cap, and not the datagram's length, that bounds the work per feedback: at one feedback per
/// 100 ms it is 80,000 packets per second.
pub const MAX_STATUS_COUNT: u16 = 8192;

const MISSING: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;
/// Longest run of a run length chunk.
const MAX_RUN: usize = 0x1fff;

/// The fixed part of a feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportCcHeader {
    /// The one who received.
    pub sender_ssrc: u32,
    /// Any stream of the transport.
    pub media_ssrc: u32,
    /// Number of the first packet spoken of.
    pub base_sequence: u16,
    /// What the first delta adds to, in 64 ms; 24 bits, signed.
    pub reference_time: i32,
    /// Counts feedbacks.
    pub feedback_count: u8,
}

/// A feedback whose chunks and deltas are all there, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportCc<'a> {
    /// The fixed part.
    pub header: TransportCcHeader,
    /// How many packets are spoken of.
    pub status_count: u16,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportCc<'a> {
    /// FMT.
    pub const FORMAT: u8 = 15;

    /// Reads a feedback. One that speaks of nothing, of more than [`MAX_STATUS_COUNT`] packets, with
    /// the reserved symbol, or with chunks or deltas missing is refused.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::TRANSPORT_FEEDBACK, Some(Self::FORMAT))?;
        let short = ParseError::new("RTCP transport-cc too short", packet.len());
        let header = TransportCcHeader {
            sender_ssrc: u32_at(body, 0).ok_or(short)?,
            media_ssrc: u32_at(body, 4).ok_or(short)?,
            base_sequence: u16_at(body, 8).ok_or(short)?,
            reference_time: (u24_at(body, 12).ok_or(short)? << 8) as i32 >> 8,
            feedback_count: u8_at(body, 15).ok_or(short)?,
        };
        let status_count = u16_at(body, 10).ok_or(short)?;
        if status_count == 0 || status_count > MAX_STATUS_COUNT {
            return Err(ParseError::new("RTCP transport-cc status count out of range", 14));
        }
        let rest = body.get(16..).ok_or(short)?;
        let mut at = 0;
        let mut left = usize::from(status_count);
        let mut delta_len = 0;
        while left > 0 {
            let chunk = Chunk::read(u16_at(rest, at).ok_or(short)?);
            let (len, bytes) = chunk.measure(left).ok_or(ParseError::new("RTCP transport-cc symbol reserved", at))?;
            if len == 0 {
                return Err(ParseError::new("RTCP transport-cc run of nothing", at));
            }
            left -= len;
            delta_len += bytes;
            at += 2;
        }
        let chunks = rest.get(..at).ok_or(short)?;
        let deltas = rest.get(at..at + delta_len).ok_or(short)?;
        Ok(Self { header, status_count, chunks, deltas })
    }

    /// What happened to each packet, in order.
    pub fn arrivals(&self) -> Arrivals<'a> {
        Arrivals {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk::Run { symbol: MISSING, len: 0 },
            index: 0,
            sequence: self.header.base_sequence,
            left: self.status_count,
        }
    }

    /// Writes a feedback. `deltas` has one entry per packet from the base sequence number on: `None`
    /// for a missing one, else 250 us units since the received one before it, or since the reference
    /// time.
    pub fn write(buf: &mut [u8], header: &TransportCcHeader, deltas: &[Option<i16>]) -> Result<usize, ParseError> {
        let Some(count) = u16::try_from(deltas.len()).ok().filter(|count| (1..=MAX_STATUS_COUNT).contains(count))
        else {
            return Err(ParseError::new("RTCP transport-cc status count out of range", 0));
        };
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::TRANSPORT_FEEDBACK, usize::from(Self::FORMAT));
        out.u32(header.sender_ssrc);
        out.u32(header.media_ssrc);
        out.u16(header.base_sequence);
        out.u16(count);
        out.u24(header.reference_time as u32);
        out.u8(header.feedback_count);
        let mut rest = deltas;
        while !rest.is_empty() {
            let (chunk, len) = next_chunk(rest);
            out.u16(chunk);
            rest = rest.get(len..).unwrap_or(&[]);
        }
        for delta in deltas.iter().flatten() {
            match u8::try_from(*delta) {
                Ok(small) => out.u8(small),
                Err(_) => out.u16(*delta as u16),
            }
        }
        end(out)
    }
}

/// Iterator over packets: number, and the delta of a received one in 250 us units.
#[derive(Debug, Clone)]
pub struct Arrivals<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: Chunk,
    /// Next symbol within `chunk`.
    index: usize,
    sequence: u16,
    left: u16,
}

impl Iterator for Arrivals<'_> {
    type Item = (u16, Option<i16>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.index >= self.chunk.len() {
            self.chunk = Chunk::read(u16_at(self.chunks, 0)?);
            self.chunks = self.chunks.get(2..)?;
            self.index = 0;
        }
        let delta = match self.chunk.symbol(self.index) {
            MISSING => None,
            SMALL => {
                let delta = i16::from(u8_at(self.deltas, 0)?);
                self.deltas = self.deltas.get(1..)?;
                Some(delta)
            }
            _ => {
                let delta = u16_at(self.deltas, 0)? as i16;
                self.deltas = self.deltas.get(2..)?;
                Some(delta)
            }
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.index += 1;
        Some((sequence, delta))
    }
}

/// A status chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Run { symbol: u8, len: u16 },
    OneBit(u16),
    TwoBit(u16),
}

impl Chunk {
    #[inline]
    fn read(bits: u16) -> Self {
        match bits >> 14 {
            0 | 1 => Self::Run { symbol: (bits >> 13) as u8 & 3, len: bits & 0x1fff },
            2 => Self::OneBit(bits),
            _ => Self::TwoBit(bits),
        }
    }

    #[inline]
    fn len(self) -> usize {
        match self {
            Self::Run { len, .. } => usize::from(len),
            Self::OneBit(_) => 14,
            Self::TwoBit(_) => 7,
        }
    }

    #[inline]
    fn symbol(self, index: usize) -> u8 {
        match self {
            Self::Run { symbol, .. } => symbol,
            Self::OneBit(bits) => (bits >> (13 - index.min(13))) as u8 & 1,
            Self::TwoBit(bits) => (bits >> (12 - 2 * index.min(6))) as u8 & 3,
        }
    }

    /// Of the first `left` symbols: how many there are, and bytes of their deltas; `None` if one of
    /// them is the reserved one.
    fn measure(self, left: usize) -> Option<(usize, usize)> {
        let len = self.len().min(left);
        if let Self::Run { symbol, .. } = self {
            return delta_len(symbol).map(|bytes| (len, len * bytes));
        }
        let bytes = (0..len).try_fold(0, |sum, index| Some(sum + delta_len(self.symbol(index))?))?;
        Some((len, bytes))
    }
}

#[inline]
const fn delta_len(symbol: u8) -> Option<usize> {
    match symbol {
        MISSING => Some(0),
        SMALL => Some(1),
        LARGE => Some(2),
        _ => None,
    }
}

#[inline]
fn symbol_of(delta: Option<i16>) -> u8 {
    match delta {
        None => MISSING,
        Some(0..=255) => SMALL,
        Some(_) => LARGE,
    }
}

/// The chunk for the beginning of `deltas`, which is not empty, and how many it covers.
fn next_chunk(deltas: &[Option<i16>]) -> (u16, usize) {
    let first = symbol_of(deltas.first().copied().flatten());
    let same = |delta: &&Option<i16>| symbol_of(**delta) == first;
    let run = deltas.iter().take(MAX_RUN).take_while(same).count();
    // A run pays if no vector covers as much: 14 symbols of one bit, 7 of two.
    let one_bit = deltas.iter().take(14).all(|delta| symbol_of(*delta) != LARGE);
    let vector = if one_bit { 14 } else { 7 };
    if run >= vector || run == deltas.len() {
        return (u16::from(first) << 13 | run as u16, run);
    }
    let (bits, width) = if one_bit { (0x8000, 1) } else { (0xc000, 2) };
    let chunk = deltas
        .iter()
        .take(vector)
        .enumerate()
        .fold(bits, |chunk, (index, delta)| chunk | u16::from(symbol_of(*delta)) << (14 - width * (index + 1)));
    (chunk, vector.min(deltas.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    fn feedback(count: u16, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff];
        packet.extend_from_slice(&count.to_be_bytes());
        packet.extend_from_slice(&[0xff, 0xff, 0xfe, 3]);
        packet.extend_from_slice(body);
        packet.resize(packet.len().next_multiple_of(4), 0);
        let words = (packet.len() / 4 - 1) as u16;
        packet[2..4].copy_from_slice(&words.to_be_bytes());
        packet
    }

    fn arrivals(count: u16, body: &[u8]) -> Option<Vec<Option<i16>>> {
        let packet = feedback(count, body);
        let parsed = TransportCc::parse(&packet).ok()?;
        assert_eq!(parsed.header.reference_time, -2);
        let arrivals: Vec<_> = parsed.arrivals().collect();
        assert!(arrivals.iter().enumerate().all(|(i, (sequence, _))| *sequence == 65_535_u16.wrapping_add(i as u16)));
        Some(arrivals.into_iter().map(|(_, delta)| delta).collect())
    }

    #[test]
    fn all_three_chunks_are_read() {
        assert_eq!(arrivals(3, &[0x20, 3, 1, 2, 255]), Some(vec![Some(1), Some(2), Some(255)]), "run of small");
        assert_eq!(arrivals(2, &[0x40, 2, 0xff, 0xff, 1, 0]), Some(vec![Some(-1), Some(256)]), "run of large");
        assert_eq!(arrivals(4, &[0x00, 4]), Some(vec![None; 4]), "run of missing");
        assert_eq!(arrivals(3, &[0xa8, 0, 5, 6]), Some(vec![Some(5), None, Some(6)]), "vector of one bit");
        assert_eq!(arrivals(3, &[0xd8, 0, 5, 0x80, 0]), Some(vec![Some(5), Some(-32_768), None]), "vector of two bits");
    }

    #[test]
    fn what_is_written_is_read_back_for_any_pattern() {
        let mut rng = Rng(77);
        let mut buf = vec![0; 40_000];
        for round in 0..3000 {
            let len = 1 + rng.below(if round % 100 == 0 { 8192 } else { 60 });
            let (missing, large) = (rng.below(10), rng.below(10));
            let mut hold = 0;
            let mut last = None;
            let deltas: Vec<_> = (0..len)
                .map(|_| {
                    // Runs and single ones alike.
                    if hold == 0 {
                        hold = rng.below(30) * rng.below(2);
                        let received = rng.below(10) >= missing;
                        let value = if rng.below(10) < large { rng.next() as i16 } else { rng.below(256) as i16 };
                        last = received.then_some(value);
                    } else {
                        hold -= 1;
                    }
                    last
                })
                .collect();
            let header = TransportCcHeader {
                sender_ssrc: 1,
                media_ssrc: 2,
                base_sequence: rng.next() as u16,
                reference_time: (rng.next() as i32) >> 8,
                feedback_count: rng.next() as u8,
            };
            let len = TransportCc::write(&mut buf, &header, &deltas).unwrap();
            let parsed = TransportCc::parse(&buf[..len]).unwrap();
            assert_eq!((parsed.header, usize::from(parsed.status_count)), (header, deltas.len()));
            assert!(parsed.arrivals().map(|(_, delta)| delta).eq(deltas));
        }
    }

    #[test]
    fn row_042_feedback_that_claims_more_than_it_has_is_refused() {
        assert_eq!(arrivals(0, &[0x20, 1, 1]), None, "nothing");
        assert_eq!(arrivals(65_535, &[0x1f, 0xff].repeat(9)), None, "more than the cap");
        assert_eq!(arrivals(MAX_STATUS_COUNT, &[0x1f, 0xff, 0, 1]).map(|all| all.len()), Some(8192));
        assert_eq!(arrivals(MAX_STATUS_COUNT, &[0x1f, 0xff]), None, "chunks missing");
        assert_eq!(arrivals(5, &[0x20, 5, 1, 2]), None, "deltas missing");
        assert_eq!(arrivals(1, &[0x60, 1, 1, 2]), None, "reserved symbol in a run");
        assert_eq!(arrivals(2, &[0xdc, 0, 1, 2]), None, "reserved symbol in a vector");
        assert_eq!(arrivals(1, &[0xdc, 0, 1, 2]), Some(vec![Some(1)]), "reserved symbol past the count");
        assert_eq!(arrivals(1, &[0x20, 0, 0x20, 1, 1]), None, "run of nothing");
        assert!(TransportCc::write(&mut [0; 99], &TransportCcHeader::default(), &[]).is_err());
        let many = vec![None; usize::from(MAX_STATUS_COUNT) + 1];
        assert!(TransportCc::write(&mut [0; 99], &TransportCcHeader::default(), &many).is_err());
    }
}
