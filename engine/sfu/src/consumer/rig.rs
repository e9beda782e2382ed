//! For tests: a producer with consumers around it, driven packet by packet.

use std::time::Duration;

use sfu_wire::buf::PacketPool;
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::{ExtensionIds, ExtensionKind};
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Packets, RtcpPacket};
use sfu_wire::rtp::{RtpHeaderFields, RtpView, write_header};
use sfu_wire::time::{NtpTime, Time};

use super::Consumer;
use crate::config::{
    CodecConfig, ConsumerConfig, EncodingConfig, Feedback, LOWEST_PRIORITY, ProducerConfig, StreamType,
};
use crate::producer::Producer;
use crate::signalled::StreamSsrcs;

pub(crate) const SSRC: u32 = 0x1111;
pub(crate) const RTX_SSRC: u32 = 0x2222;
pub(crate) const PT: u8 = 96;
pub(crate) const RTX_PT: u8 = 97;
pub(crate) const OUT_PT: u8 = 101;
pub(crate) const OUT_RTX_PT: u8 = 102;
pub(crate) const OUT_SSRC: u32 = 0xAAAA;
pub(crate) const OUT_RTX_SSRC: u32 = 0xBBBB;

/// SSRCs of a consumer without FlexFEC.
pub(crate) fn ssrcs(ssrc: u32, rtx_ssrc: Option<u32>) -> StreamSsrcs {
    StreamSsrcs { ssrc, rtx_ssrc, fec_ssrc: None }
}
/// Room of a slot: an Ethernet frame less headers and tag.
pub(crate) const ROOM: usize = 1_416;

/// A packet as the consumer's peer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: RtpHeaderFields,
    pub(crate) payload: Vec<u8>,
    pub(crate) padding: usize,
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
}

impl Out {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let view = RtpView::parse(bytes).expect("what we write is well-formed");
        Self {
            bytes: bytes.to_vec(),
            fields: view.fields(),
            payload: view.payload().to_vec(),
            padding: view.padding_len,
            extensions: view.extensions().map(|(id, value)| (id, value.to_vec())).collect(),
        }
    }

    pub(crate) fn seq(&self) -> u16 {
        self.fields.sequence
    }

    /// Original sequence number and payload of an RTX packet.
    pub(crate) fn unwrap(&self) -> (u16, &[u8]) {
        assert_eq!((self.fields.ssrc, self.fields.payload_type), (OUT_RTX_SSRC, OUT_RTX_PT));
        (u16::from_be_bytes([self.payload[0], self.payload[1]]), &self.payload[2..])
    }
}

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct In<'a> {
    pub(crate) ssrc: u32,
    pub(crate) pt: u8,
    pub(crate) seq: u16,
    pub(crate) ts: u32,
    pub(crate) marker: bool,
    pub(crate) exts: &'a [(u8, &'a [u8])],
    pub(crate) payload: Vec<u8>,
    /// Bytes of padding, the count included.
    pub(crate) padding: u8,
}

impl In<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut buf = vec![0u8; 600 + self.payload.len()];
        let fields = RtpHeaderFields {
            marker: self.marker,
            payload_type: self.pt,
            sequence: self.seq,
            timestamp: self.ts,
            ssrc: self.ssrc,
        };
        let len = write_header(&mut buf, &fields, self.exts).expect("a header");
        buf.truncate(len);
        buf.extend_from_slice(&self.payload);
        if self.padding > 0 {
            buf[0] |= 0x20;
            buf.resize(buf.len() + usize::from(self.padding) - 1, 0);
            buf.push(self.padding);
        }
        buf
    }
}

pub(crate) fn codec(kind: CodecKind) -> CodecConfig {
    CodecConfig {
        slot: 3,
        kind,
        payload_type: PT,
        rtx_payload_type: Some(RTX_PT),
        clock_rate: if kind.is_video() { 90_000 } else { 48_000 },
        feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: false, remb: false },
    }
}

pub(crate) fn ids(list: &[(ExtensionKind, u8)]) -> ExtensionIds {
    let mut ids = ExtensionIds::new();
    for (kind, id) in list {
        assert!(ids.set(*kind, *id));
    }
    ids
}

pub(crate) fn producer_config(kind: CodecKind) -> ProducerConfig {
    ProducerConfig {
        kind: if kind.is_video() { MediaKind::Video } else { MediaKind::Audio },
        mid: None,
        codecs: vec![codec(kind)],
        encodings: vec![EncodingConfig { ssrc: Some(SSRC), rtx_ssrc: Some(RTX_SSRC), ..EncodingConfig::default() }],
        extensions: ids(&[
            (ExtensionKind::Mid, 1),
            (ExtensionKind::AudioLevel, 2),
            (ExtensionKind::VideoOrientation, 3),
            (ExtensionKind::AbsCaptureTime, 4),
            (ExtensionKind::PlayoutDelay, 5),
            (ExtensionKind::DependencyDescriptor, 6),
            (ExtensionKind::AbsSendTime, 7),
            (ExtensionKind::TransportCc, 8),
        ]),
        cname: "publisher".into(),
        reduced_size_rtcp: true,
        paused: false,
        key_frame_request_delay: Duration::ZERO,
        stream_type: StreamType::Simple,
        opaque_payload: false,
        key_frame_cache: true,
    }
}

pub(crate) fn consumer_config(kind: CodecKind) -> ConsumerConfig {
    let mut codec = codec(kind);
    codec.payload_type = OUT_PT;
    codec.rtx_payload_type = Some(OUT_RTX_PT);
    ConsumerConfig {
        producer: id(ObjectKind::Producer, 1),
        kind: if kind.is_video() { MediaKind::Video } else { MediaKind::Audio },
        mid: Mid::new(b"7").expect("a MID"),
        codecs: vec![codec],
        extensions: ids(&[
            (ExtensionKind::AudioLevel, 10),
            (ExtensionKind::Mid, 11),
            (ExtensionKind::VideoOrientation, 12),
        ]),
        cname: "publisher".into(),
        reduced_size_rtcp: true,
        paused: false,
        stream_type: StreamType::Simple,
        preferred_layers: None,
        priority: LOWEST_PRIORITY,
        ignore_dtx: false,
        pad_frames: false,
    }
}

pub(crate) fn id(kind: ObjectKind, index: u32) -> ObjectId {
    ObjectId::new(0, kind, 1, index)
}

/// What [`Rig::send`] says of a packet that was left out for its layer: consumers have no reason for that.
pub(crate) const LEFT_OUT: DropReason = DropReason::Empty;

/// One producer, one consumer, a clock.
pub(crate) struct Rig {
    pub(crate) now: Time,
    pub(crate) pool: PacketPool,
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
    pub(crate) room: usize,
    pub(crate) kind: CodecKind,
}

impl Rig {
    pub(crate) fn new(kind: CodecKind) -> Self {
        Self::with(producer_config(kind), consumer_config(kind))
    }

    pub(crate) fn with(producer: ProducerConfig, consumer: ConsumerConfig) -> Self {
        let now = Time::from_millis(1_000);
        let kind = producer.codecs[0].kind;
        let transport = |k| id(ObjectKind::Transport, k);
        Self {
            now,
            pool: PacketPool::new(2048),
            producer: Producer::new(now, id(ObjectKind::Producer, 1), transport(1), producer).expect("a producer"),
            consumer: Consumer::new(
                now,
                id(ObjectKind::Consumer, 1),
                transport(2),
                consumer,
                ssrcs(OUT_SSRC, Some(OUT_RTX_SSRC)),
            ),
            room: ROOM,
            kind,
        }
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    pub(crate) fn ntp(&self) -> NtpTime {
        NtpTime::from_unix_nanos(1_700_000_000_000_000_000 + self.now.as_nanos())
    }

    /// A payload of this codec.
    pub(crate) fn payload(&self, key: bool, tail: u8) -> Vec<u8> {
        let mut payload = match (self.kind, key) {
            (CodecKind::Vp8, true) => vec![0x10, 0x00, 0x9d],
            (CodecKind::Vp8, false) => vec![0x10, 0x01, 0x9d],
            (CodecKind::H264, true) => vec![0x65, 0x88],
            (CodecKind::H264, false) => vec![0x41, 0x9a],
            (CodecKind::Vp9, true) => vec![0x08, 0x49],
            (CodecKind::Vp9, false) => vec![0x48, 0x49],
            (CodecKind::Av1, true) => vec![0x18, 0x0a, 0x01],
            (CodecKind::Av1, false) => vec![0x10, 0x32, 0x01],
            _ => vec![0xFC, 0x01],
        };
        payload.push(tail);
        payload
    }

    pub(crate) fn input(&self, seq: u16, key: bool) -> In<'static> {
        let payload = self.payload(key, seq as u8);
        In { ssrc: SSRC, pt: PT, seq, ts: u32::from(seq) * 3000, marker: true, exts: &[], payload, padding: 0 }
    }

    /// Sends a packet through; what the consumer's peer gets.
    pub(crate) fn send(&mut self, input: &In<'_>) -> Result<Out, DropReason> {
        let bytes = input.bytes();
        let view = RtpView::parse(&bytes).map_err(|_| DropReason::RtpMalformed)?;
        let ingress = self.producer.handle_rtp(self.now, self.now, &bytes, &view)?;
        let shared = self.pool.take(&bytes).ok_or(DropReason::TooLarge)?;
        self.producer.keep(self.now, &ingress, shared.clone());
        let mut slot = vec![0xEE; self.room];
        let plain = self.consumer.forward(self.now, &self.producer, &ingress, &shared, &mut slot, &mut 0x1234)?;
        let len = plain.complete(&mut slot).ok_or(DropReason::TooLarge)?;
        // Of a layer that is not wanted.
        if len == 0 { Err(LEFT_OUT) } else { Ok(Out::parse(&slot[..len])) }
    }

    pub(crate) fn media(&mut self, seq: u16) -> Result<Out, DropReason> {
        self.send(&self.input(seq, false))
    }

    pub(crate) fn key(&mut self, seq: u16) -> Result<Out, DropReason> {
        self.send(&self.input(seq, true))
    }

    /// The packet `seq` once more, as RTX of the publisher.
    pub(crate) fn repair(&mut self, rtx_seq: u16, seq: u16, key: bool) -> Result<Out, DropReason> {
        let original = self.input(seq, key);
        let mut payload = seq.to_be_bytes().to_vec();
        payload.extend_from_slice(&original.payload);
        self.send(&In { ssrc: RTX_SSRC, pt: RTX_PT, seq: rtx_seq, payload, ..original })
    }

    /// NACKs `sequences`; what is sent again.
    pub(crate) fn nack(&mut self, sequences: &[u16]) -> Vec<Out> {
        self.consumer.handle_nack(self.now, sequences.iter().copied());
        self.resends()
    }

    pub(crate) fn resends(&mut self) -> Vec<Out> {
        let mut out = Vec::new();
        while self.consumer.has_resends() {
            let mut slot = vec![0xEE; self.room];
            if let Some(plain) = self.consumer.poll_resend(self.now, |_| Some(&self.producer), &mut slot, &mut 0x4321) {
                let len = plain.complete(&mut slot).expect("room");
                out.push(Out::parse(&slot[..len]));
            }
        }
        out
    }

    /// All that the publisher is told now, as text.
    pub(crate) fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        let mut buf = [0u8; 1200];
        let ntp = self.ntp();
        while let Some(len) = self.producer.poll_rtcp(self.now, ntp, &mut buf) {
            for packet in Packets::new(&buf[..len], true).expect("a compound") {
                told.push(match packet.expect("a packet") {
                    RtcpPacket::ReceiverReport(_, blocks) => format!("RR {}", blocks.count()),
                    RtcpPacket::Sdes(_) => "SDES".into(),
                    RtcpPacket::Nack(nack) => format!("NACK {:?}", nack.sequences().collect::<Vec<_>>()),
                    RtcpPacket::Pli(pli) => format!("PLI {:x}", pli.media_ssrc),
                    RtcpPacket::Fir(fir) => format!("FIR {:?}", fir.entries().map(|e| e.sequence).collect::<Vec<_>>()),
                    RtcpPacket::Xr(xr) if xr.reference_time() == Some(ntp) => "XR".into(),
                    other => format!("{other:?}"),
                });
            }
        }
        told
    }

    /// The sender report that is due within the next two seconds.
    pub(crate) fn sender_report(&mut self) -> Option<(sfu_wire::rtcp::SenderReport, String)> {
        let mut buf = [0u8; 1200];
        for _ in 0..2_000 {
            self.advance(1);
            let clock = self.producer.source_clock(0);
            let Some(len) = self.consumer.poll_rtcp(self.now, self.ntp(), clock, &mut buf) else { continue };
            let packets: Vec<_> = Packets::new(&buf[..len], false).expect("a compound").flatten().collect();
            let [RtcpPacket::SenderReport(report, _), RtcpPacket::Sdes(sdes)] = packets[..] else {
                panic!("not SR and SDES: {packets:?}");
            };
            let chunk = sdes.chunks().next().expect("a chunk");
            assert_eq!(chunk.ssrc, report.ssrc);
            return Some((report, String::from_utf8_lossy(chunk.cname().expect("a CNAME")).into_owned()));
        }
        None
    }
}

/// A VP8 payload with picture id (15 bits) and TL0PICIDX.
pub(crate) fn vp8(picture_id: u16, tl0: u8, key: bool) -> Vec<u8> {
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    vec![0x90, 0xC0, high, low, tl0, u8::from(!key), 0x55]
}

/// Picture id and TL0PICIDX of such a payload.
pub(crate) fn picture(out: &Out) -> (u16, u8) {
    assert_eq!(out.payload[..2], [0x90, 0xC0]);
    (u16::from_be_bytes([out.payload[2], out.payload[3]]) & 0x7FFF, out.payload[4])
}
