//! Negotiated parameters of the benchmarks' streams, and their packets.

use std::time::Duration;

use sfu_core::config::{
    CodecConfig, ConsumerConfig, EncodingConfig, Feedback, LOWEST_PRIORITY, ProducerConfig, StreamType,
};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionIds;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtp::{RtpHeaderFields, write_header};

/// SSRC of the first published stream; the others follow.
pub const SSRC: u32 = 0x5151_5151;
const PAYLOAD_TYPE: u8 = 100;

/// The producer of a stream.
pub fn producer_config(stream: u32) -> ProducerConfig {
    ProducerConfig {
        kind: MediaKind::Audio,
        mid: Mid::new(stream.to_string().as_bytes()).ok(),
        codecs: vec![codec()],
        encodings: vec![EncodingConfig { ssrc: Some(SSRC + stream), ..EncodingConfig::default() }],
        extensions: ExtensionIds::default(),
        cname: "bench".to_owned(),
        reduced_size_rtcp: true,
        paused: false,
        key_frame_request_delay: Duration::ZERO,
        stream_type: StreamType::Simple,
        opaque_payload: false,
        key_frame_cache: true,
    }
}

/// A consumer of it.
///
/// # Panics
/// Never: the MID is legal.
pub fn consumer_config(producer: ObjectId, stream: u32) -> ConsumerConfig {
    ConsumerConfig {
        producer,
        kind: MediaKind::Audio,
        mid: Mid::new(stream.to_string().as_bytes()).expect("a legal MID"),
        codecs: vec![codec()],
        extensions: ExtensionIds::default(),
        cname: "bench".to_owned(),
        reduced_size_rtcp: true,
        paused: false,
        stream_type: StreamType::Simple,
        preferred_layers: None,
        priority: LOWEST_PRIORITY,
        ignore_dtx: false,
    }
}

fn codec() -> CodecConfig {
    CodecConfig {
        slot: 0,
        kind: CodecKind::Opus,
        payload_type: PAYLOAD_TYPE,
        rtx_payload_type: None,
        clock_rate: 48_000,
        feedback: Feedback { nack: true, ..Feedback::default() },
    }
}

/// A packet of a stream, of `size` bytes, that carries `stamp` (nanoseconds) at the start of its payload.
///
/// # Panics
/// If `size` has no room for a header and the stamp.
pub fn packet(stream: u32, sequence: u64, size: usize, stamp: u64) -> Vec<u8> {
    let mut packet = vec![0; size];
    let fields = RtpHeaderFields {
        marker: false,
        payload_type: PAYLOAD_TYPE,
        sequence: sequence as u16,
        timestamp: (sequence as u32).wrapping_mul(960),
        ssrc: SSRC + stream,
    };
    let header = write_header(&mut packet, &fields, &[]).expect("room for a header");
    packet[header..header + 8].copy_from_slice(&stamp.to_be_bytes());
    packet
}
