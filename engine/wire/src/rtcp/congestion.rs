//! Congestion control feedback (RFC 8888, section 3.1): PT 205, FMT 11.
//!
//! ```text
//! |V=2|P| FMT=11  |    PT=205     |             length            |
//! |                     SSRC of the one who received              |
//! |                     SSRC of a stream                          |  for each stream
//! |           begin_seq           |          num_reports          |
//! |R|ECN|  arrival time offset    | ...  padded to 32 bits        |
//! |                       report timestamp                        |
//! ```
//!
//! Only read: what libsfu sends is transport-cc. Limits: [`MAX_REPORTS`] per stream, and no more
//! streams than the packet has bytes for.

use super::header::{packet_type, split_as};
use crate::error::ParseError;
use crate::read::{u16_at, u32_at};

/// Most packets that one stream's part may speak of (RFC 8888, section 3.1).
pub const MAX_REPORTS: u16 = 16_384;

/// When a packet arrived, before the report's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrivalOffset {
    /// In 1/1024 s, up to 8,189.
    Known(u16),
    /// More than that.
    TooLong,
    /// Not known.
    Unavailable,
}

/// What happened to one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketReport {
    /// Its sequence number.
    pub sequence: u16,
    /// ECN mark and arrival, or `None` if it did not arrive.
    pub arrival: Option<(u8, ArrivalOffset)>,
}

/// A feedback whose parts are all there, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CongestionFeedback<'a> {
    /// The one who received.
    pub sender_ssrc: u32,
    /// Middle 32 bits of its NTP clock.
    pub timestamp: u32,
    streams: &'a [u8],
}

impl<'a> CongestionFeedback<'a> {
    /// FMT.
    pub const FORMAT: u8 = 11;

    /// Reads a feedback. One with a part past the end, or that speaks of more than [`MAX_REPORTS`]
    /// packets of a stream, is refused.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::TRANSPORT_FEEDBACK, Some(Self::FORMAT))?;
        let short = ParseError::new("RTCP congestion feedback too short", packet.len());
        let sender_ssrc = u32_at(body, 0).ok_or(short)?;
        let end = body.len().checked_sub(4).filter(|end| *end >= 4).ok_or(short)?;
        let timestamp = u32_at(body, end).ok_or(short)?;
        let streams = body.get(4..end).ok_or(short)?;
        let mut rest = streams;
        while !rest.is_empty() {
            let at = packet.len() - 4 - rest.len();
            if u16_at(rest, 6).is_some_and(|count| count > MAX_REPORTS) {
                return Err(ParseError::new("RTCP congestion feedback on too many packets", at));
            }
            let (_, next) = next_stream(rest).ok_or(ParseError::new("RTCP congestion feedback past the end", at))?;
            rest = next;
        }
        Ok(Self { sender_ssrc, timestamp, streams })
    }

    /// The streams that are spoken of.
    pub fn streams(&self) -> impl Iterator<Item = StreamFeedback<'a>> + use<'a> {
        let mut rest = self.streams;
        std::iter::from_fn(move || {
            let (stream, next) = next_stream(rest)?;
            rest = next;
            Some(stream)
        })
    }
}

/// What is said about one stream, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFeedback<'a> {
    /// The stream.
    pub ssrc: u32,
    /// Sequence number of the first packet spoken of.
    pub begin_sequence: u16,
    metrics: &'a [u8],
}

impl<'a> StreamFeedback<'a> {
    /// What happened to each packet, in the order of sequence numbers.
    pub fn reports(&self) -> impl Iterator<Item = PacketReport> + use<'a> {
        let begin = self.begin_sequence;
        self.metrics.chunks_exact(2).enumerate().filter_map(move |(index, metric)| {
            let metric = u16_at(metric, 0)?;
            let offset = match metric & 0x1fff {
                0x1fff => ArrivalOffset::Unavailable,
                0x1ffe => ArrivalOffset::TooLong,
                offset => ArrivalOffset::Known(offset),
            };
            let arrival = (metric & 0x8000 != 0).then_some(((metric >> 13 & 3) as u8, offset));
            Some(PacketReport { sequence: begin.wrapping_add(index as u16), arrival })
        })
    }
}

fn next_stream(data: &[u8]) -> Option<(StreamFeedback<'_>, &[u8])> {
    let len = 2 * usize::from(u16_at(data, 6)?);
    let metrics = data.get(8..8 + len)?;
    let next = data.get(8 + len.next_multiple_of(4)..)?;
    Some((StreamFeedback { ssrc: u32_at(data, 0)?, begin_sequence: u16_at(data, 4)?, metrics }, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(streams: &[(u32, u16, &[u16])]) -> Vec<u8> {
        let mut bytes = vec![0x8b, 205, 0, 0, 0, 0, 0, 9];
        for (ssrc, begin, metrics) in streams {
            bytes.extend(ssrc.to_be_bytes());
            bytes.extend(begin.to_be_bytes());
            bytes.extend((metrics.len() as u16).to_be_bytes());
            metrics.iter().for_each(|metric| bytes.extend(metric.to_be_bytes()));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes.extend([0, 1, 2, 3]);
        let words = (bytes.len() / 4 - 1) as u16;
        bytes[2..4].copy_from_slice(&words.to_be_bytes());
        bytes
    }

    #[test]
    fn row_043_reports_go_over_the_wrap_and_know_what_they_do_not_know() {
        let bytes = packet(&[(1, 65_534, &[0x8005, 0x0000, 0xffff, 0xbffe, 0x9ffd]), (2, 7, &[]), (3, 8, &[0x8000])]);
        let feedback = CongestionFeedback::parse(&bytes).unwrap();
        assert_eq!((feedback.sender_ssrc, feedback.timestamp), (9, 0x0001_0203));
        let streams: Vec<_> = feedback.streams().collect();
        assert_eq!(streams.iter().map(|s| (s.ssrc, s.reports().count())).collect::<Vec<_>>(), [(1, 5), (2, 0), (3, 1)]);
        let reports: Vec<_> = streams[0].reports().collect();
        assert_eq!(reports.iter().map(|r| r.sequence).collect::<Vec<_>>(), [65_534, 65_535, 0, 1, 2]);
        let arrivals: Vec<_> = reports.iter().map(|r| r.arrival).collect();
        assert_eq!(
            arrivals,
            [
                Some((0, ArrivalOffset::Known(5))),
                None,
                Some((3, ArrivalOffset::Unavailable)),
                Some((1, ArrivalOffset::TooLong)),
                Some((0, ArrivalOffset::Known(0x1ffd))),
            ]
        );
    }

    #[test]
    fn row_043_too_many_reports_and_missing_ones_are_malformed() {
        let good = packet(&[(1, 5, &[0x8000; 20])]);
        assert!(CongestionFeedback::parse(&good).is_ok());
        for count in [21_u16, 22, 16_384, 16_385, 65_535] {
            let mut bad = good.clone();
            bad[14..16].copy_from_slice(&count.to_be_bytes());
            assert!(CongestionFeedback::parse(&bad).is_err(), "{count}");
        }
        let most = vec![0x8000; usize::from(MAX_REPORTS)];
        assert!(CongestionFeedback::parse(&packet(&[(1, 5, &most)])).is_ok());
        let more = vec![0x8000; usize::from(MAX_REPORTS) + 1];
        let error = CongestionFeedback::parse(&packet(&[(1, 5, &more)])).unwrap_err();
        assert_eq!(error.what, "RTCP congestion feedback on too many packets");
        for words in 0..good.len() / 4 {
            let mut cut = good[..4 * words].to_vec();
            if words > 0 {
                cut[2..4].copy_from_slice(&(words as u16 - 1).to_be_bytes());
            }
            assert!(CongestionFeedback::parse(&cut).is_err() || words == 3, "{words}");
        }
    }
}
