//! Which streams of a pipe the far router wants: application-defined (RFC 3550, section 6.7), PT 204, subtype 1, name
//! `lsfu`.
//!
//! ```text
//! |V=2|P| subtype=1 |   PT=204    |             length            |
//! |                     SSRC of packet sender                     |
//! |                         name = "lsfu"                         |
//! |                     SSRC of media source                      |  as often
//! |W|  reserved   |    spatial    |    temporal   |    reserved   |  as wanted
//! ```
//!
//! W says that the stream is wanted at all; spatial and temporal are the highest layers wanted within it, 255 for all.
//! Reserved bits are written as zero and not looked at. A later packet replaces an earlier one for the streams that it
//! names. Limits: [`WantedStreams::MAX`] streams; a packet with more, or with half of one, is malformed.

use super::header::{begin, end, packet_type, split_as};
use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u32_at};
use crate::scalability::Layers;

const NAME: &[u8; 4] = b"lsfu";
/// Sender and name.
const HEAD: usize = 8;
/// One stream.
const ENTRY: usize = 8;
const WANTED: u8 = 0x80;

/// What is wanted of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedStream {
    /// The stream.
    pub ssrc: u32,
    /// The highest layers wanted within it; `None`: nothing of it.
    pub layers: Option<Layers>,
}

/// What is wanted of some streams, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedStreams<'a> {
    entries: &'a [u8],
}

impl<'a> WantedStreams<'a> {
    /// Subtype.
    pub const FORMAT: u8 = 1;
    /// Most streams of one packet: as many as a producer may have.
    pub const MAX: usize = 16;

    /// Whether a packet is one by its type, subtype and name.
    pub fn is_one(packet: &[u8]) -> bool {
        packet.get(8..12) == Some(NAME)
    }

    /// Reads a packet.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body) = split_as(packet, packet_type::APP, Some(Self::FORMAT))?;
        let entries = body.get(HEAD..).filter(|_| Self::is_one(packet));
        let entries = entries.ok_or(ParseError::new("RTCP wanted streams too short", packet.len()))?;
        if entries.len() % ENTRY != 0 || entries.len() > Self::MAX * ENTRY {
            return Err(ParseError::new("RTCP wanted streams of a wrong length", packet.len()));
        }
        Ok(Self { entries })
    }

    /// The streams, in order.
    pub fn streams(&self) -> impl Iterator<Item = WantedStream> + use<'a> {
        self.entries.chunks_exact(ENTRY).filter_map(|entry| {
            let layers = Layers::new(u8_at(entry, 5)?, u8_at(entry, 6)?);
            let wanted = u8_at(entry, 4)? & WANTED != 0;
            Some(WantedStream { ssrc: u32_at(entry, 0)?, layers: wanted.then_some(layers) })
        })
    }

    /// Writes a packet of at most [`WantedStreams::MAX`] streams.
    pub fn write(buf: &mut [u8], sender_ssrc: u32, streams: &[WantedStream]) -> Result<usize, ParseError> {
        let mut out = Cursor::new(buf);
        begin(&mut out, packet_type::APP, usize::from(Self::FORMAT));
        out.u32(sender_ssrc);
        out.bytes(NAME);
        if streams.len() > Self::MAX {
            out.fail();
        }
        for stream in streams {
            let layers = stream.layers.unwrap_or_default();
            out.u32(stream.ssrc);
            out.u8(if stream.layers.is_some() { WANTED } else { 0 });
            out.u8(layers.spatial);
            out.u8(layers.temporal);
            out.u8(0);
        }
        end(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::RtcpPacket;
    use proptest::prelude::*;

    fn written(streams: &[WantedStream]) -> Vec<u8> {
        let mut buf = vec![0; 200];
        let len = WantedStreams::write(&mut buf, 7, streams).expect("room");
        buf.truncate(len);
        buf
    }

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let streams = [
            WantedStream { ssrc: 0x0102_0304, layers: Some(Layers::new(2, 255)) },
            WantedStream { ssrc: 5, layers: None },
        ];
        let bytes = written(&streams);
        let expected =
            [0x81, 204, 0, 6, 0, 0, 0, 7, b'l', b's', b'f', b'u', 1, 2, 3, 4, 0x80, 2, 255, 0, 0, 0, 0, 5, 0, 0, 0, 0];
        assert_eq!(bytes, expected);
        let Ok(RtcpPacket::Wanted(read)) = RtcpPacket::parse(&bytes) else { panic!("not read") };
        assert_eq!(read.streams().collect::<Vec<_>>(), streams);
    }

    #[test]
    fn half_an_entry_too_many_and_other_names_are_none() {
        let whole = written(&[WantedStream { ssrc: 1, layers: None }]);
        let mut half = whole[..16].to_vec();
        half[3] = 3;
        assert!(RtcpPacket::parse(&half).is_err());
        let mut many = written(&[WantedStream { ssrc: 1, layers: None }; WantedStreams::MAX]);
        assert!(RtcpPacket::parse(&many).is_ok());
        many.extend([0; ENTRY]);
        many[3] += 2;
        assert!(RtcpPacket::parse(&many).is_err());
        let mut other = whole.clone();
        other[8] = b'L';
        assert!(matches!(RtcpPacket::parse(&other), Ok(RtcpPacket::Unknown { pt: 204, fmt: 1 })));
        let mut subtype = whole;
        subtype[0] = 0x82;
        assert!(matches!(RtcpPacket::parse(&subtype), Ok(RtcpPacket::Unknown { pt: 204, fmt: 2 })));
        let too_many = [WantedStream { ssrc: 1, layers: None }; WantedStreams::MAX + 1];
        assert!(WantedStreams::write(&mut [0; 200], 7, &too_many).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(streams in proptest::collection::vec((any::<u32>(), any::<Option<(u8, u8)>>()), 0..=16)) {
            let streams: Vec<WantedStream> = streams
                .into_iter()
                .map(|(ssrc, layers)| WantedStream { ssrc, layers: layers.map(|(s, t)| Layers::new(s, t)) })
                .collect();
            let bytes = written(&streams);
            let read = WantedStreams::parse(&bytes).expect("just written");
            prop_assert_eq!(read.streams().collect::<Vec<_>>(), streams);
        }
    }
}
