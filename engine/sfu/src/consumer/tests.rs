use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::rtcp::{ReportBlock, SenderReport};
use sfu_wire::time::NtpTime;

use super::rig::*;
use super::*;

const VIDEO: [CodecKind; 4] = [CodecKind::Vp8, CodecKind::H264, CodecKind::Vp9, CodecKind::Av1];

/// VP8 with picture id (15 bits) and TL0PICIDX.
fn vp8(picture_id: u16, tl0: u8, key: bool) -> Vec<u8> {
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    vec![0x90, 0xC0, high, low, tl0, u8::from(!key), 0x55]
}

fn picture(out: &Out) -> (u16, u8) {
    assert_eq!(out.payload[..2], [0x90, 0xC0]);
    (u16::from_be_bytes([out.payload[2], out.payload[3]]) & 0x7FFF, out.payload[4])
}

#[test]
fn opus_passes_with_this_sides_header() {
    let mut rig = Rig::new(CodecKind::Opus);
    let exts: &[(u8, &[u8])] = &[(1, b"0"), (2, &[0x85]), (4, &[9; 8]), (7, &[1, 2, 3]), (13, &[1])];
    let input = In { exts, ts: 4_000, ..rig.input(100, false) };
    let out = rig.send(&input).unwrap();
    assert_eq!((out.fields.payload_type, out.fields.ssrc, out.fields.timestamp), (OUT_PT, OUT_SSRC, 4_000));
    assert!(out.fields.marker);
    assert_eq!(out.payload, input.payload);
    // Its own MID, the level under its own number; not what it did not negotiate, not what is unknown.
    assert_eq!(out.extensions, [(11, b"7".to_vec()), (10, vec![0x85])]);
    let next = rig.media(101).unwrap();
    assert_eq!(next.seq(), out.seq().wrapping_add(1));
}

#[test]
fn unknown_codecs_pass_opaquely() {
    let mut rig = Rig::new(CodecKind::Other);
    let out = rig.send(&In { payload: vec![], ..rig.input(1, false) }).unwrap();
    assert_eq!(out.payload, []);
    assert_eq!(rig.send(&In { payload: vec![7; 900], ..rig.input(2, false) }).unwrap().payload, [7; 900]);
}

#[test]
fn video_begins_with_a_key_frame() {
    for kind in VIDEO {
        let mut rig = Rig::new(kind);
        assert!(rig.consumer.awaits_key_frame());
        assert_eq!(rig.media(1), Err(DropReason::AwaitingKeyFrame), "{kind:?}");
        let first = rig.key(2).unwrap_or_else(|e| panic!("{kind:?} {e:?}"));
        assert!(!rig.consumer.awaits_key_frame());
        let next = rig.media(3).unwrap();
        assert_eq!(next.seq(), first.seq().wrapping_add(1));
        assert_eq!(next.payload, rig.payload(false, 3), "{kind:?}");
        assert_eq!(rig.consumer.stats(rig.now).key_frame_count, 1);
    }
}

#[test]
fn packets_out_of_order_keep_their_place_and_losses_stay_visible() {
    let mut rig = Rig::new(CodecKind::H264);
    let first = rig.key(100).unwrap().seq();
    assert_eq!(rig.media(104).unwrap().seq(), first.wrapping_add(4));
    assert_eq!(rig.media(102).unwrap().seq(), first.wrapping_add(2));
    assert_eq!(rig.media(102), Err(DropReason::RtpDuplicate));
    assert_eq!(rig.repair(1, 103, false).unwrap().seq(), first.wrapping_add(3));
    assert_eq!(rig.media(99), Err(DropReason::RtpTooOld), "older than the key frame it began with");
}

#[test]
fn row_026_a_late_consumer_after_five_wraps_of_the_source() {
    let mut rig = Rig::new(CodecKind::Opus);
    rig.consumer.pause(rig.now);
    for k in 0..5 * 65_536u32 + 77 {
        let _ = rig.media(k as u16);
    }
    rig.consumer.resume(rig.now);
    let first = rig.media(77).unwrap().seq();
    for k in 1..70_000u32 {
        assert_eq!(rig.media((77 + k) as u16).unwrap().seq(), first.wrapping_add(k as u16));
    }
}

#[test]
fn row_026_the_source_restarts_its_numbers() {
    for (jump, lost) in [(20_000u16, 0u16), (20_000u16.wrapping_neg(), 1), (0x8000, 1), (3_001, 0)] {
        let mut rig = Rig::new(CodecKind::Vp8);
        rig.key(1000).unwrap();
        let last = rig.media(1001).unwrap();
        rig.advance(40);
        let at = 1002u16.wrapping_add(jump);
        let mut frames = (0..4u16).map(|k| rig.send(&rig.input(at.wrapping_add(k), true)).map(|o| (o.seq(), o.fields.timestamp)));
        let got: Vec<_> = frames.by_ref().skip(usize::from(lost)).map(Result::unwrap).collect();
        let first = got[0];
        assert_eq!(first.0, last.seq().wrapping_add(1), "no gap");
        let step = first.1.wrapping_sub(last.fields.timestamp);
        assert_eq!(step, 40 * 90, "the timestamps go on by the time that passed");
        assert!(got.windows(2).all(|w| w[1].0 == w[0].0.wrapping_add(1)));
    }
}

#[test]
fn row_026_after_a_restart_video_waits_for_one_key_frame_only() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(1000).unwrap();
    assert_eq!(rig.media(9000), Err(DropReason::AwaitingKeyFrame));
    rig.producer.request_key_frame(rig.now);
    assert!(rig.told().contains(&format!("PLI {SSRC:x}")));
    assert!(rig.key(9001).is_ok());
    assert!(rig.media(9002).is_ok());
}

#[test]
fn another_ssrc_goes_on_without_a_seam() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let key = |id, tl0| vp8(id, tl0, true);
    rig.send(&In { payload: key(500, 9), ..rig.input(1000, true) }).unwrap();
    let last = rig.send(&In { payload: vp8(501, 10, false), ..rig.input(1001, false) }).unwrap();
    rig.advance(100);
    let slot = crate::producer::StreamSlot { encoding: 0, rtx: false };
    assert_eq!(rig.producer.bind_ssrc(rig.now, slot, 0x9999), Some(SSRC));
    let input = In { ssrc: 0x9999, ts: 77, payload: key(3, 200), ..rig.input(40_000, true) };
    let first = rig.send(&input).unwrap();
    assert_eq!(first.seq(), last.seq().wrapping_add(1));
    assert_eq!(first.fields.timestamp, last.fields.timestamp + 9_000);
    assert_eq!((picture(&last), picture(&first)), ((501, 10), (502, 11)));
    assert_eq!(first.fields.ssrc, OUT_SSRC);
    // Late packets of the old SSRC change nothing.
    assert_eq!(rig.media(1002), Err(DropReason::RtpUnroutable));
    let input = In { ssrc: 0x9999, ts: 3_077, payload: vp8(4, 200, false), ..rig.input(40_001, false) };
    let next = rig.send(&input).unwrap();
    assert_eq!(next.seq(), first.seq().wrapping_add(1));
    assert_eq!(picture(&next), (503, 11));
}

#[test]
fn the_old_ssrc_may_take_over_again_later() {
    let mut rig = Rig::new(CodecKind::Opus);
    let last = rig.media(10).unwrap().seq();
    let slot = crate::producer::StreamSlot { encoding: 0, rtx: false };
    rig.producer.bind_ssrc(rig.now, slot, 0x9999);
    assert_eq!(rig.send(&In { ssrc: 0x9999, ..rig.input(500, false) }).unwrap().seq(), last.wrapping_add(1));
    rig.advance(600);
    assert_eq!(rig.media(11).unwrap().seq(), last.wrapping_add(2));
}

#[test]
fn pause_and_resume_leave_no_gap() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.send(&In { payload: vp8(0x7FFE, 255, true), ..rig.input(10, true) }).unwrap();
    let last = rig.send(&In { payload: vp8(0x7FFF, 0, false), ..rig.input(11, false) }).unwrap();
    rig.consumer.pause(rig.now);
    for seq in 12..40 {
        assert_eq!(rig.key(seq), Err(DropReason::ConsumerPaused));
    }
    rig.consumer.resume(rig.now);
    assert!(rig.consumer.awaits_key_frame());
    assert_eq!(rig.media(40), Err(DropReason::AwaitingKeyFrame));
    let next = rig.send(&In { payload: vp8(700, 77, true), ..rig.input(41, true) }).unwrap();
    assert_eq!(next.seq(), last.seq().wrapping_add(1));
    assert_eq!((picture(&last), picture(&next)), ((0x7FFF, 0), (0, 1)));
    assert_eq!(next.fields.timestamp, 41 * 3000, "the source's clock went on meanwhile");
    // The same when the producer is paused.
    rig.producer.pause(rig.now);
    rig.consumer.set_producer_paused(rig.now, true);
    assert_eq!(rig.key(42), Err(DropReason::ProducerPaused));
    rig.producer.resume(rig.now);
    rig.consumer.set_producer_paused(rig.now, false);
    assert_eq!(rig.key(43).unwrap().seq(), next.seq().wrapping_add(1));
}

#[test]
fn row_029_strange_timestamps_come_out_steady() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(1).unwrap();
    let mut last: Option<u32> = None;
    for (k, ts) in [10, 3_010, 1 << 31, (1 << 31) + 3_000, 5, 5, 5, 0xFFF0_0000, 2_000, 0x7000_0000].iter().enumerate() {
        rig.advance(33);
        let out = rig.send(&In { ts: *ts, ..rig.input(2 + k as u16, false) }).unwrap();
        if let Some(last) = last {
            let step = out.fields.timestamp.wrapping_sub(last) as i32;
            assert!((0..90_000).contains(&step), "{k}: {step}");
        }
        last = Some(out.fields.timestamp);
    }
}

#[test]
fn row_029_lip_sync_is_kept_over_a_jump_of_the_timestamps() {
    let mut rig = Rig::new(CodecKind::Opus);
    let report = |rig: &Rig, ts: u32| SenderReport {
        ssrc: SSRC,
        // The publisher's clock is an hour ahead, reports take 20 ms.
        ntp: NtpTime::from_unix_nanos(3_600_000_000_000 + rig.now.as_nanos() - 20_000_000),
        rtp_timestamp: ts,
        packet_count: 0,
        octet_count: 0,
    };
    rig.send(&In { ts: 48_000, ..rig.input(1, false) }).unwrap();
    rig.producer.handle_sender_report(rig.now, &report(&rig, 48_000));
    let at = rig.now;
    let (before, cname) = rig.sender_report().unwrap();
    assert_eq!(cname, "publisher");
    let passed = rig.now.saturating_since(at).as_millis() as u32;
    assert_eq!(before.rtp_timestamp, 48_000 + 48 * passed, "what is captured now");
    assert_eq!((before.ssrc, before.packet_count, before.octet_count), (OUT_SSRC, 1, 3));
    // The source's clock jumps: what was captured at one moment still is.
    let out = rig.send(&In { ts: 0x9000_0000, ..rig.input(2, false) }).unwrap();
    rig.producer.handle_sender_report(rig.now, &report(&rig, 0x9000_0000));
    let steady = out.fields.timestamp;
    let at = rig.now;
    let (after, _) = rig.sender_report().unwrap();
    let passed = rig.now.saturating_since(at).as_millis() as u32;
    assert_eq!(after.rtp_timestamp, steady + 48 * passed);
    assert!(after.ntp > before.ntp);
}

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
    let repaired = In { ssrc: RTX_SSRC, pt: RTX_PT, payload: [&[0, 2], &rig.payload(false, 2)[..]].concat(), padding: 9, ..rig.input(50, false) };
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
fn nacks_are_answered_by_rtx_with_the_same_media() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let mut sent = HashMap::new();
    rig.send(&In { payload: vp8(10, 1, true), ..rig.input(1, true) }).unwrap();
    rig.consumer.pause(rig.now);
    rig.consumer.resume(rig.now);
    for k in 0..50u16 {
        rig.advance(3);
        let out = rig.send(&In { payload: vp8(300 + k, 40, k == 0), ..rig.input(20 + k, k == 0) }).unwrap();
        sent.insert(out.seq(), out);
    }
    let wanted: Vec<u16> = sent.keys().copied().collect();
    let again = rig.nack(&wanted);
    assert_eq!(again.len(), 50);
    let mut rtx_seq: Vec<u16> = again.iter().map(Out::seq).collect();
    rtx_seq.dedup();
    assert!(rtx_seq.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "a sequence space of its own");
    for out in again {
        let (original, payload) = out.unwrap();
        let first = &sent[&original];
        assert_eq!(payload, first.payload, "picture ids as they were sent");
        assert_eq!((out.fields.timestamp, out.fields.marker), (first.fields.timestamp, first.fields.marker));
        assert_eq!(out.extensions, first.extensions);
    }
    let stats = rig.consumer.stats(rig.now);
    assert_eq!((stats.packets_retransmitted, stats.nack_count, stats.nack_packet_count), (50, 1, 50));
}

#[test]
fn what_was_lost_on_the_way_here_is_sent_again_once_it_came() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.key(1).unwrap().seq();
    rig.media(3).unwrap();
    assert_eq!(rig.nack(&[first.wrapping_add(1)]), [], "we do not have it either");
    rig.repair(1, 2, false).unwrap();
    rig.advance(200);
    assert_eq!(rig.nack(&[first.wrapping_add(1)]).len(), 1);
}

#[test]
fn h12_without_rtx_nothing_is_sent_again() {
    let mut config = consumer_config(CodecKind::Vp8);
    config.codecs[0].rtx_payload_type = None;
    let mut rig = Rig::with(producer_config(CodecKind::Vp8), config.clone());
    rig.consumer = Consumer::new(rig.now, rig.consumer.id(), rig.consumer.transport(), config, OUT_SSRC, None);
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
        .map(|k| Consumer::new(rig.now, rig.consumer.id(), rig.consumer.transport(), consumer_config(CodecKind::Vp8), 1000 + k, None))
        .collect();
    let mut asked = 0;
    for ms in 0..5_000u64 {
        rig.advance(1);
        for consumer in &mut consumers {
            let request = if ms % 2 == 0 { KeyFrameRequest::Pli } else { KeyFrameRequest::Fir { sequence: ms as u8 } };
            if consumer.handle_key_frame_request(rig.now, request) {
                rig.producer.request_key_frame(rig.now);
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
            let shaped = |key: bool, id: u8| vec![0x90, flags, wide | 0x12, id, 9, 0x20, u8::from(!key), u8::from(!key), u8::from(!key)];
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
                        let full = out.extensions.len() == kinds.len();
                        let grew = rig.consumer.extensions_left_out() > left_out;
                        left_out = rig.consumer.extensions_left_out();
                        assert_eq!(!full, grew, "what is left out is counted");
                        assert!(full || len > 1_200);
                        let again = rig.nack(&[out.seq()]);
                        assert!(again.iter().all(|a| a.unwrap() == (out.seq(), &payload[..]) && a.bytes.len() <= rig.room));
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
fn the_transport_wide_number_and_the_send_time_are_stamped() {
    let mut config = consumer_config(CodecKind::Opus);
    config.extensions = ids(&[(ExtensionKind::TransportCc, 5), (ExtensionKind::AbsSendTime, 6)]);
    let mut rig = Rig::with(producer_config(CodecKind::Opus), config);
    assert!(rig.consumer.wants_transport_seq());
    let out = rig.send(&In { exts: &[(8, &[9, 9]), (7, &[1, 1, 1])], ..rig.input(1, false) }).unwrap();
    // One second is 2^18.
    assert_eq!(out.extensions, [(5, vec![0x12, 0x34]), (6, vec![0x04, 0, 0])]);
    assert!(!Rig::new(CodecKind::Opus).consumer.wants_transport_seq());
}

#[test]
fn h27_everything_starts_at_its_wrap() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let mut last: Option<Out> = None;
    for k in 0..400u32 {
        rig.advance(11);
        let input = In {
            ts: (u32::MAX - 90_000).wrapping_add(k * 990),
            payload: vp8(((0x7FF0 + k) & 0x7FFF) as u16, (250 + k) as u8, k == 0),
            ..rig.input(65_400u16.wrapping_add(k as u16), k == 0)
        };
        let out = rig.send(&input).unwrap();
        if let Some(last) = &last {
            assert_eq!(out.seq(), last.seq().wrapping_add(1));
            assert_eq!(out.fields.timestamp, last.fields.timestamp.wrapping_add(990));
            assert_eq!(picture(&out).0, (picture(last).0 + 1) & 0x7FFF);
        }
        let again = rig.nack(&[out.seq()]);
        assert_eq!(again[0].unwrap(), (out.seq(), &out.payload[..]));
        last = Some(out);
    }
}

#[test]
fn row_038_reports_of_a_lying_peer_change_no_delivery() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.key(0).unwrap().seq();
    for (last_sr, delay) in [(0, 0), (1, 0), (u32::MAX, u32::MAX), (rig.ntp().middle(), 0), (rig.ntp().middle(), u32::MAX)] {
        let block = ReportBlock { ssrc: OUT_SSRC, fraction_lost: 255, cumulative_lost: -1, last_sr, delay_since_last_sr: delay, ..ReportBlock::default() };
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

#[test]
fn the_round_trip_is_known_from_reports() {
    let mut rig = Rig::new(CodecKind::Opus);
    rig.media(1).unwrap();
    let (report, _) = rig.sender_report().unwrap();
    rig.advance(80 + 500);
    let block = ReportBlock { ssrc: OUT_SSRC, last_sr: report.ntp.middle(), delay_since_last_sr: 0x8000, ..ReportBlock::default() };
    rig.consumer.handle_report_block(rig.now, rig.ntp(), &block);
    let rtt = rig.consumer.stats(rig.now).round_trip_time_ms.unwrap();
    assert!((79.0..81.0).contains(&rtt), "{rtt}");
}

#[test]
fn a_silent_stream_is_not_reported_on_and_says_no_goodbye() {
    let mut rig = Rig::new(CodecKind::Opus);
    assert_eq!(rig.sender_report(), None);
    let mut buf = [0u8; 200];
    assert_eq!(rig.consumer.write_bye(&mut buf), None);
    rig.media(1).unwrap();
    assert!(rig.sender_report().is_some());
    assert_eq!(rig.sender_report(), None, "nothing was sent since");
    let len = rig.consumer.write_bye(&mut buf).unwrap();
    let packets: Vec<_> = sfu_wire::rtcp::Packets::new(&buf[..len], false).unwrap().collect();
    assert!(matches!(packets.last(), Some(Ok(sfu_wire::rtcp::RtcpPacket::Bye(bye))) if bye.ssrcs().eq([OUT_SSRC, OUT_RTX_SSRC])));
}

#[test]
fn a_codec_that_was_not_negotiated_is_left_out_without_a_gap() {
    let mut producer = producer_config(CodecKind::Opus);
    let mut other = codec(CodecKind::TelephoneEvent);
    (other.slot, other.payload_type, other.rtx_payload_type) = (9, 110, None);
    producer.codecs.push(other);
    let mut rig = Rig::with(producer, consumer_config(CodecKind::Opus));
    let first = rig.media(1).unwrap().seq();
    assert_eq!(rig.send(&In { pt: 110, ..rig.input(2, false) }), Err(DropReason::ConsumerCodec));
    assert_eq!(rig.media(3).unwrap().seq(), first.wrapping_add(1));
    assert_eq!(rig.send(&In { pt: 111, ..rig.input(4, false) }), Err(DropReason::RtpPayloadType));
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

#[test]
fn the_hot_part_of_a_consumer_is_a_few_cache_lines() {
    assert!(size_of::<Consumer>() <= 320, "{}", size_of::<Consumer>());
    let _ = Duration::ZERO;
}
