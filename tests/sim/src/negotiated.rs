//! What publishers and subscribers of the scenarios have negotiated, as far as it is the same in all of them.

use std::time::Duration;

use sfu_core::config::{
    CodecConfig, ConsumerConfig, EncodingConfig, Feedback, LOWEST_PRIORITY, ProducerConfig, StreamType,
};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionIds;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};

/// The slot of the codec of pictures.
const VIDEO_SLOT: u8 = 0;

/// A codec of pictures with RTX under the next payload type.
pub(crate) fn video_codec(kind: CodecKind, payload_type: u8, rtx: bool) -> CodecConfig {
    CodecConfig {
        slot: VIDEO_SLOT,
        kind,
        payload_type,
        rtx_payload_type: rtx.then_some(payload_type + 1),
        clock_rate: 90_000,
        feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: false, remb: false },
    }
}

/// A producer of pictures.
pub(crate) fn video_producer(codec: CodecConfig, encodings: Vec<EncodingConfig>) -> ProducerConfig {
    ProducerConfig {
        kind: MediaKind::Video,
        mid: Mid::new(b"0").ok(),
        codecs: vec![codec],
        encodings,
        extensions: ExtensionIds::default(),
        cname: "publisher".to_owned(),
        reduced_size_rtcp: true,
        paused: false,
        key_frame_request_delay: Duration::ZERO,
        stream_type: StreamType::Simple,
        opaque_payload: false,
        key_frame_cache: true,
    }
}

/// A consumer of pictures.
pub(crate) fn video_consumer(producer: ObjectId, codec: CodecConfig) -> ConsumerConfig {
    ConsumerConfig {
        producer,
        kind: MediaKind::Video,
        mid: Mid::new(b"0").expect("a legal MID"),
        codecs: vec![codec],
        extensions: ExtensionIds::default(),
        cname: "publisher".to_owned(),
        reduced_size_rtcp: true,
        paused: false,
        stream_type: StreamType::Simple,
        preferred_layers: None,
        priority: LOWEST_PRIORITY,
        ignore_dtx: false,
        pad_frames: false,
    }
}
