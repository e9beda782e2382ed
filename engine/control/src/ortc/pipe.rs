//! From consumable parameters to what crosses a pipe to another router.
//!
//! Told: consumable parameters and the pipe's options. Tells: the numbers for the shard, and the parameters that the
//! router at the other end produces with. Every encoding of the producer stays one, with an SSRC of its own (the shard
//! chooses them), its scalability mode and its bound. All codecs and extensions of the producer go on, but for what
//! belongs to the transport of an endpoint: MID, RIDs, send times, transport-wide numbers, and the feedback that goes
//! with them. NACK makes sense only with RTX, which answers it.

use sfu_core::command::CommandError;
use sfu_core::config::{ConsumerConfig, StreamType};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;

use super::codec::codec_kind;
use super::consumer::{Share, config};
use super::producer::Consumable;
use super::types::*;

/// How a producer is to be piped.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish<'a> {
    /// The producer.
    pub producer: ObjectId,
    /// MID of the consumer, unique on its transport.
    pub mid: &'a str,
    /// Starts paused.
    pub paused: bool,
    /// The pipe has RTX.
    pub rtx: bool,
    /// How much of the producer may pass.
    pub share: Share,
}

/// Extensions that say something between an endpoint and its transport.
const OF_TRANSPORTS: [ExtensionKind; 5] = [
    ExtensionKind::Mid,
    ExtensionKind::Rid,
    ExtensionKind::RepairedRid,
    ExtensionKind::AbsSendTime,
    ExtensionKind::TransportCc,
];

/// Negotiates a pipe consumer. The parameters are complete but for the SSRCs.
pub fn negotiate(consumable: &Consumable, wish: &Wish<'_>) -> Result<(ConsumerConfig, RtpParameters), CommandError> {
    let source = &consumable.parameters;
    let is_rtx = |codec: &RtpCodecParameters| codec_kind(&codec.mime_type) == CodecKind::Rtx;
    let mut codecs: Vec<_> = source.codecs.iter().filter(|codec| wish.rtx || !is_rtx(codec)).cloned().collect();
    for codec in &mut codecs {
        codec.rtcp_feedback.retain(|f| match (f.r#type.as_str(), f.parameter.as_str()) {
            ("nack", "") => wish.rtx,
            (kind, _) => !matches!(kind, "transport-cc" | "goog-remb"),
        });
    }
    let stays = |x: &&RtpHeaderExtensionParameters| !OF_TRANSPORTS.iter().any(|kind| kind.uri() == x.uri);
    let parameters = RtpParameters {
        mid: Some(wish.mid.to_owned()),
        codecs,
        header_extensions: source.header_extensions.iter().filter(stays).cloned().collect(),
        encodings: source.encodings.clone(),
        rtcp: source.rtcp.clone(),
        msid: source.msid.clone(),
    };
    let config = config(consumable, wish.producer, &parameters, wish.paused, wish.share)?;
    Ok((ConsumerConfig { stream_type: StreamType::Pipe, ..config }, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ortc::{capabilities, producer};
    use std::time::Duration;

    fn router() -> RtpCapabilities {
        let codecs = capabilities::supported().codecs;
        let wanted = |c: &&RtpCodecCapability| ["audio/opus", "video/VP8", "video/VP9"].contains(&c.mime_type.as_str());
        let codecs: Vec<_> = codecs.iter().filter(wanted).cloned().collect();
        capabilities::router(&codecs).expect("supported codecs")
    }

    fn simulcast(router: &RtpCapabilities) -> RtpParameters {
        let vp8 = router.codecs.iter().find(|c| c.mime_type == "video/VP8").expect("has VP8");
        let codec = RtpCodecParameters {
            mime_type: vp8.mime_type.clone(),
            payload_type: 120,
            clock_rate: vp8.clock_rate,
            channels: None,
            parameters: Parameters::new(),
            rtcp_feedback: vp8.rtcp_feedback.clone(),
        };
        let extension = |kind: ExtensionKind, id| RtpHeaderExtensionParameters {
            uri: kind.uri().to_owned(),
            id,
            encrypt: false,
            parameters: Parameters::new(),
        };
        let encoding = |n: u32| RtpEncodingParameters {
            ssrc: Some(n),
            scalability_mode: Some("L1T3".to_owned()),
            max_bitrate: Some(1000 * n),
            ..RtpEncodingParameters::default()
        };
        RtpParameters {
            mid: Some("7".to_owned()),
            codecs: vec![codec],
            header_extensions: vec![extension(ExtensionKind::Mid, 1), extension(ExtensionKind::AbsCaptureTime, 9)],
            encodings: [1, 2, 3].map(encoding).to_vec(),
            rtcp: RtcpParameters { cname: Some("camera".to_owned()), reduced_size: true },
            msid: None,
        }
    }

    fn published(router: &RtpCapabilities, parameters: &RtpParameters) -> (StreamType, Consumable) {
        let offer = producer::Offer {
            kind: MediaKind::Video,
            parameters,
            paused: false,
            key_frame_request_delay: Duration::ZERO,
            opaque_payload: false,
            key_frame_cache: true,
            default_cname: "nobody".to_owned(),
        };
        let (config, consumable) = producer::negotiate(router, &offer).expect("negotiates");
        (config.stream_type, consumable)
    }

    fn wish(rtx: bool) -> Wish<'static> {
        Wish { producer: ObjectId::from_u64(5), mid: "3", paused: false, rtx, share: Share::default() }
    }

    #[test]
    fn every_encoding_crosses_and_the_other_router_makes_the_same_producer_of_it() {
        let router = router();
        let (_, consumable) = published(&router, &simulcast(&router));
        let (config, mut parameters) = negotiate(&consumable, &wish(true)).expect("negotiates");
        assert_eq!((config.stream_type, parameters.encodings.len()), (StreamType::Pipe, 3));
        let ssrcs =
            [10, 20, 30].map(|ssrc| sfu_core::command::StreamSsrcs { ssrc, rtx_ssrc: Some(ssrc + 1), fec_ssrc: None });
        crate::ortc::consumer::complete(&mut parameters, &ssrcs);
        let encodings: Vec<_> =
            parameters.encodings.iter().map(|e| (e.ssrc, e.rtx.map(|r| r.ssrc), e.max_bitrate)).collect();
        assert_eq!(encodings[0], (Some(10), Some(11), Some(1000)));
        assert_eq!(encodings[2], (Some(30), Some(31), Some(3000)));
        let (stream_type, again) = published(&router, &parameters);
        assert_eq!(stream_type, StreamType::Simulcast);
        assert_eq!(again.parameters, consumable.parameters, "what can be consumed there is what can be consumed here");
    }

    #[test]
    fn what_belongs_to_an_endpoints_transport_stays_behind_and_rtx_is_an_option() {
        let router = router();
        let (_, consumable) = published(&router, &simulcast(&router));
        let has = |parameters: &RtpParameters, kind: ExtensionKind| {
            parameters.header_extensions.iter().any(|x| x.uri == kind.uri())
        };
        for rtx in [false, true] {
            let (config, parameters) = negotiate(&consumable, &wish(rtx)).expect("negotiates");
            assert!(OF_TRANSPORTS.iter().all(|kind| !has(&parameters, *kind)));
            assert!(has(&parameters, ExtensionKind::AbsCaptureTime));
            assert_eq!(parameters.codecs.len(), 1 + usize::from(rtx));
            let codec = &config.codecs[0];
            assert_eq!((codec.rtx_payload_type.is_some(), codec.feedback.nack), (rtx, rtx));
            assert!(codec.feedback.pli && codec.feedback.fir && !codec.feedback.transport_cc && !codec.feedback.remb);
        }
    }
}
