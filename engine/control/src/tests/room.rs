//! A router with two transports, made by commands; what the other tests play in.

use sfu_core::command::{CommandError, ErrorCode};

use crate::offline::Offline;
use crate::ortc::{self, MediaKind, RtpCapabilities, RtpCodecCapability, RtpParameters, convert};
use crate::schema as fb;
use crate::schema::{ReplyBodyT as Reply, RequestBodyT as Body};

pub(super) fn codec(kind: MediaKind, mime: &str, clock_rate: u32, channels: Option<u8>) -> RtpCodecCapability {
    RtpCodecCapability {
        kind,
        mime_type: mime.to_owned(),
        preferred_payload_type: None,
        clock_rate,
        channels,
        parameters: ortc::Parameters::new(),
        rtcp_feedback: Vec::new(),
    }
}

pub(super) fn usual_codecs() -> Vec<RtpCodecCapability> {
    vec![codec(MediaKind::Audio, "audio/opus", 48_000, Some(2)), codec(MediaKind::Video, "video/VP8", 90_000, None)]
}

pub(super) fn create_router(codecs: &[RtpCodecCapability]) -> Body {
    let media_codecs = Some(codecs.iter().map(convert::codec_capability_to).collect());
    Body::CreateRouter(Box::new(fb::CreateRouterT { media_codecs, shard: None }))
}

pub(super) fn listen() -> Option<Vec<fb::ListenInfoT>> {
    Some(vec![fb::ListenInfoT { ip: "127.0.0.1".to_owned(), ..Default::default() }])
}

pub(super) fn create_transport() -> fb::CreateWebRtcTransportT {
    fb::CreateWebRtcTransportT { listen_infos: listen(), ..Default::default() }
}

pub(super) fn video(ssrc: u32, mid: &str) -> RtpParameters {
    RtpParameters {
        mid: Some(mid.to_owned()),
        codecs: vec![ortc::RtpCodecParameters {
            mime_type: "video/VP8".to_owned(),
            payload_type: 100,
            clock_rate: 90_000,
            channels: None,
            parameters: ortc::Parameters::new(),
            rtcp_feedback: Vec::new(),
        }],
        encodings: vec![ortc::RtpEncodingParameters { ssrc: Some(ssrc), ..Default::default() }],
        ..Default::default()
    }
}

pub(super) fn produce(parameters: &RtpParameters) -> fb::ProduceT {
    fb::ProduceT {
        kind: fb::MediaKind::video,
        rtp_parameters: Some(Box::new(convert::parameters_of_stream_to(parameters))),
        ..Default::default()
    }
}

pub(super) fn consume(producer: u64, capabilities: &RtpCapabilities) -> fb::ConsumeT {
    fb::ConsumeT {
        producer,
        rtp_capabilities: Some(Box::new(convert::capabilities_to(capabilities))),
        ..Default::default()
    }
}

pub(super) fn code(result: Result<Reply, CommandError>) -> Option<ErrorCode> {
    result.err().map(|e| e.code)
}

/// Code and field of a refusal.
pub(super) fn refusal(result: Result<Reply, CommandError>) -> (ErrorCode, String) {
    let error = result.expect_err("the request is refused");
    assert!(!error.text.is_empty() && !error.text.contains('\n'), "one sentence: {error:?}");
    (error.code, error.field)
}

pub(super) struct Room {
    pub(super) engine: Offline,
    pub(super) router: u64,
    pub(super) publishing: u64,
    pub(super) subscribing: u64,
    pub(super) capabilities: RtpCapabilities,
}

impl Room {
    pub(super) fn new() -> Self {
        let mut engine = Offline::new(2);
        let Ok(Reply::Created(router)) = engine.call(0, create_router(&usual_codecs())) else { panic!("no router") };
        let capabilities = *router.rtp_capabilities.expect("a router has capabilities");
        let capabilities = convert::capabilities_from(capabilities, "").expect("they can be read");
        let mut room = Self { engine, router: router.id, publishing: 0, subscribing: 0, capabilities };
        room.publishing = room.transport();
        room.subscribing = room.transport();
        room
    }

    pub(super) fn call(&mut self, target: u64, body: Body) -> Result<Reply, CommandError> {
        self.engine.call(target, body)
    }

    pub(super) fn transport(&mut self) -> u64 {
        match self.call(self.router, Body::CreateWebRtcTransport(Box::new(create_transport()))) {
            Ok(Reply::WebRtcTransportCreated(created)) => created.id,
            other => panic!("no transport: {other:?}"),
        }
    }

    pub(super) fn produce(&mut self, ssrc: u32) -> u64 {
        let body = Body::Produce(Box::new(produce(&video(ssrc, &ssrc.to_string()))));
        match self.call(self.publishing, body) {
            Ok(Reply::ProducerCreated(created)) => created.id,
            other => panic!("no producer: {other:?}"),
        }
    }

    pub(super) fn try_consume(&mut self, producer: u64) -> Result<fb::ConsumerCreatedT, CommandError> {
        let body = Body::Consume(Box::new(consume(producer, &self.capabilities)));
        match self.call(self.subscribing, body)? {
            Reply::ConsumerCreated(created) => Ok(*created),
            other => panic!("another reply: {other:?}"),
        }
    }

    pub(super) fn consume(&mut self, producer: u64) -> u64 {
        self.try_consume(producer).expect("the producer can be consumed").id
    }

    pub(super) fn close(&mut self, id: u64) -> Result<Reply, CommandError> {
        self.call(id, Body::Close(Box::default()))
    }
}
