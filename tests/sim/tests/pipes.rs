//! Media that crosses from router to router by pipes: all of it or what is wanted, repaired, asked for and closed.

use std::time::Duration;

use sfu_core::command::{CloseReason, Command, Event, PipeTransportOptions, Reply, SrtpParameters};
use sfu_core::stats::{Dump, Stats};
use sfu_proto::keys::KeyMaterial;
use sfu_sim::layer_call::Plan;
use sfu_sim::layered::Report;
use sfu_sim::net::LinkConfig;
use sfu_sim::pipe_call::{Joint, PipeCall};
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::scalability::Layers;

const ALL: PipeTransportOptions = PipeTransportOptions { srtp: true, rtx: true, only_wanted: false };
const WANTED: PipeTransportOptions = PipeTransportOptions { srtp: true, rtx: true, only_wanted: true };

const SIMULCAST: Plan =
    Plan { codec: CodecKind::Vp8, mode: "L1T3", encodings: 3, described: false, opaque: false, cache: true };

/// Simulcast and SVC, with and without the dependency descriptor.
fn plans() -> Vec<Plan> {
    vec![
        SIMULCAST,
        Plan { codec: CodecKind::Vp9, mode: "L3T3_KEY", encodings: 1, ..SIMULCAST },
        Plan { codec: CodecKind::Av1, mode: "L3T3", encodings: 1, described: true, ..SIMULCAST },
        Plan { codec: CodecKind::H264, described: true, encodings: 2, ..SIMULCAST },
        Plan { codec: CodecKind::Av1, mode: "L3T3_KEY", encodings: 1, described: true, opaque: true, cache: true },
    ]
}

fn quiet() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() }
}

/// 5 % loss each way, 40 ms there and back.
fn lossy() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(20), loss: 50, ..LinkConfig::default() }
}

fn joint(options: PipeTransportOptions, link: LinkConfig) -> Joint {
    Joint { routers: 2, link, options }
}

fn highest(plan: &Plan) -> Layers {
    let digit = |at: usize| plan.mode.as_bytes()[at] - b'1';
    let spatial = if plan.encodings > 1 { plan.encodings - 1 } else { digit(1) };
    Layers::new(spatial, digit(3))
}

/// The highest layers among the frames of the last pictures.
fn tail(report: &Report, plan: &Plan) -> Option<Layers> {
    let end = report.decoded.last()?.timestamp;
    let last = report.decoded.iter().filter(|f| end.wrapping_sub(f.timestamp) < 12 * 2_970);
    let layers = |f: &sfu_sim::layered::Decoded| (if plan.encodings > 1 { f.encoding } else { f.spatial }, f.temporal);
    let (spatial, temporal): (Vec<u8>, Vec<u8>) = last.map(layers).unzip();
    Some(Layers::new(spatial.into_iter().max()?, temporal.into_iter().max()?))
}

fn transport_stats(call: &mut PipeCall, end: usize) -> Stats {
    let object = call.call.world.pipes[end].transport;
    match call.call.world.command(Command::Stats { object }) {
        Ok(Reply::Stats(stats)) => *stats,
        other => panic!("no counters: {other:?}"),
    }
}

fn closed(call: &PipeCall) -> Vec<(ObjectId, CloseReason)> {
    let told = call.call.world.events.iter().filter_map(|(_, event)| match event {
        Event::Closed { object, reason } => Some((*object, *reason)),
        _ => None,
    });
    told.collect()
}

#[test]
fn every_layer_can_be_had_behind_a_pipe_whether_all_passes_or_what_is_wanted() {
    for options in [ALL, WANTED] {
        for plan in plans() {
            let what = format!("{options:?} {plan:?}");
            let mut call = PipeCall::new(11, quiet(), plan, joint(options, quiet()));
            call.call.send(60);
            let top = highest(&plan);
            let order = [top, Layers::new(0, 0), Layers::new(top.spatial, 0), Layers::new(0, top.temporal), top];
            for layers in order {
                call.call.prefer(0, Some(layers));
                call.call.send(70);
                let report = call.call.watchers[0].sink.decode();
                assert_eq!(tail(&report, &plan), Some(layers), "{what} {layers}");
            }
            let report = call.call.watchers[0].sink.decode();
            assert_eq!((report.undecodable, report.partial, report.missing), (0, 0, 0), "{what}");
        }
    }
}

#[test]
fn five_percent_loss_between_routers_is_repaired_by_rtx_on_the_pipe() {
    for options in [ALL, WANTED] {
        for plan in plans() {
            let what = format!("{options:?} {plan:?}");
            let mut call = PipeCall::new(12, quiet(), plan, joint(options, lossy()));
            call.call.send(300);
            call.call.pass(Duration::from_secs(1));
            let report = call.call.watchers[0].sink.decode();
            let wanted = highest(&plan).spatial;
            let of_top =
                |f: &&sfu_sim::layered::Decoded| wanted == if plan.encodings > 1 { f.encoding } else { f.spatial };
            let pictures: Vec<u32> = report.decoded.iter().filter(of_top).map(|f| f.picture).collect();
            let first = pictures.first().copied().unwrap_or(u32::MAX);
            let sent = 301u32.saturating_sub(first);
            assert!(first < 60 && pictures.len() as u32 * 100 >= sent * 98, "{what}: {} of {sent}", pictures.len());
            let resent: u64 = call.streams(0).iter().map(|stream| stream.packets_retransmitted).sum();
            assert!(resent > 0, "{what}: repaired on the pipe");
        }
    }
}

#[test]
fn without_rtx_a_key_frame_request_crosses_and_the_picture_comes_back() {
    let options = PipeTransportOptions { rtx: false, ..ALL };
    let plan = Plan { mode: "L1T1", encodings: 1, ..SIMULCAST };
    let mut call = PipeCall::new(13, quiet(), plan, joint(options, quiet()));
    call.call.send(60);
    let end = call.hops[0].ends[1];
    call.call.world.pipes[end].link.set_config(LinkConfig { loss: 1000, ..quiet() });
    call.call.send(10);
    call.call.world.pipes[end].link.set_config(quiet());
    call.call.send(120);
    let report = call.call.watchers[0].sink.decode();
    let keys = report.decoded.iter().filter(|f| f.key).count();
    assert!(keys >= 2, "{keys} key frames");
    assert!(call.streams(0)[0].pli_count > 0, "asked of the first router");
    assert_eq!(call.streams(0)[0].nack_count, 0, "there is nothing to answer a NACK with");
    assert!(report.decoded.last().is_some_and(|f| f.picture > 180), "the picture goes on");
}

#[test]
fn only_what_somebody_wants_crosses() {
    let mut call = PipeCall::new(14, quiet(), SIMULCAST, joint(WANTED, quiet()));
    call.call.send(90);
    assert_eq!(call.flowing(0, 20), 0b100, "one watcher, of the highest");
    call.call.prefer(0, Some(Layers::new(1, 0)));
    call.call.send(90);
    assert_eq!(call.flowing(0, 20), 0b010);
    let lanes = call.dump(0).lanes;
    assert_eq!(lanes.iter().map(|lane| lane.wanted).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(lanes[1].current_layers, Some(Layers::new(0, 0)), "and of that the lowest rate");
    call.watch(quiet(), Some(Layers::new(0, 2)));
    call.call.world.connect_all(Duration::from_secs(5));
    call.call.send(90);
    assert_eq!(call.flowing(0, 20), 0b011, "two watchers, two streams");
    for watcher in 0..2 {
        let object = call.call.watchers[watcher].consumer;
        call.call.command(Command::Pause { object });
    }
    call.call.send(30);
    assert_eq!(call.flowing(0, 20), 0, "nobody watches");
    let told = call.call.wanted_events(0);
    assert_eq!(told.last(), Some(&None), "and the publisher is told: {told:?}");
    let object = call.call.watchers[1].consumer;
    call.call.command(Command::Resume { object });
    call.call.send(60);
    assert_eq!(call.flowing(0, 20), 0b001);
    let wanted = call.call.wanted_events(0);
    assert_eq!(wanted.last(), Some(&Some(Layers::new(0, 2))), "{wanted:?}");
}

#[test]
fn what_the_publisher_does_not_send_is_made_up_for_by_what_it_does() {
    let mut call = PipeCall::new(15, quiet(), SIMULCAST, joint(WANTED, quiet()));
    call.call.publishers[0].sends = 0b011;
    call.call.send(120);
    assert_eq!(tail(&call.call.watchers[0].sink.decode(), &SIMULCAST).map(|l| l.spatial), Some(1), "the best there is");
    call.call.publishers[0].sends = 0b111;
    call.call.send(120);
    assert_eq!(tail(&call.call.watchers[0].sink.decode(), &SIMULCAST).map(|l| l.spatial), Some(2));
    call.call.send(60);
    assert_eq!(call.flowing(0, 20), 0b100, "and nothing else any more");
}

#[test]
fn wishes_survive_loss_and_go_through_a_row_of_routers() {
    let row = Joint { routers: 3, link: lossy(), options: WANTED };
    let mut call = PipeCall::new(16, quiet(), SIMULCAST, row);
    for layers in [Layers::new(2, 2), Layers::new(0, 2), Layers::new(1, 2)] {
        call.call.prefer(0, Some(layers));
        call.call.send(150);
        let wanted = 1 << layers.spatial;
        assert_eq!((call.flowing(0, 20), call.flowing(1, 20)), (wanted, wanted), "{layers}");
    }
    let object = call.call.watchers[0].consumer;
    call.call.command(Command::Pause { object });
    call.call.send(120);
    assert_eq!((call.flowing(0, 20), call.flowing(1, 20)), (0, 0));
}

#[test]
fn only_the_layers_that_are_wanted_pass_a_pipe() {
    // With VP9 and AV1 in one encoding, dependent layers and independent ones.
    for plan in plans().into_iter().filter(|plan| plan.encodings == 1) {
        let what = format!("{plan:?}");
        let mut call = PipeCall::new(18, quiet(), plan, joint(WANTED, quiet()));
        call.call.send(60);
        let passed = |call: &mut PipeCall| {
            let before = call.sent_total(0);
            call.call.send(40);
            call.sent_total(0) - before
        };
        let all = passed(&mut call);
        assert_eq!(all, 40 * 3 * 2, "{what}: three layers in two packets each");
        call.call.prefer(0, Some(Layers::new(0, 0)));
        call.call.send(30);
        assert_eq!(passed(&mut call), 10 * 2, "{what}: every fourth picture, and of that its lowest layer");
        call.call.prefer(0, None);
        call.call.send(30);
        assert_eq!(passed(&mut call), all, "{what}");
        let report = call.call.watchers[0].sink.decode();
        assert_eq!((report.undecodable, report.partial, report.missing), (0, 0, 0), "{what}");
        assert_eq!(tail(&report, &plan), Some(highest(&plan)), "{what}");
    }
}

#[test]
fn a_controller_bounds_what_passes_and_pauses_all_of_it() {
    let mut call = PipeCall::new(17, quiet(), SIMULCAST, joint(ALL, quiet()));
    call.call.send(60);
    assert_eq!(call.flowing(0, 20), 0b111, "all encodings, whoever watches");
    let consumer = call.hops[0].consumer;
    call.call.command(Command::SetPreferredLayers { consumer, layers: Some(Layers::new(1, 0)) });
    call.call.send(60);
    assert_eq!(call.flowing(0, 20), 0b011);
    call.call.command(Command::Pause { object: consumer });
    assert_eq!(call.flowing(0, 20), 0);
    assert!(call.dump(0).paused);
    call.call.command(Command::SetPreferredLayers { consumer, layers: None });
    call.call.command(Command::Resume { object: consumer });
    call.call.send(60);
    assert_eq!(call.flowing(0, 20), 0b111);
    let keys = |call: &mut PipeCall| call.streams(0).iter().map(|s| s.key_frame_count).collect::<Vec<_>>();
    let before = keys(&mut call);
    call.call.pass(Duration::from_secs(2));
    call.call.command(Command::RequestKeyFrame { consumer });
    call.call.send(60);
    let after = keys(&mut call);
    assert!(before.iter().zip(&after).all(|(before, after)| after > before), "of all streams: {before:?} {after:?}");
}

#[test]
fn a_pipe_consumer_is_one_object_and_closes_with_what_it_carries() {
    for (close, reason) in [(0, CloseReason::ProducerClosed), (1, CloseReason::TransportClosed)] {
        let mut call = PipeCall::new(18, quiet(), SIMULCAST, joint(ALL, quiet()));
        call.call.send(60);
        let (hop, publisher) = (&call.hops[0], &call.call.publishers[0]);
        let (consumer, end) = (hop.consumer, hop.ends[0]);
        let pipe = call.call.world.pipes[end].transport;
        let object = [publisher.producer, pipe][close];
        let told = |call: &mut PipeCall, object| match call.call.world.command(Command::Dump { object }) {
            Ok(Reply::Dump(dump)) => match *dump {
                Dump::PipeTransport(dump) => dump.consumers,
                Dump::Producer(dump) => dump.consumers,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&mut call, pipe), [consumer]);
        let producer = call.call.publishers[0].producer;
        assert_eq!(told(&mut call, producer), [consumer]);
        let before = call.call.world.shard.object_counts();
        call.call.world.events.clear();
        call.call.command(Command::Close { object });
        assert_eq!(closed(&call), [(consumer, reason)], "told once");
        let after = call.call.world.shard.object_counts();
        assert_eq!(before[3] - after[3], 3, "all its streams are gone");
        // The far end hears the goodbyes, and goes on living.
        call.call.send(30);
        let far_end = call.hops[0].ends[1];
        let far = transport_stats(&mut call, far_end);
        assert_eq!(far.drops.total(), 0, "{:?}", far.drops);
        let object = call.hops[0].producer;
        call.call.command(Command::Close { object });
        call.call.send(5);
    }
}

#[test]
fn a_pipe_with_the_wrong_key_lets_nothing_through_and_a_replayed_packet_once() {
    let mut call = PipeCall::new(19, quiet(), SIMULCAST, joint(ALL, LinkConfig { duplicate: 1000, ..quiet() }));
    call.call.send(60);
    let end = call.hops[0].ends[1];
    let drops = transport_stats(&mut call, end).drops;
    assert!(drops.count(DropReason::SrtpReplay) > 100, "{drops:?}");
    let report = call.call.watchers[0].sink.decode();
    assert_eq!((report.undecodable, report.partial, report.missing), (0, 0, 0));
    // A second pair whose one end has been told another key.
    let ends = call.routers.clone();
    let here = call.call.world.pipe_end(ends[0], quiet(), ALL);
    let there = call.call.world.pipe_end(ends[1], quiet(), ALL);
    let right = call.call.world.pipes[there].created.srtp.clone();
    call.call.world.connect_pipe(here, there, right);
    let profile = sfu_proto::keys::SrtpProfile::AeadAes256Gcm;
    let key = KeyMaterial::new(&[7; 44]).expect("as long as the suite wants");
    call.call.world.connect_pipe(there, here, Some(SrtpParameters { profile, key }));
    let source = call.call.publishers[0].producer;
    call.carry([here, there], source, true);
    call.call.send(60);
    let stats = transport_stats(&mut call, there);
    assert!(stats.drops.count(DropReason::SrtpAuth) > 50, "{:?}", stats.drops);
    let inbound = stats.streams.iter().filter(|stream| stream.inbound);
    assert_eq!(inbound.map(|stream| stream.packets).sum::<u64>(), 0);
}

#[test]
fn row_080_a_producer_that_goes_round_stands_for_itself_once() {
    // First router to second, and from there back to the first: each copy is its own producer, and nothing feeds itself.
    let mut call = PipeCall::new(20, quiet(), SIMULCAST, joint(ALL, quiet()));
    let ends = call.hops[0].ends;
    let back = call.hops[0].producer;
    call.carry([ends[1], ends[0]], back, true);
    let (router, producer) = (call.routers[0], call.hops[1].producer);
    call.call.watch_in(quiet(), router, producer, None);
    call.call.world.connect_all(Duration::from_secs(5));
    call.call.send(90);
    let (there, again) = (call.sent(0), call.sent(1));
    assert!(again.iter().zip(&there).all(|(again, there)| again <= there), "{there:?} {again:?}");
    assert_eq!(tail(&call.call.watchers[1].sink.decode(), &SIMULCAST).map(|l| l.spatial), Some(2));
    let object = call.call.publishers[0].producer;
    call.call.command(Command::Close { object });
    let before = (call.sent_total(1), call.call.world.shard.object_counts());
    call.call.pass(Duration::from_secs(5));
    assert_eq!((call.sent_total(1), call.call.world.shard.object_counts()), before, "the ring is silent");
}

#[test]
fn the_same_seed_gives_the_same_trace_over_pipes() {
    let trace = || {
        let mut call = PipeCall::new(21, lossy(), SIMULCAST, joint(WANTED, lossy()));
        call.call.send(60);
        call.call.prefer(0, Some(Layers::new(0, 1)));
        call.call.send(60);
        call.call.world.trace_hash()
    };
    assert_eq!(trace(), trace());
}
