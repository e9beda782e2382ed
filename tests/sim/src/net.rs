//! The simulated network: packet and time in, arrival times out.
//!
//! A [`Link`] is one direction of a path. It knows loss, duplication, delay, jitter, reordering, a rate and a
//! queue, all drawn from its own seeded generator, so that one link's traffic never changes another's luck.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sfu_wire::time::Time;

/// How a direction of a path treats packets. Chances are per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Propagation delay.
    pub delay: Duration,
    /// Up to this much more, uniformly; never reorders by itself.
    pub jitter: Duration,
    /// Chance to lose a packet.
    pub loss: u32,
    /// Chance to deliver a packet twice.
    pub duplicate: u32,
    /// Chance to hold a packet back so that later ones overtake it.
    pub reorder: u32,
    /// How long a reordered packet is held back.
    pub reorder_delay: Duration,
    /// Bit/s; `None` is infinitely fast.
    pub rate: Option<u64>,
    /// Packets that would wait longer than this for the link are dropped.
    pub queue: Duration,
    /// Larger datagrams vanish.
    pub mtu: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            reorder_delay: Duration::from_millis(30),
            rate: None,
            queue: Duration::from_millis(500),
            mtu: 1500,
        }
    }
}

/// What a link did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Packets offered.
    pub offered: u64,
    /// Packets lost by chance, by size or by a full queue.
    pub lost: u64,
    /// Extra copies.
    pub duplicated: u64,
    /// Packets held back.
    pub reordered: u64,
}

/// One direction of a path.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    rng: ChaCha8Rng,
    busy_until: Time,
    last_in_order: Time,
    counters: LinkCounters,
}

impl Link {
    /// A link with its own luck.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            busy_until: Time::from_nanos(0),
            last_in_order: Time::from_nanos(0),
            counters: LinkCounters::default(),
        }
    }

    /// Takes a packet of `len` bytes at `now`; returns when it arrives: never, once or twice.
    pub fn send(&mut self, now: Time, len: usize) -> [Option<Time>; 2] {
        self.counters.offered += 1;
        // The draws are always made, in this order, so that a change of one chance leaves the others' luck alone.
        let lost = self.chance(self.config.loss);
        let duplicated = self.chance(self.config.duplicate);
        let reordered = self.chance(self.config.reorder);
        let jitter = self.jitter();
        let Some(sent) = self.transmit(now, len) else {
            self.counters.lost += 1;
            return [None, None];
        };
        if lost {
            self.counters.lost += 1;
            return [None, None];
        }
        let mut arrival = sent + self.config.delay + jitter;
        if reordered {
            self.counters.reordered += 1;
            arrival += self.config.reorder_delay;
        } else {
            arrival = arrival.max(self.last_in_order);
            self.last_in_order = arrival;
        }
        let copy = duplicated.then(|| arrival + Duration::from_millis(1));
        self.counters.duplicated += u64::from(duplicated);
        [Some(arrival), copy]
    }

    /// Changes the treatment of packets from now on.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// The treatment of packets.
    pub fn config(&self) -> LinkConfig {
        self.config
    }

    /// What happened so far.
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// When the last bit leaves, or `None` if the packet is too large or the queue is full.
    fn transmit(&mut self, now: Time, len: usize) -> Option<Time> {
        if len > self.config.mtu {
            return None;
        }
        let Some(rate) = self.config.rate else { return Some(now) };
        let start = self.busy_until.max(now);
        if start.saturating_since(now) > self.config.queue {
            return None;
        }
        let nanos = (len as u64 * 8).saturating_mul(1_000_000_000) / rate.max(1);
        self.busy_until = start + Duration::from_nanos(nanos);
        Some(self.busy_until)
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.next_u32() % 1000 < per_mille
    }

    fn jitter(&mut self) -> Duration {
        let draw = u64::from(self.rng.next_u32());
        let nanos = u64::try_from(self.config.jitter.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(draw) * u128::from(nanos)) >> 32) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: LinkConfig, seed: u64) -> (Vec<[Option<Time>; 2]>, LinkCounters) {
        let mut link = Link::new(config, seed);
        let arrivals = (0..1000).map(|i| link.send(Time::from_micros(i * 1000), 1200)).collect();
        (arrivals, link.counters())
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
        let config = LinkConfig { loss: 100, duplicate: 50, reorder: 100, ..LinkConfig::default() };
        assert_eq!(run(config, 7).0, run(config, 7).0);
        assert_ne!(run(config, 7).0, run(config, 8).0);
    }

    #[test]
    fn loss_is_near_its_chance() {
        let lost = run(LinkConfig { loss: 100, ..LinkConfig::default() }, 1).1.lost;
        assert!((60..=140).contains(&lost), "{lost} of 1000 at 100 per mille");
    }

    #[test]
    fn jitter_alone_keeps_the_order() {
        let config = LinkConfig { jitter: Duration::from_millis(40), ..LinkConfig::default() };
        let arrivals: Vec<_> = run(config, 3).0.into_iter().map(|a| a[0].expect("no loss")).collect();
        assert!(arrivals.windows(2).all(|w| w[0] <= w[1]));
    }

    #[test]
    fn a_rate_delays_and_a_full_queue_drops() {
        // 1200 B each ms are 9.6 Mbit/s; the link carries 1 Mbit/s.
        let config = LinkConfig { rate: Some(1_000_000), queue: Duration::from_millis(100), ..LinkConfig::default() };
        let (arrivals, counters) = run(config, 3);
        let carried = arrivals.iter().filter(|a| a[0].is_some()).count();
        assert!((100..=125).contains(&carried), "{carried} packets in one second");
        assert_eq!(counters.lost as usize, 1000 - carried);
    }

    #[test]
    fn datagrams_over_the_mtu_vanish() {
        let mut link = Link::new(LinkConfig { mtu: 1199, ..LinkConfig::default() }, 1);
        assert_eq!(link.send(Time::from_nanos(0), 1200), [None, None]);
    }
}
