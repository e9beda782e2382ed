//! Sound and pictures of a publisher stay in step at the receiver: by the sender reports that a consumer's peer gets, each
//! frame was captured when it really was, whatever layer or source it came from, and reports do not contradict each other.

use std::time::Duration;

use sfu_core::command::Command;
use sfu_sim::layer_call::{LayerCall, Plan};
use sfu_sim::layered::Decoded;
use sfu_sim::net::LinkConfig;
use sfu_sim::studio::{AUDIO_RATE, VIDEO_RATE};
use sfu_wire::codec::CodecKind;
use sfu_wire::scalability::Layers;

const SIMULCAST: Plan =
    Plan { codec: CodecKind::Vp8, mode: "L1T1", encodings: 3, described: false, opaque: false, cache: false };

/// After so many pictures a stretch is on its line: the beginning of one may be squeezed.
const SETTLED: usize = 12;

fn quiet() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(20), ..LinkConfig::default() }
}

/// A call whose publishers speak and report, and whose watcher hears the first one.
fn studio(seed: u64, link: LinkConfig, plan: Plan, publishers: usize) -> LayerCall {
    let mut call = LayerCall::new(seed, link, plan);
    for _ in 1..publishers {
        call.publish(link);
    }
    for publisher in 0..publishers {
        call.speak(publisher);
    }
    call.hear(0, 0);
    call.world.connect_all(Duration::from_secs(30));
    call
}

/// How far each decoded frame is from where it was captured, by the reports, in nanoseconds, less the same of the sound.
fn lags(call: &LayerCall, most: Duration) -> Vec<(Decoded, i64)> {
    let watcher = &call.watchers[0];
    let sound = watcher.ear.heard.iter().map(|(tag, number, timestamp)| {
        let captured = call.publishers[*tag].studio.as_ref().expect("it speaks").captured[*number as usize];
        let said = watcher.ear.captured_at(watcher.ear.ssrc, *timestamp, AUDIO_RATE).expect("reports on sound");
        said - captured.as_nanos() as i64
    });
    let mut sound: Vec<i64> = sound.collect();
    sound.sort_unstable();
    let wavers = Duration::from_nanos(sound[sound.len() - 1].abs_diff(sound[0]));
    assert!(wavers < most * 2, "the sound itself wavers by {wavers:?}");
    let middle = sound[sound.len() / 2];
    let report = watcher.sink.decode();
    let lag = |frame: &Decoded| {
        let encoder = &call.publishers[usize::from(frame.tag)].source.encoders[usize::from(frame.encoding)];
        let captured = encoder.captured[frame.picture as usize - 1].as_nanos() as i64;
        let said = watcher.ear.captured_at(watcher.sink.ssrc(), frame.timestamp, VIDEO_RATE).expect("reports");
        said - captured - middle
    };
    report.decoded.iter().map(|frame| (*frame, lag(frame))).collect()
}

/// Every frame is in step to within `most`; the first ones of each stretch to within `beginning`.
fn in_step(call: &LayerCall, most: Duration, beginning: Duration, what: &str) {
    let lags = lags(call, most);
    assert!(lags.len() > 100, "{what}: {} frames", lags.len());
    let mut since = 0;
    let mut before = None;
    for (frame, lag) in lags {
        let stream = Some((frame.tag, frame.encoding));
        since = if before == stream && !frame.key { since + 1 } else { 0 };
        before = stream;
        let bound = if since < SETTLED { beginning } else { most };
        assert!(Duration::from_nanos(lag.unsigned_abs()) <= bound, "{what}: {} us, {frame:?}", lag / 1_000);
    }
}

/// Reports of the picture in a row say the same to within `most`.
fn steady(call: &LayerCall, most: Duration, what: &str) {
    let watcher = &call.watchers[0];
    for (name, ssrc, rate) in [("pictures", watcher.sink.ssrc(), VIDEO_RATE), ("sound", watcher.ear.ssrc, AUDIO_RATE)] {
        let count = watcher.ear.reports.get(&ssrc).map_or(0, Vec::len);
        assert!(count > 5, "{what}: {count} reports of {name}");
        let step = Duration::from_nanos(watcher.ear.worst_step(ssrc, rate));
        assert!(step <= most, "{what}: reports of {name} differ by {step:?}");
    }
}

const EXACT: Duration = Duration::from_millis(2);
/// What is squeezed lags less than a picture's time.
const SQUEEZED: Duration = Duration::from_millis(40);

#[test]
fn layer_switches_keep_sound_and_pictures_in_step() {
    for codec in [CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1] {
        let mut call = studio(61, quiet(), Plan { codec, ..SIMULCAST }, 1);
        for (at, encoder) in call.publishers[0].source.encoders.iter_mut().enumerate() {
            // Crystals differ.
            encoder.skew = [60, -80, 0][at];
        }
        call.send(90);
        for spatial in [0, 2, 1, 0, 1, 2, 0, 2] {
            call.prefer(0, Some(Layers::new(spatial, 0)));
            call.send(45);
        }
        let what = format!("{codec:?}");
        steady(&call, EXACT, &what);
        in_step(&call, EXACT, SQUEEZED, &what);
    }
}

#[test]
fn source_switches_keep_sound_and_pictures_in_step() {
    for cache in [false, true] {
        let mut call = studio(67, quiet(), Plan { cache, ..SIMULCAST }, 2);
        call.send(90);
        for round in 0..6 {
            let to = (round + 1) % 2;
            call.switch(0, to);
            call.hear_other(0, to);
            call.send(60);
        }
        steady(&call, EXACT, "sources");
        // What is kept is up to a second old.
        in_step(&call, EXACT, if cache { Duration::from_secs(1) } else { SQUEEZED }, "sources");
    }
}

#[test]
fn pauses_of_either_side_keep_sound_and_pictures_in_step() {
    let mut call = studio(71, quiet(), SIMULCAST, 1);
    call.send(60);
    for object in [call.watchers[0].consumer, call.publishers[0].producer] {
        for pictures in [10, 100] {
            call.command(Command::Pause { object });
            call.send(pictures);
            call.command(Command::Resume { object });
            call.send(60);
        }
    }
    steady(&call, EXACT, "pauses");
    in_step(&call, EXACT, SQUEEZED, "pauses");
}

#[test]
fn a_source_that_starts_over_stays_in_step() {
    let mut call = studio(73, quiet(), Plan { encodings: 1, ..SIMULCAST }, 1);
    call.send(60);
    for seed in 1..6 {
        call.publishers[0].source.jump(seed);
        call.send(70);
    }
    steady(&call, Duration::from_millis(3), "restarts");
    in_step(&call, Duration::from_millis(3), SQUEEZED, "restarts");
}

#[test]
fn a_layer_switch_while_another_source_is_waited_for_does_not_move_its_pictures() {
    let mut call = studio(79, quiet(), SIMULCAST, 2);
    // Clocks of the layers are near each other: a shift for the wrong one would be believed.
    for (at, encoder) in call.publishers[0].source.encoders.iter_mut().enumerate() {
        encoder.timestamp_offset = 1_000_000 + 27_000 * at as u32;
    }
    call.send(90);
    for (spatial, to) in [(0, 1), (2, 0), (1, 1), (0, 0), (2, 1)] {
        call.publishers[to].sends = 0;
        call.switch(0, to);
        call.hear_other(0, to);
        call.prefer(0, Some(Layers::new(spatial, 0)));
        call.send(45);
        call.publishers[to].sends = u8::MAX;
        call.send(60);
    }
    steady(&call, EXACT, "a switch in a switch");
    in_step(&call, EXACT, SQUEEZED, "a switch in a switch");
}

#[test]
fn reports_between_a_source_that_closed_and_the_first_picture_of_the_next_are_of_what_was_sent() {
    for close in [false, true] {
        let mut call = studio(83, quiet(), Plan { encodings: 1, ..SIMULCAST }, 2);
        call.send(90);
        call.publishers[1].sends = 0;
        call.switch(0, 1);
        call.send(10);
        let object = call.publishers[0].producer;
        call.publishers[0].sends = 0;
        call.command(if close { Command::Close { object } } else { Command::Pause { object } });
        // Long enough for a report on what was sent since the last one.
        call.send(60);
        call.publishers[1].sends = u8::MAX;
        call.hear_other(0, 1);
        call.send(150);
        steady(&call, EXACT, "a gap between sources");
        in_step(&call, EXACT, SQUEEZED, "a gap between sources");
    }
}

#[test]
fn a_layer_that_is_reported_on_late_is_put_right_by_its_first_report() {
    let mut call = studio(89, quiet(), Plan { encodings: 2, ..SIMULCAST }, 1);
    let late = call.publishers[0].source.encoders[1].ssrc;
    call.publishers[0].studio.as_mut().expect("it speaks").unreported = vec![late];
    call.prefer(0, Some(Layers::new(0, 0)));
    call.send(90);
    call.prefer(0, Some(Layers::new(1, 0)));
    call.send(90);
    call.publishers[0].studio.as_mut().expect("it speaks").unreported.clear();
    call.send(90);
    // Before its report, its packets tell when they arrive: here all take the same way.
    steady(&call, EXACT, "late reports");
    in_step(&call, EXACT, SQUEEZED, "late reports");
}

#[test]
fn row_100_jitter_and_loss_move_pictures_by_no_more_than_the_jitter() {
    let jitter = Duration::from_millis(30);
    for seed in [3, 4, 0xbeef] {
        println!("seed {seed}");
        let link = LinkConfig { delay: Duration::from_millis(40), jitter, loss: 20, ..LinkConfig::default() };
        let mut call = studio(seed, link, SIMULCAST, 2);
        // Publishers report often, and the least of eight delays counts.
        for publisher in &mut call.publishers {
            publisher.studio.as_mut().expect("it speaks").report_every = 8;
        }
        call.send(120);
        for round in 0..4 {
            call.prefer(0, Some(Layers::new(round % 3, 0)));
            call.send(40);
            call.switch(0, (round as usize + 1) % 2);
            call.hear_other(0, (round as usize + 1) % 2);
            call.send(60);
        }
        steady(&call, jitter * 2, &format!("seed {seed}"));
        in_step(&call, jitter * 2, jitter * 2 + SQUEEZED, &format!("seed {seed}"));
    }
}
