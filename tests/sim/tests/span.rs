//! A room on several shards: what crosses, what comes back, what is repaired where, and in which order it closes.

use std::time::Duration;

use sfu_core::command::{CloseReason, Command, Event, Reply};
use sfu_core::config::{ConsumerConfig, EncodingConfig, ProducerConfig, StreamType};
use sfu_core::limits::Limits;
use sfu_core::observer::ObserverOptions;
use sfu_core::peer::PeerMessage;
use sfu_core::stats::Dump;
use sfu_core::testing::world::{OPUS, VP8, VP8_RTX, consumer_config, opus, producer_config, rtp, vp8, vp8_frame};
use sfu_sim::span::Cluster;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Nack, Packets, Pli, ReceiverReport, RtcpPacket, SenderReport};
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::Layers;
use sfu_wire::time::NtpTime;

const AUDIO_SSRC: u32 = 1_111;
const VIDEO_SSRC: u32 = 2_222;
const LEVEL_ID: u8 = 5;

fn cluster(shards: u8) -> Cluster {
    Cluster::new(7, shards, 64, Limits::default())
}

fn mid(n: u8) -> Mid {
    Mid::new(&[b'a' + n % 26, b'a' + n / 26]).expect("legal")
}

fn audio(n: u8) -> ProducerConfig {
    let mut config = producer_config(MediaKind::Audio, mid(n), vec![opus()], Some(AUDIO_SSRC + u32::from(n)), None);
    config.extensions.set(ExtensionKind::AudioLevel, LEVEL_ID);
    config
}

fn video() -> ProducerConfig {
    producer_config(MediaKind::Video, mid(20), vec![vp8()], Some(VIDEO_SSRC), Some(VIDEO_SSRC + 1))
}

/// Three encodings.
fn simulcast() -> ProducerConfig {
    let mut config = video();
    let encoding = |n: u32| EncodingConfig {
        ssrc: Some(VIDEO_SSRC + 10 * n),
        rtx_ssrc: Some(VIDEO_SSRC + 10 * n + 1),
        ..EncodingConfig::default()
    };
    config.encodings = (0..3).map(encoding).collect();
    config.stream_type = StreamType::Simulcast;
    config
}

fn viewer(producer: ObjectId, kind: MediaKind, n: u8) -> ConsumerConfig {
    let mut config = consumer_config(producer, kind, mid(n), false);
    config.extensions.set(ExtensionKind::AudioLevel, LEVEL_ID);
    config
}

fn voice(ssrc: u32, n: u16) -> Vec<u8> {
    rtp(OPUS, ssrc, n, 960 * u32::from(n), &[(LEVEL_ID, &[0x80 | 20])], &n.to_be_bytes())
}

fn frame(ssrc: u32, n: u16, key: bool) -> Vec<u8> {
    rtp(VP8, ssrc, n, 3_000 * u32::from(n), &[], &vp8_frame(key, n))
}

/// A frame as it comes again (RFC 4588).
fn frame_again(ssrc: u32, n: u16, key: bool, rtx_sequence: u16) -> Vec<u8> {
    let mut payload = n.to_be_bytes().to_vec();
    payload.extend(vp8_frame(key, n));
    rtp(VP8_RTX, ssrc + 1, rtx_sequence, 3_000 * u32::from(n), &[], &payload)
}

fn compound(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut len = ReceiverReport { ssrc: 9 }.write(&mut bytes, &[]).expect("room");
    len += write(&mut bytes[len..]);
    bytes.truncate(len);
    bytes
}

fn pli(ssrc: u32) -> Vec<u8> {
    compound(|room| Pli { sender_ssrc: 9, media_ssrc: ssrc }.write(room).expect("room"))
}

fn nack(ssrc: u32, sequences: &[u16]) -> Vec<u8> {
    compound(|room| Nack::write(room, 9, ssrc, sequences).expect("room"))
}

/// Key frames that a publisher was asked for since the last call, by SSRC.
fn asked(cluster: &mut Cluster, transport: ObjectId) -> Vec<u32> {
    let mut all = Vec::new();
    for compound in cluster.rtp(transport) {
        for packet in Packets::new(&compound, true).expect("sound") {
            if let Ok(RtcpPacket::Pli(pli)) = packet {
                all.push(pli.media_ssrc);
            }
        }
    }
    all
}

fn closings(cluster: &mut Cluster) -> Vec<(ObjectId, CloseReason)> {
    let closed = |event| match event {
        Event::Closed { object, reason } => Some((object, reason)),
        _ => None,
    };
    std::mem::take(&mut cluster.events).into_iter().filter_map(closed).collect()
}

/// A publisher of one video on shard 0 and a viewer of it on shard 1; what led to it is forgotten.
struct Pair {
    cluster: Cluster,
    router: ObjectId,
    from: ObjectId,
    to: ObjectId,
    producer: ObjectId,
    consumer: ObjectId,
    ssrc: u32,
}

fn pair() -> Pair {
    pair_with(cluster(2))
}

fn pair_with(mut cluster: Cluster) -> Pair {
    let router = cluster.router(0);
    let (from, to) = (cluster.transport(0, router), cluster.transport(1, router));
    let producer = cluster.produce(from, video());
    let created = cluster.consume(to, viewer(producer, MediaKind::Video, 0));
    cluster.settle();
    assert_eq!(asked(&mut cluster, from), [VIDEO_SSRC], "one for the viewer to begin with");
    cluster.messages.clear();
    Pair { cluster, router, from, to, producer, consumer: created.id, ssrc: created.ssrc }
}

impl Pair {
    fn frames(&mut self, numbers: std::ops::Range<u16>) {
        for n in numbers {
            self.cluster.send(self.from, &frame(VIDEO_SSRC, n, n == 0));
            self.cluster.run(Duration::from_millis(33));
        }
    }
}

#[test]
fn audio_crosses_once_for_each_shard_and_reaches_all_who_listen() {
    let mut cluster = cluster(3);
    let router = cluster.router(1);
    let from = cluster.transport(1, router);
    let producer = cluster.produce(from, audio(0));
    let mut consumers = Vec::new();
    for shard in [0, 0, 0, 1, 1, 2] {
        let to = cluster.transport(shard, router);
        consumers.push(cluster.consume(to, viewer(producer, MediaKind::Audio, 0)).id);
    }
    cluster.settle();
    for n in 0..50 {
        cluster.send(from, &voice(AUDIO_SSRC, n));
        cluster.run(Duration::from_millis(20));
    }
    for consumer in consumers {
        let got = cluster.rtp(consumer);
        let payloads: Vec<u16> = got
            .iter()
            .map(|packet| {
                RtpView::parse(packet).expect("RTP").payload().try_into().map(u16::from_be_bytes).expect("two")
            })
            .collect();
        assert_eq!(payloads, (0..50).collect::<Vec<u16>>());
    }
    assert_eq!(cluster.crossed, 100, "to two shards");
    cluster.check_span();
}

#[test]
fn a_room_of_one_shard_has_nothing_to_say_to_others() {
    let mut cluster = cluster(2);
    let router = cluster.router(0);
    let (from, to) = (cluster.transport(0, router), cluster.transport(0, router));
    let producer = cluster.produce(from, video());
    cluster.consume(to, viewer(producer, MediaKind::Video, 0));
    for n in 0..30 {
        cluster.give(from, &frame(VIDEO_SSRC, n, n == 0));
        assert!(!cluster.shards[0].has_peer_output());
        cluster.run(Duration::from_millis(33));
    }
    assert!(cluster.messages.is_empty() && cluster.crossed == 0);
}

#[test]
fn only_the_encodings_that_somebody_there_wants_cross() {
    let mut cluster = cluster(2);
    let router = cluster.router(0);
    let (from, to) = (cluster.transport(0, router), cluster.transport(1, router));
    let producer = cluster.produce(from, simulcast());
    let mut config = viewer(producer, MediaKind::Video, 0);
    config.stream_type = StreamType::Simulcast;
    config.preferred_layers = Some(Layers::new(0, 0));
    let mut n = 0;
    let mut send = |cluster: &mut Cluster, count: u16, keys: &[u32]| {
        for i in 0..count {
            for encoding in 0..3 {
                let ssrc = VIDEO_SSRC + 10 * encoding;
                cluster.send(from, &frame(ssrc, n, i == 0 && keys.contains(&encoding)));
            }
            n += 1;
            cluster.run(Duration::from_millis(33));
        }
    };
    send(&mut cluster, 5, &[0, 1, 2]);
    let viewer = cluster.consume(to, config).id;
    cluster.settle();
    asked(&mut cluster, from);
    send(&mut cluster, 30, &[0]);
    cluster.crossed = 0;
    assert!(!cluster.rtp(viewer).is_empty());
    send(&mut cluster, 30, &[]);
    assert_eq!((cluster.crossed, cluster.rtp(viewer).len()), (30, 30), "the lowest alone");

    // A higher one: both until its key frame is there, then it alone.
    let layers = Some(Layers::new(2, 0));
    cluster.command(Command::SetPreferredLayers { consumer: viewer, layers }).expect("sets");
    cluster.settle();
    assert_eq!(asked(&mut cluster, from), [VIDEO_SSRC + 20]);
    send(&mut cluster, 1, &[2]);
    cluster.crossed = 0;
    cluster.rtp(viewer);
    send(&mut cluster, 30, &[]);
    assert_eq!((cluster.crossed, cluster.rtp(viewer).len()), (30, 30), "the highest alone");
    let told = cluster.events.iter().rev().find_map(|event| match event {
        Event::WantedLayers { producer: id, wanted } if *id == producer => Some(*wanted),
        _ => None,
    });
    assert_eq!(told, Some(layers), "the publisher's controller hears what is wanted elsewhere");

    // Nobody looks: nothing crosses.
    cluster.command(Command::Pause { object: viewer }).expect("pauses");
    cluster.settle();
    cluster.crossed = 0;
    send(&mut cluster, 10, &[]);
    assert_eq!(cluster.crossed, 0);
    cluster.check_span();
}

#[test]
fn a_viewer_on_another_shard_begins_with_the_key_frame_that_is_kept() {
    let mut cluster = cluster(2);
    let router = cluster.router(0);
    let (from, to) = (cluster.transport(0, router), cluster.transport(1, router));
    let producer = cluster.produce(from, video());
    for n in 0..10 {
        cluster.send(from, &frame(VIDEO_SSRC, n, n == 0));
        cluster.run(Duration::from_millis(33));
    }
    let viewer = cluster.consume(to, viewer(producer, MediaKind::Video, 0)).id;
    cluster.run(Duration::from_millis(20));
    assert_eq!(cluster.rtp(viewer).len(), 10);
    assert!(asked(&mut cluster, from).is_empty(), "the publisher was asked for nothing");
}

#[test]
fn a_viewers_loss_is_repaired_on_its_own_shard() {
    let mut p = pair();
    p.frames(0..30);
    let got = p.cluster.rtp(p.consumer);
    assert_eq!(got.len(), 30);
    let lost: Vec<u16> = got[10..13].iter().map(|packet| RtpView::parse(packet).expect("RTP").sequence).collect();
    p.cluster.messages.clear();
    p.cluster.crossed = 0;
    p.cluster.send(p.to, &nack(p.ssrc, &lost));
    let again = p.cluster.rtp(p.consumer);
    let numbers = again.iter().map(|packet| RtpView::parse(packet).expect("RTP").payload()[..2].to_vec());
    let numbers: Vec<u16> = numbers.map(|n| u16::from_be_bytes([n[0], n[1]])).collect();
    assert_eq!(numbers, lost);
    assert!(p.cluster.messages.is_empty() && p.cluster.crossed == 0, "the other shard heard nothing of it");
}

#[test]
fn what_comes_to_a_publisher_s_shard_by_rtx_crosses_as_what_was_lost() {
    let mut p = pair();
    p.frames(0..10);
    for n in [11, 12] {
        p.cluster.send(p.from, &frame(VIDEO_SSRC, n, false));
    }
    p.cluster.send(p.from, &frame_again(VIDEO_SSRC, 10, false, 1));
    p.frames(13..20);
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    let mut sequences: Vec<u16> = Vec::new();
    for packet in p.cluster.rtp(p.consumer) {
        let view = RtpView::parse(&packet).expect("RTP");
        sequences.push(view.sequence);
        payloads.push(view.payload().to_vec());
    }
    let first = sequences[0];
    let order: Vec<u16> = sequences.iter().map(|s| s.wrapping_sub(first)).collect();
    let expected: Vec<u16> = (0..10).chain([11, 12, 10]).chain(13..20).collect();
    assert_eq!(order, expected);
    assert!(payloads.iter().all(|payload| payload.ends_with(&[0xab; 40])));
}

#[test]
fn a_blocked_way_sheds_video_first_and_what_is_missing_then_is_sent_again() {
    let limits = Limits { peer_packets: 20, ..Limits::default() };
    let mut p = pair_with(Cluster::new(3, 2, 4, limits));
    let sound = p.cluster.produce(p.from, audio(1));
    let listener = p.cluster.consume(p.to, viewer(sound, MediaKind::Audio, 1)).id;
    p.frames(0..5);
    p.cluster.rtp(p.consumer);
    p.cluster.block(0, 1, true);
    for n in 0..16 {
        p.cluster.send(p.from, &frame(VIDEO_SSRC, 5 + n, false));
        p.cluster.send(p.from, &voice(AUDIO_SSRC + 1, n));
        p.cluster.now += Duration::from_millis(2);
    }
    p.cluster.block(0, 1, false);
    p.cluster.settle();
    assert_eq!(p.cluster.rtp(listener).len(), 16, "audio is whole");
    let shard_stats = |cluster: &mut Cluster| match cluster.command_on(0, Command::ShardStats) {
        Ok(Reply::Stats(stats)) => {
            stats.counters.iter().find(|(name, _)| *name == "peer_packets_shed").map(|(_, n)| *n)
        }
        other => panic!("no stats: {other:?}"),
    };
    assert_eq!(shard_stats(&mut p.cluster), Some(8), "32 packets, and room for 24");
    p.cluster.run(Duration::from_millis(500));
    assert_eq!(p.cluster.rtp(p.consumer).len(), 16, "sent again by the publisher's shard");
    assert!(p.cluster.messages.iter().any(|m| matches!(m, PeerMessage::Nack { .. })));
    assert!(asked(&mut p.cluster, p.from).is_empty(), "no key frame was needed");
}

#[test]
fn key_frame_requests_of_many_viewers_reach_the_publisher_as_one() {
    let mut p = pair();
    let mut viewers = vec![(p.to, p.ssrc)];
    for _ in 0..9 {
        let to = p.cluster.transport(1, p.router);
        viewers.push((to, p.cluster.consume(to, viewer(p.producer, MediaKind::Video, 0)).ssrc));
    }
    p.frames(0..60);
    asked(&mut p.cluster, p.from);
    for (to, ssrc) in viewers {
        p.cluster.send(to, &pli(ssrc));
    }
    p.cluster.run(Duration::from_millis(50));
    assert_eq!(asked(&mut p.cluster, p.from), [VIDEO_SSRC]);
}

#[test]
fn sender_reports_cross_so_that_viewers_get_the_publishers_clock() {
    let mut p = pair();
    p.frames(0..5);
    let ntp = NtpTime::from_unix_nanos(1_600_000_000_000_000_000);
    let report = SenderReport { ssrc: VIDEO_SSRC, ntp, rtp_timestamp: 15_000, packet_count: 5, octet_count: 500 };
    let mut bytes = vec![0; 64];
    let len = report.write(&mut bytes, &[]).expect("room");
    p.cluster.send(p.from, &bytes[..len]);
    let reports =
        |cluster: &Cluster| cluster.messages.iter().filter(|m| matches!(m, PeerMessage::Report { .. })).count();
    assert_eq!(reports(&p.cluster), 1);
    // Whoever comes later hears it too, once packets go there.
    p.cluster.messages.clear();
    p.cluster.command(Command::Pause { object: p.consumer }).expect("pauses");
    p.cluster.settle();
    p.cluster.command(Command::Resume { object: p.consumer }).expect("resumes");
    p.frames(5..8);
    assert_eq!(reports(&p.cluster), 1);
}

#[test]
fn a_pause_of_the_producer_is_told_where_it_is_consumed() {
    let mut p = pair();
    p.frames(0..5);
    p.cluster.command(Command::Pause { object: p.producer }).expect("pauses");
    p.cluster.settle();
    assert!(p.cluster.events.contains(&Event::ProducerPaused { consumer: p.consumer }));
    p.cluster.rtp(p.consumer);
    p.frames(5..10);
    assert!(p.cluster.rtp(p.consumer).is_empty());
    // Longer than what is kept would help.
    p.cluster.run(Duration::from_secs(2));
    asked(&mut p.cluster, p.from);
    p.cluster.command(Command::Resume { object: p.producer }).expect("resumes");
    p.cluster.settle();
    assert!(p.cluster.events.contains(&Event::ProducerResumed { consumer: p.consumer }));
    assert_eq!(asked(&mut p.cluster, p.from), [VIDEO_SSRC]);
    p.cluster.send(p.from, &frame(VIDEO_SSRC, 10, true));
    assert_eq!(p.cluster.rtp(p.consumer).len(), 1);
}

#[test]
fn a_consumer_goes_over_to_a_producer_of_another_shard_and_back() {
    let mut p = pair();
    let near = p.cluster.produce(p.to, ProducerConfig { mid: Some(mid(3)), ..video() });
    p.frames(0..5);
    for (producer, from) in [(near, p.to), (p.producer, p.from)] {
        let switch = |p: &mut Pair| p.cluster.switch(p.consumer, viewer(producer, MediaKind::Video, 0));
        assert!(switch(&mut p).is_ok() && switch(&mut p).is_ok(), "and again while it is waited for");
        p.cluster.settle();
        p.cluster.rtp(p.consumer);
        p.cluster.run(Duration::from_secs(2));
        assert_eq!(asked(&mut p.cluster, from).first(), Some(&VIDEO_SSRC));
        p.cluster.send(from, &frame(VIDEO_SSRC, 100, true));
        p.cluster.send(from, &frame(VIDEO_SSRC, 101, false));
        assert_eq!(p.cluster.rtp(p.consumer).len(), 2);
        let Some(Dump::Consumer(dump)) = p.cluster.dump(p.consumer) else { panic!("it lives") };
        assert_eq!(dump.producer, producer, "by the id that the caller knows");
        p.cluster.check_span();
        assert_eq!(p.cluster.shards[1].span_view().mirrors.len(), usize::from(producer == p.producer));
    }
}

#[test]
fn an_observer_hears_producers_of_other_shards_and_names_them_as_the_caller_does() {
    let mut cluster = cluster(2);
    let router = cluster.router(0);
    let from = cluster.transport(1, router);
    let producer = cluster.produce(from, audio(0));
    let observer = match cluster.command(Command::CreateObserver { router, options: ObserverOptions::AUDIO_LEVEL }) {
        Ok(Reply::Created(id)) => id,
        other => panic!("no observer: {other:?}"),
    };
    cluster.observe(observer, producer).expect("observes");
    cluster.settle();
    for n in 0..100 {
        cluster.send(from, &voice(AUDIO_SSRC, n));
        cluster.run(Duration::from_millis(20));
    }
    let heard = cluster
        .events
        .iter()
        .any(|event| matches!(event, Event::Volumes { volumes, .. } if volumes.iter().any(|v| v.source == producer)));
    assert!(heard);
    let Some(Dump::Observer(dump)) = cluster.dump(observer) else { panic!("it lives") };
    assert_eq!(dump.producers, [producer]);
    cluster.command(Command::Unobserve { observer, producer }).expect("stops");
    cluster.settle();
    assert!(cluster.shards[0].span_view().mirrors.is_empty() && cluster.shards[1].span_view().links.is_empty());
}

#[test]
fn closing_tells_each_object_once_and_leaves_nothing_anywhere() {
    // A producer takes its consumers along.
    let mut p = pair();
    p.frames(0..5);
    p.cluster.command(Command::Close { object: p.producer }).expect("closes");
    p.cluster.settle();
    assert_eq!(closings(&mut p.cluster), [(p.consumer, CloseReason::ProducerClosed)]);
    p.cluster.check_span();

    // A transport its producers, and they their consumers.
    let mut p = pair();
    p.cluster.command(Command::Close { object: p.from }).expect("closes");
    p.cluster.settle();
    let told = [(p.producer, CloseReason::TransportClosed), (p.consumer, CloseReason::ProducerClosed)];
    assert_eq!(closings(&mut p.cluster), told);

    // The last transport of a branch the branch, and a consumer the mirror.
    let mut p = pair();
    p.cluster.command(Command::Close { object: p.to }).expect("closes");
    p.cluster.settle();
    assert_eq!(closings(&mut p.cluster), [(p.consumer, CloseReason::TransportClosed)]);
    assert_eq!(p.cluster.shards[1].object_counts(), [0; 4]);
    p.cluster.check_span();

    // A router everything, wherever it is.
    let mut p = pair();
    p.frames(0..5);
    p.cluster.command(Command::Close { object: p.router }).expect("closes");
    p.cluster.settle();
    let mut told = closings(&mut p.cluster);
    told.sort_unstable_by_key(|(object, _)| *object);
    let mut expected = vec![
        (p.from, CloseReason::RouterClosed),
        (p.producer, CloseReason::TransportClosed),
        (p.to, CloseReason::RouterClosed),
        (p.consumer, CloseReason::ProducerClosed),
    ];
    expected.sort_unstable_by_key(|(object, _)| *object);
    assert_eq!(told, expected);
    p.cluster.check_empty();
}

#[test]
fn what_passes_each_other_on_the_way_agrees_in_the_end() {
    // The producer closes before the other shard's wish for it arrives.
    let mut cluster = cluster(2);
    let router = cluster.router(0);
    let (from, to) = (cluster.transport(0, router), cluster.transport(1, router));
    let producer = cluster.produce(from, audio(0));
    let consumer = cluster.consume(to, viewer(producer, MediaKind::Audio, 0)).id;
    cluster.command(Command::Close { object: producer }).expect("closes");
    cluster.settle();
    assert_eq!(closings(&mut cluster), [(consumer, CloseReason::ProducerClosed)]);

    // The router closes before its branch is known.
    let router = cluster.router(0);
    let to = cluster.transport(1, router);
    cluster.command(Command::Close { object: router }).expect("closes");
    cluster.settle();
    assert_eq!(closings(&mut cluster), [(to, CloseReason::RouterClosed)]);
    cluster.check_span();
}

#[test]
fn b10_a_bug_in_a_branch_closes_the_whole_room_and_no_other() {
    let mut p = pair();
    let other = p.cluster.router(0);
    let (near, far) = (p.cluster.transport(0, other), p.cluster.transport(1, other));
    p.frames(0..5);
    let branch = p.cluster.shards[1].span_view().branches.iter().find(|(home, _)| *home == p.router).expect("one").1;
    p.cluster.shards[1].planted = Some(branch);
    p.frames(5..6);
    let failed: Vec<ObjectId> = p
        .cluster
        .events
        .iter()
        .filter_map(|event| if let Event::RouterFailed { router, .. } = event { Some(*router) } else { None })
        .collect();
    assert_eq!(failed, [p.router], "told once, by the id that the caller knows");
    let mut gone: Vec<ObjectId> = closings(&mut p.cluster).into_iter().map(|(object, _)| object).collect();
    gone.sort_unstable();
    let mut expected = vec![p.from, p.producer, p.to, p.consumer];
    expected.sort_unstable();
    assert_eq!(gone, expected);
    assert!(p.cluster.dump(other).is_some() && p.cluster.dump(near).is_some() && p.cluster.dump(far).is_some());
    p.cluster.check_span();
}

#[test]
fn b10_when_a_shard_is_made_anew_the_parts_there_are_gone_and_the_rest_lives() {
    // The branch's shard.
    let mut p = pair();
    let stays = p.cluster.transport(0, p.router);
    let seen = p.cluster.consume(stays, viewer(p.producer, MediaKind::Video, 0)).id;
    p.frames(0..5);
    p.cluster.restart(1);
    p.cluster.settle();
    p.cluster.check_span();
    p.cluster.rtp(seen);
    p.frames(5..10);
    assert_eq!(p.cluster.rtp(seen).len(), 5);
    assert!(closings(&mut p.cluster).is_empty());
    let again = p.cluster.transport(1, p.router);
    let consumer = p.cluster.consume(again, viewer(p.producer, MediaKind::Video, 0)).id;
    p.cluster.settle();
    p.cluster.send(p.from, &frame(VIDEO_SSRC, 10, true));
    assert!(!p.cluster.rtp(consumer).is_empty());

    // The home's shard.
    p.cluster.restart(0);
    p.cluster.settle();
    let told = [(consumer, CloseReason::TransportClosed), (again, CloseReason::ShardFailed)];
    assert_eq!(closings(&mut p.cluster), told);
    p.cluster.check_empty();
}

#[test]
fn a_pipe_consumer_gets_every_encoding_of_a_producer_of_another_shard() {
    let mut cluster = cluster(2);
    let router = cluster.router(0);
    let (from, to) = (cluster.transport(0, router), cluster.transport(1, router));
    let producer = cluster.produce(from, simulcast());
    let mut config = viewer(producer, MediaKind::Video, 0);
    config.stream_type = StreamType::Pipe;
    let created = cluster.consume(to, config);
    cluster.settle();
    let streams: Vec<u32> = created.streams.iter().map(|stream| stream.ssrc).collect();
    assert_eq!(streams.len(), 3);
    let mut keys = asked(&mut cluster, from);
    keys.sort_unstable();
    assert_eq!(keys, [VIDEO_SSRC, VIDEO_SSRC + 10, VIDEO_SSRC + 20], "one to begin each stream with");
    cluster.crossed = 0;
    for n in 0..30 {
        for encoding in 0..3 {
            cluster.send(from, &frame(VIDEO_SSRC + 10 * encoding, n, n == 0));
        }
        cluster.run(Duration::from_millis(33));
    }
    assert_eq!(cluster.crossed, 3 * 30, "each packet once");
    // A direct transport tells each stream by its own place.
    let sent = std::mem::take(&mut cluster.media).into_iter().filter(|(source, _)| *source != to);
    let sent: Vec<u32> = sent.filter_map(|(_, p)| RtpView::parse(&p).ok().map(|view| view.ssrc)).collect();
    for stream in streams {
        assert_eq!(sent.iter().filter(|ssrc| **ssrc == stream).count(), 30);
    }
    cluster.check_span();
    match cluster.dump(created.id) {
        Some(Dump::Consumer(dump)) => assert_eq!(dump.producer, producer, "as the caller knows it"),
        other => panic!("no consumer: {other:?}"),
    }
    cluster.command(Command::Close { object: created.id }).expect("it is there");
    cluster.settle();
    assert_eq!(cluster.shards[1].span_view().mirrors, [], "nobody needs it any more");
    cluster.check_span();
}
