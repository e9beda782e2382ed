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
            call.send(40);
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

#[test]
fn five_percent_loss_at_a_hundred_milliseconds_delivers_99_percent_of_the_chosen_layers() {
    for plan in plans() {
        for seed in [1, 2, 0xfeed] {
            let what = format!("seed {seed} {plan:?}");
            println!("{what}");
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
            let sent = 301u32.saturating_sub(first);
            // The first packets of all may be lost for good: nothing tells that they were there.
            assert!(first < 40 && pictures.len() as u32 * 100 >= sent * 99, "{what}: {} of {sent}", pictures.len());
            assert!(call.watchers[0].sink.repaired > 0, "{what}: nothing was repaired");
        }
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
