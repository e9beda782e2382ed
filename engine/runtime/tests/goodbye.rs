//! An engine that shuts down tells its peers: real sockets, real DTLS and SRTP.

mod support;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use sfu_core::command::{Command, CommandError, Reply, WebRtcTransportCreated, WebRtcTransportOptions};
use sfu_core::testing::world::{OPUS, consumer_config, opus, producer_config, rtp};
use sfu_core::testing::{Peer, PeerOptions, Received};
use sfu_runtime::{IoBackend, ListenInfo, Output, Runtime, ShardRequest};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Packets, RtcpPacket};
use sfu_wire::time::Time;
use support::{BACKENDS, Echo, options, outputs, request};

/// What an engine may take to end, at most.
const BOUND: Duration = Duration::from_secs(2);
/// Turns of a peer, of a millisecond or more each, that are enough for everything here.
const TURNS: usize = 2_000;

/// Submits and waits for the answer; events come and go.
fn ask(runtime: &Runtime, shard: u8, request: ShardRequest) -> Result<Reply, CommandError> {
    runtime.submit(shard, request).unwrap();
    loop {
        let reply = |output| if let Output::Reply { result, .. } = output { Some(result) } else { None };
        if let Some(result) = outputs(runtime).into_iter().find_map(reply) {
            return result;
        }
    }
}

/// A peer with its socket. Its time only orders its timers: each turn is a millisecond.
struct Client {
    peer: Peer,
    socket: UdpSocket,
    transport: ObjectId,
    now: Time,
    heard: Vec<Received>,
}

impl Client {
    fn join(runtime: &Runtime, router: ObjectId, seed: u64) -> Self {
        let command = Command::CreateWebRtcTransport { router, options: WebRtcTransportOptions::default() };
        let listen = vec![ListenInfo::udp(IpAddr::from([127, 0, 0, 1]))];
        let reply = ask(runtime, router.shard(), ShardRequest { token: 2, listen, command });
        let Ok(Reply::WebRtcTransport(created)) = reply else { panic!("{reply:?}") };
        let WebRtcTransportCreated { id, ice, candidates, fingerprints } = created;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut peer = Peer::new(seed, socket.local_addr().unwrap(), PeerOptions::default());
        let dtls = peer.dtls_parameters();
        ask(runtime, router.shard(), request(3, Command::ConnectWebRtcTransport { transport: id, dtls })).unwrap();
        let now = Time::from_millis(1_000);
        let to = SocketAddr::new(candidates[0].address.parse().unwrap(), candidates[0].port);
        peer.start(now, to, ice, fingerprints);
        let mut this = Self { peer, socket, transport: id, now, heard: Vec::new() };
        assert!(this.turn_until(|c| c.peer.is_connected()), "not connected: {:?}", this.peer.failure());
        this
    }

    /// Sends and receives until `done`, or for as many turns as a slow machine may need.
    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..TURNS {
            self.peer.handle_timeout(self.now);
            let to = self.peer.remote_addr().unwrap();
            while let Some(datagram) = self.peer.poll_transmit() {
                // A port that is closed by now says so by an error of the next call.
                let _ = self.socket.send_to(&datagram, to);
            }
            let mut buffer = [0; 2_048];
            if let Ok(len) = self.socket.recv(&mut buffer) {
                self.peer.handle_datagram(self.now, &mut buffer[..len]);
                self.heard.extend(std::iter::from_fn(|| self.peer.poll_received()));
            }
            self.now += Duration::from_millis(1);
            if done(self) {
                return true;
            }
        }
        false
    }

    /// SSRCs that were said to have left.
    fn left(&self) -> Vec<u32> {
        let compounds =
            self.heard.iter().filter_map(|r| if let Received::Rtcp(bytes) = r { Some(bytes) } else { None });
        let packets = compounds.flat_map(|bytes| Packets::new(bytes, true).expect("sound").flatten());
        packets.flat_map(|p| if let RtcpPacket::Bye(bye) = p { bye.ssrcs().collect() } else { Vec::new() }).collect()
    }
}

fn calls_end_with_a_farewell(backend: IoBackend, shards: usize) {
    let runtime = Runtime::start(options(shards, backend)).unwrap();
    let mut clients = Vec::new();
    let mut streams = HashMap::new();
    for shard in 0..shards as u8 {
        let Ok(Reply::Created(router)) = ask(&runtime, shard, request(1, Command::CreateRouter)) else { panic!() };
        let (mut alice, mut bob) = (Client::join(&runtime, router, 1), Client::join(&runtime, router, 2));
        let mid = Mid::new(b"0").unwrap();
        let config = Box::new(producer_config(MediaKind::Audio, mid, vec![opus()], Some(5), None));
        let produce = Command::Produce { transport: alice.transport, config };
        let Ok(Reply::Created(producer)) = ask(&runtime, shard, request(4, produce)) else { panic!() };
        let config = Box::new(consumer_config(producer, MediaKind::Audio, mid, false));
        let consume = Command::Consume { transport: bob.transport, config };
        let Ok(Reply::Consumer(consumer)) = ask(&runtime, shard, request(5, consume)) else { panic!() };
        alice.peer.send_rtp(&rtp(OPUS, 5, 1, 0, &[], b"x"));
        alice.turn_until(|_| true);
        assert!(bob.turn_until(|c| c.heard.iter().any(|r| matches!(r, Received::Rtp(_)))), "no media");
        streams.insert(clients.len() + 1, consumer.ssrc);
        clients.extend([alice, bob]);
    }
    runtime.shutdown(BOUND).expect("ends in time");
    for (n, client) in clients.iter_mut().enumerate() {
        assert!(client.turn_until(|c| c.peer.failure().is_some()), "peer {n} was not told");
        assert_eq!(client.peer.failure(), Some("closed"));
        assert_eq!(client.left(), streams.get(&n).copied().into_iter().collect::<Vec<_>>(), "peer {n}");
    }
}

#[test]
fn row_077_a_shutdown_says_goodbye_to_every_peer_of_every_shard_in_time() {
    for backend in BACKENDS {
        calls_end_with_a_farewell(backend, 2);
    }
}

#[test]
fn row_077_a_farewell_that_does_not_end_is_cut_short() {
    let runtime = Runtime::start_with(&options(1, IoBackend::Default), |_| Ok(Echo::talkative())).unwrap();
    runtime.shutdown(BOUND).expect("ends in time");
}
