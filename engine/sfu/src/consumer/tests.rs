//! A producer and a consumer around one packet after the other: headers, key frames, pauses, restarts,
//! wraps, resends, reports.

use std::collections::HashMap;

use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::rtcp::{ReportBlock, SenderReport};
use sfu_wire::time::NtpTime;

use super::rig::*;
use super::*;

const VIDEO: [CodecKind; 4] = [CodecKind::Vp8, CodecKind::H264, CodecKind::Vp9, CodecKind::Av1];

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
        let mut frames =
            (0..4u16).map(|k| rig.send(&rig.input(at.wrapping_add(k), true)).map(|o| (o.seq(), o.fields.timestamp)));
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
    rig.producer.request_key_frame(rig.now, 0);
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
    let slot = crate::producer::StreamSlot { encoding: 0, part: crate::producer::StreamPart::Media };
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
    let slot = crate::producer::StreamSlot { encoding: 0, part: crate::producer::StreamPart::Media };
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
    for (k, ts) in [10, 3_010, 1 << 31, (1 << 31) + 3_000, 5, 5, 5, 0xFFF0_0000, 2_000, 0x7000_0000].iter().enumerate()
    {
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
    rig.producer.handle_sender_report(rig.now, rig.ntp(), &report(&rig, 48_000));
    let at = rig.now;
    let (before, cname) = rig.sender_report().unwrap();
    assert_eq!(cname, "publisher");
    let passed = rig.now.saturating_since(at).as_millis() as u32;
    assert_eq!(before.rtp_timestamp, 48_000 + 48 * passed, "what is captured now");
    assert_eq!((before.ssrc, before.packet_count, before.octet_count), (OUT_SSRC, 1, 3));
    // The source's clock jumps: what was captured at one moment still is.
    let out = rig.send(&In { ts: 0x9000_0000, ..rig.input(2, false) }).unwrap();
    rig.producer.handle_sender_report(rig.now, rig.ntp(), &report(&rig, 0x9000_0000));
    let steady = out.fields.timestamp;
    let at = rig.now;
    let (after, _) = rig.sender_report().unwrap();
    let passed = rig.now.saturating_since(at).as_millis() as u32;
    assert_eq!(after.rtp_timestamp, steady + 48 * passed);
    assert!(after.ntp > before.ntp);
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
fn the_transport_wide_number_and_the_send_time_are_stamped() {
    let mut config = consumer_config(CodecKind::Opus);
    config.extensions = ids(&[(ExtensionKind::TransportCc, 5), (ExtensionKind::AbsSendTime, 6)]);
    let mut rig = Rig::with(producer_config(CodecKind::Opus), config);
    let out = rig.send(&In { exts: &[(8, &[9, 9]), (7, &[1, 1, 1])], ..rig.input(1, false) }).unwrap();
    // One second is 2^18.
    assert_eq!(out.extensions, [(5, vec![0x12, 0x34]), (6, vec![0x04, 0, 0])]);
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
fn the_round_trip_is_known_from_reports() {
    let mut rig = Rig::new(CodecKind::Opus);
    rig.media(1).unwrap();
    let (report, _) = rig.sender_report().unwrap();
    rig.advance(80 + 500);
    let block = ReportBlock {
        ssrc: OUT_SSRC,
        last_sr: report.ntp.middle(),
        delay_since_last_sr: 0x8000,
        ..ReportBlock::default()
    };
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
    assert!(
        matches!(packets.last(), Some(Ok(sfu_wire::rtcp::RtcpPacket::Bye(bye))) if bye.ssrcs().eq([OUT_SSRC, OUT_RTX_SSRC]))
    );
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

#[test]
fn the_hot_part_of_a_consumer_is_a_few_cache_lines() {
    assert!(size_of::<Consumer>() <= 320, "{}", size_of::<Consumer>());
}

#[test]
fn row_025_first_numbers_leave_half_a_cycle_before_the_first_wrap() {
    // Lost before the receiver saw any, packets around a wrap would cost it the whole stream: it would take
    // the first that comes to be of rollover 0 (RFC 3711, section 3.3.1, and RFC 3550, section 5.1).
    for ssrc in 1..2_000u32 {
        let rig = Rig::new(CodecKind::Vp8);
        let config = rig.consumer.config().clone();
        let consumer =
            Consumer::new(rig.now, rig.consumer.id(), rig.consumer.transport(), config, ssrcs(ssrc, Some(!ssrc)));
        assert!(consumer.sequence.next_number() < 0x8000, "SSRC {ssrc}");
        assert!(consumer.cold.rtx_sequence < 0x8000, "RTX of SSRC {ssrc}");
    }
}

#[test]
fn silence_is_left_out_without_a_gap_for_whom_does_not_want_it_and_for_nobody_else() {
    let rig = |ignore_dtx| {
        let config = ConsumerConfig { ignore_dtx, ..consumer_config(CodecKind::Opus) };
        Rig::with(producer_config(CodecKind::Opus), config)
    };
    let (mut without, mut with) = (rig(true), rig(false));
    let silent = |seq: u16| matches!(seq % 10, 4..10);
    let (mut last, mut spoken) = (None, 0u16);
    for seq in 0..400u16 {
        let mut input = without.input(seq, false);
        if silent(seq) {
            // A packet of no frame data, and one with a byte of it.
            input.payload.truncate(1 + usize::from(seq % 2));
        }
        let out = with.send(&input).unwrap();
        assert_eq!(out.payload, input.payload);
        match without.send(&input) {
            Ok(out) => {
                assert!(!silent(seq) && out.padding == 0, "{seq}");
                let number = *last.get_or_insert(out.seq().wrapping_sub(spoken));
                assert_eq!(out.seq(), number.wrapping_add(spoken), "no gap before {seq}");
                assert_eq!(out.fields.timestamp, input.ts, "time goes on over the silence");
                spoken += 1;
            }
            Err(reason) => assert!(silent(seq) && reason == LEFT_OUT, "{seq}: {reason:?}"),
        }
        without.advance(20);
        with.advance(20);
    }
    assert_eq!((spoken, with.consumer.stats(with.now).packets), (160, 400));
    assert_eq!(without.consumer.stats(without.now).packets, 160);
}

/// A frame of four packets of these lengths; `first` is the number of the first.
fn frame(rig: &Rig, first: u16, key: bool, lengths: [usize; 4]) -> Vec<In<'static>> {
    let packet = |(n, len): (u16, usize)| {
        let mut payload = if n == 0 { rig.payload(key, 0) } else { vec![0x00, 0x77] };
        payload.resize(len, n as u8);
        In { ts: u32::from(first) * 3_000, marker: n == 3, payload, ..rig.input(first + n, key) }
    };
    (0..).zip(lengths).map(packet).collect()
}

#[test]
fn padded_packets_of_a_frame_have_one_size_and_are_the_same_without_it() {
    let config = ConsumerConfig { pad_frames: true, ..consumer_config(CodecKind::Vp8) };
    let (mut even, mut plain) = (Rig::with(producer_config(CodecKind::Vp8), config), Rig::new(CodecKind::Vp8));
    let mut nacked = Vec::new();
    for (n, lengths) in [[899, 899, 900, 900], [700, 700, 699, 699], [650, 650, 650, 650]].into_iter().enumerate() {
        let first = 100 + 10 * n as u16;
        let outs: Vec<(Out, Out)> = frame(&plain, first, n == 0, lengths)
            .iter()
            .map(|input| (even.send(input).expect("sent"), plain.send(input).expect("sent")))
            .collect();
        let (last, others) = outs.split_last().expect("four");
        assert!(others.iter().all(|(out, _)| out.bytes.len() == others[0].0.bytes.len()), "{lengths:?}");
        assert!(last.0.bytes.len() <= others[0].0.bytes.len() && last.0.padding == 0, "{lengths:?}");
        for (out, unpadded) in &outs {
            assert_eq!(unpadded.padding, 0);
            assert_eq!((out.fields, &out.extensions), (unpadded.fields, &unpadded.extensions));
            assert_eq!(out.payload, unpadded.payload, "what is left without the padding");
            assert_eq!(out.bytes.len(), unpadded.bytes.len() + out.padding);
            assert!(out.padding <= 2, "{lengths:?}");
        }
        nacked.push(outs[0].0.seq());
        even.advance(33);
        plain.advance(33);
    }
    let (again, unpadded) = (even.nack(&nacked), plain.nack(&nacked));
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|out| out.padding == 0));
    let bytes = |outs: &[Out]| outs.iter().map(|out| out.bytes.clone()).collect::<Vec<_>>();
    assert_eq!(bytes(&again), bytes(&unpadded));
    let (now, told) = (even.now, |rig: &Rig| rig.consumer.stats(rig.now).bytes);
    assert_eq!(told(&even), told(&plain), "a sender report counts no padding, at {now:?}");
}

#[test]
fn late_silence_goes_out_as_padding_under_the_number_that_was_kept_for_it() {
    let config = ConsumerConfig { ignore_dtx: true, ..consumer_config(CodecKind::Opus) };
    let mut rig = Rig::with(producer_config(CodecKind::Opus), config);
    let first = rig.media(1).unwrap().seq();
    assert_eq!(rig.media(3).unwrap().seq(), first.wrapping_add(2));
    let mut silence = rig.input(2, false);
    silence.payload.truncate(1);
    let out = rig.send(&silence).unwrap();
    assert_eq!((out.seq(), out.payload.len(), out.padding), (first.wrapping_add(1), 0, 1));
}
