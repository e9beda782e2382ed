//! Bodies of the fuzz targets: bytes into the decoder, and sequences of commands into the controller over pure shards.
//! They assert what has to hold of any input: no panic, one reply for each request, nothing left when all is closed.
//!
//! These functions panic on a bug of ours, and are called by nothing but tests.

mod descriptions;

use std::time::Duration;

use sfu_core::command::ErrorCode;

use crate::offline::Offline;
use crate::ortc::{self, convert};
use crate::schema as fb;
use crate::{decode, encode};

#[cfg(test)]
pub(crate) use descriptions::{check_answer, local};
pub use descriptions::{description, description_seeds};

/// Any bytes: as a submitted message, and as what was polled.
pub fn message(data: &[u8]) {
    match decode::message(data) {
        // What was decoded can be said again, and means the same then.
        Ok(fb::ContentT::Request(request)) if request.body != fb::RequestBodyT::NONE => {
            let again = encode::request(request.id, request.target, request.body.clone());
            let decoded = decode::request(&again).expect("we decode what we encode");
            // NaN is unequal to itself; the bytes are not.
            assert_eq!(encode::request(decoded.id, decoded.target, decoded.body), again);
        }
        Ok(_) => {}
        Err(error) => assert_eq!(error.code, ErrorCode::Malformed),
    }
    let _ = crate::EngineOptions::decode(data);
    decode::messages(data).for_each(drop);
}

/// Takes values off the front of the input; zeros when it is used up.
struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, count: usize) -> &[u8] {
        let (head, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        head
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }
}

/// Most steps of a session: what is beyond teaches nothing new and costs time.
const STEPS: usize = 256;
/// Ids that a session remembers to aim at.
const IDS: usize = 64;

/// A sequence of commands, most of them sensible, through decoder, controller and two pure shards.
pub fn session(data: &[u8]) {
    let (engine, mut ids) = play(data);
    finish(engine, &mut ids);
}

/// A session that comes as far as a consumer: where mutations have most to find.
pub fn session_seed() -> Vec<u8> {
    let steps: [&[u8]; 7] = [
        // Router of all codecs; its transport; a VP8 producer; a consumer of it.
        &[0, 0, 0, 0, 0, 1, 0],
        &[2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
        &[7, 2, 1, 0, 4, 1, 1, 10, 0, 1, 11, 4, 1, 3, 4, 0, 0, 0, 2, 1, 0],
        &[9, 2, 3, 0, 0, 0, 0, 0, 3, 1, 0],
        // A key frame, a pause, and time.
        &[15, 4, 4, 1, 0],
        &[13, 3, 5, 1, 0],
        &[255, 200, 0, 0],
    ];
    steps.concat()
}

fn play(data: &[u8]) -> (Offline, Vec<u64>) {
    let mut input = Input { rest: data };
    let mut engine = Offline::new(2);
    let mut ids: Vec<u64> = vec![0];
    for step in 0..STEPS {
        if input.rest.is_empty() {
            break;
        }
        match input.byte() {
            255 => engine.pass(Duration::from_millis(u64::from(input.short()))),
            254 => {
                let count = usize::from(input.short());
                let bytes = input.bytes(count).to_vec();
                let _ = engine.submit(&bytes);
            }
            op => {
                let target = ids[usize::from(input.byte()) % ids.len()];
                let body = body(op, &mut input, &ids);
                // Few different ids: duplicates in flight occur.
                let id = u64::from(input.byte() % 16) + if input.flag() { step as u64 * 16 } else { 0 };
                let mut bytes = encode::request(id, target, body);
                if op & 0x40 != 0 {
                    let at = usize::from(input.short()) % bytes.len();
                    bytes[at] ^= input.byte();
                }
                let _ = engine.submit(&bytes);
            }
        }
        if input.byte() & 3 != 3 {
            engine.run();
            collect_ids(&mut engine, &mut ids);
        }
    }
    (engine, ids)
}

fn collect_ids(engine: &mut Offline, ids: &mut Vec<u64>) {
    for content in engine.messages() {
        let fb::ContentT::Reply(reply) = content else { continue };
        let id = match reply.body {
            fb::ReplyBodyT::Created(b) => b.id,
            fb::ReplyBodyT::WebRtcTransportCreated(b) => b.id,
            fb::ReplyBodyT::ProducerCreated(b) => b.id,
            fb::ReplyBodyT::ConsumerCreated(b) => b.id,
            _ => continue,
        };
        if ids.len() < IDS {
            ids.push(id);
        } else {
            let at = 1 + id as usize % (IDS - 1);
            ids[at] = id;
        }
    }
}

/// Closes all; nothing may be left.
fn finish(mut engine: Offline, ids: &mut Vec<u64>) {
    engine.run();
    collect_ids(&mut engine, ids);
    assert_eq!(engine.owed(), 0, "every accepted request was answered");
    let dump = engine.call(0, fb::RequestBodyT::GetDump(Box::default())).expect("the engine can be dumped");
    let fb::ReplyBodyT::EngineDump(dump) = dump else { panic!("a dump of the engine is an EngineDump") };
    let tops = |shard: fb::ShardDumpT| {
        shard.routers.unwrap_or_default().into_iter().chain(shard.webrtc_servers.unwrap_or_default())
    };
    // A server of all shards is told of by each of them.
    let living: std::collections::BTreeSet<u64> = dump.shards.unwrap_or_default().into_iter().flat_map(tops).collect();
    for id in living {
        engine.call(id, fb::RequestBodyT::Close(Box::default())).expect("what lives can be closed");
    }
    assert_eq!(engine.controller.footprint(), 0, "nothing is remembered of what is closed");
    engine.check_empty();
}

fn capabilities(input: &mut Input<'_>) -> ortc::RtpCapabilities {
    let mut capabilities = ortc::capabilities::supported();
    for codec in &mut capabilities.codecs {
        codec.preferred_payload_type.get_or_insert(100);
    }
    let keep = input.byte();
    if keep != 0 {
        let mut i = 0_u8;
        capabilities.codecs.retain(|_| {
            i = i.wrapping_add(1);
            i % 8 == keep % 8 || keep > 128
        });
    }
    capabilities
}

fn media_codecs(input: &mut Input<'_>) -> Option<Vec<fb::RtpCodecCapabilityT>> {
    let mut codecs = capabilities(input).codecs;
    for codec in &mut codecs {
        codec.preferred_payload_type = codec.preferred_payload_type.filter(|pt| *pt != 100);
    }
    Some(codecs.iter().map(convert::codec_capability_to).collect())
}

fn parameters(input: &mut Input<'_>) -> ortc::RtpParameters {
    let audio = input.flag();
    let (mime, clock_rate) = match (audio, input.byte() % 6) {
        (true, 0..4) => ("audio/opus", 48_000),
        (true, _) => ("audio/PCMU", 8_000),
        (false, 0) => ("video/VP9", 90_000),
        (false, 1) => ("video/H264", 90_000),
        (false, 2) => ("video/AV1", 90_000),
        (false, 3) => ("video/rtx", 90_000),
        (false, _) => ("video/VP8", 90_000),
    };
    let encodings = (0..input.byte() % 5).map(|_| ortc::RtpEncodingParameters {
        ssrc: input.flag().then_some(u32::from(input.byte())),
        rid: input.flag().then(|| input.byte().to_string()),
        rtx: input.flag().then_some(ortc::RtpRtxParameters { ssrc: u32::from(input.byte()) }),
        scalability_mode: match input.byte() % 8 {
            0 => Some("L3T3_KEY".to_owned()),
            1 => Some("L1T3".to_owned()),
            2 => Some("S2T1".to_owned()),
            3 => Some("x".to_owned()),
            _ => None,
        },
        ..Default::default()
    });
    let encodings = encodings.collect();
    ortc::RtpParameters {
        mid: input.flag().then(|| (input.byte() % 8).to_string()),
        codecs: vec![ortc::RtpCodecParameters {
            mime_type: mime.to_owned(),
            payload_type: 96 + input.byte() % 40,
            clock_rate,
            channels: audio.then_some(2),
            parameters: ortc::Parameters::new(),
            rtcp_feedback: Vec::new(),
        }],
        encodings,
        ..Default::default()
    }
}

fn layers(input: &mut Input<'_>) -> Option<Box<fb::LayersT>> {
    let one = |input: &mut Input<'_>| {
        let temporal = input.flag().then(|| input.byte());
        Box::new(fb::LayersT { spatial: input.byte(), temporal })
    };
    input.flag().then(|| one(input))
}

fn listen(input: &mut Input<'_>) -> Option<Vec<fb::ListenInfoT>> {
    let ips = ["127.0.0.1", "::1", "0.0.0.0", "", "x"];
    let one = |input: &mut Input<'_>| fb::ListenInfoT {
        ip: ips[usize::from(input.byte()) % ips.len()].to_owned(),
        protocol: fb::Protocol(input.byte() % 3),
        port: if input.flag() { input.short() } else { 0 },
        announced_address: input.flag().then(|| "sfu.example.org".to_owned()),
        ..Default::default()
    };
    Some((0..input.byte() % 4).map(|_| one(input)).collect())
}

fn webrtc_transport(input: &mut Input<'_>, any_id: impl Fn(&mut Input<'_>) -> u64) -> fb::CreateWebRtcTransportT {
    let listen_infos = if input.flag() { listen(input) } else { None };
    let webrtc_server = if input.flag() { any_id(input) } else { 0 };
    let number = input.short();
    fb::CreateWebRtcTransportT {
        listen_infos,
        webrtc_server,
        ice_consent_timeout_ms: u32::from(number % 20_000),
        max_incoming_bitrate: u32::from(input.short()),
        enable_udp: input.byte() & 7 != 7,
        enable_tcp: input.byte() & 7 != 7,
        prefer_udp: input.byte() & 7 == 7,
        prefer_tcp: input.byte() & 7 == 7,
        // None, one of the two that there are, or one that there is not.
        shard: (number / 20_000).checked_sub(1).map(|shard| shard as u8),
    }
}

fn sdp_answer(input: &mut Input<'_>, ids: &[u64]) -> fb::RequestBodyT {
    let seeds = description_seeds();
    let offer = seeds[usize::from(input.byte()) % seeds.len()].1.to_owned();
    let any_id = |input: &mut Input<'_>| ids[usize::from(input.byte()) % ids.len()];
    let section = |input: &mut Input<'_>| fb::SdpAnswerSectionT {
        mid: (input.byte() % 3).to_string(),
        producer: if input.flag() { any_id(input) } else { 0 },
        consumer: if input.flag() { any_id(input) } else { 0 },
        open: input.flag(),
    };
    let sections = Some((0..input.byte() % 4).map(|_| section(input)).collect());
    fb::RequestBodyT::CreateSdpAnswer(Box::new(fb::CreateSdpAnswerT { offer, sections, session_version: 1 }))
}

fn sdp_offer(input: &mut Input<'_>, any_id: impl Fn(&mut Input<'_>) -> u64) -> fb::RequestBodyT {
    let consumers = Some((0..input.byte() % 4).map(|_| any_id(input)).collect());
    fb::RequestBodyT::CreateSdpOffer(Box::new(fb::CreateSdpOfferT { consumers, session_version: 1 }))
}

/// A request body; the values are mostly of the right kind.
fn body(op: u8, input: &mut Input<'_>, ids: &[u64]) -> fb::RequestBodyT {
    use fb::RequestBodyT as Body;
    let any_id = |input: &mut Input<'_>| ids[usize::from(input.byte()) % ids.len()];
    match op % 24 {
        0 => {
            let media_codecs = media_codecs(input);
            Body::CreateRouter(Box::new(fb::CreateRouterT {
                media_codecs,
                shard: input.flag().then(|| input.byte() % 3),
            }))
        }
        1 => {
            let shard = input.flag().then(|| input.byte() % 3);
            Body::CreateWebRtcServer(Box::new(fb::CreateWebRtcServerT { listen_infos: listen(input), shard }))
        }
        2 | 3 => Body::CreateWebRtcTransport(Box::new(webrtc_transport(input, any_id))),
        4 => {
            let fingerprint = fb::DtlsFingerprintT {
                algorithm: fb::FingerprintAlgorithm(input.byte() % 4),
                value: vec!["AB"; usize::from(input.byte() % 66)].join(":"),
            };
            let parameters = fb::DtlsParametersT {
                role: fb::DtlsRole(input.byte() % 4),
                fingerprints: input.flag().then(|| vec![fingerprint]),
            };
            let dtls_parameters = input.flag().then(|| Box::new(parameters));
            Body::ConnectWebRtcTransport(Box::new(fb::ConnectWebRtcTransportT { dtls_parameters }))
        }
        5 => Body::RestartIce(Box::default()),
        6 => {
            let bitrate = u32::from(input.short());
            Body::SetMaxIncomingBitrate(Box::new(fb::SetMaxIncomingBitrateT { bitrate }))
        }
        7 | 8 => Body::Produce(Box::new(fb::ProduceT {
            kind: fb::MediaKind(input.byte() % 3),
            rtp_parameters: Some(Box::new(convert::parameters_of_stream_to(&parameters(input)))),
            paused: input.flag(),
            key_frame_request_delay_ms: u32::from(input.short()),
            ..Default::default()
        })),
        9 | 10 => Body::Consume(Box::new(fb::ConsumeT {
            producer: any_id(input),
            rtp_capabilities: Some(Box::new(convert::capabilities_to(&capabilities(input)))),
            paused: input.flag(),
            mid: input.flag().then(|| (input.byte() % 8).to_string()),
            enable_rtx: input.flag().then(|| input.flag()),
            numbering: fb::Numbering(input.byte() % 3),
            ..Default::default()
        })),
        11 => Body::CanConsume(Box::new(fb::CanConsumeT {
            producer: any_id(input),
            rtp_capabilities: Some(Box::new(convert::capabilities_to(&capabilities(input)))),
        })),
        12 => Body::GetRouterCapabilities(Box::default()),
        13 => Body::Pause(Box::default()),
        14 => Body::Resume(Box::default()),
        15 => Body::RequestKeyFrame(Box::default()),
        16 => Body::Close(Box::default()),
        17..=20 => layer_body(op % 24, input, any_id),
        21 => sdp_answer(input, ids),
        22 => sdp_offer(input, any_id),
        _ if input.flag() => Body::GetDump(Box::default()),
        _ => Body::GetStats(Box::default()),
    }
}

/// Requests about what consumers get.
fn layer_body(op: u8, input: &mut Input<'_>, any_id: impl Fn(&mut Input<'_>) -> u64) -> fb::RequestBodyT {
    use fb::RequestBodyT as Body;
    match op {
        17 => Body::SetPreferredLayers(Box::new(fb::SetPreferredLayersT { layers: layers(input) })),
        18 => Body::SetPriority(Box::new(fb::SetPriorityT { priority: input.byte() })),
        19 => Body::SwitchProducer(Box::new(fb::SwitchProducerT { producer: any_id(input) })),
        _ => {
            let media_codecs = media_codecs(input);
            Body::UpdateMediaCodecs(Box::new(fb::UpdateMediaCodecsT { media_codecs }))
        }
    }
}

#[cfg(test)]
mod tests {
    use sfu_wire::id::{ObjectId, ObjectKind};

    use super::*;

    #[test]
    fn the_seed_comes_as_far_as_a_consumer() {
        let (engine, mut ids) = play(&session_seed());
        let kinds: Vec<_> = ids.iter().filter_map(|id| ObjectId::from_u64(*id).kind()).collect();
        assert_eq!(kinds, [ObjectKind::Router, ObjectKind::Transport, ObjectKind::Producer, ObjectKind::Consumer]);
        finish(engine, &mut ids);
    }

    #[test]
    fn sessions_near_the_seed_answer_each_request_once_and_leave_nothing() {
        let seed = session_seed();
        for at in 0..seed.len() {
            for value in [0, 1, 2, 3, 9, 16, 64, 72, 128, 254, 255] {
                let mut data = seed.clone();
                data[at] = value;
                // The second half acts upon what the first one left.
                data.extend_from_slice(&seed[7..]);
                session(&data);
            }
        }
    }
}
