//! Datagrams and TCP connections on their way from the shard where they arrived to the one that they belong to.
//!
//! Told: datagrams and connections with the shared port by which they came, by other shards. Tells: the same, in order, to
//! the owner. This is the way of first packets, and of all others where the kernel cannot be told whose they are; what is
//! beyond the queue's bound is dropped and counted, as in a socket's buffer. A connection goes once, whole: its descriptor,
//! with the bytes that were read and not yet looked at; one that finds no room is closed.
//!
//! Limits: [`MAX_BYTES`] of datagrams, once for what waits and once for what is being read; both are allocated when first
//! needed and kept. [`MAX_CONNECTIONS`] connections, with [`MAX_CONNECTION_BYTES`] together. A short lock, as in the mailboxes: in
//! the steady state nothing passes here.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sfu_wire::time::Time;

use crate::tcp::Stranger;

/// Bytes that wait for one shard.
pub(crate) const MAX_BYTES: usize = 512 << 10;
/// Connections that wait for one shard.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// Bytes that have come by them.
const MAX_CONNECTION_BYTES: usize = 512 << 10;
/// What precedes each datagram: port (8), arrival (8), address (16), its port (2), family (1), a byte of nothing, length (4).
const HEAD: usize = 40;
const IPV4: u8 = 4;
const IPV6: u8 = 6;

/// A datagram that another shard took in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handed<'a> {
    /// The shared port.
    pub(crate) port: u64,
    pub(crate) from: SocketAddr,
    pub(crate) arrival: Time,
    pub(crate) bytes: &'a mut [u8],
}

/// The queue to one shard.
#[derive(Debug, Default)]
pub(crate) struct HandOver {
    waiting: Mutex<Vec<u8>>,
    has_datagrams: AtomicBool,
    connections: Mutex<Connections>,
    has_connections: AtomicBool,
}

#[derive(Debug, Default)]
struct Connections {
    /// With the keys of their ports.
    waiting: Vec<(u64, Stranger)>,
    bytes: usize,
    /// Nobody will take any.
    closed: bool,
}

impl HandOver {
    /// Puts a datagram in; false when there is no room.
    pub(crate) fn push(&self, port: u64, from: SocketAddr, arrival: Time, bytes: &[u8]) -> bool {
        // Records are appended whole or not at all.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + HEAD + bytes.len() > MAX_BYTES {
            return false;
        }
        if waiting.capacity() < MAX_BYTES {
            let missing = MAX_BYTES - waiting.len();
            waiting.reserve_exact(missing);
        }
        let (ip, family) = match from.ip() {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()), IPV4),
            IpAddr::V6(ip) => (ip.to_bits(), IPV6),
        };
        waiting.extend(port.to_le_bytes());
        waiting.extend(arrival.as_nanos().to_le_bytes());
        waiting.extend(ip.to_le_bytes());
        waiting.extend(from.port().to_le_bytes());
        waiting.extend([family, 0]);
        waiting.extend((bytes.len() as u32).to_le_bytes());
        waiting.extend(bytes);
        self.has_datagrams.store(true, SeqCst);
        true
    }

    /// Puts a connection in; false when there is no room, or nobody to take it: then it is closed.
    pub(crate) fn push_connection(&self, port: u64, stranger: Stranger) -> bool {
        let mut connections = self.lock_connections();
        let bytes = connections.bytes + stranger.bytes.len();
        if connections.closed || connections.waiting.len() >= MAX_CONNECTIONS || bytes > MAX_CONNECTION_BYTES {
            return false;
        }
        connections.bytes = bytes;
        connections.waiting.push((port, stranger));
        self.has_connections.store(true, SeqCst);
        true
    }

    /// Takes all connections that wait (owner's side).
    pub(crate) fn take_connections(&self) -> Vec<(u64, Stranger)> {
        if !self.has_connections.load(SeqCst) {
            return Vec::new();
        }
        let mut connections = self.lock_connections();
        self.has_connections.store(false, SeqCst);
        connections.bytes = 0;
        std::mem::take(&mut connections.waiting)
    }

    /// Closes the connections that wait, and from now on all that come, if the shard is gone for good.
    pub(crate) fn close_connections(&self, for_good: bool) {
        let mut connections = self.lock_connections();
        self.has_connections.store(false, SeqCst);
        *connections = Connections { closed: connections.closed || for_good, ..Connections::default() };
    }

    fn lock_connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something waits.
    pub(crate) fn has_some(&self) -> bool {
        self.has_datagrams.load(SeqCst) || self.has_connections.load(SeqCst)
    }

    /// Takes all that waits in exchange for what was taken the last time (owner's side).
    pub(crate) fn take(&self, taken: &mut Vec<u8>) {
        taken.clear();
        if !self.has_datagrams.load(SeqCst) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, taken);
        self.has_datagrams.store(false, SeqCst);
    }
}

/// Takes the next datagram off the front of what was taken.
pub(crate) fn next_handed<'a>(rest: &mut &'a mut [u8]) -> Option<Handed<'a>> {
    let (head, after) = std::mem::take(rest).split_first_chunk_mut::<HEAD>()?;
    let number = |at: usize| head[at..at + 8].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
    let ip = u128::from(number(24)) << 64 | u128::from(number(16));
    let ip = if head[34] == IPV4 { IpAddr::V4((ip as u32).into()) } else { IpAddr::V6(ip.into()) };
    let from = SocketAddr::new(ip, u16::from_le_bytes([head[32], head[33]]));
    let len = u32::from_le_bytes([head[36], head[37], head[38], head[39]]) as usize;
    let (bytes, after) = after.split_at_mut_checked(len)?;
    *rest = after;
    Some(Handed { port: number(0), from, arrival: Time::from_nanos(number(8)), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &HandOver) -> Vec<(u64, SocketAddr, u64, Vec<u8>)> {
        let mut taken = Vec::new();
        queue.take(&mut taken);
        let mut rest = &mut taken[..];
        let next = || next_handed(&mut rest).map(|h| (h.port, h.from, h.arrival.as_nanos(), h.bytes.to_vec()));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn datagrams_come_out_as_they_went_in() {
        let queue = HandOver::default();
        assert!(!queue.has_some() && taken(&queue).is_empty());
        let records: Vec<(u64, SocketAddr, u64, Vec<u8>)> = vec![
            (u64::MAX, "192.0.2.1:65535".parse().unwrap(), 77, vec![1, 2, 3]),
            (3, "[2001:db8::1:2]:9".parse().unwrap(), u64::MAX, vec![]),
            (0, "[::ffff:192.0.2.1]:0".parse().unwrap(), 0, vec![9; 1_500]),
        ];
        for round in 0..3 {
            for (port, from, arrival, bytes) in &records {
                assert!(queue.push(*port, *from, Time::from_nanos(*arrival), bytes), "round {round}");
            }
            assert!(queue.has_some());
            assert_eq!(taken(&queue), records);
        }
        assert!(!queue.has_some());
    }

    #[test]
    fn what_is_beyond_the_bound_is_refused_whole_and_there_is_room_again_after_a_look() {
        let queue = HandOver::default();
        let from = "192.0.2.1:1".parse().unwrap();
        let sent = (0..10_000).take_while(|_| queue.push(1, from, Time::ZERO, &[5; 1_000])).count();
        assert_eq!(sent, MAX_BYTES / (HEAD + 1_000));
        assert!(!queue.push(1, from, Time::ZERO, &[5; 1_000]));
        assert_eq!(taken(&queue).len(), sent);
        assert!(queue.push(1, from, Time::ZERO, &[5; 1_000]));
        assert!(!queue.push(1, from, Time::ZERO, &vec![0; MAX_BYTES]));
    }

    /// A connection, and the other end of it.
    fn stranger(bytes: usize) -> (Stranger, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, remote) = listener.accept().unwrap();
        let stranger = Stranger { fd: near.into(), remote, bytes: vec![7; bytes], until: Time::ZERO, refused: 0 };
        (stranger, far)
    }

    /// The other end is told that its connection is closed.
    fn is_closed(mut far: std::net::TcpStream) -> bool {
        far.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        std::io::Read::read(&mut far, &mut [0; 1]).is_ok_and(|n| n == 0)
    }

    #[test]
    fn connections_come_out_with_their_bytes_and_what_finds_no_room_is_closed() {
        let queue = HandOver::default();
        let (one, _far) = stranger(3);
        let remote = one.remote;
        assert!(queue.push_connection(9, one) && queue.has_some());
        let got: Vec<_> = queue.take_connections().into_iter().map(|(port, s)| (port, s.remote, s.bytes)).collect();
        assert_eq!(got, [(9, remote, vec![7; 3])]);
        assert!(!queue.has_some() && queue.take_connections().is_empty());
        // By their number, and by their bytes.
        let fars: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| {
                let (one, far) = stranger(1);
                assert!(queue.push_connection(9, one));
                far
            })
            .collect();
        let (beyond, far) = stranger(1);
        assert!(!queue.push_connection(9, beyond) && is_closed(far));
        assert_eq!(queue.take_connections().len(), MAX_CONNECTIONS);
        assert!(fars.into_iter().all(is_closed), "whoever took them has dropped them");
        assert!(!queue.push_connection(9, stranger(MAX_CONNECTION_BYTES + 1).0));
        assert!(queue.push_connection(9, stranger(MAX_CONNECTION_BYTES).0));
        assert!(!queue.push_connection(9, stranger(1).0));
    }

    #[test]
    fn row_112_connections_for_a_shard_that_failed_are_closed_and_for_one_that_is_gone_refused() {
        let queue = HandOver::default();
        let (one, far) = stranger(1);
        assert!(queue.push_connection(9, one));
        queue.close_connections(false);
        assert!(is_closed(far) && !queue.has_some());
        assert!(queue.push_connection(9, stranger(1).0), "for its next life");
        queue.close_connections(true);
        queue.close_connections(false);
        let (late, far) = stranger(1);
        assert!(!queue.push_connection(9, late) && is_closed(far));
    }
}
