//! The role that receives: counts packets, gaps, jitter and latency of each stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use str0m::media::{Direction, MediaKind};
use str0m::rtp::Ssrc;
use str0m::{Event, Rtc};

use super::meter::{Meter, Received, Tally, micros, now};
use super::payload;
use super::peer::{Role, Sections};

/// One stream's numbers.
#[derive(Debug)]
struct Track {
    first: u64,
    last: u64,
    packets: u64,
    /// Transit time of the packet before, for jitter (RFC 3550 section 6.4.1), microseconds.
    transit: Option<f64>,
    jitter: f64,
}

impl Track {
    fn new(sequence: u64) -> Self {
        Self { first: sequence, last: sequence, packets: 0, transit: None, jitter: 0.0 }
    }

    /// Counts a packet; says whether later ones came before it.
    fn count(&mut self, sequence: u64) -> bool {
        self.packets += 1;
        let late = sequence < self.last;
        self.first = self.first.min(sequence);
        self.last = self.last.max(sequence);
        late
    }

    fn lost(&self) -> u64 {
        if self.packets == 0 { 0 } else { (self.last - self.first + 1).saturating_sub(self.packets) }
    }

    fn time(&mut self, transit: Duration) {
        let transit = transit.as_secs_f64() * 1e6;
        if let Some(before) = self.transit.replace(transit) {
            self.jitter += ((transit - before).abs() - self.jitter) / 16.0;
        }
    }
}

/// See the module's head.
pub(super) struct Viewer {
    meter: Arc<Meter>,
    tally: Arc<Mutex<Tally>>,
    tracks: HashMap<Ssrc, Track>,
    /// When it asked to watch, until media has come.
    asked: Option<Instant>,
}

impl Viewer {
    pub(super) fn new(meter: Arc<Meter>, tally: Arc<Mutex<Tally>>, asked: Instant) -> Self {
        Self { meter, tally, tracks: HashMap::new(), asked: Some(asked) }
    }

    /// Adds sections that receive.
    pub(super) fn offer(api: &mut str0m::change::SdpApi<'_>, kinds: impl Iterator<Item = MediaKind>) -> Sections {
        kinds.map(|kind| api.add_media(kind, Direction::RecvOnly, None, None, None)).collect()
    }
}

impl Role for Viewer {
    fn handle_event(&mut self, event: Event) {
        let Event::RtpPacket(packet) = event else { return };
        // Probes and padding are no packets of a publisher.
        let Some(age) = payload::age(&packet.payload, self.meter.start(), now()) else { return };
        if let Some(asked) = self.asked.take() {
            self.meter.count_first_packet(now() - asked);
        }
        let sequence = *packet.seq_no;
        let track = self.tracks.entry(packet.header.ssrc).or_insert_with(|| Track::new(sequence));
        let missing = track.lost();
        let late = track.count(sequence);
        // What was sent again says nothing of the way's evenness.
        if !late {
            track.time(age);
        }
        let (lost, jitter) = (track.lost(), track.jitter);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let Received { packets, bytes, lost: all_lost, late: all_late } = &mut tally.received;
        *packets += 1;
        *bytes += packet.payload.len() as u64;
        *all_lost = *all_lost + lost - missing;
        *all_late += u64::from(late);
        tally.jitter_micros = jitter;
        tally.latency.saturating_record(micros(age));
    }

    fn next_due(&self) -> Option<Instant> {
        None
    }

    fn handle_due(&mut self, _: &mut Rtc, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_lost_until_they_are_filled() {
        let mut track = Track::new(100);
        assert_eq!(track.lost(), 0);
        assert_eq!([100, 101, 104].map(|n| track.count(n)), [false; 3]);
        assert_eq!(track.lost(), 2);
        assert!(track.count(102));
        assert_eq!(track.lost(), 1);
        // An earlier one than the first moves the beginning.
        assert!(track.count(98));
        assert_eq!(track.lost(), 2);
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut track = Track::new(0);
        track.time(Duration::from_micros(1_000));
        track.time(Duration::from_micros(1_160));
        assert!((track.jitter - 10.0).abs() < 1e-6);
        track.time(Duration::from_micros(1_160));
        assert!((track.jitter - 9.375).abs() < 1e-6);
    }
}
