//! The newest key frame of an encoding and what follows it: where a decoder may start at once. The packets
//! themselves are those of the retransmission history; this only knows from where on none is missing.
//!
//! Limits: a run is good for a second, and for half a megabyte: what starts from it goes out at once.

use std::time::Duration;

use sfu_proto::history::History;
use sfu_wire::time::Time;

use super::Ingress;

/// A key frame that is older does not help: what follows it would take longer to catch up than a new one
/// takes to come.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Bytes of a run.
const MAX_BYTES: usize = 512 << 10;
/// Packets of a run, well within what the history keeps.
const MAX_PACKETS: u64 = 512;

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    timestamp: u32,
    at: Time,
    /// All from the first up to before this position are kept.
    whole_until: u64,
    bytes: usize,
}

/// The run of one encoding.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeyFrameRun(Option<Run>);

impl KeyFrameRun {
    /// A packet was put into the history.
    pub(super) fn note(&mut self, now: Time, ingress: &Ingress, history: &History<Ingress>) {
        let position = ingress.position;
        if ingress.key_frame && ingress.blank.is_none() {
            let begins = self.0.is_none_or(|run| match run.timestamp == ingress.timestamp {
                // Its first packet came after others of it.
                true => position < run.first,
                false => position > run.first,
            });
            if begins {
                let (timestamp, at) = (ingress.timestamp, now);
                self.0 = Some(Run { first: position, timestamp, at, whole_until: position, bytes: 0 });
            }
        }
        let Some(run) = &mut self.0 else { return };
        while run.whole_until - run.first <= MAX_PACKETS {
            let Some(entry) = history.lookup(now, run.whole_until) else { break };
            run.bytes += entry.packet.len();
            run.whole_until += 1;
        }
    }

    /// Where to start, if one may.
    pub(super) fn start(&self, now: Time, history: &History<Ingress>) -> Option<u64> {
        let run = self.0?;
        let whole = run.whole_until > history.newest()?;
        let small = run.bytes <= MAX_BYTES && run.whole_until - run.first <= MAX_PACKETS;
        (whole && small && now.saturating_since(run.at) <= MAX_AGE).then_some(run.first)
    }
}
