//! Media from one peer to others through a shard, with real DTLS and SRTP.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sfu_core::command::{Command, Event, Listen, Reply};
use sfu_core::config::{ConsumerConfig, EncodingConfig};
use sfu_core::testing::world::{MID_ID, OPUS, RID_ID, VP8, VP8_RTX, World, consumer_config, rtp, vp8_frame};
use sfu_core::testing::{PeerOptions, Received};
use sfu_proto::crypto::{DtlsRole, SrtpProfile};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::media::{MediaKind, Mid, Rid};
use sfu_wire::rtcp::{Nack, Packets, Pli, RtcpPacket};
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::Layers;

/// Payloads, in order, of RTP packets.
fn payloads(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|p| RtpView::parse(p).expect("RTP").payload().to_vec()).collect()
}

/// All packets of the RTCP compounds among what was received.
fn rtcp_kinds(received: &[Received]) -> Vec<String> {
    let mut kinds = Vec::new();
    for compound in received.iter().filter_map(|r| if let Received::Rtcp(bytes) = r { Some(bytes) } else { None }) {
        for packet in Packets::new(compound, true).expect("a sound compound") {
            kinds.push(match packet.expect("a sound packet") {
                RtcpPacket::SenderReport(report, _) => format!("sr {}", report.ssrc),
                RtcpPacket::ReceiverReport(_, blocks) => {
                    format!("rr {}", blocks.map(|b| b.ssrc.to_string()).collect::<Vec<_>>().join(","))
                }
                RtcpPacket::Sdes(_) => "sdes".to_owned(),
                RtcpPacket::Pli(pli) => format!("pli {}", pli.media_ssrc),
                RtcpPacket::Bye(bye) => format!("bye {:?}", bye.ssrcs().collect::<Vec<_>>()),
                other => format!("{other:?}"),
            });
        }
    }
    kinds
}

#[test]
fn audio_and_video_arrive_as_they_were_sent() {
    let mut world = World::new(1);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let audio = world.produce_audio(alice, 1111);
    let video = world.produce_video(alice, 2222);
    let (audio_out, video_out) = (world.consume(bob, audio), world.consume(bob, video));
    assert_ne!(audio_out.ssrc, video_out.ssrc);
    world.settle();
    let mut sent = Vec::new();
    for n in 0..50u16 {
        let opus = vec![n as u8; 80];
        let frame = vp8_frame(n == 0, n);
        world.send_rtp(alice, &rtp(OPUS, 1111, 100 + n, 960 * u32::from(n), &[], &opus));
        world.send_rtp(alice, &rtp(VP8, 2222, 65_530u16.wrapping_add(n), 3000 * u32::from(n), &[], &frame));
        sent.push((opus, frame));
        world.run(Duration::from_millis(20));
    }
    let received = world.rtp(bob);
    let of = |ssrc: u32| -> Vec<Vec<u8>> {
        received.iter().filter(|p| RtpView::parse(p).is_ok_and(|v| v.ssrc == ssrc)).cloned().collect()
    };
    assert_eq!(payloads(&of(audio_out.ssrc)), sent.iter().map(|s| s.0.clone()).collect::<Vec<_>>());
    let video = of(video_out.ssrc);
    assert_eq!(video.len(), 50);
    // Picture ids may be renumbered, the rest of the frame may not.
    for (got, (_, want)) in payloads(&video).iter().zip(&sent) {
        assert_eq!(got.len(), want.len());
        assert_eq!(got[4..], want[4..]);
    }
    for packets in [of(audio_out.ssrc), video] {
        let sequences: Vec<u16> = packets.iter().map(|p| RtpView::parse(p).expect("RTP").sequence).collect();
        assert!(sequences.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "{sequences:?}");
        let mid = |p: &Vec<u8>| RtpView::parse(p).expect("RTP").extension(MID_ID).map(<[u8]>::to_vec);
        assert!(mid(&packets[0]).is_some(), "the receiver finds its m-line by MID");
    }
}

#[test]
fn every_profile_and_both_roles_carry_media() {
    for profile in SrtpProfile::ALL {
        for role in [DtlsRole::Client, DtlsRole::Server] {
            let mut world = World::new(2);
            let router = world.router();
            let options = PeerOptions { profiles: vec![profile], role, ..PeerOptions::default() };
            let (alice, bob) = (world.join_with(router, options.clone()), world.join_with(router, options));
            let producer = world.produce_audio(alice, 5);
            world.consume(bob, producer);
            for n in 0..5 {
                world.send_rtp(alice, &rtp(OPUS, 5, n, 0, &[], &[n as u8; 20]));
            }
            assert_eq!(world.rtp(bob).len(), 5, "{profile:?} {role:?}");
        }
    }
}

#[test]
fn a_paused_consumer_or_producer_lets_nothing_through_and_resumes_without_a_gap() {
    let mut world = World::new(3);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    let consumer = world.consume(bob, producer);
    let mut sequence = 0;
    let mut send = |world: &mut World, n: usize| {
        for _ in 0..n {
            world.send_rtp(alice, &rtp(OPUS, 5, sequence, u32::from(sequence) * 960, &[], b"x"));
            sequence += 1;
            world.run(Duration::from_millis(20));
        }
    };
    send(&mut world, 5);
    for object in [consumer.id, producer] {
        world.command(Command::Pause { object }).expect("pause");
        world.command(Command::Pause { object }).expect("pausing twice is no error");
        send(&mut world, 5);
        world.command(Command::Resume { object }).expect("resume");
        send(&mut world, 5);
    }
    let sequences: Vec<u16> = world.rtp(bob).iter().map(|p| RtpView::parse(p).expect("RTP").sequence).collect();
    assert_eq!(sequences.len(), 15);
    assert!(sequences.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "{sequences:?}");
    assert_eq!(world.drops(DropReason::ConsumerPaused), 5);
    let told: Vec<_> = world.events.iter().filter(|e| !matches!(e, Event::IceState { .. })).collect();
    assert!(told.contains(&&Event::ProducerPaused { consumer: consumer.id }));
    assert!(told.contains(&&Event::ProducerResumed { consumer: consumer.id }));
}

#[test]
fn h36_nothing_flows_before_connected_and_resumed_or_after_pause_or_close() {
    let mut world = World::new(4);
    let router = world.router();
    let alice = world.join(router);
    let producer = world.produce_audio(alice, 5);
    let bob = world.add(router, PeerOptions::default());
    let consumer = world.try_consume(bob, producer, true).expect("consume before connect");
    let mut sequence = 0;
    let mut send = |world: &mut World| {
        sequence += 1;
        world.send_rtp(alice, &rtp(OPUS, 5, sequence, 0, &[], b"private"));
        world.rtp(bob).len() + world.strays.len()
    };
    assert_eq!(send(&mut world), 0, "not connected");
    world.signal(bob).expect("connect");
    world.start(bob);
    world.run(Duration::from_millis(300));
    assert!(world.members[bob].peer.is_connected());
    assert_eq!(send(&mut world), 0, "connected but paused");
    world.command(Command::Resume { object: consumer.id }).expect("resume");
    assert_eq!(send(&mut world), 1, "connected and resumed");
    world.command(Command::Pause { object: consumer.id }).expect("pause");
    assert_eq!(send(&mut world), 0, "paused");
    world.command(Command::Resume { object: consumer.id }).expect("resume");
    assert_eq!(send(&mut world), 1, "resumed");
    world.close(consumer.id).expect("close");
    assert_eq!(send(&mut world), 0, "closed");
}

#[test]
fn a_consumer_of_video_starts_with_a_key_frame_that_the_publisher_was_asked_for() {
    let mut world = World::new(5);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_video(alice, 2222);
    world.send_rtp(alice, &rtp(VP8, 2222, 1, 3000, &[], &vp8_frame(true, 1)));
    world.run(Duration::from_secs(2));
    world.received(alice);
    let consumer = world.consume(bob, producer);
    world.settle();
    assert!(rtcp_kinds(&world.received(alice)).contains(&"pli 2222".to_owned()));
    world.send_rtp(alice, &rtp(VP8, 2222, 2, 6000, &[], &vp8_frame(false, 2)));
    assert!(world.rtp(bob).is_empty(), "no use without a key frame");
    world.send_rtp(alice, &rtp(VP8, 2222, 3, 9000, &[], &vp8_frame(true, 3)));
    world.send_rtp(alice, &rtp(VP8, 2222, 4, 12_000, &[], &vp8_frame(false, 4)));
    assert_eq!(world.rtp(bob).len(), 2);
    // A PLI of the subscriber goes up to the publisher.
    world.run(Duration::from_secs(2));
    world.received(alice);
    let mut buf = [0; 64];
    let len = Pli { sender_ssrc: 9, media_ssrc: consumer.ssrc }.write(&mut buf).expect("fits");
    world.send_rtcp(bob, &buf[..len]);
    assert!(rtcp_kinds(&world.received(alice)).contains(&"pli 2222".to_owned()));
}

#[test]
fn a_key_frame_is_fetched_while_the_peer_still_connects_and_is_the_first_that_it_gets() {
    let mut world = World::new(14);
    let router = world.router();
    let alice = world.join(router);
    let producer = world.produce_video(alice, 2222);
    world.send_rtp(alice, &rtp(VP8, 2222, 1, 3000, &[], &vp8_frame(true, 1)));
    world.run(Duration::from_secs(2));
    world.send_rtp(alice, &rtp(VP8, 2222, 2, 6000, &[], &vp8_frame(false, 2)));
    world.received(alice);
    let asked = |world: &mut World| {
        world.settle();
        rtcp_kinds(&world.received(alice)).contains(&"pli 2222".to_owned())
    };
    let bob = world.add(router, PeerOptions::default());
    let consumer = world.try_consume(bob, producer, true).expect("consume before connect");
    assert!(!asked(&mut world), "whether it is wanted at all is not known yet");

    world.command(Command::RequestKeyFrame { consumer: consumer.id }).expect("request");
    assert!(asked(&mut world), "what is kept is too old");
    world.send_rtp(alice, &rtp(VP8, 2222, 3, 9000, &[], &vp8_frame(true, 3)));
    world.send_rtp(alice, &rtp(VP8, 2222, 4, 12_000, &[], &vp8_frame(false, 4)));
    world.run(Duration::from_millis(300));
    world.command(Command::RequestKeyFrame { consumer: consumer.id }).expect("request");
    world.run(Duration::from_millis(300));
    assert!(!asked(&mut world), "what is kept will do");

    world.signal(bob).expect("connect");
    world.start(bob);
    world.run(Duration::from_millis(300));
    assert!(world.rtp(bob).is_empty(), "connected but paused");
    world.command(Command::Resume { object: consumer.id }).expect("resume");
    world.settle();
    assert_eq!(world.rtp(bob).len(), 2, "the key frame and what followed it");
    assert!(!asked(&mut world));
    // For one that flows the wish is passed on as ever.
    world.run(Duration::from_secs(1));
    world.command(Command::RequestKeyFrame { consumer: consumer.id }).expect("request");
    assert!(asked(&mut world));
}

#[test]
fn a_lost_packet_is_sent_again_as_rtx() {
    let mut world = World::new(6);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_video(alice, 2222);
    let consumer = world.consume(bob, producer);
    for n in 0..10u16 {
        world.send_rtp(alice, &rtp(VP8, 2222, n, 3000 * u32::from(n), &[], &vp8_frame(n == 0, n)));
        world.run(Duration::from_millis(20));
    }
    let received = world.rtp(bob);
    let lost = RtpView::parse(&received[5]).expect("RTP");
    let mut buf = [0; 64];
    let len = Nack::write(&mut buf, 9, consumer.ssrc, &[lost.sequence]).expect("fits");
    world.send_rtcp(bob, &buf[..len]);
    let again = world.rtp(bob);
    assert_eq!(again.len(), 1, "{:?}", world.shard.drops());
    let view = RtpView::parse(&again[0]).expect("RTP");
    assert_eq!((view.ssrc, view.payload_type), (consumer.rtx_ssrc.expect("RTX"), VP8_RTX));
    assert_eq!(view.payload()[..2], lost.sequence.to_be_bytes(), "original sequence number first (RFC 4588)");
    assert_eq!(view.payload()[2..], *lost.payload());
    assert_eq!(view.timestamp, lost.timestamp);
}

#[test]
fn reports_go_both_ways_and_a_leaving_stream_says_bye() {
    let mut world = World::new(7);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    let consumer = world.consume(bob, producer);
    for n in 0..150u16 {
        world.send_rtp(alice, &rtp(OPUS, 5, n, u32::from(n) * 960, &[], b"x"));
        world.run(Duration::from_millis(20));
    }
    let up = rtcp_kinds(&world.received(alice));
    assert!(up.iter().any(|k| k == "rr 5"), "{up:?}");
    let down = rtcp_kinds(&world.received(bob));
    assert!(down.contains(&format!("sr {}", consumer.ssrc)), "{down:?}");
    assert!(down.contains(&"sdes".to_owned()));
    world.close(consumer.id).expect("close");
    let last = rtcp_kinds(&world.received(bob));
    assert!(
        last.contains(&format!("bye {:?}", [consumer.ssrc])) || last.iter().any(|k| k.starts_with("bye")),
        "{last:?}"
    );
}

#[test]
fn a_stream_without_signalled_ssrc_is_found_by_mid_and_by_mid_with_rid() {
    let mut world = World::new(8);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let mut audio = world.audio_config(alice, 0);
    audio.encodings[0].ssrc = None;
    let mut video = world.video_config(alice, 0);
    video.encodings[0].ssrc = None;
    video.encodings[0].rtx_ssrc = None;
    video.encodings[0].rid = Some(Rid::new(b"q").expect("legal"));
    let (audio, video) = (world.produce(alice, audio), world.produce(alice, video));
    world.consume(bob, audio);
    world.consume(bob, video);
    // The payload type alone is unique for Opus here.
    world.send_rtp(alice, &rtp(OPUS, 7001, 1, 0, &[], b"by payload type"));
    assert_eq!(world.rtp(bob).len(), 1);
    world.send_rtp(alice, &rtp(VP8, 7002, 1, 0, &[(MID_ID, b"2"), (RID_ID, b"q")], &vp8_frame(true, 0)));
    world.send_rtp(alice, &rtp(VP8, 7002, 2, 0, &[], &vp8_frame(false, 1)));
    assert_eq!(world.rtp(bob).len(), 2, "the SSRC was learned");
    world.send_rtp(alice, &rtp(VP8, 7003, 1, 0, &[(MID_ID, b"9"), (RID_ID, b"q")], &vp8_frame(true, 0)));
    assert_eq!(world.drops(DropReason::RtpUnroutable), 1, "unknown MID");
}

#[test]
fn other_encodings_of_a_simulcast_publisher_cost_consumers_nothing() {
    let mut world = World::new(18);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let mut video = world.video_config(alice, 0);
    let rid = |name: &[u8]| EncodingConfig { rid: Rid::new(name).ok(), ..EncodingConfig::default() };
    video.encodings = vec![rid(b"q"), rid(b"f")];
    let video = world.produce(alice, video);
    let consumer = world.consume(bob, video).id;
    let layers = Some(Layers::new(0, 0));
    world.command(Command::SetPreferredLayers { consumer, layers }).expect("layers");
    for n in 0..10u16 {
        for (ssrc, rid) in [(7001, b"q"), (7002, b"f")] {
            world.send_rtp(alice, &rtp(VP8, ssrc, n, 3000, &[(MID_ID, b"1"), (RID_ID, rid)], &vp8_frame(n == 0, n)));
        }
    }
    assert_eq!(world.rtp(bob).len(), 10);
    assert_eq!(world.drops(DropReason::ConsumerCodec), 0, "nobody was offered what nobody takes");
    let streams = world.stats(video).expect("stats").streams;
    assert!(streams.iter().all(|s| s.packets == 10), "both are received and reported on");
}

#[test]
fn row_027_a_new_ssrc_with_the_same_mid_goes_on_as_the_same_stream_and_ssrc_0_works() {
    let mut world = World::new(9);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let mut config = world.audio_config(alice, 0);
    let mid = config.mid.expect("has one");
    config.encodings[0].ssrc = Some(77);
    let producer = world.produce(alice, config);
    world.consume(bob, producer);
    let mut sequences = Vec::new();
    for (ssrc, first) in [(77, 100u16), (0, 60_000), (4_000_000_000, 5)] {
        world.run(Duration::from_secs(5));
        for n in 0..3 {
            let packet = rtp(OPUS, ssrc, first.wrapping_add(n), 0, &[(MID_ID, mid.as_bytes())], b"x");
            world.send_rtp(alice, &packet);
            world.run(Duration::from_millis(20));
        }
        let got = world.rtp(bob);
        assert_eq!(got.len(), 3, "SSRC {ssrc}: {:?}", world.shard.drops());
        sequences.extend(got.iter().map(|p| RtpView::parse(p).expect("RTP").sequence));
    }
    assert!(sequences.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "{sequences:?}");
}

#[test]
fn row_028_payload_types_that_were_not_negotiated_are_dropped() {
    let mut world = World::new(10);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    world.send_rtp(alice, &rtp(OPUS, 5, 1, 0, &[], b"x"));
    for (n, payload_type) in [0u8, 63, 96, VP8, 127].into_iter().enumerate() {
        world.send_rtp(alice, &rtp(payload_type, 5, 2 + n as u16, 0, &[], b"x"));
    }
    assert_eq!(world.rtp(bob).len(), 1);
    assert_eq!(world.drops(DropReason::RtpPayloadType), 5, "{:?}", world.shard.drops());
    // 64 to 95 look like RTCP where both share a port (RFC 5761, section 4).
    let before = world.shard.drops().total();
    world.members[alice].peer.send_rtp(&rtp(OPUS, 5, 100, 0, &[], b"x"));
    let mut datagram = world.members[alice].peer.poll_transmit().expect("queued");
    let from = world.members[alice].peer.addr();
    for payload_type in 64..96 {
        datagram[1] = datagram[1] & 0x80 | payload_type;
        world.inject(alice, from, &datagram);
    }
    assert!(world.rtp(bob).is_empty());
    assert!(world.shard.drops().total() >= before + 32);
    world.send_rtp(alice, &rtp(OPUS, 5, 101, 0, &[], b"x"));
    assert_eq!(world.rtp(bob).len(), 1, "the stream is none the worse");
}

#[test]
fn row_034_packets_too_big_for_the_path_are_dropped_and_counted() {
    let mut world = World::new(11);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    for (n, size) in [1_500usize, 1_590, 2_000, 4_000, 9_000].into_iter().enumerate() {
        world.send_rtp(alice, &rtp(OPUS, 5, n as u16, 0, &[], &vec![0; size]));
    }
    let drops: Vec<_> = world.shard.drops().nonzero().collect();
    // An empty packet may stand in for one that does not fit, so that no gap is seen.
    assert!(world.rtp(bob).iter().all(|p| p.len() < 32));
    assert!(world.drops(DropReason::TooLarge) >= 4, "{drops:?}");
    world.send_rtp(alice, &rtp(OPUS, 5, 9, 0, &[], &[0; 1_100]));
    assert_eq!(world.rtp(bob).len(), 1);
}

/// By the sizes as they are in the outbox, which is what the kernel is told.
#[test]
fn a_padded_frame_is_one_message_under_every_profile_and_arrives_as_it_was_sent() {
    for profile in SrtpProfile::ALL {
        let mut world = World::new(71);
        let router = world.router();
        let alice = world.join(router);
        let video = world.produce_video(alice, 7);
        let bob = world.join_with(router, PeerOptions { profiles: vec![profile], ..PeerOptions::default() });
        let mid = Mid::new(b"v").expect("legal");
        let config = ConsumerConfig { pad_frames: true, ..consumer_config(video, MediaKind::Video, mid, false) };
        let transport = world.members[bob].transport.id;
        world.command(Command::Consume { transport, config: Box::new(config) }).expect("a consumer");
        world.settle();
        world.rtp(bob);
        let mut sent = vec![vp8_frame(true, 1)];
        world.send_rtp(alice, &rtp(VP8, 7, 0, 0, &[], &sent[0]));
        for n in 1..=4u16 {
            // The second half of the packets is a byte longer, as encoders' packetizers have it.
            let mut payload = if n == 1 { vp8_frame(false, 2) } else { vec![0x00, 0x55] };
            payload.resize(1_000 + usize::from(n / 3), n as u8);
            let mut packet = rtp(VP8, 7, n, 3_000, &[], &payload);
            packet[1] &= if n == 4 { 0xff } else { 0x7f };
            world.members[alice].peer.send_rtp(&packet);
            sent.push(payload);
        }
        let (now, socket, from) = (world.now, world.members[alice].socket, world.members[alice].peer.addr());
        while let Some(mut datagram) = world.members[alice].peer.poll_transmit() {
            world.shard.handle_datagram(now, now, socket, from, &mut datagram);
        }
        let lengths: Vec<u16> = world.shard.outbox().transmits().iter().map(|t| t.len).collect();
        assert_eq!(lengths.len(), 4);
        assert!(lengths.iter().all(|len| *len == lengths[0]), "{profile:?}: {lengths:?}");
        world.settle();
        let received = payloads(&world.rtp(bob));
        // The number of the picture may be another.
        for (got, want) in received.iter().zip(&sent) {
            assert_eq!((got.len(), &got[4..]), (want.len(), &want[4..]), "{profile:?}");
        }
        assert_eq!(received.len(), 5);
    }
}

#[test]
fn consumers_do_not_disturb_each_other() {
    let mut world = World::new(13);
    let router = world.router();
    let alice = world.join(router);
    let producer = world.produce_audio(alice, 5);
    let others: Vec<usize> = (0..20).map(|_| world.join(router)).collect();
    let consumers: Vec<_> = others.iter().map(|m| world.consume(*m, producer)).collect();
    world.send_rtp(alice, &rtp(OPUS, 5, 1, 0, &[], b"x"));
    world.command(Command::Pause { object: consumers[3].id }).expect("pause");
    world.close(consumers[4].id).expect("close");
    world.close(world.members[others[5]].transport.id).expect("close");
    world.send_rtp(alice, &rtp(OPUS, 5, 2, 0, &[], b"x"));
    for (n, member) in others.iter().enumerate() {
        let want = if (3..=5).contains(&n) { 1 } else { 2 };
        assert_eq!(world.rtp(*member).len(), want, "consumer {n}");
    }
}

#[test]
fn peers_share_the_port_of_a_server_over_ipv4_and_ipv6() {
    let mut world = World::new(14);
    let router = world.router();
    let bound = world.bind();
    let (now, socket) = (world.now, bound.socket);
    let Ok(Reply::Created(server)) = world.shard.handle_command(now, &[bound], Command::CreateWebRtcServer) else {
        panic!("a server")
    };
    let addrs = ["198.51.100.1:1000", "[2001:db8::1]:1000", "[2001:db8::2]:1000", "198.51.100.1:1001"];
    let members: Vec<usize> = addrs
        .iter()
        .map(|addr| {
            let transport = world.transport_on(router, Listen::Server(server), &[]);
            let member = world.add_peer(transport, socket, addr.parse().expect("an address"), PeerOptions::default());
            world.connect(member)
        })
        .collect();
    let producers: Vec<_> = members.iter().map(|m| world.produce_audio(*m, 5)).collect();
    for (m, member) in members.iter().enumerate() {
        for (_, producer) in producers.iter().enumerate().filter(|(p, _)| *p != m) {
            world.consume(*member, *producer);
        }
    }
    for member in &members {
        world.send_rtp(*member, &rtp(OPUS, 5, 1, 0, &[], b"same SSRC, other transport"));
    }
    assert!(members.iter().all(|m| world.rtp(*m).len() == 3));
    assert!(world.strays.is_empty());
}

#[test]
fn an_ipv4_peer_on_a_dual_stack_socket_is_one_peer_in_both_spellings() {
    let mut world = World::new(15);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    world.members[alice].peer.send_rtp(&rtp(OPUS, 5, 1, 0, &[], b"x"));
    let datagram = world.members[alice].peer.poll_transmit().expect("queued");
    let own = world.members[alice].peer.addr();
    let IpAddr::V4(v4) = own.ip() else { panic!("IPv4") };
    world.inject(alice, SocketAddr::new(v4.to_ipv6_mapped().into(), own.port()), &datagram);
    assert_eq!(world.rtp(bob).len(), 1);
}

#[test]
fn a_peer_that_comes_back_after_losing_consent_gets_video_from_a_key_frame_on() {
    let mut world = World::new(16);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_video(alice, 7);
    world.consume(bob, producer);
    let mut sequence = 0u16;
    let mut send = |world: &mut World, key: bool| {
        world.send_rtp(alice, &rtp(VP8, 7, sequence, 3_000 * u32::from(sequence), &[], &vp8_frame(key, sequence)));
        sequence += 1;
        world.rtp(bob).len()
    };
    assert_eq!(send(&mut world, true), 1);
    world.members[bob].peer.stop_checks();
    world.run(Duration::from_secs(31));
    assert_eq!(send(&mut world, false), 0);
    let transport = world.members[bob].transport.id;
    let Ok(Reply::IceParameters(ice)) = world.command(Command::RestartIce { transport }) else { panic!("restart") };
    let now = world.now;
    world.received(alice);
    world.members[bob].peer.set_remote_ice(now, ice);
    world.run(Duration::from_millis(100));
    assert!(rtcp_kinds(&world.received(alice)).contains(&"pli 7".to_owned()));
    assert_eq!(send(&mut world, false), 0);
    assert_eq!(send(&mut world, true), 1);
    assert_eq!(send(&mut world, false), 1);
}

#[test]
fn a_transport_wide_number_is_spent_only_on_a_packet_that_carries_it() {
    const NUMBER_ID: u8 = 5;
    let mut world = World::new(45);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    let mut config = consumer_config(producer, MediaKind::Audio, Mid::new(b"0").expect("a MID"), false);
    config.extensions.set(ExtensionKind::TransportCc, NUMBER_ID);
    let transport = world.members[bob].transport.id;
    world.command(Command::Consume { transport, config: Box::new(config) }).expect("consume");
    let small = [7; 50];
    // Room for the MID, and none for the number; no room at all; and, late, nothing but padding.
    let (tight, huge) = ([7; 1_432 - 16 - 12 - 8], [7; 1_432]);
    for (sequence, payload) in [(1, &small[..]), (2, &tight), (3, &small), (4, &huge), (6, &small)] {
        world.send_rtp(alice, &rtp(OPUS, 5, sequence, 960 * u32::from(sequence), &[], payload));
    }
    let mut padding = rtp(OPUS, 5, 5, 960 * 5, &[], &[1]);
    padding[0] |= 0x20;
    world.send_rtp(alice, &padding);
    world.send_rtp(alice, &rtp(OPUS, 5, 7, 960 * 7, &[], &small));
    let packets = world.rtp(bob);
    let numbers: Vec<Option<u16>> = packets
        .iter()
        .map(|p| RtpView::parse(p).expect("RTP").extension(NUMBER_ID).map(|v| u16::from_be_bytes([v[0], v[1]])))
        .collect();
    assert_eq!(numbers, [Some(0), None, Some(1), Some(2), None, Some(3)], "{:?}", world.shard.drops());
}
