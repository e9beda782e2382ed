//! A scripted peer at the other end of a TCP connection: it checks, shakes hands and sends media in frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sfu_core::command::{RemoteDtls, WebRtcTransportCreated};
use sfu_core::testing::{Peer, PeerOptions, Received};
use sfu_wire::id::ObjectId;
use sfu_wire::net::Protocol;
use sfu_wire::time::Time;

/// How far a peer's own time goes on with each step.
const STEP: Duration = Duration::from_millis(5);
/// Steps after which nothing is to be hoped for.
const MANY: usize = 4_000;

/// See the module.
pub(crate) struct ByTcp {
    pub(crate) peer: Peer,
    pub(crate) stream: TcpStream,
    pub(crate) now: Time,
    bytes: Vec<u8>,
    pub(crate) packets: Vec<Vec<u8>>,
    pub(crate) ended: bool,
    pub(crate) transport: ObjectId,
}

impl ByTcp {
    /// Connects to a transport's one candidate; `connect` tells the transport of this peer.
    pub(crate) fn start(created: WebRtcTransportCreated, seed: u64, connect: impl FnOnce(RemoteDtls)) -> Self {
        assert_eq!(created.candidates.len(), 1);
        assert_eq!(created.candidates[0].protocol, Protocol::Tcp);
        let to = SocketAddr::new(created.candidates[0].address.parse().unwrap(), created.candidates[0].port);
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(STEP)).unwrap();
        let mut peer = Peer::new(seed, stream.local_addr().unwrap(), PeerOptions::default());
        let now = Time::from_millis(1);
        connect(peer.dtls_parameters());
        peer.start(now, to, created.ice, created.fingerprints);
        let transport = created.id;
        Self { peer, stream, now, bytes: Vec::new(), packets: Vec::new(), ended: false, transport }
    }

    /// Sends what there is, and waits a moment for what comes.
    pub(crate) fn step(&mut self) {
        while let Some(packet) = self.peer.poll_transmit() {
            let frame = [&(packet.len() as u16).to_be_bytes()[..], &packet].concat();
            // Whoever was hung up on may still have something to say.
            self.ended |= self.stream.write_all(&frame).is_err();
        }
        let mut room = [0; 4_096];
        match self.stream.read(&mut room) {
            Ok(0) => self.ended = true,
            Ok(n) => self.bytes.extend_from_slice(&room[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.ended = true,
        }
        self.now += STEP;
        while let Some(header) = self.bytes.first_chunk::<2>() {
            let end = 2 + usize::from(u16::from_be_bytes(*header));
            if self.bytes.len() < end {
                break;
            }
            let mut packet: Vec<u8> = self.bytes.drain(..end).skip(2).collect();
            self.peer.handle_datagram(self.now, &mut packet);
        }
        self.peer.handle_timeout(self.now);
        while let Some(received) = self.peer.poll_received() {
            if let Received::Rtp(packet) = received {
                self.packets.push(packet);
            }
        }
    }

    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..MANY {
            self.step();
            if done(self) {
                return;
            }
        }
        panic!("never: {what}; {:?}", self.peer.failure());
    }
}
