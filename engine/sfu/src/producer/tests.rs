//! What a producer receives, asks for and reports.

use sfu_wire::id::ObjectKind;
use sfu_wire::rtcp::{Packets, RtcpPacket};
use sfu_wire::rtp::RtpView;
use sfu_wire::time::NtpTime;

use super::*;
use crate::consumer::Consumer;
use crate::consumer::rig::*;

fn only<'a>(told: &'a [String], prefix: &str) -> Vec<&'a String> {
    told.iter().filter(|t| t.starts_with(prefix)).collect()
}

#[test]
fn what_cannot_be_received_is_refused() {
    for change in [
        |c: &mut ProducerConfig| c.codecs.clear(),
        |c: &mut ProducerConfig| c.encodings.clear(),
        |c: &mut ProducerConfig| c.encodings = vec![c.encodings[0].clone(); MAX_ENCODINGS + 1],
    ] {
        let mut config = producer_config(CodecKind::Opus);
        change(&mut config);
        let rig = Rig::new(CodecKind::Opus);
        let result = Producer::new(Time::ZERO, rig.producer.id(), rig.producer.transport(), config);
        assert_eq!(result.err().map(|e| e.code), Some(ErrorCode::InvalidArgument));
    }
}

#[test]
fn losses_are_asked_for_and_repairs_counted() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(10).unwrap();
    rig.media(13).unwrap();
    assert_eq!(only(&rig.told(), "NACK"), Vec::<&String>::new(), "it may be out of order");
    rig.advance(10);
    assert_eq!(only(&rig.told(), "NACK"), ["NACK [11, 12]"]);
    assert!(rig.producer.next_timeout().is_some());
    rig.repair(1, 11, false).unwrap();
    rig.advance(150);
    assert_eq!(only(&rig.told(), "NACK"), ["NACK [12]"]);
    rig.media(12).unwrap();
    rig.advance(150);
    assert_eq!(only(&rig.told(), "NACK"), Vec::<&String>::new());
    let stats = &rig.producer.stats(rig.now)[0];
    assert_eq!((stats.nack_count, stats.nack_packet_count, stats.packets_repaired), (2, 3, 1));
    assert_eq!((stats.ssrc, stats.rtx_ssrc, stats.inbound), (SSRC, Some(RTX_SSRC), true));
}

#[test]
fn what_is_given_up_needs_a_key_frame() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(10).unwrap();
    rig.media(12).unwrap();
    let mut told = Vec::new();
    for _ in 0..300 {
        rig.advance(10);
        told.extend(rig.told());
    }
    assert_eq!(only(&told, "NACK").len(), 10);
    assert!(!only(&told, "PLI").is_empty());
}

#[test]
fn the_first_packet_of_a_key_frame_is_asked_for_though_another_of_it_says_key_frame_too() {
    let mut rig = Rig::new(CodecKind::H264);
    rig.key(10).unwrap();
    rig.media(11).unwrap();
    // 12 and 13 begin a key frame, and are lost.
    rig.key(14).unwrap();
    rig.advance(20);
    assert_eq!(only(&rig.told(), "NACK"), ["NACK [12, 13]"]);
    // What VP8 begins a key frame with is known to be its first packet.
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(10).unwrap();
    rig.key(14).unwrap();
    rig.advance(20);
    assert!(only(&rig.told(), "NACK").is_empty());
}

#[test]
fn feedback_that_was_not_negotiated_is_not_sent() {
    let mut config = producer_config(CodecKind::Vp8);
    config.codecs[0].feedback = crate::config::Feedback { fir: true, ..Default::default() };
    let mut rig = Rig::with(config, consumer_config(CodecKind::Vp8));
    rig.key(10).unwrap();
    rig.media(12).unwrap();
    rig.advance(20);
    rig.producer.request_key_frame(rig.now, 0);
    assert_eq!(
        rig.told().iter().filter(|t| !t.starts_with("RR") && *t != "SDES" && *t != "XR").collect::<Vec<_>>(),
        ["FIR [1]"]
    );
    rig.key(13).unwrap();
    rig.advance(1_000);
    rig.producer.request_key_frame(rig.now, 0);
    assert_eq!(only(&rig.told(), "FIR"), ["FIR [2]"], "a new request has a new number");
    let mut config = producer_config(CodecKind::Vp8);
    config.codecs[0].feedback = crate::config::Feedback::default();
    let mut rig = Rig::with(config, consumer_config(CodecKind::Vp8));
    rig.key(10).unwrap();
    rig.media(12).unwrap();
    rig.producer.request_key_frame(rig.now, 0);
    rig.advance(20);
    assert_eq!(only(&rig.told(), "NACK").len() + only(&rig.told(), "PLI").len(), 0);
}

#[test]
fn reports_come_about_once_a_second_with_a_name() {
    let mut rig = Rig::new(CodecKind::Opus);
    assert_eq!(rig.producer.next_timeout(), None, "there is nothing to report on");
    let mut reports = 0;
    for seq in 0..2_000u16 {
        rig.media(seq).unwrap();
        rig.advance(10);
        for told in rig.told().chunks(3) {
            assert_eq!(told, ["RR 1", "SDES", "XR"]);
            reports += 1;
        }
    }
    assert!((14..=28).contains(&reports), "{reports}");
}

#[test]
fn the_round_trip_to_the_publisher_is_that_of_its_answers() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(10).unwrap();
    rig.advance(600);
    assert_eq!(only(&rig.told(), "XR").len(), 1, "a report goes with our clock");
    let asked = rig.ntp().middle();
    rig.advance(150);
    let ssrc = rig.producer.rtcp_ssrc();
    let answer = DlrrBlock { ssrc, last_rr: asked, delay_since_last_rr: 0x1_0000 / 20 };
    let ntp = rig.ntp();
    assert!(!rig.producer.handle_dlrr(ntp, &DlrrBlock { ssrc: ssrc ^ 1, ..answer }), "for somebody else");
    assert!(rig.producer.handle_dlrr(ntp, &answer));
    let rtt = rig.producer.stats(rig.now)[0].round_trip_time_ms.unwrap();
    assert!((99.0..101.0).contains(&rtt), "{rtt}");
    // Lost packets are asked for again after that long, and not earlier.
    rig.media(12).unwrap();
    let mut asked = Vec::new();
    for ms in 0..220 {
        rig.advance(1);
        asked.extend(only(&rig.told(), "NACK").iter().map(|_| ms));
    }
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.windows(2).all(|pair| (99..=101).contains(&(pair[1] - pair[0]))), "{asked:?}");
}

#[test]
fn scores_follow_losses_and_repairs() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.key(10).unwrap();
    assert_eq!(rig.producer.encoding_scores(), [EncodingScore { encoding: 0, ssrc: SSRC, rid: None, score: 10 }]);
    assert!(!rig.producer.take_score_change());
    for n in 0..600 {
        if n % 2 == 0 {
            rig.media(11 + n).unwrap();
        }
        rig.advance(10);
        rig.told();
    }
    assert!(rig.producer.take_score_change() && !rig.producer.take_score_change());
    let [score] = rig.producer.scores().collect::<Vec<_>>()[..] else { panic!("one encoding") };
    assert!(score <= 2, "{score}");
    assert_eq!(rig.producer.stats(rig.now)[0].score, score);
    // A single encoding that is silent keeps its score.
    rig.advance(60_000);
    rig.told();
    assert_eq!(rig.producer.scores().collect::<Vec<_>>(), [score]);
}

#[test]
fn an_encoding_of_several_that_falls_silent_has_no_score_until_it_is_back() {
    let mut config = producer_config(CodecKind::Vp8);
    let second = crate::config::EncodingConfig { ssrc: Some(SSRC + 1), ..Default::default() };
    config.encodings.push(second);
    let mut rig = Rig::with(config, consumer_config(CodecKind::Vp8));
    let scores = |rig: &Rig| rig.producer.scores().collect::<Vec<_>>();
    rig.key(10).unwrap();
    rig.advance(1_400);
    rig.told();
    assert_eq!(scores(&rig), [10, 10]);
    rig.advance(200);
    rig.told();
    assert_eq!(scores(&rig), [0, 10], "the other one was never heard of");
    assert!(rig.producer.take_score_change());
    rig.media(11).unwrap();
    assert_eq!(scores(&rig), [10, 10]);
    assert!(rig.producer.take_score_change());
    rig.producer.pause(rig.now);
    rig.advance(10_000);
    rig.told();
    assert_eq!(scores(&rig), [10, 10], "paused");
    rig.producer.resume(rig.now);
    rig.advance(1_600);
    rig.told();
    assert_eq!(scores(&rig), [0, 10]);
}

#[test]
fn without_reduced_size_feedback_comes_behind_a_report() {
    let mut config = producer_config(CodecKind::Vp8);
    config.reduced_size_rtcp = false;
    let mut rig = Rig::with(config, consumer_config(CodecKind::Vp8));
    rig.key(10).unwrap();
    rig.advance(600);
    rig.told();
    rig.producer.request_key_frame(rig.now, 0);
    let mut buf = [0u8; 1200];
    let len = rig.producer.poll_rtcp(rig.now, rig.ntp(), &mut buf).unwrap();
    let packets: Vec<_> = Packets::new(&buf[..len], false).unwrap().flatten().collect();
    assert!(
        matches!(packets[..], [RtcpPacket::ReceiverReport(..), RtcpPacket::Sdes(_), RtcpPacket::Pli(_)]),
        "{packets:?}"
    );
}

#[test]
fn row_041_upstream_requests_keep_the_configured_distance() {
    let mut config = producer_config(CodecKind::Vp8);
    config.key_frame_request_delay = Duration::from_secs(3);
    let mut rig = Rig::with(config, consumer_config(CodecKind::Vp8));
    rig.key(10).unwrap();
    let mut at = Vec::new();
    for ms in 0..20_000u64 {
        rig.advance(1);
        rig.producer.request_key_frame(rig.now, 0);
        if rig.told().iter().any(|t| t.starts_with("PLI")) {
            at.push(ms);
        }
        if ms % 100 == 0 {
            rig.key(100 + (ms / 100) as u16).unwrap();
        }
    }
    assert!(at.len() >= 5 && at.windows(2).all(|w| w[1] - w[0] >= 3_000), "{at:?}");
}

#[test]
fn a_paused_producer_counts_and_reports_but_forwards_and_asks_nothing() {
    let mut rig = Rig::new(CodecKind::Vp8);
    rig.producer.pause(rig.now);
    rig.producer.request_key_frame(rig.now, 0);
    for seq in 0..100 {
        rig.advance(20);
        assert_eq!(rig.key(seq), Err(DropReason::ProducerPaused));
    }
    let told = rig.told();
    assert!(only(&told, "PLI").is_empty() && !only(&told, "RR 1").is_empty(), "{told:?}");
    assert_eq!(rig.producer.stats(rig.now)[0].packets, 100);
}

#[test]
fn row_039_a_goodbye_counts_only_for_own_streams() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.key(1).unwrap();
    rig.media(5).unwrap();
    assert!(!rig.producer.handle_bye(rig.now, 0x7777));
    rig.advance(20);
    assert_eq!(only(&rig.told(), "NACK").len(), 1);
    assert!(rig.producer.handle_bye(rig.now, SSRC));
    assert!(rig.producer.handle_bye(rig.now, RTX_SSRC));
    rig.advance(2_000);
    let told = rig.told();
    assert!(only(&told, "NACK").is_empty() && only(&told, "PLI").is_empty(), "nobody is left to ask");
    assert_eq!(rig.media(6).unwrap().seq(), first.seq().wrapping_add(5), "and if it goes on after all, so do we");
}

#[test]
fn sender_reports_of_others_change_nothing() {
    let mut rig = Rig::new(CodecKind::Opus);
    let report = SenderReport { ssrc: 0x7777, ntp: NtpTime(1 << 40), ..SenderReport::default() };
    assert!(!rig.producer.handle_sender_report(rig.now, rig.ntp(), &report));
    let report = SenderReport { ssrc: SSRC, ntp: NtpTime(1 << 40), ..SenderReport::default() };
    assert!(rig.producer.handle_sender_report(rig.now, rig.ntp(), &report));
    assert_eq!(rig.producer.source_clock(0), None, "nothing was received yet, so there is no line");
}

#[test]
fn streams_found_by_mid_or_rid_are_bound_when_their_ssrc_is_known() {
    let mut config = producer_config(CodecKind::Vp8);
    config.encodings[0] = crate::config::EncodingConfig::default();
    let mut rig = Rig::with(config, consumer_config(CodecKind::Vp8));
    assert_eq!(rig.key(1), Err(DropReason::RtpUnroutable));
    let slot = |part| StreamSlot { encoding: 0, part };
    assert_eq!(rig.producer.bind_ssrc(rig.now, slot(StreamPart::Media), SSRC), None);
    assert_eq!(rig.producer.bind_ssrc(rig.now, slot(StreamPart::Rtx), RTX_SSRC), None);
    assert_eq!(rig.producer.bind_ssrc(rig.now, StreamSlot { encoding: 9, part: StreamPart::Media }, 5), None);
    assert_eq!(
        rig.producer.ssrcs().collect::<Vec<_>>(),
        [(SSRC, slot(StreamPart::Media)), (RTX_SSRC, slot(StreamPart::Rtx))]
    );
    rig.key(1).unwrap();
    rig.media(3).unwrap();
    rig.repair(1, 2, false).unwrap();
}

#[test]
fn malformed_vp8_is_left_out_without_a_gap() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let first = rig.key(1).unwrap();
    assert_eq!(rig.send(&In { payload: vec![0x90], ..rig.input(2, false) }), Err(DropReason::RtpPayload));
    assert_eq!(rig.media(3).unwrap().seq(), first.seq().wrapping_add(1));
}

#[test]
fn a_packet_of_nobody_is_not_taken() {
    let mut rig = Rig::new(CodecKind::Opus);
    let bytes = In { ssrc: 5, ..rig.input(1, false) }.bytes();
    let view = RtpView::parse(&bytes).unwrap();
    assert_eq!(rig.producer.handle_rtp(rig.now, rig.now, &bytes, &view).err(), Some(DropReason::RtpUnroutable));
}

#[test]
fn five_hundred_consumers_share_one_copy_of_a_packet() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let mut consumers: Vec<_> = (0..500u32)
        .map(|k| {
            let (object, transport) = (id(ObjectKind::Consumer, k), id(ObjectKind::Transport, k));
            Consumer::new(
                rig.now,
                object,
                transport,
                consumer_config(CodecKind::Vp8),
                ssrcs(1_000 + k, Some(9_000 + k)),
            )
        })
        .collect();
    let mut slot = [0; 1_500];
    let (mut sent, mut firsts) = (Vec::new(), Vec::new());
    for seq in 0..50u16 {
        let bytes = rig.input(seq, seq == 0).bytes();
        let view = RtpView::parse(&bytes).unwrap();
        let ingress = rig.producer.handle_rtp(rig.now, rig.now, &bytes, &view).unwrap();
        let shared = rig.pool.take(&bytes).unwrap();
        rig.producer.keep(rig.now, &ingress, shared.clone());
        for consumer in &mut consumers {
            consumer.forward(rig.now, &rig.producer, &ingress, &shared, &mut slot, &mut 0).unwrap();
            firsts.push(u16::from_be_bytes([slot[2], slot[3]]));
        }
        assert_eq!(shared.owners(), 2, "the history and this test");
        sent.push((ingress.position, shared));
    }
    for (consumer, first) in consumers.iter_mut().zip(firsts) {
        // Each peer misses everything; each is answered from the one copy.
        consumer.handle_nack(rig.now, (0..50).map(|k| first.wrapping_add(k)));
        let mut answers = 0;
        while consumer.has_resends() {
            answers += usize::from(consumer.poll_resend(rig.now, |_| Some(&rig.producer), &mut slot, &mut 0).is_some());
        }
        assert_eq!(answers, 50);
    }
    for (position, shared) in &sent {
        assert_eq!(shared.owners(), 2);
        assert_eq!(&rig.producer.recall(rig.now, 0, *position).unwrap().packet[..], &shared[..]);
    }
}

#[test]
fn each_layer_has_its_bitrate_and_repairs_count_in_none() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let mut sizes = [0u32; 2];
    for seq in 0..100u16 {
        // Every other picture is of temporal layer 1.
        let temporal = usize::from(seq % 2);
        let key = seq == 0;
        let mut payload =
            vec![0x90, 0xE0, 0x80, seq as u8, (seq / 2) as u8, (temporal as u8) << 6 | 0x20, u8::from(!key)];
        payload.resize(40 + 100 * (1 - temporal), 0);
        let input = In { payload, ..rig.input(seq, key) };
        sizes[temporal] += input.bytes().len() as u32 * 8;
        rig.send(&input).unwrap();
        rig.advance(9);
    }
    let _ = rig.repair(1, 101, false);
    let stats = &rig.producer.stats(rig.now)[0];
    let told: Vec<_> =
        stats.bitrate_by_layer.iter().map(|r| (r.layers.spatial, r.layers.temporal, r.bitrate)).collect();
    assert_eq!(told, [(0, 0, sizes[0]), (0, 1, sizes[1])]);
    assert_eq!(stats.bitrate, sizes[0] + sizes[1]);
    assert!(rig.consumer.stats(rig.now).bitrate_by_layer.is_empty());
    let mut plain = Rig::new(CodecKind::Opus);
    plain.media(1).unwrap();
    assert!(plain.producer.stats(plain.now)[0].bitrate_by_layer.is_empty(), "it has no layers");
}
