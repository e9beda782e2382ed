//! Layers of every codec over the simulated network: what a decoder sees when layers, sources and states change,
//! packets are lost, and counters wrap.

use std::time::Duration;

use sfu_core::command::Command;
use sfu_sim::layer_call::{LayerCall, Plan};
use sfu_sim::layered::Report;
use sfu_sim::net::LinkConfig;
use sfu_wire::codec::CodecKind;
use sfu_wire::scalability::Layers;

const PLAN: Plan =
    Plan { codec: CodecKind::Vp8, mode: "L1T1", encodings: 1, described: false, opaque: false, cache: true };

/// Every codec and layer mode that browsers publish.
fn plans() -> Vec<Plan> {
    let plan = |codec, mode, encodings, described| Plan { codec, mode, encodings, described, ..PLAN };
    let mut plans = vec![
        plan(CodecKind::Vp9, "L3T3", 1, false),
        plan(CodecKind::Vp9, "L3T3_KEY", 1, false),
        plan(CodecKind::Vp9, "L2T1_KEY", 1, false),
        plan(CodecKind::Av1, "L3T3", 1, true),
        plan(CodecKind::Av1, "L3T3_KEY", 1, true),
        plan(CodecKind::H265, "L1T3", 1, false),
        plan(CodecKind::H264, "L1T3", 1, true),
    ];
    for codec in [CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::H265, CodecKind::Av1] {
        plans.push(plan(codec, "L1T3", 3, matches!(codec, CodecKind::H264 | CodecKind::Av1)));
        plans.push(plan(codec, "L1T1", 2, false));
    }
    plans.push(Plan { opaque: true, ..plan(CodecKind::Av1, "L3T3_KEY", 1, true) });
    plans.push(Plan { opaque: true, ..plan(CodecKind::Vp8, "L1T3", 2, true) });
    plans
}

fn quiet() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() }
}

/// 5 % loss each way, 100 ms there and back.
fn lossy() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(50), loss: 50, ..LinkConfig::default() }
}

fn highest(plan: &Plan) -> Layers {
    let digit = |at: usize| plan.mode.as_bytes()[at] - b'1';
    let spatial = if plan.encodings > 1 { plan.encodings - 1 } else { digit(1) };
    Layers::new(spatial, digit(3))
}

/// All that came was decoded.
fn clean(report: &Report, what: &str) {
    assert_eq!((report.undecodable, report.partial, report.missing), (0, 0, 0), "{what}");
    assert!(report.decoded.first().is_some_and(|f| f.key), "{what}: no key frame first");
}

/// Frames of the last pictures: their encodings or spatial layers, and their temporal layers.
fn tail(report: &Report, plan: &Plan) -> (Vec<u8>, Vec<u8>) {
    let end = report.decoded.last().map_or(0, |f| f.timestamp);
    let last = || report.decoded.iter().filter(|f| end.wrapping_sub(f.timestamp) < 12 * 2_970);
    let mut spatial: Vec<u8> = last().map(|f| if plan.encodings > 1 { f.encoding } else { f.spatial }).collect();
    let mut temporal: Vec<u8> = last().map(|f| f.temporal).collect();
    for list in [&mut spatial, &mut temporal] {
        list.sort_unstable();
        list.dedup();
    }
    (spatial, temporal)
}

#[test]
fn every_layer_of_every_codec_can_be_had_in_turn() {
    for plan in plans() {
        let what = format!("{plan:?}");
        let mut call = LayerCall::new(7, quiet(), plan);
        call.send(40);
        let top = highest(&plan);
        let pairs = (0..=top.spatial).flat_map(|s| (0..=top.temporal).map(move |t| Layers::new(s, t)));
        let mut order: Vec<Layers> = pairs.collect();
        // Up, down, and across.
        let mut back: Vec<Layers> = order.iter().rev().copied().collect();
        order.append(&mut back);
        for layers in order {
            call.prefer(0, Some(layers));
            call.send(26);
            let report = call.watchers[0].sink.decode();
            let (spatial, temporal) = tail(&report, &plan);
            let full = plan.encodings == 1 && plan.mode == "L3T3";
            let expected: Vec<u8> = if full { (0..=layers.spatial).collect() } else { vec![layers.spatial] };
            assert_eq!(spatial, expected, "{what} {layers}");
            assert_eq!(temporal, (0..=layers.temporal).collect::<Vec<_>>(), "{what} {layers}");
        }
        clean(&call.watchers[0].sink.decode(), &what);
        let events = call.layer_events(0);
        assert_eq!(events.last(), Some(&Some(Layers::new(0, 0))), "{what}");
    }
}

/// Over several runs: in a single one of this length, three pictures more or less are luck.
#[test]
fn five_percent_loss_at_a_hundred_milliseconds_delivers_99_percent_of_the_chosen_layers() {
    for plan in plans() {
        let (mut delivered, mut sent) = (0, 0);
        for seed in 1..=8 {
            let what = format!("seed {seed} {plan:?}");
            let mut call = LayerCall::new(seed, lossy(), plan);
            call.send(300);
            call.pass(Duration::from_secs(2));
            let report = call.watchers[0].sink.decode();
            let wanted = highest(&plan);
            let chosen = |f: &&sfu_sim::layered::Decoded| match plan.encodings {
                1 => f.spatial == wanted.spatial,
                _ => f.encoding == wanted.spatial,
            };
            let pictures: Vec<u32> = report.decoded.iter().filter(chosen).map(|f| f.picture).collect();
            let first = pictures.first().copied().unwrap_or(u32::MAX);
            // The first packets of all may be lost for good: nothing tells that they were there.
            assert!(first < 40, "{what}: begins with picture {first}");
            assert!(call.watchers[0].sink.repaired > 0, "{what}: nothing was repaired");
            println!("{what}: {} of {}", pictures.len(), 301 - first);
            delivered += pictures.len() as u32;
            sent += 301 - first;
        }
        assert!(delivered * 100 >= sent * 99, "{plan:?}: {delivered} of {sent}");
    }
}

#[test]
fn sources_are_switched_without_a_seam() {
    for plan in plans() {
        let what = format!("{plan:?}");
        let mut call = LayerCall::new(11, quiet(), plan);
        let other = call.publish(quiet());
        call.world.connect_all(Duration::from_secs(30));
        call.send(30);
        for round in 0..6 {
            let to = [other, 0][round % 2];
            let before = call.watchers[0].sink.decode().decoded.len();
            call.switch(0, to);
            call.send(20);
            let report = call.watchers[0].sink.decode();
            assert!(report.decoded.len() > before + 15, "{what}: nothing stands still");
            assert_eq!(usize::from(report.decoded.last().expect("frames").tag), to, "{what}");
        }
        clean(&call.watchers[0].sink.decode(), &what);
    }
}

#[test]
fn pause_and_resume_of_both_sides_leave_no_seam() {
    for plan in plans() {
        let what = format!("{plan:?}");
        let mut call = LayerCall::new(13, quiet(), plan);
        call.send(20);
        for object in [call.watchers[0].consumer, call.publishers[0].producer] {
            call.command(Command::Pause { object });
            call.send(5);
            let before = call.watchers[0].sink.decode().decoded.len();
            call.send(15);
            assert_eq!(call.watchers[0].sink.decode().decoded.len(), before, "{what}");
            call.command(Command::Resume { object });
            call.send(20);
            assert!(call.watchers[0].sink.decode().decoded.len() > before + 10, "{what}");
        }
        clean(&call.watchers[0].sink.decode(), &what);
    }
}

/// Pictures until a watcher that just joined has one.
fn pictures_until_first(call: &mut LayerCall, watcher: usize) -> usize {
    for count in 0..100 {
        if call.watchers[watcher].sink.received() > 0 {
            return count;
        }
        call.send(1);
    }
    panic!("nothing came");
}

fn key_frames(call: &LayerCall) -> u32 {
    call.publishers[0].source.encoders.iter().map(|e| e.key_frames).sum()
}

#[test]
fn who_joins_begins_at_once_with_the_key_frame_that_is_kept_and_asks_for_none() {
    for plan in plans() {
        let what = format!("{plan:?}");
        let mut call = LayerCall::new(17, quiet(), plan);
        call.send(30);
        // A key frame, and some pictures after it.
        call.publishers[0].source.encoders.iter_mut().for_each(|e| e.key_wanted = true);
        call.send(6);
        let before = key_frames(&call);
        let watcher = call.watch(quiet(), 0, None);
        call.world.connect_all(Duration::from_secs(30));
        // The picture that was under way while it connected, and one packet's time.
        call.pass(Duration::from_millis(22));
        assert!(call.watchers[watcher].sink.received() > 0, "{what}: it waits");
        call.send(30);
        assert_eq!(key_frames(&call), before, "{what}: a key frame was asked for");
        let report = call.watchers[watcher].sink.decode();
        clean(&report, &what);
        assert!(report.decoded.len() > 30, "{what}");
        clean(&call.watchers[0].sink.decode(), &what);
    }
}

#[test]
fn without_the_cache_a_key_frame_is_asked_for() {
    let plan = Plan { cache: false, ..PLAN };
    let mut call = LayerCall::new(19, quiet(), plan);
    call.send(30);
    call.publishers[0].source.encoders[0].key_wanted = true;
    call.send(6);
    let before = key_frames(&call);
    let watcher = call.watch(quiet(), 0, None);
    call.world.connect_all(Duration::from_secs(30));
    assert!(pictures_until_first(&mut call, watcher) > 0);
    assert_eq!(key_frames(&call), before + 1);
}

#[test]
fn a_run_with_a_hole_or_an_old_one_is_not_begun_with() {
    for age in [10, 40] {
        let mut call = LayerCall::new(23, quiet(), PLAN);
        call.send(10);
        call.publishers[0].source.encoders[0].key_wanted = true;
        call.send(1);
        if age == 10 {
            // The publisher's packets do not all arrive, and are not repaired in time.
            let member = call.publishers[0].member;
            let up = call.world.members[member].up.config();
            call.world.members[member].up.set_config(LinkConfig { loss: 1_000, ..up });
            call.send(1);
            call.world.members[member].up.set_config(LinkConfig { delay: Duration::from_millis(300), ..up });
        }
        call.send(age);
        let before = key_frames(&call);
        let watcher = call.watch(quiet(), 0, None);
        call.world.connect_all(Duration::from_secs(30));
        call.send(30);
        assert_eq!(key_frames(&call), before + 1, "after {age} pictures");
        assert!(call.watchers[watcher].sink.decode().decoded.len() > 10);
    }
}

#[test]
fn many_who_join_at_once_ask_for_one_key_frame_and_all_get_it() {
    let mut call = LayerCall::new(29, quiet(), Plan { encodings: 3, mode: "L1T3", ..PLAN });
    call.send(60);
    let before = key_frames(&call);
    let watchers: Vec<usize> = (0..12).map(|_| call.watch(quiet(), 0, None)).collect();
    call.world.connect_all(Duration::from_secs(30));
    call.send(40);
    assert!(key_frames(&call) <= before + 1, "{} more", key_frames(&call) - before);
    for watcher in watchers {
        let report = call.watchers[watcher].sink.decode();
        clean(&report, "a joiner");
        assert!(report.decoded.len() > 25);
    }
}

#[test]
fn the_best_encoding_that_is_sent_is_followed() {
    let plan = Plan { encodings: 3, mode: "L1T3", ..PLAN };
    let mut call = LayerCall::new(31, quiet(), plan);
    let encoding = |call: &LayerCall| call.watchers[0].sink.decode().decoded.last().map(|f| f.encoding);
    // The publisher begins with its low encoding, as browsers do, and adds the others.
    for (sends, expected) in [(0b001, 0), (0b011, 1), (0b111, 2), (0b011, 1), (0b010, 1), (0b110, 2), (0b001, 0)] {
        call.publishers[0].sends = sends;
        call.send(90);
        assert_eq!(encoding(&call), Some(expected), "{sends:03b}");
    }
    // What is preferred is not sent: the next one below, or the lowest above.
    for (sends, preferred, expected) in [(0b101, 1, 0), (0b100, 0, 2), (0b110, 0, 1), (0b111, 0, 0)] {
        call.publishers[0].sends = sends;
        call.prefer(0, Some(Layers::new(preferred, 2)));
        call.send(90);
        assert_eq!(encoding(&call), Some(expected), "{sends:03b} {preferred}");
    }
    let report = call.watchers[0].sink.decode();
    clean(&report, "fallback");
}

#[test]
fn the_old_layer_goes_on_until_the_key_frame_of_the_new_one() {
    let plan = Plan { encodings: 2, mode: "L1T1", cache: false, ..PLAN };
    let mut call = LayerCall::new(37, LinkConfig { delay: Duration::from_millis(120), ..LinkConfig::default() }, plan);
    call.prefer(0, Some(Layers::new(0, 0)));
    call.send(60);
    let before = call.watchers[0].sink.decode().decoded.len();
    call.prefer(0, Some(Layers::new(1, 0)));
    call.send(60);
    call.pass(Duration::from_secs(1));
    let report = call.watchers[0].sink.decode();
    clean(&report, "up");
    let after: Vec<u8> = report.decoded[before..].iter().map(|f| f.encoding).collect();
    // The wish takes 120 ms to the publisher, and the key frame as long to come.
    let old = after.iter().take_while(|e| **e == 0).count();
    assert!((7..=20).contains(&old), "{after:?}");
    assert!(after[old..].iter().all(|e| *e == 1), "{after:?}");
    let gap = report.decoded.windows(2).map(|w| w[1].timestamp.wrapping_sub(w[0].timestamp)).max();
    assert!(gap <= Some(2 * 2_970), "no picture is missing at the switch: {gap:?}");
}

#[test]
fn what_is_wanted_of_a_producer_is_told_when_it_changes() {
    let plan = Plan { encodings: 3, mode: "L1T3", ..PLAN };
    let mut call = LayerCall::new(41, quiet(), plan);
    assert_eq!(call.wanted_events(0), [Some(Layers::new(2, 2))]);
    call.prefer(0, Some(Layers::new(1, 0)));
    call.prefer(0, Some(Layers::new(1, 0)));
    assert_eq!(call.wanted_events(0), [Some(Layers::new(1, 0))]);
    let second = call.watch(quiet(), 0, Some(Layers::new(0, 2)));
    call.world.connect_all(Duration::from_secs(30));
    assert_eq!(call.wanted_events(0), [Some(Layers::new(1, 2))]);
    let consumer = call.watchers[0].consumer;
    call.command(Command::Pause { object: consumer });
    call.pass(Duration::from_millis(20));
    assert_eq!(call.wanted_events(0), [Some(Layers::new(0, 2))]);
    let object = call.watchers[second].consumer;
    call.command(Command::Close { object });
    call.pass(Duration::from_millis(20));
    assert_eq!(call.wanted_events(0), [None]);
    call.command(Command::Resume { object: consumer });
    call.pass(Duration::from_millis(20));
    assert_eq!(call.wanted_events(0), [Some(Layers::new(1, 0))]);
    // Layers that do not exist are those that do.
    call.prefer(0, Some(Layers::new(7, 7)));
    assert_eq!(call.wanted_events(0), [Some(Layers::new(2, 2))]);
}

#[test]
fn a_switch_keeps_the_lists_of_both_producers_right() {
    use sfu_core::command::Reply;
    use sfu_core::stats::Dump;
    let mut call = LayerCall::new(43, quiet(), Plan { cache: false, ..PLAN });
    let other = call.publish(quiet());
    call.world.connect_all(Duration::from_secs(30));
    call.send(20);
    let (consumer, producers) = (call.watchers[0].consumer, [0, other].map(|p| call.publishers[p].producer));
    let lists = |call: &mut LayerCall| {
        producers.map(|object| match call.try_command(Command::Dump { object }) {
            Ok(Reply::Dump(dump)) => match *dump {
                Dump::Producer(dump) => Some(dump.consumers),
                other => panic!("{other:?}"),
            },
            _ => None,
        })
    };
    let own = || Some(vec![consumer]);
    assert_eq!(lists(&mut call), [own(), Some(vec![])]);
    call.switch(0, other);
    assert_eq!(lists(&mut call), [own(), own()], "the old one goes on");
    call.send(10);
    assert_eq!(lists(&mut call), [Some(vec![]), own()]);
    // Back, and away again before anything comes: the wish is withdrawn.
    call.switch(0, 0);
    call.switch(0, other);
    assert_eq!(lists(&mut call), [Some(vec![]), own()]);
    // What is waited for closes: the present one goes on.
    call.switch(0, 0);
    call.command(Command::Close { object: producers[0] });
    assert_eq!(lists(&mut call), [None, own()]);
    let before = call.watchers[0].sink.decode().decoded.len();
    call.send(10);
    assert!(call.watchers[0].sink.decode().decoded.len() >= before + 8);
    clean(&call.watchers[0].sink.decode(), "switches");
}

#[test]
fn the_old_source_may_pause_or_close_while_the_new_one_is_waited_for() {
    for close in [false, true] {
        let mut call = LayerCall::new(47, quiet(), Plan { cache: false, ..PLAN });
        let other = call.publish(quiet());
        call.world.connect_all(Duration::from_secs(30));
        call.send(20);
        call.publishers[other].sends = 0;
        call.switch(0, other);
        let object = call.publishers[0].producer;
        call.command(if close { Command::Close { object } } else { Command::Pause { object } });
        call.publishers[0].sends = 0;
        call.send(3);
        call.publishers[other].sends = 1;
        call.send(20);
        let report = call.watchers[0].sink.decode();
        clean(&report, "the other one");
        assert_eq!(report.decoded.last().map(|f| f.tag), Some(1), "closed: {close}");
        assert!(report.decoded.iter().filter(|f| f.tag == 1).count() > 10);
    }
}

#[test]
fn a_source_of_another_clock_is_refused_and_one_of_another_router_too() {
    let mut call = LayerCall::new(53, quiet(), PLAN);
    let other = call.publish(quiet());
    let consumer = call.watchers[0].consumer;
    let mut config = call.consumer_config(other, None);
    config.codecs[0].clock_rate = 48_000;
    let error = call.try_command(Command::SwitchProducer { consumer, config: Box::new(config) }).unwrap_err();
    assert_eq!(error.field, "codecs[0].clockRate");
    let mut config = call.consumer_config(other, None);
    config.codecs[0].slot = 9;
    let error = call.try_command(Command::SwitchProducer { consumer, config: Box::new(config) }).unwrap_err();
    assert_eq!(error.field, "codecs");
    let mut config = call.consumer_config(other, None);
    config.producer = consumer;
    let error = call.try_command(Command::SwitchProducer { consumer, config: Box::new(config) }).unwrap_err();
    assert_eq!(error.field, "producer");
}

#[test]
fn h27_counters_of_all_encodings_and_sources_wrap_under_switches() {
    for codec in [CodecKind::Vp8, CodecKind::Vp9, CodecKind::Av1] {
        let described = codec == CodecKind::Av1;
        let plan = Plan { codec, encodings: 2, mode: "L1T3", described, ..PLAN };
        let mut call = LayerCall::new(59, quiet(), plan);
        let other = call.publish(quiet());
        call.world.connect_all(Duration::from_secs(30));
        for round in 0..60u32 {
            // All start near their wraps again, as a source does that was restarted.
            for publisher in &mut call.publishers {
                publisher.source.jump(round);
            }
            call.prefer(0, Some(Layers::new((round % 2) as u8, 2)));
            call.switch(0, if round % 3 == 0 { other } else { 0 });
            call.send(12);
        }
        let report = call.watchers[0].sink.decode();
        assert_eq!((report.undecodable, report.missing), (0, 0), "{codec:?}");
        assert!(report.decoded.len() > 400, "{codec:?} {}", report.decoded.len());
    }
}
