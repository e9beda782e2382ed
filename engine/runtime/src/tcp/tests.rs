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
fn row_086_listeners_that_rest_go_on_in_their_turn_whichever_of_them_are_gone() {
    let mut side = Side::new(TcpLimits::default());
    let mut binder = Binder::new(9);
    let infos = vec![ListenInfo::tcp(Ipv4Addr::LOCALHOST.into()); 3];
    // The first one has the number of the side's own.
    let more: Vec<_> = binder.bind_all(&infos).unwrap().into_iter().skip(1).collect();
    let [second, third] = [more[0].info.socket, more[1].info.socket];
    more.into_iter().for_each(|bound| side.tcp.add_listener(bound.info.socket, bound.fd).unwrap());
    let start = side.now;
    for (n, socket) in [side.socket, second, third].into_iter().enumerate() {
        side.now = start + Duration::from_millis(10) * n as u32;
        side.turn();
        side.tcp.pause(socket);
    }
    assert_eq!(side.tcp.next_timeout(), Some(start + PAUSE));
    side.tcp.remove_listener(second);
    let mut stream = side.connect();
    stream.write_all(HELLO).unwrap();
    side.now = start + PAUSE;
    side.until("the first accepts again", |side| side.got.len() == 1);
    assert_eq!(side.tcp.paused.len(), 2);
    side.now = start + PAUSE + Duration::from_millis(20);
    side.turn();
    assert!(side.tcp.paused.is_empty() && side.tcp.listeners.values().all(|l| l.paused_until.is_none()));
}

#[test]
fn a_listener_that_goes_takes_its_own_connections_along_and_no_others() {
    let mut side = Side::new(TcpLimits::default());
    let other = Binder::new(9).bind_all(&vec![ListenInfo::tcp(Ipv4Addr::LOCALHOST.into()); 2]).unwrap().remove(1);
    let (mut stays, tuple) = side.join();
    let (first, at, socket) = (side.addr, other.info.local, other.info.socket);
    side.tcp.add_listener(socket, other.fd).unwrap();
    (side.addr, side.socket) = (at, socket);
    let peers: Vec<_> = (0..5).map(|_| side.join()).collect();
    let gone = peers[2].1;
    drop(peers.into_iter().nth(2));
    side.until("one hangs up", |side| side.closed.contains(&gone));
    side.tcp.remove_listener(socket);
    side.turn();
    assert_eq!((side.closed.len(), side.counter("tcp_connections"), side.counter("tcp_listeners")), (5, 1, 1));
    stays.write_all(&framed(&rtp(1, 20))).unwrap();
    side.until("the other listener's peer", |side| side.got.last().is_some_and(|(t, p)| *t == tuple && p.len() == 20));
    assert!(TcpStream::connect(at).is_err() && TcpStream::connect(first).is_ok());
}

/// The next packet, which is not judged.
fn packet(side: &mut Side) {
    loop {
        side.tcp.begin(side.now, true);
        if side.tcp.next_packet().is_some() {
            return;
        }
        assert!(sys::poll_in(side.tcp.fd(), Some(LONG)), "nothing comes");
    }
}

#[test]
fn a_connection_that_is_given_away_takes_what_it_said_along_and_nothing_stays() {
    let (mut here, mut there) = (Side::new(TcpLimits::default()), Side::new(TcpLimits::default()));
    let mut stream = here.connect();
    let (second, half) = (framed(&[1; 20]), &framed(&[0; 40])[..9]);
    stream.write_all(&[HELLO, &second, half].concat()).unwrap();
    packet(&mut here);
    let stranger = here.tcp.give_away().unwrap();
    assert_eq!(stranger.bytes, [HELLO, &second, half].concat(), "from that packet on");
    assert_eq!((here.counter("tcp_connections"), here.counter("tcp_half_open"), here.losses.total()), (0, 0, 0));
    assert!(here.tcp.give_away().is_none() && here.tcp.next_packet().is_none());
    stream.write_all(&framed(&[0; 40])[9..]).unwrap();
    assert!(!sys::poll_in(here.tcp.fd(), Some(Duration::from_millis(20))), "it is watched no more");
    here.now += Duration::from_secs(60);
    here.turn();
    assert_eq!(here.losses.total(), 0, "nor waited for");

    there.tcp.adopt(there.now, there.socket, stranger);
    assert!(there.tcp.has_work(), "what it said is to be heard before anything else comes");
    there.until("all of it", |side| side.got.len() == 3);
    let lens: Vec<usize> = there.got.iter().map(|(_, packet)| packet.len()).collect();
    assert_eq!((lens, there.got[0].0.socket), (vec![5, 20, 40], there.socket));
    let tuple = there.got[0].0;
    there.send(tuple, &[&rtp(1, 30)]);
    assert_eq!(read(&mut stream), rtp(1, 30));
    assert_eq!((there.counter("tcp_taken_over"), there.counter("tcp_accepted")), (1, 0));
}

#[test]
fn row_012_a_connection_is_not_given_away_twice_nor_when_it_is_verified_and_its_time_runs_on() {
    let limits = TcpLimits::default();
    let (mut here, mut there) = (Side::new(limits), Side::new(limits));
    let (mut peer, _) = here.join();
    peer.write_all(&framed(&[0; 20])).unwrap();
    packet(&mut here);
    assert!(here.tcp.give_away().is_none(), "a peer stays");
    let mut stream = here.connect();
    stream.write_all(&framed(&[0; 20])).unwrap();
    packet(&mut here);
    let until = here.now + limits.half_open_time;
    let stranger = here.tcp.give_away().unwrap();
    assert_eq!((stranger.until, stranger.refused), (until, 0));
    there.now = here.now + limits.half_open_time - Duration::from_millis(1);
    // Younger ones do not hold it up.
    let _young = there.connect();
    there.until("accepted", |side| side.counter("tcp_accepted") == 1);
    there.tcp.adopt(there.now, there.socket, stranger);
    packet(&mut there);
    assert!(there.tcp.give_away().is_none(), "once");
    assert_eq!(there.tcp.next_timeout(), Some(until));
    there.now = until;
    there.turn();
    assert_eq!((there.losses.count(DropReason::TcpUnverified), there.counter("tcp_half_open")), (1, 1));
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn row_012_what_is_adopted_counts_against_the_caps_of_the_shard_that_has_it() {
    let limits = TcpLimits { half_open: 3, unverified_packets: 2, ..TcpLimits::default() };
    let (mut here, mut there) = (Side::new(limits), Side::new(limits));
    let give = |here: &mut Side, there: &mut Side, refused| {
        let mut stream = here.connect();
        stream.write_all(&framed(&[0; 20])).unwrap();
        packet(here);
        let mut stranger = here.tcp.give_away().unwrap();
        stranger.refused = refused;
        there.tcp.adopt(there.now, there.socket, stranger);
        stream
    };
    // What it has proven nothing by so far is not forgiven.
    let _chatty = give(&mut here, &mut there, 2);
    there.until("one too many", |side| side.losses.count(DropReason::TcpUnverified) == 1);
    let all: Vec<_> = (0..10).map(|_| give(&mut here, &mut there, 0)).collect();
    assert_eq!((there.counter("tcp_half_open"), there.losses.count(DropReason::TcpLimit)), (3, 0));
    there.turn();
    assert_eq!(there.losses.count(DropReason::TcpLimit), 7, "the oldest made room");
    assert!(all.into_iter().take(7).all(|mut stream| stream.read(&mut [0; 1]).unwrap_or(0) == 0));
    // Where nobody listens nobody is adopted.
    let mut stream = here.connect();
    stream.write_all(&framed(&[0; 20])).unwrap();
    packet(&mut here);
    let stranger = here.tcp.give_away().unwrap();
    there.tcp.remove_listener(there.socket);
    there.tcp.adopt(there.now, there.socket, stranger);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn the_epoll_is_closed_on_exec() {
    assert!(sys::flags(Side::new(TcpLimits::default()).tcp.fd().as_fd()).0);
}
