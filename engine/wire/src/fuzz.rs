//! Bodies of fuzz targets, one per parser: each calls every accessor and asserts what has to hold of
//! any input. They live here so that a change of a parser cannot leave its target behind; a target
//! itself is one line. The tests of this module run them over pseudo-random and mutated inputs.
//!
//! These functions panic on a bug of this crate, allocate, and are called by nothing but tests.

mod payloads;

use std::net::SocketAddr;

pub use payloads::{av1, fec, h264, h265, layers_allocation, opus, red, vp8, vp9};

use crate::demux::{DatagramKind, classify};
use crate::dependency_descriptor::{DependencyDescriptor, DescriptorRewrite, MAX_TEMPLATES, TemplateStructure};
use crate::extension::{self, AbsCaptureTime, AudioLevel, ExtensionIds, ExtensionKind, PlayoutDelay};
use crate::rtcp::{
    Bye, Fir, Nack, Packets, Remb, ReportBlock, RtcpPacket, Sdes, TransportCc, Xr, congestion, transport_cc,
};
use crate::rtp::{self, RtpHeaderFields, RtpView};
use crate::stun::{Class, StunBuilder, StunMessage};

/// Stands in for HMAC-SHA1, which this floor does not have: any function of all the bytes will do.
pub fn pretended_hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut state = [0_u8; 20];
    let bytes = key.iter().chain(parts.iter().copied().flatten());
    for (index, byte) in bytes.enumerate() {
        let at = index % state.len();
        let before = state[(index + 7) % 20];
        state[at] = state[at].rotate_left(3) ^ byte.wrapping_add(before).wrapping_mul(31);
    }
    state
}

/// First two bytes.
pub fn demux(data: &[u8]) {
    let kind = classify(data);
    // Methods from 256 on have a larger first byte; none of them is ICE's.
    if StunMessage::parse(data).is_ok_and(|message| message.method() < 256) {
        assert_eq!(kind, Some(DatagramKind::Stun));
    }
    if RtpView::parse(data).is_ok() {
        assert!(matches!(kind, Some(DatagramKind::Rtp | DatagramKind::Rtcp)));
    }
    assert!(kind.is_none() || !data.is_empty());
}

/// STUN: everything that is read can be written and is read again.
pub fn stun(data: &[u8]) {
    let Ok(message) = StunMessage::parse(data) else {
        return;
    };
    assert!(data.len() >= 20 && data.len().is_multiple_of(4));
    assert_eq!(message.data(), data);
    let _ = format!("{message:?}");
    let unknown = message.unknown_required().count();
    assert!(unknown <= crate::stun::MAX_ATTRIBUTES);
    let integrity = message.check_integrity(b"key", pretended_hmac);
    assert!(!integrity || message.has_integrity());
    let _ = message.has_valid_fingerprint();

    let mut buf = vec![0; data.len() + 256];
    let mut builder = StunBuilder::new(&mut buf, message.class(), message.method(), message.transaction_id());
    if let Some(name) = message.username() {
        assert!(name.len() <= crate::stun::MAX_USERNAME);
        builder = builder.username(name);
    }
    if let Some(priority) = message.priority() {
        builder = builder.priority(priority);
    }
    if message.use_candidate() {
        builder = builder.use_candidate();
    }
    if let Some(value) = message.nomination() {
        builder = builder.nomination(value);
    }
    if let Some(value) = message.ice_controlling() {
        builder = builder.ice_controlling(value);
    }
    if let Some(value) = message.ice_controlled() {
        builder = builder.ice_controlled(value);
    }
    if let Some(code) = message.error_code() {
        assert!((300..700).contains(&code));
        builder = builder.error_code(code, "");
    }
    if let Some(address) = message.xor_mapped_address() {
        builder = builder.xor_mapped_address(address);
    }
    let len = builder.finish(Some((b"key", pretended_hmac))).expect("room for what was read");
    let again = StunMessage::parse(&buf[..len]).expect("what was written is well-formed");
    assert!(again.has_valid_fingerprint() && again.check_integrity(b"key", pretended_hmac));
    assert!(!again.check_integrity(b"kex", pretended_hmac));
    assert_eq!(stun_values(&message), stun_values(&again));
}

type StunValues<'a> = (
    (Class, u16, &'a [u8; 12], Option<&'a [u8]>, Option<u32>, bool),
    (Option<u32>, Option<u64>, Option<u64>, Option<u16>, Option<SocketAddr>),
);

fn stun_values<'a>(message: &StunMessage<'a>) -> StunValues<'a> {
    (
        (
            message.class(),
            message.method(),
            message.transaction_id(),
            message.username(),
            message.priority(),
            message.use_candidate(),
        ),
        (
            message.nomination(),
            message.ice_controlling(),
            message.ice_controlled(),
            message.error_code(),
            message.xor_mapped_address(),
        ),
    )
}

/// RTP: ranges lie within the packet, and a rewritten header carries the same values.
pub fn rtp(data: &[u8]) {
    let mut copy = data.to_vec();
    rtp::set_sequence(&mut copy, 0x1234);
    rtp::set_timestamp(&mut copy, 0x5678_9abc);
    rtp::set_ssrc(&mut copy, 0xdef0_1234);
    rtp::set_payload_type(&mut copy, 0xff);
    rtp::set_marker(&mut copy, true);
    assert_eq!(copy.len(), data.len());
    let Ok(view) = RtpView::parse(data) else {
        assert!(RtpView::parse(&copy).is_err(), "setters do not repair structure");
        return;
    };
    let range = view.payload_range();
    assert!(range.start <= range.end && range.end + view.padding_len == data.len());
    assert_eq!((view.header_len, view.payload()), (range.start, &data[range.clone()]));
    assert_eq!(view.is_padding_only(), range.is_empty() && view.padding_len > 0);
    assert_eq!(view.csrcs().count(), usize::from(view.csrc_count));
    let _ = format!("{view:?}");
    let exts: Vec<_> = view.extensions().collect();
    for (id, value) in &exts {
        assert_ne!(*id, 0);
        let first = exts.iter().find(|(other, _)| other == id).map(|(_, value)| *value);
        assert_eq!(view.extension(*id), first);
        let at = view.extension_range(*id).expect("an element that was found");
        assert!(at.end <= view.header_len);
        assert_eq!(Some(&data[at]), first);
        assert!(value.len() <= 255);
    }
    let changed = RtpView::parse(&copy).expect("setters do not break structure");
    let expected = RtpHeaderFields {
        marker: true,
        payload_type: 127,
        sequence: 0x1234,
        timestamp: 0x5678_9abc,
        ssrc: 0xdef0_1234,
    };
    assert_eq!((changed.fields(), changed.payload_range()), (expected, range));

    let mut buf = vec![0; data.len() + 16];
    let len = rtp::write_header(&mut buf, &view.fields(), &exts).expect("room for what was read");
    buf.truncate(len);
    buf.extend_from_slice(view.payload());
    let again = RtpView::parse(&buf).expect("what was written is well-formed");
    assert_eq!((again.fields(), again.payload()), (view.fields(), view.payload()));
    assert!(again.extensions().eq(exts), "header extensions survive");
}

/// Header extensions: the first byte chooses the form, the rest is the block and its values.
pub fn extensions(data: &[u8]) {
    let (first, block) = data.split_first().unwrap_or((&0, &[]));
    let words = block.len() / 4;
    let block = &block[..words * 4];
    let profile: u16 = match first & 3 {
        0 | 1 => 0xbede,
        2 => 0x1000 | u16::from(first >> 4),
        _ => u16::from(*first) << 8,
    };
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    packet.extend_from_slice(&profile.to_be_bytes());
    packet.extend_from_slice(&(words as u16).to_be_bytes());
    packet.extend_from_slice(block);
    rtp(&packet);
    let view = RtpView::parse(&packet).expect("the block is whole");
    let mut ids = ExtensionIds::new();
    for (index, (id, value)) in view.extensions().enumerate() {
        let kind = ExtensionKind::ALL[index % ExtensionKind::COUNT];
        if ids.set(kind, id) {
            assert_eq!((ids.get(kind), ids.kind_of(id)), (Some(id), Some(kind)));
        }
        extension_values(value);
    }
    assert!(ids.iter().all(|(kind, id)| ids.kind_of(id) == Some(kind)));
}

fn extension_values(value: &[u8]) {
    if let Some(level) = AudioLevel::parse(value) {
        assert_eq!(level.to_byte(), value[0]);
    }
    let _ = extension::abs_send_time(value);
    let _ = extension::transport_sequence(value);
    if let Some(orientation) = extension::video_orientation(value) {
        assert!(orientation.rotation <= 270);
    }
    if let Some(time) = AbsCaptureTime::parse(value) {
        let (bytes, len) = time.to_bytes();
        assert_eq!(&bytes[..len], value);
    }
    if let Some(delay) = PlayoutDelay::parse(value) {
        assert!(delay.min_ms <= delay.max_ms && delay.max_ms <= 40_950);
    }
    let _ = extension::transmission_offset(value);
    let fits = ExtensionKind::ALL.iter().filter(|kind| kind.accepts(value)).count();
    assert!(fits <= ExtensionKind::COUNT);
    layers_allocation(value);
    if let Ok(mid) = extension::mid(value) {
        assert!(value.starts_with(mid.as_bytes()) && mid.as_str().len() == mid.as_bytes().len());
    }
    if let Ok(rid) = extension::rid(value) {
        assert!(value.starts_with(rid.as_bytes()) && rid.as_str().len() == rid.as_bytes().len());
    }
}

/// Dependency descriptors, each after a byte with its length, against the structures that they carry:
/// what is read is written and read again.
pub fn dependency_descriptor(data: &[u8]) {
    let mut structure = TemplateStructure::default();
    let mut rest = data;
    while let Some((len, after)) = rest.split_first() {
        let (value, after) = after.split_at(after.len().min(usize::from(*len)));
        rest = after;
        let before = structure.clone();
        let Ok(descriptor) = DependencyDescriptor::parse(value, &mut structure) else {
            assert_eq!(structure, before, "a refusal changes nothing");
            continue;
        };
        assert!(descriptor.has_structure || structure == before);
        dependency_descriptor_again(&descriptor, &structure);
    }
}

fn dependency_descriptor_again(descriptor: &DependencyDescriptor, structure: &TemplateStructure) {
    let _ = format!("{descriptor:?} {structure:?}");
    assert!((1..=MAX_TEMPLATES).contains(&structure.templates().len()));
    assert!(structure.chain_count() <= structure.target_count() && structure.target_count() <= 32);
    assert_eq!(descriptor.indications.present() & !structure.all_targets(), 0);
    for target in 0..usize::from(structure.target_count()) {
        let (spatial, temporal) = structure.target_layers(target).expect("a target that exists");
        assert!(spatial < structure.spatial_layers() && temporal < structure.temporal_layers());
        assert!(structure.protected_by(target).is_none_or(|chain| chain < structure.chain_count()));
    }
    for structure_too in [false, true] {
        let rewrite = DescriptorRewrite {
            frame_number: descriptor.frame_number.wrapping_add(9),
            active_targets: descriptor.active_targets,
            structure: structure_too,
            template_shift: 0,
        };
        let mut buf = [0; 4096];
        let len = descriptor.write(&mut buf, structure, &rewrite).expect("room for the largest");
        let mut kept = structure.clone();
        let again = DependencyDescriptor::parse(&buf[..len], &mut kept).expect("what was written is well-formed");
        assert_eq!(&kept, structure);
        assert_eq!((again.frame_number, again.has_structure), (rewrite.frame_number, structure_too));
        assert_eq!((again.indications, again.frame_diffs), (descriptor.indications, descriptor.frame_diffs));
        assert_eq!((again.spatial, again.temporal), (descriptor.spatial, descriptor.temporal));
        for chain in 0..usize::from(structure.chain_count()) {
            assert_eq!(again.chain_diff(&kept, chain), descriptor.chain_diff(structure, chain));
        }
    }
}

/// RTCP: every packet of a compound is read, written and read again.
pub fn rtcp(data: &[u8]) {
    let full = Packets::new(data, false);
    let reduced = Packets::new(data, true);
    assert!(full.is_err() || reduced.is_ok(), "reduced size allows more");
    for packets in [full, reduced].into_iter().flatten() {
        let mut count = 0;
        for packet in packets {
            count += 1;
            if let Ok(packet) = packet {
                rtcp_again(&packet, data.len());
            }
        }
        assert!((1..=crate::rtcp::compound::MAX_PACKETS).contains(&count));
    }
    let _ = RtcpPacket::parse(data);
}

fn rtcp_again(packet: &RtcpPacket<'_>, room: usize) {
    let mut buf = vec![0; 2 * room + 3 * usize::from(transport_cc::MAX_STATUS_COUNT)];
    let written = match packet {
        RtcpPacket::SenderReport(report, blocks) => report.write(&mut buf, &blocks.collect::<Vec<ReportBlock>>()),
        RtcpPacket::ReceiverReport(report, blocks) => report.write(&mut buf, &blocks.collect::<Vec<ReportBlock>>()),
        RtcpPacket::Bye(bye) => Bye::write(&mut buf, &bye.ssrcs().collect::<Vec<_>>(), bye.reason()),
        RtcpPacket::Pli(pli) => pli.write(&mut buf),
        RtcpPacket::Fir(fir) => Fir::write(&mut buf, fir.sender_ssrc, &fir.entries().collect::<Vec<_>>()),
        RtcpPacket::Remb(remb) if remb.bitrate != u64::MAX => {
            Remb::write(&mut buf, remb.sender_ssrc, remb.bitrate, &remb.ssrcs().collect::<Vec<_>>())
        }
        RtcpPacket::TransportCc(feedback) => {
            let arrivals: Vec<_> = feedback.arrivals().collect();
            assert_eq!(arrivals.len(), usize::from(feedback.status_count));
            let deltas: Vec<_> = arrivals.iter().map(|(_, delta)| *delta).collect();
            TransportCc::write(&mut buf, &feedback.header, &deltas)
        }
        RtcpPacket::Nack(nack) => {
            assert!(nack.pairs().count() <= room / 4);
            let mut lost: Vec<_> = nack.sequences().collect();
            let len = Nack::write(&mut buf, nack.sender_ssrc, nack.media_ssrc, &lost).expect("room for what was read");
            let again = Nack::parse(&buf[..len]).expect("what was written is well-formed");
            let mut lost_again: Vec<_> = again.sequences().collect();
            lost.sort_unstable();
            lost.dedup();
            lost_again.sort_unstable();
            lost_again.dedup();
            assert_eq!(lost, lost_again);
            return;
        }
        RtcpPacket::Sdes(sdes) => return sdes_again(sdes, &mut buf),
        RtcpPacket::Xr(xr) => {
            assert!(xr.blocks().count() <= room / 4);
            let answers: Vec<_> = xr.dlrr().collect();
            let len = Xr::write(&mut buf, xr.ssrc, xr.reference_time(), &answers).expect("room for what was read");
            let again = Xr::parse(&buf[..len]).expect("what was written is well-formed");
            assert_eq!((again.ssrc, again.reference_time()), (xr.ssrc, xr.reference_time()));
            assert!(again.dlrr().eq(answers));
            return;
        }
        RtcpPacket::Wanted(wanted) => {
            let streams: Vec<_> = wanted.streams().collect();
            assert!(streams.len() <= crate::rtcp::WantedStreams::MAX);
            let len = crate::rtcp::WantedStreams::write(&mut buf, 0, &streams).expect("room for what was read");
            let again = crate::rtcp::WantedStreams::parse(&buf[..len]).expect("what was written is well-formed");
            assert!(again.streams().eq(streams));
            return;
        }
        RtcpPacket::Congestion(feedback) => {
            for stream in feedback.streams() {
                assert!(stream.reports().count() <= usize::from(congestion::MAX_REPORTS).min(room / 2));
                let numbers = stream.reports().map(|report| report.sequence.wrapping_sub(stream.begin_sequence));
                assert!(numbers.eq(0..stream.reports().count() as u16));
            }
            return;
        }
        RtcpPacket::Remb(_) | RtcpPacket::Unknown { .. } => return,
    };
    let len = written.expect("room for what was read");
    let again = RtcpPacket::parse(&buf[..len]).expect("what was written is well-formed");
    match (packet, &again) {
        // Reserved bytes are not kept.
        (RtcpPacket::Fir(a), RtcpPacket::Fir(b)) => {
            assert_eq!(a.sender_ssrc, b.sender_ssrc);
            assert!(a.entries().eq(b.entries()));
        }
        // The same arrivals may be packed in other chunks.
        (RtcpPacket::TransportCc(a), RtcpPacket::TransportCc(b)) => {
            assert_eq!(a.header, b.header);
            assert!(a.arrivals().eq(b.arrivals()));
        }
        _ => assert_eq!(packet, &again),
    }
}

fn sdes_again(sdes: &Sdes<'_>, buf: &mut [u8]) {
    let names: Vec<_> = sdes.chunks().filter_map(|chunk| chunk.cname().map(|name| (chunk.ssrc, name))).collect();
    assert!(sdes.chunks().all(|chunk| { chunk.items().all(|(kind, text)| kind != 0 && text.len() <= 255) }));
    let len = Sdes::write(buf, &names).expect("room for what was read");
    let again = Sdes::parse(&buf[..len]).expect("what was written is well-formed");
    assert!(again.chunks().map(|chunk| (chunk.ssrc, chunk.cname().unwrap_or(&[]))).eq(names));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, corpus, mutate};

    type Target = fn(&[u8]);
    const TARGETS: [(&str, Target); 15] = [
        ("demux", demux),
        ("stun", stun),
        ("rtp", rtp),
        ("extensions", extensions),
        ("dependency_descriptor", dependency_descriptor),
        ("rtcp", rtcp),
        ("vp8", vp8),
        ("vp9", vp9),
        ("h264", h264),
        ("h265", h265),
        ("av1", av1),
        ("opus", opus),
        ("red", red),
        ("fec", fec),
        ("layers_allocation", layers_allocation),
    ];

    fn run(name: &str, target: Target, input: &[u8]) {
        if std::panic::catch_unwind(|| target(input)).is_err() {
            panic!("{name} broke on {input:02x?}");
        }
    }

    #[test]
    fn h17_every_accessor_of_every_parser_survives_random_bytes() {
        let mut rng = Rng(0x5eed);
        for _ in 0..15_000 {
            let len = rng.below(80);
            let input = rng.bytes(len);
            TARGETS.iter().for_each(|(name, target)| run(name, *target, &input));
        }
    }

    #[test]
    fn h18_every_accessor_of_every_parser_survives_mutated_packets() {
        let mut rng = Rng(0xfa17);
        for seed in corpus() {
            TARGETS.iter().for_each(|(name, target)| run(name, *target, &seed));
            for _ in 0..1_500 {
                let input = mutate(&mut rng, &seed);
                TARGETS.iter().for_each(|(name, target)| run(name, *target, &input));
            }
        }
    }

    #[test]
    fn h15_every_prefix_of_every_packet_survives() {
        for seed in corpus() {
            for len in 0..=seed.len().min(256) {
                TARGETS.iter().for_each(|(name, target)| run(name, *target, &seed[..len]));
            }
        }
    }
}
