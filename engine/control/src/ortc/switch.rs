//! Giving a consumer another source without telling its peer: the same payload types, extension ids, MID and SSRCs.
//!
//! Told: the parameters that the peer was given, and the new producer's consumable parameters. Tells: the numbers for
//! the shard. The peer knows only what is in its parameters, so a producer none of whose codecs is among them is
//! refused; header extensions and feedback stay as they were negotiated.

use sfu_core::command::{CommandError, ErrorCode};
use sfu_core::config::ConsumerConfig;
use sfu_wire::id::ObjectId;

use super::codec::{Codec, is_primary, matches};
use super::consumer::{Share, codec_configs};
use super::producer::{Consumable, extension_ids, wire_kind};
use super::types::*;
use super::{layers, validate};

/// Negotiates a switch; the parameters are those that the peer has, with the new producer's layers.
pub fn negotiate(
    current: &RtpParameters,
    consumable: &Consumable,
    producer: ObjectId,
    share: Share,
) -> Result<(ConsumerConfig, RtpParameters), CommandError> {
    const FIELD: &str = "producer";
    // By the peer's payload type: what is the same codec with the new producer?
    let slot = |payload_type: u8| {
        let known = current.codecs.iter().find(|c| c.payload_type == payload_type)?;
        let same = |c: &&RtpCodecParameters| matches(Codec::from(*c), Codec::from(known), true);
        consumable.parameters.codecs.iter().filter(same).find_map(|c| consumable.slot(c.payload_type))
    };
    let codecs = codec_configs(&current.codecs, slot);
    if !codecs.iter().any(|c| is_primary(c.kind)) {
        let names: Vec<&str> = consumable.parameters.codecs.iter().map(|c| c.mime_type.as_str()).collect();
        let text = format!(
            "{producer} sends {}, which the consumer's peer was not told of; consume it anew",
            names.first().unwrap_or(&"nothing")
        );
        return Err(CommandError::new(ErrorCode::Unsupported, FIELD, text));
    }
    let mut parameters = current.clone();
    let encoding = layers::consumer_encoding(&consumable.parameters.encodings);
    for own in &mut parameters.encodings {
        own.scalability_mode.clone_from(&encoding.scalability_mode);
        own.max_bitrate = encoding.max_bitrate;
        own.dtx = encoding.dtx;
    }
    let config = ConsumerConfig {
        producer,
        kind: wire_kind(consumable.kind),
        mid: validate::mid(parameters.mid.as_deref().unwrap_or_default(), "mid")?,
        codecs,
        extensions: extension_ids(&parameters.header_extensions),
        cname: parameters.rtcp.cname.clone().unwrap_or_default(),
        reduced_size_rtcp: parameters.rtcp.reduced_size,
        paused: false,
        stream_type: consumable.stream_type,
        preferred_layers: share.preferred_layers,
        priority: share.priority,
        ignore_dtx: share.ignore_dtx,
        pad_frames: share.pad_frames,
    };
    Ok((config, parameters))
}
