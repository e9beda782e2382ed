//! Second opinions: the same bytes, well-formed and mutated, read by parsers of other people. Where
//! both accept, the values are equal; where only one does, the reason is written here.

use rtcp_types::FciParser as _;
use rtcp_types::{Compound, Packet};
use rtp_types::RtpPacket;
use stun_types::attribute::{MessageIntegrity, Username, XorMappedAddress};
use stun_types::message::{IntegrityAlgorithm, Message, MessageIntegrityCredentials, ShortTermCredentials};

use crate::rtcp::{Nack, Packets, ReportBlock, ReportBlocks, RtcpPacket, TransportCc};
use crate::rtp::RtpView;
use crate::stun::{BINDING, Class, StunBuilder, StunMessage};
use crate::testing::{RFC_5769_REQUEST, Rng, corpus, mutate};

const MUTATIONS: usize = 3_000;

/// Calls `judge` with every packet of the corpus and with mutations of it.
fn for_each_input(seed: u64, mut judge: impl FnMut(&[u8])) {
    let mut rng = Rng(seed);
    for packet in corpus() {
        judge(&packet);
        for _ in 0..MUTATIONS {
            judge(&mutate(&mut rng, &packet));
        }
    }
}

#[test]
fn rtp_is_read_as_rtp_types_reads_it() {
    let mut agreed = 0;
    for_each_input(1, |bytes| {
        let (ours, theirs) = (RtpView::parse(bytes), RtpPacket::parse(bytes));
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{bytes:02x?}");
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else {
            return;
        };
        agreed += 1;
        assert_eq!((ours.marker, ours.payload_type), (theirs.marker_bit(), theirs.payload_type()));
        assert_eq!((ours.sequence, ours.timestamp), (theirs.sequence_number(), theirs.timestamp()));
        assert_eq!((ours.ssrc, ours.header_len), (theirs.ssrc(), theirs.payload_offset()));
        assert_eq!(ours.padding_len, usize::from(theirs.padding().unwrap_or(0)));
        assert_eq!(ours.payload(), theirs.payload());
        assert!(ours.csrcs().eq(theirs.csrc()));
    });
    assert!(agreed > 10_000, "{agreed}");
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let password = String::from_utf8(key.to_vec()).unwrap();
    MessageIntegrity::compute(parts, &ShortTermCredentials::new(password).make_key()).unwrap()
}

/// The message without a FINGERPRINT at its end, and with the length that it has.
fn without_fingerprint(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len() & !3].to_vec();
    if bytes.len() >= 28 && bytes[bytes.len() - 8..][..2] == [0x80, 0x28] {
        bytes.truncate(bytes.len() - 8);
    }
    if let Some(length) = bytes.len().checked_sub(20) {
        bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    }
    bytes
}

#[test]
fn stun_is_read_as_stun_types_reads_it() {
    let mut agreed = 0;
    for_each_input(2, |bytes| {
        // They refuse a message whose FINGERPRINT is wrong, which a mutation always makes it, and
        // read attributes only when asked.
        let bytes = without_fingerprint(bytes);
        let (Ok(ours), Ok(theirs)) = (StunMessage::parse(&bytes), Message::from_bytes(&bytes)) else {
            return;
        };
        agreed += 1;
        assert_eq!(ours.method(), theirs.method().value());
        assert_eq!(ours.class() == Class::Request, theirs.class() == stun_types::message::MessageClass::Request);
        let id = u128::from(theirs.transaction_id()).to_be_bytes();
        assert_eq!(ours.transaction_id()[..], id[4..]);
        if let Ok(name) = theirs.attribute::<Username>() {
            assert_eq!(ours.username(), Some(name.username().as_bytes()));
        }
        if let Ok(address) = theirs.attribute::<XorMappedAddress>() {
            assert_eq!(ours.xor_mapped_address(), Some(address.addr(theirs.transaction_id())));
        }
    });
    assert!(agreed > 1_000, "{agreed}");
}

#[test]
fn stun_integrity_and_fingerprint_are_what_stun_types_makes_of_them() {
    for password in ["a", "VOkJxbRl1RmTxUk/WvJxBt", &"long".repeat(40)] {
        let credentials = MessageIntegrityCredentials::from(ShortTermCredentials::new(password.to_owned()));
        let mut buf = [0; 300];
        let builder = StunBuilder::new(&mut buf, Class::Request, BINDING, &[3; 12]).username(b"us:them").priority(77);
        let len = builder.finish(Some((password.as_bytes(), hmac_sha1))).unwrap();
        // Reading checks the FINGERPRINT.
        let theirs = Message::from_bytes(&buf[..len]).unwrap();
        assert_eq!(theirs.validate_integrity(&credentials).ok(), Some(IntegrityAlgorithm::Sha1));
        let ours = StunMessage::parse(&buf[..len]).unwrap();
        assert!(ours.check_integrity(password.as_bytes(), hmac_sha1));
        assert!(!ours.check_integrity(b"another", hmac_sha1));
    }
}

#[test]
fn the_integrity_of_the_sample_request_of_rfc_5769_is_right() {
    let message = StunMessage::parse(&RFC_5769_REQUEST).unwrap();
    assert!(message.has_valid_fingerprint());
    assert!(message.check_integrity(b"VOkJxbRl1RmTxUk/WvJxBt", hmac_sha1));
    assert!(!message.check_integrity(b"VOkJxbRl1RmTxUk/WvJxBu", hmac_sha1));
}

fn same_blocks<'a>(ours: ReportBlocks<'_>, theirs: impl Iterator<Item = rtcp_types::ReportBlock<'a>>) -> bool {
    ours.eq(theirs.map(|block| ReportBlock {
        ssrc: block.ssrc(),
        fraction_lost: block.fraction_lost(),
        // They leave the 24 bits unsigned.
        cumulative_lost: (block.cumulative_lost() << 8) as i32 >> 8,
        highest_sequence: block.extended_sequence_number(),
        jitter: block.interarrival_jitter(),
        last_sr: block.last_sender_report_timestamp(),
        delay_since_last_sr: block.delay_since_last_sender_report_timestamp(),
    }))
}

/// Compares the values of one packet; `false` if there is nothing to compare.
fn same_packet(ours: &RtcpPacket<'_>, theirs: &Packet<'_>) -> bool {
    match (ours, theirs) {
        (RtcpPacket::SenderReport(report, blocks), Packet::Sr(theirs)) => {
            assert_eq!((report.ssrc, report.ntp.0), (theirs.ssrc(), theirs.ntp_timestamp()));
            assert_eq!((report.rtp_timestamp, report.packet_count), (theirs.rtp_timestamp(), theirs.packet_count()));
            assert_eq!(report.octet_count, theirs.octet_count());
            assert!(same_blocks(*blocks, theirs.report_blocks()));
        }
        (RtcpPacket::ReceiverReport(report, blocks), Packet::Rr(theirs)) => {
            assert_eq!(report.ssrc, theirs.ssrc());
            assert!(same_blocks(*blocks, theirs.report_blocks()));
        }
        (RtcpPacket::Bye(bye), Packet::Bye(theirs)) => {
            assert!(bye.ssrcs().eq(theirs.ssrcs()));
            assert_eq!(bye.reason().unwrap_or(&[]), theirs.reason().unwrap_or(&[]));
        }
        (RtcpPacket::Sdes(sdes), Packet::Sdes(theirs)) => {
            let theirs = theirs.chunks().map(|chunk| (chunk.ssrc(), chunk.items().next().map(|item| item.value())));
            assert!(sdes.chunks().map(|chunk| (chunk.ssrc, chunk.items().next().map(|(_, text)| text))).eq(theirs));
        }
        _ => return same_feedback(ours, theirs),
    }
    true
}

/// As [`same_packet`], for feedback.
fn same_feedback(ours: &RtcpPacket<'_>, theirs: &Packet<'_>) -> bool {
    match (ours, theirs) {
        (RtcpPacket::Nack(nack), Packet::TransportFeedback(theirs)) => {
            assert_eq!((nack.sender_ssrc, nack.media_ssrc), (theirs.sender_ssrc(), theirs.media_ssrc()));
            assert!(nack.sequences().eq(theirs.parse_fci::<rtcp_types::Nack<'_>>().unwrap().entries()));
        }
        (RtcpPacket::TransportCc(feedback), Packet::TransportFeedback(theirs)) => {
            let theirs = theirs.parse_fci::<rtcp_types::Twcc<'_>>().unwrap();
            assert_eq!(feedback.header.base_sequence, theirs.base_sequence_number());
            assert_eq!(feedback.header.reference_time as u32 & 0xff_ffff, theirs.reference_time());
            assert_eq!(feedback.header.feedback_count, theirs.feedback_packet_count());
            let theirs = theirs.packets().map(|packet| match packet.unwrap() {
                (sequence, rtcp_types::TwccPacketStatus::Received { delta }) => (sequence, Some(delta)),
                (sequence, rtcp_types::TwccPacketStatus::NotReceived) => (sequence, None),
            });
            assert!(feedback.arrivals().eq(theirs));
        }
        (RtcpPacket::Pli(pli), Packet::PayloadFeedback(theirs)) => {
            assert_eq!((pli.sender_ssrc, pli.media_ssrc), (theirs.sender_ssrc(), theirs.media_ssrc()));
        }
        (RtcpPacket::Fir(fir), Packet::PayloadFeedback(theirs)) => {
            let theirs = theirs.parse_fci::<rtcp_types::Fir<'_>>().unwrap();
            let theirs = theirs.entries().map(|entry| (entry.ssrc(), entry.sequence()));
            assert!(fir.entries().map(|entry| (entry.ssrc, entry.sequence)).eq(theirs));
        }
        _ => return false,
    }
    true
}

#[test]
fn rtcp_is_read_as_rtcp_types_reads_it() {
    assert_eq!((Nack::FORMAT, TransportCc::FORMAT), (rtcp_types::Nack::FCI_FORMAT, rtcp_types::Twcc::FCI_FORMAT));
    let mut agreed = 0;
    for_each_input(3, |bytes| {
        // They check the first packet's version only, and have no cap; we allow padding of
        // transport-cc feedback anywhere.
        let (Ok(ours), Ok(theirs)) = (Packets::new(bytes, true), Compound::parse(bytes)) else {
            return;
        };
        for (ours, theirs) in ours.zip(theirs) {
            let (Ok(ours), Ok(theirs)) = (ours, theirs) else {
                break;
            };
            agreed += usize::from(same_packet(&ours, &theirs));
        }
    });
    assert!(agreed > 2_000, "{agreed}");
}
