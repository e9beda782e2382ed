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

/// The producer of a stream of pictures. Their payload is opaque: each begins where its timestamp does.
pub fn video_producer_config(stream: u32) -> ProducerConfig {
    let codecs = vec![video_codec()];
    ProducerConfig { kind: MediaKind::Video, codecs, opaque_payload: true, ..producer_config(stream) }
}

/// A consumer of it, whose packets are padded so that those of a picture have one size.
pub fn padded_consumer_config(producer: ObjectId, stream: u32) -> ConsumerConfig {
    let codecs = vec![video_codec()];
    ConsumerConfig { kind: MediaKind::Video, codecs, pad_frames: true, ..consumer_config(producer, stream) }
}

/// A consumer of a stream of sound.
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
        pad_frames: false,
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

fn video_codec() -> CodecConfig {
    CodecConfig { kind: CodecKind::Vp8, clock_rate: 90_000, ..codec() }
}

/// A packet of a stream, of `size` bytes, that carries `stamp` (nanoseconds) at the start of its payload.
///
/// # Panics
/// If `size` has no room for a header and the stamp.
pub fn packet(stream: u32, sequence: u64, size: usize, stamp: u64) -> Vec<u8> {
    picture_packet(stream, sequence, (sequence, false), size, stamp)
}

/// As [`packet`], one of a picture: told are the number of the picture's first packet, and whether it is the last one.
///
/// # Panics
/// As [`packet`].
pub fn picture_packet(stream: u32, sequence: u64, picture: (u64, bool), size: usize, stamp: u64) -> Vec<u8> {
    let mut packet = vec![0; size];
    let fields = RtpHeaderFields {
        marker: picture.1,
        payload_type: PAYLOAD_TYPE,
        sequence: sequence as u16,
        timestamp: (picture.0 as u32).wrapping_mul(960),
        ssrc: SSRC + stream,
    };
    let header = write_header(&mut packet, &fields, &[]).expect("room for a header");
    packet[header..header + 8].copy_from_slice(&stamp.to_be_bytes());
    packet
}
