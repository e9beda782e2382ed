//! What a source sent lately, so that losses further down can be repaired from it.
//!
//! Told: packets by position (unwrapped sequence number), shared by count, with a note of the
//! caller's. Tells: a packet by position, as long as it is young enough. One history serves all
//! receivers of a source: how each of them numbers the packet is the receiver's own map.
//! Limits: a number of packets, a number of bytes, and an age; ageing does bounded work per packet. The
//! ring begins small and grows while packets fall out of it that are young enough to be wanted.
//! RFC 4588, section 6.3. Left out: who asked how often ([`crate::resend`]).

use std::time::Duration;

use sfu_wire::buf::Packet;
use sfu_wire::time::Time;

/// Entries looked at per insertion to let go of what is too old.
const AGEING_STEPS: usize = 4;
/// Places of the first ring.
const FIRST_RING: usize = 128;

/// A packet that was kept.
#[derive(Debug)]
pub struct Entry<M> {
    /// Its position.
    pub position: u64,
    /// When it came.
    pub at: Time,
    /// Its bytes, as received.
    pub packet: Packet,
    /// The caller's note.
    pub meta: M,
}

/// The packets of one source.
#[derive(Debug)]
pub struct History<M> {
    /// A ring indexed by position, a power of two of places; allocated by the first packet.
    slots: Box<[Option<Entry<M>>]>,
    max_packets: u64,
    max_bytes: usize,
    max_age: Duration,
    /// Bytes of the packets kept.
    bytes: usize,
    /// Everything before this position was let go.
    oldest: u64,
    newest: u64,
}

impl<M> History<M> {
    /// Keeps at most `max_packets` (16,384 at most) and `max_bytes` for at most `max_age`. Both are
    /// bounds of what may be looked up: a packet older than the newest by `max_packets` is let go
    /// even if those between them never came.
    pub fn new(max_packets: usize, max_bytes: usize, max_age: Duration) -> Self {
        let max_packets = max_packets.clamp(1, 1 << 14) as u64;
        Self { slots: Box::default(), max_packets, max_bytes, max_age, bytes: 0, oldest: 0, newest: 0 }
    }

    /// Keeps a packet; what was in its place is let go. A position that is older than the newest by
    /// the limit is not kept.
    pub fn insert(&mut self, position: u64, now: Time, packet: Packet, meta: M) {
        if self.slots.is_empty() {
            let first = (self.max_packets as usize).next_power_of_two().min(FIRST_RING);
            self.slots = (0..first).map(|_| None).collect();
            self.oldest = position;
            self.newest = position;
        }
        if position > self.newest {
            if position - self.newest >= self.max_packets {
                // A jump: all that is kept belongs to before it.
                self.clear();
                self.oldest = position;
            }
            self.newest = position;
            // What falls out goes, even where its place is not taken at once.
            while self.oldest + self.max_packets <= position {
                self.release_oldest();
            }
            self.make_room(now);
        } else if self.newest - position >= self.max_packets.min(self.slots.len() as u64) {
            return;
        }
        self.oldest = self.oldest.min(position);
        self.release(position);
        let slot = self.index(position);
        self.bytes += packet.len();
        self.slots[slot] = Some(Entry { position, at: now, packet, meta });
        while self.bytes > self.max_bytes && self.oldest < self.newest {
            self.release_oldest();
        }
        self.age(now);
    }

    /// Makes the ring reach from the oldest to the newest: by growing, if what would fall out is young
    /// enough to be wanted and there may be more, else by letting go.
    fn make_room(&mut self, now: Time) {
        while self.newest - self.oldest >= self.slots.len() as u64 {
            let slot = self.index(self.oldest);
            let young = self.slots[slot]
                .as_ref()
                .is_some_and(|entry| entry.position == self.oldest && now.saturating_since(entry.at) <= self.max_age);
            if young && (self.slots.len() as u64) < self.max_packets {
                self.grow();
            } else {
                self.release_oldest();
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = (0..2 * self.slots.len()).map(|_| None).collect();
        for entry in std::mem::replace(&mut self.slots, doubled).into_iter().flatten() {
            let slot = self.index(entry.position);
            self.slots[slot] = Some(entry);
        }
    }

    /// The packet at `position`, if it is kept and not too old.
    pub fn lookup(&self, now: Time, position: u64) -> Option<&Entry<M>> {
        let entry = self.slots.get(self.index(position))?.as_ref()?;
        let fresh = now.saturating_since(entry.at) <= self.max_age;
        (entry.position == position && fresh).then_some(entry)
    }

    /// The highest position kept; `None` if nothing was.
    pub fn newest(&self) -> Option<u64> {
        (!self.slots.is_empty()).then_some(self.newest)
    }

    /// Lets go of everything. The work is that of what may be kept, so that a source which starts over
    /// with each packet costs no more than any other.
    pub fn clear(&mut self) {
        for position in self.oldest..=self.newest {
            self.release(position);
        }
        self.oldest = self.newest;
    }

    /// Packets kept now.
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the packets kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn release(&mut self, position: u64) {
        let slot = self.index(position);
        if let Some(entry) = self.slots.get_mut(slot).and_then(Option::take) {
            self.bytes -= entry.packet.len();
        }
    }

    fn release_oldest(&mut self) {
        self.release(self.oldest);
        self.oldest += 1;
    }

    fn age(&mut self, now: Time) {
        for _ in 0..AGEING_STEPS {
            if self.oldest >= self.newest {
                return;
            }
            let slot = self.index(self.oldest);
            if let Some(entry) = &self.slots[slot]
                && entry.position == self.oldest
                && now.saturating_since(entry.at) <= self.max_age
            {
                return;
            }
            self.release_oldest();
        }
    }

    fn index(&self, position: u64) -> usize {
        // The number of places is a power of two, or 0.
        (position & (self.slots.len() as u64).saturating_sub(1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sfu_wire::buf::PacketPool;

    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_millis(n)
    }

    fn history(max: usize) -> (PacketPool, History<u64>) {
        (PacketPool::new(64), History::new(max, 1 << 20, Duration::from_millis(1000)))
    }

    fn put(pool: &PacketPool, history: &mut History<u64>, at: u64, position: u64) {
        let packet = pool.take(&position.to_be_bytes()).unwrap();
        history.insert(position, ms(at), packet, position);
    }

    fn has(history: &History<u64>, at: u64, position: u64) -> bool {
        history.lookup(ms(at), position).is_some_and(|e| {
            assert_eq!((e.position, e.meta), (position, position));
            assert_eq!(&e.packet[..], &position.to_be_bytes());
            true
        })
    }

    #[test]
    fn keeps_the_last_packets_in_any_order() {
        let (pool, mut h) = history(8);
        assert!(h.is_empty() && !has(&h, 0, 100));
        for p in [100, 103, 101, 102, 99] {
            put(&pool, &mut h, 0, p);
        }
        assert!((99..=103).all(|p| has(&h, 0, p)));
        put(&pool, &mut h, 0, 108);
        assert!(!has(&h, 0, 100), "108 took its place");
        put(&pool, &mut h, 0, 100);
        assert!(!has(&h, 0, 100) && has(&h, 0, 108), "too old to be kept");
    }

    #[test]
    fn old_packets_are_not_found_and_soon_let_go() {
        let (pool, mut h) = history(1024);
        for k in 0..100 {
            put(&pool, &mut h, k * 10, 100 + k);
        }
        assert!(has(&h, 1_000, 100));
        assert!(!has(&h, 1_001, 100), "a second old");
        for k in 0..200 {
            put(&pool, &mut h, 5_000 + k, 200 + k);
        }
        assert_eq!(h.len(), 200, "bounded work per packet caught up");
    }

    #[test]
    fn what_falls_out_of_the_ring_over_a_gap_is_let_go() {
        let (pool, mut h) = history(16);
        for p in 100..116 {
            put(&pool, &mut h, 0, p);
        }
        put(&pool, &mut h, 0, 125);
        assert_eq!(h.len(), 16 - 10 + 1);
        put(&pool, &mut h, 0, 140);
        assert_eq!(h.len(), 2);
        h.clear();
        assert!(h.is_empty());
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let pool = PacketPool::new(64);
        let mut h = History::new(1000, 1000, Duration::from_secs(1));
        for p in 100..150 {
            h.insert(p, ms(0), pool.take(&[7; 90]).unwrap(), p);
            assert!(h.bytes() <= 1000 && h.bytes() == 90 * h.len());
        }
        assert_eq!(h.len(), 11);
        assert!(h.lookup(ms(0), 149).is_some() && h.lookup(ms(0), 138).is_none());
        h.insert(149, ms(0), pool.take(&[7; 10]).unwrap(), 149);
        assert_eq!(h.bytes(), 910, "what is replaced is not counted");
        h.clear();
        assert_eq!((h.bytes(), h.len()), (0, 0));
    }

    #[test]
    fn the_ring_grows_to_the_limit_while_packets_are_young() {
        let pool = PacketPool::new(64);
        let mut h = History::new(2500, 1 << 30, Duration::from_secs(2));
        let put = |h: &mut History<u64>, p: u64, at: u64| h.insert(p, ms(at), pool.take(&[1]).unwrap(), p);
        // Ten a second: the first ring is enough.
        (0..1000).for_each(|k| put(&mut h, 100 + k, 100 * k));
        assert_eq!(h.slots.len(), FIRST_RING);
        assert!(h.lookup(ms(99_900), 100 + 980).is_some());
        // Five thousand at once.
        (0..5000).for_each(|k| put(&mut h, 2000 + k, 100_000));
        assert_eq!((h.slots.len(), h.len()), (4096, 2500));
        assert!((4500..7000).all(|p| h.lookup(ms(101_000), p).is_some_and(|entry| entry.meta == p)));
    }

    #[test]
    fn a_jump_lets_go_of_everything_before_it() {
        let (pool, mut h) = history(16);
        for p in 0..16 {
            put(&pool, &mut h, 0, 100 + p);
        }
        put(&pool, &mut h, 0, 1_000_000);
        assert_eq!(h.len(), 1);
        assert!(has(&h, 0, 1_000_000));
    }

    #[test]
    fn h27_positions_near_the_end_do_not_overflow() {
        let (pool, mut h) = history(16);
        for p in u64::MAX - 20..u64::MAX {
            put(&pool, &mut h, 0, p);
        }
        assert!(has(&h, 0, u64::MAX - 1) && !has(&h, 0, u64::MAX - 20));
    }

    proptest! {
        /// What is found was put there, is young enough, and there is never more than the limit.
        #[test]
        fn agrees_with_a_map(ops in prop::collection::vec((0u64..100, 0u64..60), 1..100)) {
            let (pool, mut h) = history(32);
            let mut model = std::collections::BTreeMap::new();
            let mut now = 0;
            for (position, step) in ops {
                now += step;
                put(&pool, &mut h, now, position);
                model.insert(position, now);
                prop_assert!(h.len() <= 32);
                for p in 0..100 {
                    if has(&h, now, p) {
                        prop_assert!(model.get(&p).is_some_and(|at| now - at <= 1000));
                    }
                }
            }
        }
    }
}
