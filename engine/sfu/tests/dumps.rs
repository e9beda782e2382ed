//! What dumps say of the streams of a transport, and of who looks at them.

use std::time::Duration;

use sfu_core::command::Command;
use sfu_core::stats::{ConsumerDump, Dump, ProducerDump};
use sfu_core::tap::{TapFormat, TapOptions};
use sfu_core::testing::world::{MID_ID, OPUS, RID_ID, VP8, VP8_RTX, World, rtp, vp8_frame};
use sfu_core::trace::TraceMask;
use sfu_core::transport_streams::{ReceivedSsrc, SentSsrc, TransportStreams};
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;

fn streams(world: &mut World, transport: ObjectId) -> TransportStreams {
    match world.dump(transport) {
        Some(Dump::WebRtcTransport(dump)) => dump.streams,
        Some(Dump::DirectTransport(dump)) => dump.streams,
        other => panic!("no transport: {other:?}"),
    }
}

fn producer_dump(world: &mut World, id: ObjectId) -> ProducerDump {
    let Some(Dump::Producer(dump)) = world.dump(id) else { panic!("no producer") };
    dump
}

fn consumer_dump(world: &mut World, id: ObjectId) -> ConsumerDump {
    let Some(Dump::Consumer(dump)) = world.dump(id) else { panic!("no consumer") };
    dump
}

#[test]
fn a_transport_tells_where_each_ssrc_leads_and_by_what_streams_are_known() {
    let mut world = World::new(120);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let [from, to] = [alice, bob].map(|member| world.members[member].transport.id);
    assert_eq!(streams(&mut world, from), TransportStreams { learned: (0, 64), ..streams(&mut world, to) });
    let video = world.produce_video(alice, 7);
    let mut config = world.audio_config(alice, 5);
    config.encodings[0].ssrc = None;
    let mid = config.mid.expect("it has one");
    let audio = world.produce(alice, config);
    world.send_rtp(alice, &rtp(OPUS, 99, 1, 0, &[(MID_ID, mid.as_bytes())], &[1; 20]));
    let dump = streams(&mut world, from);
    let signalled = |ssrc, rtx| ReceivedSsrc { ssrc, producer: video, encoding: 0, rtx, fec: false, signalled: true };
    let learned = ReceivedSsrc { ssrc: 99, producer: audio, encoding: 0, rtx: false, fec: false, signalled: false };
    assert_eq!(dump.received, [signalled(7, false), signalled(8, true), learned]);
    assert_eq!(dump.learned.0, 1);
    let known: Vec<_> = dump.lines.iter().map(|line| (line.producer, line.payload_types.clone())).collect();
    assert_eq!(known, [(video, vec![(VP8, Some(VP8_RTX))]), (audio, vec![(OPUS, None)])]);
    assert_eq!((dump.lines[1].mid, dump.lines[1].rids.clone()), (Some(mid), vec![None]));
    assert_eq!(dump.extensions, [(ExtensionKind::Mid, MID_ID), (ExtensionKind::Rid, RID_ID)]);
    assert!(dump.sent.is_empty());
    let consumer = world.consume(bob, video);
    let mut expected = vec![SentSsrc { ssrc: consumer.ssrc, consumer: consumer.id, rtx: false, fec: false }];
    expected.extend(consumer.rtx_ssrc.map(|ssrc| SentSsrc { ssrc, consumer: consumer.id, rtx: true, fec: false }));
    expected.sort_unstable_by_key(|s| s.ssrc);
    assert_eq!(expected.len(), 2);
    assert_eq!(streams(&mut world, to).sent, expected);
    world.close(consumer.id).expect("it can be closed");
    world.close(video).expect("it can be closed");
    assert!(streams(&mut world, to).sent.is_empty());
    assert_eq!(streams(&mut world, from).received, [learned]);
}

#[test]
fn who_looks_at_an_object_is_in_its_dump() {
    let mut world = World::new(121);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let (producer, to) = (world.produce_video(alice, 7), world.members[bob].transport.id);
    let consumer = world.consume(bob, producer).id;
    let dump = consumer_dump(&mut world, consumer);
    assert_eq!((dump.trace, dump.decision_rows, dump.pending_producer), (TraceMask::NONE, 0, None));
    assert_eq!(dump.payload_types, [(VP8, Some(VP8_RTX))]);
    assert_eq!(dump.extensions, [(ExtensionKind::Mid, MID_ID), (ExtensionKind::Rid, RID_ID)]);
    let kinds = TraceMask::NACK.with(TraceMask::KEY_FRAME);
    for object in [producer, consumer] {
        world.command(Command::SetTrace { object, kinds }).expect("it can be traced");
    }
    for object in [consumer, to] {
        world.command(Command::KeepDecisions { object, rows: 16 }).expect("they can be kept");
    }
    let options = TapOptions {
        name: "a.rtpdump".to_owned(),
        format: TapFormat::Rtpdump,
        max_bytes: 1 << 20,
        max_duration: Duration::from_secs(60),
        headers_only: true,
    };
    world.command(Command::StartTap { transport: to, options: options.clone() }).expect("it can be tapped");
    world.send_rtp(alice, &rtp(VP8, 7, 1, 3_000, &[], &vp8_frame(true, 1)));
    let dump = consumer_dump(&mut world, consumer);
    assert_eq!((dump.trace, dump.decision_rows), (kinds, 16));
    let dump = producer_dump(&mut world, producer);
    assert_eq!((dump.trace, dump.observed), (kinds, false));
    let dump = streams(&mut world, to);
    assert_eq!(dump.decision_rows, 16);
    let tap = dump.tap.expect("it is tapped");
    assert_eq!((tap.name, tap.format, tap.headers_only), (options.name, options.format, true));
    assert!(tap.packets >= 1 && tap.bytes < 1 << 20 && tap.dropped == 0);
    world.command(Command::StopTap { transport: to }).expect("it can be stopped");
    assert_eq!(streams(&mut world, to).tap, None);
}

#[test]
fn a_switch_that_is_waited_for_is_in_the_dump() {
    let mut world = World::new(122);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producers = [7, 17].map(|ssrc| world.produce_video(alice, ssrc));
    let consumer = world.consume(bob, producers[0]).id;
    world.send_rtp(alice, &rtp(VP8, 7, 1, 3_000, &[], &vp8_frame(true, 1)));
    let config = sfu_core::testing::world::consumer_config(
        producers[1],
        sfu_wire::media::MediaKind::Video,
        sfu_wire::media::Mid::new(b"0").expect("legal"),
        false,
    );
    world.command(Command::SwitchProducer { consumer, config: Box::new(config) }).expect("it can be switched");
    let dump = consumer_dump(&mut world, consumer);
    assert_eq!((dump.producer, dump.pending_producer), (producers[0], Some(producers[1])));
    world.send_rtp(alice, &rtp(VP8, 17, 1, 3_000, &[], &vp8_frame(true, 1)));
    let dump = consumer_dump(&mut world, consumer);
    assert_eq!((dump.producer, dump.pending_producer), (producers[1], None));
}
