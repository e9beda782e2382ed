//! The way of packets between an application and its direct transports: one queue to each shard, one back.
//!
//! Told: batches of records by the application, packets by shards. Tells: the same, in order. A record is what the
//! public interface has: the object (8 bytes), the length (4 bytes), both little-endian, and the packet.
//! A queue that is full gives up its oldest packets, since media is worth less the older it is; how many is
//! told to the shard, which counts them as [`DropReason::MediaQueueFull`](sfu_wire::drop_reason::DropReason).
//!
//! Limits: [`MAX_BYTES`] for each queue; packets of at most [`MAX_PACKET`] bytes. As in the mailboxes, short locks
//! and not lock-free rings: media of direct transports passes the application anyway. No allocation after warm-up.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sfu_wire::id::ObjectId;

use crate::event_fd::EventFd;

/// Bytes that a queue holds, records whole.
pub(crate) const MAX_BYTES: usize = 8 << 20;
/// The largest packet: what a datagram could carry.
pub const MAX_PACKET: usize = 65_507;
/// Object and length of a record.
const HEAD: usize = 12;

/// Records in order, the oldest making room.
#[derive(Debug)]
pub(crate) struct MediaQueue {
    bytes: VecDeque<u8>,
    max_bytes: usize,
    packets: usize,
    /// Given up since the last look.
    lost: u64,
}

impl MediaQueue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { bytes: VecDeque::new(), max_bytes, packets: 0, lost: 0 }
    }

    /// Adds a packet. One that is larger than the queue is lost itself.
    pub(crate) fn push(&mut self, object: ObjectId, packet: &[u8]) {
        let need = HEAD + packet.len();
        if packet.len() > MAX_PACKET || need > self.max_bytes {
            self.lost += 1;
            return;
        }
        while self.bytes.len() + need > self.max_bytes {
            let oldest = self.first_len();
            self.bytes.drain(..oldest);
            self.packets -= 1;
            self.lost += 1;
        }
        self.bytes.extend(object.to_u64().to_le_bytes());
        self.bytes.extend((packet.len() as u32).to_le_bytes());
        self.bytes.extend(packet);
        self.packets += 1;
    }

    /// Moves whole records into `buffer`: bytes written, and the size of the next record that has to wait, or 0.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> (usize, usize) {
        let mut end = 0;
        let mut next = 0;
        let mut taken = 0;
        while taken < self.packets {
            let len = self.len_at(end);
            if end + len > buffer.len() {
                next = len;
                break;
            }
            end += len;
            taken += 1;
        }
        let (front, back) = self.bytes.as_slices();
        let split = front.len().min(end);
        buffer[..split].copy_from_slice(&front[..split]);
        buffer[split..end].copy_from_slice(&back[..end - split]);
        self.bytes.drain(..end);
        self.packets -= taken;
        (end, next)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// How many were given up since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn first_len(&self) -> usize {
        self.len_at(0)
    }

    fn len_at(&self, start: usize) -> usize {
        let mut len = [0; 4];
        for (to, from) in len.iter_mut().zip(self.bytes.range(start + 8..start + HEAD)) {
            *to = *from;
        }
        HEAD + u32::from_le_bytes(len) as usize
    }
}

/// Takes a batch of records apart; `None` in place of what is no record ends it.
pub fn records(mut batch: &[u8]) -> impl Iterator<Item = Option<(ObjectId, &[u8])>> {
    std::iter::from_fn(move || {
        if batch.is_empty() {
            return None;
        }
        let record = split(batch);
        batch = record.map_or(&[], |(_, _, rest)| rest);
        Some(record.map(|(object, packet, _)| (object, packet)))
    })
}

fn split(batch: &[u8]) -> Option<(ObjectId, &[u8], &[u8])> {
    let (object, rest) = batch.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (packet, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    (packet.len() <= MAX_PACKET).then_some((ObjectId::from_u64(u64::from_le_bytes(*object)), packet, rest))
}

/// The queue to the application, with its descriptor.
#[derive(Debug)]
pub(crate) struct MediaOutlet {
    queue: Mutex<MediaQueue>,
    raised: AtomicBool,
    ready: EventFd,
}

impl MediaOutlet {
    pub(crate) fn new() -> std::io::Result<Self> {
        let queue = Mutex::new(MediaQueue::new(MAX_BYTES));
        Ok(Self { queue, raised: AtomicBool::new(false), ready: EventFd::new()? })
    }

    fn lock(&self) -> MutexGuard<'_, MediaQueue> {
        // Whoever panicked did so between two moves of whole records.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a shard's turn has brought; tells how many packets were given up for it.
    pub(crate) fn publish(&self, fill: impl FnOnce(&mut MediaQueue)) -> u64 {
        let lost = {
            let mut queue = self.lock();
            fill(&mut queue);
            queue.take_lost()
        };
        if !self.raised.swap(true, SeqCst) {
            self.ready.raise();
        }
        lost
    }

    /// As [`MediaQueue::take`]; the descriptor falls when nothing is left.
    pub(crate) fn take(&self, buffer: &mut [u8]) -> (usize, usize) {
        // Lowered first: who publishes after this raises it again.
        self.ready.lower();
        self.raised.store(false, SeqCst);
        let mut queue = self.lock();
        let taken = queue.take(buffer);
        if !queue.is_empty() && !self.raised.swap(true, SeqCst) {
            self.ready.raise();
        }
        taken
    }

    pub(crate) fn ready_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        self.ready.wait(timeout)
    }

    /// Wakes who waits.
    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, SeqCst) {
            self.ready.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(n: u64) -> ObjectId {
        ObjectId::from_u64(n)
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut queue = MediaQueue::new(3 * (HEAD + 10));
        for n in 0..5u8 {
            queue.push(object(n.into()), &[n; 10]);
        }
        queue.push(object(9), &[0; 100]);
        let mut buffer = [0; 200];
        let (written, next) = queue.take(&mut buffer);
        let all: Vec<_> = records(&buffer[..written]).map(|r| r.expect("whole").0.to_u64()).collect();
        assert_eq!((all, next, queue.take_lost()), (vec![2, 3, 4], 0, 3));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_small_buffer_gets_whole_records_and_is_told_what_the_next_one_needs() {
        let mut queue = MediaQueue::new(1000);
        queue.push(object(1), &[1; 10]);
        queue.push(object(2), &[2; 50]);
        let mut buffer = [0; 40];
        assert_eq!(queue.take(&mut buffer), (22, 62));
        assert_eq!(queue.take(&mut buffer), (0, 62));
        assert_eq!(queue.take(&mut [0; 62]), (62, 0));
    }

    #[test]
    fn a_batch_that_is_cut_ends_with_nothing() {
        let mut queue = MediaQueue::new(1000);
        queue.push(object(7), b"packet");
        let mut buffer = [0; 18];
        queue.take(&mut buffer);
        for cut in 1..18 {
            assert_eq!(records(&buffer[..cut]).collect::<Vec<_>>(), [None]);
        }
        let huge = [&7u64.to_le_bytes()[..], &u32::MAX.to_le_bytes(), &[0; 9]].concat();
        assert_eq!(records(&huge).collect::<Vec<_>>(), [None]);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(
            packets in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..60),
            room in 72usize..400,
        ) {
            let mut queue = MediaQueue::new(1 << 16);
            let mut out = Vec::new();
            let mut buffer = vec![0; room];
            for (n, (id, packet)) in packets.iter().enumerate() {
                queue.push(object(*id), packet);
                if n % 3 == 0 {
                    let (written, _) = queue.take(&mut buffer);
                    out.extend(records(&buffer[..written]).flatten().map(|(o, p)| (o.to_u64(), p.to_vec())));
                }
            }
            while !queue.is_empty() {
                let (written, _) = queue.take(&mut buffer);
                out.extend(records(&buffer[..written]).flatten().map(|(o, p)| (o.to_u64(), p.to_vec())));
            }
            prop_assert_eq!(out, packets);
        }
    }
}
