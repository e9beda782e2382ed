//! The viewers of a subject: they shake hands, count what arrives, and some of them decrypt it to read its stamp.
//!
//! Those that decrypt are waited for. The others are emptied in passing: a receiver that sleeps is woken by the sender's
//! thread, and over loopback the forwarder would pay for what real receivers do on their own machines.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use sfu_core::testing::{Peer, Received};
use sfu_proto::srtp::SrtpReceiver;
use sfu_wire::demux::{DatagramKind, classify};
use sfu_wire::time::Time;

use crate::egress::{Far, Site};
use crate::frame;
use crate::sys::{Batch, Poller, read, write};

/// One viewer in so many decrypts.
const SAMPLED: usize = 13;
/// Datagrams taken from one socket before the others have their turn.
const TURN: usize = 16;
/// Sockets emptied in passing at each look.
const SWEEP: usize = 16;
/// The longest frame of a device: a whole run with its headers.
const FRAME: usize = 70_000;

/// What a viewer hears with.
pub enum Ear {
    /// A WebRTC peer.
    Peer(Box<Peer>),
    /// A key alone.
    Key(Box<SrtpReceiver>),
}

impl Ear {
    /// The stamp of an RTP packet, if it opens.
    fn stamp(&mut self, now: Time, datagram: &mut [u8]) -> Option<u64> {
        let stamp = |packet: &[u8]| packet.get(12..20)?.try_into().ok().map(u64::from_be_bytes);
        match self {
            Ear::Key(receiver) => {
                let len = receiver.unprotect_rtp(datagram).ok()?;
                stamp(&datagram[..len])
            }
            Ear::Peer(peer) => {
                peer.handle_datagram(now, datagram);
                match peer.poll_received() {
                    Some(Received::Rtp(packet)) => stamp(&packet),
                    _ => None,
                }
            }
        }
    }
}

/// All viewers of a subject.
pub struct Viewers {
    addrs: Vec<SocketAddr>,
    far: Far,
    ears: Vec<Ear>,
    poller: Poller,
    batch: Batch,
    /// Where peers send to.
    server: Option<SocketAddr>,
    /// The socket at which the next sweep begins.
    sweep: usize,
    /// RTP packets that arrived.
    pub heard: u64,
    /// RTP packets of the viewers that decrypt.
    pub sampled: u64,
    /// Of these, those that opened.
    pub opened: u64,
}

impl Viewers {
    /// Viewers at a site, without ears yet.
    pub fn new(site: Site) -> Self {
        let poller = Poller::new().expect("an epoll instance");
        if let Far::Sockets(sockets) = &site.far {
            for (token, socket) in (0..).zip(sockets).step_by(SAMPLED) {
                poller.add(socket.as_fd(), token).expect("a watched socket");
            }
        }
        Self {
            addrs: site.viewers,
            far: site.far,
            ears: Vec::new(),
            poller,
            batch: Batch::default(),
            server: None,
            sweep: 0,
            heard: 0,
            sampled: 0,
            opened: 0,
        }
    }

    /// Where they are.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Gives them their ears, one each, and the address that peers send to.
    pub fn listen(&mut self, ears: Vec<Ear>, server: Option<SocketAddr>) {
        assert_eq!(ears.len(), self.addrs.len(), "an ear for each viewer");
        self.ears = ears;
        self.server = server;
    }

    /// All peers have their keys.
    pub fn are_connected(&self) -> bool {
        self.ears.iter().all(|ear| match ear {
            Ear::Peer(peer) => peer.is_connected(),
            Ear::Key(_) => true,
        })
    }

    /// Lets peers do what is due and sends what they say.
    pub fn drive(&mut self, now: Time) {
        for viewer in 0..self.ears.len() {
            if let Ear::Peer(peer) = &mut self.ears[viewer] {
                peer.handle_timeout(now);
            }
            self.flush(viewer);
        }
    }

    /// As [`Viewers::drive`], for the first `most` that have no keys yet, and all that have.
    pub fn drive_some(&mut self, now: Time, most: usize) {
        let mut waiting = 0;
        for viewer in 0..self.ears.len() {
            if let Ear::Peer(peer) = &mut self.ears[viewer] {
                waiting += usize::from(!peer.is_connected());
                if waiting > most {
                    return;
                }
                peer.handle_timeout(now);
            }
            self.flush(viewer);
        }
    }

    fn flush(&mut self, viewer: usize) {
        let (Ear::Peer(peer), Some(server)) = (&mut self.ears[viewer], self.server) else { return };
        while let Some(datagram) = peer.poll_transmit() {
            match &self.far {
                // What is lost here is sent again by the peer's timers.
                Far::Sockets(sockets) => drop(sockets[viewer].send_to(&datagram, server)),
                Far::Device(device) => {
                    if let (SocketAddr::V4(from), SocketAddr::V4(to)) = (self.addrs[viewer], server) {
                        write(device.as_fd(), &frame::write(from, to, &datagram));
                    }
                }
            }
        }
    }

    /// Somebody counts what arrives.
    pub fn count(&self) -> bool {
        matches!(self.far, Far::Sockets(_))
    }

    /// Takes what has arrived, at most some datagrams of each viewer; waits for the first if `timeout` allows. Tells
    /// the stamps of what the decrypting viewers got, and answers how many datagrams there were.
    pub fn look(&mut self, now: &dyn Fn() -> Time, timeout: Duration, on_stamp: &mut dyn FnMut(u64)) -> usize {
        if let Far::Device(_) = self.far {
            return self.look_at_device(now());
        }
        let mut taken = 0;
        for index in 0..self.poller.wait(Some(timeout)) {
            let viewer = self.poller.token(index) as usize;
            taken += self.take(viewer, now, on_stamp);
        }
        for _ in 0..SWEEP.min(self.addrs.len()) {
            self.sweep = (self.sweep + 1) % self.addrs.len();
            if !self.sweep.is_multiple_of(SAMPLED) {
                taken += self.take(self.sweep, now, on_stamp);
            }
        }
        taken
    }

    /// Takes what one viewer got.
    fn take(&mut self, viewer: usize, now: &dyn Fn() -> Time, on_stamp: &mut dyn FnMut(u64)) -> usize {
        let Far::Sockets(sockets) = &self.far else { return 0 };
        let taken = self.batch.receive(sockets[viewer].as_fd(), TURN);
        if taken == 0 {
            return 0;
        }
        let now = now();
        let mut talks = false;
        for index in 0..taken {
            let datagram = self.batch.datagram(index);
            match classify(datagram) {
                Some(DatagramKind::Rtp) => {
                    self.heard += 1;
                    if viewer.is_multiple_of(SAMPLED) {
                        self.sampled += 1;
                        if let Some(stamp) = self.ears[viewer].stamp(now, datagram) {
                            self.opened += 1;
                            on_stamp(stamp);
                        }
                    }
                }
                _ => {
                    talks = true;
                    if let Ear::Peer(peer) = &mut self.ears[viewer] {
                        peer.handle_datagram(now, datagram);
                        while peer.poll_received().is_some() {}
                    }
                }
            }
        }
        if talks {
            self.flush(viewer);
        }
        taken
    }

    /// Handshakes over a device. Media that is left in its queue is passed over.
    fn look_at_device(&mut self, now: Time) -> usize {
        let Far::Device(device) = &self.far else { return 0 };
        let mut buf = vec![0; FRAME];
        let mut arrived: Vec<(usize, Vec<u8>)> = Vec::new();
        while let Some(len) = read(device.as_fd(), &mut buf) {
            let Some((to, datagrams)) = frame::read(&mut buf[..len]) else { continue };
            let Some(viewer) = viewer_of(&self.addrs, to) else { continue };
            let said = datagrams.filter(|d| classify(d).is_some_and(|kind| kind != DatagramKind::Rtp));
            arrived.extend(said.map(|datagram| (viewer, datagram.to_vec())));
        }
        for (viewer, datagram) in &mut arrived {
            if let Ear::Peer(peer) = &mut self.ears[*viewer] {
                peer.handle_datagram(now, datagram);
                while peer.poll_received().is_some() {}
            }
            self.flush(*viewer);
        }
        arrived.len()
    }
}

fn viewer_of(addrs: &[SocketAddr], to: SocketAddrV4) -> Option<usize> {
    addrs.binary_search_by_key(&(IpAddr::V4(*to.ip()), to.port()), |addr| (addr.ip(), addr.port())).ok()
}

/// The publisher's socket: connected, non-blocking.
pub fn publisher_socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(server).expect("an address");
    socket.set_nonblocking(true).expect("a socket option");
    socket
}
