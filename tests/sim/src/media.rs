//! A publisher's encoder and a subscriber's decoder, as models: frames with numbers in them, so that what arrives
//! can be compared with what was sent.
//!
//! RTCP is read here by hand on purpose: a second reading of what the engine writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sfu_wire::rtp::{RtpHeaderFields, RtpView, write_header};
use sfu_wire::time::Time;

/// Packets that the model publisher keeps for resending.
const HISTORY: usize = 1_000;
/// How long the model subscriber waits before it asks again.
const NACK_RETRY: Duration = Duration::from_millis(120);

/// A VP8 encoder that makes frames of numbered packets.
#[derive(Debug)]
pub struct Vp8Source {
    /// Media SSRC.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// SSRC and payload type of RTX.
    pub rtx: Option<(u32, u8)>,
    /// Sequence number of the next packet.
    pub sequence: u16,
    /// Timestamp of the next frame.
    pub timestamp: u32,
    /// Picture id of the next frame (15 bits).
    pub picture_id: u16,
    /// Frames made.
    pub frames: u32,
    /// Key frames made.
    pub key_frames: u32,
    key_frame_wanted: bool,
    rtx_sequence: u16,
    history: VecDeque<(u16, Vec<u8>)>,
}

impl Vp8Source {
    /// A source that starts at these counters.
    pub fn new(ssrc: u32, payload_type: u8, rtx: Option<(u32, u8)>, sequence: u16, timestamp: u32) -> Self {
        Self {
            ssrc,
            payload_type,
            rtx,
            sequence,
            timestamp,
            picture_id: sequence & 0x7fff,
            frames: 0,
            key_frames: 0,
            key_frame_wanted: true,
            rtx_sequence: 0,
            history: VecDeque::new(),
        }
    }

    /// The packets of the next frame.
    ///
    /// # Panics
    /// If the header does not fit, which would be a bug here.
    pub fn frame(&mut self, packets: u16, size: usize) -> Vec<Vec<u8>> {
        let key = std::mem::take(&mut self.key_frame_wanted);
        self.frames += 1;
        self.key_frames += u32::from(key);
        let mut out = Vec::new();
        for index in 0..packets {
            let mut packet = vec![0u8; 12 + size.max(32)];
            let fields = RtpHeaderFields {
                marker: index + 1 == packets,
                payload_type: self.payload_type,
                sequence: self.sequence,
                timestamp: self.timestamp,
                ssrc: self.ssrc,
            };
            let header = write_header(&mut packet, &fields, &[]).expect("room for a header");
            self.write_payload(&mut packet[header..], index, packets, key);
            self.history.push_back((self.sequence, packet.clone()));
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
            self.sequence = self.sequence.wrapping_add(1);
            out.push(packet);
        }
        self.timestamp = self.timestamp.wrapping_add(3_000);
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        out
    }

    /// RFC 7741, section 4.2: X S; I L; 15 bits of picture id; TL0PICIDX. Then the VP8 payload header, whose lowest
    /// bit says inter frame, then what the decoder model looks for.
    fn write_payload(&self, payload: &mut [u8], index: u16, count: u16, key: bool) {
        payload[0] = 0x80 | if index == 0 { 0x10 } else { 0 };
        payload[1] = 0xc0;
        payload[2..4].copy_from_slice(&(self.picture_id | 0x8000).to_be_bytes());
        payload[4] = self.frames as u8;
        payload[5] = u8::from(!key);
        payload[6..10].copy_from_slice(&self.frames.to_be_bytes());
        payload[10..12].copy_from_slice(&index.to_be_bytes());
        payload[12..14].copy_from_slice(&count.to_be_bytes());
        payload[14] = u8::from(key);
    }

    /// Takes RTCP from the shard; returns the resends that it asks for.
    pub fn handle_rtcp(&mut self, compound: &[u8]) -> Vec<Vec<u8>> {
        let mut resends = Vec::new();
        for (pt, fmt, body) in blocks(compound) {
            match (pt, fmt) {
                (206, 1) if media_ssrc(body) == Some(self.ssrc) => self.key_frame_wanted = true,
                (206, 4) => self.key_frame_wanted = true,
                (205, 1) if media_ssrc(body) == Some(self.ssrc) => {
                    resends.extend(nacked(body).into_iter().filter_map(|seq| self.resend(seq)));
                }
                _ => {}
            }
        }
        resends
    }

    /// RFC 4588, section 4: the original sequence number goes before the payload.
    fn resend(&mut self, sequence: u16) -> Option<Vec<u8>> {
        let (ssrc, payload_type) = self.rtx?;
        let original = self.history.iter().find(|(seq, _)| *seq == sequence).map(|(_, packet)| packet)?;
        let mut packet = original[..12].to_vec();
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&original[12..]);
        packet[1] = (packet[1] & 0x80) | payload_type;
        packet[2..4].copy_from_slice(&self.rtx_sequence.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(packet)
    }
}

/// What the subscriber knows of a frame.
#[derive(Debug, Default, Clone)]
struct Frame {
    count: u16,
    parts: BTreeSet<u16>,
    timestamp: u32,
    picture_id: u16,
    key: bool,
}

/// A subscriber that puts frames together, asks for what is missing and checks what must hold.
#[derive(Debug)]
pub struct Vp8Sink {
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    frames: BTreeMap<u32, Frame>,
    sequences: BTreeMap<i64, (u32, u16)>,
    highest: Option<i64>,
    asked: BTreeMap<i64, (Time, u32)>,
    /// Packets that came by RTX.
    pub repaired: u64,
    /// Packets that came twice.
    pub duplicates: u64,
}

impl Vp8Sink {
    /// A decoder for one consumer.
    pub fn new(ssrc: u32, rtx_ssrc: Option<u32>) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            frames: BTreeMap::new(),
            sequences: BTreeMap::new(),
            highest: None,
            asked: BTreeMap::new(),
            repaired: 0,
            duplicates: 0,
        }
    }

    /// Takes a decrypted packet; others' SSRCs are left alone.
    ///
    /// # Panics
    /// If the packet breaks a promise of the engine.
    pub fn handle_rtp(&mut self, packet: &[u8]) {
        let view = RtpView::parse(packet).expect("the engine sends valid RTP");
        let payload = &packet[view.payload_range()];
        if view.ssrc == self.ssrc {
            self.take(view.sequence, view.timestamp, payload);
        } else if Some(view.ssrc) == self.rtx_ssrc {
            assert!(payload.len() > 2, "RTX without a payload");
            self.repaired += 1;
            self.take(u16::from_be_bytes([payload[0], payload[1]]), view.timestamp, &payload[2..]);
        }
    }

    fn take(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) {
        let picture_id = u16::from_be_bytes([payload[2], payload[3]]) & 0x7fff;
        let number = u32::from_be_bytes([payload[6], payload[7], payload[8], payload[9]]);
        let index = u16::from_be_bytes([payload[10], payload[11]]);
        let count = u16::from_be_bytes([payload[12], payload[13]]);
        let extended = self.extend(sequence);
        if let Some(known) = self.sequences.insert(extended, (number, index)) {
            assert_eq!(known, (number, index), "two packets under one sequence number {sequence}");
            self.duplicates += 1;
        }
        self.asked.remove(&extended);
        let frame = self.frames.entry(number).or_default();
        if !frame.parts.is_empty() {
            assert_eq!((frame.timestamp, frame.picture_id), (timestamp, picture_id), "one frame, one timestamp");
        }
        *frame = Frame { count, timestamp, picture_id, key: payload[14] == 1, parts: std::mem::take(&mut frame.parts) };
        frame.parts.insert(index);
    }

    fn extend(&mut self, sequence: u16) -> i64 {
        let Some(highest) = self.highest else {
            self.highest = Some(i64::from(sequence));
            return i64::from(sequence);
        };
        let step = i64::from(sequence.wrapping_sub(highest as u16) as i16);
        self.highest = Some(highest.max(highest + step));
        highest + step
    }

    /// The SSRC that it decodes.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// A NACK for what is missing, as an RTCP packet.
    pub fn nack(&mut self, now: Time) -> Option<Vec<u8>> {
        let (first, highest) = (*self.sequences.keys().next()?, self.highest?);
        let missing: Vec<i64> = (first..highest).filter(|s| !self.sequences.contains_key(s)).collect();
        let mut wanted = Vec::new();
        for sequence in missing {
            let (last, tries) = self.asked.get(&sequence).copied().unwrap_or((Time::from_nanos(0), 0));
            if tries < 10 && (tries == 0 || now.saturating_since(last) >= NACK_RETRY) {
                self.asked.insert(sequence, (now, tries + 1));
                wanted.push(sequence as u16);
            }
        }
        (!wanted.is_empty()).then(|| nack_packet(1, self.ssrc, &wanted))
    }

    /// Frames of which every packet is here.
    pub fn complete(&self) -> usize {
        self.frames.values().filter(|f| usize::from(f.count) == f.parts.len()).count()
    }

    /// Frames of which something arrived.
    pub fn seen(&self) -> usize {
        self.frames.len()
    }

    /// Sequence numbers between the first and the last that never came.
    pub fn gaps(&self) -> usize {
        let (Some(first), Some(highest)) = (self.sequences.keys().next(), self.highest) else { return 0 };
        (highest - first + 1) as usize - self.sequences.len()
    }

    /// Checks that the first frame is a key frame, and that timestamps and picture ids only go forward.
    ///
    /// # Panics
    /// If they do not.
    pub fn check_order(&self) {
        let frames: Vec<&Frame> = self.frames.values().collect();
        assert!(frames.first().is_none_or(|f| f.key), "the first frame is no key frame");
        for pair in frames.windows(2) {
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
            assert!(step > 0, "timestamp goes from {} to {}", pair[0].timestamp, pair[1].timestamp);
            let step = pair[1].picture_id.wrapping_sub(pair[0].picture_id) & 0x7fff;
            assert!((1..0x4000).contains(&step), "picture id {} then {}", pair[0].picture_id, pair[1].picture_id);
        }
    }
}

/// A generic NACK (RFC 4585, section 6.2.1), one item for each sequence number.
pub fn nack_packet(sender: u32, media: u32, sequences: &[u16]) -> Vec<u8> {
    let mut packet = vec![0x81, 205, 0, 0];
    packet.extend_from_slice(&sender.to_be_bytes());
    packet.extend_from_slice(&media.to_be_bytes());
    for sequence in sequences.iter().take(200) {
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
    }
    let words = (packet.len() / 4 - 1) as u16;
    packet[2..4].copy_from_slice(&words.to_be_bytes());
    packet
}

/// A PLI (RFC 4585, section 6.3.1).
pub fn pli_packet(sender: u32, media: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 206, 0, 2];
    packet.extend_from_slice(&sender.to_be_bytes());
    packet.extend_from_slice(&media.to_be_bytes());
    packet
}

/// The blocks of a compound: payload type, count or format, bytes after the first four.
pub fn blocks(compound: &[u8]) -> Vec<(u8, u8, &[u8])> {
    let mut rest = compound;
    let mut out = Vec::new();
    while let [first, pt, high, low, ..] = rest {
        let len = (usize::from(u16::from_be_bytes([*high, *low])) + 1) * 4;
        let Some(body) = rest.get(4..len) else { break };
        out.push((*pt, first & 0x1f, body));
        rest = &rest[len..];
    }
    out
}

fn media_ssrc(body: &[u8]) -> Option<u32> {
    body.get(4..8).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Sequence numbers that a generic NACK asks for.
pub fn nacked(body: &[u8]) -> Vec<u16> {
    let mut out = Vec::new();
    for item in body.get(8..).unwrap_or_default().chunks_exact(4) {
        let first = u16::from_be_bytes([item[0], item[1]]);
        let mask = u16::from_be_bytes([item[2], item[3]]);
        out.push(first);
        out.extend((0..16).filter(|bit| mask >> bit & 1 == 1).map(|bit| first.wrapping_add(bit + 1)));
    }
    out
}
