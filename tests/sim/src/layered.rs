//! A publisher of layers and a decoder of what arrives of them, as models: each frame names itself and the frames
//! that it refers to, so that the decoder knows whether what it got can be decoded, whatever was left out.
//!
//! All patterns are those of browsers: one, two or three temporal layers (0 2 1 2), spatial layers that depend on each
//! other always, in key frames, or not at all; one frame of a layer in a few packets.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use sfu_wire::codec::CodecKind;
use sfu_wire::codec::vp8::Vp8Descriptor;
use sfu_wire::codec::vp9::Vp9Descriptor;
use sfu_wire::dependency_descriptor::{
    DependencyDescriptor, DescriptorRewrite, MandatoryFields, Template, TemplateStructure, samples,
};
use sfu_wire::rtp::{RtpHeaderFields, RtpView, write_header};
use sfu_wire::scalability::ScalabilityMode;
use sfu_wire::time::Time;

use crate::media::nack_packet;

/// Id of the dependency descriptor on both sides.
pub const DESCRIPTOR_ID: u8 = 9;
/// Packets that the model publisher keeps for resending.
const HISTORY: usize = 2_000;
/// How long the model subscriber waits before it asks again.
const NACK_RETRY: Duration = Duration::from_millis(130);

/// What names a frame: source, encoding, count.
type Name = (u8, u8, u32);

/// One encoding of a publisher.
#[derive(Debug)]
pub struct Encoder {
    /// Media SSRC; its retransmissions have the next one.
    pub ssrc: u32,
    /// Sequence number of the next packet.
    pub sequence: u16,
    /// Timestamp at time zero.
    pub timestamp_offset: u32,
    /// A key frame comes next.
    pub key_wanted: bool,
    /// Key frames made.
    pub key_frames: u32,
    /// Pictures made.
    pub pictures: u32,
    /// When each of them was captured.
    pub captured: Vec<Time>,
    /// By how much its clock is too fast, millionths.
    pub skew: i32,
    picture_id: u16,
    tl0: u8,
    number: u32,
    position: u32,
    last: HashMap<(u8, u8), (u32, u32)>,
    rtx_sequence: u16,
    history: VecDeque<(u16, usize, Vec<u8>)>,
}

/// A publisher.
#[derive(Debug)]
pub struct LayeredSource {
    codec: CodecKind,
    mode: ScalabilityMode,
    structure: Option<TemplateStructure>,
    tag: u8,
    payload_type: u8,
    /// Nothing can be read of the payload.
    pub opaque: bool,
    /// Packets per frame of a layer.
    pub packets: u8,
    /// Bytes of a payload beyond what names the frame.
    pub fill: usize,
    /// Its encodings, lowest first.
    pub encoders: Vec<Encoder>,
}

impl LayeredSource {
    /// A publisher of `encodings` of this mode. Its payload type is `payload_type`, that of RTX the next one. With
    /// `described`, packets carry the dependency descriptor.
    ///
    /// # Panics
    /// If there is no sample structure of this mode.
    pub fn new(codec: CodecKind, mode: &str, encodings: u8, tag: u8, payload_type: u8, described: bool) -> Self {
        let encoder = |e: u8| Encoder {
            ssrc: 0x1000_0000 + u32::from(tag) * 0x1_0000 + u32::from(e) * 2,
            sequence: 65_000u16.wrapping_add(u16::from(e) * 7_000).wrapping_add(u16::from(tag) * 300),
            timestamp_offset: (u32::from(e) + 1).wrapping_mul(0x3777_7777).wrapping_add(u32::from(tag) << 24),
            key_wanted: true,
            key_frames: 0,
            pictures: 0,
            captured: Vec::new(),
            skew: 0,
            picture_id: 32_000 + u16::from(e) * 77 + u16::from(tag),
            tl0: 250u8.wrapping_add(e * 31),
            number: 65_500 + u32::from(e) * 1_000,
            position: 0,
            last: HashMap::new(),
            rtx_sequence: 0,
            history: VecDeque::new(),
        };
        Self {
            codec,
            mode: mode.parse().expect("a mode"),
            structure: described.then(|| samples::structure(mode).expect("a sample structure")),
            tag,
            payload_type,
            opaque: false,
            packets: 2,
            fill: 40,
            encoders: (0..encodings).map(encoder).collect(),
        }
    }

    /// The packets of the next picture of an encoding, captured now.
    ///
    /// # Panics
    /// If a header does not fit, which would be a bug here.
    pub fn picture(&mut self, encoding: u8, now: Time) -> Vec<Vec<u8>> {
        let e = &mut self.encoders[usize::from(encoding)];
        let key = std::mem::take(&mut e.key_wanted);
        e.position = if key { 0 } else { e.position + 1 };
        e.pictures += 1;
        e.key_frames += u32::from(key);
        e.picture_id = (e.picture_id + 1) & 0x7fff;
        let temporal = temporal_of(e.position, self.mode.temporal);
        e.tl0 = e.tl0.wrapping_add(u8::from(temporal == 0));
        let picture = e.pictures;
        let timestamp = e.timestamp_at(now);
        e.captured.push(now);
        let mut out = Vec::new();
        for spatial in 0..self.mode.spatial {
            let frame = self.frame(encoding, (spatial, temporal), picture, key);
            self.packetize(&frame, timestamp, &mut out);
        }
        self.finish(encoding, temporal, picture);
        out
    }

    /// Starts over, with all counters somewhere near their wraps, which `seed` tells.
    pub fn jump(&mut self, seed: u32) {
        for e in &mut self.encoders {
            let step = seed.wrapping_mul(0x9e37_79b9) >> 20 & 15;
            e.sequence = e.sequence.wrapping_add(20_000);
            if seed.is_multiple_of(4) {
                e.sequence = 0u16.wrapping_sub(step as u16);
            }
            e.timestamp_offset = e.timestamp_offset.wrapping_add(seed.wrapping_mul(0x6789_abcd));
            e.picture_id = 0x7fff - step as u16;
            e.tl0 = 0u8.wrapping_sub(step as u8);
            e.number = 65_536 * (1 + seed) - step;
            e.key_wanted = true;
        }
    }

    fn frame(&mut self, encoding: u8, (spatial, temporal): (u8, u8), picture: u32, key: bool) -> Frame {
        let mode = self.mode;
        let e = &mut self.encoders[usize::from(encoding)];
        e.number += 1;
        let within = spatial > 0 && mode.simulcast == 1 && (key || !mode.key);
        let mut needs = Vec::new();
        if !key {
            // The base layer refers to the base layer, others to the latest of those below or at them.
            let below = if temporal == 0 { 0 } else { temporal - 1 };
            let latest = (0..=below).filter_map(|t| e.last.get(&(spatial, t))).max_by_key(|(picture, _)| *picture);
            needs.extend(latest.map(|(_, number)| *number));
        }
        if within {
            needs.push(e.number - 1);
        }
        let sync = !key && temporal > 0 && e.last.get(&(spatial, 0)).is_some_and(|(_, number)| needs.contains(number));
        Frame { encoding, spatial, temporal, picture, key, within, sync, number: e.number, needs }
    }

    fn finish(&mut self, encoding: u8, temporal: u8, picture: u32) {
        let spatial_layers = self.mode.spatial;
        let e = &mut self.encoders[usize::from(encoding)];
        let first = e.number + 1 - u32::from(spatial_layers);
        for spatial in 0..spatial_layers {
            e.last.insert((spatial, temporal), (picture, first + u32::from(spatial)));
        }
    }

    fn packetize(&mut self, frame: &Frame, timestamp: u32, out: &mut Vec<Vec<u8>>) {
        let last_layer = frame.spatial + 1 == self.mode.spatial;
        for part in 0..self.packets {
            let (first, last) = (part == 0, part + 1 == self.packets);
            let descriptor = self.descriptor(frame, first, last);
            let exts: Vec<(u8, &[u8])> = descriptor.iter().map(|d| (DESCRIPTOR_ID, d.as_slice())).collect();
            let e = &self.encoders[usize::from(frame.encoding)];
            let fields = RtpHeaderFields {
                marker: last && last_layer,
                payload_type: self.payload_type,
                sequence: e.sequence,
                timestamp,
                ssrc: e.ssrc,
            };
            let mut packet = vec![0; 400];
            let header = write_header(&mut packet, &fields, &exts).expect("room for a header");
            packet.truncate(header);
            packet.extend(self.payload(frame, part));
            let e = &mut self.encoders[usize::from(frame.encoding)];
            e.history.push_back((e.sequence, header, packet.clone()));
            if e.history.len() > HISTORY {
                e.history.pop_front();
            }
            e.sequence = e.sequence.wrapping_add(1);
            out.push(packet);
        }
    }

    fn descriptor(&self, frame: &Frame, first: bool, last: bool) -> Option<Vec<u8>> {
        let structure = self.structure.as_ref()?;
        let layers = |t: &&Template| (t.spatial, t.temporal) == (frame.spatial, frame.temporal);
        let spatial_layers = u16::from(self.mode.spatial);
        let inter = |t: &&Template| t.frame_diffs.as_slice().iter().any(|diff| *diff >= spatial_layers);
        let mut alike = structure.templates().iter().filter(layers);
        let template = alike.find(|t| inter(t) != frame.key).expect("a template");
        let index = structure.templates().iter().position(|t| t == template).expect("its own") as u8;
        let id = structure.offset().wrapping_add(index) & 63;
        let flags = if first { 0x80 } else { 0 } | if last { 0x40 } else { 0 } | id;
        let [high, low] = (frame.number as u16).to_be_bytes();
        let plain = DependencyDescriptor::parse_known(&[flags, high, low], structure).expect("a descriptor");
        let rewrite = DescriptorRewrite {
            frame_number: frame.number as u16,
            active_targets: None,
            structure: frame.key && first && frame.spatial == 0,
            template_shift: 0,
        };
        let mut buf = [0; 255];
        let len = plain.write(&mut buf, structure, &rewrite).expect("fits");
        Some(buf[..len].to_vec())
    }

    fn payload(&self, frame: &Frame, part: u8) -> Vec<u8> {
        let e = &self.encoders[usize::from(frame.encoding)];
        let (first, last) = (part == 0, part + 1 == self.packets);
        let [high, low] = (e.picture_id | 0x8000).to_be_bytes();
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        let mut payload = match self.codec {
            _ if self.opaque => vec![],
            CodecKind::Vp8 => {
                let layer = frame.temporal << 6 | bit(frame.sync, 0x20);
                vec![0x80 | bit(first, 0x10), 0xe0, high, low, e.tl0, layer]
            }
            CodecKind::Vp9 => {
                let flags = 0xa0 | bit(!frame.key, 0x40) | bit(first, 0x08) | bit(last, 0x04);
                // After a picture of the base layer nothing above refers to what is before it.
                let layer = frame.temporal << 5 | bit(frame.temporal == 0, 0x10) | frame.spatial << 1;
                vec![flags, high, low, layer | u8::from(frame.within), e.tl0]
            }
            CodecKind::H264 => vec![if frame.key { 0x65 } else { 0x41 }],
            CodecKind::H265 => {
                let nal_type = if frame.key { 19 } else { bit(frame.sync, 3).max(1) };
                vec![nal_type << 1, frame.temporal + 1]
            }
            _ => vec![0x10 | bit(frame.key && first && frame.spatial == 0, 0x08)],
        };
        // VP8 reads "no key frame" in the lowest bit of the first byte.
        payload.push(u8::from(!frame.key));
        payload.extend([self.tag, frame.encoding, frame.spatial, frame.temporal, part, self.packets]);
        payload.extend(frame.number.to_be_bytes());
        payload.extend(frame.picture.to_be_bytes());
        payload.push(frame.needs.len() as u8);
        frame.needs.iter().for_each(|need| payload.extend(need.to_be_bytes()));
        payload.resize(payload.len() + self.fill, 0xab);
        payload
    }

    /// Takes RTCP from the shard; returns the resends that it asks for.
    pub fn handle_rtcp(&mut self, compound: &[u8]) -> Vec<Vec<u8>> {
        let payload_type = self.payload_type + 1;
        let mut resends = Vec::new();
        for (pt, fmt, body) in crate::media::blocks(compound) {
            let Some(ssrc) = body.get(4..8).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])) else { continue };
            let Some(e) = self.encoders.iter_mut().find(|e| e.ssrc == ssrc) else { continue };
            match (pt, fmt) {
                (206, 1) => e.key_wanted = true,
                (205, 1) => {
                    let wanted = crate::media::nacked(body);
                    resends.extend(wanted.into_iter().filter_map(|sequence| e.resend(sequence, payload_type)));
                }
                _ => {}
            }
        }
        resends
    }
}

impl Encoder {
    /// The timestamp of what is captured at `now`.
    pub fn timestamp_at(&self, now: Time) -> u32 {
        let ticks = i128::from(now.as_nanos()) * (90_000 + i128::from(self.skew) * 9 / 100) / 1_000_000_000;
        self.timestamp_offset.wrapping_add(ticks as u32)
    }

    /// RFC 4588, section 4: the original sequence number goes before the payload.
    fn resend(&mut self, sequence: u16, payload_type: u8) -> Option<Vec<u8>> {
        let (_, header, original) = self.history.iter().find(|(seq, ..)| *seq == sequence)?;
        let mut packet = original[..*header].to_vec();
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&original[*header..]);
        packet[1] = (packet[1] & 0x80) | payload_type;
        packet[2..4].copy_from_slice(&self.rtx_sequence.to_be_bytes());
        packet[8..12].copy_from_slice(&(self.ssrc + 1).to_be_bytes());
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(packet)
    }
}

fn temporal_of(k: u32, layers: u8) -> u8 {
    match layers {
        1 => 0,
        2 => (k % 2) as u8,
        _ => [0, 2, 1, 2][(k % 4) as usize],
    }
}

/// A frame of a layer as published.
#[derive(Debug)]
struct Frame {
    encoding: u8,
    spatial: u8,
    temporal: u8,
    picture: u32,
    key: bool,
    /// Refers to the layer below.
    within: bool,
    /// Refers to the temporal base layer only.
    sync: bool,
    number: u32,
    needs: Vec<u32>,
}

/// A packet as received.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    timestamp: u32,
    marker: bool,
    name: Name,
    picture: u32,
    spatial: u8,
    temporal: u8,
    part: u8,
    parts: u8,
    key: bool,
    needs: Vec<u32>,
    /// Picture id and TL0PICIDX.
    numbers: (Option<u16>, Option<u8>),
    /// Frame number of the dependency descriptor.
    frame: Option<u16>,
}

/// A frame that was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Of which source.
    pub tag: u8,
    /// Of which encoding.
    pub encoding: u8,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// A key frame.
    pub key: bool,
    /// The picture's count in its encoding.
    pub picture: u32,
    /// As received.
    pub timestamp: u32,
}

/// What came of a stream.
#[derive(Debug, Default)]
pub struct Report {
    /// Frames in the order in which they were decoded.
    pub decoded: Vec<Decoded>,
    /// Frames that came whole but refer to what did not come.
    pub undecodable: usize,
    /// Frames of which only a part came.
    pub partial: usize,
    /// Sequence numbers that never came.
    pub missing: usize,
}

/// A subscriber: puts frames together, asks for what is missing, and checks what must hold.
#[derive(Debug)]
pub struct LayeredSink {
    codec: CodecKind,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    packets: BTreeMap<i64, Option<Packet>>,
    highest: Option<i64>,
    asked: BTreeMap<i64, (Time, u32)>,
    opaque: bool,
    undecodable: usize,
    /// Packets that came by RTX.
    pub repaired: u64,
}

impl LayeredSink {
    /// A decoder for one consumer.
    pub fn new(codec: CodecKind, ssrc: u32, rtx_ssrc: Option<u32>, opaque: bool) -> Self {
        let (packets, asked) = (BTreeMap::new(), BTreeMap::new());
        Self { codec, ssrc, rtx_ssrc, packets, highest: None, asked, opaque, undecodable: 0, repaired: 0 }
    }

    /// The SSRC that it decodes.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets that came so far.
    pub fn received(&self) -> usize {
        self.packets.len()
    }

    /// Takes a decrypted packet; others' SSRCs are left alone.
    ///
    /// # Panics
    /// If the packet breaks a promise of the engine.
    pub fn handle_rtp(&mut self, bytes: &[u8]) {
        let view = RtpView::parse(bytes).expect("the engine sends valid RTP");
        let payload = &bytes[view.payload_range()];
        let (sequence, payload) = if view.ssrc == self.ssrc {
            (view.sequence, payload)
        } else if Some(view.ssrc) == self.rtx_ssrc {
            self.repaired += 1;
            (u16::from_be_bytes([payload[0], payload[1]]), &payload[2..])
        } else {
            return;
        };
        let packet = (!payload.is_empty()).then(|| self.read(&view, payload));
        let extended = self.extend(sequence);
        if let Some(known) = self.packets.insert(extended, packet.clone()) {
            assert_eq!(known, packet, "two packets under one sequence number {sequence}");
        }
        self.asked.remove(&extended);
    }

    fn read(&self, view: &RtpView<'_>, payload: &[u8]) -> Packet {
        let (len, numbers) = match self.codec {
            _ if self.opaque => (0, (None, None)),
            CodecKind::Vp8 => {
                let d = Vp8Descriptor::parse(payload).expect("a descriptor");
                (d.len, (d.picture_id.map(|id| id.value), d.tl0_picture_index))
            }
            CodecKind::Vp9 => {
                let d = Vp9Descriptor::parse(payload).expect("a descriptor");
                (d.len, (d.picture_id.map(|id| id.value), d.tl0_picture_index))
            }
            CodecKind::H265 => (2, (None, None)),
            _ => (1, (None, None)),
        };
        let body = &payload[len..];
        let long = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let fields = view.extension(DESCRIPTOR_ID).map(|d| MandatoryFields::parse(d).expect("a descriptor"));
        if let Some(fields) = fields {
            assert_eq!((fields.start_of_frame, fields.end_of_frame), (body[5] == 0, body[5] + 1 == body[6]));
        }
        Packet {
            timestamp: view.timestamp,
            marker: view.marker,
            name: (body[1], body[2], long(7)),
            picture: long(11),
            spatial: body[3],
            temporal: body[4],
            part: body[5],
            parts: body[6],
            key: body[0] == 0,
            needs: (0..usize::from(body[15])).map(|k| long(16 + 4 * k)).collect(),
            numbers,
            frame: fields.map(|f| f.frame_number),
        }
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

    /// A NACK for what is missing, as an RTCP packet.
    pub fn nack(&mut self, now: Time) -> Option<Vec<u8>> {
        let (first, highest) = (*self.packets.keys().next()?, self.highest?);
        // What is older than two seconds nobody has any more.
        let from = first.max(highest - 1_000);
        let missing: Vec<i64> = (from..highest).filter(|s| !self.packets.contains_key(s)).collect();
        let mut wanted = Vec::new();
        for sequence in missing {
            let (last, tries) = self.asked.get(&sequence).copied().unwrap_or((Time::ZERO, 0));
            if tries < 10 && (tries == 0 || now.saturating_since(last) >= NACK_RETRY) {
                self.asked.insert(sequence, (now, tries + 1));
                wanted.push(sequence as u16);
            }
        }
        (!wanted.is_empty()).then(|| nack_packet(1, self.ssrc, &wanted))
    }

    /// Frames have come that cannot be decoded since the last call: a decoder asks for a key frame then.
    pub fn is_stuck(&mut self) -> bool {
        let undecodable = self.decode().undecodable;
        undecodable > std::mem::replace(&mut self.undecodable, undecodable)
    }

    /// Decodes all that came, in order, and checks what must hold whatever was lost: times, picture ids and frame
    /// numbers go forward, and each picture has one marker, at its end.
    ///
    /// # Panics
    /// If it does not hold.
    pub fn decode(&self) -> Report {
        let mut report = Report::default();
        if let (Some(first), Some(highest)) = (self.packets.keys().next(), self.highest) {
            report.missing = (highest - first + 1) as usize - self.packets.len();
        }
        let all: Vec<&Packet> = self.packets.values().flatten().collect();
        self.check_order(&all, report.missing == 0);
        let mut decoded: HashSet<Name> = HashSet::new();
        let mut at = 0;
        while let Some(first) = all.get(at) {
            let len = all[at..].iter().take_while(|p| p.name == first.name).count();
            let parts: HashSet<u8> = all[at..at + len].iter().map(|p| p.part).collect();
            at += len;
            if parts.len() < usize::from(first.parts) {
                report.partial += 1;
                continue;
            }
            let (tag, encoding, _) = first.name;
            if !first.needs.iter().all(|need| decoded.contains(&(tag, encoding, *need))) {
                report.undecodable += 1;
                continue;
            }
            decoded.insert(first.name);
            let Packet { spatial, temporal, key, picture, timestamp, .. } = **first;
            report.decoded.push(Decoded { tag, encoding, spatial, temporal, key, picture, timestamp });
        }
        report
    }

    fn check_order(&self, all: &[&Packet], whole: bool) {
        for pair in all.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let step = b.timestamp.wrapping_sub(a.timestamp) as i32;
            let same = (a.name.0, a.name.1, a.picture) == (b.name.0, b.name.1, b.picture);
            assert_eq!(step == 0, same, "one picture, one timestamp: {a:?} {b:?}");
            assert!((0..90_000 * 5).contains(&step), "the timestamp goes by {step}: {a:?} {b:?}");
            // What was under way when another encoding began may stay without its end.
            let goes_on = (a.name.0, a.name.1) == (b.name.0, b.name.1);
            if whole && goes_on {
                assert_eq!(a.marker, !same, "the marker ends the picture: {a:?} {b:?}");
            }
            if let (Some(from), Some(to)) = (a.numbers.0, b.numbers.0) {
                let step = to.wrapping_sub(from) & 0x7fff;
                let most = if self.codec == CodecKind::Vp8 && whole { 1 } else { 0x3fff };
                assert!(if same { step == 0 } else { (1..=most).contains(&step) }, "picture id by {step}: {a:?} {b:?}");
            }
            if let (Some(from), Some(to)) = (a.numbers.1, b.numbers.1) {
                let step = to.wrapping_sub(from);
                let expected = u8::from(!same && b.temporal == 0);
                assert!(step == expected || !whole && step < 100, "TL0PICIDX by {step}: {a:?} {b:?}");
            }
            if let (Some(from), Some(to)) = (a.frame, b.frame) {
                let step = to.wrapping_sub(from);
                assert!(if a.name == b.name { step == 0 } else { (1..0x8000).contains(&step) }, "{a:?} {b:?}");
            }
        }
    }
}
