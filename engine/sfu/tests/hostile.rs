//! What strangers and misbehaving peers may try, against a shard with a call in it.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{Command, DtlsState, Event, IceState, Reply};
use sfu_core::limits::Limits;
use sfu_core::stats::{Dump, Stats};
use sfu_core::testing::PeerOptions;
use sfu_core::testing::world::{OPUS, World, rtp};
use sfu_proto::crypto::{Certificate, DtlsContext, DtlsRole, DtlsSession, SrtpProfile, hmac};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::stun::{Class, StunBuilder};

fn stranger(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], port))
}

/// A call: a publisher of audio and a subscriber.
fn call(seed: u64) -> (World, usize, usize) {
    let mut world = World::new(seed);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    (world, alice, bob)
}

fn still_flows(world: &mut World, alice: usize, bob: usize, sequence: u16) -> bool {
    world.rtp(bob);
    world.send_rtp(alice, &rtp(OPUS, 5, sequence, 0, &[], b"still here"));
    world.rtp(bob).len() == 1
}

fn shard_counter(world: &mut World, name: &str) -> u64 {
    let Ok(Reply::Stats(stats)) = world.command(Command::ShardStats) else { panic!("stats") };
    let Stats { counters, .. } = *stats;
    counters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v).expect("a known counter")
}

fn client_hello(world: &World) -> Vec<u8> {
    let certificate = Certificate::generate().expect("a certificate");
    let context = DtlsContext::new(&certificate, &SrtpProfile::ALL, 1_200).expect("a context");
    let mut session = DtlsSession::new(&context, DtlsRole::Client, world.now).expect("a session");
    let mut buf = [0; 2_048];
    let len = session.poll_transmit(&mut buf).expect("a ClientHello");
    buf[..len].to_vec()
}

fn binding(username: &[u8], key: &[u8], txid: u8) -> Vec<u8> {
    let mut buf = [0; 1_024];
    let len = StunBuilder::new(&mut buf, Class::Request, 1, &[txid; 12])
        .username(username)
        .ice_controlling(1)
        .priority(1)
        .use_candidate()
        .finish(Some((key, hmac::hmac_sha1)))
        .expect("fits");
    buf[..len].to_vec()
}

#[test]
fn row_001_datagrams_of_no_protocol_are_dropped() {
    let (mut world, alice, bob) = call(20);
    let before = world.drops(DropReason::UnknownFirstByte);
    for from in [stranger(1), world.members[alice].peer.addr()] {
        world.inject(alice, from, &[]);
        for first in (4..=15).chain(80..=127).chain(192..=255) {
            for len in [1, 2, 12, 1_200, 65_507] {
                world.inject(alice, from, &vec![first; len]);
            }
        }
    }
    assert_eq!(world.drops(DropReason::Empty), 2);
    let unknown = world.drops(DropReason::UnknownFirstByte) - before;
    let others = world.drops(DropReason::UnsupportedProtocol) + world.drops(DropReason::UnknownTuple);
    assert!(unknown > 0);
    assert_eq!(unknown + others, 2 * 5 * (12 + 48 + 64), "{:?}", world.shard.drops());
    assert!(world.strays.is_empty(), "no reply to anything of this");
    assert!(still_flows(&mut world, alice, bob, 1));
}

#[test]
fn h03_media_from_a_foreign_source_moves_no_stream() {
    let (mut world, alice, bob) = call(23);
    world.members[alice].peer.send_rtp(&rtp(OPUS, 5, 1, 0, &[], b"genuine"));
    let genuine = world.members[alice].peer.poll_transmit().expect("queued");
    for member in [alice, bob] {
        world.inject(member, stranger(1), &genuine);
        world.inject(member, stranger(1), &rtp(OPUS, 5, 2, 0, &[], b"plaintext"));
    }
    assert!(world.rtp(bob).is_empty());
    assert_eq!(world.drops(DropReason::UnknownTuple), 4);
    assert!(still_flows(&mut world, alice, bob, 3));
    assert!(world.strays.is_empty());
}

#[test]
fn row_023_srtp_of_every_length_and_broken_headers_are_dropped() {
    for profile in SrtpProfile::ALL {
        let mut world = World::new(25);
        let router = world.router();
        let options = PeerOptions { profiles: vec![profile], ..PeerOptions::default() };
        let (alice, bob) = (world.join_with(router, options.clone()), world.join_with(router, options));
        let producer = world.produce_audio(alice, 5);
        world.consume(bob, producer);
        let own = world.members[alice].peer.addr();
        for len in 0..=64usize {
            for second in [100u8, 200, 201, 228] {
                for first in [0x80u8, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0x40] {
                    let mut datagram = vec![0xff; len];
                    datagram.iter_mut().zip([first, second]).for_each(|(d, b)| *d = b);
                    world.inject(alice, own, &datagram);
                }
            }
        }
        assert!(world.rtp(bob).is_empty());
        assert!(still_flows(&mut world, alice, bob, 1), "{profile:?}");
    }
}

#[test]
fn row_035_a_signalled_ssrc_keeps_its_replay_list_whatever_else_its_peer_sends() {
    for late in [false, true] {
        let mut world = World::new(27);
        let router = world.router();
        let alice = world.add(router, PeerOptions::default());
        if late {
            world.connect(alice);
        }
        let producer = world.produce_audio(alice, 5);
        if !late {
            world.connect(alice);
        }
        world.members[alice].peer.send_rtp(&rtp(OPUS, 5, 1, 0, &[], b"x"));
        let once = world.members[alice].peer.poll_transmit().expect("a packet");
        let addr = world.members[alice].peer.addr();
        world.inject(alice, addr, &once);
        for ssrc in 0..600u32 {
            world.send_rtp(alice, &rtp(OPUS, 1_000 + ssrc, 1, 0, &[], b"x"));
        }
        world.inject(alice, addr, &once);
        assert_eq!(world.drops(DropReason::SrtpReplay), 1, "late {late}: {:?}", world.shard.drops());
        // Once it is signalled no longer, others may take its place.
        world.close(producer).expect("close");
        for ssrc in 0..600u32 {
            world.send_rtp(alice, &rtp(OPUS, 5_000 + ssrc, 1, 0, &[], b"x"));
        }
        world.inject(alice, addr, &once);
        assert_eq!(world.drops(DropReason::SrtpReplay), 1);
    }
}

#[test]
fn row_005_wrong_usernames_and_keys_make_no_tuple_and_get_no_answer() {
    let (mut world, alice, bob) = call(27);
    let ice = world.members[alice].transport.ice.clone();
    let (user, key) = (ice.username_fragment.as_bytes(), ice.password.as_bytes());
    let tuples = shard_counter(&mut world, "tuples");
    let before = world.drops(DropReason::StunUnauthenticated) + world.drops(DropReason::StunMalformed);
    let with = |tail: &[u8]| [user, tail].concat();
    let wrong = [
        binding(b"nobodyknowsthis!:x", key, 1),
        binding(&with(b":x"), b"wrong key", 2),
        binding(user, key, 3),
        binding(&[b'a'; 513], key, 4),
        binding(&[0xff, 0xfe, b':', 0x80], key, 5),
        binding(b":", key, 6),
        binding(b"", key, 7),
    ];
    for message in &wrong {
        world.inject(alice, stranger(1), message);
    }
    let after = world.drops(DropReason::StunUnauthenticated) + world.drops(DropReason::StunMalformed);
    assert_eq!(after - before, wrong.len() as u64, "{:?}", world.shard.drops());
    assert_eq!(shard_counter(&mut world, "tuples"), tuples);
    assert!(world.strays.iter().all(|(_, _, bytes)| bytes.len() <= wrong[1].len()));
    assert!(still_flows(&mut world, alice, bob, 1));
}

#[test]
fn credentials_of_one_transport_open_no_other_socket_and_take_no_tuple() {
    let (mut world, alice, bob) = call(28);
    let ice = world.members[alice].transport.ice.clone();
    let username = format!("{}:x", ice.username_fragment);
    let message = binding(username.as_bytes(), ice.password.as_bytes(), 1);
    let tuples = shard_counter(&mut world, "tuples");
    world.inject(bob, stranger(1), &message);
    assert_eq!(shard_counter(&mut world, "tuples"), tuples, "another transport's socket");
    let bobs = world.members[bob].peer.addr();
    world.inject(bob, bobs, &message);
    assert!(still_flows(&mut world, alice, bob, 1), "a known tuple stays with its transport");
}

#[test]
fn row_008_a_peer_with_many_ports_keeps_eight_tuples_and_its_selected_pair() {
    let (mut world, alice, bob) = call(29);
    let id = world.members[alice].transport.id;
    let ice = world.members[alice].transport.ice.clone();
    let username = format!("{}:x", ice.username_fragment);
    let Some(Dump::WebRtcTransport(before)) = world.dump(id) else { panic!("a transport") };
    let mut buf = [0; 512];
    for port in 0..10_000u16 {
        let mut txid = [0; 12];
        txid[..2].copy_from_slice(&port.to_be_bytes());
        let len = StunBuilder::new(&mut buf, Class::Request, 1, &txid)
            .username(username.as_bytes())
            .ice_controlling(1)
            .priority(1)
            .finish(Some((ice.password.as_bytes(), hmac::hmac_sha1)))
            .expect("fits");
        world.inject(alice, stranger(1_000 + port), &buf[..len]);
    }
    let Some(Dump::WebRtcTransport(after)) = world.dump(id) else { panic!("a transport") };
    assert!(after.tuples.len() <= 8);
    assert_eq!(after.selected_tuple, before.selected_tuple);
    assert!(world.drops(DropReason::IceTupleLimit) > 9_000);
    assert!(still_flows(&mut world, alice, bob, 1));
}

#[test]
fn row_009_flapping_nominations_are_followed_but_told_at_most_ten_times_a_second() {
    let (mut world, alice, bob) = call(30);
    world.run(Duration::from_secs(2));
    let ice = world.members[bob].transport.ice.clone();
    let username = format!("{}:x", ice.username_fragment);
    let told = |world: &World| world.events.iter().filter(|e| matches!(e, Event::IceSelectedTuple { .. })).count();
    let before = told(&world);
    for n in 0..1_000u32 {
        let message = binding(username.as_bytes(), ice.password.as_bytes(), n as u8);
        world.inject(bob, stranger(1 + (n % 2) as u16), &message);
        world.run(Duration::from_millis(1));
    }
    let while_flapping = told(&world) - before;
    assert!(while_flapping <= 10, "{while_flapping}");
    world.run(Duration::from_secs(1));
    let last = world.events.iter().rev().find_map(|e| match e {
        Event::IceSelectedTuple { tuple, .. } => Some(tuple.remote),
        _ => None,
    });
    let Some(Dump::WebRtcTransport(dump)) = world.dump(world.members[bob].transport.id) else { panic!() };
    assert_eq!(last, dump.selected_tuple.map(|t| t.remote), "the last one is told");
    world.strays.clear();
    world.send_rtp(alice, &rtp(OPUS, 5, 1, 0, &[], b"x"));
    assert_eq!(world.strays.last().map(|s| s.1), last, "media follows the last nomination");
}

#[test]
fn row_011_the_old_password_is_dead_once_the_new_one_was_used() {
    let (mut world, alice, bob) = call(31);
    let id = world.members[alice].transport.id;
    let old = world.members[alice].peer.binding_request(true);
    let Ok(Reply::IceParameters(new)) = world.command(Command::RestartIce { transport: id }) else { panic!() };
    assert_ne!(new.username_fragment, world.members[alice].transport.ice.username_fragment);
    assert_ne!(new.password, world.members[alice].transport.ice.password);
    let own = world.members[alice].peer.addr();
    let refused = world.drops(DropReason::StunUnauthenticated);
    world.inject(alice, own, &old);
    assert_eq!(world.drops(DropReason::StunUnauthenticated), refused, "both hold for now");
    assert!(still_flows(&mut world, alice, bob, 1));
    let now = world.now;
    world.members[alice].peer.set_remote_ice(now, new);
    world.run(Duration::from_millis(200));
    world.inject(alice, own, &old);
    world.inject(alice, stranger(1), &old);
    assert_eq!(world.drops(DropReason::StunUnauthenticated), refused + 2);
    assert!(world.strays.is_empty());
    assert!(still_flows(&mut world, alice, bob, 2));
    assert_eq!(shard_counter(&mut world, "username_fragments"), 2);
}

#[test]
fn row_011_after_two_restarts_that_nobody_used_the_credentials_in_use_still_find_the_transport() {
    let (mut world, alice, bob) = call(34);
    let transport = world.members[bob].transport.id;
    for _ in 0..3 {
        world.command(Command::RestartIce { transport }).expect("restart");
    }
    // The peer moves before it has heard of any of them.
    world.members[bob].peer.set_addr(SocketAddr::from(([198, 51, 100, 252], 4_000)));
    world.run(Duration::from_secs(3));
    assert!(still_flows(&mut world, alice, bob, 1), "{:?}", world.shard.drops());
}

#[test]
fn row_013_without_consent_for_30_s_sending_stops_and_the_controller_hears_of_it() {
    let (mut world, alice, bob) = call(32);
    assert!(still_flows(&mut world, alice, bob, 1));
    world.members[bob].peer.stop_checks();
    world.run(Duration::from_millis(29_000));
    let transport = world.members[bob].transport.id;
    let lost = Event::IceState { transport, state: IceState::Disconnected };
    world.run(Duration::from_millis(1_100));
    assert!(world.events.contains(&lost), "{:?}", world.events);
    world.received(bob);
    world.send_rtp(alice, &rtp(OPUS, 5, 2, 0, &[], b"x"));
    world.run(Duration::from_secs(5));
    assert!(world.received(bob).is_empty(), "nothing is sent without consent, RTCP neither");
    assert!(world.strays.is_empty());
}

#[test]
fn a_forged_or_early_stream_of_garbage_keeps_handshakes_within_the_limit() {
    let limits = Limits { dtls_handshakes: 3, ..Limits::default() };
    let mut world = World::with_limits(33, limits);
    let router = world.router();
    let hello = client_hello(&world);
    let members: Vec<usize> = (0..6).map(|_| world.add(router, PeerOptions::default())).collect();
    for member in &members {
        let ice = world.members[*member].transport.ice.clone();
        let username = format!("{}:x", ice.username_fragment);
        let message = binding(username.as_bytes(), ice.password.as_bytes(), 1);
        world.inject(*member, stranger(5), &message);
        world.inject(*member, stranger(5), &hello);
    }
    assert_eq!(shard_counter(&mut world, "dtls_handshakes"), 3);
    assert_eq!(world.drops(DropReason::DtlsBudget), 3);
    for member in &members[..3] {
        world.close(world.members[*member].transport.id).expect("close");
    }
    assert_eq!(shard_counter(&mut world, "dtls_handshakes"), 0);
    let connecting = |e: &&Event| matches!(e, Event::DtlsState { state: DtlsState::Connecting, .. });
    assert_eq!(world.events.iter().filter(connecting).count(), 3);
}
