//! Many peers on one shard at once: thousands of handshakes beside an established room, and a machine that
//! was suspended under all of them.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{Command, DtlsState, Event, IceState, Reply};
use sfu_core::limits::Limits;
use sfu_core::testing::world::{OPUS, VP8, World, rtp, vp8_frame};
use sfu_core::testing::{Peer, PeerOptions};
use sfu_proto::crypto::{Certificate, DtlsContext, DtlsRole, DtlsSession};
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;

fn handshakes(world: &mut World) -> u64 {
    let Ok(Reply::Stats(stats)) = world.command(Command::ShardStats) else { panic!("stats") };
    stats.counters.iter().find(|(name, _)| *name == "dtls_handshakes").expect("the counter").1
}

/// One ClientHello serves all: sessions do not know each other.
fn client_hello(world: &World) -> Vec<u8> {
    let context = DtlsContext::new(&Certificate::generate().expect("a certificate"), &SrtpProfile::ALL, 1_200);
    let mut session = DtlsSession::new(&context.expect("a context"), DtlsRole::Client, world.now).expect("a session");
    let mut buffer = [0; 2_048];
    let len = session.poll_transmit(&mut buffer).expect("a ClientHello");
    buffer[..len].to_vec()
}

/// 5,000 in one second scaled to what a test can afford: 500 peers that start and never go on, 100 places.
#[test]
fn row_022_handshakes_beyond_the_cap_wait_and_an_established_room_loses_nothing() {
    const STARTING: u32 = 500;
    const PLACES: usize = 100;
    let mut world = World::with_limits(22, Limits { dtls_handshakes: PLACES, ..Limits::default() });
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    let hello = client_hello(&world);
    let crowd = world.router();
    let mut transports: Vec<ObjectId> = Vec::new();
    let mut waiting = None;
    for n in 0..STARTING {
        let (transport, socket) = world.transport(crowd);
        let addr = SocketAddr::from(([203, 0, 113, (n / 250) as u8], 1_000 + (n % 250) as u16));
        let mut scout = Peer::new(u64::from(n), addr, PeerOptions::default());
        scout.start(world.now, addr, transport.ice.clone(), transport.fingerprints.clone());
        let mut check = scout.binding_request(true);
        let now = world.now;
        world.shard.handle_datagram(now, now, socket, addr, &mut check);
        world.shard.handle_datagram(now, now, socket, addr, &mut hello.clone());
        transports.push(transport.id);
        waiting = Some((socket, addr, transport.id));
        // The room talks on: 50 packets a second while 500 start in one.
        if n % 10 == 0 {
            let sequence = (n / 10) as u16;
            world.send_rtp(alice, &rtp(OPUS, 5, sequence, u32::from(sequence) * 960, &[], b"x"));
        }
        world.run(Duration::from_millis(2));
    }
    assert_eq!(handshakes(&mut world), PLACES as u64, "half-open handshakes are capped");
    assert_eq!(world.drops(DropReason::DtlsBudget), u64::from(STARTING) - PLACES as u64);
    assert_eq!(world.rtp(bob).len(), STARTING as usize / 10, "{:?}", world.shard.drops());
    // Those that do not go on are given up, and the others get their turn.
    world.run(Duration::from_millis(29_500));
    assert_eq!(handshakes(&mut world), 0);
    let (socket, addr, id) = waiting.expect("the last one");
    let now = world.now;
    world.shard.handle_datagram(now, now, socket, addr, &mut hello.clone());
    world.settle();
    let begun =
        |e: &Event| matches!(e, Event::DtlsState { transport, state: DtlsState::Connecting, .. } if *transport == id);
    assert!(world.events.iter().any(begun));
    world.close(crowd).expect("close");
    assert_eq!(handshakes(&mut world), 0);
    world.send_rtp(alice, &rtp(OPUS, 5, 500, 500 * 960, &[], b"x"));
    assert_eq!(world.rtp(bob).len(), 1);
}

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
