//! What commands do, apart from closing and looking. Each method checks everything first and changes
//! state only when nothing can fail any more.

use rand_core::RngCore;
use sfu_proto::ice::{IceAgent, IceConfig};
use sfu_wire::codec::CodecKind;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::MediaKind;
use sfu_wire::net::Protocol;
use sfu_wire::time::Time;

use crate::candidates::candidates;
use crate::command::{
    BoundSocket, CommandError, ConsumerCreated, ErrorCode, Event, Listen, RemoteDtls, Reply, StreamSsrcs,
    WebRtcTransportCreated, WebRtcTransportOptions,
};
use crate::config::{CodecConfig, ConsumerConfig, ProducerConfig, StreamType};
use crate::consumer::Consumer;
use crate::decision::LayerCause;
use crate::feedback::Feedback;
use crate::producer::Producer;
use crate::router::Router;
use crate::shard::{Held, Shard};
use crate::transport::{Kind, Transport, TransportParts};
use crate::webrtc_server::WebRtcServer;
use crate::webrtc_transport::{WebRtcParts, WebRtcTransport};

/// The longest consent timeout that a controller may ask for.
const MAX_CONSENT_TIMEOUT_MS: u128 = 60_000;

impl Shard {
    pub(crate) fn create_router(&mut self) -> Result<Reply, CommandError> {
        let id = self.routers.insert(Router::default());
        id.map(Reply::Created).ok_or_else(|| exhausted("", "routers", self.limits.routers))
    }

    pub(crate) fn create_webrtc_server(&mut self, sockets: &[BoundSocket]) -> Result<Reply, CommandError> {
        self.check_sockets(sockets)?;
        let id = self.servers.insert(WebRtcServer::new(sockets));
        id.map(Reply::Created).ok_or_else(|| exhausted("", "WebRTC servers", self.limits.webrtc_servers))
    }

    pub(crate) fn create_webrtc_transport(
        &mut self,
        now: Time,
        sockets: &[BoundSocket],
        router: ObjectId,
        options: WebRtcTransportOptions,
    ) -> Result<Reply, CommandError> {
        if self.routers.get(router).is_none() {
            return Err(CommandError::not_found("target", router));
        }
        if options.ice_consent_timeout.is_some_and(|t| t.is_zero() || t.as_millis() > MAX_CONSENT_TIMEOUT_MS) {
            let text = "must be between 1 and 60000 ms; switch the check off to have none";
            return Err(CommandError::new(ErrorCode::InvalidArgument, "iceConsentTimeoutMs", text));
        }
        let (server, sockets) = match options.listen {
            Listen::Own => {
                self.check_sockets(sockets)?;
                (None, sockets.to_vec())
            }
            Listen::Server(server) => {
                let entry = self.servers.get(server).ok_or_else(|| CommandError::not_found("webrtcServer", server))?;
                (Some(server), entry.sockets.clone())
            }
        };
        let sockets = enabled(sockets, server.is_some(), &options)?;
        let (credentials, ufrag) = self.draw_credentials();
        let candidates = candidates(&sockets, options.prefer_tcp);
        let config = IceConfig { consent_timeout: options.ice_consent_timeout };
        let id = self.add_transport(now, router, options.max_incoming_bitrate, |id| {
            let ice = IceAgent::new(now, credentials, config);
            let parts = WebRtcParts { id, server, sockets, candidates: candidates.clone(), ice, ufrag };
            Kind::WebRtc(Box::new(WebRtcTransport::new(now, parts)))
        })?;
        self.lookup.claim_ufrag(ufrag, id);
        if let Some(entry) = server.and_then(|s| self.servers.get_mut(s)) {
            entry.transports.push(id);
        }
        self.arm_transport(id, now);
        let ice = self.webrtc(id)?.ice_parameters();
        let fingerprints = self.fingerprints.clone();
        Ok(Reply::WebRtcTransport(WebRtcTransportCreated { id, ice, candidates, fingerprints }))
    }

    /// A new transport of a router.
    pub(crate) fn add_transport(
        &mut self,
        now: Time,
        router: ObjectId,
        max_incoming_bitrate: u32,
        make: impl FnOnce(ObjectId) -> Kind,
    ) -> Result<ObjectId, CommandError> {
        if self.routers.get(router).is_none() {
            return Err(CommandError::not_found("target", router));
        }
        let hash_seed = self.rng.next_u64();
        let feedback = Feedback::new(now, self.draw_ssrc(), max_incoming_bitrate);
        let max_learned_ssrcs = self.limits.learned_ssrcs_per_transport;
        let id = self.transports.insert_with(|id| {
            Transport::new(TransportParts { id, router, hash_seed, max_learned_ssrcs, feedback }, make(id))
        });
        let id = id.ok_or_else(|| exhausted("", "transports", self.limits.transports))?;
        if let Some(entry) = self.routers.get_mut(router) {
            entry.transports.push(id);
        }
        Ok(id)
    }

    pub(crate) fn connect_webrtc_transport(
        &mut self,
        now: Time,
        id: ObjectId,
        dtls: RemoteDtls,
    ) -> Result<Reply, CommandError> {
        let limit = self.limits.fingerprints_per_transport;
        if self.webrtc(id)?.remote.is_some() {
            let text = "connect was called before; close the transport and make a new one";
            return Err(CommandError::new(ErrorCode::InvalidState, "", text));
        }
        if dtls.fingerprints.is_empty() || dtls.fingerprints.len() > limit {
            let text = format!("there must be 1 to {limit} fingerprints");
            return Err(CommandError::new(ErrorCode::InvalidArgument, "dtlsParameters.fingerprints", text));
        }
        // Signalling may end a handshake: one for the wrong role, or one that waited for fingerprints.
        let transport = self.transports.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let was = (transport.is_handshaking(), transport.is_connected());
        let (webrtc, link) = transport.webrtc_mut().ok_or_else(|| wrong_kind(id, "a WebRTC transport"))?;
        let role = webrtc.connect(now, dtls, link, &mut self.out);
        self.settle(now, id, was);
        let has_path = self.transport(id).is_ok_and(Transport::is_connected);
        self.after_transport(now, id, has_path);
        Ok(Reply::Connected(role))
    }

    pub(crate) fn restart_ice(&mut self, now: Time, id: ObjectId) -> Result<Reply, CommandError> {
        self.webrtc(id)?;
        let (credentials, ufrag) = self.draw_credentials();
        let transport = self.transports.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let (webrtc, _) = transport.webrtc_mut().ok_or_else(|| wrong_kind(id, "a WebRTC transport"))?;
        webrtc.ice.restart(credentials);
        webrtc.restart_ice(ufrag, &mut self.lookup);
        let parameters = webrtc.ice_parameters();
        self.arm_transport(id, now);
        Ok(Reply::IceParameters(parameters))
    }

    pub(crate) fn set_max_incoming_bitrate(
        &mut self,
        now: Time,
        id: ObjectId,
        bitrate: u32,
    ) -> Result<Reply, CommandError> {
        let transport = self.transports.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        transport.feedback.set_max_bitrate(now, bitrate);
        self.arm_transport(id, now);
        Ok(Reply::Done)
    }

    pub(crate) fn produce(&mut self, now: Time, id: ObjectId, config: ProducerConfig) -> Result<Reply, CommandError> {
        let limits = self.limits;
        let transport = self.transport(id)?;
        check_codecs(&config.codecs, limits.codecs_per_stream)?;
        check_cname(&config.cname, limits.cname_bytes)?;
        if config.encodings.is_empty() || config.encodings.len() > limits.encodings_per_producer {
            let text = format!("there must be 1 to {} encodings", limits.encodings_per_producer);
            return Err(CommandError::new(ErrorCode::InvalidArgument, "encodings", text));
        }
        if transport.producers.len() >= limits.producers_per_transport {
            return Err(exhausted("target", "producers of one transport", limits.producers_per_transport));
        }
        transport.listener.check(&config).map_err(|(f, t)| CommandError::new(ErrorCode::AlreadyExists, f, t))?;
        let full = || exhausted("", "producers", limits.producers);
        let producer = self.producers.next_id().ok_or_else(full)?;
        let demanding = transport.is_demanding();
        let mut it = Producer::new(now, producer, id, config.clone())?;
        if demanding {
            it.tell_wishes_from(now);
        }
        let producer = self.producers.insert(Held::new(it)).ok_or_else(full)?;
        self.add_producer(now, id, producer, &config);
        Ok(Reply::Created(producer))
    }

    fn add_producer(&mut self, now: Time, id: ObjectId, producer: ObjectId, config: &ProducerConfig) {
        let Some(transport) = self.transports.get_mut(id) else { return };
        transport.producers.push(producer);
        transport.feedback.add_producer(config);
        transport.reduced_size_rtcp |= config.reduced_size_rtcp;
        transport.listener.add(producer, config);
        transport.pin_streams(config);
        self.arm_stream(producer, now);
        self.arm_transport(id, now);
    }

    pub(crate) fn consume(&mut self, now: Time, id: ObjectId, config: ConsumerConfig) -> Result<Reply, CommandError> {
        let producer_paused = self.check_consume(id, &config)?;
        let producer = config.producer;
        let count = self.lane_count(&config);
        let first = self.add_consumer(now, id, &config, None)?;
        let mut streams = vec![first.1];
        for encoding in 1..count {
            match self.add_consumer(now, id, &config, Some((first.0, encoding))) {
                Ok((_, stream)) => streams.push(stream),
                Err(error) => {
                    self.close_consumer(now, first.0);
                    return Err(error);
                }
            }
        }
        for lane in self.lanes(first.0) {
            self.choose(now, lane, LayerCause::Start);
            self.arm_stream(lane, now);
        }
        self.tell_wanted(now, producer);
        let StreamSsrcs { ssrc, rtx_ssrc, .. } = first.1;
        Ok(Reply::Consumer(ConsumerCreated { id: first.0, ssrc, rtx_ssrc, streams, producer_paused }))
    }

    /// Makes a consumer, or one more lane of `lane.0`.
    fn add_consumer(
        &mut self,
        now: Time,
        id: ObjectId,
        config: &ConsumerConfig,
        lane: Option<(ObjectId, u8)>,
    ) -> Result<(ObjectId, StreamSsrcs), CommandError> {
        let ssrcs = self.draw_stream_ssrcs(id, config);
        let wish = self.first_wish(id);
        let paused = self.producers.get(config.producer).is_some_and(|p| p.it.is_paused());
        let consumer = self.consumers.insert_with(|own| {
            let named = lane.map_or(own, |(first, _)| first);
            let mut it = Consumer::new(now, named, id, config.clone(), ssrcs);
            it.set_producer_paused(now, paused);
            if config.stream_type == StreamType::Pipe {
                it.set_lane(lane.map_or(0, |(_, encoding)| encoding), wish);
            }
            Held::new(it)
        });
        let consumer = consumer.ok_or_else(|| exhausted("", "consumers", self.limits.consumers))?;
        if let Some(first) = lane.and_then(|(first, _)| self.consumers.get_mut(first)) {
            first.it.add_lane(consumer);
        }
        if let Some(entry) = self.producers.get_mut(config.producer) {
            entry.it.consumers.push(consumer);
        }
        if let Some(transport) = self.transports.get_mut(id) {
            transport.add_consumer(consumer, ssrcs);
            transport.reduced_size_rtcp |= config.reduced_size_rtcp;
        }
        Ok((consumer, ssrcs))
    }

    /// Whether the consumer may exist. Answers whether its producer is paused.
    fn check_consume(&self, id: ObjectId, config: &ConsumerConfig) -> Result<bool, CommandError> {
        let limits = self.limits;
        let transport = self.transport(id)?;
        let missing = || CommandError::not_found("producer", config.producer);
        let producer = &self.producers.get(config.producer).ok_or_else(missing)?.it;
        if self.transports.get(producer.transport()).map(|t| t.router) != Some(transport.router) {
            let text = "the producer is in another router; consume on a transport of its router";
            return Err(CommandError::new(ErrorCode::InvalidArgument, "producer", text));
        }
        if producer.kind() != config.kind {
            return Err(CommandError::new(ErrorCode::InvalidArgument, "kind", "the producer is of the other kind"));
        }
        check_codecs(&config.codecs, limits.codecs_per_stream)?;
        check_cname(&config.cname, limits.cname_bytes)?;
        let common = |c: &CodecConfig| producer.config().codecs.iter().any(|p| p.slot == c.slot);
        if !config.codecs.iter().any(common) {
            let text = "none of them is a codec of the producer";
            return Err(CommandError::new(ErrorCode::Unsupported, "codecs", text));
        }
        let streams = usize::from(self.lane_count(config));
        if transport.consumers.len() + streams > limits.consumers_per_transport {
            return Err(exhausted("target", "consumers of one transport", limits.consumers_per_transport));
        }
        if !transport.has_room_for_consumers(streams) {
            let text = "too many streams have come and gone under one SRTP key: make a new transport";
            return Err(CommandError::new(ErrorCode::ResourceExhausted, "target", text));
        }
        let same_mid = |c: &&ObjectId| self.consumers.get(**c).is_some_and(|c| c.it.config().mid == config.mid);
        if transport.consumers.iter().any(|c| same_mid(&c)) {
            let text = format!("MID {} is in use by another consumer of this transport", config.mid.as_str());
            return Err(CommandError::new(ErrorCode::AlreadyExists, "mid", text));
        }
        Ok(producer.is_paused())
    }

    pub(crate) fn set_paused(&mut self, now: Time, id: ObjectId, paused: bool) -> Result<Reply, CommandError> {
        match id.kind() {
            Some(ObjectKind::Producer) => self.set_producer_paused(now, id, paused)?,
            Some(ObjectKind::Consumer) => self.set_consumer_paused(now, id, paused)?,
            Some(ObjectKind::Observer) => self.pause_observer(now, id, paused)?,
            _ => return Err(wrong_kind(id, "a producer, a consumer or an observer")),
        }
        Ok(Reply::Done)
    }

    pub(crate) fn set_producer_paused(&mut self, now: Time, id: ObjectId, paused: bool) -> Result<(), CommandError> {
        let producer = &mut self.producers.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?.it;
        if producer.is_paused() == paused {
            return Ok(());
        }
        if paused {
            producer.pause(now);
        } else {
            producer.resume(now);
        }
        for consumer in &producer.consumers {
            let Some(held) = self.consumers.get_mut(*consumer) else { continue };
            if held.it.producer() != id {
                // It only waits for this one.
                continue;
            }
            held.it.set_producer_paused(now, paused);
            if held.it.is_hidden() {
                continue;
            }
            let consumer = *consumer;
            let event = if paused { Event::ProducerPaused { consumer } } else { Event::ProducerResumed { consumer } };
            self.out.events.push_back(event);
        }
        self.choose_again(now, id);
        self.flush_producer(now, id);
        self.tell_state(id);
        Ok(())
    }

    fn set_consumer_paused(&mut self, now: Time, id: ObjectId, paused: bool) -> Result<(), CommandError> {
        if self.consumers.get(id).is_none() {
            return Err(CommandError::not_found("target", id));
        }
        for lane in self.lanes(id) {
            self.set_lane_paused(now, lane, paused);
        }
        Ok(())
    }

    fn set_lane_paused(&mut self, now: Time, id: ObjectId, paused: bool) {
        let Some(held) = self.consumers.get_mut(id) else { return };
        let consumer = &mut held.it;
        if consumer.is_paused_by_command() != paused {
            if paused {
                consumer.pause(now);
            } else {
                consumer.resume(now);
            }
            let sources = [Some(consumer.producer()), consumer.pending_source()];
            self.ask_for_start(now, id);
            self.settle_consumer(now, id);
            sources.into_iter().flatten().for_each(|producer| self.tell_wanted(now, producer));
        }
        self.arm_stream(id, now);
    }

    pub(crate) fn request_key_frame(&mut self, now: Time, id: ObjectId) -> Result<Reply, CommandError> {
        if id.kind() != Some(ObjectKind::Consumer) {
            return Err(wrong_kind(id, "a consumer"));
        }
        let held = self.consumers.get(id).ok_or_else(|| CommandError::not_found("target", id))?;
        if held.it.config().kind == MediaKind::Video {
            for lane in self.lanes(id) {
                let Some(held) = self.consumers.get(lane) else { continue };
                if held.it.is_lane() && held.it.is_paused() {
                    continue;
                }
                let (producer, encoding) = (held.it.producer(), held.it.encoding());
                match self.may_flow(lane) {
                    true => self.want_key_frame(now, producer, encoding),
                    false => self.provide_start(now, lane, producer),
                }
            }
        }
        Ok(Reply::Done)
    }

    /// A consumer whose peer was out of reach goes on without a gap, video with a key frame.
    pub(crate) fn start_anew(&mut self, now: Time, consumer: ObjectId) {
        let Some(held) = self.consumers.get_mut(consumer) else { return };
        if !held.it.is_paused() {
            held.it.pause(now);
            held.it.resume(now);
        }
    }

    /// A consumer that may flow now but needs a key frame to begin with: ask the publisher.
    pub(crate) fn ask_for_start(&mut self, now: Time, consumer: ObjectId) {
        let Some(held) = self.consumers.get(consumer) else { return };
        let flows = self.transports.get(held.it.transport()).is_some_and(Transport::is_connected);
        if flows && !held.it.is_paused() {
            self.choose(now, consumer, LayerCause::Start);
        }
    }

    pub(crate) fn transport(&self, id: ObjectId) -> Result<&Transport, CommandError> {
        self.transports.get(id).ok_or_else(|| CommandError::not_found("target", id))
    }

    fn webrtc(&self, id: ObjectId) -> Result<&WebRtcTransport, CommandError> {
        self.transport(id)?.webrtc().ok_or_else(|| wrong_kind(id, "a WebRTC transport"))
    }

    pub(crate) fn check_sockets(&self, sockets: &[BoundSocket]) -> Result<(), CommandError> {
        let limit = self.limits.sockets_per_command;
        if sockets.is_empty() || sockets.len() > limit {
            let text = format!("there must be 1 to {limit} listen infos");
            return Err(CommandError::new(ErrorCode::InvalidArgument, "listenInfos", text));
        }
        for (i, socket) in sockets.iter().enumerate() {
            if socket.local.ip().is_unspecified() && socket.announced.is_none() {
                let field = format!("listenInfos[{i}].announcedAddress");
                let text = format!("{} is no address to send to: announce one", socket.local.ip());
                return Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
            }
            if socket.local.ip().is_unspecified() && socket.expose_internal_ip {
                let field = format!("listenInfos[{i}].exposeInternalIp");
                let text = format!("{} is no address to send to: listen at the one to expose", socket.local.ip());
                return Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
            }
        }
        Ok(())
    }

    /// SSRCs for a stream, and for what repairs it as far as that was negotiated.
    fn draw_stream_ssrcs(&mut self, transport: ObjectId, config: &ConsumerConfig) -> StreamSsrcs {
        let rtx = config.codecs.iter().any(|c| c.rtx_payload_type.is_some());
        let fec = config.codecs.iter().any(|c| c.kind == CodecKind::FlexFec);
        let ssrc = self.draw_free_ssrc(transport, &[]);
        let rtx_ssrc = rtx.then(|| self.draw_free_ssrc(transport, &[ssrc]));
        let fec_ssrc = fec.then(|| self.draw_free_ssrc(transport, &[ssrc, rtx_ssrc.unwrap_or(ssrc)]));
        StreamSsrcs { ssrc, rtx_ssrc, fec_ssrc }
    }

    /// An SSRC that nothing on the transport uses, in either direction (RFC 3550, section 8).
    fn draw_free_ssrc(&mut self, transport: ObjectId, besides: &[u32]) -> u32 {
        loop {
            let ssrc = self.draw_ssrc();
            let taken = self.transports.get(transport).is_some_and(|t| {
                t.by_ssrc.contains_key(&ssrc)
                    || t.listener.by_ssrc(ssrc).is_some()
                    || t.feedback.ssrc() == ssrc
                    || t.is_spent(ssrc)
            });
            if !taken && !besides.contains(&ssrc) {
                return ssrc;
            }
        }
    }

    /// Any SSRC but 0, which some peers take for "none".
    fn draw_ssrc(&mut self) -> u32 {
        self.rng.next_u32().max(1)
    }
}

/// The sockets that a transport may be reached by. Of a server's, those of protocols that are switched off are not for
/// it; to bind some for it alone and then not to use them is a mistake.
fn enabled(
    sockets: Vec<BoundSocket>,
    shared: bool,
    options: &WebRtcTransportOptions,
) -> Result<Vec<BoundSocket>, CommandError> {
    let is_on = |socket: &BoundSocket| match socket.protocol {
        Protocol::Udp => options.enable_udp,
        Protocol::Tcp => options.enable_tcp,
    };
    if let (false, Some(at)) = (shared, sockets.iter().position(|s| !is_on(s))) {
        let field = format!("listenInfos[{at}].protocol");
        return Err(CommandError::new(ErrorCode::InvalidArgument, field, "this protocol is switched off"));
    }
    let left: Vec<BoundSocket> = sockets.into_iter().filter(is_on).collect();
    if left.is_empty() {
        let (field, text) = match (options.enable_udp, options.enable_tcp) {
            (false, false) => ("enable_udp", "UDP and TCP are both switched off: switch one on"),
            (true, _) => ("enable_tcp", "the server listens on TCP only: switch it on"),
            (false, true) => ("enable_udp", "the server listens on UDP only: switch it on"),
        };
        return Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
    }
    Ok(left)
}

/// RTP without ICE goes over UDP.
pub(crate) fn check_udp(sockets: &[BoundSocket]) -> Result<(), CommandError> {
    match sockets.iter().all(|s| s.protocol == Protocol::Udp) {
        true => Ok(()),
        false => {
            let text = "RTP without ICE goes over UDP";
            Err(CommandError::new(ErrorCode::InvalidArgument, "listenInfo.protocol", text))
        }
    }
}

pub(crate) fn check_codecs(codecs: &[CodecConfig], limit: usize) -> Result<(), CommandError> {
    if codecs.is_empty() || codecs.len() > limit {
        let text = format!("there must be 1 to {limit} codecs");
        return Err(CommandError::new(ErrorCode::InvalidArgument, "codecs", text));
    }
    for (i, codec) in codecs.iter().enumerate() {
        let mut types = std::iter::once(codec.payload_type).chain(codec.rtx_payload_type);
        if let Some(bad) = types.find(|t| *t > 127 || (64..96).contains(t)) {
            let field = format!("codecs[{i}].payloadType");
            let text = format!("{bad} is not a payload type that RTP with multiplexed RTCP may use (RFC 5761)");
            return Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
        }
        if codec.clock_rate == 0 {
            let field = format!("codecs[{i}].clockRate");
            return Err(CommandError::new(ErrorCode::InvalidArgument, field, "must not be 0"));
        }
    }
    Ok(())
}

pub(crate) fn check_cname(cname: &str, limit: usize) -> Result<(), CommandError> {
    if cname.len() > limit {
        let text = format!("longer than {limit} bytes");
        return Err(CommandError::new(ErrorCode::InvalidArgument, "rtcp.cname", text));
    }
    Ok(())
}

fn exhausted(field: &str, what: &str, limit: usize) -> CommandError {
    let text = format!("the limit of {limit} {what} is reached: close some first");
    CommandError::new(ErrorCode::ResourceExhausted, field, text)
}

/// An id of another kind names no object of the kind that is asked for.
pub(crate) fn wrong_kind(id: ObjectId, wanted: &str) -> CommandError {
    CommandError::new(ErrorCode::NotFound, "target", format!("{id} is not {wanted}"))
}
