//! Floods, by the counts of the fault list when `SFU_SCALE=full` (`make attack`), by what every run can afford
//! otherwise. Where nothing may be kept of a flood, the memory of the whole process is looked at, the C libraries'
//! included; so these tests run one after the other, and have a process of their own.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sfu_core::command::{Command, DtlsState, Event, Reply};
use sfu_core::limits::Limits;
use sfu_core::stats::Dump;
use sfu_core::testing::world::{MID_ID, OPUS, World, rtp};
use sfu_core::testing::{Peer, PeerOptions};
use sfu_proto::crypto::{Certificate, DtlsContext, DtlsRole, DtlsSession, SrtpProfile};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::SocketId;

/// What a process may grow by while it keeps nothing, KiB: pages that the allocator touches for the first time.
const SLACK_KIB: u64 = 512;

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn scaled(reduced: u32, full: u32) -> u32 {
    match std::env::var("SFU_SCALE").as_deref() {
        Ok("full") => full,
        Ok(other) => panic!("SFU_SCALE is {other:?}: leave it out, or give \"full\""),
        Err(_) => reduced,
    }
}

/// Resident memory of this process, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a proc file system");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn stranger(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], port))
}

/// A call: a publisher of audio and a subscriber.
fn call(seed: u64, limits: Limits) -> (World, usize, usize, ObjectId) {
    let mut world = World::with_limits(seed, limits);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    world.consume(bob, producer);
    (world, alice, bob, producer)
}

fn still_flows(world: &mut World, alice: usize, bob: usize, sequence: u16) -> bool {
    world.rtp(bob);
    world.send_rtp(alice, &rtp(OPUS, 5, sequence, 0, &[], b"still here"));
    world.rtp(bob).len() == 1
}

/// One datagram as the shard gets it, without the exchange that may follow.
fn hit(world: &mut World, member: usize, from: SocketAddr, datagram: &mut [u8]) {
    let (now, socket) = (world.now, world.members[member].socket);
    world.shard.handle_datagram(now, now, socket, from, datagram);
}

fn handshakes(world: &mut World) -> u64 {
    let Ok(Reply::Stats(stats)) = world.command(Command::ShardStats) else { panic!("stats") };
    stats.counters.iter().find(|(name, _)| *name == "dtls_handshakes").expect("the counter").1
}

fn transport_counter(world: &mut World, transport: ObjectId, name: &str) -> u64 {
    let stats = world.stats(transport).expect("stats");
    stats.counters.iter().find(|(n, _)| *n == name).expect("the counter").1
}

fn limits_reached(world: &World) -> Vec<(ObjectId, u32)> {
    let reached = |e: &Event| match e {
        Event::StreamLimitReached { transport, limit } => Some((*transport, *limit)),
        _ => None,
    };
    world.events.iter().filter_map(reached).collect()
}

/// A record with a part of one of several ClientHellos of 6,000 bytes, none of which is ever whole (RFC 6347, 4.2.3).
fn endless_fragment(at: u32) -> Vec<u8> {
    const BODY: u32 = 1_000;
    let u24 = |n: u32| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0];
    record.extend(at.to_be_bytes());
    record.extend((12 + BODY as u16).to_be_bytes());
    record.push(1);
    record.extend(u24(6_000));
    record.extend(((at % 3) as u16).to_be_bytes());
    record.extend(u24(at * 350 % 5_000));
    record.extend(u24(BODY));
    record.extend([7; BODY as usize]);
    record
}

/// One ClientHello serves all: sessions do not know each other.
fn client_hello(world: &World) -> Vec<u8> {
    let context = DtlsContext::new(&Certificate::generate().expect("a certificate"), &SrtpProfile::ALL, 1_200);
    let mut session = DtlsSession::new(&context.expect("a context"), DtlsRole::Client, world.now).expect("a session");
    let mut buffer = [0; 2_048];
    let len = session.poll_transmit(&mut buffer).expect("a ClientHello");
    buffer[..len].to_vec()
}

/// Full: 1,000 handshakes under 100,000 hellos a second, before ICE too.
#[test]
fn h01_and_row_014_client_hellos_from_foreign_tuples_disturb_no_handshake() {
    let _alone = alone();
    let joining = scaled(25, 1_000);
    let (step, hellos_per_step) = (Duration::from_millis(5), scaled(100, 500));
    let at_least = u64::from(scaled(2_000, 100_000));
    let (mut world, alice, bob, _) = call(21, Limits::default());
    let router = world.router();
    let mut hello = client_hello(&world);
    let mut sprayed = 0;
    let mut members: Vec<usize> = Vec::new();
    for _ in 0..joining {
        let member = world.add(router, PeerOptions::default());
        hit(&mut world, member, stranger(7), &mut hello);
        sprayed += 1;
        world.signal(member).expect("connect");
        members.push(member);
    }
    for member in &members {
        world.start(*member);
    }
    let mut next = 0u32;
    while sprayed < at_least || !members.iter().all(|m| world.members[*m].peer.is_connected()) {
        for _ in 0..hellos_per_step {
            let member = members[next as usize % members.len()];
            hit(&mut world, member, stranger(1_000 + (next % 60_000) as u16), &mut hello);
            next += 1;
            sprayed += 1;
        }
        world.run(step);
        assert!(sprayed < 20 * at_least, "not all connect");
    }
    assert!(members.iter().all(|m| world.members[*m].peer.is_connected()));
    assert!(world.strays.is_empty(), "no reply to the sprayer");
    assert_eq!(world.drops(DropReason::UnknownTuple), sprayed);
    assert!(still_flows(&mut world, alice, bob, 1));
}

/// Full: ten million.
#[test]
fn h02_bad_tags_never_close_anything() {
    let _alone = alone();
    let count = scaled(20_000, 10_000_000);
    let (mut world, alice, bob, _) = call(22, Limits::default());
    assert!(still_flows(&mut world, alice, bob, 1));
    let events = world.events.len();
    world.members[alice].peer.send_rtp(&rtp(OPUS, 5, 2, 0, &[], &[7; 100]));
    let genuine = world.members[alice].peer.poll_transmit().expect("queued");
    let own = world.members[alice].peer.addr();
    let mut forged = genuine.clone();
    let mut memory = 0;
    for n in 0..count {
        if n == count / 100 {
            memory = resident();
        }
        forged.copy_from_slice(&genuine);
        let at = 12 + n as usize % (forged.len() - 12);
        forged[at] ^= 1 << (n % 8);
        hit(&mut world, alice, if n % 2 == 0 { own } else { stranger(9) }, &mut forged);
    }
    let grown = resident().saturating_sub(memory);
    assert!(grown <= SLACK_KIB, "{grown} KiB");
    world.settle();
    assert_eq!(world.drops(DropReason::SrtpAuth), u64::from(count / 2));
    assert_eq!(world.drops(DropReason::UnknownTuple), u64::from(count / 2));
    assert_eq!(world.events.len(), events, "{:?}", &world.events[events..]);
    assert!(world.strays.is_empty());
    world.inject(alice, own, &genuine);
    assert_eq!(world.rtp(bob).len(), 1, "the genuine packet still counts");
    assert!(still_flows(&mut world, alice, bob, 3));
}

/// Full: a million.
#[test]
fn h04_ssrcs_with_bad_tags_leave_no_state() {
    let _alone = alone();
    let count = scaled(100_000, 1_000_000);
    let (mut world, alice, bob, _) = call(24, Limits::default());
    assert!(still_flows(&mut world, alice, bob, 1));
    let own = world.members[alice].peer.addr();
    let id = world.members[alice].transport.id;
    let template = rtp(OPUS, 0, 1, 0, &[(MID_ID, b"1")], &[3; 60]);
    let mut packet = template.clone();
    let mut memory = 0;
    for ssrc in 0..count {
        if ssrc == count / 100 {
            memory = resident();
        }
        packet.copy_from_slice(&template);
        packet[8..12].copy_from_slice(&ssrc.wrapping_mul(2_654_435_761).to_be_bytes());
        hit(&mut world, alice, own, &mut packet);
    }
    let grown = resident().saturating_sub(memory);
    assert!(grown <= SLACK_KIB, "{grown} KiB");
    let Some(Dump::WebRtcTransport(dump)) = world.dump(id) else { panic!("a transport") };
    assert_eq!(dump.streams.learned.0, 0);
    assert_eq!(world.drops(DropReason::SrtpAuth), u64::from(count));
    assert!(still_flows(&mut world, alice, bob, 2));
}

/// Full: a million. A stream has one SSRC at a time, and each takes the place of the one before, so that none is
/// refused and little is kept; that the peer has brought more than the cap is told, once.
#[test]
fn h04_row_035_ssrcs_with_good_tags_are_capped_and_the_signalled_one_stays() {
    let _alone = alone();
    let count = scaled(5_000, 1_000_000);
    let limits = Limits { learned_ssrcs_per_transport: 8, ..Limits::default() };
    let (mut world, alice, bob, producer) = call(26, limits);
    assert!(still_flows(&mut world, alice, bob, 1));
    let id = world.members[alice].transport.id;
    let mut memory = 0;
    for n in 0..count {
        if n == count / 10 {
            memory = resident();
        }
        if n % 50_000 == 0 {
            world.members[alice].peer.forget_sent();
        }
        world.send_rtp(alice, &rtp(OPUS, 1_000 + n, 1, 0, &[(MID_ID, b"1")], b"x"));
        world.received(bob);
    }
    // The attacker keeps its own state of 50,000 streams, which the first tenth has already brought.
    let grown = resident().saturating_sub(memory);
    assert!(count < 1_000_000 || grown <= 8 * SLACK_KIB, "{grown} KiB");
    let Some(Dump::WebRtcTransport(dump)) = world.dump(id) else { panic!("a transport") };
    assert!(dump.streams.learned.0 <= 8, "{}", dump.streams.learned.0);
    assert_eq!(transport_counter(&mut world, id, "learned_ssrcs_limit"), 8);
    assert_eq!(transport_counter(&mut world, id, "learned_ssrcs_total"), u64::from(count));
    assert_eq!(limits_reached(&world), [(id, 8)], "told once");
    let Some(Dump::Producer(dump)) = world.dump(producer) else { panic!("a producer") };
    assert!(dump.ssrcs.len() <= 8);
    // Time for the last newcomer to fall silent.
    world.run(Duration::from_secs(5));
    world.rtp(bob);
    world.members[alice].peer.forget_sent();
    for n in 2..6 {
        world.send_rtp(alice, &rtp(OPUS, 5, n, 0, &[], b"still here"));
    }
    assert!(!world.rtp(bob).is_empty(), "the signalled SSRC is taken up again");
}

/// Full: a million, over nine m-lines whose streams all are there at one time: each beyond the cap pushes the oldest
/// out, which is counted, and told once.
#[test]
fn h04_row_035_ssrcs_of_more_streams_than_are_learned_push_the_oldest_out() {
    let _alone = alone();
    let count = scaled(5_000, 1_000_000);
    let limits = Limits { learned_ssrcs_per_transport: 8, ..Limits::default() };
    let (mut world, alice, bob, _) = call(27, limits);
    let id = world.members[alice].transport.id;
    for n in 0..8 {
        world.produce_audio(alice, 10 + n);
    }
    let mut memory = 0;
    for n in 0..count {
        if n == count / 10 {
            memory = resident();
        }
        if n % 50_000 == 0 {
            world.members[alice].peer.forget_sent();
        }
        assert_eq!(limits_reached(&world).len(), usize::from(n > 8), "after {n}");
        let mid = (1 + n % 9).to_string();
        world.send_rtp(alice, &rtp(OPUS, 1_000 + n, 1, 0, &[(MID_ID, mid.as_bytes())], b"x"));
        world.received(bob);
    }
    let grown = resident().saturating_sub(memory);
    assert!(count < 1_000_000 || grown <= 8 * SLACK_KIB, "{grown} KiB");
    assert_eq!(limits_reached(&world), [(id, 8)]);
    assert_eq!(transport_counter(&mut world, id, "learned_ssrcs"), 8);
    assert_eq!(transport_counter(&mut world, id, "learned_ssrcs_total"), u64::from(count));
    assert_eq!(world.drops(DropReason::RtpStreamLimit), u64::from(count) - 8);
}

/// Full: 10,000 transports, each with as much as is taken of a handshake that never ends; a round after the other, so
/// that what one leaves behind would show.
#[test]
fn h08_fragments_that_never_end_hold_64_kib_for_each_transport_and_go_at_the_timeout() {
    let _alone = alone();
    let victims = scaled(100, 10_000);
    let victims_of = |world: &mut World, crowd: ObjectId| -> Vec<(SocketId, SocketAddr)> {
        (0..victims)
            .map(|n| {
                let (transport, socket) = world.transport(crowd);
                let addr = SocketAddr::from(([203, 0, 113, (n / 250) as u8], 1_000 + (n % 250) as u16));
                let mut scout = Peer::new(u64::from(n), addr, PeerOptions::default());
                scout.start(world.now, addr, transport.ice.clone(), transport.fingerprints.clone());
                let now = world.now;
                world.shard.handle_datagram(now, now, socket, addr, &mut scout.binding_request(true));
                world.settle();
                (socket, addr)
            })
            .collect()
    };
    let limits = Limits { transports: 10_100, dtls_handshakes: 10_100, ..Limits::default() };
    let (mut world, alice, bob, _) = call(28, limits);
    let mut peaks = Vec::new();
    for round in 0..5u16 {
        let crowd = world.router();
        let targets = victims_of(&mut world, crowd);
        let (before, refused) = (resident(), world.drops(DropReason::Dtls) + world.drops(DropReason::DtlsBudget));
        for at in 0..100u32 {
            let part = endless_fragment(at);
            for (socket, addr) in &targets {
                let now = world.now;
                world.shard.handle_datagram(now, now, *socket, *addr, &mut part.clone());
            }
            world.settle();
        }
        peaks.push(resident());
        let grown = resident().saturating_sub(before);
        assert!(grown <= 64 * u64::from(victims) + SLACK_KIB, "{} KiB each", grown / u64::from(victims));
        assert_eq!(handshakes(&mut world), u64::from(victims));
        let refused = world.drops(DropReason::Dtls) + world.drops(DropReason::DtlsBudget) - refused;
        assert!(refused > 30 * u64::from(victims), "most is not taken: {refused}");
        assert!(still_flows(&mut world, alice, bob, 1 + round), "the room is not disturbed");
        world.events.clear();
        world.run(Duration::from_millis(30_100));
        assert_eq!(handshakes(&mut world), 0);
        let failed = |e: &&Event| matches!(e, Event::DtlsState { state: DtlsState::Failed, .. });
        assert_eq!(world.events.iter().filter(failed).count(), victims as usize);
        world.close(crowd).expect("close");
    }
    println!("resident: {peaks:?} KiB, {victims} transports");
    // The allocator keeps some of what the first rounds gave back; a leak would go on.
    let (last, before) = (peaks[4], peaks[3]);
    assert!(last <= before + before / 16 + SLACK_KIB, "{peaks:?} KiB");
}

/// Full: a million of one packet, and that packet again after 2^16 others.
#[test]
fn row_024_replayed_packets_go_no_further() {
    let _alone = alone();
    let count = scaled(1_000, 1_000_000);
    let later = scaled(1_100, 66_000);
    let (mut world, alice, bob, _) = call(12, Limits::default());
    world.members[alice].peer.send_rtp(&rtp(OPUS, 5, 1, 0, &[], b"x"));
    let datagram = world.members[alice].peer.poll_transmit().expect("queued");
    let from = world.members[alice].peer.addr();
    let mut copy = datagram.clone();
    for _ in 0..count {
        copy.copy_from_slice(&datagram);
        hit(&mut world, alice, from, &mut copy);
    }
    world.settle();
    assert_eq!(world.rtp(bob).len(), 1);
    assert_eq!(world.drops(DropReason::SrtpReplay), u64::from(count) - 1);
    for n in 0..later {
        world.send_rtp(alice, &rtp(OPUS, 5, (2 + n) as u16, 960 * n, &[], b"x"));
        if [1_030, 65_535].contains(&n) {
            world.rtp(bob);
            let refused = world.drops(DropReason::SrtpReplay) + world.drops(DropReason::SrtpAuth);
            world.inject(alice, from, &datagram);
            assert_eq!(world.drops(DropReason::SrtpReplay) + world.drops(DropReason::SrtpAuth), refused + 1);
            assert!(world.rtp(bob).is_empty(), "after {n} others");
        }
    }
    world.rtp(bob);
    world.send_rtp(alice, &rtp(OPUS, 5, (2 + later) as u16, 960 * later, &[], b"x"));
    assert_eq!(world.rtp(bob).len(), 1);
}

/// Full: 5,000 in a second. Peers that start and never go on; half as many places and fewer.
#[test]
fn row_022_handshakes_beyond_the_cap_wait_and_an_established_room_loses_nothing() {
    let _alone = alone();
    let starting = scaled(500, 5_000);
    let places = scaled(100, Limits::default().dtls_handshakes as u32);
    let (mut world, alice, bob, _) = call(22, Limits { dtls_handshakes: places as usize, ..Limits::default() });
    let mut hello = client_hello(&world);
    let crowd = world.router();
    let mut waiting = None;
    let talk = starting / 50;
    for n in 0..starting {
        let (transport, socket) = world.transport(crowd);
        let addr = SocketAddr::from(([203, 0, 113, (n / 250) as u8], 1_000 + (n % 250) as u16));
        let mut scout = Peer::new(u64::from(n), addr, PeerOptions::default());
        scout.start(world.now, addr, transport.ice.clone(), transport.fingerprints.clone());
        let mut check = scout.binding_request(true);
        let now = world.now;
        world.shard.handle_datagram(now, now, socket, addr, &mut check);
        world.shard.handle_datagram(now, now, socket, addr, &mut hello);
        waiting = Some((socket, addr, transport.id));
        // The room talks on, 50 packets a second.
        if n % talk == 0 {
            let sequence = (n / talk) as u16;
            world.send_rtp(alice, &rtp(OPUS, 5, sequence, u32::from(sequence) * 960, &[], b"x"));
        }
        world.run(Duration::from_secs(1) / starting);
    }
    assert_eq!(handshakes(&mut world), u64::from(places), "half-open handshakes are capped");
    assert_eq!(world.drops(DropReason::DtlsBudget), u64::from(starting - places));
    assert_eq!(world.rtp(bob).len(), 50, "{:?}", world.shard.drops());
    // Those that do not go on are given up, and the others get their turn.
    world.run(Duration::from_millis(29_500));
    assert_eq!(handshakes(&mut world), 0);
    let (socket, addr, id) = waiting.expect("the last one");
    let now = world.now;
    world.shard.handle_datagram(now, now, socket, addr, &mut hello);
    world.settle();
    let begun =
        |e: &Event| matches!(e, Event::DtlsState { transport, state: DtlsState::Connecting, .. } if *transport == id);
    assert!(world.events.iter().any(begun));
    world.close(crowd).expect("close");
    assert_eq!(handshakes(&mut world), 0);
    world.send_rtp(alice, &rtp(OPUS, 5, 500, 500 * 960, &[], b"x"));
    assert_eq!(world.rtp(bob).len(), 1);
}
