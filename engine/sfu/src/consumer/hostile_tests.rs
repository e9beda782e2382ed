//! What hostile, broken or merely strange publishers and subscribers try on a producer and a consumer.

use std::collections::HashMap;

use proptest::prelude::*;
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::rtcp::ReportBlock;

use super::rig::*;
use super::*;

#[test]
fn row_030_padding_is_stripped_and_padding_alone_leaves_no_gap() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.send(&In { padding: 7, ..rig.input(1, true) }).unwrap();
    assert_eq!((first.padding, &first.payload), (0, &rig.payload(true, 1)));
    let mut expected = first.seq();
    for k in 0..500u16 {
        let seq = 2 + 2 * k;
        let blank = In { payload: vec![], padding: 255, ..rig.input(seq, false) };
        assert_eq!(rig.send(&blank), Err(DropReason::RtpPaddingOnly));
        expected = expected.wrapping_add(1);
        assert_eq!(rig.media(seq + 1).unwrap().seq(), expected);
    }
}

#[test]
fn row_030_late_padding_fills_the_gap_that_showed() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.key(1).unwrap();
    rig.media(3).unwrap();
    let out = rig.send(&In { payload: vec![], padding: 20, ..rig.input(2, false) }).unwrap();
    assert_eq!(out.seq(), first.seq().wrapping_add(1));
    assert_eq!((out.payload.len(), out.padding), (0, 1));
    assert_eq!(rig.media(4).unwrap().seq(), first.seq().wrapping_add(3));
}

#[test]
fn h13_padding_through_the_history_and_rtx() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.send(&In { padding: 255, ..rig.input(1, true) }).unwrap();
    let out = rig.nack(&[first.seq()]);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].unwrap(), out[0].padding), ((first.seq(), &rig.payload(true, 1)[..]), 0));
    // RTX of the publisher with padding; with nothing but padding; with padding where the number should be.
    let repaired = In {
        ssrc: RTX_SSRC,
        pt: RTX_PT,
        payload: [&[0, 2], &rig.payload(false, 2)[..]].concat(),
        padding: 9,
        ..rig.input(50, false)
    };
    rig.media(3).unwrap();
    assert_eq!(rig.send(&repaired).unwrap().payload, rig.payload(false, 2));
    for (payload, padding, reason) in [
        (vec![], 1u8, DropReason::RtpPaddingOnly),
        (vec![], 255, DropReason::RtpPaddingOnly),
        (vec![0], 3, DropReason::RtxMalformed),
        (vec![], 0, DropReason::RtxMalformed),
    ] {
        let input = In { ssrc: RTX_SSRC, pt: RTX_PT, payload, padding, ..rig.input(60, false) };
        assert_eq!(rig.send(&input), Err(reason));
    }
    // An empty original, repaired: padding of the path, nothing to send.
    let empty = In { ssrc: RTX_SSRC, pt: RTX_PT, payload: vec![0, 4], padding: 5, ..rig.input(61, false) };
    assert_eq!(rig.send(&empty), Err(DropReason::RtpPaddingOnly));
    for count in [0u8, 200] {
        let mut bytes = In { padding: 3, ..rig.input(9, false) }.bytes();
        *bytes.last_mut().unwrap() = count;
        assert!(sfu_wire::rtp::RtpView::parse(&bytes).is_err(), "refused at the door");
    }
}

#[test]
fn row_031_hostile_rtx_is_dropped() {
    let mut rig = Rig::new(CodecKind::Vp8);
    assert_eq!(rig.repair(1, 5, true), Err(DropReason::RtxMalformed), "before its primary");
    rig.key(10).unwrap();
    rig.media(12).unwrap();
    for len in 0..2 {
        let input = In { ssrc: RTX_SSRC, pt: RTX_PT, payload: vec![0; len], ..rig.input(2, false) };
        assert_eq!(rig.send(&input), Err(DropReason::RtxMalformed));
    }
    assert_eq!(rig.repair(3, 30_000, false), Err(DropReason::RtpTooOld), "never sent");
    let wrong = In { ssrc: RTX_SSRC, pt: 99, payload: vec![0, 11, 0x10, 1], ..rig.input(4, false) };
    assert_eq!(rig.send(&wrong), Err(DropReason::RtxMalformed), "of an unknown payload type");
    let primary = In { ssrc: RTX_SSRC, pt: PT, payload: vec![0, 11, 0x10, 1], ..rig.input(4, false) };
    assert_eq!(rig.send(&primary), Err(DropReason::RtxMalformed), "media on the RTX stream");
    let rtx_on_primary = In { pt: RTX_PT, ..rig.input(13, false) };
    assert_eq!(rig.send(&rtx_on_primary), Err(DropReason::RtpPayloadType));
    // RTX of RTX: what is unwrapped is media, whatever it looks like.
    let nested = In { ssrc: RTX_SSRC, pt: RTX_PT, payload: vec![0, 11, 0, 11, 0x10, 1], ..rig.input(5, false) };
    assert_eq!(rig.send(&nested).unwrap().payload, [0, 11, 0x10, 1]);
    assert_eq!(rig.repair(6, 11, false), Err(DropReason::RtpDuplicate));
    assert_eq!(rig.producer.stats(rig.now)[0].packets_repaired, 1);
}

#[test]
fn h12_without_rtx_nothing_is_sent_again() {
    let mut config = consumer_config(CodecKind::Vp8);
    config.codecs[0].rtx_payload_type = None;
    let mut rig = Rig::with(producer_config(CodecKind::Vp8), config.clone());
    rig.consumer = Consumer::new(rig.now, rig.consumer.id(), rig.consumer.transport(), config, ssrcs(OUT_SSRC, None));
    let out = rig.key(1).unwrap();
    assert_eq!(rig.consumer.handle_nack(rig.now, [out.seq()].into_iter()), 1, "refused");
    assert!(!rig.consumer.has_resends());
}

#[test]
fn row_040_nack_floods_are_capped_per_packet_and_per_round_trip() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.key(0).unwrap().seq();
    for seq in 1..1000 {
        rig.media(seq).unwrap();
    }
    // Ten thousand numbers, most of which were never sent.
    let refused = rig.consumer.handle_nack(rig.now, (0..10_000u16).map(|k| first.wrapping_add(k)));
    assert_eq!(refused, 10_000 - 256);
    assert_eq!(rig.resends().len(), 256);
    // The same one a thousand times.
    rig.advance(200);
    assert_eq!(rig.nack(&[first.wrapping_add(900); 1000]).len(), 1);
    // Never sent: ahead, and far behind.
    assert_eq!(rig.nack(&[first.wrapping_add(1000), first.wrapping_add(30_000), first.wrapping_sub(1)]), []);
    // An attacker who asks for everything for ten seconds gets a bounded answer.
    let mut answered = 0;
    for _ in 0..1_000 {
        rig.advance(10);
        let newest = first.wrapping_add(999);
        answered += rig.nack(&(0..1000).map(|k| newest.wrapping_sub(k)).collect::<Vec<_>>()).len();
    }
    assert!(answered <= 10 * 1000, "each packet ten times at most: {answered}");
}

#[test]
fn row_041_a_hundred_consumers_and_one_publisher() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(1).unwrap();
    rig.told();
    let mut consumers: Vec<Consumer> = (0..100u32)
        .map(|k| {
            Consumer::new(
                rig.now,
                rig.consumer.id(),
                rig.consumer.transport(),
                consumer_config(CodecKind::Vp8),
                ssrcs(1000 + k, None),
            )
        })
        .collect();
    let mut asked = 0;
    for ms in 0..5_000u64 {
        rig.advance(1);
        for consumer in &mut consumers {
            let request = if ms % 2 == 0 { KeyFrameRequest::Pli } else { KeyFrameRequest::Fir { sequence: ms as u8 } };
            if consumer.handle_key_frame_request(rig.now, request) {
                rig.producer.request_key_frame(rig.now, 0);
            }
        }
        asked += rig.told().iter().filter(|t| t.starts_with("PLI")).count();
        if ms % 250 == 100 {
            rig.key(100 + ms as u16).unwrap();
        }
    }
    assert!((5..=25).contains(&asked), "{asked}");
    assert_eq!(consumers[0].stats(rig.now).pli_count, 2_500);
}

#[test]
fn row_041_a_repeated_fir_is_the_same_request() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let fir = |rig: &mut Rig, sequence| {
        rig.advance(1_000);
        rig.consumer.handle_key_frame_request(rig.now, KeyFrameRequest::Fir { sequence })
    };
    assert!(fir(&mut rig, 7));
    assert!(!fir(&mut rig, 7));
    assert!(!fir(&mut rig, 7));
    assert!(fir(&mut rig, 8));
    let mut audio = Rig::new(CodecKind::Opus);
    assert!(!fir(&mut audio, 1), "audio has no key frames");
}

#[test]
fn h14_every_rewrite_path_with_every_short_payload() {
    let kinds = [CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::H265, CodecKind::Av1, CodecKind::Opus];
    for kind in kinds {
        for len in 0..=16usize {
            for first in 0..=255u8 {
                let mut rig = Rig::new(kind);
                let _ = rig.key(1);
                // So that picture ids are really shifted.
                rig.consumer.source_restarted();
                let mut payload: Vec<u8> = (0..len as u8).map(|k| k.wrapping_mul(37) ^ first.rotate_left(3)).collect();
                if let Some(byte) = payload.first_mut() {
                    *byte = first;
                }
                for (k, key) in [(2u16, true), (3, false), (4, false)] {
                    let input = In { payload: payload.clone(), padding: (k as u8 - 2) * 2, ..rig.input(k, key) };
                    if let Ok(out) = rig.send(&input) {
                        assert!(out.payload.len() == payload.len() || out.padding == 1);
                        rig.nack(&[out.seq()]);
                    }
                }
                let rtx = [&5u16.to_be_bytes()[..], &payload].concat();
                let _ = rig.send(&In { ssrc: RTX_SSRC, pt: RTX_PT, payload: rtx, ..rig.input(9, false) });
                let _ = rig.send(&In { ssrc: RTX_SSRC, pt: RTX_PT, payload: payload.clone(), ..rig.input(10, false) });
            }
        }
    }
}

#[test]
fn h14_vp8_descriptors_of_all_shapes_keep_their_size() {
    for flags in 0..=255u8 {
        for wide in [0x00u8, 0x80] {
            let mut rig = Rig::new(CodecKind::Vp8);
            let shaped = |key: bool, id: u8| {
                vec![0x90, flags, wide | 0x12, id, 9, 0x20, u8::from(!key), u8::from(!key), u8::from(!key)]
            };
            let Ok(first) = rig.send(&In { payload: shaped(true, 1), ..rig.input(1, true) }) else { continue };
            assert_eq!(first.payload, shaped(true, 1), "the first stretch is unchanged");
            rig.consumer.source_restarted();
            let Ok(out) = rig.send(&In { payload: shaped(true, 200), ..rig.input(2, true) }) else { continue };
            assert_eq!(out.payload.len(), 9);
            assert_eq!(out.payload[..2], [0x90, flags], "{flags:02x}");
        }
    }
}

#[test]
fn h19_all_extensions_on_packets_near_the_limit() {
    let kinds = [
        ExtensionKind::Mid,
        ExtensionKind::AbsSendTime,
        ExtensionKind::TransportCc,
        ExtensionKind::AudioLevel,
        ExtensionKind::VideoOrientation,
        ExtensionKind::AbsCaptureTime,
        ExtensionKind::PlayoutDelay,
        ExtensionKind::DependencyDescriptor,
    ];
    let descriptors: [&[u8]; 4] = [&[], &[1, 2, 3], &[5; 16], &[6; 90]];
    for first_id in [1u8, 16, 200] {
        for descriptor in descriptors {
            let mut config = consumer_config(CodecKind::H264);
            config.extensions = ids(&kinds.iter().zip(first_id..).map(|(k, id)| (*k, id)).collect::<Vec<_>>());
            let mut rig = Rig::with(producer_config(CodecKind::H264), config);
            rig.key(0).unwrap();
            // A level of video and an empty descriptor are nothing that could be passed on.
            let all = kinds.len() - 1 - usize::from(descriptor.is_empty());
            let exts: &[(u8, &[u8])] = &[(2, &[0x85]), (3, &[1]), (4, &[9; 16]), (5, &[1, 2, 3]), (6, descriptor)];
            let mut left_out = 0;
            for (k, len) in (1_150..=1_500usize).enumerate() {
                let mut payload = rig.payload(false, 0);
                payload.resize(len - 12, 0xAB);
                let result = rig.send(&In { payload: payload.clone(), exts, ..rig.input(1 + k as u16, false) });
                match result {
                    Ok(out) => {
                        assert!(out.bytes.len() <= rig.room);
                        assert_eq!(out.payload, payload);
                        // A descriptor without a frame number is none.
                        let full = out.extensions.len() == all;
                        let grew = rig.consumer.extensions_left_out() > left_out;
                        left_out = rig.consumer.extensions_left_out();
                        assert_eq!(!full, grew, "what is left out is counted");
                        assert!(full || len > 1_200);
                        let again = rig.nack(&[out.seq()]);
                        assert!(
                            again.iter().all(|a| a.unwrap() == (out.seq(), &payload[..]) && a.bytes.len() <= rig.room)
                        );
                        assert!(again.len() == 1 || len + 2 > rig.room);
                        left_out = left_out.max(rig.consumer.extensions_left_out());
                    }
                    Err(reason) => {
                        assert_eq!(reason, DropReason::TooLarge);
                        assert!(len > rig.room);
                    }
                }
                rig.advance(50);
            }
        }
    }
}

#[test]
fn h19_what_is_too_large_leaves_no_gap() {
    let mut rig = Rig::new(CodecKind::H264);
    let first = rig.key(0).unwrap().seq();
    let mut payload = rig.payload(false, 0);
    payload.resize(1_450, 0);
    assert_eq!(rig.send(&In { payload, ..rig.input(1, false) }), Err(DropReason::TooLarge));
    assert_eq!(rig.media(2).unwrap().seq(), first.wrapping_add(1));
}

#[test]
fn row_038_reports_of_a_lying_peer_change_no_delivery() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.key(0).unwrap().seq();
    for (last_sr, delay) in
        [(0, 0), (1, 0), (u32::MAX, u32::MAX), (rig.ntp().middle(), 0), (rig.ntp().middle(), u32::MAX)]
    {
        let block = ReportBlock {
            ssrc: OUT_SSRC,
            fraction_lost: 255,
            cumulative_lost: -1,
            last_sr,
            delay_since_last_sr: delay,
            ..ReportBlock::default()
        };
        rig.consumer.handle_report_block(rig.now, rig.ntp(), &block);
        let rtt = rig.consumer.stats(rig.now).round_trip_time_ms;
        assert!(rtt.is_none_or(|rtt| (0.0..=10_000.0).contains(&rtt)), "{rtt:?}");
    }
    assert_eq!(rig.media(1).unwrap().seq(), first.wrapping_add(1));
    assert_eq!(rig.nack(&[first]).len(), 1);
    let foreign = ReportBlock { ssrc: 5, fraction_lost: 9, ..ReportBlock::default() };
    rig.consumer.handle_report_block(rig.now, rig.ntp(), &foreign);
    assert_eq!(rig.consumer.stats(rig.now).fraction_lost, 255);
}

#[derive(Debug, Clone)]
enum Act {
    Media(u8),
    Key,
    Padding,
    Lose(u8),
    Late(u8),
    Jump(u16),
    PauseResume,
    Nack(u8),
    Wait(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1u8..20).prop_map(Act::Media),
        2 => Just(Act::Key),
        2 => Just(Act::Padding),
        2 => (1u8..40).prop_map(Act::Lose),
        3 => (0u8..60).prop_map(Act::Late),
        1 => any::<u16>().prop_map(Act::Jump),
        1 => Just(Act::PauseResume),
        3 => any::<u8>().prop_map(Act::Nack),
        2 => any::<u8>().prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the source does: one number is never used for two different packets on either stream
    /// (h12), new numbers follow each other without a jump of our own making, picture ids and
    /// timestamps do not go back at a new stretch.
    #[test]
    fn h12_numbers_are_never_used_twice(acts in prop::collection::vec(act(), 1..120)) {
        let mut rig = Rig::new(CodecKind::Vp8);
        let mut used: HashMap<(u32, u16), Vec<u8>> = HashMap::new();
        let mut seq = 65_000u16;
        let mut newest: Option<u16> = None;
        let mut gap_allowed = 0u32;
        for act in acts {
            let mut outs = Vec::new();
            match act {
                Act::Media(n) => for _ in 0..n {
                    seq = seq.wrapping_add(1);
                    outs.extend(rig.send(&In { payload: vp8(seq & 0x7FFF, seq as u8, false), ..rig.input(seq, false) }));
                },
                Act::Key => {
                    seq = seq.wrapping_add(1);
                    outs.extend(rig.send(&In { payload: vp8(seq & 0x7FFF, seq as u8, true), ..rig.input(seq, true) }));
                }
                Act::Padding => {
                    seq = seq.wrapping_add(1);
                    outs.extend(rig.send(&In { payload: vec![], padding: 5, ..rig.input(seq, false) }));
                }
                Act::Lose(n) => { seq = seq.wrapping_add(u16::from(n)); gap_allowed += u32::from(n); }
                Act::Late(n) => {
                    let late = seq.wrapping_sub(u16::from(n));
                    outs.extend(rig.send(&In { payload: vp8(late & 0x7FFF, late as u8, false), ..rig.input(late, false) }));
                }
                Act::Jump(n) => { seq = seq.wrapping_add(n); gap_allowed += 3_001; }
                Act::PauseResume => { rig.consumer.pause(rig.now); rig.consumer.resume(rig.now); }
                Act::Nack(n) => if let Some(newest) = newest {
                    outs.extend(rig.nack(&(0..u16::from(n)).map(|k| newest.wrapping_sub(k)).collect::<Vec<_>>()));
                },
                Act::Wait(ms) => rig.advance(u64::from(ms)),
            }
            for out in outs {
                let twice = used.insert((out.fields.ssrc, out.seq()), out.bytes.clone());
                prop_assert!(twice.is_none(), "number {} used twice", out.seq());
                if out.fields.ssrc == OUT_SSRC {
                    let step = newest.map_or(1, |n| out.seq().wrapping_sub(n));
                    if step < 0x8000 {
                        let gap = u32::from(step.saturating_sub(1));
                        prop_assert!(gap <= gap_allowed, "a gap of {gap}, allowed {gap_allowed}");
                        newest = Some(out.seq());
                        gap_allowed -= gap;
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_sent_after_pause_returned() {
    let mut rig = Rig::new(CodecKind::Opus);
    let out = rig.media(1).unwrap();
    assert_eq!(rig.consumer.handle_nack(rig.now, [out.seq()].into_iter()), 0);
    rig.consumer.pause(rig.now);
    assert!(!rig.consumer.has_resends());
    assert_eq!(rig.media(2), Err(DropReason::ConsumerPaused));
    rig.advance(1_000);
    assert_eq!(rig.consumer.handle_nack(rig.now, [out.seq()].into_iter()), 1);
    assert_eq!(rig.resends(), []);
}

/// The profile of a packet's header extensions (RFC 8285, sections 4.2 and 4.3).
fn form(out: &Out) -> u16 {
    assert_ne!(out.bytes[0] & 0x10, 0, "it has extensions");
    u16::from_be_bytes([out.bytes[12], out.bytes[13]])
}

#[test]
fn all_packets_of_a_stream_have_one_form_of_extensions() {
    let exts: [&[(u8, &[u8])]; 4] =
        [&[], &[(6, &[0xC0, 0, 1])], &[(6, &[0x80; 90]), (4, &[9; 16])], &[(4, &[9; 16]), (5, &[1, 2, 3])]];
    let one = [(ExtensionKind::Mid, 1), (ExtensionKind::AbsCaptureTime, 14), (ExtensionKind::PlayoutDelay, 3)];
    let with = |more: (ExtensionKind, u8)| [&one[..], &[more]].concat();
    let long = Mid::new(&[b'm'; 17]).unwrap();
    let cases = [
        (one.to_vec(), None, 0xBEDE),
        (with((ExtensionKind::DependencyDescriptor, 6)), None, 0x1000),
        (with((ExtensionKind::TransportCc, 16)), None, 0x1000),
        (one.to_vec(), Some(long), 0x1000),
    ];
    for (list, mid, expected) in cases {
        let mut config = consumer_config(CodecKind::H264);
        config.extensions = ids(&list);
        config.mid = mid.unwrap_or(config.mid);
        let mut rig = Rig::with(producer_config(CodecKind::H264), config);
        rig.key(0).unwrap();
        for seq in 1..9u16 {
            let sent = exts[usize::from(seq) % exts.len()];
            let out = rig.send(&In { exts: sent, ..rig.input(seq, false) }).unwrap();
            assert_eq!(form(&out), expected, "{list:?}");
            let passed = sent.iter().filter(|(id, _)| *id != 6 || list.len() > 3 && list[3].1 == 6).count();
            let own = 1 + usize::from(list.contains(&(ExtensionKind::TransportCc, 16)));
            assert_eq!(out.extensions.len(), own + passed, "none is left out");
            rig.advance(50);
            for again in rig.nack(&[out.seq()]) {
                assert_eq!(form(&again), expected, "retransmissions too");
            }
        }
        assert_eq!(rig.consumer.extensions_left_out(), 0);
    }
}
