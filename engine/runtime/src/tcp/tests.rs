//! Connections over the loopback: whatever a peer does with its end, this one stays bounded and others are served.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use sfu_core::limits::TcpLimits;
use sfu_core::outbox::Outbox;
use sfu_wire::drop_reason::{DropCounters, DropReason};
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::time::Time;

use super::{ACCEPTS, PAUSE, TcpIo};
use crate::listen::Binder;
use crate::media_io::runs::{Routes, Runs};
use crate::options::ListenInfo;
use crate::sys;

/// Long enough for the slowest machine.
const LONG: Duration = Duration::from_secs(20);

/// The shard's side: who says "peer" after the first byte of a STUN message is one.
struct Side {
    tcp: TcpIo,
    now: Time,
    addr: SocketAddr,
    socket: SocketId,
    got: Vec<(Tuple, Vec<u8>)>,
    closed: Vec<Tuple>,
    losses: DropCounters,
    outbox: Outbox,
    runs: Runs,
}

/// What proves a peer here, in a frame.
const HELLO: &[u8] = b"\x00\x05\x00peer";

impl Side {
    fn new(limits: TcpLimits) -> Self {
        let mut bound = Binder::new(7).bind_all(&[ListenInfo::tcp(Ipv4Addr::LOCALHOST.into())]).unwrap();
        let bound = bound.remove(0);
        let mut tcp = TcpIo::new(limits).unwrap();
        tcp.add_listener(bound.info.socket, bound.fd).unwrap();
        Self {
            tcp,
            now: Time::from_millis(1),
            addr: bound.info.local,
            socket: bound.info.socket,
            got: Vec::new(),
            closed: Vec::new(),
            losses: DropCounters::default(),
            outbox: Outbox::new(1 << 20, 4096),
            runs: Runs::default(),
        }
    }

    /// One turn, without waiting.
    fn turn(&mut self) {
        self.tcp.begin(self.now, true);
        while let Some(packet) = self.tcp.next_packet() {
            let (tuple, verified, bytes) = (packet.tuple, packet.verified, packet.bytes.to_vec());
            if !verified {
                self.tcp.judge(bytes.ends_with(b"peer"));
            }
            self.got.push((tuple, bytes));
        }
        self.closed.extend(std::iter::from_fn(|| self.tcp.poll_closed()));
        if let Some(losses) = self.tcp.take_losses() {
            losses.nonzero().for_each(|(reason, n)| self.losses.add_many(reason, n));
        }
    }

    /// Turns until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        loop {
            self.turn();
            if done(self) {
                return;
            }
            assert!(sys::poll_in(self.tcp.fd(), Some(LONG)), "never: {what}");
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// A connection that has proven itself, and its tuple.
    fn join(&mut self) -> (TcpStream, Tuple) {
        let mut stream = self.connect();
        stream.write_all(HELLO).unwrap();
        let tuple = Tuple::new(self.socket, stream.local_addr().unwrap());
        self.until("a peer", |side| {
            side.tcp.by_tuple.get(&tuple).is_some_and(|i| side.tcp.connection(*i).unwrap().verified)
        });
        (stream, tuple)
    }

    fn send(&mut self, to: Tuple, packets: &[&[u8]]) {
        for packet in packets {
            let write = |slot: &mut [u8]| {
                slot.copy_from_slice(packet);
                Some(slot.len())
            };
            self.outbox.push_with(to.socket, to.remote, packet.len(), write).unwrap();
        }
        self.runs.group(&self.outbox, &Routes::default());
        assert!(self.runs.runs().is_empty());
        self.tcp.send_runs(&self.outbox, &self.runs);
        self.outbox.clear();
    }

    fn counter(&self, name: &str) -> u64 {
        self.tcp.counters().into_iter().find(|(n, _)| *n == name).unwrap().1
    }
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

fn rtp(number: u16, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 100];
    packet.extend(number.to_be_bytes());
    packet.resize(len, 7);
    packet
}

/// Reads one packet.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).unwrap();
    let mut packet = vec![0; usize::from(u16::from_be_bytes(header))];
    stream.read_exact(&mut packet).unwrap();
    packet
}

#[test]
fn row_012_packets_in_pieces_of_any_size_come_whole_and_answers_go_back() {
    let mut side = Side::new(TcpLimits::default());
    let (mut stream, tuple) = side.join();
    side.got.clear();
    let packets: Vec<Vec<u8>> = [4, 1_200, 5, 8_192].iter().zip(0..).map(|(len, n)| rtp(n, *len)).collect();
    let bytes: Vec<u8> = packets.iter().flat_map(|p| framed(p)).collect();
    // Byte by byte at first, then in larger and larger pieces.
    let (mut at, mut size) = (0, 1);
    while at < bytes.len() {
        let end = (at + size).min(bytes.len());
        stream.write_all(&bytes[at..end]).unwrap();
        let whole = packets
            .iter()
            .scan(0, |sum, p| {
                *sum += p.len() + 2;
                Some(*sum)
            })
            .filter(|sum| *sum <= end)
            .count();
        side.until("what is whole", |side| {
            side.got.len() == whole && !sys::poll_in(side.tcp.fd(), Some(Duration::ZERO))
        });
        (at, size) = (end, if end > 40 { 911 } else { 1 });
    }
    assert_eq!(side.got.iter().map(|(_, p)| p.clone()).collect::<Vec<_>>(), packets);
    assert!(side.got.iter().all(|(t, _)| *t == tuple));
    side.send(tuple, &[&rtp(1, 1_200), &rtp(2, 1_200), &rtp(3, 17)]);
    for (number, len) in [(1, 1_200), (2, 1_200), (3, 17)] {
        assert_eq!(read(&mut stream), rtp(number, len));
    }
    assert_eq!(side.counter("tcp_bytes_waiting"), 0);
}

#[test]
fn row_012_a_frame_that_is_too_long_ends_the_connection_and_no_other() {
    let mut side = Side::new(TcpLimits::default());
    let (mut good, tuple) = side.join();
    let (mut bad, bad_tuple) = side.join();
    bad.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    side.until("the end", |side| side.closed == [bad_tuple]);
    assert_eq!(side.losses.count(DropReason::TcpFrame), 1);
    assert_eq!(bad.read(&mut [0; 9]).unwrap_or(0), 0);
    good.write_all(&framed(&rtp(1, 20))).unwrap();
    side.until("the other", |side| side.got.last().is_some_and(|(t, p)| *t == tuple && p.len() == 20));
    // Before it has proven itself a peer may say less at a time.
    let mut stranger = side.connect();
    stranger.write_all(&1_025_u16.to_be_bytes()).unwrap();
    side.until("the stranger's end", |side| side.losses.count(DropReason::TcpFrame) == 2);
}

#[test]
fn row_012_strangers_may_say_stun_only_a_few_times_and_not_for_long() {
    let limits = TcpLimits { unverified_packets: 3, ..TcpLimits::default() };
    let mut side = Side::new(limits);
    let mut dtls = side.connect();
    dtls.write_all(&framed(&[22; 60])).unwrap();
    side.until("no DTLS before STUN", |side| side.losses.count(DropReason::TcpUnverified) == 1);
    assert!(side.got.is_empty());
    let mut chatty = side.connect();
    (0..10).for_each(|_| chatty.write_all(&framed(&[0; 20])).unwrap());
    side.until("no more than that", |side| side.losses.count(DropReason::TcpUnverified) == 2);
    assert_eq!(side.got.len(), 4);
    // One says nothing, one half a frame, one frames without anything in them.
    let mut silent = [side.connect(), side.connect(), side.connect()];
    silent[1].write_all(&[0, 20, 0]).unwrap();
    silent[2].write_all(&[0; 20]).unwrap();
    side.until("all are in", |side| side.counter("tcp_half_open") == 3);
    side.turn();
    let due = side.tcp.next_timeout().unwrap();
    assert!(due <= side.now + limits.half_open_time);
    side.now += limits.half_open_time;
    side.turn();
    assert_eq!(side.losses.count(DropReason::TcpUnverified), 5);
    assert_eq!((side.counter("tcp_connections"), side.closed.len()), (0, 0), "nobody was anybody's");
    assert_eq!(side.tcp.next_timeout(), None, "nothing is left to wait for");
}

#[test]
fn row_012_a_flood_of_idle_connections_keeps_nobody_out() {
    let limits = TcpLimits { half_open: 40, half_open_per_address: 1_000, ..TcpLimits::default() };
    let mut side = Side::new(limits);
    let (mut early, early_tuple) = side.join();
    let mut idle = Vec::new();
    for round in 1..=20_u64 {
        idle.extend((0..ACCEPTS / 2).map(|_| side.connect()));
        side.until("accepted", |side| side.counter("tcp_accepted") == 1 + round * ACCEPTS as u64 / 2);
        assert!(side.counter("tcp_half_open") <= 40);
    }
    assert!(side.tcp.on_trial.len() <= 80 && side.tcp.connections.len() <= 42, "what is gone leaves nothing");
    assert_eq!(side.losses.count(DropReason::TcpLimit), 20 * ACCEPTS as u64 / 2 - 40);
    let (_late, _) = side.join();
    early.write_all(&framed(&rtp(9, 30))).unwrap();
    side.until("who was there is served", |side| {
        side.got.last().is_some_and(|(t, p)| *t == early_tuple && p.len() == 30)
    });
    // The newest of the idle ones are still there; the others have been told.
    assert_eq!(idle[0].read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn row_012_one_address_has_so_many_and_no_more() {
    let limits = TcpLimits { half_open_per_address: 5, connections_per_address: 6, ..TcpLimits::default() };
    let mut side = Side::new(limits);
    let idle: Vec<_> = (0..9).map(|_| side.connect()).collect();
    side.until("five of nine", |side| side.losses.count(DropReason::TcpLimit) == 4);
    assert_eq!(side.counter("tcp_half_open"), 5);
    drop(idle);
    side.until("they are gone", |side| side.counter("tcp_connections") == 0);
    let _peers: Vec<_> = (0..6).map(|_| side.join()).collect();
    let _seventh = side.connect();
    side.until("the seventh", |side| side.losses.count(DropReason::TcpLimit) == 5);
    assert_eq!(side.counter("tcp_connections"), 6);
}

#[test]
fn row_012_a_reset_in_the_middle_of_a_frame_is_told_and_leaves_nothing() {
    let mut side = Side::new(TcpLimits::default());
    let (mut stream, tuple) = side.join();
    stream.write_all(&framed(&rtp(1, 100))[..50]).unwrap();
    // What is unread when a socket closes makes the close a reset (RFC 1122, section 4.2.2.13).
    side.send(tuple, &[&rtp(2, 100)]);
    side.until("half a frame", |side| !sys::poll_in(side.tcp.fd(), Some(Duration::ZERO)));
    drop(stream);
    side.until("it is gone", |side| side.closed == [tuple]);
    assert_eq!((side.counter("tcp_connections"), side.counter("tcp_bytes_waiting")), (0, 0));
    side.send(tuple, &[&rtp(3, 100), &rtp(4, 100)]);
    side.turn();
    assert_eq!(side.losses.count(DropReason::TcpClosed), 2);
    // A new one from the same host, when the old one is told.
    side.join();
}

#[test]
fn row_012_a_peer_that_stops_reading_costs_bounded_memory_and_no_other_peer_anything() {
    let limits = TcpLimits { media_bytes: 40_000, ..TcpLimits::default() };
    let mut side = Side::new(limits);
    let (mut stuck, stuck_tuple) = side.join();
    let (mut good, tuple) = side.join();
    let packets: Vec<Vec<u8>> = (0..64).map(|n| rtp(n, 1_200)).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let mut rounds = 0;
    while side.losses.count(DropReason::TcpBufferFull) < 1_000 {
        side.send(stuck_tuple, &packets);
        side.send(tuple, &packets[..1]);
        assert_eq!(read(&mut good), packets[0]);
        side.turn();
        assert!(side.counter("tcp_bytes_waiting") <= 40_000 + 1_202);
        rounds += 1;
        assert!(rounds < 100_000, "the kernel takes without end");
    }
    // A farewell has room of its own, and goes ahead of media.
    side.send(stuck_tuple, &[&[22; 50]]);
    let mut seen = 0;
    while read(&mut stuck) != [22; 50] {
        seen += 1;
        side.turn();
    }
    assert!(seen > 0);
    side.turn();
    // It reads again, so all that waits goes, and nothing waits for room any more.
    side.until("nothing waits", |side| side.counter("tcp_bytes_waiting") == 0);
    while read(&mut stuck)[..2] != [0x80, 100] {}
    side.until("at rest", |side| !sys::poll_in(side.tcp.fd(), Some(Duration::ZERO)));
    assert!(side.closed.is_empty());
}

#[test]
fn row_012_connections_by_which_nothing_comes_or_goes_are_closed() {
    let limits = TcpLimits { media_bytes: 40_000, ..TcpLimits::default() };
    let mut side = Side::new(limits);
    let (_stuck, stuck) = side.join();
    let (_silent, silent) = side.join();
    let (mut good, _) = side.join();
    let packets: Vec<Vec<u8>> = (0..64).map(|n| rtp(n, 1_200)).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    while side.losses.count(DropReason::TcpBufferFull) == 0 {
        side.send(stuck, &packets);
        side.turn();
    }
    let start = side.now;
    while side.closed.is_empty() {
        side.now = side.tcp.next_timeout().expect("a look is due while there are connections");
        side.turn();
    }
    assert_eq!((&side.closed[..], side.losses.count(DropReason::TcpIdle)), (&[stuck][..], 1));
    assert!(side.now.saturating_since(start) <= limits.stall_time + Duration::from_secs(10));
    assert_eq!(side.counter("tcp_bytes_waiting"), 0);
    good.write_all(&framed(&rtp(1, 20))).unwrap();
    let heard = side.got.len();
    side.until("the good one speaks", |side| side.got.len() > heard);
    let spoke = side.now;
    while side.closed.len() < 2 {
        side.now = side.tcp.next_timeout().unwrap();
        side.turn();
    }
    assert_eq!(side.closed[1], silent);
    assert!(
        side.now.saturating_since(start) >= limits.idle_time || side.now.saturating_since(spoke) < limits.idle_time
    );
}

#[test]
fn what_the_shard_wants_closed_is_closed_after_its_farewell_and_not_told_back() {
    let mut side = Side::new(TcpLimits::default());
    let (mut stream, tuple) = side.join();
    side.send(tuple, &[&[22; 30]]);
    side.tcp.disconnect(&tuple);
    assert_eq!(read(&mut stream), [22; 30]);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    side.turn();
    assert_eq!((side.closed.len(), side.counter("tcp_half_open"), side.counter("tcp_connections")), (0, 0, 0));
    // A listener takes its connections along.
    let (mut other, _) = side.join();
    side.tcp.remove_listener(side.socket);
    assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
    assert!(TcpStream::connect(side.addr).is_err());
    assert_eq!(side.counter("tcp_listeners"), 0);
}

#[test]
fn row_086_without_descriptors_a_listener_rests_and_goes_on_when_there_are_some() {
    let mut side = Side::new(TcpLimits::default());
    side.turn();
    // As if accept(2) had said EMFILE: the limit itself is the whole process's, and other tests run in it.
    side.tcp.pause(side.socket);
    let mut stream = side.connect();
    stream.write_all(HELLO).unwrap();
    assert!(!sys::poll_in(side.tcp.fd(), Some(Duration::ZERO)), "a listener that cannot accept must not wake anybody");
    assert_eq!(side.tcp.next_timeout(), Some(side.now + PAUSE));
    side.now += PAUSE;
    side.turn();
    side.until("it is accepted", |side| side.got.len() == 1);
    assert_eq!(side.counter("tcp_connections"), 1);
}

#[test]
fn the_epoll_is_closed_on_exec() {
    assert!(sys::flags(Side::new(TcpLimits::default()).tcp.fd().as_fd()).0);
}
