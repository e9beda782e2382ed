//! Second opinions on payload formats and on the feedback that [`crate::oracle_tests`] leaves out, by
//! parsers that share no line with ours. They panic on some of these inputs, which counts as a refusal.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rtc_rtcp::extended_report::{DLRRReportBlock, ExtendedReport, ReceiverReferenceTimeReportBlock};
use rtc_rtcp::transport_feedbacks::cc_feedback_report::CcFeedbackReport;
use rtc_rtp::codec::av1::Av1Depacketizer;
use rtc_rtp::codec::h264::H264Packet;
use rtc_rtp::codec::h265::{H265Packet, H265Payload as TheirH265};
use rtc_rtp::codec::vp8::Vp8Packet;
use rtc_rtp::codec::vp9::Vp9Packet;
use rtc_rtp::extension::audio_level_extension::AudioLevelExtension;
use rtc_rtp::extension::playout_delay_extension::PlayoutDelayExtension;
use rtc_rtp::packetizer::Depacketizer;
use rtc_shared::marshal::Unmarshal;

use crate::codec::av1::Av1Payload;
use crate::codec::h264::H264Payload;
use crate::codec::h265::H265Payload;
use crate::codec::vp8::Vp8Descriptor;
use crate::codec::vp9::Vp9Descriptor;
use crate::extension::{AudioLevel, PlayoutDelay};
use crate::rtcp::{ArrivalOffset, CongestionFeedback, RtcpHeader, Xr};
use crate::testing::{Rng, corpus, mutate};

const MUTATIONS: usize = 20_000;

/// Calls `judge` with each seed, with mutations of it, and with random bytes.
fn for_each_input(seed: u64, seeds: &[&[u8]], mut judge: impl FnMut(&[u8])) {
    let mut rng = Rng(seed);
    let all = corpus();
    for start in seeds.iter().copied().chain(all.iter().map(Vec::as_slice)) {
        judge(start);
        let times = if seeds.contains(&start) { MUTATIONS } else { MUTATIONS / 50 };
        (0..times).for_each(|_| judge(&mutate(&mut rng, start)));
    }
    for _ in 0..MUTATIONS {
        let len = rng.below(40);
        judge(&rng.bytes(len));
    }
}

/// Their verdict; a panic is a refusal.
fn theirs<T>(read: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}

/// Their panics are not ours to print.
fn quietly(test: impl FnOnce()) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        if info.location().is_some_and(|at| at.file().contains("oracle_payload_tests")) {
            eprintln!("{info}");
        }
    }));
    test();
    std::panic::set_hook(hook);
}

#[test]
fn h18_vp8_descriptors_are_read_as_rtc_rtp_reads_them() {
    let seeds: [&[u8]; 3] =
        [&[0x90, 0xf0, 0x92, 0x34, 0x56, 0x61, 0, 0x9d, 1], &[0x90, 0xe0, 0x12, 0x34, 0x60, 1], &[0x10, 0, 0x9d, 1]];
    let mut agreed = 0;
    quietly(|| {
        for_each_input(11, &seeds, |bytes| {
            let mut packet = Vp8Packet::default();
            let body = theirs(|| packet.depacketize(&Bytes::copy_from_slice(bytes)).ok());
            let ours = Vp8Descriptor::parse(bytes);
            let Some(body) = body else { return };
            // They want at least four bytes and a frame; whatever they take, we take.
            let ours = ours.expect("a descriptor that others read");
            agreed += 1;
            assert_eq!(&body[..], &bytes[ours.len..], "{bytes:02x?}");
            assert_eq!((ours.non_reference, ours.start_of_partition), (packet.n == 1, packet.s == 1));
            assert_eq!((ours.partition, ours.picture_id.map_or(0, |id| id.value)), (packet.pid, packet.picture_id));
            assert_eq!(ours.tl0_picture_index.unwrap_or(0), packet.tl0_pic_idx);
            assert_eq!((ours.temporal_layer.unwrap_or(0), ours.layer_sync), (packet.tid, packet.y == 1));
            assert_eq!(ours.key_index.unwrap_or(0), packet.key_idx);
        });
    });
    assert!(agreed > 20_000, "{agreed}");
}

#[test]
fn h18_vp9_descriptors_are_read_as_rtc_rtp_reads_them() {
    let seeds: [&[u8]; 4] = [
        &[0xaa, 0x81, 0x02, 0x15, 0x03, 0x38, 0, 1, 0, 2, 0, 3, 0, 4, 2, 0x04, 0x02, 0x20, 0x99],
        &[0xf8, 0x81, 2, 0x22, 3, 2, 0x86],
        &[0xa8, 0x22, 0x15, 3, 9],
        &[0x8a, 0x11, 0x18, 0, 1, 0, 1, 0x10, 0xff],
    ];
    let mut agreed = 0;
    quietly(|| {
        for_each_input(12, &seeds, |bytes| {
            let mut packet = Vp9Packet::default();
            let body = theirs(|| packet.depacketize(&Bytes::copy_from_slice(bytes)).ok());
            let (Some(body), Ok(ours)) = (body, Vp9Descriptor::parse(bytes)) else { return };
            // They take any of three bits for G (RFC 9628 has one), and more than three references.
            if packet.v && packet.g != ours.structure.is_some_and(|s| s.group_len > 0) {
                return;
            }
            agreed += 1;
            assert_eq!(&body[..], &bytes[ours.len..], "{bytes:02x?}");
            assert_eq!((ours.inter_predicted, ours.flexible), (packet.p, packet.f));
            assert_eq!((ours.begins_frame, ours.ends_frame), (packet.b, packet.e));
            assert_eq!(ours.not_reference_for_upper, packet.z);
            assert_eq!(ours.picture_id.map_or(0, |id| id.value), packet.picture_id);
            if let Some(layer) = ours.layer {
                assert_eq!((layer.temporal, layer.switch_up), (packet.tid, packet.u));
                assert_eq!((layer.spatial, layer.inter_layer), (packet.sid, packet.d));
            }
            assert_eq!(ours.tl0_picture_index.unwrap_or(0), packet.tl0picidx);
            assert!(ours.reference_diffs.iter().copied().filter(|d| *d > 0).eq(packet.pdiff.iter().copied()));
            if let Some(structure) = ours.structure {
                assert_eq!(structure.spatial_layers, packet.ns + 1);
                if let Some(sizes) = structure.resolutions {
                    let theirs = packet.width.iter().copied().zip(packet.height.iter().copied());
                    assert!(sizes.iter().copied().take(usize::from(structure.spatial_layers)).eq(theirs));
                }
            }
        });
    });
    assert!(agreed > 20_000, "{agreed}");
}

#[test]
fn h18_aggregates_of_h264_are_opened_as_rtc_rtp_opens_them() {
    let seeds: [&[u8]; 2] =
        [&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68, 0, 3, 0x65, 1, 2], &[0x78, 0, 1, 0x67, 0, 2, 0x41, 1, 0, 1, 9]];
    let mut agreed = 0;
    quietly(|| {
        for_each_input(13, &seeds, |bytes| {
            let mut packet = H264Packet::default();
            let opened = theirs(|| packet.depacketize(&Bytes::copy_from_slice(bytes)).ok());
            let ours = H264Payload::parse(bytes);
            // Empty units and aggregates within aggregates they let pass.
            let (Some(opened), Ok(H264Payload::StapA(units))) = (opened, ours) else { return };
            agreed += 1;
            let ours: Vec<u8> = units.flat_map(|unit| [&[0, 0, 0, 1], unit].concat()).collect();
            assert_eq!(&opened[..], ours, "{bytes:02x?}");
        });
    });
    assert!(agreed > 3_000, "{agreed}");
}

#[test]
fn h18_structures_of_h265_are_told_apart_as_rtc_rtp_tells_them_apart() {
    let seeds: [&[u8]; 4] = [
        &[0x60, 1, 0, 3, 0x42, 1, 9, 0, 2, 0x26, 1],
        &[0x62, 1, 0x93, 1],
        &[0x64, 1, 0x42, 0x30, 1, 2, 3, 9],
        &[0x40, 1, 7],
    ];
    let mut agreed = [0; 4];
    quietly(|| {
        for_each_input(14, &seeds, |bytes| {
            let mut packet = H265Packet::default();
            let taken = theirs(|| packet.depacketize(&Bytes::copy_from_slice(bytes)).ok()).is_some();
            let (true, Ok(ours)) = (taken, H265Payload::parse(bytes)) else { return };
            match packet.payload() {
                TheirH265::H265AggregationPacket(aggregate) => {
                    let H265Payload::Aggregate(units) = ours else { panic!("{bytes:02x?}") };
                    let first = aggregate.first_unit().map(|unit| unit.nal_unit());
                    let others = aggregate.other_units().iter().map(|unit| unit.nal_unit());
                    assert!(units.eq(first.into_iter().chain(others)), "{bytes:02x?}");
                    agreed[0] += 1;
                }
                TheirH265::H265FragmentationUnitPacket(fragment) => {
                    let header = fragment.fu_header();
                    let expected =
                        H265Payload::Fragment { start: header.s(), end: header.e(), nal_type: header.fu_type() };
                    assert_eq!(ours, expected, "{bytes:02x?}");
                    agreed[1] += 1;
                }
                TheirH265::H265PACIPacket(paci) => {
                    let key = match paci.ctype() {
                        49 => paci
                            .payload()
                            .first()
                            .is_some_and(|f| f & 0x80 != 0 && matches!(f & 0x3f, 16..=21 | 32 | 33)),
                        48 => ours.is_key_frame(),
                        ctype => matches!(ctype, 16..=21 | 32 | 33),
                    };
                    assert_eq!(ours.is_key_frame(), key, "{bytes:02x?}");
                    agreed[2] += 1;
                }
                TheirH265::H265SingleNALUnitPacket(unit) => {
                    let header = unit.payload_header();
                    let opaque = header.nalu_type() >= 48 && ours == H265Payload::Opaque;
                    assert!(opaque || ours == H265Payload::Single(header.nalu_type()), "{bytes:02x?}");
                    let temporal = crate::codec::h265::temporal_layer(bytes);
                    assert_eq!(temporal.map(|id| id + 1), Some(header.tid()));
                    agreed[3] += 1;
                }
                other => panic!("{other:?}"),
            }
        });
    });
    assert!(agreed.iter().all(|count| *count > 1_000), "{agreed:?}");
}

#[test]
fn h18_aggregation_headers_of_av1_are_read_as_rtc_rtp_reads_them() {
    let seeds: [&[u8]; 3] =
        [&[0x18, 0x0a, 0x0b], &[0x38, 1, 0x0a, 2, 1, 2, 0x30], &[0x48, 2, 0x0a, 0x0b, 0x81, 0, 0x30]];
    let mut agreed = 0;
    quietly(|| {
        for_each_input(15, &seeds, |bytes| {
            let mut packet = Av1Depacketizer::new();
            let taken = theirs(|| packet.depacketize(&Bytes::copy_from_slice(bytes)).ok()).is_some();
            let (true, Ok(ours)) = (taken, Av1Payload::parse(bytes)) else { return };
            agreed += 1;
            assert_eq!((ours.continues, ours.goes_on, ours.new_sequence), (packet.z, packet.y, packet.n));
        });
    });
    assert!(agreed > 10_000, "{agreed}");
}

#[test]
fn h18_extended_reports_are_read_as_rtc_rtcp_reads_them() {
    let seeds: [&[u8]; 1] = [&[
        0x80, 207, 0, 8, 0, 0, 0, 1, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0, 0, 3, 0, 0, 0, 7, 1, 2, 3, 4, 0, 1, 0, 0,
    ]];
    let mut agreed = 0;
    quietly(|| {
        for_each_input(16, &seeds, |bytes| {
            let read = theirs(|| ExtendedReport::unmarshal(&mut Bytes::copy_from_slice(bytes)).ok());
            let (Some(read), Ok(ours)) = (read, Xr::parse(bytes)) else { return };
            // Padding, and what comes behind the packet, they take for blocks.
            if bytes[0] & 0x20 != 0 || RtcpHeader::parse(bytes).map(|header| header.len) != Ok(bytes.len()) {
                return;
            }
            agreed += 1;
            assert_eq!(ours.ssrc, read.sender_ssrc);
            let blocks = || read.reports.iter().map(|report| report.as_any());
            let time = blocks().find_map(|b| b.downcast_ref::<ReceiverReferenceTimeReportBlock>());
            assert_eq!(ours.reference_time().map(|ntp| ntp.0), time.map(|time| time.ntp_timestamp), "{bytes:02x?}");
            let answers = blocks().filter_map(|b| b.downcast_ref::<DLRRReportBlock>()).flat_map(|b| &b.reports);
            let answers = answers.map(|answer| (answer.ssrc, answer.last_rr, answer.dlrr));
            assert!(ours.dlrr().map(|b| (b.ssrc, b.last_rr, b.delay_since_last_rr)).eq(answers), "{bytes:02x?}");
        });
    });
    assert!(agreed > 2_000, "{agreed}");
}

#[test]
fn row_043_congestion_feedback_is_read_as_rtc_rtcp_reads_it() {
    let seeds: [&[u8]; 1] = [&[
        0x8b, 205, 0, 9, 0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xfe, 0, 3, 0x80, 5, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 2, 0, 7,
        0, 1, 0x90, 1, 0, 0, 1, 2, 3, 4,
    ]];
    let mut agreed = 0;
    quietly(|| {
        for_each_input(17, &seeds, |bytes| {
            let read = theirs(|| CcFeedbackReport::unmarshal(&mut Bytes::copy_from_slice(bytes)).ok());
            let (Some(read), Ok(ours)) = (read, CongestionFeedback::parse(bytes)) else { return };
            if bytes[0] & 0x20 != 0 {
                return;
            }
            agreed += 1;
            assert_eq!((ours.sender_ssrc, ours.timestamp), (read.sender_ssrc, read.report_timestamp));
            assert_eq!(ours.streams().count(), read.report_blocks.len());
            for (ours, theirs) in ours.streams().zip(&read.report_blocks) {
                assert_eq!((ours.ssrc, ours.begin_sequence), (theirs.media_ssrc, theirs.begin_sequence));
                let metrics = theirs.metric_blocks.iter().map(|metric| {
                    metric.received.then_some(match metric.arrival_time_offset {
                        0x1fff => ArrivalOffset::Unavailable,
                        0x1ffe => ArrivalOffset::TooLong,
                        offset => ArrivalOffset::Known(offset),
                    })
                });
                assert!(ours.reports().map(|report| report.arrival.map(|(_, offset)| offset)).eq(metrics));
            }
        });
    });
    assert!(agreed > 2_000, "{agreed}");
}

#[test]
fn values_of_extensions_are_read_as_rtc_rtp_reads_them() {
    let mut rng = Rng(18);
    for _ in 0..MUTATIONS {
        let value = rng.bytes(3);
        let theirs = PlayoutDelayExtension::unmarshal(&mut &value[..]).expect("three bytes");
        let ours = PlayoutDelay::parse(&value);
        assert_eq!(ours.is_some(), theirs.min_delay <= theirs.max_delay);
        assert!(ours.is_none_or(|d| (d.min_ms, d.max_ms) == (theirs.min_delay * 10, theirs.max_delay * 10)));
        let theirs = AudioLevelExtension::unmarshal(&mut &value[..1]).expect("a byte");
        let ours = AudioLevel::parse(&value[..1]).expect("a byte");
        assert_eq!((ours.voice, ours.level), (theirs.voice, theirs.level));
    }
}
