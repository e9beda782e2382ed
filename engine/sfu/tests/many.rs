//! Many peers on one shard at once, silent ones, and a machine that was suspended under all of them.

use std::time::Duration;

use sfu_core::command::{Command, Event, IceState};
use sfu_core::testing::world::{OPUS, VP8, World, rtp, vp8_frame};
use sfu_wire::extension::ExtensionKind;

#[test]
fn row_093_an_hour_of_suspension_costs_no_peer_its_connection() {
    const PEERS: usize = 8;
    for media_first in [false, true] {
        let mut world = World::new(93);
        let router = world.router();
        let alice = world.join(router);
        let (audio, video) = (world.produce_audio(alice, 5), world.produce_video(alice, 7));
        let others: Vec<usize> = (1..PEERS).map(|_| world.join(router)).collect();
        for other in &others {
            world.consume(*other, audio);
            world.consume(*other, video);
        }
        let frame = |world: &mut World, n: u16| {
            world.send_rtp(alice, &rtp(OPUS, 5, n, u32::from(n) * 960, &[], b"x"));
            world.send_rtp(alice, &rtp(VP8, 7, n, u32::from(n) * 3_000, &[], &vp8_frame(n == 0, n)));
        };
        // A gap in the video, so that a NACK is due during the leap as well.
        for n in (0..20).chain(22..30) {
            frame(&mut world, n);
            world.run(Duration::from_millis(5));
        }
        others.iter().for_each(|other| drop(world.received(*other)));
        let alone = others[0];
        world.members[alone].peer.stop_checks();
        world.now += Duration::from_secs(3_600);
        if media_first {
            frame(&mut world, 30);
        }
        let now = world.now;
        world.shard.handle_timeout(now);
        let burst = world.shard.outbox().transmits().len();
        assert!(burst <= 4 * PEERS, "{burst} datagrams at once after the leap");
        // The peers check as they did before, each when it is its turn.
        for n in 31..61 {
            frame(&mut world, n);
            world.run(Duration::from_millis(100));
        }
        let lost = |e: &&Event| matches!(e, Event::IceState { state: IceState::Disconnected, .. });
        assert_eq!(world.events.iter().filter(lost).count(), 0, "media first: {media_first}");
        for other in &others {
            let heard = world.rtp(*other).len();
            assert!(heard >= 60, "member {other} heard {heard} of 60");
        }
        world.run(Duration::from_secs(40));
        assert_eq!(world.events.iter().filter(lost).count(), 1, "who checks no more is dropped after all");
        assert!(world.strays.is_empty());
    }
}

#[test]
fn a_room_that_falls_silent_wakes_the_shard_rarely() {
    let mut world = World::new(94);
    let router = world.router();
    let members: Vec<usize> = (0..4).map(|_| world.join(router)).collect();
    for member in &members {
        let ssrc = 100 * (*member as u32 + 1);
        let mut config = world.video_config(*member, ssrc);
        config.extensions.set(ExtensionKind::TransportCc, 5);
        config.codecs[0].feedback.transport_cc = true;
        config.codecs[0].feedback.remb = true;
        let producer = world.produce(*member, config);
        let transport = world.members[*member].transport.id;
        world.command(Command::SetMaxIncomingBitrate { transport, bitrate: 300_000 }).expect("set");
        for other in members.iter().filter(|m| *m != member) {
            world.consume(*other, producer);
        }
    }
    // One that only watches, with a bound on what it sends.
    let watcher = world.join(router);
    let transport = world.members[watcher].transport.id;
    world.command(Command::SetMaxIncomingBitrate { transport, bitrate: 300_000 }).expect("set");
    for n in [0u16, 1, 2, 5, 6, 90, 91, 7] {
        for member in &members {
            let ssrc = 100 * (*member as u32 + 1);
            let number = n.to_be_bytes();
            let packet = rtp(VP8, ssrc, n, 3_000 * u32::from(n), &[(5, &number)], &vp8_frame(n == 0, n));
            world.send_rtp(*member, &packet);
        }
        world.run(Duration::from_millis(20));
    }
    // What was lost is asked for in vain, and so are key frames; then there are only reports.
    world.run(Duration::from_secs(5));
    let end = world.now + Duration::from_secs(20);
    let mut wakes = 0;
    while let Some(at) = world.shard.next_timeout().filter(|at| *at <= end) {
        world.shard.handle_timeout(at.max(world.now));
        world.shard.outbox().clear();
        wakes += 1;
        assert!(wakes < 10_000, "time stands still at {at:?}");
    }
    // A report a second of each producer, and a bound a second of each transport.
    assert!(wakes <= 20 * (4 + 5) + 20, "{wakes} in 20 s");
}
