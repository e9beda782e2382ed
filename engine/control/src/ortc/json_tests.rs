//! The JSON of the dictionaries, against what a browser's ORTC client (mediasoup-client 3.24.1) says and reads.

use serde_json::{Value, json};

use super::*;
use crate::schema as fb;

/// `rtpParameters` of its "produce" event.
const SENDING: &str = r#"{"codecs": [{"mimeType": "video/VP8", "payloadType": 96, "clockRate": 90000, "parameters": {},
"rtcpFeedback": [{"type": "goog-remb", "parameter": ""}, {"type": "transport-cc", "parameter": ""},
{"type": "ccm", "parameter": "fir"}, {"type": "nack", "parameter": ""}, {"type": "nack",
"parameter": "pli"}]}, {"mimeType": "video/rtx", "payloadType": 97, "clockRate": 90000,
"parameters": {"apt": 96}, "rtcpFeedback": []}],
"headerExtensions": [{"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": 1, "encrypt": false,
"parameters": {}}, {"uri": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", "id": 3,
"encrypt": false, "parameters": {}},
{"uri": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", "id": 5,
"encrypt": false, "parameters": {}}, {"uri": "urn:3gpp:video-orientation", "id": 4, "encrypt": false,
"parameters": {}}, {"uri": "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", "id": 6,
"encrypt": false, "parameters": {}}], "encodings": [{"active": true, "scaleResolutionDownBy": 1,
"maxBitrate": 1500000, "dtx": false, "ssrc": 2759420141, "rtx": {"ssrc": 3514124801}}],
"rtcp": {"cname": "o0vGZ2mGEkzk4y6m", "reducedSize": true}, "mid": "1", "msid": "stream track"}"#;

/// Its `rtpCapabilities` after loading a router of ours.
const RECEIVING: &str = r#"{"codecs": [{"kind": "audio", "mimeType": "audio/opus", "preferredPayloadType": 96, "clockRate": 48000,
"channels": 2, "parameters": {"minptime": 10, "useinbandfec": 1},
"rtcpFeedback": [{"type": "transport-cc", "parameter": ""}]}, {"kind": "video", "mimeType": "video/VP8",
"preferredPayloadType": 97, "clockRate": 90000, "parameters": {}, "rtcpFeedback": [{"type": "goog-remb",
"parameter": ""}, {"type": "transport-cc", "parameter": ""}, {"type": "ccm", "parameter": "fir"},
{"type": "nack", "parameter": ""}, {"type": "nack", "parameter": "pli"}]}, {"kind": "video",
"mimeType": "video/rtx", "preferredPayloadType": 98, "clockRate": 90000, "parameters": {"apt": 97},
"rtcpFeedback": []}], "headerExtensions": [{"kind": "audio", "uri": "urn:ietf:params:rtp-hdrext:sdes:mid",
"preferredId": 1, "preferredEncrypt": false, "direction": "sendrecv"}, {"kind": "video",
"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "preferredId": 1, "preferredEncrypt": false,
"direction": "sendrecv"}, {"kind": "video",
"uri": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", "preferredId": 4,
"preferredEncrypt": false, "direction": "sendrecv"}, {"kind": "video",
"uri": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", "preferredId": 5,
"preferredEncrypt": false, "direction": "sendrecv"}, {"kind": "audio",
"uri": "urn:ietf:params:rtp-hdrext:ssrc-audio-level", "preferredId": 6, "preferredEncrypt": false,
"direction": "sendrecv"}, {"kind": "video", "uri": "urn:3gpp:video-orientation", "preferredId": 9,
"preferredEncrypt": false, "direction": "sendrecv"}, {"kind": "video",
"uri": "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", "preferredId": 12,
"preferredEncrypt": false, "direction": "sendrecv"}]}"#;

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("the sample is JSON")
}

#[test]
fn parameters_of_a_client_survive_json_and_the_schema() {
    let parameters: RtpParameters = serde_json::from_str(SENDING).expect("they are readable");
    validate::stream(&parameters, MediaKind::Video, "").expect("they are valid");
    assert_eq!(parameters.encodings[0].rtx, Some(RtpRtxParameters { ssrc: 3_514_124_801 }));
    let mut said = value(SENDING);
    // Members that only concern the sending browser are not kept.
    let encoding = said["encodings"][0].as_object_mut().expect("there is one");
    for name in ["active", "scaleResolutionDownBy", "dtx"] {
        encoding.remove(name);
    }
    assert_eq!(serde_json::to_value(&parameters).expect("they can be said"), said);
    let schema: fb::RtpParametersT = convert::parameters_of_stream_to(&parameters);
    assert_eq!(convert::parameters_of_stream_from(schema, ""), Ok(parameters));
}

#[test]
fn capabilities_of_a_client_survive_json_and_the_schema() {
    let capabilities: RtpCapabilities = serde_json::from_str(RECEIVING).expect("they are readable");
    validate::capabilities(&capabilities, "").expect("they are valid");
    assert_eq!(serde_json::to_value(&capabilities).expect("they can be said"), value(RECEIVING));
    let schema = convert::capabilities_to(&capabilities);
    assert_eq!(convert::capabilities_from(schema, ""), Ok(capabilities));
}

#[test]
fn a_client_gets_consumer_parameters_in_the_numbers_of_its_own_capabilities() {
    let capability = |kind, mime: &str, clock_rate, channels| RtpCodecCapability {
        kind,
        mime_type: mime.to_owned(),
        preferred_payload_type: None,
        clock_rate,
        channels,
        parameters: Parameters::new(),
        rtcp_feedback: Vec::new(),
    };
    let codecs = [
        capability(MediaKind::Audio, "audio/opus", 48_000, Some(2)),
        capability(MediaKind::Video, "video/VP8", 90_000, None),
    ];
    let router = capabilities::router(&codecs).expect("a router");
    let parameters: RtpParameters = serde_json::from_str(SENDING).expect("they are readable");
    let offer = producer::Offer {
        kind: MediaKind::Video,
        parameters: &parameters,
        paused: false,
        key_frame_request_delay: std::time::Duration::ZERO,
        opaque_payload: false,
        key_frame_cache: true,
        default_cname: String::new(),
    };
    let (_, consumable) = producer::negotiate(&router, &offer).expect("it can be produced");
    let theirs: RtpCapabilities = serde_json::from_str(RECEIVING).expect("they are readable");
    let wish = consumer::Wish {
        producer: sfu_wire::id::ObjectId::from_u64(1),
        capabilities: &theirs,
        mid: "0",
        paused: true,
        enable_rtx: None,
        share: consumer::Share::default(),
        numbering: Default::default(),
    };
    let (_, mut parameters) = consumer::negotiate(&consumable, &wish).expect("it can be consumed");
    consumer::complete(
        &mut parameters,
        &[sfu_core::command::StreamSsrcs { ssrc: 1, rtx_ssrc: Some(2), fec_ssrc: None }],
    );
    let said = serde_json::to_value(&parameters).expect("they can be said");
    assert_eq!(said["codecs"][0]["payloadType"], json!(97));
    assert_eq!(said["codecs"][1]["parameters"], json!({ "apt": 97 }));
    let feedback = json!([
        { "type": "nack", "parameter": "" },
        { "type": "nack", "parameter": "pli" },
        { "type": "ccm", "parameter": "fir" },
        { "type": "transport-cc", "parameter": "" },
    ]);
    assert_eq!(said["codecs"][0]["rtcpFeedback"], feedback);
    let mut ids: Vec<u64> =
        said["headerExtensions"].as_array().unwrap().iter().map(|x| x["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 4, 5, 9, 12]);
    assert_eq!(said["encodings"], json!([{ "ssrc": 1, "rtx": { "ssrc": 2 }, "maxBitrate": 1_500_000 }]));
    assert_eq!(said["rtcp"], json!({ "cname": "o0vGZ2mGEkzk4y6m", "reducedSize": true }));
    assert_eq!((&said["mid"], &said["msid"]), (&json!("0"), &json!("stream track")));
}

#[test]
fn transports_speak_the_clients_member_names() {
    let ice = IceParameters { username_fragment: "u".into(), password: "p".into(), ice_lite: true };
    assert_eq!(
        serde_json::to_value(ice).unwrap(),
        json!({ "usernameFragment": "u", "password": "p", "iceLite": true })
    );
    let candidate = IceCandidate {
        foundation: "f".into(),
        priority: 1,
        ip: "::1".into(),
        address: "::1".into(),
        protocol: Protocol::Udp,
        port: 2,
        r#type: "host".into(),
        tcp_type: None,
    };
    let tcp = IceCandidate { protocol: Protocol::Tcp, tcp_type: Some(TcpType::Passive), ..candidate.clone() };
    let said = json!({ "foundation": "f", "priority": 1, "ip": "::1", "address": "::1", "protocol": "udp", "port": 2, "type": "host" });
    assert_eq!(serde_json::to_value(candidate).unwrap(), said);
    let said = json!({ "foundation": "f", "priority": 1, "ip": "::1", "address": "::1", "protocol": "tcp", "port": 2, "type": "host", "tcpType": "passive" });
    assert_eq!(serde_json::to_value(tcp).unwrap(), said);
    let said = json!({ "role": "client", "fingerprints": [{ "algorithm": "sha-256", "value": "AB" }] });
    let dtls: DtlsParameters = serde_json::from_value(said.clone()).expect("they are readable");
    assert_eq!(dtls.role, DtlsRole::Client);
    assert_eq!(serde_json::to_value(&dtls).unwrap(), said);
}

#[test]
fn fingerprints_of_unknown_algorithms_are_left_out_while_one_is_known() {
    let of = |algorithms: &[&str]| DtlsParameters {
        role: DtlsRole::Auto,
        fingerprints: algorithms
            .iter()
            .map(|a| DtlsFingerprint { algorithm: (*a).into(), value: "AB".into() })
            .collect(),
    };
    let kept = convert::dtls_parameters_to(&of(&["sha-1", "SHA-256", "md5"])).expect("one is known");
    assert_eq!(kept.fingerprints.map(|f| f.len()), Some(1));
    assert!(convert::dtls_parameters_to(&of(&["sha-1"])).is_err());
}

#[test]
fn parameter_values_are_numbers_or_text_and_whole_numbers_stay_whole() {
    let read = |text: &str| serde_json::from_str::<ParameterValue>(text).ok();
    assert_eq!(read("1"), Some(ParameterValue::Number(1.0)));
    assert_eq!(read("-1.5"), Some(ParameterValue::Number(-1.5)));
    assert_eq!(read("\"42e01f\""), Some("42e01f".into()));
    assert_eq!(read("null"), Some("".into()));
    assert_eq!(read("true"), Some(1.into()));
    assert_eq!((read("[]"), read("{}")), (None, None));
    let said = |v: ParameterValue| serde_json::to_string(&v).unwrap();
    assert_eq!(
        (said(1.into()), said(ParameterValue::Number(0.5)), said("x".into())),
        ("1".into(), "0.5".into(), "\"x\"".into())
    );
}
