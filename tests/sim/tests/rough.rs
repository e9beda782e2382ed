//! Networks that reorder, repeat, lose in bursts and fall silent.

use std::time::Duration;

use sfu_core::command::{Command, Event, Reply};
use sfu_sim::call::{Call, Start};
use sfu_sim::media::pli_packet;
use sfu_sim::net::LinkConfig;
use sfu_sim::world::World;

const SEEDS: [u64; 3] = [1, 0xfeed, u64::MAX];

/// A call over good links, of which the publisher's then becomes `uplink`.
fn call(seed: u64, uplink: LinkConfig, subscribers: usize) -> Call {
    let mut call = Call::new(World::new(seed), LinkConfig::default(), subscribers, Start::default());
    call.send_frames(30, 3);
    set_uplink(&mut call, uplink);
    call
}

fn set_uplink(call: &mut Call, link: LinkConfig) {
    let publisher = call.publisher;
    call.world.members[publisher].up.set_config(link);
}

#[test]
fn row_099_packets_out_of_order_and_twice_cost_no_key_frame_and_are_sent_on_once() {
    for seed in SEEDS {
        println!("seed {seed}");
        let rough = LinkConfig {
            reorder: 250,
            reorder_delay: Duration::from_millis(50),
            duplicate: 100,
            ..LinkConfig::default()
        };
        let mut call = call(seed, rough, 2);
        let key_frames = call.source.key_frames;
        call.send_frames(300, 4);
        call.pass(Duration::from_secs(2));
        assert_eq!(call.source.key_frames, key_frames, "seed {seed}: nothing was lost, so nobody needs a key frame");
        for subscriber in &call.subscribers {
            subscriber.sink.check_order();
            assert_eq!(subscriber.sink.complete(), 330, "seed {seed}");
        }
        for index in 0..call.subscribers.len() {
            let object = call.subscribers[index].consumer;
            let Ok(Reply::Stats(stats)) = call.world.command(Command::Stats { object }) else { panic!("no stats") };
            let sent = stats.streams.iter().find(|stream| !stream.inbound).expect("its own stream");
            assert_eq!(sent.packets, 30 * 3 + 300 * 4, "seed {seed}: each packet once");
        }
        let counters = call.world.members[call.publisher].up.counters();
        assert!(counters.duplicated > 50 && counters.reordered > 100, "seed {seed}: {counters:?}");
    }
}

#[test]
fn row_098_a_burst_of_loss_is_repaired_without_a_key_frame() {
    for seed in SEEDS {
        println!("seed {seed}");
        let mut call = call(seed, LinkConfig::default(), 2);
        let key_frames = call.source.key_frames;
        // 200 ms of which nothing arrives, five times.
        for _ in 0..5 {
            set_uplink(&mut call, LinkConfig { loss: 1000, ..LinkConfig::default() });
            call.send_frames(6, 4);
            set_uplink(&mut call, LinkConfig::default());
            call.send_frames(40, 4);
        }
        call.pass(Duration::from_secs(2));
        assert_eq!(call.source.key_frames, key_frames, "seed {seed}");
        for subscriber in &call.subscribers {
            subscriber.sink.check_order();
            assert_eq!(subscriber.sink.complete(), 30 + 5 * 46, "seed {seed}");
        }
    }
}

#[test]
fn row_100_after_an_outage_of_two_seconds_a_key_frame_comes_within_one() {
    for seed in SEEDS {
        println!("seed {seed}");
        let jittery = LinkConfig { jitter: Duration::from_millis(200), ..LinkConfig::default() };
        let mut call = call(seed, jittery, 2);
        call.send_frames(60, 3);
        let key_frames = call.source.key_frames;
        set_uplink(&mut call, LinkConfig { loss: 1000, ..jittery });
        // More packets than can be asked for again.
        call.send_frames(60, 30);
        set_uplink(&mut call, jittery);
        let seen: Vec<_> = call.subscribers.iter().map(|s| s.sink.complete()).collect();
        call.send_frames(30, 3);
        assert!(call.source.key_frames > key_frames, "seed {seed}: within a second of the first packet");
        call.send_frames(60, 3);
        call.pass(Duration::from_secs(1));
        for (subscriber, before) in call.subscribers.iter().zip(seen) {
            subscriber.sink.check_order();
            assert!(subscriber.sink.complete() >= before + 60, "seed {seed}: {}", subscriber.sink.complete());
        }
    }
}

#[test]
fn row_100_a_step_of_the_delay_loses_nothing() {
    let mut call = call(100, LinkConfig::default(), 1);
    call.send_frames(60, 3);
    let key_frames = call.source.key_frames;
    set_uplink(&mut call, LinkConfig { delay: Duration::from_millis(400), ..LinkConfig::default() });
    call.send_frames(60, 3);
    call.pass(Duration::from_secs(1));
    assert_eq!((call.subscribers[0].sink.complete(), call.source.key_frames), (150, key_frames));
}

#[test]
fn row_107_two_hundred_consumers_that_ask_at_once_cost_one_key_frame() {
    let mut call = Call::new(World::new(107), LinkConfig::default(), 200, Start::default());
    call.send_frames(30, 3);
    let lossy = LinkConfig { loss: 20, ..LinkConfig::default() };
    for subscriber in &call.subscribers {
        call.world.members[subscriber.member].down.set_config(lossy);
    }
    call.send_frames(30, 3);
    let key_frames = call.source.key_frames;
    for subscriber in &call.subscribers {
        let pli = pli_packet(1, subscriber.sink.ssrc());
        call.world.members[subscriber.member].peer.send_rtcp(&pli);
    }
    call.send_frames(60, 3);
    call.pass(Duration::from_secs(1));
    assert!(call.source.key_frames <= key_frames + 1, "{} key frames", call.source.key_frames - key_frames);
    for subscriber in &call.subscribers {
        subscriber.sink.check_order();
        assert!(subscriber.sink.complete() >= 118, "{} of 120", subscriber.sink.complete());
    }
    assert!(call.subscribers.iter().map(|s| s.sink.repaired).sum::<u64>() > 300, "losses are repaired from here");
    let worst = call.world.events.iter().filter(|(_, event)| matches!(event, Event::ProducerScore { .. })).count();
    assert_eq!(worst, 0, "the publisher's stream is as good as ever");
}
