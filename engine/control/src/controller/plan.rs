//! From a request to what is to be done: which object, which shard, which command.
//!
//! Told: decoded requests. Tells: a [`Plan`] or the error that the reply will carry. Checks the target first, then the
//! values, then negotiates; nothing is reserved when it fails.

use std::time::Duration;

use sfu_core::command::{Command, CommandError, ErrorCode, Listen, RemoteDtls, WebRtcTransportOptions};
use sfu_wire::id::{ObjectId, ObjectKind};

use super::descriptions::Prepared;
use super::plan_layers::priority;
use super::request_values as values;
use super::servers::Job;
use super::watching;
use super::{Controller, Pending, Plan};
use crate::ortc::convert::{self, invalid};
use crate::ortc::{self, capabilities, consumer, producer, validate};
use crate::registry::ServerPart;
use crate::schema as fb;

pub(super) type Planned = Result<Plan, CommandError>;

pub(super) const TARGET: &str = "target";
/// RFC 7675, section 5.1: consent lasts 30 s; twice that is the most that makes sense.
const MAX_CONSENT_TIMEOUT_MS: u32 = 60_000;
/// What can be paused and resumed.
const PAUSABLE: [ObjectKind; 3] = [ObjectKind::Producer, ObjectKind::Consumer, ObjectKind::Observer];
const MAX_KEY_FRAME_DELAY_MS: u32 = 60_000;

pub(super) fn missing(field: &str) -> CommandError {
    invalid(field, "is missing; give it")
}

impl Controller {
    pub(super) fn plan(&mut self, prepared: Prepared) -> Planned {
        use fb::RequestBodyT as Body;
        let Prepared { request, text } = prepared;
        let target = request.target;
        match request.body {
            Body::CreateRouter(body) => self.create_router(target, *body),
            Body::CreateWebRtcServer(body) => self.create_server(target, *body),
            Body::CreateWebRtcTransport(body) => self.create_transport(target, *body),
            Body::ConnectWebRtcTransport(body) => self.connect(target, *body),
            Body::CreatePlainTransport(body) => self.create_plain_transport(target, *body),
            Body::ConnectPlainTransport(body) => self.connect_plain_transport(target, *body),
            Body::CreatePipeTransport(body) => self.create_pipe_transport(target, *body),
            Body::ConnectPipeTransport(body) => self.connect_pipe_transport(target, *body),
            Body::CreateDirectTransport(body) => self.create_direct_transport(target, &body),
            Body::Drain(_) => self.drain(target),
            Body::RestartIce(_) => self.on_transport(target, |transport| Command::RestartIce { transport }),
            Body::SetMaxIncomingBitrate(body) => {
                let transport = self.object(target, &[ObjectKind::Transport])?;
                Ok(plain(transport, Command::SetMaxIncomingBitrate { transport, bitrate: body.bitrate }))
            }
            Body::Produce(body) => self.produce(target, *body),
            Body::Consume(body) => self.consume(target, *body),
            Body::CanConsume(body) => self.can_consume(target, *body),
            Body::GetRouterCapabilities(_) => self.router_capabilities(target),
            Body::GetSupportedCapabilities(_) => {
                engine(target)?;
                Ok(capabilities_answer(&capabilities::supported()))
            }
            Body::Pause(_) => {
                let object = self.object(target, &PAUSABLE)?;
                Ok(plain(object, Command::Pause { object }))
            }
            Body::Resume(_) => {
                let object = self.object(target, &PAUSABLE)?;
                Ok(plain(object, Command::Resume { object }))
            }
            Body::RequestKeyFrame(_) => {
                let consumer = self.object(target, &[ObjectKind::Consumer])?;
                Ok(plain(consumer, Command::RequestKeyFrame { consumer }))
            }
            Body::CreateAudioLevelObserver(body) => self.create_observer(target, watching::audio_level(&body)),
            Body::CreateActiveSpeakerObserver(body) => self.create_observer(target, watching::active_speaker(&body)),
            Body::Observe(body) => self.observe(target, body.producer, true),
            Body::Unobserve(body) => self.observe(target, body.producer, false),
            Body::SetTrace(body) => self.set_trace(target, *body),
            Body::KeepDecisions(body) => self.keep_decisions(target, body.rows),
            Body::GetDecisions(_) => self.decisions(target),
            Body::StartTap(body) => self.start_tap(target, *body),
            Body::StopTap(_) => self.on_transport(target, |transport| Command::StopTap { transport }),
            Body::Close(_) => self.close(target),
            Body::GetDump(_) if target == 0 => Ok(Plan::All { command: Command::DumpShard }),
            Body::GetDump(_) => self.on_any(target, |object| Command::Dump { object }, Job::Dump),
            Body::GetStats(_) if target == 0 => Ok(Plan::All { command: Command::ShardStats }),
            Body::GetStats(body) if body.summary => self.measure(target, |object| Command::Summary { object }),
            Body::GetStats(_) => self.measure(target, |object| Command::Stats { object }),
            Body::UpdateMediaCodecs(body) => self.update_media_codecs(target, *body),
            Body::SetPreferredLayers(body) => self.set_preferred_layers(target, *body),
            Body::SetPriority(body) => self.set_priority(target, *body),
            Body::SwitchProducer(body) => self.switch_producer(target, *body),
            Body::ParseSdp(body) => self.parse_sdp(target, &body, text),
            Body::CreateSdpAnswer(body) => self.create_sdp_answer(target, &body, text),
            Body::CreateSdpOffer(body) => self.create_sdp_offer(target, &body),
            Body::ParseSdpFragment(_) => self.parse_sdp_fragment(target, text),
            Body::CreateSdpFragment(body) => self.create_sdp_fragment(target, &body),
            Body::NONE => Err(CommandError::new(ErrorCode::Malformed, "body", "the request has no body")),
        }
    }

    fn on_transport(&self, target: u64, command: fn(ObjectId) -> Command) -> Planned {
        let transport = self.object(target, &[ObjectKind::Transport])?;
        Ok(plain(transport, command(transport)))
    }

    fn on_any(&self, target: u64, command: fn(ObjectId) -> Command, job: fn(ObjectId) -> Job) -> Planned {
        let object = self.object(target, &ObjectKind::ALL)?;
        if self.registry.is_shared(object) {
            return self.on_server(object, job);
        }
        Ok(plain(object, command(object)))
    }

    fn close(&self, target: u64) -> Planned {
        let object = self.object(target, &ObjectKind::ALL)?;
        if self.registry.is_shared(object) {
            return self.on_server(object, Job::Close);
        }
        Ok(one(object, Command::Close { object }, Pending::Close { object }))
    }

    fn on_server(&self, server: ObjectId, job: fn(ObjectId) -> Job) -> Planned {
        if self.registry.parts(server).is_empty() {
            let text = "its shards are being made anew; try again";
            return Err(CommandError::new(ErrorCode::Busy, TARGET, text));
        }
        Ok(Plan::Server(job(server)))
    }

    /// A router's figures are those of all its shards.
    fn measure(&self, target: u64, command: fn(ObjectId) -> Command) -> Planned {
        let object = self.object(target, &ObjectKind::ALL)?;
        if object.kind() == Some(ObjectKind::Router) && self.registry.shards_of(object).len() > 1 {
            return Ok(Plan::Room { router: object, command: command(object) });
        }
        self.on_any(target, command, Job::Stats)
    }

    /// A living object of one of these kinds.
    pub(super) fn object(&self, target: u64, kinds: &[ObjectKind]) -> Result<ObjectId, CommandError> {
        self.living(target, kinds, TARGET)
    }

    pub(super) fn living(&self, value: u64, kinds: &[ObjectKind], field: &str) -> Result<ObjectId, CommandError> {
        let id = ObjectId::from_u64(value);
        let Some(kind) = id.kind() else { return Err(CommandError::not_found(field, id)) };
        if !self.registry.contains(id) {
            return Err(CommandError::not_found(field, id));
        }
        if !kinds.contains(&kind) {
            let wanted: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
            let text = format!("{id} is a {}; give a {}", kind.name(), wanted.join(" or a "));
            return Err(invalid(field, text));
        }
        Ok(id)
    }

    /// The shard that the caller wants, or the least loaded one.
    pub(super) fn place(&self, wanted: Option<u8>) -> Result<u8, CommandError> {
        match wanted {
            Some(shard) if !self.placement.exists(shard) => {
                Err(invalid("shard", format!("{shard} is no shard; there are {}", self.cpus.len())))
            }
            Some(shard) if !self.placement.is_alive(shard) => {
                Err(CommandError::new(ErrorCode::Closed, "shard", format!("shard {shard} has failed; give another")))
            }
            Some(shard) => Ok(shard),
            // One that could not be given its part of a server again is empty, but of no use.
            None => {
                self.least_loaded(|shard| !self.registry.lacks_part(shard)).or_else(|_| self.least_loaded(|_| true))
            }
        }
    }

    /// The least loaded of these shards.
    pub(super) fn least_loaded(&self, of: impl Fn(u8) -> bool) -> Result<u8, CommandError> {
        let none = || CommandError::new(ErrorCode::Closed, "", "no shard is left; start a new engine");
        self.placement.least_loaded(of).ok_or_else(none)
    }

    fn create_router(&mut self, target: u64, body: fb::CreateRouterT) -> Planned {
        engine(target)?;
        if self.draining.is_some() {
            let text = "the engine drains and takes no new router; use another engine";
            return Err(CommandError::new(ErrorCode::Closed, "", text));
        }
        let codecs = convert::codec_capabilities_from(body.media_codecs, "media_codecs")?;
        let capabilities = capabilities::router(&codecs)?;
        let shard = self.place(body.shard)?;
        self.placement.add(shard);
        let pending = Pending::Router { capabilities };
        Ok(Plan::One { shard, listen: Vec::new(), command: Command::CreateRouter, pending })
    }

    fn drain(&mut self, target: u64) -> Planned {
        engine(target)?;
        self.draining.get_or_insert(false);
        let left = self.registry.counts().map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let [routers, transports, producers, consumers] = left;
        let body = fb::DrainingT { routers, transports, producers, consumers };
        Ok(Plan::Answer(fb::ReplyBodyT::Draining(Box::new(body))))
    }

    fn create_server(&mut self, target: u64, body: fb::CreateWebRtcServerT) -> Planned {
        engine(target)?;
        let mut listen = values::listen_infos(body.listen_infos.unwrap_or_default())?;
        let shard = self.place(body.shard)?;
        if body.shard.is_none() && self.placement.alive().count() > 1 {
            for info in &mut listen {
                info.shared = Some(self.next_token);
                self.next_token += 1;
            }
            return Ok(Plan::Server(Job::Create(listen)));
        }
        self.placement.add(shard);
        Ok(Plan::One { shard, listen, command: Command::CreateWebRtcServer, pending: Pending::Server })
    }

    fn create_transport(&mut self, target: u64, mut body: fb::CreateWebRtcTransportT) -> Planned {
        const SERVER: &str = "webrtc_server";
        let router = self.object(target, &[ObjectKind::Router])?;
        let infos = body.listen_infos.take().unwrap_or_default();
        let (server, listen) = match (body.webrtc_server, infos.is_empty()) {
            (0, true) => return Err(invalid("listen_infos", "is empty; give it or webrtc_server")),
            (0, false) => (None, values::listen_infos(infos)?),
            (_, false) => return Err(invalid(SERVER, "given together with listen_infos; give one of them")),
            (server, true) => (Some(self.living(server, &[ObjectKind::WebRtcServer], SERVER)?), Vec::new()),
        };
        if let Some(server) = server {
            self.retry_parts(server);
        }
        let shard = self.shard_for(router, server, body.shard)?;
        let part = server.map(|server| self.part_for(server, shard)).transpose()?;
        let timeout = body.ice_consent_timeout_ms;
        if timeout > MAX_CONSENT_TIMEOUT_MS {
            let text = format!("{timeout}; give at most {MAX_CONSENT_TIMEOUT_MS}, or 0 for no check");
            return Err(invalid("ice_consent_timeout_ms", text));
        }
        values::protocols(&body, &listen)?;
        let options = WebRtcTransportOptions {
            listen: part.map_or(Listen::Own, Listen::Server),
            ice_consent_timeout: (timeout > 0).then(|| Duration::from_millis(u64::from(timeout))),
            max_incoming_bitrate: body.max_incoming_bitrate,
            enable_udp: body.enable_udp,
            enable_tcp: body.enable_tcp,
            prefer_tcp: body.prefer_tcp,
        };
        Ok(self.place_transport(shard, (router, server), listen, Command::CreateWebRtcTransport { router, options }))
    }

    /// What a server is on the shard of a transport.
    fn part_for(&self, server: ObjectId, shard: u8) -> Result<ObjectId, CommandError> {
        const SERVER: &str = "webrtc_server";
        match self.registry.server_part(server, shard) {
            ServerPart::There(part) => Ok(part),
            ServerPart::Coming(why) => {
                let text = match &why[..] {
                    "" => format!("shard {shard} has been made anew and does not listen for {server} yet; try again"),
                    why => format!(
                        "shard {shard} was made anew and could not listen for {server} again ({why}); it is being tried \
                         once more: give another shard or none, or try again"
                    ),
                };
                Err(CommandError::new(ErrorCode::Busy, SERVER, text))
            }
            ServerPart::Elsewhere => {
                let text = format!("{server} is on shard {}, and not on {shard}; give that shard", server.shard());
                Err(invalid(SERVER, text))
            }
        }
    }

    fn connect(&self, target: u64, body: fb::ConnectWebRtcTransportT) -> Planned {
        const FIELD: &str = "dtls_parameters";
        let transport = self.object(target, &[ObjectKind::Transport])?;
        let parameters = *body.dtls_parameters.ok_or_else(|| missing(FIELD))?;
        let parameters = convert::dtls_parameters_from(parameters, FIELD)?;
        let dtls: RemoteDtls = values::remote_dtls(&parameters, FIELD)?;
        Ok(plain(transport, Command::ConnectWebRtcTransport { transport, dtls }))
    }

    fn produce(&self, target: u64, body: fb::ProduceT) -> Planned {
        const FIELD: &str = "rtp_parameters";
        let transport = self.object(target, &[ObjectKind::Transport])?;
        let kind = convert::kind_from(body.kind, "kind")?;
        let parameters = *body.rtp_parameters.ok_or_else(|| missing(FIELD))?;
        let parameters = convert::parameters_of_stream_from(parameters, FIELD)?;
        let delay = body.key_frame_request_delay_ms;
        if delay > MAX_KEY_FRAME_DELAY_MS {
            let text = format!("{delay}; give at most {MAX_KEY_FRAME_DELAY_MS}");
            return Err(invalid("key_frame_request_delay_ms", text));
        }
        let offer = producer::Offer {
            kind,
            parameters: &parameters,
            paused: body.paused,
            key_frame_request_delay: Duration::from_millis(u64::from(delay)),
            opaque_payload: body.opaque_payload,
            key_frame_cache: body.key_frame_cache,
            // The same for all producers of a transport, so that a peer may play them in sync.
            default_cname: format!("{:016x}", transport.to_u64()),
        };
        let (config, consumable) = producer::negotiate(self.capabilities_of(transport)?, &offer)?;
        let config = Box::new(config);
        let command = Command::Produce { transport, config: config.clone() };
        Ok(one(transport, command, Pending::Produce { transport, parameters, consumable, config }))
    }

    /// Capabilities of a transport's router.
    fn capabilities_of(&self, transport: ObjectId) -> Result<&ortc::RtpCapabilities, CommandError> {
        let router = self.registry.transport(transport).and_then(|t| self.registry.router(t.router));
        router.map(|r| &r.capabilities).ok_or_else(|| CommandError::not_found(TARGET, transport))
    }

    fn peer_capabilities(
        capabilities: Option<Box<fb::RtpCapabilitiesT>>,
    ) -> Result<ortc::RtpCapabilities, CommandError> {
        const FIELD: &str = "rtp_capabilities";
        let capabilities = *capabilities.ok_or_else(|| missing(FIELD))?;
        let capabilities = convert::capabilities_from(capabilities, FIELD)?;
        validate::capabilities(&capabilities, FIELD)?;
        Ok(capabilities)
    }

    /// A producer of this router.
    pub(super) fn producer_of(&self, value: u64, router: ObjectId) -> Result<ObjectId, CommandError> {
        const FIELD: &str = "producer";
        let id = self.living(value, &[ObjectKind::Producer], FIELD)?;
        let transport = self.registry.producer(id).and_then(|p| self.registry.transport(p.transport));
        match transport {
            Some(transport) if transport.router == router => Ok(id),
            Some(_) => Err(invalid(FIELD, format!("{id} is a producer of another router; give one of {router}"))),
            None => Err(CommandError::not_found(FIELD, id)),
        }
    }

    fn consume(&mut self, target: u64, body: fb::ConsumeT) -> Planned {
        let transport = self.object(target, &[ObjectKind::Transport])?;
        let Some((router, pipe)) = self.registry.transport(transport).map(|t| (t.router, t.pipe)) else {
            return Err(CommandError::not_found(TARGET, transport));
        };
        let producer = self.producer_of(body.producer, router)?;
        if let Some(rtx) = pipe {
            return self.consume_by_pipe(transport, producer, &body, rtx);
        }
        let capabilities = Self::peer_capabilities(body.rtp_capabilities)?;
        if let Some(mid) = &body.mid {
            validate::mid(mid, "mid")?;
        }
        let share = consumer::Share {
            preferred_layers: body.preferred_layers.as_deref().map(convert::layers_from),
            priority: priority(body.priority)?,
            ignore_dtx: body.ignore_dtx,
            pad_frames: body.pad_frames,
        };
        let numbering = values::numbering(body.numbering)?;
        let mid = self.registry.reserve_mid(transport, body.mid.as_deref())?;
        let wish = consumer::Wish {
            producer,
            capabilities: &capabilities,
            mid: &mid,
            paused: body.paused,
            enable_rtx: body.enable_rtx,
            share,
            numbering,
        };
        let entry = self.registry.producer(producer).ok_or_else(|| CommandError::not_found("producer", producer));
        match entry.and_then(|e| Ok((e.consumable.kind, consumer::negotiate(&e.consumable, &wish)?))) {
            Ok((kind, (config, parameters))) => {
                let stream_type = config.stream_type;
                let command = Command::Consume { transport, config: Box::new(config) };
                let command = self.across(transport, producer, command);
                let pending = Pending::Consume { transport, producer, mid, parameters, kind, stream_type, share };
                Ok(one(transport, command, pending))
            }
            Err(error) => {
                self.registry.release_mid(transport, &mid);
                Err(error)
            }
        }
    }

    fn can_consume(&self, target: u64, body: fb::CanConsumeT) -> Planned {
        let router = self.object(target, &[ObjectKind::Router])?;
        let id = self.producer_of(body.producer, router)?;
        let capabilities = Self::peer_capabilities(body.rtp_capabilities)?;
        let known = self.registry.producer(id).ok_or_else(|| CommandError::not_found("producer", id))?;
        let can_consume = consumer::can_consume(&known.consumable, &capabilities);
        Ok(Plan::Answer(fb::ReplyBodyT::CanConsumeResult(Box::new(fb::CanConsumeResultT { can_consume }))))
    }

    fn router_capabilities(&self, target: u64) -> Planned {
        let id = self.object(target, &[ObjectKind::Router])?;
        let router = self.registry.router(id).ok_or_else(|| CommandError::not_found(TARGET, id))?;
        Ok(capabilities_answer(&router.capabilities))
    }
}

pub(super) fn engine(target: u64) -> Result<(), CommandError> {
    match target {
        0 => Ok(()),
        _ => Err(invalid(TARGET, format!("{target:#x}; this request goes to the engine, give 0"))),
    }
}

pub(super) fn capabilities_answer(capabilities: &ortc::RtpCapabilities) -> Plan {
    let rtp_capabilities = Some(Box::new(convert::capabilities_to(capabilities)));
    Plan::Answer(fb::ReplyBodyT::RouterCapabilities(Box::new(fb::RouterCapabilitiesT { rtp_capabilities })))
}

/// By the object's shard.
pub(super) fn one(object: ObjectId, command: Command, pending: Pending) -> Plan {
    Plan::One { shard: object.shard(), listen: Vec::new(), command, pending }
}

/// By the object's shard, with nothing to remember.
pub(super) fn plain(object: ObjectId, command: Command) -> Plan {
    one(object, command, Pending::Plain { target: object.to_u64() })
}
