//! Two shards on one TCP port: real sockets, real ICE, DTLS and SRTP. Whichever shard accepts a connection, its transport's
//! shard has it from the first check on; strangers and thieves get nothing; a shard dies and is made anew.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use sfu_core::command::{Command, Reply};
use sfu_core::testing::world::{OPUS, opus, producer_config, rtp};
use sfu_runtime::{IoBackend, ListenInfo, RuntimeOptions};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use support::by_tcp::ByTcp;
use support::house::{House, created};
use support::{BACKENDS, LONG, options};

/// Looks that are enough for whatever the slowest machine has to do.
const LOOKS: usize = 4_000;

fn house_of(options: &RuntimeOptions) -> House {
    House::new(options, ListenInfo::tcp([127, 0, 0, 1].into()))
}

/// A peer with a producer.
struct Caller {
    by: ByTcp,
    producer: ObjectId,
    sequence: u16,
}

impl Caller {
    fn join(house: &House, shard: u8, seed: u64) -> Self {
        let made = house.transport(shard);
        let transport = made.id;
        let mut by = ByTcp::start(made, seed, |dtls| {
            house.command(shard, Command::ConnectWebRtcTransport { transport, dtls });
        });
        by.until("connected", |by| by.peer.is_connected());
        let config = producer_config(MediaKind::Audio, Mid::new(b"0").unwrap(), vec![opus()], Some(5), None);
        let producer = created(&house.command(shard, Command::Produce { transport, config: Box::new(config) }));
        Self { by, producer, sequence: 0 }
    }

    fn send(&mut self, count: u16) {
        for _ in 0..count {
            self.sequence += 1;
            let time = u32::from(self.sequence) * 960;
            self.by.peer.send_rtp(&rtp(OPUS, 5, self.sequence, time, &[], b"x"));
        }
        self.by.step();
    }

    /// All that was sent has arrived.
    fn arrives(&self, house: &House) {
        let sent = u64::from(self.sequence);
        assert!((0..LOOKS).any(|_| house.packets(self.producer) >= sent), "{} of {sent}", house.packets(self.producer));
    }
}

fn sum(house: &House, name: &str) -> u64 {
    (0..house.runtime.shard_count() as u8).map(|shard| house.counter(shard, name)).sum()
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

/// A check that names a caller's transport, with a good checksum and a signature that is none.
fn forged(caller: &mut Caller) -> Vec<u8> {
    let mut check = caller.by.peer.binding_request(true);
    let at = check.len() - 20;
    check[at] ^= 1;
    let fingerprint = support::crc32(&check[..check.len() - 8]) ^ 0x5354_554e;
    let at = check.len() - 4;
    check[at..].copy_from_slice(&fingerprint.to_be_bytes());
    framed(&check)
}

/// Reads to the end: what came.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => all,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => all,
        Err(error) => panic!("not hung up on: {error}"),
    }
}

#[test]
fn transports_of_all_shards_share_one_tcp_port_and_a_connection_changes_its_shard_once_or_never() {
    for backend in BACKENDS {
        let house = house_of(&options(2, backend));
        // By the kernel's hash, some of these are bound to be accepted by the other shard.
        let mut callers: Vec<Caller> = (0..24).map(|n| Caller::join(&house, (n % 2) as u8, n + 1)).collect();
        let port = callers[0].by.stream.peer_addr().unwrap();
        assert!(callers.iter().all(|caller| caller.by.stream.peer_addr().unwrap() == port), "one port");
        let moved = sum(&house, "tcp_handed_over");
        assert!(moved > 0 && moved < 24, "{backend:?}: {moved} of 24 were accepted elsewhere");
        assert_eq!((sum(&house, "tcp_taken_over"), sum(&house, "tcp_accepted")), (moved, 24));
        assert_eq!((house.foreign().0, sum(&house, "tcp_half_open")), (moved, 0));
        assert_eq!([0, 1].map(|shard| house.counter(shard, "tcp_connections")), [12, 12]);
        for caller in &mut callers {
            caller.send(50);
        }
        callers.iter().for_each(|caller| caller.arrives(&house));
        assert_eq!(house.foreign().0, moved, "{backend:?}: in the steady state nothing passes another shard");
    }
}

#[test]
fn what_comes_behind_the_first_check_goes_with_the_connection_in_order() {
    let house = house_of(&options(2, IoBackend::Default));
    for n in 0..12_u64 {
        let shard = (n % 2) as u8;
        let made = house.transport(shard);
        let transport = made.id;
        let mut by = ByTcp::start(made, n + 1, |dtls| {
            house.command(shard, Command::ConnectWebRtcTransport { transport, dtls });
        });
        // Two checks and half of a third in one write: the shard that reads them owns none of them, perhaps.
        let checks: Vec<u8> = (0..3).flat_map(|_| framed(&by.peer.binding_request(true))).collect();
        let half = checks.len() - 30;
        by.stream.write_all(&checks[..half]).unwrap();
        assert!((0..LOOKS).any(|_| house.selected(transport).is_some()), "it is verified by the first");
        by.stream.write_all(&checks[half..]).unwrap();
        by.until("connected", |by| by.peer.is_connected());
    }
    assert!(sum(&house, "tcp_handed_over") > 0);
    assert_eq!((house.drops(0, DropReason::TcpFrame), house.drops(1, DropReason::TcpFrame)), (0, 0));
}

#[test]
fn row_104_who_names_anothers_fragment_without_its_key_gets_nothing_wherever_it_is_accepted() {
    let mut options = options(2, IoBackend::Default);
    options.tcp.half_open_time = Duration::from_millis(300);
    let house = house_of(&options);
    let mut victims = [Caller::join(&house, 0, 1), Caller::join(&house, 1, 2)];
    let at = victims[0].by.stream.peer_addr().unwrap();
    let selected = [0, 1].map(|n| house.selected(victims[n].by.transport));
    let mut thieves = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(&forged(&mut victims[n % 2])).unwrap();
        thieves.push(stream);
    }
    let refused = || [0, 1].map(|shard| house.drops(shard, DropReason::StunUnauthenticated));
    assert!((0..LOOKS).any(|_| refused() == [20, 20]), "each by its owner: {:?}", refused());
    for thief in &mut thieves {
        assert_eq!(rest(thief), [0_u8; 0], "not a byte");
    }
    assert_eq!([0, 1].map(|n| house.selected(victims[n].by.transport)), selected);
    for victim in &mut victims {
        victim.send(10);
        victim.arrives(&house);
    }
    assert_eq!((sum(&house, "tcp_half_open"), sum(&house, "tcp_connections")), (0, 2));
}

#[test]
fn row_012_a_stranger_is_handed_on_once_and_its_time_runs_on() {
    let mut options = options(2, IoBackend::Default);
    options.tcp.half_open_time = Duration::from_millis(500);
    options.tcp.unverified_packets = 1_000;
    let house = house_of(&options);
    let mut callers = [Caller::join(&house, 0, 1), Caller::join(&house, 1, 2)];
    let moved = sum(&house, "tcp_handed_over");
    let mut strangers: Vec<TcpStream> =
        (0..16).map(|_| TcpStream::connect(callers[0].by.stream.peer_addr().unwrap()).unwrap()).collect();
    let mut rounds = 0;
    while sum(&house, "tcp_half_open") > 0 || rounds == 0 {
        for stranger in &mut strangers {
            // They name the shards in turn. Those that are hung up on have nothing to say any more.
            let _ = stranger.write_all(&forged(&mut callers[rounds % 2]));
        }
        rounds += 1;
        assert!(rounds < LOOKS, "they would play for ever");
    }
    assert!(sum(&house, "tcp_handed_over") - moved <= 16, "once each at most");
    assert_eq!(sum(&house, "tcp_taken_over"), sum(&house, "tcp_handed_over"));
    assert_eq!(sum(&house, "tcp_connections"), 2);
}

#[test]
fn row_112_a_shard_that_is_made_anew_accepts_at_the_same_port_again_and_the_other_shards_calls_go_on() {
    for dies in [0, 1] {
        let mut house = house_of(&options(2, IoBackend::Default));
        let mut survivor = Caller::join(&house, 1 - dies, 1);
        let mut gone = Caller::join(&house, dies, 2);
        survivor.send(10);
        house.kill(dies);
        survivor.send(10);
        gone.by.until("hung up", |by| by.ended);
        // Who comes meanwhile for the one that lives is served, wherever the kernel puts the connection: there it waits.
        let made = house.transport(1 - dies);
        let waiting: Vec<TcpStream> =
            (0..8).map(|_| TcpStream::connect(survivor.by.stream.peer_addr().unwrap()).unwrap()).collect();
        assert_eq!(made.candidates[0].port, survivor.by.stream.peer_addr().unwrap().port());
        let (server, router) = house.furnish(dies);
        (house.servers[usize::from(dies)], house.routers[usize::from(dies)]) = (server, router);
        survivor.arrives(&house);
        let mut newcomers: Vec<Caller> = (0..8).map(|n| Caller::join(&house, n % 2, 3 + u64::from(n))).collect();
        for newcomer in &mut newcomers {
            assert_eq!(newcomer.by.stream.peer_addr().unwrap(), survivor.by.stream.peer_addr().unwrap());
            newcomer.send(10);
            newcomer.arrives(&house);
        }
        drop(waiting);
        survivor.send(10);
        survivor.arrives(&house);
    }
}

#[test]
fn h28_the_tcp_port_is_free_when_the_last_shard_has_closed_its_part() {
    let house = house_of(&options(2, IoBackend::Default));
    let addr = Caller::join(&house, 0, 1).by.stream.peer_addr().unwrap();
    house.command(0, Command::Close { object: house.servers[0] });
    assert!(TcpListener::bind(addr).is_err(), "the other shard still listens");
    // All of them are accepted by the one that is left.
    let mut peers: Vec<Caller> = (0..8).map(|n| Caller::join(&house, 1, 10 + n)).collect();
    for peer in &mut peers {
        peer.send(1);
        peer.arrives(&house);
    }
    house.command(1, Command::Close { object: house.servers[1] });
    let free = || TcpListener::bind(addr).is_ok();
    // The reply may come before the socket is closed.
    assert!((0..LOOKS).any(|_| house.command(1, Command::ShardStats) != Reply::Done && free()));
}
