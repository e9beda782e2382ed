//! Simulcast and SVC in negotiation: what is taken, what is refused by its field, and what consumers are told.

use sfu_core::command::ErrorCode;
use sfu_core::config::StreamType;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::scalability::{Layers, ScalabilityMode};

use super::consumer::Share;
use super::switch;
use super::tests::*;
use super::types::*;

const CODECS: [&str; 5] = ["VP8", "VP9", "H264", "H265", "AV1"];

fn all() -> RtpCapabilities {
    router(&CODECS.map(video))
}

fn extension(kind: ExtensionKind, id: u8) -> RtpHeaderExtensionParameters {
    RtpHeaderExtensionParameters { uri: kind.uri().to_owned(), id, encrypt: false, parameters: Parameters::new() }
}

fn encoding(rid: &str, mode: Option<&str>, max_bitrate: Option<u32>) -> RtpEncodingParameters {
    RtpEncodingParameters {
        rid: Some(rid.to_owned()),
        scalability_mode: mode.map(str::to_owned),
        max_bitrate,
        ..Default::default()
    }
}

/// A publisher of these encodings, known by RID.
fn simulcast(codec: &str, encodings: Vec<RtpEncodingParameters>) -> RtpParameters {
    let mut parameters = sending(&video(codec), 120);
    parameters.header_extensions.extend([extension(ExtensionKind::Rid, 2), extension(ExtensionKind::RepairedRid, 3)]);
    parameters.encodings = encodings;
    parameters
}

fn single(codec: &str, mode: Option<&str>) -> RtpParameters {
    let mut parameters = sending(&video(codec), 120);
    parameters.encodings[0].scalability_mode = mode.map(str::to_owned);
    parameters
}

fn refused(parameters: &RtpParameters) -> (ErrorCode, String) {
    let error = produce(&all(), MediaKind::Video, parameters).expect_err("it is refused");
    assert!(!error.text.is_empty() && !error.text.contains('\n'), "{error}");
    (error.code, error.field)
}

fn at(name: &str) -> String {
    format!("rtp_parameters.encodings{name}")
}

#[test]
fn each_video_codec_may_come_in_several_encodings_by_rid_or_ssrc() {
    let caps = all();
    for codec in CODECS {
        let mode = Some("L1T3");
        let by_rid = simulcast(
            codec,
            vec![encoding("r0", mode, Some(1)), encoding("r1", mode, Some(3)), encoding("r2", mode, None)],
        );
        let (config, consumable) = produce(&caps, MediaKind::Video, &by_rid).expect(codec);
        assert_eq!(config.stream_type, StreamType::Simulcast);
        assert_eq!(config.encodings.len(), 3);
        assert_eq!(config.encodings[1].rid.map(|r| r.as_str().to_owned()).as_deref(), Some("r1"));
        assert_eq!(config.encodings[2].scalability, ScalabilityMode { temporal: 3, ..Default::default() });
        assert_eq!((config.encodings[0].max_bitrate, config.encodings[2].max_bitrate), (Some(1), None));
        let (config, parameters) = consume(&consumable, &caps, None).expect("they match");
        assert_eq!(config.stream_type, StreamType::Simulcast);
        let told = RtpEncodingParameters {
            scalability_mode: Some("L3T3".to_owned()),
            max_bitrate: Some(3),
            ..Default::default()
        };
        assert_eq!(parameters.encodings, [told], "{codec}: a consumer sees one encoding");

        let mut by_ssrc = by_rid.clone();
        by_ssrc.header_extensions.clear();
        for (i, encoding) in by_ssrc.encodings.iter_mut().enumerate() {
            *encoding = RtpEncodingParameters { ssrc: Some(10 + i as u32), ..Default::default() };
        }
        let (_, consumable) = produce(&caps, MediaKind::Video, &by_ssrc).expect(codec);
        let (_, parameters) = consume(&consumable, &caps, None).expect("they match");
        assert_eq!(parameters.encodings[0].scalability_mode.as_deref(), Some("L3T1"), "a mode even if none was given");
    }
}

#[test]
fn one_encoding_is_simple_or_svc_by_its_mode() {
    let caps = all();
    let kind = |codec: &str, mode| {
        let (config, consumable) = produce(&caps, MediaKind::Video, &single(codec, mode)).expect(codec);
        let (consumer, parameters) = consume(&consumable, &caps, None).expect("they match");
        assert_eq!(consumer.stream_type, config.stream_type);
        assert_eq!(parameters.encodings[0].scalability_mode.as_deref(), mode, "told as it was said");
        config.stream_type
    };
    for codec in CODECS {
        assert_eq!((kind(codec, None), kind(codec, Some("L1T1"))), (StreamType::Simple, StreamType::Simple));
        assert_eq!(kind(codec, Some("L1T3")), StreamType::Svc, "{codec}");
    }
    for codec in ["VP9", "AV1"] {
        for mode in ["L3T3", "L3T3_KEY", "L2T1h", "S3T3", "L3T2_KEY_SHIFT"] {
            assert_eq!(kind(codec, Some(mode)), StreamType::Svc, "{codec} {mode}");
        }
    }
}

#[test]
fn row_078_modes_that_are_none_or_that_the_codec_has_not_name_the_field() {
    use ErrorCode::{InvalidArgument, Unsupported};
    for mode in ["", "L", "L3", "L0T1", "L1T0", "L9T1", "L3T3_key", "X3T3", "L3T3_KEYS", &"L".repeat(60)] {
        assert_eq!(refused(&single("VP9", Some(mode))), (InvalidArgument, at("[0].scalability_mode")), "{mode}");
    }
    for codec in ["VP8", "H264", "H265"] {
        assert_eq!(refused(&single(codec, Some("L2T1"))), (Unsupported, at("[0].scalability_mode")), "{codec}");
    }
    let mixed = simulcast("VP9", vec![encoding("a", Some("L1T3"), None), encoding("b", Some("L3T3"), None)]);
    assert_eq!(refused(&mixed), (InvalidArgument, at("[1].scalability_mode")));
}

#[test]
fn row_078_encodings_that_cannot_be_told_apart_name_the_field() {
    use ErrorCode::{InvalidArgument, Unsupported};
    let two = || simulcast("VP8", vec![encoding("a", None, None), encoding("b", None, None)]);
    assert!(produce(&all(), MediaKind::Video, &two()).is_ok());
    let mut nameless = two();
    nameless.encodings[1].rid = None;
    assert_eq!(refused(&nameless), (InvalidArgument, at("[1]")));
    let mut unmarked = two();
    unmarked.header_extensions.retain(|x| x.uri != ExtensionKind::Rid.uri());
    assert_eq!(refused(&unmarked), (InvalidArgument, at("[0].rid")));
    let mut mixed = two();
    mixed.codecs.push(sending(&video("VP9"), 110).codecs.remove(0));
    mixed.encodings[1].codec_payload_type = Some(110);
    assert_eq!(refused(&mixed), (Unsupported, at("[1].codec_payload_type")));
    let many = simulcast("VP8", (0..9).map(|i| encoding(&i.to_string(), None, None)).collect());
    assert_eq!(refused(&many), (InvalidArgument, at("")));
    let most = simulcast("VP8", (0..8).map(|i| encoding(&i.to_string(), None, None)).collect());
    assert!(produce(&all(), MediaKind::Video, &most).is_ok());
}

#[test]
fn audio_has_one_encoding_without_layers() {
    let caps = router(&[opus()]);
    let mut parameters = sending(&opus(), 111);
    parameters.encodings[0].scalability_mode = Some("L1T3".to_owned());
    let error = produce(&caps, MediaKind::Audio, &parameters).expect_err("sound has no layers");
    assert_eq!(error.field, at("[0].scalability_mode"));
    parameters.encodings = vec![
        RtpEncodingParameters { ssrc: Some(1), ..Default::default() },
        RtpEncodingParameters { ssrc: Some(2), ..Default::default() },
    ];
    let error = produce(&caps, MediaKind::Audio, &parameters).expect_err("two of them");
    assert_eq!((error.code, error.field), (ErrorCode::Unsupported, at("")));
}

#[test]
fn the_dependency_descriptor_goes_both_ways() {
    let caps = all();
    let mut parameters = single("AV1", Some("L3T3"));
    parameters.header_extensions.push(extension(ExtensionKind::DependencyDescriptor, 12));
    let (config, consumable) = produce(&caps, MediaKind::Video, &parameters).expect("AV1 is known");
    assert_eq!(config.extensions.get(ExtensionKind::DependencyDescriptor), Some(12));
    let (config, _) = consume(&consumable, &caps, None).expect("they match");
    assert_eq!(config.extensions.get(ExtensionKind::DependencyDescriptor), Some(7), "by the router's id");
}

#[test]
fn h265_consumers_agree_on_the_lower_level() {
    let h265 = |level: i64| with(video("H265"), &[("profile-id", 1.into()), ("level-id", level.into())]);
    let caps = router(&[h265(180)]);
    let consumable = consumable(&caps, &h265(156));
    let level = |theirs: i64| {
        let (_, parameters) = consume(&consumable, &router(&[h265(theirs)]), None).expect("levels may differ");
        super::codec::integer(&parameters.codecs[0].parameters, "level-id", 0)
    };
    assert_eq!((level(93), level(180)), (93, 156));
}

#[test]
fn a_switch_keeps_the_peers_numbers_and_tells_the_new_layers() {
    let caps = all();
    let share = Share { preferred_layers: Some(Layers::new(1, 2)), priority: 9, ignore_dtx: false, pad_frames: true };
    let (_, first) = produce(&caps, MediaKind::Video, &single("VP9", None)).expect("VP9");
    let (config, mut known) = consume(&first, &caps, None).expect("they match");
    super::consumer::complete(
        &mut known,
        &[sfu_core::command::StreamSsrcs { ssrc: 77, rtx_ssrc: Some(78), fec_ssrc: None }],
    );
    // The other publisher has numbers of its own, and the router was given other codecs meanwhile.
    let later = super::capabilities::router(&[video("AV1"), video("VP9")]).expect("a router");
    let mut parameters = single("VP9", Some("L3T3_KEY"));
    parameters.codecs[0].payload_type = 45;
    parameters.codecs[1].parameters.insert("apt".to_owned(), 45.into());
    let (_, second) = produce(&later, MediaKind::Video, &parameters).expect("VP9");
    let producer = ObjectId::from_u64(0x0104_0000_0000_0002);
    let (switched, told) = switch::negotiate(&known, &second, producer, share).expect("the same codec");
    assert_eq!((switched.producer, switched.stream_type), (producer, StreamType::Svc));
    assert_eq!(switched.codecs.len(), 1);
    assert_eq!(switched.codecs[0].payload_type, config.codecs[0].payload_type, "the peer's payload type");
    assert_eq!(switched.codecs[0].rtx_payload_type, config.codecs[0].rtx_payload_type);
    assert_eq!(switched.codecs[0].slot, 1, "the new producer's slot");
    assert_eq!((switched.extensions, switched.mid), (config.extensions, config.mid));
    assert_eq!((switched.preferred_layers, switched.priority), (share.preferred_layers, 9));
    assert_eq!(told.codecs, known.codecs);
    assert_eq!((told.encodings[0].ssrc, told.encodings[0].scalability_mode.as_deref()), (Some(77), Some("L3T3_KEY")));
    let (_, other) = produce(&caps, MediaKind::Video, &single("AV1", None)).expect("AV1");
    let error = switch::negotiate(&known, &other, producer, share).expect_err("the peer was told of VP9 only");
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::Unsupported, "producer"));
}

#[test]
fn other_codecs_of_a_router_leave_the_numbers_of_those_that_stay() {
    let caps = router(&[opus(), video("VP8"), h264(1, "42e01f")]);
    let updated =
        super::capabilities::updated(&[video("AV1"), h264(1, "42e01f"), opus()], &caps).expect("known codecs");
    let number = |caps: &RtpCapabilities, mime: &str| {
        let codec = caps.codecs.iter().find(|c| c.mime_type == mime).and_then(|c| c.preferred_payload_type);
        codec.map(|pt| (pt, super::capabilities::rtx_payload_type(&caps.codecs, pt)))
    };
    for mime in ["audio/opus", "video/H264"] {
        assert_eq!(number(&updated, mime), number(&caps, mime), "{mime}");
    }
    assert_eq!(number(&updated, "video/VP8"), None);
    // Peers may still use what meant VP8.
    let old = payload_types(&caps);
    let (new, rtx) = number(&updated, "video/AV1").expect("AV1 is new");
    assert!(!old.contains(&new) && rtx.is_some_and(|rtx| !old.contains(&rtx)));
    assert_eq!(super::capabilities::updated(&[], &caps).expect("no codec is fine").codecs, []);
    // A preference goes before what was.
    let mut wanted = video("AV1");
    wanted.preferred_payload_type = number(&caps, "video/H264").map(|(pt, _)| pt);
    let updated = super::capabilities::updated(&[h264(1, "42e01f"), wanted.clone()], &caps).expect("known codecs");
    assert_eq!(number(&updated, "video/AV1").map(|(pt, _)| Some(pt)), Some(wanted.preferred_payload_type));
    assert_ne!(number(&updated, "video/H264").map(|(pt, _)| Some(pt)), Some(wanted.preferred_payload_type));
}
