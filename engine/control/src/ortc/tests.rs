//! The rules of negotiation, one test for each.

use std::time::Duration;

use sfu_core::command::{CommandError, ErrorCode};
use sfu_core::config::{ConsumerConfig, ProducerConfig};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;

use super::consumer::{self, Share, Wish, can_consume};
use super::numbering::Numbering;
use super::producer::{self, Consumable, Offer};
use super::{capabilities, types::*};

pub(super) fn codec(kind: MediaKind, mime: &str, clock_rate: u32, channels: Option<u8>) -> RtpCodecCapability {
    RtpCodecCapability {
        kind,
        mime_type: mime.to_owned(),
        preferred_payload_type: None,
        clock_rate,
        channels,
        parameters: Parameters::new(),
        rtcp_feedback: Vec::new(),
    }
}

pub(super) fn with(mut codec: RtpCodecCapability, parameters: &[(&str, ParameterValue)]) -> RtpCodecCapability {
    codec.parameters.extend(parameters.iter().map(|(n, v)| ((*n).to_owned(), v.clone())));
    codec
}

pub(super) fn opus() -> RtpCodecCapability {
    codec(MediaKind::Audio, "audio/opus", 48_000, Some(2))
}

pub(super) fn video(name: &str) -> RtpCodecCapability {
    codec(MediaKind::Video, &format!("video/{name}"), 90_000, None)
}

pub(super) fn h264(mode: i64, profile: &str) -> RtpCodecCapability {
    with(video("H264"), &[("packetization-mode", mode.into()), ("profile-level-id", profile.into())])
}

pub(super) fn router(codecs: &[RtpCodecCapability]) -> RtpCapabilities {
    capabilities::router(codecs).expect("a router can be made of these")
}

pub(super) fn payload_types(capabilities: &RtpCapabilities) -> Vec<u8> {
    capabilities.codecs.iter().filter_map(|c| c.preferred_payload_type).collect()
}

/// What a video codec is repaired and measured by.
fn all_feedback() -> Vec<RtcpFeedback> {
    let supported = capabilities::supported().codecs;
    supported.into_iter().find(|c| c.mime_type == "video/AV1").map(|c| c.rtcp_feedback).unwrap_or_default()
}

/// What a browser that knows `codec` would send: its own payload types.
pub(super) fn sending(codec: &RtpCodecCapability, payload_type: u8) -> RtpParameters {
    let media = RtpCodecParameters {
        mime_type: codec.mime_type.clone(),
        payload_type,
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        parameters: codec.parameters.clone(),
        rtcp_feedback: all_feedback(),
    };
    let rtx = RtpCodecParameters {
        mime_type: "video/rtx".to_owned(),
        payload_type: payload_type + 1,
        parameters: Parameters::from([("apt".to_owned(), i64::from(payload_type).into())]),
        rtcp_feedback: Vec::new(),
        ..media.clone()
    };
    let extension = |kind: ExtensionKind, id| RtpHeaderExtensionParameters {
        uri: kind.uri().to_owned(),
        id,
        encrypt: false,
        parameters: Parameters::new(),
    };
    RtpParameters {
        mid: Some("0".to_owned()),
        codecs: if codec.kind == MediaKind::Video { vec![media, rtx] } else { vec![media] },
        header_extensions: vec![extension(ExtensionKind::Mid, 14), extension(ExtensionKind::AbsSendTime, 13)],
        encodings: vec![RtpEncodingParameters {
            ssrc: Some(1111),
            rtx: Some(RtpRtxParameters { ssrc: 1112 }),
            ..Default::default()
        }],
        rtcp: RtcpParameters { cname: Some("somebody".to_owned()), reduced_size: true },
        msid: Some("stream track".to_owned()),
    }
}

pub(super) fn produce(
    router: &RtpCapabilities,
    kind: MediaKind,
    parameters: &RtpParameters,
) -> Result<(ProducerConfig, Consumable), CommandError> {
    let offer = Offer {
        kind,
        parameters,
        paused: false,
        key_frame_request_delay: Duration::ZERO,
        opaque_payload: false,
        key_frame_cache: true,
        default_cname: "default".to_owned(),
    };
    producer::negotiate(router, &offer)
}

pub(super) fn consumable(router: &RtpCapabilities, codec: &RtpCodecCapability) -> Consumable {
    produce(router, codec.kind, &sending(codec, 120)).expect("it can be produced").1
}

pub(super) fn consume(
    consumable: &Consumable,
    capabilities: &RtpCapabilities,
    enable_rtx: Option<bool>,
) -> Result<(ConsumerConfig, RtpParameters), CommandError> {
    let producer = ObjectId::from_u64(0x0104_0000_0000_0001);
    let share = Share { priority: 7, ..Share::default() };
    let numbering = Numbering::Router;
    consumer::negotiate(
        consumable,
        &Wish { producer, capabilities, mid: "7", paused: false, enable_rtx, share, numbering },
    )
}

pub(super) fn feedback_of(codec: &RtpCodecParameters) -> Vec<(&str, &str)> {
    codec.rtcp_feedback.iter().map(|f| (f.r#type.as_str(), f.parameter.as_str())).collect()
}

#[test]
fn router_capabilities_have_dynamic_payload_types_and_rtx_beside_each_video_codec() {
    let caps = router(&[opus(), video("VP8"), h264(1, "42e01f")]);
    let names: Vec<&str> = caps.codecs.iter().map(|c| c.mime_type.as_str()).collect();
    assert_eq!(names, ["audio/opus", "video/VP8", "video/rtx", "video/H264", "video/rtx"]);
    let types = payload_types(&caps);
    assert_eq!(types.len(), 5);
    assert!(types.iter().all(|pt| (96..=126).contains(pt)));
    for (media, rtx) in [(1, 2), (3, 4)] {
        assert_eq!(caps.codecs[rtx].parameters["apt"], i64::from(types[media]).into());
    }
    assert!(caps.codecs[1].rtcp_feedback.contains(&RtcpFeedback { r#type: "ccm".into(), parameter: "fir".into() }));
    assert_eq!(caps.codecs[3].parameters["level-asymmetry-allowed"], 1.into());
}

#[test]
fn static_payload_types_are_kept_and_preferred_ones_are_honoured_wherever_they_stand() {
    let mut pinned = video("VP8");
    pinned.preferred_payload_type = Some(96);
    let caps = router(&[codec(MediaKind::Audio, "audio/pcmu", 8_000, None), opus(), pinned.clone()]);
    assert_eq!(caps.codecs[0].preferred_payload_type, Some(0));
    assert_ne!(caps.codecs[1].preferred_payload_type, Some(96), "96 is wanted further down");
    assert_eq!(caps.codecs[2].preferred_payload_type, Some(96));
    let mut types = payload_types(&caps);
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), caps.codecs.len(), "all differ");
    let mut other = video("VP9");
    other.preferred_payload_type = Some(96);
    let error = capabilities::router(&[pinned, other]).expect_err("both want 96");
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    assert_eq!(error.field, "media_codecs[1].preferred_payload_type");
}

#[test]
fn codecs_that_libsfu_does_not_know_are_refused_by_name_clock_or_channels() {
    let refused = |codec| {
        let error = capabilities::router(&[codec]).expect_err("it is refused");
        (error.code, error.field)
    };
    let unsupported = |field: &str| (ErrorCode::Unsupported, format!("media_codecs[0].{field}"));
    assert_eq!(refused(video("theora")), unsupported("mime_type"));
    assert_eq!(refused(video("rtx")), unsupported("mime_type"));
    assert_eq!(refused(RtpCodecCapability { clock_rate: 44_100, ..opus() }), unsupported("clock_rate"));
    assert_eq!(refused(RtpCodecCapability { channels: Some(7), ..opus() }), unsupported("channels"));
    let twice = capabilities::router(&[video("VP8"), video("vp8")]).expect_err("it is given twice");
    assert_eq!((twice.code, twice.field.as_str()), (ErrorCode::AlreadyExists, "media_codecs[1]"));
    let kind = RtpCodecCapability { kind: MediaKind::Audio, ..video("VP8") };
    assert_eq!(refused(kind), (ErrorCode::InvalidArgument, "media_codecs[0].mime_type".to_owned()));
    let profile = h264(1, "nonsense");
    assert_eq!(refused(profile).1, "media_codecs[0].parameters.profile-level-id");
}

#[test]
fn a_router_of_all_codecs_at_once_has_a_payload_type_for_each() {
    let supported = capabilities::supported();
    let caps = router(&supported.codecs);
    let mut types = payload_types(&caps);
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), caps.codecs.len());
    assert!(types.iter().all(|pt| !(64..96).contains(pt)));
    for (i, codec) in caps.codecs.iter().enumerate() {
        super::validate::codec_capability(codec, &format!("codecs[{i}]")).expect("what we say is valid");
    }
}

#[test]
fn multiopus_is_told_apart_by_its_streams() {
    let multi = |channels, streams: i64, coupled: i64| {
        let parameters = [("num_streams", streams.into()), ("coupled_streams", coupled.into())];
        with(codec(MediaKind::Audio, "audio/multiopus", 48_000, Some(channels)), &parameters)
    };
    let caps = router(&[multi(4, 2, 2), multi(6, 4, 2)]);
    assert_eq!(caps.codecs[0].parameters["channel_mapping"], "0,1,2,3".into());
    assert!(capabilities::router(&[multi(6, 3, 3)]).is_err());
    assert!(produce(&caps, MediaKind::Audio, &sending(&multi(6, 4, 2), 111)).is_ok());
    assert!(produce(&caps, MediaKind::Audio, &sending(&multi(6, 2, 2), 111)).is_err());
}

#[test]
fn a_producer_is_mapped_onto_the_routers_payload_types_and_extension_ids() {
    let caps = router(&[opus(), video("VP9"), video("VP8")]);
    let (config, consumable) = produce(&caps, MediaKind::Video, &sending(&video("VP8"), 120)).expect("it is offered");
    assert_eq!(config.codecs.len(), 1);
    assert_eq!((config.codecs[0].slot, config.codecs[0].kind), (2, CodecKind::Vp8));
    assert_eq!((config.codecs[0].payload_type, config.codecs[0].rtx_payload_type), (120, Some(121)));
    assert!(config.codecs[0].feedback.pli && config.codecs[0].feedback.nack && config.codecs[0].feedback.fir);
    assert_eq!(config.extensions.get(ExtensionKind::Mid), Some(14));
    assert_eq!((config.encodings[0].ssrc, config.encodings[0].rtx_ssrc), (Some(1111), Some(1112)));
    assert_eq!(config.cname, "somebody");
    let parameters = &consumable.parameters;
    let own = caps.codecs.iter().find(|c| c.mime_type == "video/VP8").and_then(|c| c.preferred_payload_type);
    assert_eq!(Some(parameters.codecs[0].payload_type), own);
    assert_eq!(consumable.slot(parameters.codecs[0].payload_type), Some(2));
    assert_eq!(parameters.codecs[1].parameters["apt"], i64::from(parameters.codecs[0].payload_type).into());
    assert_eq!(parameters.encodings[0].ssrc, None, "consumers have SSRCs of their own");
    let mid = parameters.header_extensions.iter().find(|x| x.uri == ExtensionKind::Mid.uri()).map(|x| x.id);
    assert_eq!(mid, Some(1), "the router's id, not the publisher's");
    let rid = parameters.header_extensions.iter().any(|x| x.uri == ExtensionKind::Rid.uri());
    assert!(!rid, "what is only read is not given on");
}

#[test]
fn a_publisher_without_cname_gets_one_and_dtmf_alone_is_no_stream() {
    let dtmf = codec(MediaKind::Audio, "audio/telephone-event", 48_000, None);
    let caps = router(&[opus(), dtmf.clone()]);
    let mut parameters = sending(&opus(), 111);
    parameters.rtcp.cname = None;
    assert_eq!(produce(&caps, MediaKind::Audio, &parameters).map(|(c, _)| c.cname), Ok("default".to_owned()));
    parameters.codecs.extend(sending(&dtmf, 110).codecs);
    let (config, consumable) = produce(&caps, MediaKind::Audio, &parameters).expect("DTMF goes along");
    assert_eq!((config.codecs.len(), consumable.slots.len()), (2, 2));
    let alone = produce(&caps, MediaKind::Audio, &sending(&dtmf, 110)).expect_err("nothing to hear");
    assert_eq!((alone.code, alone.field.as_str()), (ErrorCode::Unsupported, "rtp_parameters.codecs"));
}

#[test]
fn rtx_that_belongs_to_no_codec_is_refused() {
    let caps = router(&[video("VP8")]);
    let mut parameters = sending(&video("VP8"), 120);
    parameters.codecs[1].parameters.insert("apt".to_owned(), 99.into());
    let error = produce(&caps, MediaKind::Video, &parameters).expect_err("apt is wrong");
    assert_eq!(error.field, "rtp_parameters.codecs[1].parameters.apt");
    parameters.codecs.remove(0);
    let error = produce(&caps, MediaKind::Video, &parameters).expect_err("RTX alone");
    assert_eq!(error.field, "rtp_parameters.codecs");
}

#[test]
fn h264_matches_by_profile_and_packetization_mode_but_not_by_level() {
    let caps = router(&[h264(1, "42e01f"), h264(1, "640032"), h264(0, "42e01f")]);
    let slot = |codec: &RtpCodecCapability| {
        produce(&caps, MediaKind::Video, &sending(codec, 120)).ok().map(|(c, _)| c.codecs[0].slot)
    };
    assert_eq!(slot(&h264(1, "42e034")), Some(0));
    assert_eq!(slot(&h264(1, "4d801f")), Some(0), "constrained baseline by another spelling");
    assert_eq!(slot(&h264(1, "64001f")), Some(1));
    assert_eq!(slot(&h264(0, "42e01f")), Some(2));
    assert_eq!(slot(&video("H264")), Some(2), "absent is mode 0, constrained baseline");
    assert_eq!(slot(&h264(1, "42001f")), None, "plain baseline");
    assert_eq!(slot(&h264(0, "640032")), None);
    let text = with(video("H264"), &[("packetization-mode", "1".into()), ("profile-level-id", "42e01f".into())]);
    assert_eq!(slot(&text), Some(0), "a number as text is that number");
}

#[test]
fn vp9_av1_and_h265_match_by_profile() {
    let profile = |name: &str, key: &str, value: i64| with(video(name), &[(key, value.into())]);
    let caps = router(&[profile("VP9", "profile-id", 2), video("AV1"), profile("H265", "profile-id", 1)]);
    let ok = |codec: &RtpCodecCapability| produce(&caps, MediaKind::Video, &sending(codec, 120)).is_ok();
    assert!(ok(&profile("VP9", "profile-id", 2)) && !ok(&video("VP9")));
    assert!(ok(&profile("AV1", "profile", 0)) && ok(&video("AV1")) && !ok(&profile("AV1", "profile", 1)));
    assert!(ok(&video("H265")) && !ok(&profile("H265", "profile-id", 2)));
    assert!(!ok(&profile("H265", "tier-flag", 1)));
    assert!(!ok(&with(video("H265"), &[("tx-mode", "MRST".into())])));
    assert!(ok(&with(video("H265"), &[("level-id", 93.into()), ("tx-mode", "srst".into())])));
}

#[test]
fn a_consumer_gets_the_routers_numbers_whatever_its_own_are() {
    let caps = router(&[opus(), video("VP8")]);
    let consumable = consumable(&caps, &video("VP8"));
    let mut theirs = capabilities::router(&[video("VP8"), opus()]).expect("another order gives other numbers");
    theirs.header_extensions.iter_mut().for_each(|x| x.preferred_id = 14);
    let (config, mut parameters) = consume(&consumable, &theirs, None).expect("they match");
    let own = caps.codecs[1].preferred_payload_type.unwrap();
    assert_ne!(Some(own), theirs.codecs[0].preferred_payload_type);
    assert_eq!((config.codecs[0].payload_type, config.codecs[0].slot), (own, 1));
    assert_eq!(config.codecs[0].rtx_payload_type, caps.codecs[2].preferred_payload_type);
    assert_eq!(parameters.codecs[0].payload_type, own);
    assert_eq!(config.extensions.get(ExtensionKind::Mid), Some(1));
    assert_eq!((parameters.mid.as_deref(), config.mid.as_str()), (Some("7"), "7"));
    assert_eq!(
        (parameters.rtcp.cname.as_deref(), parameters.msid.as_deref()),
        (Some("somebody"), Some("stream track"))
    );
    consumer::complete(
        &mut parameters,
        &[sfu_core::command::StreamSsrcs { ssrc: 5, rtx_ssrc: Some(6), fec_ssrc: None }],
    );
    assert_eq!(parameters.encodings[0].ssrc, Some(5));
    assert_eq!(parameters.encodings[0].rtx, Some(RtpRtxParameters { ssrc: 6 }));
}

#[test]
fn rtx_and_nack_are_on_for_video_off_for_audio_and_as_wished() {
    let caps = router(&[opus(), video("VP8")]);
    let get = |codec: &RtpCodecCapability, theirs: &RtpCapabilities, wish| {
        let (config, parameters) = consume(&consumable(&caps, codec), theirs, wish).expect("they match");
        let feedback = config.codecs[0].feedback;
        (config.codecs[0].rtx_payload_type.is_some(), feedback.nack, feedback.pli, parameters.codecs.len())
    };
    assert_eq!(get(&video("VP8"), &caps, None), (true, true, true, 2));
    assert_eq!(get(&video("VP8"), &caps, Some(false)), (false, false, true, 1));
    assert_eq!(get(&opus(), &caps, None), (false, false, false, 1));
    assert_eq!(get(&opus(), &caps, Some(true)), (false, true, false, 1));
    // A peer that takes no RTX still asks for plain retransmission.
    let mut deaf = caps.clone();
    deaf.codecs.retain(|c| c.mime_type != "video/rtx");
    assert_eq!(get(&video("VP8"), &deaf, None), (false, true, true, 1));
}

#[test]
fn bandwidth_feedback_is_transport_cc_else_remb_never_both() {
    let caps = router(&[video("VP8")]);
    let consumable = consumable(&caps, &video("VP8"));
    let with_extensions = |kinds: &[ExtensionKind]| {
        let mut theirs = caps.clone();
        theirs.header_extensions.retain(|x| kinds.iter().any(|k| k.uri() == x.uri));
        let (config, parameters) = consume(&consumable, &theirs, None).expect("they match");
        let names: Vec<String> = feedback_of(&parameters.codecs[0]).iter().map(|(t, _)| (*t).to_owned()).collect();
        let flags = config.codecs[0].feedback;
        assert_eq!(flags.transport_cc, names.contains(&"transport-cc".to_owned()));
        assert_eq!(flags.remb, names.contains(&"goog-remb".to_owned()));
        (flags.transport_cc, flags.remb)
    };
    use ExtensionKind::{AbsSendTime, Mid, TransportCc};
    assert_eq!(with_extensions(&[Mid, TransportCc, AbsSendTime]), (true, false));
    assert_eq!(with_extensions(&[TransportCc]), (true, false));
    assert_eq!(with_extensions(&[AbsSendTime]), (false, true));
    assert_eq!(with_extensions(&[Mid]), (false, false));
    // The extension without the feedback: REMB is what the peer understands.
    let mut theirs = caps.clone();
    theirs.codecs[0].rtcp_feedback.retain(|f| f.r#type != "transport-cc");
    let (config, _) = consume(&consumable, &theirs, None).expect("they match");
    assert_eq!((config.codecs[0].feedback.transport_cc, config.codecs[0].feedback.remb), (false, true));
}

#[test]
fn extensions_go_only_to_peers_that_receive_them() {
    let caps = router(&[video("VP8")]);
    let consumable = consumable(&caps, &video("VP8"));
    let mut theirs = caps.clone();
    for extension in &mut theirs.header_extensions {
        if extension.uri == ExtensionKind::VideoOrientation.uri() {
            extension.direction = ExtensionDirection::Sendonly;
        }
    }
    let (config, _) = consume(&consumable, &theirs, None).expect("they match");
    assert_eq!(config.extensions.get(ExtensionKind::VideoOrientation), None);
    assert_eq!(config.extensions.get(ExtensionKind::Rid), None, "it is only read");
    assert_eq!(config.extensions.get(ExtensionKind::VideoLayersAllocation), None, "so is this");
    assert!(config.extensions.get(ExtensionKind::AbsSendTime).is_some());
}

#[test]
fn who_knows_no_codec_of_the_producer_cannot_consume_it() {
    let caps = router(&[opus(), video("VP8"), h264(1, "42e01f")]);
    let vp8 = consumable(&caps, &video("VP8"));
    assert!(can_consume(&vp8, &caps));
    for theirs in [RtpCapabilities::default(), router(&[opus()]), router(&[h264(1, "42e01f"), opus()])] {
        assert!(!can_consume(&vp8, &theirs));
        let error = consume(&vp8, &theirs, None).expect_err("nothing in common");
        assert_eq!((error.code, error.field.as_str()), (ErrorCode::Unsupported, "rtp_capabilities"));
    }
    let h = consumable(&caps, &h264(1, "42e01f"));
    assert!(can_consume(&h, &router(&[h264(1, "42e00b")])));
    assert!(!can_consume(&h, &router(&[h264(0, "42e01f")])));
    assert!(!can_consume(&h, &router(&[h264(1, "64001f")])));
    // RTX alone is no reason to consume.
    let mut rtx = caps.clone();
    rtx.codecs.retain(|c| c.mime_type == "video/rtx");
    assert!(!can_consume(&vp8, &rtx));
}

#[test]
fn two_payload_types_of_one_codec_become_one_for_consumers() {
    let caps = router(&[video("VP8")]);
    let mut parameters = sending(&video("VP8"), 120);
    parameters.codecs.extend(sending(&video("VP8"), 122).codecs);
    let (config, consumable) = produce(&caps, MediaKind::Video, &parameters).expect("both are known");
    assert_eq!(config.codecs.iter().map(|c| (c.payload_type, c.slot)).collect::<Vec<_>>(), [(120, 0), (122, 0)]);
    assert_eq!((consumable.slots.len(), consumable.parameters.codecs.len()), (1, 2));
}

#[test]
fn an_encoding_with_a_scalability_mode_is_forwarded_whole() {
    let caps = router(&[video("VP9")]);
    let mut parameters = sending(&video("VP9"), 120);
    parameters.encodings[0].scalability_mode = Some("L3T3_KEY".to_owned());
    let (_, consumable) = produce(&caps, MediaKind::Video, &parameters).expect("it is one encoding");
    let (_, parameters) = consume(&consumable, &caps, None).expect("they match");
    assert_eq!(parameters.encodings[0].scalability_mode.as_deref(), Some("L3T3_KEY"));
}
