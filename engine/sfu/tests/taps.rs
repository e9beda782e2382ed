//! Taps in virtual time: what is copied, what is not, and how they end.

use std::time::Duration;

use sfu_core::command::{Command, ErrorCode, Event, Reply};
use sfu_core::limits::Limits;
use sfu_core::tap::{TapEnd, TapFormat, TapOptions};
use sfu_core::testing::world::{OPUS, World, rtp};
use sfu_core::trace::Direction;
use sfu_wire::id::ObjectId;

fn options() -> TapOptions {
    TapOptions {
        name: "a.pcapng".to_owned(),
        format: TapFormat::Pcapng,
        max_bytes: 1 << 20,
        max_duration: Duration::from_secs(60),
        headers_only: false,
    }
}

/// Alice sends to Bob.
fn pair(limits: Limits) -> (World, usize, [ObjectId; 2]) {
    let mut world = World::with_limits(90, limits);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    world.events.clear();
    let transports = [alice, bob].map(|member| world.members[member].transport.id);
    (world, alice, transports)
}

fn ended(world: &mut World) -> Vec<(ObjectId, TapEnd, u64, u64)> {
    world.events.extend(std::iter::from_fn(|| world.shard.poll_event()));
    let told = std::mem::take(&mut world.events).into_iter().filter_map(|event| match event {
        Event::TapClosed { transport, reason, packets, dropped, .. } => Some((transport, reason, packets, dropped)),
        _ => None,
    });
    told.collect()
}

#[test]
fn both_ways_are_copied_in_the_clear_and_nothing_before_or_after() {
    let (mut world, alice, [from, to]) = pair(Limits::default());
    let packet = |n: u16| rtp(OPUS, 5, n, 960 * u32::from(n), &[], &[n as u8; 40]);
    world.send_rtp(alice, &packet(0));
    assert!(!world.shard.has_taps(), "off by default");
    for transport in [from, to] {
        assert_eq!(world.command(Command::StartTap { transport, options: options() }), Ok(Reply::Done));
    }
    let again = world.command(Command::StartTap { transport: from, options: options() });
    assert_eq!(again.expect_err("one is enough").code, ErrorCode::AlreadyExists);
    world.send_rtp(alice, &packet(1));
    let copies: Vec<_> = world.shard.taps().filter(|copy| !copy.rtcp).collect();
    let facts: Vec<_> = copies.iter().map(|copy| (copy.transport, copy.direction)).collect();
    assert_eq!(facts, [(from, Direction::In), (to, Direction::Out)]);
    assert_eq!(copies[0].bytes, packet(1));
    assert!(copies[1].bytes.ends_with(&[1; 40]), "the payload is not encrypted");
    assert_eq!(copies[0].remote, world.members[alice].peer.addr());
    assert!(copies[0].local.port() != 0);
    world.shard.clear_taps();
    for transport in [from, to] {
        assert_eq!(world.command(Command::StopTap { transport }), Ok(Reply::Done));
        assert_eq!(world.command(Command::StopTap { transport }), Ok(Reply::Done), "nothing is there to stop");
    }
    world.send_rtp(alice, &packet(2));
    assert!(!world.shard.has_taps());
    let stopped: Vec<_> = ended(&mut world).into_iter().map(|(id, reason, ..)| (id, reason)).collect();
    assert_eq!(stopped, [(from, TapEnd::Stopped), (to, TapEnd::Stopped)]);
}

#[test]
fn a_tap_ends_by_size_by_time_and_with_its_transport() {
    let (mut world, alice, [from, _]) = pair(Limits::default());
    let packet = |n: u16| rtp(OPUS, 5, n, 960 * u32::from(n), &[], &[1; 988]);
    let small = TapOptions { max_bytes: 4_096, ..options() };
    world.command(Command::StartTap { transport: from, options: small }).expect("it can be tapped");
    for n in 1..10 {
        world.send_rtp(alice, &packet(n));
    }
    // 128 of the file and 1096 for each packet.
    assert_eq!(ended(&mut world), [(from, TapEnd::SizeReached, 3, 0)]);
    world.shard.clear_taps();
    let short = TapOptions { max_duration: Duration::from_millis(500), headers_only: true, ..options() };
    world.command(Command::StartTap { transport: from, options: short }).expect("it can be tapped");
    world.send_rtp(alice, &packet(10));
    let lens: Vec<_> = world.shard.taps().filter(|copy| !copy.rtcp).map(|c| (c.original, c.bytes.len())).collect();
    assert_eq!(lens, [(1_000, 12)]);
    world.run(Duration::from_millis(499));
    assert!(ended(&mut world).is_empty());
    world.run(Duration::from_millis(2));
    assert!(matches!(ended(&mut world)[..], [(_, TapEnd::TimeReached, 1.., 0)]));
    world.command(Command::StartTap { transport: from, options: options() }).expect("it can be tapped");
    world.command(Command::Close { object: from }).expect("it can be closed");
    assert!(matches!(ended(&mut world)[..], [(_, TapEnd::TransportClosed, ..)]));
}

#[test]
fn copies_that_nobody_takes_are_dropped_and_counted_and_media_goes_on() {
    let (mut world, alice, [from, to]) = pair(Limits { tap_packets: 4, ..Limits::default() });
    world.command(Command::StartTap { transport: from, options: options() }).expect("it can be tapped");
    for n in 1..=10 {
        world.send_rtp(alice, &rtp(OPUS, 5, n, 960 * u32::from(n), &[], &[1; 40]));
    }
    assert_eq!(world.shard.taps().count(), 4);
    world.command(Command::StopTap { transport: from }).expect("it can be stopped");
    let told = ended(&mut world);
    assert!(matches!(told[..], [(_, TapEnd::Stopped, 4, 6..)]), "{told:?}");
    let Ok(Reply::Stats(stats)) = world.command(Command::Stats { object: to }) else { panic!("no stats") };
    assert!(stats.streams.iter().any(|stream| stream.packets == 10), "{stats:?}");
}
