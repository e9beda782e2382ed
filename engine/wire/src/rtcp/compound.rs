//! Compound packets (RFC 3550, section 6.1 and appendix A.2; reduced size, RFC 5506).

use super::header::{RtcpHeader, packet_type};
use super::{
    Bye, CongestionFeedback, Fir, Nack, Pli, ReceiverReport, Remb, ReportBlocks, Sdes, SenderReport, TransportCc,
    WantedStreams, Xr,
};
use crate::error::ParseError;

/// Most packets that a compound may have; real ones have about five.
pub const MAX_PACKETS: usize = 64;

/// One packet of a compound, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// PT 200.
    SenderReport(SenderReport, ReportBlocks<'a>),
    /// PT 201.
    ReceiverReport(ReceiverReport, ReportBlocks<'a>),
    /// PT 202.
    Sdes(Sdes<'a>),
    /// PT 203.
    Bye(Bye<'a>),
    /// PT 205, FMT 1.
    Nack(Nack<'a>),
    /// PT 206, FMT 1.
    Pli(Pli),
    /// PT 206, FMT 4.
    Fir(Fir<'a>),
    /// PT 206, FMT 15, identifier REMB.
    Remb(Remb<'a>),
    /// PT 205, FMT 15.
    TransportCc(TransportCc<'a>),
    /// PT 205, FMT 11.
    Congestion(CongestionFeedback<'a>),
    /// PT 207.
    Xr(Xr<'a>),
    /// PT 204, subtype 1, name `lsfu`.
    Wanted(WantedStreams<'a>),
    /// Anything else, other APP included.
    Unknown {
        /// Packet type.
        pt: u8,
        /// RC, SC or FMT.
        fmt: u8,
    },
}

impl<'a> RtcpPacket<'a> {
    /// Reads one packet, header included.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let header = RtcpHeader::parse(packet)?;
        let packet = packet.get(..header.len).unwrap_or(packet);
        Ok(match (header.packet_type, header.count) {
            (packet_type::SENDER_REPORT, _) => {
                let (report, blocks) = SenderReport::parse(packet)?;
                Self::SenderReport(report, blocks)
            }
            (packet_type::RECEIVER_REPORT, _) => {
                let (report, blocks) = ReceiverReport::parse(packet)?;
                Self::ReceiverReport(report, blocks)
            }
            (packet_type::SDES, _) => Self::Sdes(Sdes::parse(packet)?),
            (packet_type::BYE, _) => Self::Bye(Bye::parse(packet)?),
            (packet_type::TRANSPORT_FEEDBACK, Nack::FORMAT) => Self::Nack(Nack::parse(packet)?),
            (packet_type::TRANSPORT_FEEDBACK, TransportCc::FORMAT) => Self::TransportCc(TransportCc::parse(packet)?),
            (packet_type::TRANSPORT_FEEDBACK, CongestionFeedback::FORMAT) => {
                Self::Congestion(CongestionFeedback::parse(packet)?)
            }
            (packet_type::PAYLOAD_FEEDBACK, Pli::FORMAT) => Self::Pli(Pli::parse(packet)?),
            (packet_type::PAYLOAD_FEEDBACK, Fir::FORMAT) => Self::Fir(Fir::parse(packet)?),
            (packet_type::PAYLOAD_FEEDBACK, Remb::FORMAT) if Remb::is_one(packet) => Self::Remb(Remb::parse(packet)?),
            (packet_type::EXTENDED_REPORT, _) => Self::Xr(Xr::parse(packet)?),
            // An SSRC and a name of four letters (RFC 3550, section 6.7).
            (packet_type::APP, _) if packet.len() < 12 => {
                return Err(ParseError::new("RTCP APP too short", packet.len()));
            }
            (packet_type::APP, WantedStreams::FORMAT) if WantedStreams::is_one(packet) => {
                Self::Wanted(WantedStreams::parse(packet)?)
            }
            (pt, fmt) => Self::Unknown { pt, fmt },
        })
    }
}

/// Iterator over the packets of a compound whose chain of lengths is sound. A packet whose inside is
/// broken is an error of its own and does not end the iteration.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    /// Where `rest` begins, for errors.
    at: usize,
}

impl<'a> Packets<'a> {
    /// Checks the compound: every version is 2, the lengths add up to `data`, only the last packet
    /// has padding, and the first one is a report unless reduced size was negotiated. Transport layer
    /// feedback may have padding anywhere, since libwebrtc aligns transport-cc with it.
    pub fn new(data: &'a [u8], reduced_size: bool) -> Result<Self, ParseError> {
        let first = RtcpHeader::parse(data)?;
        let is_report = matches!(first.packet_type, packet_type::SENDER_REPORT | packet_type::RECEIVER_REPORT);
        if !reduced_size && !is_report {
            return Err(ParseError::new("RTCP compound does not begin with a report", 1));
        }
        let mut at = 0;
        let mut count = 0;
        while at < data.len() {
            let header = data.get(at..).map(RtcpHeader::parse);
            let header = header.and_then(Result::ok).ok_or(ParseError::new("RTCP compound malformed", at))?;
            count += 1;
            if count > MAX_PACKETS {
                return Err(ParseError::new("too many packets in RTCP compound", at));
            }
            at += header.len;
            let may_pad = at == data.len() || header.packet_type == packet_type::TRANSPORT_FEEDBACK;
            if header.padding && !may_pad {
                return Err(ParseError::new("RTCP padding before the last packet", at));
            }
        }
        Ok(Self { rest: data, at: 0 })
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<RtcpPacket<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.at;
        let Ok(header) = RtcpHeader::parse(self.rest) else {
            // `new` has walked the same chain.
            self.rest = &[];
            return None;
        };
        let (packet, rest) = self.rest.split_at_checked(header.len)?;
        self.rest = rest;
        self.at += header.len;
        Some(RtcpPacket::parse(packet).map_err(|error| ParseError::new(error.what, error.offset + at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{FirEntry, ReportBlock, TransportCcHeader};
    use crate::time::NtpTime;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 1,
        fraction_lost: 2,
        cumulative_lost: -3,
        highest_sequence: 4,
        jitter: 5,
        last_sr: 6,
        delay_since_last_sr: 7,
    };
    const REPORT: SenderReport =
        SenderReport { ssrc: 9, ntp: NtpTime(1 << 40), rtp_timestamp: 8, packet_count: 7, octet_count: 6 };

    fn written(write: impl FnOnce(&mut [u8]) -> Result<usize, ParseError>) -> Vec<u8> {
        let mut buf = vec![0; 4000];
        let len = write(&mut buf).unwrap();
        assert_eq!(len % 4, 0);
        buf.truncate(len);
        buf
    }

    fn parse(compound: &[u8]) -> Result<Vec<RtcpPacket<'_>>, ParseError> {
        Packets::new(compound, false)?.collect()
    }

    #[test]
    fn a_compound_of_reports_and_names_is_read_as_it_was_written() {
        let mut all = written(|buf| REPORT.write(buf, &[BLOCK; 31]));
        all.extend(written(|buf| Sdes::write(buf, &[(1, b"a"), (2, b"ab"), (3, b"abc"), (4, b"")])));
        all.extend([0x82, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e']);
        all.extend(written(|buf| Bye::write(buf, &[1, 2], Some(b"because"))));
        let packets = parse(&all).unwrap();
        let [
            RtcpPacket::SenderReport(report, blocks),
            RtcpPacket::Sdes(sdes),
            RtcpPacket::Unknown { pt: 204, fmt: 2 },
            RtcpPacket::Bye(bye),
        ] = packets[..]
        else {
            panic!("{packets:?}");
        };
        assert_eq!((report, blocks.len()), (REPORT, 31));
        assert!(blocks.into_iter().all(|block| block == BLOCK));
        let names: Vec<_> = sdes.chunks().map(|chunk| (chunk.ssrc, chunk.cname().unwrap())).collect();
        assert_eq!(names, [(1, &b"a"[..]), (2, b"ab"), (3, b"abc"), (4, b"")]);
        assert_eq!((bye.ssrcs().collect::<Vec<_>>(), bye.reason()), (vec![1, 2], Some(&b"because"[..])));
    }

    #[test]
    fn a_compound_of_feedback_is_read_as_it_was_written() {
        let mut all = written(|buf| ReceiverReport { ssrc: 3 }.write(buf, &[]));
        all.extend(written(|buf| Nack::write(buf, 1, 2, &[65_535, 0, 15, 16])));
        all.extend(written(|buf| Pli { sender_ssrc: 1, media_ssrc: 2 }.write(buf)));
        all.extend(written(|buf| Fir::write(buf, 1, &[FirEntry { ssrc: 2, sequence: 255 }])));
        all.extend(written(|buf| Remb::write(buf, 1, 2_000_000_001, &[2, 3])));
        all.extend(written(|buf| TransportCc::write(buf, &TransportCcHeader::default(), &[Some(1), None])));
        let packets = parse(&all).unwrap();
        let [
            RtcpPacket::ReceiverReport(ReceiverReport { ssrc: 3 }, _),
            RtcpPacket::Nack(nack),
            RtcpPacket::Pli(pli),
            RtcpPacket::Fir(fir),
            RtcpPacket::Remb(remb),
            RtcpPacket::TransportCc(feedback),
        ] = packets[..]
        else {
            panic!("{packets:?}");
        };
        assert_eq!(nack.pairs().collect::<Vec<_>>(), [(65_535, 0x8001), (16, 0)]);
        assert_eq!(nack.sequences().collect::<Vec<_>>(), [65_535, 0, 15, 16]);
        assert_eq!(pli, Pli { sender_ssrc: 1, media_ssrc: 2 });
        assert_eq!(fir.entries().collect::<Vec<_>>(), [FirEntry { ssrc: 2, sequence: 255 }]);
        assert!(remb.bitrate <= 2_000_000_001 && remb.bitrate > 1_999_990_000);
        assert_eq!(feedback.arrivals().collect::<Vec<_>>(), [(0, Some(1)), (1, None)]);
    }

    #[test]
    fn a_slice_that_is_too_small_is_an_error_at_every_length() {
        type Write = fn(&mut [u8]) -> Result<usize, ParseError>;
        let writers: [Write; 9] = [
            |buf| REPORT.write(buf, &[BLOCK]),
            |buf| ReceiverReport { ssrc: 1 }.write(buf, &[BLOCK]),
            |buf| Sdes::write(buf, &[(1, b"ab")]),
            |buf| Bye::write(buf, &[1], Some(b"x")),
            |buf| Nack::write(buf, 1, 2, &[3, 90]),
            |buf| Pli::default().write(buf),
            |buf| Fir::write(buf, 1, &[FirEntry::default()]),
            |buf| Remb::write(buf, 1, 5, &[1]),
            |buf| TransportCc::write(buf, &TransportCcHeader::default(), &[Some(-1), None]),
        ];
        for write in writers {
            let whole = write(&mut [0; 200]).unwrap();
            for len in 0..whole {
                assert!(write(&mut vec![0; len]).is_err());
            }
            assert_eq!(write(&mut vec![0; whole]), Ok(whole));
        }
        assert!(REPORT.write(&mut [0; 2000], &[BLOCK; 32]).is_err());
        assert!(Sdes::write(&mut [0; 2000], &[(1, &[b'a'; 256])]).is_err());
        assert!(Nack::write(&mut [0; 200], 1, 2, &[]).is_err());
    }

    #[test]
    fn row_037_the_chain_of_lengths_has_to_be_exact_and_is_walked_once() {
        let report = written(|buf| ReceiverReport { ssrc: 1 }.write(buf, &[]));
        for words in (0..=200).chain([0xffff]) {
            let mut bad = report.clone();
            bad[2..4].copy_from_slice(&(words as u16).to_be_bytes());
            // A length of 0 leaves four bytes that are no packet.
            assert_eq!(Packets::new(&bad, false).is_ok(), words == 1);
        }
        let mut many = report.clone();
        many.extend([0x80, 204, 0, 0].repeat(350));
        assert_eq!(Packets::new(&many, false).unwrap_err().what, "too many packets in RTCP compound");
        let mut few = report.clone();
        few.extend([0x80, 204, 0, 0].repeat(MAX_PACKETS - 1));
        assert_eq!(Packets::new(&few, false).unwrap().count(), MAX_PACKETS);
        for tail in 1..4 {
            let mut ragged = report.clone();
            ragged.extend(vec![0x80; tail]);
            assert!(Packets::new(&ragged, false).is_err());
        }
        assert!(Packets::new(&[], true).is_err());
        let empty_report = [0x80, 201, 0, 0];
        assert!(parse(&empty_report).is_err());
    }

    #[test]
    fn row_038_a_report_has_all_its_blocks_or_is_malformed() {
        for blocks in 0..=31_u8 {
            for (kind, fixed) in [(200, 28), (201, 8)] {
                for len in (fixed - 8..fixed + 24 * 32).step_by(4) {
                    let mut packet = vec![0; len.max(4)];
                    let words = (packet.len() / 4 - 1) as u16;
                    packet[..2].copy_from_slice(&[0x80 | blocks, kind]);
                    packet[2..4].copy_from_slice(&words.to_be_bytes());
                    let good = len >= fixed + 24 * usize::from(blocks);
                    assert_eq!(parse(&packet).is_ok(), good, "{kind} {blocks} {len}");
                }
            }
        }
        let lost = |lost| {
            let bytes =
                written(|buf| ReceiverReport { ssrc: 1 }.write(buf, &[ReportBlock { cumulative_lost: lost, ..BLOCK }]));
            ReceiverReport::parse(&bytes).unwrap().1.next().unwrap().cumulative_lost
        };
        assert_eq!([-1, 8_388_607, -8_388_608].map(lost), [-1, 8_388_607, -8_388_608]);
        assert_eq!([i32::MAX, i32::MIN].map(lost), [8_388_607, -8_388_608]);
    }

    #[test]
    fn row_039_sdes_items_and_bye_reasons_lie_within_the_packet() {
        let sdes = |count: u8, body: &[u8]| {
            let mut packet = vec![0x80 | count, 202, 0, (body.len() / 4) as u8];
            packet.extend_from_slice(body);
            Sdes::parse(&packet).is_ok()
        };
        assert!(sdes(1, &[0, 0, 0, 1, 1, 1, b'a', 0]));
        assert!(sdes(1, &[0, 0, 0, 1, 0, 0, 0, 0]), "no items");
        assert!(!sdes(1, &[0, 0, 0, 1, 1, 2, b'a', b'b']), "not terminated");
        assert!(!sdes(1, &[0, 0, 0, 1, 1, 255, b'a', 0]), "past the end");
        assert!(!sdes(1, &[0, 0, 0, 1]), "no list");
        assert!(!sdes(2, &[0, 0, 0, 1, 1, 1, b'a', 0]), "a chunk missing");
        assert!(!sdes(0, &[0, 0, 0, 1, 1, 1, b'a', 0]), "a chunk too many");
        let mut long = vec![0, 0, 0, 1, 1, 255];
        long.extend([b'x'; 255]);
        long.extend([0; 3]);
        assert!(sdes(1, &long));
        assert!(!sdes(1, &long[..256]));
        assert!(sdes(0, &[]));

        let bye = |count: u8, body: &[u8]| {
            let mut packet = vec![0x80 | count, 203, 0, (body.len() / 4) as u8];
            packet.extend_from_slice(body);
            Bye::parse(&packet).is_ok()
        };
        assert!(bye(0, &[]) && bye(1, &[0, 0, 0, 1]) && bye(1, &[0, 0, 0, 1, 3, b'a', b'b', b'c']));
        assert!(!bye(1, &[0, 0, 0, 1, 4, b'a', b'b', b'c']));
        assert!(!bye(2, &[0, 0, 0, 1]));
    }

    #[test]
    fn row_044_remb_counts_and_bitrates_are_bounded() {
        let with = |bitrate| {
            let bytes = written(|buf| Remb::write(buf, 1, bitrate, &[2]));
            Remb::parse(&bytes).unwrap().bitrate
        };
        assert_eq!([0, 1, 262_143, 262_144, 1 << 63].map(with), [0, 1, 262_143, 262_144, 1 << 63]);
        assert_eq!(with(u64::MAX), 0x3ffff << 46);
        let mut bytes = written(|buf| Remb::write(buf, 1, 1, &[2]));
        for (exponent, mantissa, bitrate) in
            [(63, 1, 1 << 63), (63, 2, u64::MAX), (63, 0, 0), (46, 0x3ffff, 0x3ffff << 46)]
        {
            let packed: u32 = exponent << 18 | mantissa;
            bytes[17..20].copy_from_slice(&packed.to_be_bytes()[1..]);
            assert_eq!(Remb::parse(&bytes).unwrap().bitrate, bitrate);
        }
        bytes[16] = 2;
        assert!(Remb::parse(&bytes).is_err());
        bytes[12] = b'r';
        assert_eq!(RtcpPacket::parse(&bytes), Ok(RtcpPacket::Unknown { pt: 206, fmt: 15 }));
    }

    #[test]
    fn row_045_extended_reports_and_strangers_are_walked_without_trust() {
        let xr = |body: &[u8]| {
            let mut packet = vec![0x80, 207, 0, (body.len() / 4) as u8];
            packet.extend_from_slice(body);
            Xr::parse(&packet).map(|xr| xr.blocks().map(|(kind, contents)| (kind, contents.len())).collect::<Vec<_>>())
        };
        assert_eq!(xr(&[0, 0, 0, 1, 6, 0, 0, 0, 7, 0, 0, 1, 0, 0, 0, 0]), Ok(vec![(6, 0), (7, 4)]));
        assert!(xr(&[0, 0, 0, 1, 4, 0, 0, 0]).is_err(), "a reference time of length 0");
        assert!(xr(&[0, 0, 0, 1, 4, 0, 0, 1]).is_err());
        assert!(xr(&[]).is_err());
        assert_eq!(xr(&[0, 0, 0, 1]), Ok(vec![]));
        let pli = written(|buf| Pli::default().write(buf));
        assert!(Packets::new(&pli, false).is_err(), "reduced size was not negotiated");
        assert_eq!(Packets::new(&pli, true).unwrap().count(), 1);
        assert!(RtcpPacket::parse(&[0x80, 204, 0, 1, 0, 0, 0, 1]).is_err(), "APP without a name");
        let app = [0x81, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e'];
        assert_eq!(RtcpPacket::parse(&app), Ok(RtcpPacket::Unknown { pt: 204, fmt: 1 }));
        assert_eq!(RtcpPacket::parse(&[0x9e, 205, 0, 0]), Ok(RtcpPacket::Unknown { pt: 205, fmt: 30 }));
    }

    #[test]
    fn h15_every_length_from_0_to_64_of_every_type_is_read_or_refused() {
        for packet_type in 192..=223_u8 {
            for count in 0..=31_u8 {
                for len in 0..=64_usize {
                    for fill in [0, 1, 0xff] {
                        let mut packet = vec![fill; len];
                        for (slot, value) in
                            packet.iter_mut().zip([0x80 | count, packet_type, 0, (len / 4).saturating_sub(1) as u8])
                        {
                            *slot = value;
                        }
                        let sound = Packets::new(&packet, true).is_ok();
                        assert_eq!(sound, len >= 4 && len % 4 == 0);
                        crate::fuzz::rtcp(&packet);
                    }
                }
            }
        }
    }

    #[test]
    fn h16_up_to_28_bytes_never_make_a_source_known() {
        // Neither a report that is cut short nor one with more blocks than bytes yields an SSRC.
        for len in 0..28 {
            for kind in [200, 201] {
                let mut packet = vec![0xaa; len];
                for (slot, value) in packet.iter_mut().zip([0x81, kind, 0, (len / 4).saturating_sub(1) as u8]) {
                    *slot = value;
                }
                assert!(parse(&packet).is_err(), "{kind} {len}");
            }
        }
    }

    #[test]
    fn padding_is_cut_off_the_last_packet_and_refused_before_it() {
        let report = written(|buf| ReceiverReport { ssrc: 1 }.write(buf, &[]));
        let mut padded = report.clone();
        padded.extend([0, 0, 0, 4]);
        padded[0] |= 0x20;
        padded[3] += 1;
        assert!(parse(&padded).is_ok());
        let mut not_last = padded.clone();
        not_last.extend_from_slice(&report);
        assert!(Packets::new(&not_last, false).is_err());
        for count in [0, 9, 255] {
            *padded.last_mut().unwrap() = count;
            assert!(parse(&padded).is_err());
        }
        // libwebrtc aligns transport-cc feedback with one to three bytes of padding.
        let mut feedback = written(|buf| TransportCc::write(buf, &TransportCcHeader::default(), &[Some(1)]));
        feedback[0] |= 0x20;
        *feedback.last_mut().unwrap() = 1;
        let mut both = report.clone();
        both.extend_from_slice(&feedback);
        both.extend_from_slice(&report);
        assert_eq!(parse(&both).unwrap().len(), 3);
    }
}
