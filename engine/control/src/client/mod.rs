//! A small typed client of one engine, for programs in Rust: the example CLI and the tests.
//!
//! It speaks to [`Engine`] by bytes only, as every binding does. One pump thread waits for the engine, wakes the
//! waiter of each reply and hands events on. Told: typed calls. Tells: [`Call`]s, which are futures of any executor
//! and can also be waited for by blocking. Limit: the requests in flight are bounded by the engine (`BUSY`).

mod call;
mod descriptions;
mod mirrors;
mod pipes;
mod transports;
mod types;
mod watching;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use sfu_core::command::ErrorCode;

use crate::decode;
use crate::encode;
use crate::engine::Engine;
use crate::ortc::numbering::Numbering;
use crate::ortc::{
    self, DtlsParameters, DtlsRole, IceParameters, Protocol, RtpCapabilities, RtpCodecCapability, convert,
};
use crate::schema as fb;

pub use call::Call;
use call::{Answer, Slot, lock};
use mirrors::{Change, Mirrors};
use pipes::Pipes;
pub use pipes::{PipeToRouter, Piped};
pub use transports::{
    Left, PipeTransport, PipeTransportOptions, PlainRemote, PlainTransport, PlainTransportOptions, SrtpParameters,
};
pub use types::*;

fn unexpected(text: &str) -> ClientError {
    ClientError { code: ErrorCode::Internal, field: String::new(), text: text.to_owned() }
}

struct Inner {
    engine: Engine,
    next_request: AtomicU64,
    waiting: Mutex<HashMap<u64, Arc<Slot>>>,
    stopping: AtomicBool,
    /// Objects of pipes, and what follows them.
    mirrors: Mirrors,
    pipes: Pipes,
}

/// How long a shutdown may take before it gives up on a shard.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// The pump's buffer; it grows to the largest message seen.
const PUMP_BUFFER: usize = 64 * 1024;

struct Guard {
    inner: Arc<Inner>,
    pump: Mutex<Option<JoinHandle<()>>>,
}

impl Guard {
    fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        // The outcome is in the engine's logs; whoever drops the client has nobody to tell.
        let _ = self.inner.engine.shutdown(SHUTDOWN);
        let pump = lock(&self.pump).take();
        if let Some(pump) = pump
            && pump.thread().id() != std::thread::current().id()
        {
            let _ = pump.join();
        }
        self.inner.fail_all();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A handle on the engine; clones share it. The engine shuts down with the last of them.
#[derive(Clone)]
pub struct Client {
    guard: Arc<Guard>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Starts the pump; events go to the receiver, which may be dropped.
    pub fn start(engine: Engine) -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        let client = Self::start_with(engine, move |event| {
            // Without a receiver nobody wants events.
            let _ = sender.send(event);
        });
        (client, receiver)
    }

    /// Starts the pump; events go to `on_event` on the pump's thread, which must not block. A client that `on_event`
    /// holds keeps the engine alive until [`shutdown`](Self::shutdown).
    pub fn start_with(engine: Engine, on_event: impl FnMut(Event) + Send + 'static) -> Self {
        let inner = Arc::new(Inner {
            engine,
            next_request: AtomicU64::new(1),
            waiting: Mutex::default(),
            stopping: AtomicBool::new(false),
            mirrors: Mirrors::default(),
            pipes: Pipes::default(),
        });
        let pumped = Arc::clone(&inner);
        let spawned = std::thread::Builder::new().name("sfu-client".to_owned()).spawn(move || pumped.pump(on_event));
        // Without its thread the client answers every call with Closed, which says enough.
        if spawned.is_err() {
            inner.stopping.store(true, Ordering::Release);
        }
        Self { guard: Arc::new(Guard { inner, pump: Mutex::new(spawned.ok()) }) }
    }

    /// Stops the engine: calls under way are answered with Closed.
    pub fn shutdown(&self) {
        self.guard.stop();
    }

    /// The engine behind.
    pub fn engine(&self) -> &Engine {
        &self.guard.inner.engine
    }

    /// Sends any request.
    pub fn request(&self, target: Id, body: fb::RequestBodyT) -> Call<fb::ReplyBodyT> {
        self.call(target, body, Ok)
    }

    fn call<T>(
        &self,
        target: Id,
        body: fb::RequestBodyT,
        convert: fn(fb::ReplyBodyT) -> Result<T, ClientError>,
    ) -> Call<T> {
        if body == fb::RequestBodyT::NONE {
            let text = "the request has no body".to_owned();
            return failed(ClientError { code: ErrorCode::Malformed, field: "body".to_owned(), text });
        }
        let slot = Arc::new(Slot::default());
        let call = Call { slot: Arc::clone(&slot), convert };
        let inner = &self.guard.inner;
        if inner.stopping.load(Ordering::Acquire) {
            slot.fill(Err(closed()));
            return call;
        }
        let id = inner.next_request.fetch_add(1, Ordering::Relaxed);
        let bytes = encode::request(id, target, body);
        // The slot is registered first: the reply may be faster than this thread.
        lock(&inner.waiting).insert(id, slot);
        if let Err(error) = inner.engine.submit(&bytes)
            && let Some(slot) = lock(&inner.waiting).remove(&id)
        {
            slot.fill(Err(error.into()));
        }
        if inner.stopping.load(Ordering::Acquire) {
            inner.fail_all();
        }
        call
    }

    fn done(&self, target: Id, body: fb::RequestBodyT) -> Call<()> {
        self.call(target, body, |_| Ok(()))
    }

    /// Makes a router on the least loaded shard.
    pub fn create_router(&self, codecs: &[RtpCodecCapability]) -> Call<Router> {
        self.create_router_on(codecs, None)
    }

    /// Makes a router on a shard.
    pub fn create_router_on(&self, codecs: &[RtpCodecCapability], shard: Option<u8>) -> Call<Router> {
        let media_codecs = Some(codecs.iter().map(convert::codec_capability_to).collect());
        let body = fb::CreateRouterT { media_codecs, shard };
        self.call(0, fb::RequestBodyT::CreateRouter(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::Created(created) => {
                let capabilities = created.rtp_capabilities.map(|c| *c).unwrap_or_default();
                let rtp_capabilities = convert::capabilities_from(capabilities, "rtp_capabilities")?;
                Ok(Router { id: created.id, rtp_capabilities })
            }
            _ => Err(unexpected("another reply than Created")),
        })
    }

    /// Makes a WebRTC server, whose transports share its ports: on one shard, or on all of them.
    pub fn create_webrtc_server(&self, listen: &[ListenInfo], shard: Option<u8>) -> Call<Id> {
        let listen_infos = Some(listen.iter().map(ListenInfo::to_schema).collect());
        let body = fb::CreateWebRtcServerT { listen_infos, shard };
        self.call(0, fb::RequestBodyT::CreateWebRtcServer(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::Created(created) => Ok(created.id),
            _ => Err(unexpected("another reply than Created")),
        })
    }

    /// Makes a WebRTC transport in a router.
    pub fn create_webrtc_transport(&self, router: Id, options: &WebRtcTransportOptions) -> Call<WebRtcTransport> {
        let (listen_infos, webrtc_server) = match &options.listen {
            Listen::Own(infos) => (Some(infos.iter().map(ListenInfo::to_schema).collect()), 0),
            Listen::Server(id) => (None, *id),
        };
        let timeout = options.ice_consent_timeout.unwrap_or_default().as_millis();
        let body = fb::CreateWebRtcTransportT {
            listen_infos,
            webrtc_server,
            ice_consent_timeout_ms: u32::try_from(timeout).unwrap_or(u32::MAX),
            max_incoming_bitrate: options.max_incoming_bitrate,
            enable_udp: options.enable_udp,
            enable_tcp: options.enable_tcp,
            prefer_udp: options.prefer == Some(Protocol::Udp),
            prefer_tcp: options.prefer == Some(Protocol::Tcp),
            shard: options.shard,
        };
        self.call(router, fb::RequestBodyT::CreateWebRtcTransport(Box::new(body)), transport_created)
    }

    /// Gives the peer's DTLS parameters; tells the role that our side took.
    pub fn connect(&self, transport: Id, remote: &DtlsParameters) -> Call<DtlsRole> {
        let dtls_parameters = match convert::dtls_parameters_to(remote) {
            Ok(parameters) => Some(Box::new(parameters)),
            Err(error) => return failed(error.into()),
        };
        let body = fb::ConnectWebRtcTransportT { dtls_parameters };
        self.call(transport, fb::RequestBodyT::ConnectWebRtcTransport(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::Connected(c) => Ok(convert::dtls_role_from(c.local_role, "local_role")?),
            _ => Err(unexpected("another reply than Connected")),
        })
    }

    /// New ICE credentials.
    pub fn restart_ice(&self, transport: Id) -> Call<IceParameters> {
        self.call(transport, fb::RequestBodyT::RestartIce(Box::default()), |reply| match reply {
            fb::ReplyBodyT::IceRestarted(r) => {
                let parameters = r.ice_parameters.ok_or_else(|| unexpected("no ICE parameters"))?;
                Ok(convert::ice_parameters_from(*parameters))
            }
            _ => Err(unexpected("another reply than IceRestarted")),
        })
    }

    /// Changes the bound of what the peer is told to send; 0 is no bound.
    pub fn set_max_incoming_bitrate(&self, transport: Id, bitrate: u32) -> Call<()> {
        let body = fb::SetMaxIncomingBitrateT { bitrate };
        self.done(transport, fb::RequestBodyT::SetMaxIncomingBitrate(Box::new(body)))
    }

    /// Makes a producer.
    pub fn produce(&self, transport: Id, options: &ProduceOptions) -> Call<Producer> {
        let delay = options.key_frame_request_delay.as_millis();
        let body = fb::ProduceT {
            kind: convert::kind_to(options.kind),
            rtp_parameters: Some(Box::new(convert::parameters_of_stream_to(&options.rtp_parameters))),
            paused: options.paused,
            key_frame_request_delay_ms: u32::try_from(delay).unwrap_or(u32::MAX),
            opaque_payload: options.opaque_payload,
            key_frame_cache: options.key_frame_cache,
        };
        self.call(transport, fb::RequestBodyT::Produce(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::ProducerCreated(p) => Ok(Producer { id: p.id, r#type: type_name(p.type_) }),
            _ => Err(unexpected("another reply than ProducerCreated")),
        })
    }

    /// Makes a pipe consumer on a pipe transport. What it sends is produced at the other end with its `rtp_parameters`;
    /// pausing and closing are to be passed on ([`pipe_to_router`](Self::pipe_to_router) does all of that).
    pub fn consume_by_pipe(&self, transport: Id, producer: Id) -> Call<Consumer> {
        let body = fb::ConsumeT { producer, ..fb::ConsumeT::default() };
        self.call(transport, fb::RequestBodyT::Consume(Box::new(body)), consumer_created)
    }

    /// Makes a consumer.
    pub fn consume(&self, transport: Id, options: &ConsumeOptions) -> Call<Consumer> {
        let body = fb::ConsumeT {
            producer: options.producer,
            rtp_capabilities: Some(Box::new(convert::capabilities_to(&options.rtp_capabilities))),
            paused: options.paused,
            mid: options.mid.clone(),
            enable_rtx: options.enable_rtx,
            preferred_layers: convert::layers_to(options.preferred_layers),
            priority: options.priority,
            ignore_dtx: options.ignore_dtx,
            numbering: match options.numbering {
                Numbering::Router => fb::Numbering::router,
                Numbering::Peer => fb::Numbering::peer,
            },
            pad_frames: options.pad_frames,
        };
        self.call(transport, fb::RequestBodyT::Consume(Box::new(body)), consumer_created)
    }

    /// Would [`consume`](Self::consume) find a codec?
    pub fn can_consume(&self, router: Id, producer: Id, capabilities: &RtpCapabilities) -> Call<bool> {
        let rtp_capabilities = Some(Box::new(convert::capabilities_to(capabilities)));
        let body = fb::CanConsumeT { producer, rtp_capabilities };
        self.call(router, fb::RequestBodyT::CanConsume(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::CanConsumeResult(r) => Ok(r.can_consume),
            _ => Err(unexpected("another reply than CanConsumeResult")),
        })
    }

    /// What clients load.
    pub fn router_capabilities(&self, router: Id) -> Call<RtpCapabilities> {
        self.call(router, fb::RequestBodyT::GetRouterCapabilities(Box::default()), capabilities)
    }

    /// What libsfu supports.
    pub fn supported_capabilities(&self) -> Call<RtpCapabilities> {
        self.call(0, fb::RequestBodyT::GetSupportedCapabilities(Box::default()), capabilities)
    }

    /// Pauses a producer or a consumer.
    pub fn pause(&self, object: Id) -> Call<()> {
        self.done(object, fb::RequestBodyT::Pause(Box::default()))
    }

    /// Resumes a producer or a consumer.
    pub fn resume(&self, object: Id) -> Call<()> {
        self.done(object, fb::RequestBodyT::Resume(Box::default()))
    }

    /// Asks the producer of a consumer for a key frame. For a consumer that does not flow yet (paused, or its peer
    /// not connected) only if none is kept that it could begin with: asked for right after
    /// [`consume`](Self::consume), the first picture is here when the peer is.
    pub fn request_key_frame(&self, consumer: Id) -> Call<()> {
        self.done(consumer, fb::RequestBodyT::RequestKeyFrame(Box::default()))
    }

    /// Other media codecs for what is produced from now on; tells what clients load.
    pub fn update_media_codecs(&self, router: Id, codecs: &[RtpCodecCapability]) -> Call<RtpCapabilities> {
        let media_codecs = Some(codecs.iter().map(convert::codec_capability_to).collect());
        let body = fb::UpdateMediaCodecsT { media_codecs };
        self.call(router, fb::RequestBodyT::UpdateMediaCodecs(Box::new(body)), capabilities)
    }

    /// The highest layers that a consumer is to get; `None` is all there are.
    pub fn set_preferred_layers(&self, consumer: Id, layers: Option<Layers>) -> Call<()> {
        let body = fb::SetPreferredLayersT { layers: convert::layers_to(layers) };
        self.done(consumer, fb::RequestBodyT::SetPreferredLayers(Box::new(body)))
    }

    /// Weight of a consumer in the sharing of bandwidth, 1 (the least) to 255.
    pub fn set_priority(&self, consumer: Id, priority: u8) -> Call<()> {
        let body = fb::SetPriorityT { priority };
        self.done(consumer, fb::RequestBodyT::SetPriority(Box::new(body)))
    }

    /// Lets a consumer follow another producer, without a seam for its peer.
    pub fn switch_producer(&self, consumer: Id, producer: Id) -> Call<Switched> {
        let body = fb::SwitchProducerT { producer };
        self.call(consumer, fb::RequestBodyT::SwitchProducer(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::ProducerSwitched(s) => {
                let parameters = s.rtp_parameters.map(|p| *p).unwrap_or_default();
                Ok(Switched {
                    r#type: type_name(s.type_),
                    rtp_parameters: convert::parameters_of_stream_from(parameters, "rtp_parameters")?,
                })
            }
            _ => Err(unexpected("another reply than ProducerSwitched")),
        })
    }

    /// Closes any object. What was made for it at the other end of a pipe closes too.
    pub fn close(&self, object: Id) -> Call<()> {
        self.guard.inner.mirror(object, Change::Closed);
        self.done(object, fb::RequestBodyT::Close(Box::default()))
    }

    /// State of an object, or of the engine (0), as the schema has it.
    pub fn dump(&self, object: Id) -> Call<fb::ReplyBodyT> {
        self.request(object, fb::RequestBodyT::GetDump(Box::default()))
    }

    /// Counters of an object, or of the engine (0), as the schema has them.
    pub fn stats(&self, object: Id) -> Call<fb::StatsReportT> {
        self.call(object, fb::RequestBodyT::GetStats(Box::default()), stats_report)
    }

    /// Counters of an object without those of its streams: cheap, however many there are.
    pub fn summary(&self, object: Id) -> Call<fb::StatsReportT> {
        self.call(object, fb::RequestBodyT::GetStats(Box::new(fb::GetStatsT { summary: true })), stats_report)
    }
}

fn stats_report(reply: fb::ReplyBodyT) -> Result<fb::StatsReportT, ClientError> {
    match reply {
        fb::ReplyBodyT::StatsReport(report) => Ok(*report),
        _ => Err(unexpected("another reply than StatsReport")),
    }
}

fn closed() -> ClientError {
    ClientError { code: ErrorCode::Closed, field: String::new(), text: "the engine is shut down".to_owned() }
}

fn failed<T>(error: ClientError) -> Call<T> {
    let slot = Arc::new(Slot::default());
    slot.fill(Err(error));
    Call { slot, convert: |_| Err(unexpected("a refused call has no reply")) }
}

fn type_name(kind: fb::ProducerType) -> &'static str {
    kind.variant_name().unwrap_or("simple")
}

fn capabilities(reply: fb::ReplyBodyT) -> Result<RtpCapabilities, ClientError> {
    match reply {
        fb::ReplyBodyT::RouterCapabilities(r) => {
            let capabilities = r.rtp_capabilities.map(|c| *c).unwrap_or_default();
            Ok(convert::capabilities_from(capabilities, "rtp_capabilities")?)
        }
        _ => Err(unexpected("another reply than RouterCapabilities")),
    }
}

fn consumer_created(reply: fb::ReplyBodyT) -> Result<Consumer, ClientError> {
    let fb::ReplyBodyT::ConsumerCreated(created) = reply else {
        return Err(unexpected("another reply than ConsumerCreated"));
    };
    let parameters = created.rtp_parameters.map(|p| *p).unwrap_or_default();
    Ok(Consumer {
        id: created.id,
        kind: convert::kind_from(created.kind, "kind")?,
        rtp_parameters: convert::parameters_of_stream_from(parameters, "rtp_parameters")?,
        r#type: type_name(created.type_),
        producer_paused: created.producer_paused,
    })
}

fn transport_created(reply: fb::ReplyBodyT) -> Result<WebRtcTransport, ClientError> {
    let fb::ReplyBodyT::WebRtcTransportCreated(created) = reply else {
        return Err(unexpected("another reply than WebRtcTransportCreated"));
    };
    let (Some(ice), Some(dtls)) = (created.ice_parameters, created.dtls_parameters) else {
        return Err(unexpected("a transport without parameters"));
    };
    let candidates = created.ice_candidates.unwrap_or_default();
    Ok(WebRtcTransport {
        id: created.id,
        ice_parameters: convert::ice_parameters_from(*ice),
        ice_candidates: candidates.into_iter().map(convert::ice_candidate_from).collect(),
        dtls_parameters: convert::dtls_parameters_from(*dtls, "dtls_parameters")?,
    })
}

impl Inner {
    fn pump(&self, mut on_event: impl FnMut(Event)) {
        let mut buffer = vec![0; PUMP_BUFFER];
        loop {
            match self.engine.poll(&mut buffer) {
                Ok(outcome) if outcome.written > 0 => {
                    self.deliver(&buffer[..outcome.written], &mut on_event);
                    self.pay_debts();
                }
                Ok(outcome) if outcome.needed > 0 => buffer.resize(outcome.needed, 0),
                Ok(_) if !self.stopping.load(Ordering::Acquire) => {
                    self.engine.wait(None);
                }
                Ok(_) | Err(_) => break,
            }
        }
        self.stopping.store(true, Ordering::Release);
        self.fail_all();
    }

    fn deliver(&self, bytes: &[u8], on_event: &mut impl FnMut(Event)) {
        for message in decode::messages(bytes) {
            match message {
                Ok(fb::ContentT::Reply(reply)) => {
                    let slot = lock(&self.waiting).remove(&reply.id);
                    if let Some(slot) = slot {
                        slot.fill(answer(*reply));
                    }
                }
                Ok(fb::ContentT::Event(event)) => {
                    if let Some(event) = typed_event(*event) {
                        self.mirror_event(&event);
                        on_event(event);
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn fail_all(&self) {
        let slots: Vec<_> = lock(&self.waiting).drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            slot.fill(Err(closed()));
        }
    }
}

fn answer(reply: fb::ReplyT) -> Answer {
    match encode::error_code(reply.code) {
        None => Ok(reply.body),
        Some(code) => {
            Err(ClientError { code, field: reply.field.unwrap_or_default(), text: reply.text.unwrap_or_default() })
        }
    }
}

fn typed_event(event: fb::EventT) -> Option<Event> {
    let source = event.source;
    Some(match event.body {
        fb::EventBodyT::ObjectClosed(e) => Event::Closed { object: source, reason: e.reason },
        fb::EventBodyT::IceStateChanged(e) => Event::IceState { transport: source, state: e.state },
        fb::EventBodyT::IceSelectedTupleChanged(e) => Event::IceSelectedTuple { transport: source, tuple: *e.tuple? },
        fb::EventBodyT::DtlsStateChanged(e) => {
            Event::DtlsState { transport: source, state: e.state, reason: e.reason.unwrap_or_default() }
        }
        fb::EventBodyT::ProducerPaused(_) => Event::ProducerPaused { consumer: source },
        fb::EventBodyT::ProducerResumed(_) => Event::ProducerResumed { consumer: source },
        fb::EventBodyT::LayersChanged(e) => {
            Event::LayersChanged { consumer: source, layers: e.layers.as_deref().map(convert::layers_from) }
        }
        fb::EventBodyT::ProducerScore(e) => {
            Event::ProducerScore { producer: source, scores: e.scores.unwrap_or_default() }
        }
        fb::EventBodyT::ConsumerScore(e) => Event::ConsumerScore {
            consumer: source,
            score: e.score,
            producer_score: e.producer_score,
            producer_scores: e.producer_scores.unwrap_or_default(),
        },
        fb::EventBodyT::WantedLayers(e) => {
            Event::WantedLayers { producer: source, layers: e.layers.as_deref().map(convert::layers_from) }
        }
        fb::EventBodyT::VideoOrientationChanged(e) => {
            Event::VideoOrientation { producer: source, camera: e.camera, flip: e.flip, rotation: e.rotation }
        }
        fb::EventBodyT::AudioVolumes(e) => {
            let volumes = e.volumes.unwrap_or_default().into_iter().map(|v| (v.producer, v.volume)).collect();
            Event::Volumes { observer: source, volumes }
        }
        fb::EventBodyT::AudioSilence(_) => Event::Silence { observer: source },
        fb::EventBodyT::DominantSpeakerChanged(e) => Event::DominantSpeaker { observer: source, producer: e.producer },
        fb::EventBodyT::TraceEvent(trace) => Event::Trace { object: source, trace },
        fb::EventBodyT::EventsLost(e) => Event::EventsLost { count: e.count },
        fb::EventBodyT::TransportTupleChanged(e) => {
            Event::TransportTuple { transport: source, tuple: *e.tuple?, rtcp: e.rtcp }
        }
        fb::EventBodyT::PipeSilenceChanged(e) => Event::PipeSilence { transport: source, silent: e.silent },
        fb::EventBodyT::StreamLimitReached(e) => Event::StreamLimitReached { transport: source, limit: e.limit },
        fb::EventBodyT::TapClosed(closed) => Event::TapClosed { transport: source, closed },
        fb::EventBodyT::EngineDrained(_) => Event::EngineDrained,
        fb::EventBodyT::NONE => return None,
    })
}

/// The supported capabilities without an engine.
pub fn supported() -> RtpCapabilities {
    ortc::capabilities::supported()
}
