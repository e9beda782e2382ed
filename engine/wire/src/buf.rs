//! Pooled packets, shared by a count that is not atomic.
//!
//! A packet is copied once, when it is accepted, and from then on shared: by the consumers that
//! forward it and by the histories that resend it. The last owner gives the buffer back to its pool.
//! After warm-up nothing is allocated. Limits: a packet has at most [`PACKET_CAP`] bytes, a pool
//! keeps at most `max_free` buffers of its peak.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::rc::{Rc, Weak};

/// Largest packet: an Ethernet frame's worth, and some room for what is added on the way.
pub const PACKET_CAP: usize = 1600;

struct Slot {
    len: usize,
    pool: Weak<Pool>,
    bytes: [u8; PACKET_CAP],
}

struct Pool {
    free: RefCell<Vec<Rc<Slot>>>,
    max_free: usize,
}

/// A pool of packet buffers. Cloning gives another handle of the same pool.
#[derive(Clone)]
pub struct PacketPool {
    pool: Rc<Pool>,
}

impl PacketPool {
    /// An empty pool that keeps at most `max_free` unused buffers.
    pub fn new(max_free: usize) -> Self {
        Self { pool: Rc::new(Pool { free: RefCell::new(Vec::with_capacity(max_free.min(1024))), max_free }) }
    }

    /// A copy of `bytes`; `None` if they are more than [`PACKET_CAP`].
    #[inline]
    pub fn take(&self, bytes: &[u8]) -> Option<Packet> {
        self.take_with(|slot| {
            slot.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(bytes.len())
        })
    }

    /// A packet that `fill` writes: it gets [`PACKET_CAP`] bytes with leftovers of earlier packets,
    /// and returns how many it wrote, or `None` to give up.
    #[inline]
    pub fn take_with(&self, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Packet> {
        let mut packet = Packet { slot: Some(self.free_slot()) };
        // A buffer in the free list has one owner, and a slot is never pointed to weakly.
        let slot = packet.slot.as_mut().and_then(Rc::get_mut)?;
        slot.len = 0;
        slot.len = fill(&mut slot.bytes).filter(|len| *len <= PACKET_CAP)?;
        Some(packet)
    }

    /// Buffers that wait for use.
    pub fn free_len(&self) -> usize {
        self.pool.free.borrow().len()
    }

    #[inline]
    fn free_slot(&self) -> Rc<Slot> {
        let free = self.pool.free.borrow_mut().pop();
        free.unwrap_or_else(|| Rc::new(Slot { len: 0, pool: Rc::downgrade(&self.pool), bytes: [0; PACKET_CAP] }))
    }
}

impl fmt::Debug for PacketPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketPool").field("free", &self.free_len()).field("max_free", &self.pool.max_free).finish()
    }
}

/// A packet of a pool. Immutable; cloning adds an owner.
#[derive(Clone)]
pub struct Packet {
    /// `None` only while dropping.
    slot: Option<Rc<Slot>>,
}

impl Packet {
    /// How many owners it has.
    pub fn owners(&self) -> usize {
        self.slot.as_ref().map_or(0, Rc::strong_count)
    }
}

impl Deref for Packet {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.slot.as_ref().and_then(|slot| slot.bytes.get(..slot.len)).unwrap_or(&[])
    }
}

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Packet {
    #[inline]
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        if Rc::strong_count(&slot) > 1 {
            return;
        }
        // A packet may outlive its pool; then the buffer is simply freed.
        let Some(pool) = slot.pool.upgrade() else {
            return;
        };
        let mut free = pool.free.borrow_mut();
        if free.len() < pool.max_free {
            free.push(slot);
        }
    }
}

impl fmt::Debug for Packet {
    /// Only the length: payload is other people's media.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_on_the_last_drop_and_is_used_again() {
        let pool = PacketPool::new(4);
        let a = pool.take(b"hello").unwrap();
        let address = a.as_ptr();
        let b = a.clone();
        assert_eq!((&*a, a.owners()), (&b"hello"[..], 2));
        drop(a);
        assert_eq!((&*b, pool.free_len()), (&b"hello"[..], 0));
        drop(b);
        assert_eq!(pool.free_len(), 1);
        let c = pool.take(b"x").unwrap();
        assert_eq!((&*c, c.as_ptr(), pool.free_len()), (&b"x"[..], address, 0));
    }

    #[test]
    fn the_free_list_is_capped_and_so_is_a_packet() {
        let pool = PacketPool::new(2);
        let packets: Vec<_> = (0..10).map(|i| pool.take(&[i; 100]).unwrap()).collect();
        assert!(packets.iter().enumerate().all(|(i, packet)| packet[..] == [i as u8; 100]));
        drop(packets);
        assert_eq!(pool.free_len(), 2);
        assert!(pool.take(&[0; PACKET_CAP]).is_some());
        assert!(pool.take(&[0; PACKET_CAP + 1]).is_none());
        assert!(pool.take_with(|_| Some(PACKET_CAP + 1)).is_none());
        assert!(pool.take_with(|_| None).is_none());
        assert_eq!(pool.free_len(), 2);
        assert!(pool.take(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_packet_may_outlive_its_pool() {
        let pool = PacketPool::new(2);
        let packet = pool.take(b"late").unwrap();
        drop(pool);
        assert_eq!(&*packet, b"late");
    }
}
