//! Observers, traces and decision logs in virtual time: what they tell, when they are silent, and that they go with
//! what they watch.

use std::time::Duration;

use sfu_core::command::{CloseReason, Command, ErrorCode, Event, Reply};
use sfu_core::decision::{Decision, What};
use sfu_core::limits::Limits;
use sfu_core::observer::ObserverOptions;
use sfu_core::stats::Dump;
use sfu_core::testing::world::{OPUS, VP8, World, rtp, vp8_frame};
use sfu_core::trace::{Direction, Trace, TraceMask, Traced};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::{Nack, Pli, ReceiverReport, Sdes, SenderReport};
use sfu_wire::time::NtpTime;

const LEVEL_ID: u8 = 5;

fn audio(world: &mut World, member: usize, ssrc: u32) -> ObjectId {
    let mut config = world.audio_config(member, ssrc);
    config.extensions.set(ExtensionKind::AudioLevel, LEVEL_ID);
    world.produce(member, config)
}

/// A second of audio packets at a level for each member that has one.
fn talk(world: &mut World, voices: &[(usize, u32, u8)], seconds: u64, sequence: &mut u16) {
    for _ in 0..seconds * 50 {
        for (member, ssrc, level) in voices {
            let timestamp = u32::from(*sequence).wrapping_mul(960);
            let packet = rtp(OPUS, *ssrc, *sequence, timestamp, &[(LEVEL_ID, &[*level])], &[1; 40]);
            world.send_rtp(*member, &packet);
        }
        *sequence = sequence.wrapping_add(1);
        world.run(Duration::from_millis(20));
    }
}

fn observer(world: &mut World, router: ObjectId, options: ObserverOptions) -> ObjectId {
    world.create(Command::CreateObserver { router, options })
}

fn observe(world: &mut World, observer: ObjectId, producer: ObjectId) {
    assert_eq!(world.command(Command::Observe { observer, producer }), Ok(Reply::Done));
}

fn volumes(world: &mut World) -> Vec<Option<(ObjectId, i8)>> {
    let told = std::mem::take(&mut world.events).into_iter().filter_map(|event| match event {
        Event::Volumes { volumes, .. } => Some(volumes.first().map(|v| (v.source, v.dbov))),
        Event::Silence { .. } => Some(None),
        _ => None,
    });
    told.collect()
}

#[test]
fn the_loudest_is_told_each_window_and_silence_once() {
    let mut world = World::new(70);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let (loud, quiet) = (audio(&mut world, alice, 5), audio(&mut world, bob, 6));
    let interval = Duration::from_millis(800);
    let options = ObserverOptions::AudioLevel { max_entries: 1, threshold: -80, interval };
    let watcher = observer(&mut world, router, options);
    observe(&mut world, watcher, loud);
    observe(&mut world, watcher, quiet);
    let mut sequence = 0;
    talk(&mut world, &[(alice, 5, 30), (bob, 6, 50)], 4, &mut sequence);
    let told = volumes(&mut world);
    assert!((4..=5).contains(&told.len()), "{told:?}");
    assert!(told.iter().all(|one| *one == Some((loud, -30))), "{told:?}");
    world.run(Duration::from_secs(5));
    let told = volumes(&mut world);
    assert_eq!(told.last(), Some(&None));
    assert_eq!(told.iter().filter(|one| one.is_none()).count(), 1);
    // Paused, it hears nothing and says nothing.
    world.command(Command::Pause { object: watcher }).expect("it can be paused");
    talk(&mut world, &[(alice, 5, 30)], 2, &mut sequence);
    assert_eq!(volumes(&mut world), []);
    world.command(Command::Resume { object: watcher }).expect("it can be resumed");
    talk(&mut world, &[(alice, 5, 30)], 2, &mut sequence);
    assert!(volumes(&mut world).contains(&Some((loud, -30))));
    // A paused producer is not heard, and a closed one is forgotten.
    world.command(Command::Pause { object: loud }).expect("it can be paused");
    talk(&mut world, &[(alice, 5, 30)], 2, &mut sequence);
    assert_eq!(volumes(&mut world).last(), Some(&None));
    world.close(loud).expect("it can be closed");
    let Some(Dump::Observer(dump)) = world.dump(watcher) else { panic!("no observer") };
    assert_eq!((dump.producers, dump.paused), (vec![quiet], false));
}

#[test]
fn the_dominant_speaker_follows_who_speaks() {
    let mut world = World::new(71);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let (first, second) = (audio(&mut world, alice, 5), audio(&mut world, bob, 6));
    let watcher = observer(&mut world, router, ObserverOptions::ACTIVE_SPEAKER);
    observe(&mut world, watcher, first);
    observe(&mut world, watcher, second);
    let mut sequence = 0;
    talk(&mut world, &[(alice, 5, 30), (bob, 6, 90)], 2, &mut sequence);
    talk(&mut world, &[(alice, 5, 90), (bob, 6, 30)], 3, &mut sequence);
    let told: Vec<_> = world.events.iter().filter(|e| matches!(e, Event::DominantSpeaker { .. })).cloned().collect();
    let dominant = |producer| Event::DominantSpeaker { observer: watcher, producer };
    assert_eq!(told, [dominant(first), dominant(second)]);
    assert!(matches!(world.dump(watcher), Some(Dump::Observer(dump)) if dump.dominant == Some(second)));
    assert!(matches!(world.dump(router), Some(Dump::Router(dump))
        if dump.observers == [watcher] && dump.observers_of.len() == 2));
    world.events.clear();
    world.close(router).expect("it can be closed");
    let closed = Event::Closed { object: watcher, reason: CloseReason::RouterClosed };
    assert!(world.events.contains(&closed));
    assert!(world.dump(watcher).is_none());
}

#[test]
fn an_observer_without_producers_never_wakes_the_shard() {
    let mut world = World::new(72);
    let router = world.router();
    let watcher = observer(&mut world, router, ObserverOptions::AUDIO_LEVEL);
    world.run(Duration::from_secs(1));
    assert_eq!(world.shard.next_timeout(), None);
    let alice = world.join(router);
    let producer = audio(&mut world, alice, 5);
    observe(&mut world, watcher, producer);
    world.command(Command::Unobserve { observer: watcher, producer }).expect("it can be left");
    world.close(world.members[alice].transport.id).expect("it can be closed");
    // What the transport had set surfaces once.
    world.run(Duration::from_secs(40));
    assert_eq!(world.shard.next_timeout(), None);
}

#[test]
fn observers_refuse_what_they_cannot_hear() {
    let limits = Limits { observers_per_router: 2, producers_per_observer: 1, ..Limits::default() };
    let mut world = World::with_limits(73, limits);
    let (router, other) = (world.router(), world.router());
    let (alice, eve) = (world.join(router), world.join(other));
    let (mine, more) = (audio(&mut world, alice, 5), audio(&mut world, alice, 6));
    let (video, foreign) = (world.produce_video(alice, 7), audio(&mut world, eve, 5));
    let watcher = observer(&mut world, router, ObserverOptions::AUDIO_LEVEL);
    observer(&mut world, router, ObserverOptions::ACTIVE_SPEAKER);
    observe(&mut world, watcher, mine);
    observe(&mut world, watcher, mine);
    let mut refused = |command: Command| {
        let error = world.command(command).expect_err("it is refused");
        (error.code, error.field)
    };
    let at = |producer| Command::Observe { observer: watcher, producer };
    assert_eq!(refused(at(video)), (ErrorCode::InvalidArgument, "producer".to_owned()));
    assert_eq!(refused(at(foreign)), (ErrorCode::InvalidArgument, "producer".to_owned()));
    assert_eq!(refused(at(more)), (ErrorCode::ResourceExhausted, "producer".to_owned()));
    assert_eq!(refused(at(router)), (ErrorCode::NotFound, "producer".to_owned()));
    let third = Command::CreateObserver { router, options: ObserverOptions::AUDIO_LEVEL };
    assert_eq!(refused(third), (ErrorCode::ResourceExhausted, "target".to_owned()));
    for (options, field) in [
        (
            ObserverOptions::AudioLevel { max_entries: 0, threshold: -80, interval: Duration::from_secs(1) },
            "max_entries",
        ),
        (ObserverOptions::AudioLevel { max_entries: 1, threshold: 1, interval: Duration::from_secs(1) }, "threshold"),
        (ObserverOptions::AudioLevel { max_entries: 1, threshold: -80, interval: Duration::ZERO }, "interval_ms"),
        (ObserverOptions::ActiveSpeaker { interval: Duration::from_secs(11) }, "interval_ms"),
    ] {
        let command = Command::CreateObserver { router: other, options };
        assert_eq!(refused(command), (ErrorCode::InvalidArgument, field.to_owned()));
    }
}

fn traces(world: &mut World, object: ObjectId) -> Vec<(Direction, Traced)> {
    let of = |event| match event {
        Event::Trace { object: of, trace: Trace { direction, what, .. } } if of == object => Some((direction, what)),
        _ => None,
    };
    std::mem::take(&mut world.events).into_iter().filter_map(of).collect()
}

#[test]
fn a_trace_tells_what_was_asked_for_and_nothing_else() {
    let mut world = World::new(74);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_video(alice, 7);
    let consumer = world.consume(bob, producer);
    world.settle();
    world.events.clear();
    let video = |n: u16| rtp(VP8, 7, n, u32::from(n) * 3_000, &[], &vp8_frame(n == 0, n));
    world.send_rtp(alice, &video(0));
    assert!(world.events.is_empty(), "off by default");
    for (object, kinds) in [(producer, TraceMask::OF_PRODUCER), (consumer.id, TraceMask::OF_CONSUMER)] {
        world.command(Command::SetTrace { object, kinds }).expect("it can be traced");
    }
    world.send_rtp(alice, &video(1));
    let all = world.events.clone();
    let told = traces(&mut world, producer);
    assert!(matches!(told[..], [(Direction::In, Traced::Rtp(p))] if p.ssrc == 7 && p.sequence == 1 && !p.key_frame));
    world.events = all;
    let told = traces(&mut world, consumer.id);
    let [(Direction::Out, Traced::Rtp(sent))] = told[..] else { panic!("{told:?}") };
    assert_eq!((sent.ssrc, sent.payload_type, sent.timestamp, sent.rtx), (consumer.ssrc, VP8, 3_000, false));
    // The peer misses that packet, and wants a key frame.
    let mut buf = [0; 200];
    let len = Nack::write(&mut buf, 1, consumer.ssrc, &[sent.sequence]).expect("a NACK");
    world.send_rtcp(bob, &buf[..len]);
    let told = traces(&mut world, consumer.id);
    assert_eq!(told[0], (Direction::In, Traced::Nack { ssrc: consumer.ssrc, packets: 1 }));
    assert!(matches!(told[1], (Direction::Out, Traced::Rtp(p)) if p.rtx && Some(p.ssrc) == consumer.rtx_ssrc));
    world.run(Duration::from_secs(2));
    world.events.clear();
    let len = Pli { sender_ssrc: 1, media_ssrc: consumer.ssrc }.write(&mut buf).expect("a PLI");
    world.send_rtcp(bob, &buf[..len]);
    let all = world.events.clone();
    assert_eq!(traces(&mut world, consumer.id), [(Direction::In, Traced::Pli { ssrc: consumer.ssrc })]);
    world.events = all;
    assert_eq!(traces(&mut world, producer), [(Direction::Out, Traced::Pli { ssrc: 7 })]);
    // Lost packets are asked for, and a report comes.
    world.send_rtp(alice, &video(5));
    world.run(Duration::from_millis(200));
    assert!(traces(&mut world, producer).contains(&(Direction::Out, Traced::Nack { ssrc: 7, packets: 3 })));
    let ntp = NtpTime::from_unix_nanos(1_800_000_000_000_000_000);
    let report = SenderReport { ssrc: 7, ntp, rtp_timestamp: 9, packet_count: 3, octet_count: 4 };
    let len = report.write(&mut buf, &[]).expect("a report");
    let len = len + Sdes::write(&mut buf[len..], &[(7, b"alice")]).expect("a name");
    world.send_rtcp(alice, &buf[..len]);
    assert_eq!(traces(&mut world, producer), [(Direction::In, Traced::SenderReport(report))]);
    // Only key frames; then nothing.
    for (kinds, expected) in [(TraceMask::KEY_FRAME, 1), (TraceMask::NONE, 0)] {
        world.command(Command::SetTrace { object: producer, kinds }).expect("it can be changed");
        let first = 100 + expected as u16 * 10;
        world.send_rtp(alice, &rtp(VP8, 7, first, 1 << 20, &[], &vp8_frame(true, 90)));
        world.send_rtp(alice, &rtp(VP8, 7, first + 1, (1 << 20) + 3_000, &[], &vp8_frame(false, 91)));
        assert_eq!(traces(&mut world, producer).len(), expected);
    }
    let wrong = Command::SetTrace { object: consumer.id, kinds: TraceMask::SENDER_REPORT };
    assert_eq!(world.command(wrong).expect_err("a consumer gets none").field, "kinds");
    let wrong = Command::SetTrace { object: router, kinds: TraceMask::RTP };
    assert_eq!(world.command(wrong).expect_err("nothing to trace").code, ErrorCode::NotFound);
}

#[test]
fn trace_events_that_nobody_takes_are_dropped_and_counted_and_state_comes_first() {
    let mut world = World::with_limits(75, Limits { traces: 4, ..Limits::default() });
    let router = world.router();
    let alice = world.join(router);
    let producer = world.produce_audio(alice, 5);
    world.command(Command::SetTrace { object: producer, kinds: TraceMask::RTP }).expect("it can be traced");
    world.events.clear();
    let (now, socket, from) = (world.now, world.members[alice].socket, world.members[alice].peer.addr());
    for n in 0..10 {
        let peer = &mut world.members[alice].peer;
        peer.send_rtp(&rtp(OPUS, 5, n, 0, &[], &[1; 10]));
        while let Some(mut datagram) = peer.poll_transmit() {
            world.shard.handle_datagram(now, now, socket, from, &mut datagram);
        }
    }
    let transport = world.members[alice].transport.id;
    world.shard.handle_command(now, &[], Command::Close { object: transport }).expect("it can be closed");
    let events: Vec<_> = std::iter::from_fn(|| world.shard.poll_event()).collect();
    assert!(matches!(events[0], Event::Closed { .. }), "{events:?}");
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Trace { .. })).count(), 4);
    assert_eq!(events.last(), Some(&Event::TelemetryLost { count: 6 }));
}

fn decisions(world: &mut World, object: ObjectId) -> (usize, Vec<Decision>) {
    match world.command(Command::DumpDecisions { object }) {
        Ok(Reply::Decisions { capacity, rows }) => (capacity, rows.into_iter().map(|(_, row)| row).collect()),
        other => panic!("expected decisions, got {other:?}"),
    }
}

#[test]
fn why_a_packet_was_dropped_can_be_asked() {
    let mut world = World::new(76);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_video(alice, 7);
    let consumer = world.consume(bob, producer);
    let (from, to) = (world.members[alice].transport.id, world.members[bob].transport.id);
    let video = |n: u16, key| rtp(VP8, 7, n, u32::from(n) * 3_000, &[], &vp8_frame(key, n));
    world.send_rtp(alice, &video(0, false));
    assert_eq!(decisions(&mut world, consumer.id), (0, vec![]), "off by default");
    for (object, rows) in [(from, 8), (to, 8), (consumer.id, 2)] {
        assert_eq!(world.command(Command::KeepDecisions { object, rows }), Ok(Reply::Done));
    }
    world.send_rtp(alice, &video(1, false));
    world.send_rtp(alice, &video(2, false));
    world.send_rtp(alice, &video(3, true));
    world.send_rtp(alice, &rtp(55, 7, 4, 0, &[], &[1; 10]));
    world.send_rtp(alice, &rtp(VP8, 99, 77, 0, &[], &vp8_frame(true, 0)));
    let (capacity, rows) = decisions(&mut world, consumer.id);
    assert_eq!((capacity, rows.len()), (2, 1));
    assert_eq!(rows[0].object, consumer.id);
    let What::Drop { reason, ssrc, count, .. } = rows[0].what else { panic!("{rows:?}") };
    assert_eq!((reason, ssrc, count), (DropReason::AwaitingKeyFrame, consumer.ssrc, 2));
    assert_eq!(decisions(&mut world, to).1.len(), 1, "the sending transport tells the same");
    let reasons: Vec<_> = decisions(&mut world, from).1.iter().map(|row| row.what).collect();
    let drop = |reason, ssrc, sequence| What::Drop { reason, ssrc, sequence, count: 1 };
    assert!(reasons.contains(&drop(DropReason::RtpPayloadType, 7, 4)), "{reasons:?}");
    // A new SSRC with the payload type of one producer is taken for that producer's restart or refused;
    // either way no row names another packet.
    assert!(reasons.iter().all(|what| matches!(what, What::Drop { ssrc: 7 | 99, .. })), "{reasons:?}");
    // RTCP that is refused.
    let mut buf = [0; 100];
    let len = ReceiverReport { ssrc: 1 }.write(&mut buf, &[]).expect("a report");
    let len = len + Pli { sender_ssrc: 1, media_ssrc: 4_242 }.write(&mut buf[len..]).expect("a PLI");
    world.send_rtcp(alice, &buf[..len]);
    let last = decisions(&mut world, from).1.last().map(|row| row.what);
    assert_eq!(last, Some(drop(DropReason::RtcpUnknownSsrc, 0, 0)));
    world.command(Command::KeepDecisions { object: from, rows: 0 }).expect("it can be switched off");
    assert_eq!(decisions(&mut world, from), (0, vec![]));
    let many = Command::KeepDecisions { object: from, rows: u32::MAX };
    assert_eq!(world.command(many).expect_err("too many").field, "rows");
    let wrong = Command::DumpDecisions { object: router };
    assert_eq!(world.command(wrong).expect_err("none there").code, ErrorCode::NotFound);
}

#[test]
fn a_transport_tells_rtp_from_rtx_and_a_router_sums_without_its_streams() {
    let mut world = World::new(77);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_video(alice, 7);
    let consumer = world.consume(bob, producer);
    let (from, to) = (world.members[alice].transport.id, world.members[bob].transport.id);
    world.command(Command::SetMaxIncomingBitrate { transport: from, bitrate: 700_000 }).expect("it can be bounded");
    for n in 0..250_u16 {
        world.send_rtp(alice, &rtp(VP8, 7, n, u32::from(n) * 900, &[], &vp8_frame(n == 0, n)));
        world.run(Duration::from_millis(10));
    }
    let last = world.rtp(bob).last().map(|p| u16::from_be_bytes([p[2], p[3]])).expect("bob received");
    let mut buf = [0; 100];
    let len = Nack::write(&mut buf, 1, consumer.ssrc, &[last, last.wrapping_sub(1)]).expect("a NACK");
    world.send_rtcp(bob, &buf[..len]);
    let of = |world: &mut World, id| world.stats(id).and_then(|s| s.transport).expect("a transport has counters");
    let (sender, receiver) = (of(&mut world, from), of(&mut world, to));
    assert!(sender.rtp_receive_bitrate > 30_000 && sender.rtp_receive_bitrate < sender.receive_bitrate, "{sender:?}");
    assert_eq!((sender.rtp_send_bitrate, sender.rtx_receive_bitrate, sender.max_incoming_bitrate), (0, 0, 700_000));
    assert_eq!((sender.rtp_loss_received, sender.rtp_loss_sent), (Some(0.0), None));
    assert!(receiver.rtp_send_bitrate > 30_000 && receiver.rtx_send_bitrate > 0, "{receiver:?}");
    assert!(receiver.rtx_send_bitrate < receiver.rtp_send_bitrate);
    let Ok(Reply::Stats(summary)) = world.command(Command::Summary { object: router }) else { panic!("no summary") };
    let named = |name: &str| summary.counters.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    assert!(summary.streams.is_empty());
    assert_eq!([named("transports"), named("producers"), named("consumers")], [Some(2), Some(1), Some(1)]);
    assert_eq!(named("bytes_sent"), Some(sender.bytes_sent + receiver.bytes_sent));
    let Ok(Reply::Stats(summary)) = world.command(Command::Summary { object: to }) else { panic!("no summary") };
    assert!(summary.streams.is_empty() && summary.transport.is_some());
}
