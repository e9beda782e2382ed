//! Datagrams on their way from the shard where they arrived to the one that they belong to.
//!
//! Told: datagrams with the shared port by which they came, by other shards. Tells: the same, in order, to the owner.
//! This is the way of first packets, and of all others where the kernel cannot be told whose they are; what is
//! beyond the queue's bound is dropped and counted, as in a socket's buffer.
//!
//! Limits: [`MAX_BYTES`], once for what waits and once for what is being read; both are allocated when first
//! needed and kept. A short lock, as in the mailboxes: in the steady state nothing passes here.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use sfu_wire::time::Time;

/// Bytes that wait for one shard.
pub(crate) const MAX_BYTES: usize = 512 << 10;
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
    has_some: AtomicBool,
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
        self.has_some.store(true, SeqCst);
        true
    }

    /// Datagrams wait.
    pub(crate) fn has_some(&self) -> bool {
        self.has_some.load(SeqCst)
    }

    /// Takes all that waits in exchange for what was taken the last time (owner's side).
    pub(crate) fn take(&self, taken: &mut Vec<u8>) {
        taken.clear();
        if !self.has_some() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, taken);
        self.has_some.store(false, SeqCst);
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
}
