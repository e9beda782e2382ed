//! RED of audio and FEC of video in negotiation.

use sfu_core::command::ErrorCode;
use sfu_wire::codec::CodecKind;

use super::tests::*;
use super::types::*;
use super::{capabilities, consumer, convert, red};

fn red_audio() -> RtpCodecCapability {
    codec(MediaKind::Audio, "audio/red", 48_000, Some(2))
}

/// As a browser sends: opus first, RED with the list where its client puts it.
fn publisher(list: Parameters) -> RtpParameters {
    let mut parameters = sending(&opus(), 111);
    let red = RtpCodecCapability { parameters: list, ..red_audio() };
    parameters.codecs.extend(sending(&red, 63).codecs);
    parameters
}

fn list(text: &str) -> Parameters {
    Parameters::from([(String::new(), text.into())])
}

#[test]
fn a_router_tells_what_red_repeats_in_its_own_payload_types() {
    for codecs in [vec![opus(), red_audio()], vec![red_audio(), opus()]] {
        let caps = router(&codecs);
        let of = |mime: &str| caps.codecs.iter().find(|c| c.mime_type == mime).expect("it is there");
        let opus = of("audio/opus").preferred_payload_type.expect("a payload type");
        assert_eq!(red::blocks(&of("audio/red").parameters), red::Blocks::Of(opus, 2));
        assert_eq!(caps.codecs.len(), 2, "no RTX for either");
    }
    let error = capabilities::router(&[red_audio()]).expect_err("it repeats nothing");
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::Unsupported, "media_codecs"));
}

#[test]
fn red_reaches_those_who_know_it_and_plain_opus_the_others() {
    let caps = router(&[opus(), red_audio()]);
    let number = |i: usize| caps.codecs[i].preferred_payload_type.expect("a payload type");
    let named = Parameters::from([("111/111".to_owned(), "".into())]);
    for sent in [list("111/111"), named, Parameters::new()] {
        let (config, consumable) = produce(&caps, MediaKind::Audio, &publisher(sent)).expect("both are known");
        let kinds: Vec<_> = config.codecs.iter().map(|c| (c.kind, c.payload_type, c.slot)).collect();
        assert_eq!(kinds, [(CodecKind::Opus, 111, 0), (CodecKind::Red, 63, 1)], "the shard knows both");
        let (config, parameters) = consume(&consumable, &caps, None).expect("they match");
        let kinds: Vec<_> = config.codecs.iter().map(|c| (c.kind, c.payload_type, c.slot)).collect();
        assert_eq!(kinds, [(CodecKind::Opus, number(0), 0), (CodecKind::Red, number(1), 1)]);
        assert_eq!(parameters.codecs[0].mime_type, "audio/opus", "clients look at the first");
        assert_eq!(parameters.codecs[1].parameters, list(&format!("{0}/{0}", number(0))));
        let (config, parameters) = consume(&consumable, &router(&[opus()]), None).expect("opus is enough");
        assert_eq!((config.codecs.len(), config.codecs[0].kind), (1, CodecKind::Opus));
        assert_eq!(parameters.codecs.len(), 1);
        let mut deaf = caps.clone();
        deaf.codecs.remove(0);
        assert!(consume(&consumable, &deaf, None).is_err(), "RED alone is nothing");
    }
}

#[test]
fn row_078_red_that_repeats_nothing_of_the_list_names_the_field() {
    let caps = router(&[opus(), red_audio()]);
    for text in ["111/112", "63/63", "x", "111/"] {
        let error = produce(&caps, MediaKind::Audio, &publisher(list(text))).expect_err(text);
        assert_eq!(
            (error.code, error.field.as_str()),
            (ErrorCode::InvalidArgument, "rtp_parameters.codecs[1].parameters")
        );
    }
    let mut alone = publisher(list("111/111"));
    alone.codecs.remove(0);
    let error = produce(&caps, MediaKind::Audio, &alone).expect_err("it repeats nothing");
    assert_eq!(error.field, "rtp_parameters.codecs");
}

#[test]
fn fec_goes_to_those_who_know_it() {
    let fec = |name: &str| codec(MediaKind::Video, &format!("video/{name}"), 90_000, None);
    let caps = router(&[video("VP8"), fec("red"), fec("ulpfec"), fec("flexfec-03")]);
    let names: Vec<&str> = caps.codecs.iter().map(|c| c.mime_type.as_str()).collect();
    assert_eq!(names, ["video/VP8", "video/rtx", "video/red", "video/rtx", "video/ulpfec", "video/flexfec-03"]);
    let mut parameters = sending(&video("VP8"), 96);
    for (name, pt) in [("red", 100), ("ulpfec", 101), ("flexfec-03", 102)] {
        parameters.codecs.push(sending(&fec(name), pt).codecs.remove(0));
    }
    let (config, consumable) = produce(&caps, MediaKind::Video, &parameters).expect("all are known");
    let kinds: Vec<_> = config.codecs.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [CodecKind::Vp8, CodecKind::Red, CodecKind::UlpFec, CodecKind::FlexFec]);
    let kinds = |theirs: &RtpCapabilities| -> Vec<CodecKind> {
        let (config, _) = consume(&consumable, theirs, None).expect("VP8 is known");
        config.codecs.iter().map(|c| c.kind).collect()
    };
    assert_eq!(kinds(&caps), [CodecKind::Vp8, CodecKind::Red, CodecKind::UlpFec, CodecKind::FlexFec]);
    assert_eq!(kinds(&router(&[video("VP8"), fec("flexfec-03")])), [CodecKind::Vp8, CodecKind::FlexFec]);
    assert_eq!(kinds(&router(&[video("VP8")])), [CodecKind::Vp8]);
}

#[test]
fn flexfec_has_a_stream_of_its_own_on_both_sides() {
    let fec = |name: &str| codec(MediaKind::Video, &format!("video/{name}"), 90_000, None);
    let caps = router(&[video("VP8"), fec("flexfec-03")]);
    let mut parameters = sending(&video("VP8"), 96);
    let one = |mechanism: &str| Some(RtpFecParameters { ssrc: Some(9), mechanism: mechanism.to_owned() });
    let refused = |parameters: &RtpParameters| {
        let error = produce(&caps, MediaKind::Video, parameters).expect_err("refused");
        (error.code, error.field)
    };
    let at = |field: &str| format!("rtp_parameters.encodings[0].fec.{field}");
    parameters.encodings[0].fec = one("flexfec");
    assert_eq!(refused(&parameters), (ErrorCode::InvalidArgument, at("mechanism")), "without the codec");
    parameters.codecs.extend(sending(&fec("flexfec-03"), 102).codecs);
    parameters.encodings[0].fec = one("red+ulpfec");
    assert_eq!(refused(&parameters), (ErrorCode::Unsupported, at("mechanism")));
    parameters.encodings[0].fec = one("flexfec");
    let media = parameters.encodings[0].ssrc.replace(9);
    assert_eq!(refused(&parameters), (ErrorCode::AlreadyExists, at("ssrc")));
    parameters.encodings[0].ssrc = media;
    let (config, consumable) = produce(&caps, MediaKind::Video, &parameters).expect("both are known");
    assert_eq!(config.encodings[0].fec_ssrc, Some(9));
    assert_eq!(consumable.parameters.encodings[0].fec, None, "it is the publisher's");
    let json = serde_json::to_value(&parameters.encodings[0]).expect("a dictionary");
    assert_eq!(json["fec"], serde_json::json!({"ssrc": 9, "mechanism": "flexfec"}));
    assert_eq!(serde_json::from_value::<RtpEncodingParameters>(json).expect("read back"), parameters.encodings[0]);
    let schema = convert::parameters_of_stream_to(&parameters);
    assert_eq!(convert::parameters_of_stream_from(schema, "x").expect("legal"), parameters);
    let (_, mut got) = consume(&consumable, &caps, None).expect("VP8 is known");
    let streams = [sfu_core::command::StreamSsrcs { ssrc: 5, rtx_ssrc: Some(6), fec_ssrc: Some(7) }];
    consumer::complete(&mut got, &streams);
    let fec = RtpFecParameters { ssrc: Some(7), mechanism: FLEXFEC.to_owned() };
    assert_eq!((got.encodings[0].ssrc, got.encodings[0].fec.clone()), (Some(5), Some(fec)));
    // What a pipe gives to another router can be produced there.
    assert_eq!(produce(&caps, MediaKind::Video, &got).expect("again").0.encodings[0].fec_ssrc, Some(7));
}

#[test]
fn multiopus_of_four_six_and_eight_channels_has_its_own_numbers() {
    let multi = |channels, streams: i64, coupled: i64| {
        let parameters = [("num_streams", streams.into()), ("coupled_streams", coupled.into())];
        with(codec(MediaKind::Audio, "audio/multiopus", 48_000, Some(channels)), &parameters)
    };
    let all = [multi(4, 2, 2), multi(6, 4, 2), multi(8, 5, 3)];
    let caps = router(&all);
    for (slot, codec) in all.iter().enumerate() {
        let (config, consumable) = produce(&caps, MediaKind::Audio, &sending(codec, 111)).expect("it is known");
        assert_eq!(usize::from(config.codecs[0].slot), slot);
        assert_eq!(consume(&consumable, &caps, None).expect("they match").0.codecs.len(), 1);
        assert!(consume(&consumable, &router(&[opus()]), None).is_err(), "it is not opus");
    }
}

#[test]
fn telephone_audio_is_negotiated_with_its_companions() {
    let audio = |name: &str| codec(MediaKind::Audio, &format!("audio/{name}"), 8_000, None);
    let codecs = ["PCMU", "PCMA", "G722", "CN", "telephone-event"].map(audio);
    let caps = router(&codecs);
    let numbers: Vec<u8> = payload_types(&caps);
    assert_eq!(numbers[..4], [0, 8, 9, 13], "their static payload types");
    for codec in &codecs[..3] {
        let mut parameters = sending(codec, 100);
        parameters.codecs.extend(sending(&codecs[3], 102).codecs);
        parameters.codecs.extend(sending(&codecs[4], 104).codecs);
        let (config, consumable) = produce(&caps, MediaKind::Audio, &parameters).expect("all are known");
        assert_eq!(config.codecs.len(), 3);
        let (config, _) = consume(&consumable, &caps, None).expect("they match");
        assert_eq!(
            config.codecs[1..].iter().map(|c| c.kind).collect::<Vec<_>>(),
            [CodecKind::ComfortNoise, CodecKind::TelephoneEvent]
        );
    }
}
