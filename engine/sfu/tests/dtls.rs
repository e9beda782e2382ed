//! Handshakes as the shard sees them: order of signalling, identity, ends.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{Command, DtlsState, Event, RemoteDtls, Reply};
use sfu_core::limits::Limits;
use sfu_core::testing::PeerOptions;
use sfu_core::testing::world::{OPUS, World, rtp};
use sfu_proto::crypto::{Certificate, DtlsContext, DtlsRole, DtlsSession, Fingerprint, SrtpProfile};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;

fn states(world: &World, id: ObjectId) -> Vec<DtlsState> {
    let of = |e: &Event| match e {
        Event::DtlsState { transport, state, .. } if *transport == id => Some(*state),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

/// A peer that has begun, with fingerprints signalled as the test likes.
fn begun(world: &mut World, role: DtlsRole) -> (usize, ObjectId) {
    let router = world.router();
    let member = world.add(router, PeerOptions { role, ..PeerOptions::default() });
    world.start(member);
    world.run(Duration::from_millis(300));
    (member, world.members[member].transport.id)
}

fn connect(world: &mut World, transport: ObjectId, role: Option<DtlsRole>, fingerprints: Vec<Fingerprint>) -> DtlsRole {
    let dtls = RemoteDtls { role, fingerprints };
    match world.command(Command::ConnectWebRtcTransport { transport, dtls }) {
        Ok(Reply::Connected(role)) => role,
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_018_a_fingerprint_signalled_after_the_handshake_is_waited_for() {
    let mut world = World::new(70);
    let (member, id) = begun(&mut world, DtlsRole::Client);
    assert_eq!(states(&world, id), [DtlsState::Connecting], "not connected before the identity is known");
    let fingerprints = world.members[member].peer.dtls_parameters().fingerprints;
    connect(&mut world, id, None, fingerprints);
    world.settle();
    assert_eq!(states(&world, id), [DtlsState::Connecting, DtlsState::Connected]);
}

fn handshakes(world: &mut World) -> u64 {
    let stats = world.shard.handle_command(world.now, &[], Command::ShardStats).expect("stats");
    let Reply::Stats(stats) = stats else { panic!("{stats:?}") };
    stats.counters.iter().find(|(name, _)| *name == "dtls_handshakes").expect("the counter").1
}

#[test]
fn h32_a_handshake_that_ends_by_command_gives_its_place_back() {
    // Two rooms' worth of late signalling must not use up the places for handshakes.
    let limits = Limits { dtls_handshakes: 2, ..Limits::default() };
    let mut world = World::with_limits(78, limits);
    for _ in 0..4 {
        let (member, id) = begun(&mut world, DtlsRole::Client);
        assert_eq!(states(&world, id), [DtlsState::Connecting]);
        assert_eq!(handshakes(&mut world), 0, "one that only waits for its fingerprint is no handshake under way");
        let fingerprints = world.members[member].peer.dtls_parameters().fingerprints;
        connect(&mut world, id, None, fingerprints);
        assert_eq!(handshakes(&mut world), 0);
        assert_eq!(states(&world, id).last(), Some(&DtlsState::Connecting), "events are polled by settle");
        world.settle();
        assert_eq!(states(&world, id).last(), Some(&DtlsState::Connected));
    }
}

#[test]
fn h32_a_handshake_given_up_for_the_signalled_role_gives_its_place_back() {
    let mut world = World::new(79);
    let router = world.router();
    let member = world.add(router, PeerOptions::default());
    let id = world.members[member].transport.id;
    // The peer says hello, although it is then signalled as the server.
    let context = DtlsContext::new(&Certificate::generate().expect("a certificate"), &SrtpProfile::ALL, 1200);
    let mut session = DtlsSession::new(&context.expect("a context"), DtlsRole::Client, world.now).expect("a session");
    let mut hello = [0; 1500];
    let len = session.poll_transmit(&mut hello).expect("a ClientHello");
    world.start(member);
    let check = world.members[member].peer.binding_request(true);
    world.members[member].peer.stop_checks();
    // By an address of which the answers are lost.
    let from = SocketAddr::from(([198, 51, 100, 251], 1));
    world.inject(member, from, &check);
    world.inject(member, from, &hello[..len]);
    assert_eq!(handshakes(&mut world), 1);
    let fingerprints = world.members[member].peer.dtls_parameters().fingerprints;
    assert_eq!(connect(&mut world, id, Some(DtlsRole::Server), fingerprints), DtlsRole::Client);
    assert_eq!(handshakes(&mut world), 1, "the new handshake, and not the old one beside it");
    world.close(id).expect("close");
    assert_eq!(handshakes(&mut world), 0);
}

#[test]
fn row_018_one_matching_fingerprint_of_several_is_enough() {
    let mut world = World::new(71);
    let (member, id) = begun(&mut world, DtlsRole::Client);
    let mut fingerprints = Certificate::generate().expect("a certificate").fingerprints();
    fingerprints.truncate(1);
    fingerprints.extend(world.members[member].peer.dtls_parameters().fingerprints);
    connect(&mut world, id, None, fingerprints);
    world.settle();
    assert_eq!(states(&world, id).last(), Some(&DtlsState::Connected));
}

#[test]
fn h06_another_certificate_fails_and_never_sees_media() {
    let mut world = World::new(72);
    let router = world.router();
    let alice = world.join(router);
    let producer = world.produce_audio(alice, 5);
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let member = world.add(router, PeerOptions { role, ..PeerOptions::default() });
        let id = world.members[member].transport.id;
        world.consume(member, producer);
        let wrong = Certificate::generate().expect("a certificate").fingerprints();
        connect(&mut world, id, Some(role), wrong);
        world.start(member);
        world.run(Duration::from_secs(1));
        assert_eq!(states(&world, id), [DtlsState::Connecting, DtlsState::Failed], "{role:?}");
        world.send_rtp(alice, &rtp(OPUS, 5, 1 + role as u16, 0, &[], b"private"));
        assert!(world.received(member).is_empty());
        let told = world
            .events
            .iter()
            .any(|e| matches!(e, Event::DtlsState { transport, reason, .. } if *transport == id && !reason.is_empty()));
        assert!(told, "the controller hears why");
    }
    assert!(world.strays.is_empty());
}

#[test]
fn the_role_follows_what_is_signalled() {
    let mut world = World::new(73);
    for (peer, signalled, ours) in [
        (DtlsRole::Client, None, DtlsRole::Server),
        (DtlsRole::Client, Some(DtlsRole::Client), DtlsRole::Server),
        (DtlsRole::Server, Some(DtlsRole::Server), DtlsRole::Client),
    ] {
        let (member, id) = begun(&mut world, peer);
        let fingerprints = world.members[member].peer.dtls_parameters().fingerprints;
        assert_eq!(connect(&mut world, id, signalled, fingerprints), ours);
        world.run(Duration::from_millis(300));
        assert!(world.members[member].peer.is_connected());
        assert_eq!(states(&world, id).last(), Some(&DtlsState::Connected));
    }
}

#[test]
fn row_020_a_genuine_close_notify_ends_media_and_a_forged_one_does_not() {
    let mut world = World::new(74);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    let id = world.members[bob].transport.id;
    let own = world.members[bob].peer.addr();
    // Plaintext alert records, warning and fatal, of epoch 0 and 1.
    for (level, kind) in [(1, 0), (2, 40), (2, 0)] {
        for epoch in [0, 1] {
            let alert = [21, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 99, 0, 2, level, kind];
            for from in [own, SocketAddr::from(([203, 0, 113, 9], 9))] {
                world.inject(bob, from, &alert);
            }
        }
    }
    assert_eq!(states(&world, id).last(), Some(&DtlsState::Connected));
    world.send_rtp(alice, &rtp(OPUS, 5, 1, 0, &[], b"x"));
    assert_eq!(world.rtp(bob).len(), 1);
    let now = world.now;
    world.members[bob].peer.close(now);
    world.settle();
    assert_eq!(states(&world, id).last(), Some(&DtlsState::Closed));
    world.send_rtp(alice, &rtp(OPUS, 5, 2, 0, &[], b"x"));
    world.run(Duration::from_secs(3));
    assert!(world.received(bob).is_empty());
    assert!(world.drops(DropReason::NotConnected) >= 1);
}

#[test]
fn closing_a_transport_says_so_to_the_peer() {
    let mut world = World::new(75);
    let router = world.router();
    let bob = world.join(router);
    world.close(world.members[bob].transport.id).expect("close");
    assert_eq!(world.members[bob].peer.failure(), Some("closed"));
    let socket = world.members[bob].socket;
    assert_eq!(world.releases.iter().map(|r| r.0).collect::<Vec<_>>(), [socket]);
}

#[test]
fn a_handshake_that_nobody_goes_on_with_fails_and_is_forgotten() {
    let mut world = World::new(76);
    let router = world.router();
    let member = world.add(router, PeerOptions { role: DtlsRole::Server, ..PeerOptions::default() });
    let id = world.members[member].transport.id;
    world.signal(member).expect("connect");
    // Checks arrive, but the peer never answers: its datagrams are thrown away.
    world.start(member);
    let own = world.members[member].peer.addr();
    let check = world.members[member].peer.binding_request(true);
    world.members[member].peer.set_addr(SocketAddr::from(([198, 51, 100, 250], 1)));
    world.members[member].peer.stop_checks();
    for _ in 0..40 {
        let now = world.now;
        let socket = world.members[member].socket;
        world.shard.handle_datagram(now, now, socket, own, &mut check.clone());
        world.run(Duration::from_secs(1));
    }
    assert_eq!(states(&world, id), [DtlsState::Connecting, DtlsState::Failed]);
    // 1, 2, 4... s apart or denser at first, but no storm.
    assert!(world.strays.len() < 200, "{}", world.strays.len());
}

#[test]
fn h27_clocks_that_stand_still_or_leap_harm_nothing() {
    let mut world = World::new(77);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    for n in 0..2_000u16 {
        world.send_rtp(alice, &rtp(OPUS, 5, n, u32::from(n) * 960, &[], b"x"));
        let now = world.now;
        world.shard.handle_timeout(now);
    }
    assert_eq!(world.rtp(bob).len(), 2_000, "time stood still");
    for leap in [Duration::from_secs(86_400 * 365 * 10), Duration::from_secs(u64::MAX / 4)] {
        let now = world.now + leap;
        world.shard.handle_timeout(now);
        world.shard.handle_timeout(now);
        world.now = now;
        world.settle();
        assert!(world.shard.next_timeout().is_none_or(|at| at > now || leap.as_secs() > 1 << 40));
    }
    assert!(world.dump(producer).is_some());
}
