//! What a shard is carrying, published through atomics so that placement can look at it from any
//! thread without disturbing the shard.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::ThreadCpuClock;
use crate::core::Counts;

/// The load of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardLoad {
    /// Which shard.
    pub shard: u8,
    /// It still runs.
    pub alive: bool,
    /// Routers on it.
    pub routers: u32,
    /// Transports on it.
    pub transports: u32,
    /// Producers on it.
    pub producers: u32,
    /// Consumers on it.
    pub consumers: u32,
    /// CPU time of its thread since it started.
    pub cpu: Duration,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Messages in which they were sent: a run of several datagrams is one.
    pub messages_out: u64,
    /// Datagrams that the kernel refused.
    pub send_failures: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// Datagrams, and TCP connections, that arrived here and were another shard's.
    pub handed_over: u64,
    /// Datagrams, and TCP connections, that arrived at other shards and were this one's.
    pub taken_over: u64,
    /// How often the shard was kept from running for a quarter of a second or more.
    pub stalls: u64,
    /// For how long together.
    pub stalled: Duration,
}

/// The shard writes, anyone reads. Single writer, so plain stores do.
#[derive(Debug, Default)]
pub(crate) struct LoadCell {
    alive: AtomicBool,
    cpu_clock: AtomicI32,
    has_cpu_clock: AtomicBool,
    final_cpu_nanos: AtomicU64,
    routers: AtomicU32,
    transports: AtomicU32,
    producers: AtomicU32,
    consumers: AtomicU32,
    datagrams_in: AtomicU64,
    datagrams_out: AtomicU64,
    messages_out: AtomicU64,
    send_failures: AtomicU64,
    turns: AtomicU64,
    handed_over: AtomicU64,
    taken_over: AtomicU64,
    stalls: AtomicU64,
    stalled_ms: AtomicU64,
}

/// Running totals of one loop.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) datagrams_in: u64,
    pub(crate) datagrams_out: u64,
    pub(crate) messages_out: u64,
    pub(crate) send_failures: u64,
    pub(crate) turns: u64,
    pub(crate) handed_over: u64,
    pub(crate) taken_over: u64,
    /// Datagrams and TCP connections of other shards for which these had no room.
    pub(crate) hand_overs_lost: u64,
    /// How often a turn began so much too late that its shard must have been kept from running, and by how many
    /// milliseconds together.
    pub(crate) stalls: u64,
    pub(crate) stalled_ms: u64,
}

impl LoadCell {
    /// The shard's thread has started.
    pub(crate) fn started(&self, clock: Option<ThreadCpuClock>) {
        if let Some(clock) = clock {
            self.cpu_clock.store(clock.raw(), Relaxed);
            self.has_cpu_clock.store(true, Relaxed);
        }
        self.alive.store(true, Relaxed);
    }

    /// The shard's thread is about to end: its CPU clock goes with it.
    pub(crate) fn ended(&self) {
        if self.has_cpu_clock.swap(false, Relaxed) {
            let cpu = ThreadCpuClock::from_raw(self.cpu_clock.load(Relaxed)).read().unwrap_or_default();
            self.final_cpu_nanos.store(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        }
        self.alive.store(false, Relaxed);
        self.publish_counts(Counts::default());
    }

    /// Publishes the totals of the loop.
    pub(crate) fn publish(&self, traffic: Traffic) {
        self.datagrams_in.store(traffic.datagrams_in, Relaxed);
        self.datagrams_out.store(traffic.datagrams_out, Relaxed);
        self.messages_out.store(traffic.messages_out, Relaxed);
        self.send_failures.store(traffic.send_failures, Relaxed);
        self.turns.store(traffic.turns, Relaxed);
        self.handed_over.store(traffic.handed_over, Relaxed);
        self.taken_over.store(traffic.taken_over, Relaxed);
        self.stalls.store(traffic.stalls, Relaxed);
        self.stalled_ms.store(traffic.stalled_ms, Relaxed);
    }

    /// Publishes how many objects there are.
    pub(crate) fn publish_counts(&self, counts: Counts) {
        self.routers.store(counts.routers, Relaxed);
        self.transports.store(counts.transports, Relaxed);
        self.producers.store(counts.producers, Relaxed);
        self.consumers.store(counts.consumers, Relaxed);
    }

    /// What is known now.
    pub(crate) fn read(&self, shard: u8) -> ShardLoad {
        let live = self.has_cpu_clock.load(Relaxed);
        let cpu = live.then(|| ThreadCpuClock::from_raw(self.cpu_clock.load(Relaxed)).read()).flatten();
        ShardLoad {
            shard,
            alive: self.alive.load(Relaxed),
            routers: self.routers.load(Relaxed),
            transports: self.transports.load(Relaxed),
            producers: self.producers.load(Relaxed),
            consumers: self.consumers.load(Relaxed),
            cpu: cpu.unwrap_or(Duration::from_nanos(self.final_cpu_nanos.load(Relaxed))),
            datagrams_in: self.datagrams_in.load(Relaxed),
            datagrams_out: self.datagrams_out.load(Relaxed),
            messages_out: self.messages_out.load(Relaxed),
            send_failures: self.send_failures.load(Relaxed),
            turns: self.turns.load(Relaxed),
            handed_over: self.handed_over.load(Relaxed),
            taken_over: self.taken_over.load(Relaxed),
            stalls: self.stalls.load(Relaxed),
            stalled: Duration::from_millis(self.stalled_ms.load(Relaxed)),
        }
    }
}
