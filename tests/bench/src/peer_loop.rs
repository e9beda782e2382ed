//! The loop that other forwarders have: epoll, recvmmsg, one copy for each viewer, libsrtp, one sendto each.
//!
//! It is what libsfu's cost is compared with, in the same run, on the same core, with the same viewers. It has no
//! signalling, no reports, no repair: only what each packet costs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sfu_proto::srtp::{KeyMaterial, SrtpProfile, SrtpReceiver, SrtpSender};

use crate::subject::{Subject, Totals};
use crate::sys::{self, BATCH, Batch, Poller, ROOM};
use crate::viewers::{Ear, Viewers, publisher_socket};

const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;

/// Counted by the thread, read by the harness.
#[derive(Debug, Default)]
struct Counts {
    datagrams_in: AtomicU64,
    datagrams_out: AtomicU64,
    stop: AtomicBool,
}

/// See the module.
pub struct PeerLoop {
    viewers: Viewers,
    sender: SrtpSender,
    socket: UdpSocket,
    counts: Arc<Counts>,
    cpu_clock: i32,
    thread: JoinHandle<()>,
}

/// A viewer as the loop has it.
struct Leg {
    to: SocketAddr,
    sender: SrtpSender,
    ssrc: u32,
    packets: u64,
    bytes: u64,
}

fn key(n: usize) -> KeyMaterial {
    let bytes: Vec<u8> =
        (0..PROFILE.key_len() + PROFILE.salt_len()).map(|b| (b * 31 + n * 7 + n / 256) as u8).collect();
    KeyMaterial::new(&bytes).expect("a key of the profile's length")
}

impl PeerLoop {
    /// Starts the loop on a core; `streams` are forwarded to every viewer.
    ///
    /// # Panics
    /// If sockets or libsrtp refuse.
    pub fn start(mut viewers: Viewers, streams: u32, cpu: usize) -> Box<dyn Subject> {
        let own = UdpSocket::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)).expect("a port");
        own.set_nonblocking(true).expect("a socket option");
        sys::set_buffers(own.as_fd(), 4 << 20);
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, own.local_addr().expect("bound").port()));
        let addrs = viewers.addrs().to_vec();
        let ears = (0..addrs.len()).map(|n| {
            let receiver = SrtpReceiver::with_library(&PROFILE, &key(n + 1)).expect("keys");
            Ear::Key(Box::new(receiver))
        });
        viewers.listen(ears.collect(), None);
        let counts = Arc::new(Counts::default());
        let (tell, hear) = mpsc::channel();
        let shared = Arc::clone(&counts);
        let body = move || {
            sys::pin(cpu);
            let legs = |(n, to): (usize, &SocketAddr)| {
                let sender = SrtpSender::with_library(&PROFILE, &key(n + 1)).expect("keys");
                Leg { to: *to, sender, ssrc: 0x7000_0000 + n as u32 * 64, packets: 0, bytes: 0 }
            };
            let legs: Vec<Leg> = addrs.iter().enumerate().map(legs).collect();
            tell.send(sys::cpu_clock()).expect("the harness waits");
            run(&own, legs, streams, &shared);
        };
        let thread = thread::Builder::new().name("peer-loop".to_owned()).spawn(body).expect("a thread");
        let cpu_clock = hear.recv().expect("the loop starts");
        let sender = SrtpSender::new(&PROFILE, &key(0)).expect("keys");
        Box::new(Self { viewers, sender, socket: publisher_socket(server), counts, cpu_clock, thread })
    }
}

fn run(own: &UdpSocket, mut legs: Vec<Leg>, streams: u32, counts: &Counts) {
    let mut receiver = SrtpReceiver::with_library(&PROFILE, &key(0)).expect("keys");
    let mut poller = Poller::new().expect("an epoll instance");
    poller.add(own.as_fd(), 0).expect("a watched socket");
    let (mut batch, mut copy) = (Batch::default(), vec![0u8; ROOM]);
    while !counts.stop.load(Relaxed) {
        poller.wait(Some(Duration::from_millis(200)));
        loop {
            let taken = batch.receive(own.as_fd(), BATCH);
            counts.datagrams_in.fetch_add(taken as u64, Relaxed);
            for index in 0..taken {
                let datagram = batch.datagram(index);
                let Ok(len) = receiver.unprotect_rtp(datagram) else { continue };
                let sent = forward(own, &datagram[..len], &mut legs, streams, &mut copy);
                counts.datagrams_out.fetch_add(sent, Relaxed);
            }
            if taken < BATCH {
                break;
            }
        }
    }
}

/// One packet to everybody; how many the kernel took.
fn forward(own: &UdpSocket, packet: &[u8], legs: &mut [Leg], streams: u32, copy: &mut [u8]) -> u64 {
    let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
    let mut sent = 0;
    for leg in legs {
        copy[..packet.len()].copy_from_slice(packet);
        copy[8..12].copy_from_slice(&(leg.ssrc + ssrc % streams.max(1)).to_be_bytes());
        let Ok(len) = leg.sender.protect_rtp(copy, packet.len()) else { continue };
        leg.packets += 1;
        leg.bytes += len as u64;
        sent += u64::from(own.send_to(&copy[..len], leg.to).is_ok());
    }
    sent
}

impl Subject for PeerLoop {
    fn name(&self) -> &'static str {
        "peer loop"
    }

    fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + PROFILE.rtp_overhead(), 0);
        self.sender.protect_rtp(&mut sealed, packet.len()).expect("a fresh sequence number");
        sealed
    }

    fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    fn totals(&self) -> Totals {
        let datagrams_out = self.counts.datagrams_out.load(Relaxed);
        Totals {
            cpu: sys::read_clock(self.cpu_clock),
            datagrams_in: self.counts.datagrams_in.load(Relaxed),
            datagrams_out,
            messages_out: datagrams_out,
        }
    }

    fn viewers(&mut self) -> &mut Viewers {
        &mut self.viewers
    }

    fn close(self: Box<Self>) {
        self.counts.stop.store(true, Relaxed);
        self.thread.join().expect("the loop ends");
    }
}
