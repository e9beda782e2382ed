//! Whose payload types and extension ids a consumer's packets carry.
//!
//! A client that speaks ORTC takes the router's. A peer whose session description has been written already cannot: an
//! answer has to use the numbers of its offer (RFC 3264, section 6.1; RFC 8285, section 6), so the consumer's are
//! exchanged for those that the peer's capabilities prefer.

use sfu_core::command::CommandError;
use sfu_core::config::ConsumerConfig;
use sfu_wire::codec::CodecKind;

use super::codec::{Codec, codec_kind, integer, matches};
use super::convert::{invalid, member, path};
use super::producer::extension_ids;
use super::types::*;

/// Whose numbers a consumer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbering {
    /// The router's.
    #[default]
    Router,
    /// Those that the peer's capabilities prefer.
    Peer,
}

const FIELD: &str = "rtp_capabilities";

/// Exchanges the router's numbers in a negotiated consumer for the peer's.
pub(crate) fn use_peers(
    config: &mut ConsumerConfig,
    parameters: &mut RtpParameters,
    peer: &RtpCapabilities,
) -> Result<(), CommandError> {
    // Its parameters name payload types in a form of their own, and no answer of ours agrees on it.
    parameters.codecs.retain(|c| codec_kind(&c.mime_type) != CodecKind::Red);
    config.codecs.retain(|c| c.kind != CodecKind::Red);
    let mut exchanged: Vec<(u8, u8)> = Vec::new();
    // RTX entries follow the media codecs that they belong to.
    for codec in parameters.codecs.iter_mut().filter(|c| codec_kind(&c.mime_type) != CodecKind::Rtx) {
        let theirs = |c: &RtpCodecCapability| matches(Codec::from(c), Codec::from(&*codec), true);
        let Some(index) = peer.codecs.iter().position(theirs) else { continue };
        let entry = &peer.codecs[index];
        let field = path(&member(FIELD, "codecs", index), "preferred_payload_type");
        let Some(number) = entry.preferred_payload_type else {
            return Err(invalid(field, "is missing; with the numbering of the peer each codec needs it"));
        };
        if exchanged.iter().any(|(_, taken)| *taken == number) {
            return Err(invalid(field, format!("{number} is given to two codecs of the producer")));
        }
        exchanged.push((codec.payload_type, number));
        codec.payload_type = number;
    }
    let number = |router: u8| exchanged.iter().find(|(from, _)| *from == router).map_or(router, |(_, to)| *to);
    for codec in parameters.codecs.iter_mut().filter(|c| codec_kind(&c.mime_type) == CodecKind::Rtx) {
        let apt = number(u8::try_from(integer(&codec.parameters, "apt", -1)).unwrap_or_default());
        let rtx = rtx_of(peer, apt).ok_or_else(|| invalid(FIELD, format!("no RTX for payload type {apt}")))?;
        codec.payload_type = rtx;
        codec.parameters.insert("apt".to_owned(), i64::from(apt).into());
    }
    for codec in &mut config.codecs {
        codec.payload_type = number(codec.payload_type);
        if codec.rtx_payload_type.is_some() {
            codec.rtx_payload_type = rtx_of(peer, codec.payload_type);
        }
    }
    for extension in &mut parameters.header_extensions {
        let entry = peer.header_extensions.iter().find(|x| x.uri == extension.uri);
        extension.id = entry.map_or(extension.id, |x| x.preferred_id);
    }
    config.extensions = extension_ids(&parameters.header_extensions);
    Ok(())
}

fn rtx_of(peer: &RtpCapabilities, apt: u8) -> Option<u8> {
    super::capabilities::rtx_payload_type(&peer.codecs, apt)
}

#[cfg(test)]
mod tests {
    use sfu_core::command::ErrorCode;
    use sfu_wire::extension::ExtensionKind;
    use sfu_wire::id::{ObjectId, ObjectKind};

    use super::*;
    use crate::ortc::consumer::{self, Wish};
    use crate::ortc::producer::{self, Offer};
    use crate::ortc::{capabilities, codec::feedback};

    fn vp8(parameters: Parameters) -> RtpCodecCapability {
        RtpCodecCapability {
            kind: MediaKind::Video,
            mime_type: "video/VP8".to_owned(),
            preferred_payload_type: Some(120),
            clock_rate: 90_000,
            channels: None,
            parameters,
            rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("transport-cc", "")],
        }
    }

    fn consumable(router: &RtpCapabilities) -> producer::Consumable {
        let parameters = RtpParameters {
            codecs: vec![RtpCodecParameters {
                mime_type: "video/VP8".to_owned(),
                payload_type: 96,
                clock_rate: 90_000,
                channels: None,
                parameters: Parameters::new(),
                rtcp_feedback: Vec::new(),
            }],
            encodings: vec![RtpEncodingParameters { ssrc: Some(1), ..Default::default() }],
            ..Default::default()
        };
        let offer = Offer {
            kind: MediaKind::Video,
            parameters: &parameters,
            paused: false,
            key_frame_request_delay: std::time::Duration::ZERO,
            opaque_payload: false,
            key_frame_cache: true,
            default_cname: "c".to_owned(),
        };
        producer::negotiate(router, &offer).expect("VP8 is the router's").1
    }

    fn peer() -> RtpCapabilities {
        let mut rtx = vp8(Parameters::from([("apt".to_owned(), 120.into())]));
        rtx.mime_type = "video/rtx".to_owned();
        rtx.preferred_payload_type = Some(124);
        let extension = |kind: ExtensionKind, id| RtpHeaderExtension {
            kind: MediaKind::Video,
            uri: kind.uri().to_owned(),
            preferred_id: id,
            preferred_encrypt: false,
            direction: ExtensionDirection::Sendrecv,
        };
        let header_extensions = vec![extension(ExtensionKind::Mid, 9), extension(ExtensionKind::TransportCc, 3)];
        RtpCapabilities { codecs: vec![vp8(Parameters::new()), rtx], header_extensions }
    }

    #[test]
    fn a_consumer_carries_the_numbers_of_its_peers_offer() {
        let mut mine = vp8(Parameters::new());
        mine.preferred_payload_type = None;
        let router = capabilities::router(&[mine]).expect("a router");
        let consumable = consumable(&router);
        let peer = peer();
        let wish = Wish {
            producer: ObjectId::new(0, ObjectKind::Producer, 1, 0),
            capabilities: &peer,
            mid: "v",
            paused: false,
            enable_rtx: None,
            share: Default::default(),
            numbering: Numbering::Peer,
        };
        let (config, parameters) = consumer::negotiate(&consumable, &wish).expect("both have VP8");
        let numbers: Vec<u8> = parameters.codecs.iter().map(|c| c.payload_type).collect();
        assert_eq!(numbers, [120, 124]);
        assert_eq!(integer(&parameters.codecs[1].parameters, "apt", -1), 120);
        let ids: Vec<u8> = parameters.header_extensions.iter().map(|x| x.id).collect();
        assert_eq!(ids, [9, 3]);
        assert_eq!((config.codecs[0].payload_type, config.codecs[0].rtx_payload_type), (120, Some(124)));
        assert_eq!(config.extensions, extension_ids(&parameters.header_extensions));
        let router_numbers = Wish { numbering: Numbering::Router, ..wish };
        let (config, _) = consumer::negotiate(&consumable, &router_numbers).expect("both have VP8");
        assert_eq!(Some(config.codecs[0].payload_type), router.codecs[0].preferred_payload_type);
    }

    #[test]
    fn a_peer_without_numbers_is_refused_by_field() {
        let router = capabilities::router(&[vp8(Parameters::new())]).expect("a router");
        let mut peer = peer();
        peer.codecs.truncate(1);
        peer.codecs[0].preferred_payload_type = None;
        let wish = Wish {
            producer: ObjectId::new(0, ObjectKind::Producer, 1, 0),
            capabilities: &peer,
            mid: "v",
            paused: false,
            enable_rtx: None,
            share: Default::default(),
            numbering: Numbering::Peer,
        };
        let error = consumer::negotiate(&consumable(&router), &wish).expect_err("it has no number");
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert_eq!(error.field, "rtp_capabilities.codecs[0].preferred_payload_type");
    }
}
