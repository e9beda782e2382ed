//! From typed values to size-prefixed messages. What libsfu says fits its own schema, so nothing here can fail.

mod streams;
mod watching;

use flatbuffers::FlatBufferBuilder;
use sfu_core::command::{
    CloseReason, CommandError, DtlsState, EncodingScore, ErrorCode, Event, IceCandidate, IceParameters, IceState,
};
use sfu_core::stats::{self, TupleAddrs};
use sfu_proto::crypto::{DtlsRole, Fingerprint, FingerprintAlgorithm};
use sfu_wire::codec::CodecKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::MediaKind;
use sfu_wire::net::Protocol;

use crate::encode_transports::lanes;
pub(crate) use crate::encode_transports::{
    direct_dump, pipe_created, pipe_dump, plain_created, plain_dump, profile, profile_from,
};
use crate::ortc::convert::layers_to;
use crate::ortc::layers::type_name;
use crate::schema as fb;
pub(crate) use streams::transport_streams;
pub(crate) use watching::{decisions, observer_dump};

fn message(content: fb::ContentT) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::with_capacity(512);
    let root = fb::MessageT { content }.pack(&mut builder);
    fb::finish_size_prefixed_message_buffer(&mut builder, root);
    builder.finished_data().to_vec()
}

/// A request. The body must be one: a request without body is no message, and building it panics.
pub fn request(id: u64, target: u64, body: fb::RequestBodyT) -> Vec<u8> {
    message(fb::ContentT::Request(Box::new(fb::RequestT { id, target, body })))
}

/// Engine options.
pub fn engine_options(options: fb::EngineOptionsT) -> Vec<u8> {
    message(fb::ContentT::EngineOptions(Box::new(options)))
}

/// A reply.
pub fn reply(id: u64, result: Result<fb::ReplyBodyT, CommandError>) -> Vec<u8> {
    let reply = match result {
        Ok(body) => fb::ReplyT { id, code: fb::Code::ok, field: None, text: None, body },
        Err(error) => fb::ReplyT {
            id,
            code: code(error.code),
            field: (!error.field.is_empty()).then_some(error.field),
            text: Some(error.text),
            body: fb::ReplyBodyT::NONE,
        },
    };
    message(fb::ContentT::Reply(Box::new(reply)))
}

/// An event.
pub fn event(source: u64, body: fb::EventBodyT) -> Vec<u8> {
    message(fb::ContentT::Event(Box::new(fb::EventT { source, body })))
}

/// The code of a refusal.
pub fn code(code: ErrorCode) -> fb::Code {
    fb::Code(code as u16)
}

/// The refusal behind a code; `None` is success. Codes of a newer engine are taken for internal errors.
pub fn error_code(code: fb::Code) -> Option<ErrorCode> {
    Some(match code {
        fb::Code::ok => return None,
        fb::Code::malformed => ErrorCode::Malformed,
        fb::Code::invalid_argument => ErrorCode::InvalidArgument,
        fb::Code::not_found => ErrorCode::NotFound,
        fb::Code::invalid_state => ErrorCode::InvalidState,
        fb::Code::already_exists => ErrorCode::AlreadyExists,
        fb::Code::unsupported => ErrorCode::Unsupported,
        fb::Code::busy => ErrorCode::Busy,
        fb::Code::resource_exhausted => ErrorCode::ResourceExhausted,
        fb::Code::address_unavailable => ErrorCode::AddressUnavailable,
        fb::Code::closed => ErrorCode::Closed,
        _ => ErrorCode::Internal,
    })
}

/// An event of a shard.
pub(crate) fn shard_event(shard_event: Event) -> Vec<u8> {
    use fb::EventBodyT as Body;
    match shard_event {
        Event::Closed { object, reason } => closed(object, close_reason(reason), ""),
        Event::RouterFailed { router, text } => closed(router, fb::CloseReason::panic, &text),
        Event::IceState { transport, state } => {
            let body = fb::IceStateChangedT { state: ice_state(state) };
            event(transport.to_u64(), Body::IceStateChanged(Box::new(body)))
        }
        Event::IceSelectedTuple { transport, local, tuple: remote, protocol } => {
            let tuple = Some(Box::new(tuple(&TupleAddrs { protocol, local, remote: remote.remote })));
            event(transport.to_u64(), Body::IceSelectedTupleChanged(Box::new(fb::IceSelectedTupleChangedT { tuple })))
        }
        Event::DtlsState { transport, state, reason } => {
            let reason = (!reason.is_empty()).then_some(reason);
            let body = fb::DtlsStateChangedT { state: dtls_state(state), reason };
            event(transport.to_u64(), Body::DtlsStateChanged(Box::new(body)))
        }
        Event::ProducerPaused { consumer } => event(consumer.to_u64(), Body::ProducerPaused(Box::default())),
        Event::ProducerResumed { consumer } => event(consumer.to_u64(), Body::ProducerResumed(Box::default())),
        Event::Volumes { observer, volumes } => event(observer.to_u64(), watching::volumes(&volumes)),
        Event::Silence { observer } => event(observer.to_u64(), Body::AudioSilence(Box::default())),
        Event::DominantSpeaker { observer, producer } => {
            let body = fb::DominantSpeakerChangedT { producer: producer.to_u64() };
            event(observer.to_u64(), Body::DominantSpeakerChanged(Box::new(body)))
        }
        Event::Trace { object, trace } => event(object.to_u64(), watching::trace(&trace)),
        Event::TelemetryLost { count } => events_lost(count),
        Event::TransportTuple { transport, local, tuple: remote, rtcp } => {
            let addrs = TupleAddrs { protocol: Protocol::Udp, local, remote: remote.remote };
            let tuple = Some(Box::new(tuple(&addrs)));
            let body = fb::TransportTupleChangedT { tuple, rtcp };
            event(transport.to_u64(), Body::TransportTupleChanged(Box::new(body)))
        }
        Event::StreamLimitReached { transport, limit } => {
            event(transport.to_u64(), Body::StreamLimitReached(Box::new(fb::StreamLimitReachedT { limit })))
        }
        Event::TapClosed { transport, reason, packets, bytes, dropped, text } => {
            event(transport.to_u64(), watching::tap_closed(reason, [packets, bytes, dropped], text))
        }
        Event::PipeSilent { transport, silent } => {
            event(transport.to_u64(), Body::PipeSilenceChanged(Box::new(fb::PipeSilenceChangedT { silent })))
        }
        Event::LayersChanged { consumer, layers } => {
            let layers = layers_to(layers);
            event(consumer.to_u64(), Body::LayersChanged(Box::new(fb::LayersChangedT { layers })))
        }
        Event::ProducerScore { producer, scores: list } => {
            event(producer.to_u64(), Body::ProducerScore(Box::new(fb::ProducerScoreT { scores: scores(&list) })))
        }
        Event::ConsumerScore { consumer, score, producer_score, producer_scores } => {
            let body = fb::ConsumerScoreT { score, producer_score, producer_scores: Some(producer_scores) };
            event(consumer.to_u64(), Body::ConsumerScore(Box::new(body)))
        }
        Event::WantedLayers { producer, wanted } => {
            let layers = layers_to(wanted);
            event(producer.to_u64(), Body::WantedLayers(Box::new(fb::WantedLayersT { layers })))
        }
        Event::VideoOrientation { producer, camera, flip, rotation } => {
            let body = fb::VideoOrientationChangedT { camera, flip, rotation };
            event(producer.to_u64(), Body::VideoOrientationChanged(Box::new(body)))
        }
    }
}

fn scores(list: &[EncodingScore]) -> Option<Vec<fb::EncodingScoreT>> {
    let make = |s: &EncodingScore| fb::EncodingScoreT {
        encoding: s.encoding,
        ssrc: s.ssrc,
        rid: s.rid.as_ref().map(|rid| rid.as_str().to_owned()),
        score: s.score,
    };
    Some(list.iter().map(make).collect())
}

/// An object was closed; `text` says more, or nothing.
pub(crate) fn closed(object: ObjectId, reason: fb::CloseReason, text: &str) -> Vec<u8> {
    let text = (!text.is_empty()).then(|| text.to_owned());
    event(object.to_u64(), fb::EventBodyT::ObjectClosed(Box::new(fb::ObjectClosedT { reason, text })))
}

/// The engine drains and has no router left.
pub(crate) fn drained() -> Vec<u8> {
    event(0, fb::EventBodyT::EngineDrained(Box::default()))
}

/// Telemetry was dropped.
pub(crate) fn events_lost(count: u64) -> Vec<u8> {
    event(0, fb::EventBodyT::EventsLost(Box::new(fb::EventsLostT { count })))
}

fn close_reason(reason: CloseReason) -> fb::CloseReason {
    match reason {
        CloseReason::RouterClosed => fb::CloseReason::router_closed,
        CloseReason::TransportClosed => fb::CloseReason::transport_closed,
        CloseReason::ProducerClosed => fb::CloseReason::producer_closed,
        CloseReason::ServerClosed => fb::CloseReason::server_closed,
        CloseReason::Panic => fb::CloseReason::panic,
        CloseReason::ShardFailed => fb::CloseReason::shard_failed,
    }
}

fn ice_state(state: IceState) -> fb::IceState {
    match state {
        IceState::New => fb::IceState::new_,
        IceState::Connected => fb::IceState::connected,
        IceState::Completed => fb::IceState::completed,
        IceState::Disconnected => fb::IceState::disconnected,
    }
}

fn dtls_state(state: DtlsState) -> fb::DtlsState {
    match state {
        DtlsState::New => fb::DtlsState::new_,
        DtlsState::Connecting => fb::DtlsState::connecting,
        DtlsState::Connected => fb::DtlsState::connected,
        DtlsState::Failed => fb::DtlsState::failed,
        DtlsState::Closed => fb::DtlsState::closed,
    }
}

/// A DTLS role; `None` is "auto".
pub(crate) fn dtls_role(role: Option<DtlsRole>) -> fb::DtlsRole {
    match role {
        None => fb::DtlsRole::auto,
        Some(DtlsRole::Client) => fb::DtlsRole::client,
        Some(DtlsRole::Server) => fb::DtlsRole::server,
    }
}

fn protocol(protocol: Protocol) -> fb::Protocol {
    match protocol {
        Protocol::Udp => fb::Protocol::udp,
        Protocol::Tcp => fb::Protocol::tcp,
    }
}

pub(crate) fn tuple(tuple: &TupleAddrs) -> fb::TransportTupleT {
    fb::TransportTupleT {
        protocol: protocol(tuple.protocol),
        local_address: tuple.local.ip().to_string(),
        local_port: tuple.local.port(),
        remote_address: tuple.remote.ip().to_string(),
        remote_port: tuple.remote.port(),
    }
}

/// ICE credentials.
pub(crate) fn ice_parameters(ice: IceParameters) -> fb::IceParametersT {
    fb::IceParametersT { username_fragment: ice.username_fragment, password: ice.password, ice_lite: true }
}

/// Host candidates.
pub(crate) fn ice_candidates(candidates: Vec<IceCandidate>) -> Vec<fb::IceCandidateT> {
    let make = |c: IceCandidate| fb::IceCandidateT {
        foundation: c.foundation,
        priority: c.priority,
        address: c.address,
        port: c.port,
        protocol: protocol(c.protocol),
        type_: fb::IceCandidateType::host,
        tcp_type: (c.protocol == Protocol::Tcp).then_some(fb::IceTcpType::passive),
    };
    candidates.into_iter().map(make).collect()
}

/// DTLS parameters of our side: it takes either role.
pub(crate) fn dtls_parameters(fingerprints: &[Fingerprint]) -> fb::DtlsParametersT {
    let make = |f: &Fingerprint| fb::DtlsFingerprintT {
        algorithm: match f.algorithm {
            FingerprintAlgorithm::Sha256 => fb::FingerprintAlgorithm::sha256,
            FingerprintAlgorithm::Sha384 => fb::FingerprintAlgorithm::sha384,
            FingerprintAlgorithm::Sha512 => fb::FingerprintAlgorithm::sha512,
        },
        value: digest(&f.value),
    };
    fb::DtlsParametersT { role: fb::DtlsRole::auto, fingerprints: Some(fingerprints.iter().map(make).collect()) }
}

/// Upper-case hexadecimal with colons (RFC 8122, section 5).
fn digest(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
    pairs.join(":")
}

fn kind(kind: MediaKind) -> fb::MediaKind {
    match kind {
        MediaKind::Audio => fb::MediaKind::audio,
        MediaKind::Video => fb::MediaKind::video,
    }
}

/// Ids as the schema has them.
pub(crate) fn ids(ids: &[ObjectId]) -> Option<Vec<u64>> {
    Some(ids.iter().map(|id| id.to_u64()).collect())
}

/// A shard's state; the core that it is pinned to is known elsewhere.
pub(crate) fn shard_dump(dump: &stats::ShardDump, cpu: Option<usize>) -> fb::ShardDumpT {
    fb::ShardDumpT {
        index: dump.index,
        cpu: cpu.and_then(|c| i32::try_from(c).ok()).unwrap_or(-1),
        routers: ids(&dump.routers),
        webrtc_servers: ids(&dump.webrtc_servers),
        sockets: dump.sockets,
    }
}

/// A server's state.
pub(crate) fn server_dump(dump: &stats::WebRtcServerDump) -> fb::WebRtcServerDumpT {
    let of = |protocol| {
        let its = dump.local_addresses.iter().filter(|(of, _)| *of == protocol);
        Some(its.map(|(_, address)| address.to_string()).collect())
    };
    fb::WebRtcServerDumpT {
        id: dump.id.to_u64(),
        local_addresses: of(Protocol::Udp),
        transports: ids(&dump.transports),
        username_fragments: streams::username_fragments(&dump.username_fragments),
        tcp_local_addresses: of(Protocol::Tcp),
    }
}

/// A router's state.
pub(crate) fn router_dump(dump: &stats::RouterDump, capabilities: Option<fb::RtpCapabilitiesT>) -> fb::RouterDumpT {
    fb::RouterDumpT {
        id: dump.id.to_u64(),
        rtp_capabilities: capabilities.map(Box::new),
        transports: ids(&dump.transports),
        producers: ids(&dump.producers),
        consumers: ids(&dump.consumers),
        observers: ids(&dump.observers),
        consumers_of: watching::links(&dump.consumers_of),
        observers_of: watching::links(&dump.observers_of),
    }
}

/// A WebRTC transport's state.
pub(crate) fn transport_dump(dump: stats::WebRtcTransportDump) -> fb::WebRtcTransportDumpT {
    fb::WebRtcTransportDumpT {
        id: dump.id.to_u64(),
        router: dump.router.to_u64(),
        webrtc_server: dump.webrtc_server.map_or(0, ObjectId::to_u64),
        ice_state: ice_state(dump.ice_state),
        ice_parameters: Some(Box::new(ice_parameters(dump.ice_parameters))),
        ice_candidates: Some(ice_candidates(dump.ice_candidates)),
        selected_tuple: dump.selected_tuple.as_ref().map(|t| Box::new(tuple(t))),
        tuples: Some(dump.tuples.iter().map(tuple).collect()),
        dtls_state: dtls_state(dump.dtls_state),
        dtls_local_role: dtls_role(dump.dtls_local_role),
        srtp_profile: dump.srtp_profile.map(str::to_owned),
        producers: ids(&dump.producers),
        consumers: ids(&dump.consumers),
        streams: transport_streams(&dump.streams),
    }
}

/// A producer's state; the readable parameters are the caller's to add.
pub(crate) fn producer_dump(dump: &stats::ProducerDump) -> fb::ProducerDumpT {
    fb::ProducerDumpT {
        id: dump.id.to_u64(),
        transport: dump.transport.to_u64(),
        kind: kind(dump.kind),
        type_: type_name(dump.stream_type),
        paused: dump.paused,
        rtp_parameters: None,
        consumable_rtp_parameters: None,
        ssrcs: Some(dump.ssrcs.clone()),
        consumers: ids(&dump.consumers),
        scores: scores(&dump.scores),
        wanted_layers: layers_to(dump.wanted_layers),
        trace: streams::trace_kinds(dump.trace),
        observed: dump.observed,
        opaque_payload: dump.opaque_payload,
    }
}

/// A consumer's state; the readable parameters are the caller's to add.
pub(crate) fn consumer_dump(dump: &stats::ConsumerDump) -> fb::ConsumerDumpT {
    fb::ConsumerDumpT {
        id: dump.id.to_u64(),
        transport: dump.transport.to_u64(),
        producer: dump.producer.to_u64(),
        kind: kind(dump.kind),
        type_: type_name(dump.stream_type),
        paused: dump.paused,
        producer_paused: dump.producer_paused,
        rtp_parameters: None,
        ssrc: dump.ssrc,
        rtx_ssrc: dump.rtx_ssrc,
        fec_ssrc: dump.fec_ssrc,
        priority: dump.priority,
        preferred_layers: layers_to(dump.preferred_layers),
        target_layers: layers_to(dump.target_layers),
        current_layers: layers_to(dump.current_layers),
        pending_producer: dump.pending_producer.map_or(0, ObjectId::to_u64),
        payload_types: streams::payload_types(&dump.payload_types),
        header_extensions: streams::extensions(&dump.extensions),
        trace: streams::trace_kinds(dump.trace),
        decision_rows: u32::try_from(dump.decision_rows).unwrap_or(u32::MAX),
        header_extensions_left_out: dump.extensions_left_out,
        lanes: lanes(&dump.lanes),
    }
}

/// MIME type of a codec, without asking the negotiation.
fn mime_type(codec: CodecKind, media: MediaKind) -> Option<String> {
    let name = match codec {
        CodecKind::Opus => "opus",
        CodecKind::MultiOpus => "multiopus",
        CodecKind::Pcmu => "PCMU",
        CodecKind::Pcma => "PCMA",
        CodecKind::G722 => "G722",
        CodecKind::TelephoneEvent => "telephone-event",
        CodecKind::ComfortNoise => "CN",
        CodecKind::Red => "red",
        CodecKind::Vp8 => "VP8",
        CodecKind::Vp9 => "VP9",
        CodecKind::H264 => "H264",
        CodecKind::H265 => "H265",
        CodecKind::Av1 => "AV1",
        CodecKind::Rtx => "rtx",
        CodecKind::FlexFec => "flexfec-03",
        CodecKind::UlpFec => "ulpfec",
        CodecKind::Other => return None,
    };
    let kind = if media == MediaKind::Audio { "audio" } else { "video" };
    Some(format!("{kind}/{name}"))
}

fn stream_stats(s: &stats::RtpStreamStats) -> fb::RtpStreamStatsT {
    fb::RtpStreamStatsT {
        ssrc: s.ssrc,
        rtx_ssrc: s.rtx_ssrc,
        rid: s.rid.as_ref().map(|rid| rid.as_str().to_owned()),
        inbound: s.inbound,
        kind: kind(s.kind),
        mime_type: mime_type(s.codec, s.kind),
        packets: s.packets,
        bytes: s.bytes,
        bitrate: s.bitrate,
        packets_lost: s.packets_lost,
        fraction_lost: s.fraction_lost,
        jitter: s.jitter,
        packets_discarded: s.packets_discarded,
        packets_retransmitted: s.packets_retransmitted,
        packets_repaired: s.packets_repaired,
        nack_count: s.nack_count,
        nack_packet_count: s.nack_packet_count,
        pli_count: s.pli_count,
        fir_count: s.fir_count,
        key_frame_count: s.key_frame_count,
        round_trip_time_ms: s.round_trip_time_ms,
        score: s.score,
        bitrate_by_layer: (!s.bitrate_by_layer.is_empty())
            .then(|| s.bitrate_by_layer.iter().map(layer_bitrate).collect()),
        rtx_packets_discarded: s.rtx_packets_discarded,
        fec_ssrc: s.fec_ssrc,
        fec_packets: s.fec_packets,
        fec_bytes: s.fec_bytes,
    }
}

fn layer_bitrate(rate: &stats::LayerBitrate) -> fb::LayerBitrateT {
    fb::LayerBitrateT { spatial: rate.layers.spatial, temporal: rate.layers.temporal, bitrate: rate.bitrate }
}

fn transport_stats(t: &stats::TransportStats) -> fb::TransportStatsT {
    fb::TransportStatsT {
        bytes_received: t.bytes_received,
        bytes_sent: t.bytes_sent,
        packets_received: t.packets_received,
        packets_sent: t.packets_sent,
        receive_bitrate: t.receive_bitrate,
        send_bitrate: t.send_bitrate,
        rtp_bytes_received: t.rtp_bytes_received,
        rtp_bytes_sent: t.rtp_bytes_sent,
        rtx_bytes_received: t.rtx_bytes_received,
        rtx_bytes_sent: t.rtx_bytes_sent,
        ice_state: ice_state(t.ice_state),
        dtls_state: dtls_state(t.dtls_state),
        selected_tuple: t.selected_tuple.as_ref().map(|t| Box::new(tuple(t))),
        rtp_receive_bitrate: t.rtp_receive_bitrate,
        rtp_send_bitrate: t.rtp_send_bitrate,
        rtx_receive_bitrate: t.rtx_receive_bitrate,
        rtx_send_bitrate: t.rtx_send_bitrate,
        rtp_loss_received: t.rtp_loss_received,
        rtp_loss_sent: t.rtp_loss_sent,
        max_incoming_bitrate: t.max_incoming_bitrate,
    }
}

fn counter(name: &str, value: u64) -> fb::CounterT {
    fb::CounterT { name: name.to_owned(), value }
}

/// Counters of an object.
pub(crate) fn stats_report(target: u64, stats: &stats::Stats) -> fb::StatsReportT {
    fb::StatsReportT {
        target,
        timestamp_ms: stats.timestamp_ms,
        transport: stats.transport.as_ref().map(|t| Box::new(transport_stats(t))),
        streams: Some(stats.streams.iter().map(stream_stats).collect()),
        drops: Some(stats.drops.nonzero().map(|(reason, n)| counter(reason.name(), n)).collect()),
        counters: Some(stats.counters.iter().map(|(name, n)| counter(name, *n)).collect()),
        shards: None,
    }
}

/// A shard's own part. What only makes sense there is taken out of `report`, which will be summed.
pub(crate) fn shard_stats(index: u8, report: &mut fb::StatsReportT) -> fb::ShardStatsT {
    let part = fb::ShardStatsT { index, drops: report.drops.clone(), counters: report.counters.clone() };
    if let Some(counters) = &mut report.counters {
        counters.retain(|c| !c.name.starts_with("thread_"));
    }
    part
}

/// Adds what another shard has of the same router.
pub(crate) fn add_room_stats(report: &mut fb::StatsReportT, mut more: fb::StatsReportT) {
    report.streams.get_or_insert_default().extend(more.streams.take().unwrap_or_default());
    let shards = report.shards.take();
    add_stats(report, more);
    report.shards = shards;
}

/// Adds the counters of `more` to those of the same name in `report`; the youngest timestamp counts.
pub(crate) fn add_stats(report: &mut fb::StatsReportT, more: fb::StatsReportT) {
    report.timestamp_ms = report.timestamp_ms.max(more.timestamp_ms);
    report.shards.get_or_insert_default().extend(more.shards.unwrap_or_default());
    let lists = [(&mut report.drops, more.drops), (&mut report.counters, more.counters)];
    for (into, from) in lists {
        let into = into.get_or_insert_default();
        for counter in from.unwrap_or_default() {
            match into.iter_mut().find(|c| c.name == counter.name) {
                Some(known) => known.value = known.value.saturating_add(counter.value),
                None => into.push(counter),
            }
        }
    }
}
