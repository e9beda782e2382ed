//! What peers may say and ask by RTCP, and how often they are heard.

use std::time::Duration;

use sfu_core::command::{Command, Event, Reply};
use sfu_core::testing::Received;
use sfu_core::testing::world::{OPUS, VP8, World, rtp, vp8, vp8_frame};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::{Bye, DlrrBlock, Fir, FirEntry, Nack, Packets, Pli, ReceiverReport, ReportBlock, RtcpPacket, Xr};
use sfu_wire::time::NtpTime;

/// A publisher of audio (SSRC 5) and video (SSRC 7), a subscriber, and the consumers' SSRCs.
fn call(seed: u64) -> (World, usize, usize, [u32; 2], ObjectId) {
    let mut world = World::new(seed);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let (audio, video) = (world.produce_audio(alice, 5), world.produce_video(alice, 7));
    let (a, v) = (world.consume(bob, audio), world.consume(bob, video));
    for n in 0..20 {
        media(&mut world, alice, n);
    }
    world.received(bob);
    world.run(Duration::from_secs(2));
    world.received(alice);
    (world, alice, bob, [a.ssrc, v.ssrc], v.id)
}

fn media(world: &mut World, alice: usize, n: u16) {
    world.send_rtp(alice, &rtp(OPUS, 5, n, 960 * u32::from(n), &[], b"x"));
    world.send_rtp(alice, &rtp(VP8, 7, n, 3_000 * u32::from(n), &[], &vp8_frame(n == 0, n)));
    world.run(Duration::from_millis(20));
}

fn count(world: &mut World, member: usize, wanted: fn(&RtcpPacket<'_>) -> bool) -> usize {
    let mut n = 0;
    for received in world.received(member) {
        let Received::Rtcp(bytes) = received else { continue };
        n += Packets::new(&bytes, true).expect("sound").filter(|p| p.as_ref().is_ok_and(wanted)).count();
    }
    n
}

fn asks_for_key_frame(packet: &RtcpPacket<'_>) -> bool {
    matches!(packet, RtcpPacket::Pli(_) | RtcpPacket::Fir(_))
}

#[test]
fn row_041_a_thousand_key_frame_requests_a_second_reach_the_publisher_as_few() {
    let (mut world, alice, bob, [_, ssrc], _) = call(80);
    let mut buf = [0; 64];
    for n in 0..2_000u32 {
        let len = if n % 2 == 0 {
            Pli { sender_ssrc: 1, media_ssrc: ssrc }.write(&mut buf)
        } else {
            Fir::write(&mut buf, 1, &[FirEntry { ssrc, sequence: (n / 8) as u8 }])
        };
        world.send_rtcp(bob, &buf[..len.expect("fits")]);
        world.run(Duration::from_millis(1));
    }
    let upstream = count(&mut world, alice, asks_for_key_frame);
    assert!((1..=4).contains(&upstream), "{upstream} in 2 s");
    assert!(world.drops(DropReason::RtcpRateLimited) > 1_000);
}

#[test]
fn h32_one_datagram_of_many_requests_is_heard_in_part() {
    let (mut world, alice, bob, [_, ssrc], _) = call(81);
    let mut compound = Vec::new();
    let mut buf = [0; 64];
    for _ in 0..60 {
        let len = Pli { sender_ssrc: 1, media_ssrc: ssrc }.write(&mut buf).expect("fits");
        compound.extend_from_slice(&buf[..len]);
    }
    world.send_rtcp(bob, &compound);
    assert!(world.drops(DropReason::RtcpRateLimited) >= 44);
    assert!(count(&mut world, alice, asks_for_key_frame) <= 1);
}

#[test]
fn row_040_floods_of_nacks_are_answered_within_bounds() {
    let (mut world, _, bob, [_, ssrc], _) = call(82);
    let mut buf = vec![0; 1_400];
    let everything: Vec<u16> = (0..4_000u16).map(|n| n.wrapping_mul(17)).collect();
    for chunk in everything.chunks(200) {
        let len = Nack::write(&mut buf, 1, ssrc, chunk).expect("fits");
        world.send_rtcp(bob, &buf[..len]);
    }
    let answered = world.rtp(bob).len();
    assert!(answered <= 20, "{answered}: no more than were sent");
    assert!(world.drops(DropReason::RtcpRateLimited) > 3_000, "{:?}", world.shard.drops());
    // The same again at once: within one round trip nothing is sent twice.
    for chunk in everything.chunks(200) {
        let len = Nack::write(&mut buf, 1, ssrc, chunk).expect("fits");
        world.send_rtcp(bob, &buf[..len]);
    }
    assert!(world.rtp(bob).is_empty());
}

#[test]
fn row_039_a_bye_for_somebody_elses_stream_has_no_effect() {
    let (mut world, alice, bob, [audio, _], _) = call(83);
    let mut buf = [0; 64];
    // Bob says that Alice's source, and that what he is sent, have left.
    for ssrc in [5, audio, 99] {
        let len = Bye::write(&mut buf, &[ssrc], None).expect("fits");
        world.send_rtcp(bob, &buf[..len]);
    }
    assert_eq!(world.drops(DropReason::RtcpUnknownSsrc), 3);
    media(&mut world, alice, 20);
    assert_eq!(world.rtp(bob).len(), 2);
}

#[test]
fn row_038_report_blocks_about_foreign_streams_or_with_absurd_times_do_no_harm() {
    let (mut world, alice, bob, [audio, _], _) = call(84);
    let mut buf = [0; 256];
    let block = |ssrc, last_sr, delay| ReportBlock {
        ssrc,
        fraction_lost: 255,
        cumulative_lost: 8_388_607,
        highest_sequence: u32::MAX,
        jitter: u32::MAX,
        last_sr,
        delay_since_last_sr: delay,
    };
    let blocks = [block(123, 0, 0), block(audio, u32::MAX, u32::MAX), block(audio, 1, 0), block(audio, 0, 1)];
    let len = ReceiverReport { ssrc: 1 }.write(&mut buf, &blocks).expect("fits");
    world.send_rtcp(bob, &buf[..len]);
    assert_eq!(world.drops(DropReason::RtcpUnknownSsrc), 1);
    let id = world.members[bob].transport.id;
    let stats = world.stats(id).expect("stats");
    for stream in stats.streams {
        assert!(stream.round_trip_time_ms.is_none_or(|ms| (0.0..=65_536_000.0).contains(&ms)), "{stream:?}");
    }
    media(&mut world, alice, 20);
    assert_eq!(world.rtp(bob).len(), 2);
}

#[test]
fn row_037_compounds_with_broken_lengths_are_dropped_whole() {
    let (mut world, alice, bob, [_, ssrc], _) = call(85);
    let mut pli = [0; 64];
    let len = Pli { sender_ssrc: 1, media_ssrc: ssrc }.write(&mut pli).expect("fits");
    let mut broken = vec![
        [&pli[..len], &[0x80, 201, 0xff, 0xff, 0, 0, 0, 1]].concat(),
        [&pli[..len], &[0x80]].concat(),
        [&pli[..len], &[0x00, 201, 0, 0]].concat(),
    ];
    let mut many = pli[..len].to_vec();
    (0..350).for_each(|_| many.extend_from_slice(&[0x80, 203, 0, 0]));
    broken.push(many);
    let before = world.drops(DropReason::RtcpMalformed);
    for compound in &broken {
        world.send_rtcp(bob, compound);
    }
    assert_eq!(world.drops(DropReason::RtcpMalformed) - before, broken.len() as u64);
    assert_eq!(count(&mut world, alice, asks_for_key_frame), 0);
}

#[test]
fn h16_rtcp_too_short_for_what_it_says_changes_nothing() {
    let (mut world, alice, bob, _, _) = call(86);
    for len in 0..28usize {
        for kind in [200u8, 201, 202, 203, 204, 205, 206, 207, 210] {
            for count in [0u8, 1, 4, 15, 31] {
                let mut packet = vec![0xee; len];
                let words = (len / 4).saturating_sub(1) as u8;
                packet.iter_mut().zip([0x80 | count, kind, 0, words]).for_each(|(p, b)| *p = b);
                if world.members[bob].peer.try_send_rtcp(&packet) {
                    world.settle();
                }
            }
        }
    }
    assert_eq!(count(&mut world, alice, asks_for_key_frame), 0);
    media(&mut world, alice, 20);
    assert_eq!(world.rtp(bob).len(), 2);
}

#[test]
fn transport_wide_feedback_and_the_bitrate_bound_reach_the_publisher() {
    let mut world = World::new(87);
    let router = world.router();
    let alice = world.join(router);
    let mut config = world.video_config(alice, 7);
    config.extensions.set(ExtensionKind::TransportCc, 5);
    config.codecs = vec![vp8()];
    config.codecs[0].feedback.transport_cc = true;
    config.codecs[0].feedback.remb = true;
    world.produce(alice, config);
    let transport = world.members[alice].transport.id;
    let reply = world.command(Command::SetMaxIncomingBitrate { transport, bitrate: 300_000 });
    assert_eq!(reply, Ok(Reply::Done));
    for n in 0..50u16 {
        let sequence = n.wrapping_add(65_520).to_be_bytes();
        let packet = rtp(VP8, 7, n, 3_000 * u32::from(n), &[(5, &sequence)], &vp8_frame(n == 0, n));
        world.send_rtp(alice, &packet);
        world.run(Duration::from_millis(20));
    }
    let received = world.received(alice);
    let (mut told, mut bounds) = (0, Vec::new());
    for compound in received.iter().filter_map(|r| if let Received::Rtcp(b) = r { Some(b) } else { None }) {
        for packet in Packets::new(compound, true).expect("sound").map(|p| p.expect("sound")) {
            match packet {
                RtcpPacket::TransportCc(feedback) => told += feedback.arrivals().filter(|a| a.1.is_some()).count(),
                RtcpPacket::Remb(remb) => bounds.push(remb.bitrate),
                _ => {}
            }
        }
    }
    assert!((45..=50).contains(&told), "{told} of 50 arrivals told");
    assert!(!bounds.is_empty() && bounds.iter().all(|b| (290_000..=300_000).contains(b)), "{bounds:?}");
}

#[test]
fn a_bitrate_bound_is_told_only_where_remb_was_negotiated() {
    for negotiated in [false, true] {
        let mut world = World::new(88);
        let router = world.router();
        let alice = world.join(router);
        let transport = world.members[alice].transport.id;
        // Before anything was negotiated, and after it.
        for bitrate in [200_000, 300_000] {
            world.command(Command::SetMaxIncomingBitrate { transport, bitrate }).expect("set");
            world.run(Duration::from_secs(2));
            let mut config = world.video_config(alice, bitrate);
            config.codecs[0].feedback.remb = negotiated;
            world.produce(alice, config);
            world.run(Duration::from_secs(2));
        }
        let told = count(&mut world, alice, |packet| matches!(packet, RtcpPacket::Remb(_)));
        assert_eq!(told > 0, negotiated, "{told}");
        assert_eq!(world.stats(transport).is_some_and(|s| s.counters.contains(&("remb_sent", 0))), !negotiated);
    }
}

/// All extended reports that a member got, owned: reporter, reference time, answers.
fn extended_reports(world: &mut World, member: usize) -> Vec<(u32, Option<NtpTime>, Vec<DlrrBlock>)> {
    let mut all = Vec::new();
    for received in world.received(member) {
        let Received::Rtcp(bytes) = received else { continue };
        // Whatever goes out without reduced size begins with a report.
        let packets: Vec<_> = Packets::new(&bytes, true).expect("sound").flatten().collect();
        for packet in packets {
            if let RtcpPacket::Xr(xr) = packet {
                all.push((xr.ssrc, xr.reference_time(), xr.dlrr().collect()));
            }
        }
    }
    all
}

#[test]
fn reference_times_are_answered_once_and_with_the_time_they_waited() {
    let (mut world, alice, bob, ssrcs, _) = call(84);
    assert!(extended_reports(&mut world, bob).iter().all(|(_, _, answers)| answers.is_empty()));
    let mut buf = [0; 200];
    let len = ReceiverReport { ssrc: 77 }.write(&mut buf, &[]).expect("fits");
    let len = len + Xr::write(&mut buf[len..], 77, Some(NtpTime(0x1111_2222_3333_4444)), &[]).expect("fits");
    world.send_rtcp(bob, &buf[..len]);
    for n in 20..150 {
        media(&mut world, alice, n);
    }
    let answers: Vec<_> =
        extended_reports(&mut world, bob).into_iter().filter(|(_, _, answers)| !answers.is_empty()).collect();
    let [(ssrc, None, answer)] = &answers[..] else { panic!("{answers:?}") };
    assert!(ssrcs.contains(ssrc));
    let [DlrrBlock { ssrc: 77, last_rr: 0x2222_3333, delay_since_last_rr }] = answer[..] else { panic!("{answer:?}") };
    assert!(delay_since_last_rr <= 0x2_0000, "{delay_since_last_rr}");
}

#[test]
fn the_publishers_answers_show_its_round_trip() {
    let (mut world, alice, _, _, _) = call(85);
    for n in 20..100 {
        media(&mut world, alice, n);
    }
    let asked = extended_reports(&mut world, alice);
    let (ssrc, reference, _) = asked.last().cloned().expect("our clock goes with reports");
    let last_rr = reference.expect("a reference time").middle();
    let mut buf = [0; 200];
    let strangers = world.drops(DropReason::RtcpUnknownSsrc);
    for (ssrc, refused) in [(ssrc, 0), (4_242, 1)] {
        let answer = DlrrBlock { ssrc, last_rr, delay_since_last_rr: 0 };
        let len = ReceiverReport { ssrc: 5 }.write(&mut buf, &[]).expect("fits");
        let len = len + Xr::write(&mut buf[len..], 5, None, &[answer]).expect("fits");
        world.send_rtcp(alice, &buf[..len]);
        assert_eq!(world.drops(DropReason::RtcpUnknownSsrc) - strangers, refused);
    }
}

#[test]
fn row_046_a_peer_that_reports_the_worst_for_ever_costs_only_its_own_score() {
    let (mut world, alice, bob, [_, ssrc], consumer) = call(86);
    world.events.clear();
    let mut buf = [0; 200];
    for n in 20..400 {
        media(&mut world, alice, n);
        if n % 10 == 0 {
            let lost = ReportBlock { ssrc, fraction_lost: 255, cumulative_lost: 0x7f_ffff, ..ReportBlock::default() };
            let len = ReceiverReport { ssrc: 1 }.write(&mut buf, &[lost]).expect("fits");
            world.send_rtcp(bob, &buf[..len]);
        }
    }
    let told: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::ConsumerScore { consumer, score, producer_score, producer_scores } => {
                Some((*consumer, *score, *producer_score, producer_scores.clone()))
            }
            Event::ProducerScore { .. } => panic!("the publisher's streams are as they were"),
            _ => None,
        })
        .collect();
    assert_eq!(told.last(), Some(&(consumer, 0, 10, vec![10])));
    assert!(told.iter().all(|(of, ..)| *of == consumer) && told.len() <= 10, "{told:?}");
}
