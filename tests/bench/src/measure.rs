//! One round of load on a subject: open loop, absolute schedule, packets sealed before it begins.

use std::time::Duration;

use crate::call;
use crate::clock::Clock;
use crate::subject::Subject;

/// Latencies kept at most; a round beyond it keeps the first.
const MAX_LATENCIES: usize = 1 << 18;
/// What a look at the viewers may wait while the next burst is further away than that.
const NAP: Duration = Duration::from_micros(200);
/// Viewers that have heard nothing for so long, while the forwarder sent nothing either, will hear nothing more. Long,
/// since on a busy machine the forwarder may wait for its core.
const QUIET: Duration = Duration::from_secs(1);
/// What may still be under way before a round has come by then.
const PAUSE: Duration = Duration::from_millis(20);
/// The end of a round waits no longer than that.
const PATIENCE: Duration = Duration::from_secs(5);

/// A shape of traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Streams, each to all viewers.
    pub streams: u32,
    /// Viewers.
    pub viewers: usize,
    /// Packets that are sent together, of one stream.
    pub burst: usize,
    /// Largest plaintext RTP packet, bytes. Bursts differ by up to an eighth.
    pub size: usize,
    /// Packets each second, all streams together.
    pub rate: usize,
    /// The packets of a burst differ by a byte, as those of a frame do that its length does not divide evenly.
    pub uneven: bool,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// CPU nanoseconds for each datagram sent.
    pub ns_out: f64,
    /// CPU nanoseconds for each datagram received.
    pub ns_in: f64,
    /// Datagrams in each message handed to the kernel.
    pub per_message: f64,
    /// Share of the core, percent.
    pub utilisation: f64,
    /// Packets that did not reach their viewer, percent; of the offered ones where nobody counts.
    pub loss: f64,
    /// Delay from the scheduled time to a decrypting viewer, microseconds: median, 99th percentile.
    pub p50: f64,
    /// See `p50`.
    pub p99: f64,
}

/// A small generator (xorshift64*), so that rounds repeat.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// Sequence numbers of a subject's streams, from round to round.
#[derive(Debug, Clone)]
pub struct Source {
    sequences: Vec<u64>,
    random: Random,
}

/// Packets to be sent together.
struct Burst {
    at: Duration,
    packets: Vec<Vec<u8>>,
}

impl Source {
    /// A source that has sent nothing.
    pub fn new(streams: u32) -> Self {
        Self { sequences: vec![0; streams as usize], random: Random::new(7) }
    }

    fn bursts(&mut self, subject: &mut dyn Subject, load: &Load, duration: Duration) -> Vec<Burst> {
        let interval = Duration::from_secs_f64(load.burst as f64 / load.rate as f64);
        let count = (duration.as_secs_f64() / interval.as_secs_f64()).round().max(1.0) as usize;
        let one = |n: usize| {
            let (at, stream) = (interval.mul_f64(n as f64), n % load.streams as usize);
            let size = load.size - self.random.below(load.size / 8);
            // So many of the burst's packets are a byte shorter.
            let shorter = if load.uneven { self.random.below(load.burst) } else { 0 };
            let packet = |k: usize| {
                let first = self.sequences[stream];
                let size = size - usize::from(k < shorter);
                let (picture, stamp) = ((first, k + 1 == load.burst), at.as_nanos() as u64);
                subject.seal(&call::picture_packet(stream as u32, first + k as u64, picture, size, stamp))
            };
            let packets = (0..load.burst).map(packet).collect();
            self.sequences[stream] += load.burst as u64;
            Burst { at, packets }
        };
        (0..count).map(one).collect()
    }
}

/// Runs one round.
pub fn round(clock: Clock, subject: &mut dyn Subject, source: &mut Source, load: &Load, duration: Duration) -> Figures {
    let bursts = source.bursts(subject, load, duration);
    let offered = bursts.iter().map(|burst| burst.packets.len()).sum::<usize>() * load.viewers;
    // Whatever the pause before left behind.
    settle(clock, subject, &mut Vec::new(), Duration::ZERO, None);
    let before = subject.totals();
    let heard = subject.viewers().heard;
    let start = clock.now() + Duration::from_millis(2);
    let mut latencies: Vec<u64> = Vec::with_capacity(MAX_LATENCIES);
    for burst in &bursts {
        let due = start + burst.at;
        loop {
            let now = clock.now();
            if now >= due {
                break;
            }
            let nap = if due - now > NAP * 2 { NAP } else { Duration::ZERO };
            listen(clock, subject, &mut latencies, start, nap);
        }
        for packet in &burst.packets {
            // A full socket loses the packet, and the figures show it.
            drop(subject.socket().send(packet));
        }
    }
    let elapsed = clock.now() - start;
    let all = (before.datagrams_out + offered as u64, heard + offered as u64);
    settle(clock, subject, &mut latencies, start, Some(all));
    let after = subject.totals();
    let cpu = after.cpu.saturating_sub(before.cpu);
    let sent = after.datagrams_out - before.datagrams_out;
    let arrived = subject.viewers().heard - heard;
    latencies.sort_unstable();
    let percentile = |p: usize| {
        let index = (latencies.len() * p / 100).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or(0) as f64 / 1_000.0
    };
    let per = |n: u64| cpu.as_nanos() as f64 / n.max(1) as f64;
    let reached = if arrived > 0 { arrived } else { sent };
    Figures {
        ns_out: per(sent),
        ns_in: per(after.datagrams_in - before.datagrams_in),
        per_message: sent as f64 / (after.messages_out - before.messages_out).max(1) as f64,
        utilisation: cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
        loss: (1.0 - reached as f64 / offered as f64).max(0.0) * 100.0,
        p50: percentile(50),
        p99: percentile(99),
    }
}

fn listen(clock: Clock, subject: &mut dyn Subject, latencies: &mut Vec<u64>, start: Duration, nap: Duration) -> usize {
    let mut on_stamp = |stamp: u64| {
        if latencies.len() < MAX_LATENCIES {
            let scheduled = start + Duration::from_nanos(stamp);
            latencies.push(clock.now().saturating_sub(scheduled).as_nanos() as u64);
        }
    };
    subject.viewers().look(&|| clock.time(), nap, &mut on_stamp)
}

/// Takes in what is under way, until all of it has been sent and heard, or nothing has come for a while. `expected` are the
/// totals that this is: sent and heard.
fn settle(
    clock: Clock,
    subject: &mut dyn Subject,
    latencies: &mut Vec<u64>,
    start: Duration,
    expected: Option<(u64, u64)>,
) {
    let began = clock.now();
    let quiet = if expected.is_some() { QUIET } else { PAUSE };
    let mut last = (began, subject.totals().datagrams_out);
    while clock.now() - last.0 < quiet && clock.now() - began < PATIENCE {
        let taken = listen(clock, subject, latencies, start, Duration::from_micros(100));
        let out = subject.totals().datagrams_out;
        let heard = subject.viewers().heard;
        if expected.is_some_and(|(sent, all)| out >= sent && (heard >= all || !subject.viewers().count())) {
            return;
        }
        if taken > 0 || out != last.1 {
            last = (clock.now(), out);
        }
    }
}

/// The middle of some rounds, figure by figure.
pub fn median(rounds: &[Figures]) -> Figures {
    let of = |pick: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(pick).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Figures {
        ns_out: of(|f| f.ns_out),
        ns_in: of(|f| f.ns_in),
        per_message: of(|f| f.per_message),
        utilisation: of(|f| f.utilisation),
        loss: of(|f| f.loss),
        p50: of(|f| f.p50),
        p99: of(|f| f.p99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_figure_by_figure() {
        let rounds: Vec<Figures> =
            [3.0, 1.0, 2.0].map(|n| Figures { ns_out: n, loss: 10.0 - n, ..Figures::default() }).into();
        let middle = median(&rounds);
        assert_eq!((middle.ns_out, middle.loss), (2.0, 8.0));
        assert!(median(&[]).p50.is_nan());
    }
}
