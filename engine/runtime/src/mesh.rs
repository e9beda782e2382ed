//! The ways between shards: from each to each other one ring with a single writer and a single reader.
//!
//! Told: messages of the pure core with the bytes of their packets. Tells: the same on the other side, in order, and
//! which shards have been made anew meanwhile. A ring that is full takes nothing; what waits stays with the core, which
//! sheds by its own rules, and its shard is woken when there is room. Wake-ups go through the inbox of the shard: one
//! flag, looked at once a turn, so that shards which share no room pay nothing else.
//!
//! Limits: slots by the number of shards, so that all rings together stay small; memory that no message came to is
//! not touched. A message and its packet are copied in and out, since packets of a pool are one thread's own.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};

use rtrb::{Consumer, Producer, RingBuffer};
use sfu_core::peer::{PeerMessage, PeerOut};
use sfu_wire::buf::PACKET_CAP;

/// Most slots of one ring: twice what one turn of a shard receives.
const MAX_SLOTS: usize = 1_024;
/// Fewest slots of one ring.
const MIN_SLOTS: usize = 64;
/// Bytes of all rings together, if each were full; beyond it only for the fewest slots.
const MAX_BYTES: usize = 256 << 20;

/// A message with its packet.
struct Slot {
    message: PeerMessage,
    len: usize,
    bytes: [u8; PACKET_CAP],
}

/// What all shards know of each other.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// How often each shard was made anew or ended.
    lives: Vec<AtomicU8>,
    /// By writer and reader: the writer waits for room.
    starved: Vec<AtomicBool>,
}

impl Mesh {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            lives: (0..shards).map(|_| AtomicU8::new(0)).collect(),
            starved: (0..shards * shards).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// A shard has ended; it may be made anew.
    pub(crate) fn ended(&self, shard: u8) {
        self.lives[usize::from(shard)].fetch_add(1, SeqCst);
    }

    fn starved(&self, from: usize, to: usize) -> &AtomicBool {
        &self.starved[from * self.lives.len() + to]
    }
}

/// One shard's ends of the rings; it outlives the shard's lives.
pub(crate) struct Port {
    index: usize,
    /// By the other shard; none for itself.
    out: Vec<Option<Producer<Slot>>>,
    incoming: Vec<Option<Consumer<Slot>>>,
    /// The lives of the others as far as the core was told.
    lives: Vec<u8>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("index", &self.index).field("lives", &self.lives).finish_non_exhaustive()
    }
}

/// The ports of all shards.
pub(crate) fn ports(shards: usize) -> Vec<Port> {
    let pairs = shards * shards.saturating_sub(1);
    let slots = (MAX_BYTES / size_of::<Slot>() / pairs.max(1)).clamp(MIN_SLOTS, MAX_SLOTS);
    let port = |index| Port {
        index,
        out: std::iter::repeat_with(|| None).take(shards).collect(),
        incoming: std::iter::repeat_with(|| None).take(shards).collect(),
        lives: vec![0; shards],
    };
    let mut ports: Vec<Port> = (0..shards).map(port).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (producer, consumer) = RingBuffer::new(slots);
            ports[from].out[to] = Some(producer);
            ports[to].incoming[from] = Some(consumer);
        }
    }
    ports
}

impl Port {
    /// Moves what `poll` gives into the ring to a shard, until there is none or the ring is full: then this shard is woken
    /// when there is room. Answers how many.
    pub(crate) fn send(&mut self, mesh: &Mesh, to: u8, mut poll: impl FnMut() -> Option<PeerOut>) -> usize {
        let index = usize::from(to);
        let Some(ring) = self.out.get_mut(index).and_then(Option::as_mut) else {
            // There is no such shard.
            while poll().is_some() {}
            return 0;
        };
        let mut sent = 0;
        loop {
            if ring.is_full() {
                mesh.starved(self.index, index).store(true, SeqCst);
                // The reader may have looked before it could see that.
                if ring.is_full() {
                    return sent;
                }
                mesh.starved(self.index, index).store(false, SeqCst);
            }
            let Some(out) = poll() else { return sent };
            let mut slot = Slot { message: out.message, len: 0, bytes: [0; PACKET_CAP] };
            if let Some(packet) = &out.packet {
                slot.len = packet.len();
                slot.bytes[..packet.len()].copy_from_slice(packet);
            }
            // There was room, and nobody else writes.
            if ring.push(slot).is_err() {
                return sent;
            }
            sent += 1;
        }
    }

    /// Gives at most `max` messages of another shard to `take`. Answers whether more wait (or are to wait for [`lost`](Self::lost)), and whether their writer
    /// waits for the room that was made.
    pub(crate) fn receive(
        &mut self,
        mesh: &Mesh,
        from: u8,
        max: usize,
        mut take: impl FnMut(&PeerMessage, &[u8]),
    ) -> (bool, bool) {
        let index = usize::from(from);
        let Some(ring) = self.incoming.get_mut(index).and_then(Option::as_mut) else { return (false, false) };
        let mut taken = 0;
        while taken < max {
            let Ok(slot) = ring.peek() else { break };
            // What a shard says in a new life is heard after the end of the one before is told.
            if mesh.lives[index].load(SeqCst) != self.lives[index] {
                return (true, false);
            }
            take(&slot.message, slot.bytes.get(..slot.len).unwrap_or_default());
            // It was there.
            let _ = ring.pop();
            taken += 1;
        }
        let wakes = taken > 0 && mesh.starved(index, self.index).swap(false, SeqCst);
        (!ring.is_empty(), wakes)
    }

    /// A shard that has ended since the last call.
    pub(crate) fn lost(&mut self, mesh: &Mesh) -> Option<u8> {
        let lives = mesh.lives.iter().map(|life| life.load(SeqCst));
        let known = self.lives.iter_mut().zip(lives).enumerate();
        let (index, (life, now)) = known.into_iter().find(|(i, (life, now))| *i != self.index && **life != *now)?;
        *life = now;
        Some(index as u8)
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> u8 {
        self.lives.len() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::buf::PacketPool;
    use sfu_wire::id::{ObjectId, ObjectKind};
    use sfu_wire::time::Time;

    fn message(n: u32) -> PeerMessage {
        let id = |shard| ObjectId::new(shard, ObjectKind::Producer, 1, n);
        let (mirror, producer) = (id(1), id(0));
        PeerMessage::Packet { mirror, producer, encoding: 0, fresh: false, video: true, at: Time::ZERO, sifted: None }
    }

    #[test]
    fn messages_come_in_order_with_their_bytes_and_a_full_ring_tells_who_waits() {
        let mesh = Mesh::new(2);
        let [mut a, mut b]: [Port; 2] = ports(2).try_into().expect("two");
        let pool = PacketPool::new(4);
        let mut next = 0_u32;
        let mut poll = || {
            next += 1;
            let packet = pool.take(&next.to_be_bytes());
            (next <= 3_000).then(|| PeerOut { message: message(next), packet })
        };
        let (mut got, mut rounds) = (0_u32, 0);
        loop {
            let sent = a.send(&mesh, 1, &mut poll);
            let (more, wakes) = b.receive(&mesh, 0, 700, |message_, bytes| {
                got += 1;
                assert_eq!((message_, bytes), (&message(got), &got.to_be_bytes()[..]));
            });
            rounds += 1;
            if sent == 0 && !more {
                break;
            }
            // Full until the end: the writer waits each time, and is woken each time.
            assert_eq!(wakes, got < 3_000 - MAX_SLOTS as u32 + 700 && rounds <= 3, "round {rounds}, {got}");
        }
        assert_eq!(got, 3_000);
        assert_eq!(b.receive(&mesh, 0, 1, |_, _| {}), (false, false));
    }

    #[test]
    fn what_goes_to_nobody_is_forgotten() {
        let mesh = Mesh::new(1);
        let mut port = ports(1).pop().expect("one");
        let mut left = 3;
        let poll = || {
            left -= 1;
            (left >= 0).then(|| PeerOut { message: message(1), packet: None })
        };
        assert_eq!(port.send(&mesh, 7, poll), 0);
        assert_eq!(left, -1);
    }

    #[test]
    fn each_end_of_a_shard_is_told_once_to_each_other() {
        let mesh = Mesh::new(3);
        let [mut a, mut b, _]: [Port; 3] = ports(3).try_into().expect("three");
        mesh.ended(1);
        mesh.ended(2);
        assert_eq!([a.lost(&mesh), a.lost(&mesh), a.lost(&mesh)], [Some(1), Some(2), None]);
        assert_eq!([b.lost(&mesh), b.lost(&mesh)], [Some(2), None]);
    }
}
