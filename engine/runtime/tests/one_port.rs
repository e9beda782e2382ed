//! Two shards on one port: real sockets, real ICE, DTLS and SRTP. Transports of both shards, peers that move, thieves, a
//! shard that dies, and a kernel that does not steer.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sfu_core::command::{Command, Reply, WebRtcTransportCreated};
use sfu_core::testing::world::{OPUS, opus, producer_config, rtp};
use sfu_core::testing::{Peer, PeerOptions};
use sfu_runtime::{IoBackend, ListenInfo, RuntimeOptions};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::time::Time;
use support::house::{House, STARVED, created};
use support::{BACKENDS, crc32, options, request};

/// Turns of a peer, of a millisecond or more each, that are enough for everything here.
const TURNS: usize = 4_000;

fn house_of(options: &RuntimeOptions) -> House {
    House::new(options, ListenInfo::udp([127, 0, 0, 1].into()))
}

impl House {
    fn join(&self, shard: u8, seed: u64) -> Client {
        let WebRtcTransportCreated { id, ice, candidates, fingerprints } = self.transport(shard);
        let socket = client_socket();
        let mut peer = Peer::new(seed, socket.local_addr().unwrap(), PeerOptions::default());
        self.command(shard, Command::ConnectWebRtcTransport { transport: id, dtls: peer.dtls_parameters() });
        let config = producer_config(MediaKind::Audio, Mid::new(b"0").unwrap(), vec![opus()], Some(5), None);
        let producer = created(&self.command(shard, Command::Produce { transport: id, config: Box::new(config) }));
        let now = Time::from_millis(1_000);
        let to = SocketAddr::new(candidates[0].address.parse().unwrap(), candidates[0].port);
        peer.start(now, to, ice, fingerprints);
        Client { peer, socket, transport: id, producer, now, sequence: 0 }
    }

    /// As [`join`](Self::join), to the end.
    fn connected(&self, shard: u8, seed: u64) -> Client {
        let mut client = self.join(shard, seed);
        assert!(client.turn_until(|c| c.peer.is_connected()), "not connected: {:?}", client.peer.failure());
        client
    }

    /// Sends packets until one is forwarded, and tells how many turns of a millisecond that took.
    fn turns_to_media(&self, client: &mut Client) -> usize {
        let before = self.packets(client.producer);
        for turn in 0..TURNS {
            client.send();
            client.turn_until(|_| true);
            if self.packets(client.producer) > before {
                return turn;
            }
        }
        panic!("nothing arrives: {:?}", self.drops(client.transport.shard(), DropReason::UnknownTuple));
    }
}

fn client_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    socket
}

/// A peer with its socket. Its time only orders its timers: each turn is a millisecond.
struct Client {
    peer: Peer,
    socket: UdpSocket,
    transport: ObjectId,
    producer: ObjectId,
    now: Time,
    sequence: u16,
}

impl Client {
    fn send(&mut self) {
        self.sequence += 1;
        let packet = rtp(OPUS, 5, self.sequence, u32::from(self.sequence) * 960, &[], b"x");
        self.peer.send_rtp(&packet);
    }

    /// A packet, a check, and what comes. Its own checks are of its own time, which goes slower than the shard's.
    fn live(&mut self) {
        self.send();
        let check = self.peer.binding_request(true);
        self.peer.send_raw(check);
        self.turn_until(|_| true);
    }

    /// Sends and receives until `done`, or for as many turns as a slow machine may need.
    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..TURNS {
            self.peer.handle_timeout(self.now);
            self.transmit();
            let mut buffer = [0; 2_048];
            if let Ok(len) = self.socket.recv(&mut buffer) {
                self.peer.handle_datagram(self.now, &mut buffer[..len]);
            }
            self.transmit();
            self.now += Duration::from_millis(1);
            if done(self) {
                return true;
            }
        }
        false
    }

    fn transmit(&mut self) {
        let to = self.peer.remote_addr().unwrap();
        while let Some(datagram) = self.peer.poll_transmit() {
            self.socket.send_to(&datagram, to).unwrap();
        }
    }

    /// The NAT gives it another port; the next packet is a check.
    fn rebind(&mut self) {
        self.socket = client_socket();
        self.peer.set_addr(self.socket.local_addr().unwrap());
        let check = self.peer.binding_request(true);
        self.peer.send_raw(check);
    }
}

#[test]
fn transports_of_all_shards_share_one_port_and_in_the_steady_state_no_packet_arrives_at_another_shard() {
    for backend in BACKENDS {
        let house = house_of(&options(2, backend));
        let mut clients: Vec<Client> = (0..12).map(|n| house.connected((n % 2) as u8, n + 1)).collect();
        let port = clients[0].peer.remote_addr();
        assert!(clients.iter().all(|client| client.peer.remote_addr() == port), "one port");
        // The program may lag behind the last handshakes by some rounds.
        let mut last = (0, 0);
        for _ in 0..TURNS {
            let before = house.foreign();
            for _ in 0..50 {
                for client in &mut clients {
                    client.send();
                    client.transmit();
                }
            }
            for client in &clients {
                let sent = u64::from(client.sequence);
                let arrived = || house.packets(client.producer) >= sent;
                assert!((0..TURNS).any(|_| arrived()), "{backend:?}: packets are missing");
            }
            let after = house.foreign();
            last = (after.0 - before.0, after.1 - before.1);
            if last.0 == 0 {
                break;
            }
        }
        assert!(last.1 >= 600 && last.0 * 1_000 < last.1, "{backend:?}: {} of {} arrived elsewhere", last.0, last.1);
    }
}

#[test]
fn where_the_kernel_does_not_steer_shards_hand_over_and_everything_works() {
    for backend in BACKENDS {
        let house = house_of(&RuntimeOptions { steer_shared_ports: false, ..options(2, backend) });
        // By the kernel's hash, some of these are bound to arrive at the other shard.
        let mut clients: Vec<Client> = (0..16).map(|n| house.connected((n % 2) as u8, n + 1)).collect();
        for client in &mut clients {
            house.turns_to_media(client);
        }
        assert!(house.foreign().0 > 0);
        let taken: u64 = house.runtime.loads().iter().map(|load| load.taken_over).sum();
        assert_eq!(taken, house.foreign().0, "{backend:?}: nothing is lost on the way");
    }
}

fn a_peer_that_moves_is_followed(steer: bool) {
    let house = house_of(&RuntimeOptions { steer_shared_ports: steer, ..options(2, IoBackend::Default) });
    for shard in 0..2 {
        let mut client = house.connected(shard, 1 + u64::from(shard));
        house.turns_to_media(&mut client);
        let home = client.socket.try_clone().unwrap();
        // With the first one, and its way back, no more than an agent remembers.
        for _ in 0..6 {
            client.rebind();
            // Each turn waits for a millisecond at most: this is the gap, and far below a second.
            let turns = house.turns_to_media(&mut client);
            assert!(turns < 500, "steered {steer}, shard {shard}: {turns} turns without media");
            assert_eq!(house.selected(client.transport), Some(client.peer.addr()));
        }
        // And back.
        client.peer.set_addr(home.local_addr().unwrap());
        client.socket = home;
        let check = client.peer.binding_request(true);
        client.peer.send_raw(check);
        assert!(house.turns_to_media(&mut client) < 500);
        assert_eq!(house.selected(client.transport), Some(client.peer.addr()));
    }
}

#[test]
fn row_104_a_peer_whose_nat_gives_it_another_port_is_followed_to_its_shard_and_back() {
    a_peer_that_moves_is_followed(true);
    a_peer_that_moves_is_followed(false);
}

#[test]
fn row_105_after_an_ice_restart_from_another_port_media_goes_on_with_the_same_keys() {
    for steer in [true, false] {
        let house = house_of(&RuntimeOptions { steer_shared_ports: steer, ..options(2, IoBackend::Default) });
        let mut client = house.connected(1, 3);
        house.turns_to_media(&mut client);
        for round in 0..4 {
            let restart = Command::RestartIce { transport: client.transport };
            let Reply::IceParameters(ice) = house.command(1, restart) else { panic!() };
            client.socket = client_socket();
            client.peer.set_addr(client.socket.local_addr().unwrap());
            client.peer.set_remote_ice(client.now, ice);
            assert!(client.turn_until(|c| c.peer.is_answered()), "round {round}");
            assert!(house.turns_to_media(&mut client) < 500, "round {round}");
        }
    }
}

#[test]
fn row_104_an_address_of_another_shards_peer_is_not_taken_over_by_anybodys_credentials() {
    for steer in [true, false] {
        let house = house_of(&RuntimeOptions { steer_shared_ports: steer, ..options(2, IoBackend::Default) });
        let mut victim = house.connected(0, 1);
        let mut thief = house.connected(1, 2);
        house.turns_to_media(&mut victim);
        let own = thief.peer.addr();
        let to = thief.peer.remote_addr().unwrap();
        for _ in 0..200 {
            // As if the thief could forge the victim's address: signed checks of its own transport from there.
            let check = thief.peer.binding_request(true);
            victim.socket.send_to(&check, to).unwrap();
        }
        for _ in 0..20 {
            assert!(house.turns_to_media(&mut victim) < 500, "the victim's media goes on");
        }
        assert_eq!(house.selected(thief.transport), Some(own), "nothing of the thief's goes to the victim");
        assert!(house.drops(0, DropReason::StunUnauthenticated) >= 200, "its owner has refused them");
        assert!(house.turns_to_media(&mut thief) < 500, "the thief's own address is its own still");
    }
}

#[test]
fn row_104_what_no_key_has_signed_moves_nothing_and_what_is_no_check_is_not_handed_over() {
    let house = house_of(&RuntimeOptions { steer_shared_ports: false, ..options(2, IoBackend::Default) });
    let mut clients = [house.connected(0, 1), house.connected(1, 2)];
    let to = clients[0].peer.remote_addr().unwrap();
    let before = house.foreign().0;
    let strangers: Vec<UdpSocket> = (0..16).map(|_| client_socket()).collect();
    for stranger in &strangers {
        for _ in 0..20 {
            stranger.send_to(&[0x80; 200], to).unwrap();
            stranger.send_to(&[22; 200], to).unwrap();
            stranger.send_to(&[0xff; 20], to).unwrap();
        }
    }
    let refused = || house.drops(0, DropReason::UnknownTuple) + house.drops(1, DropReason::UnknownTuple);
    assert!((0..TURNS).any(|_| refused() >= 16 * 40), "{}", refused());
    assert_eq!(house.foreign().0, before, "no shard was bothered with the other's strangers");
    // Checks with a good checksum and tag, but a signature that is none.
    for client in &mut clients {
        for stranger in &strangers {
            let mut check = client.peer.binding_request(true);
            let at = check.len() - 20;
            check[at] ^= 1;
            let fingerprint = crc32(&check[..check.len() - 8]) ^ 0x5354_554e;
            let at = check.len() - 4;
            check[at..].copy_from_slice(&fingerprint.to_be_bytes());
            stranger.send_to(&check, to).unwrap();
        }
    }
    let refused = || house.drops(0, DropReason::StunUnauthenticated) + house.drops(1, DropReason::StunUnauthenticated);
    assert!((0..TURNS).any(|_| refused() >= 32), "{}", refused());
    assert!(house.foreign().0 > before, "a check may be handed over once, for its owner to judge");
    for client in &mut clients {
        assert_eq!(house.selected(client.transport), Some(client.peer.addr()));
        house.turns_to_media(client);
    }
}

#[test]
fn row_112_a_shard_that_is_made_anew_listens_on_the_same_port_again_and_the_other_shard_misses_nothing() {
    for (steer, dies) in [(true, 0_u8), (true, 1), (false, 1)] {
        let mut house = house_of(&RuntimeOptions { steer_shared_ports: steer, ..options(2, IoBackend::Default) });
        let stays = 1 - dies;
        let mut survivor = house.connected(stays, 1);
        let mut gone = house.connected(dies, 2);
        house.turns_to_media(&mut survivor);
        house.kill(dies);
        // Its sockets are those of the first life: what arrives for the other shard meanwhile waits there.
        for _ in 0..100 {
            survivor.send();
            survivor.transmit();
            gone.send();
            gone.transmit();
        }
        let (server, router) = house.furnish(dies);
        (house.servers[usize::from(dies)], house.routers[usize::from(dies)]) = (server, router);
        let sent = u64::from(survivor.sequence);
        let arrived = || house.packets(survivor.producer) >= sent;
        assert!((0..TURNS).any(|_| arrived()), "the survivor's packets all arrive");
        let mut newcomer = house.connected(dies, 3);
        assert_eq!(newcomer.peer.remote_addr(), survivor.peer.remote_addr());
        house.turns_to_media(&mut newcomer);
        house.turns_to_media(&mut survivor);
    }
}

#[test]
fn h28_the_port_is_free_when_the_last_shard_has_closed_its_part_and_after_shutdown() {
    let house = house_of(&options(2, IoBackend::Default));
    let client = house.connected(0, 1);
    let addr = client.peer.remote_addr().unwrap();
    house.command(0, Command::Close { object: house.servers[0] });
    assert!(UdpSocket::bind(addr).is_err(), "the other shard still listens");
    house.command(1, Command::Close { object: house.servers[1] });
    let free = || UdpSocket::bind(addr).is_ok();
    // The reply may come before the socket is closed.
    assert!((0..TURNS).any(|_| house.command(1, Command::ShardStats) != Reply::Done && free()));
    let house = house_of(&options(2, IoBackend::Default));
    let addr = house.connected(1, 1).peer.remote_addr().unwrap();
    house.runtime.shutdown(Duration::from_secs(5)).unwrap();
    assert!(UdpSocket::bind(addr).is_ok(), "after shutdown");
}

#[test]
fn row_092_a_shard_that_stands_still_for_two_seconds_loses_nobody_says_so_and_does_not_disturb_the_other() {
    for backend in BACKENDS {
        let house = house_of(&options(2, backend));
        let mut other = house.connected(1, 50);
        let mut victims: Vec<Client> = (0..4).map(|n| house.connected(0, 1 + n)).collect();
        house.turns_to_media(&mut other);
        // The kernel knows by now whose the other is.
        let is_steered = |other: &mut Client, victims: &mut [Client]| {
            victims.iter_mut().for_each(Client::live);
            let before = house.foreign().0;
            (0..20).for_each(|_| other.live());
            house.foreign().0 == before
        };
        assert!((0..TURNS).any(|_| is_steered(&mut other, &mut victims)), "{backend:?}");
        for victim in &mut victims {
            victim.live();
            while victim.peer.poll_received().is_some() {}
        }
        let stalls = house.counter(0, "stalls");
        let lost = u64::from(other.sequence) - house.packets(other.producer);

        let held = STARVED.lock().unwrap();
        house.runtime.submit(0, request(9, Command::StopTap { transport: victims[0].transport })).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a stall is real time")]
        let began = std::time::Instant::now();
        #[expect(clippy::disallowed_methods, reason = "a stall is real time")]
        while began.elapsed() < Duration::from_secs(2) {
            victims.iter_mut().chain([&mut other]).for_each(Client::live);
        }
        // Who is on the other shard has missed nothing.
        let sent = u64::from(other.sequence) - lost;
        let arrived = || house.packets(other.producer);
        assert!((0..TURNS).any(|_| arrived() >= sent), "{backend:?}: {} of {sent}", arrived());
        drop(held);

        let before: Vec<u64> = victims.iter().map(|victim| house.packets(victim.producer)).collect();
        let go_on = |victims: &mut [Client]| {
            victims.iter_mut().for_each(Client::live);
            victims.iter().zip(&before).all(|(victim, before)| house.packets(victim.producer) > *before + 5)
        };
        assert!((0..400).any(|_| go_on(&mut victims)), "{backend:?}: media of all goes on");
        for victim in &mut victims {
            assert_eq!(house.selected(victim.transport), Some(victim.peer.addr()), "{backend:?}: nobody was given up");
            // What was due meanwhile is done once, not once for each time that it was due.
            let reports = std::iter::from_fn(|| victim.peer.poll_received()).count();
            assert!(reports <= 8, "{backend:?}: {reports} packets at once");
        }
        let (count, time) = (house.counter(0, "stalls") - stalls, house.counter(0, "stalled_ms"));
        assert!(count >= 1 && time >= 1_900, "{backend:?}: {count} stalls of {time} ms together");
        let load = &house.runtime.loads()[0];
        assert!(load.stalls >= 1 && load.stalled >= Duration::from_millis(1_900));
    }
}
