//! Sound beside the layers of a call, the sender reports of publishers, and what a receiver makes of the reports that it
//! gets: when, by the engine's clock, each frame was captured.
//!
//! Reports are written and read by hand on purpose: a second reading of what the engine reads and writes.

use std::collections::BTreeMap;

use sfu_wire::id::ObjectId;
use sfu_wire::rtp::{RtpHeaderFields, RtpView, write_header};
use sfu_wire::time::Time;

use crate::media::blocks;

/// Ticks per second of sound.
pub const AUDIO_RATE: u32 = 48_000;
/// Ticks per second of pictures.
pub const VIDEO_RATE: u32 = 90_000;
/// Seconds from 1900 to 1970 (RFC 5905, section 6).
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// A publisher's voice, and the clock that it reports by.
#[derive(Debug)]
pub struct Studio {
    /// The audio producer, once it is there.
    pub producer: Option<ObjectId>,
    /// Of the sound.
    pub ssrc: u32,
    /// Timestamp at time zero.
    pub timestamp_offset: u32,
    /// When each packet was captured.
    pub captured: Vec<Time>,
    /// The publisher's clock less the world's, nanoseconds.
    pub clock_offset: i64,
    /// Pictures between two reports, and since the last one.
    pub report_every: u32,
    /// Streams that are not reported on, by SSRC.
    pub unreported: Vec<u32>,
    since_report: u32,
    tag: u8,
    sequence: u16,
    payload_type: u8,
}

impl Studio {
    /// A publisher's, by its number in the call.
    pub fn new(tag: u8, payload_type: u8) -> Self {
        Self {
            producer: None,
            tag,
            ssrc: 0x4000_0000 + u32::from(tag),
            timestamp_offset: 0xffff_0000u32.wrapping_add(u32::from(tag) << 20),
            captured: Vec::new(),
            // Hosts differ by hours, and are set by hand.
            clock_offset: (i64::from(tag) * 2 - 1) * 3 * 3_600_000_000_000 + 1_234_567_891,
            report_every: 30,
            unreported: Vec::new(),
            since_report: 0,
            sequence: 65_530,
            payload_type,
        }
    }

    /// One packet of sound, captured now; it says whose it is, and its number there.
    ///
    /// # Panics
    /// If a header does not fit, which would be a bug here.
    pub fn speak(&mut self, now: Time) -> Vec<u8> {
        let fields = RtpHeaderFields {
            marker: false,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp_at(now),
            ssrc: self.ssrc,
        };
        let mut packet = vec![0; 64];
        let header = write_header(&mut packet, &fields, &[]).expect("room for a header");
        packet.truncate(header);
        // Opus: 20 ms of one frame.
        packet.extend([0x78, self.tag]);
        packet.extend((self.captured.len() as u32).to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.captured.push(now);
        packet
    }

    /// The timestamp of what is captured at `now`.
    pub fn timestamp_at(&self, now: Time) -> u32 {
        self.timestamp_offset.wrapping_add((now.as_nanos() * 48 / 1_000_000) as u32)
    }

    /// Sender reports of these streams and of the sound, one packet each, when it is time for them.
    pub fn reports(&mut self, now: Time, streams: &[(u32, u32)]) -> Vec<Vec<u8>> {
        self.since_report += 1;
        if self.since_report < self.report_every {
            return Vec::new();
        }
        self.since_report = 0;
        let own = (self.ssrc, self.timestamp_at(now));
        let all = streams.iter().copied().chain([own]).filter(|(ssrc, _)| !self.unreported.contains(ssrc));
        // A clock that is behind the world's is far from zero all the same.
        let wall = (i128::from(now.as_nanos()) + i128::from(self.clock_offset) + 40 * 365 * 86_400_000_000_000) as u64;
        all.map(|(ssrc, timestamp)| sender_report(ssrc, ntp_of(wall), timestamp)).collect()
    }
}

fn ntp_of(nanos: u64) -> u64 {
    ((u128::from(nanos) << 32) / 1_000_000_000) as u64
}

/// A sender report without blocks (RFC 3550, section 6.4.1).
fn sender_report(ssrc: u32, ntp: u64, timestamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(ntp.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([0; 8]);
    packet
}

/// A report as a receiver keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Reported {
    /// Nanoseconds of the world's time, as the engine's clock said.
    pub at: i64,
    /// The timestamp at that moment.
    pub timestamp: u32,
}

impl Reported {
    /// When what carries `timestamp` was captured, nanoseconds of the world's time.
    pub fn captured_at(&self, timestamp: u32, rate: u32) -> i64 {
        let ticks = i64::from(timestamp.wrapping_sub(self.timestamp) as i32);
        self.at + (i128::from(ticks) * 1_000_000_000 / i128::from(rate)) as i64
    }
}

/// Sound that came, and the reports of all streams.
#[derive(Debug, Default)]
pub struct Ear {
    /// SSRC of the sound.
    pub ssrc: u32,
    /// The consumer of the sound.
    pub consumer: Option<ObjectId>,
    /// Whose sound it is, the packet's number there, and its timestamp.
    pub heard: Vec<(usize, u32, u32)>,
    /// Reports by SSRC, in the order of their arrival.
    pub reports: BTreeMap<u32, Vec<Reported>>,
}

impl Ear {
    /// Takes a packet of sound; others' SSRCs are left alone.
    ///
    /// # Panics
    /// If the engine sends no valid RTP.
    pub fn handle_rtp(&mut self, bytes: &[u8]) {
        let view = RtpView::parse(bytes).expect("the engine sends valid RTP");
        let payload = &bytes[view.payload_range()];
        if view.ssrc != self.ssrc || payload.len() < 6 {
            return;
        }
        let number = u32::from_be_bytes([payload[2], payload[3], payload[4], payload[5]]);
        self.heard.push((usize::from(payload[1]), number, view.timestamp));
    }

    /// Takes a compound of the engine; `epoch_nanos` is the Unix time of the world's zero.
    pub fn handle_rtcp(&mut self, compound: &[u8], epoch_nanos: u64) {
        for (pt, _, body) in blocks(compound) {
            let (Some(ssrc), Some(ntp), Some(rtp)) = (body.get(..4), body.get(4..12), body.get(12..16)) else {
                continue;
            };
            if pt != 200 {
                continue;
            }
            let long = |bytes: &[u8]| bytes.iter().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
            let nanos = ((u128::from(long(ntp)) * 1_000_000_000) >> 32) as i128;
            let at = nanos - i128::from(NTP_TO_UNIX) * 1_000_000_000 - i128::from(epoch_nanos);
            let reported = Reported { at: at as i64, timestamp: long(rtp) as u32 };
            self.reports.entry(long(ssrc) as u32).or_default().push(reported);
        }
    }

    /// The most by which two reports of a stream in a row say different things, nanoseconds.
    pub fn worst_step(&self, ssrc: u32, rate: u32) -> u64 {
        let reports = self.reports.get(&ssrc).map_or(&[][..], Vec::as_slice);
        let steps = reports.windows(2).map(|w| (w[0].captured_at(w[1].timestamp, rate) - w[1].at).unsigned_abs());
        steps.max().unwrap_or(0)
    }

    /// When, by the report nearest to it, what carries `timestamp` was captured.
    pub fn captured_at(&self, ssrc: u32, timestamp: u32, rate: u32) -> Option<i64> {
        let reports = self.reports.get(&ssrc)?.iter();
        let near = |r: &&Reported| (timestamp.wrapping_sub(r.timestamp) as i32).unsigned_abs();
        reports.min_by_key(near).map(|r| r.captured_at(timestamp, rate))
    }
}
