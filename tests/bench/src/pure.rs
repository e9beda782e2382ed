//! A shard without an operating system: a publisher and its viewers, joined by hand.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{BoundSocket, Command, Listen, Reply, WebRtcTransportOptions};
use sfu_core::limits::Limits;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::testing::{Peer, PeerOptions};
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, SocketId};
use sfu_wire::time::Time;

use crate::call;

const SOCKET: SocketId = SocketId(1);
const START: Time = Time::from_nanos(1_000_000_000);

/// A shard with a publisher and viewers, connected.
pub struct PureRoom {
    shard: Shard,
    server: ObjectId,
    router: ObjectId,
    peers: Vec<Peer>,
    now: Time,
    sequence: u64,
}

impl PureRoom {
    /// Makes one with so many viewers.
    ///
    /// # Panics
    /// If the shard refuses something that it must not refuse.
    pub fn new(viewers: usize) -> Self {
        let mut shard = Shard::new(ShardConfig {
            index: 0,
            life: 0,
            seed: [1; 32],
            epoch_unix_nanos: 1_700_000_000_000_000_000,
            certificate: Certificate::generate().expect("a certificate"),
            srtp_profiles: vec![SrtpProfile::AeadAes128Gcm],
            limits: Limits::default(),
        })
        .expect("a shard");
        let local = SocketAddr::from(([198, 51, 100, 1], 4_444));
        let bound = [BoundSocket {
            socket: SOCKET,
            protocol: Protocol::Udp,
            local,
            announced: None,
            expose_internal_ip: false,
        }];
        let server = created(&mut shard, &bound, Command::CreateWebRtcServer);
        let router = created(&mut shard, &[], Command::CreateRouter);
        let mut room = Self { shard, server, router, peers: Vec::new(), now: START, sequence: 0 };
        let publisher = room.join();
        let produce = Command::Produce { transport: publisher, config: Box::new(call::producer_config(0)) };
        let producer = created(&mut room.shard, &[], produce);
        for _ in 0..viewers {
            let transport = room.join();
            let config = Box::new(call::consumer_config(producer, 0));
            room.shard.handle_command(START, &[], Command::Consume { transport, config }).expect("a consumer");
        }
        room.settle();
        room
    }

    fn join(&mut self) -> ObjectId {
        let n = self.peers.len() as u16;
        let options =
            WebRtcTransportOptions { listen: Listen::Server(self.server), ..WebRtcTransportOptions::default() };
        let create = Command::CreateWebRtcTransport { router: self.router, options };
        let Ok(Reply::WebRtcTransport(created)) = self.shard.handle_command(START, &[], create) else {
            panic!("no transport");
        };
        let addr = SocketAddr::from(([192, 0, 2, 1], 10_000 + n));
        let mut peer = Peer::new(u64::from(n), addr, PeerOptions::default());
        let connect = Command::ConnectWebRtcTransport { transport: created.id, dtls: peer.dtls_parameters() };
        self.shard.handle_command(START, &[], connect).expect("connects");
        peer.start(START, SocketAddr::from(([198, 51, 100, 1], 4_444)), created.ice, created.fingerprints);
        self.peers.push(peer);
        created.id
    }

    /// Hands datagrams back and forth until all are connected.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.now += Duration::from_millis(5);
            self.shard.handle_timeout(self.now);
            for peer in &mut self.peers {
                peer.handle_timeout(self.now);
                while let Some(mut bytes) = peer.poll_transmit() {
                    self.shard.handle_datagram(self.now, self.now, SOCKET, peer.addr(), &mut bytes);
                }
                let outbox = self.shard.outbox();
                let sent: Vec<_> = outbox.transmits().iter().map(|t| (t.to, outbox.bytes(t).to_vec())).collect();
                outbox.clear();
                for (to, mut bytes) in sent {
                    if to == peer.addr() {
                        peer.handle_datagram(self.now, &mut bytes);
                    }
                }
            }
            while self.shard.poll_event().is_some() {}
            if self.peers.iter().all(Peer::is_connected) {
                return;
            }
        }
        panic!("not connected");
    }

    /// A packet of the publisher, sealed.
    pub fn sealed(&mut self, size: usize) -> Vec<u8> {
        self.sequence += 1;
        self.peers[0].send_rtp(&call::packet(0, self.sequence, size, 0));
        self.peers[0].poll_transmit().expect("a packet")
    }

    /// Forwards sealed packets; tells how many datagrams came of them.
    pub fn forward(&mut self, sealed: &mut [Vec<u8>]) -> usize {
        let from = self.peers[0].addr();
        let mut sent = 0;
        for packet in sealed {
            self.now += Duration::from_micros(10);
            self.shard.handle_datagram(self.now, self.now, SOCKET, from, packet);
            if self.shard.outbox().is_nearly_full() {
                sent += self.shard.outbox().transmits().len();
                self.shard.outbox().clear();
            }
        }
        sent += self.shard.outbox().transmits().len();
        self.shard.outbox().clear();
        sent
    }
}

fn created(shard: &mut Shard, sockets: &[BoundSocket], command: Command) -> ObjectId {
    match shard.handle_command(START, sockets, command) {
        Ok(Reply::Created(id)) => id,
        other => panic!("refused: {other:?}"),
    }
}
