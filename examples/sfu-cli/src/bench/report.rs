//! What a run has shown, as text and as JSON.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles of a time, milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Times {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl From<&Histogram<u32>> for Times {
    fn from(all: &Histogram<u32>) -> Self {
        let at = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
        let max = all.max() as f64 / 1e3;
        // The histogram's buckets end above the largest value.
        Self { p50: at(0.5).min(max), p90: at(0.9).min(max), p99: at(0.99).min(max), max }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, max } = self;
        write!(out, "p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  max {max:.2} ms")
    }
}

/// One span of the run.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) publishers: usize,
    pub(super) viewers: usize,
    pub(super) seconds: f64,
    pub(super) packets_per_second_in: f64,
    pub(super) packets_per_second_out: f64,
    pub(super) bits_per_second_out: f64,
    /// Packets that never came, percent.
    pub(super) loss_percent: f64,
    /// Packets that came after later ones (sent again, mostly), percent.
    pub(super) late_percent: f64,
    /// Mean over viewers, milliseconds.
    pub(super) jitter_ms: f64,
    pub(super) latency_ms: Times,
    /// Viewers that had not a packet.
    pub(super) silent_viewers: usize,
    /// Every viewer had packets, and nothing was above the bounds of --ramp.
    pub(super) held: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} publishers, {} viewers: {:.0} packets/s in, {:.0} out ({:.1} Mbit/s), lost {:.3} %, late {:.2} %, jitter {:.2} ms, latency {}",
            self.publishers,
            self.viewers,
            self.packets_per_second_in,
            self.packets_per_second_out,
            self.bits_per_second_out / 1e6,
            self.loss_percent,
            self.late_percent,
            self.jitter_ms,
            self.latency_ms,
        )
    }
}

/// See the module's head.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) server: String,
    pub(super) steps: Vec<Step>,
    /// Viewers of the largest load within the bounds.
    pub(super) largest_held: Option<usize>,
    /// From the request to the end of the DTLS handshake, publishers and viewers.
    pub(super) connect_ms: Times,
    /// From a viewer's request to its first packet.
    pub(super) first_packet_ms: Times,
    /// How late this program was with its own packets: above some milliseconds, the load tester was the limit.
    pub(super) own_delay_ms: Times,
    /// Packets that this machine's sockets did not take.
    pub(super) unsent: u64,
    pub(super) failures: Vec<String>,
}

/// This program's own delay from which its figures say more about it than about the server.
const BUSY_MS: f64 = 20.0;
/// Failures that are told in full.
const MAX_TOLD: usize = 5;

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{}", self.server)?;
        for step in &self.steps {
            writeln!(out, "  {}{step}", if step.held { "" } else { "NOT HELD: " })?;
        }
        if let Some(largest) = self.largest_held {
            writeln!(out, "  largest load held: {largest} viewers")?;
        }
        writeln!(out, "  connected after {}", self.connect_ms)?;
        writeln!(out, "  first packet after {}", self.first_packet_ms)?;
        writeln!(out, "  this program's own delay {}", self.own_delay_ms)?;
        if self.own_delay_ms.p99 > BUSY_MS || self.unsent > 0 {
            let unsent = self.unsent;
            writeln!(
                out,
                "  this program was busy itself ({unsent} packets unsent): run it on another machine, or with less load"
            )?;
        }
        for failure in self.failures.iter().take(MAX_TOLD) {
            writeln!(out, "  failed: {failure}")?;
        }
        if self.failures.len() > MAX_TOLD {
            writeln!(out, "  and {} more failures", self.failures.len() - MAX_TOLD)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_milliseconds() {
        let mut all = super::super::meter::histogram();
        for micros in 1..=1_000u64 {
            all.record(micros * 10).expect("within bounds");
        }
        let times = Times::from(&all);
        assert!((times.p50 - 5.0).abs() < 0.1, "{times}");
        assert!((times.max - 10.0).abs() < 0.1 && times.p99 <= times.max, "{times}");
        assert_eq!(Times::from(&super::super::meter::histogram()).max, 0.0);
    }
}
