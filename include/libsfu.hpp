/// libsfu for C++17: handles that close what they name, typed options and events, calls that can be waited for.
///
/// Header-only over the C ABI (libsfu.h) and what flatc makes of libsfu.fbs (libsfu_generated.h, which needs the
/// flatbuffers headers of the same version; `make install` puts them beside it). The program links with libsfu.
///
/// Every method that asks the engine returns a Call<T>: get() waits for the answer, and throws sfu::Error with the
/// engine's code, field and sentence. Options and answers are the schema's tables under their own names: what a field
/// means, its unit and its default stand in libsfu.fbs. In the options an empty text or list counts as absent.
///
/// Handles are move-only and close their object when they die, without waiting; release() leaves it alive. An object
/// whose parent is closed is gone with it: its handle is answered `not_found`, and an ObjectClosed event tells of it.
/// Handles may outlive the engine; they are then answered `closed`.
///
/// All of it may be used from any thread; one handle by one thread at a time. There is no thread of the wrapper's own:
/// whoever waits, in get() or next_event(), reads for all. Events are kept until next_event() takes them, so a program
/// must take them or it grows. Event loops watch event_fd(), call poll() when it is readable, and then take what is
/// there with next_event(0ms).
///
///     sfu::Engine engine;
///     sfu::RouterOptions options;
///     options.media_codecs.push_back(sfu::codec(sfu::MediaKind::audio, "audio/opus", 48000, 2));
///     sfu::Router room = engine.create_router(options).get();
///     sfu::WebRtcTransportOptions where;
///     where.listen_infos.push_back(sfu::listen("127.0.0.1"));
///     sfu::WebRtcTransport transport = room.create_webrtc_transport(where).get();
///     std::puts(transport.created().ice_parameters->username_fragment.c_str());
#ifndef LIBSFU_HPP
#define LIBSFU_HPP

#include "libsfu/call.hpp"
#include "libsfu/media.hpp"

namespace sfu {

using fbs::DtlsRole;
using fbs::MediaKind;
using fbs::Protocol;
using fbs::TraceKind;

// Options and dictionaries.
using EngineOptions = fbs::EngineOptionsT;
using RouterOptions = fbs::CreateRouterT;
using WebRtcServerOptions = fbs::CreateWebRtcServerT;
using WebRtcTransportOptions = fbs::CreateWebRtcTransportT;
using PlainTransportOptions = fbs::CreatePlainTransportT;
using PlainRemote = fbs::ConnectPlainTransportT;
using PipeTransportOptions = fbs::CreatePipeTransportT;
using PipeRemote = fbs::ConnectPipeTransportT;
using ProducerOptions = fbs::ProduceT;
using ConsumerOptions = fbs::ConsumeT;
using AudioLevelObserverOptions = fbs::CreateAudioLevelObserverT;
using TapOptions = fbs::StartTapT;
using AnswerSection = fbs::SdpAnswerSectionT;
using Layers = fbs::LayersT;
using ListenInfo = fbs::ListenInfoT;
using RtpCapabilities = fbs::RtpCapabilitiesT;
using RtpCodecCapability = fbs::RtpCodecCapabilityT;
using RtpCodecParameters = fbs::RtpCodecParametersT;
using RtpEncodingParameters = fbs::RtpEncodingParametersT;
using RtpParameters = fbs::RtpParametersT;
using DtlsParameters = fbs::DtlsParametersT;
using DtlsFingerprint = fbs::DtlsFingerprintT;
using IceParameters = fbs::IceParametersT;
using SrtpParameters = fbs::SrtpParametersT;

// Answers.
using Decisions = fbs::DecisionsT;
using Draining = fbs::DrainingT;
using EngineDump = fbs::EngineDumpT;
using SdpFragment = fbs::SdpFragmentParsedT;
using SdpParsed = fbs::SdpParsedT;
using StatsReport = fbs::StatsReportT;
using Switched = fbs::ProducerSwitchedT;

// Events, for Event::as.
using ActiveSpeaker = fbs::DominantSpeakerChangedT;
using AudioSilence = fbs::AudioSilenceT;
using AudioVolumes = fbs::AudioVolumesT;
using ConsumerScore = fbs::ConsumerScoreT;
using DtlsStateChanged = fbs::DtlsStateChangedT;
using EngineDrained = fbs::EngineDrainedT;
using EventsLost = fbs::EventsLostT;
using IceSelectedTupleChanged = fbs::IceSelectedTupleChangedT;
using IceStateChanged = fbs::IceStateChangedT;
using LayersChanged = fbs::LayersChangedT;
using ObjectClosed = fbs::ObjectClosedT;
using PipeSilenceChanged = fbs::PipeSilenceChangedT;
using ProducerPaused = fbs::ProducerPausedT;
using ProducerResumed = fbs::ProducerResumedT;
using ProducerScore = fbs::ProducerScoreT;
using StreamLimitReached = fbs::StreamLimitReachedT;
using TapClosed = fbs::TapClosedT;
using TraceEvent = fbs::TraceEventT;
using TransportTupleChanged = fbs::TransportTupleChangedT;
using VideoOrientationChanged = fbs::VideoOrientationChangedT;
using WantedLayers = fbs::WantedLayersT;

/// A codec that a router shall have. `clock_rate` in Hz; `channels` of audio, 0 is absent.
inline std::unique_ptr<RtpCodecCapability> codec(MediaKind kind, std::string mime_type, std::uint32_t clock_rate,
                                                 std::uint8_t channels = 0) {
    auto codec = std::make_unique<RtpCodecCapability>();
    codec->kind = kind;
    codec->mime_type = std::move(mime_type);
    codec->clock_rate = clock_rate;
    if (channels != 0) {
        codec->channels = channels;
    }
    return codec;
}

/// Where to listen, by UDP: an address of this host, and the one that peers are told if it is another.
inline std::unique_ptr<ListenInfo> listen(std::string ip, std::string announced_address = "", std::uint16_t port = 0) {
    auto info = std::make_unique<ListenInfo>();
    info->ip = std::move(ip);
    info->announced_address = std::move(announced_address);
    info->port = port;
    return info;
}

/// Any object of an engine.
class Object {
  public:
    Object(Object &&other) noexcept : link_(std::move(other.link_)), id_(other.id_) {}
    Object &operator=(Object &&other) noexcept {
        if (this != &other) {
            drop();
            link_ = std::move(other.link_);
            id_ = other.id_;
        }
        return *this;
    }
    Object(const Object &) = delete;
    Object &operator=(const Object &) = delete;
    ~Object() { drop(); }

    /// Its id, by which events name it.
    Id id() const noexcept { return id_; }

    /// Closes it and what is below it.
    Call<void> close() { return done(fbs::CloseT()); }

    /// Leaves the object alive: the handle is empty from here on. Tells the id.
    Id release() noexcept {
        link_.reset();
        return id_;
    }

    /// Its counters; `summary` leaves the streams out.
    Call<StatsReport> stats(bool summary = false) {
        fbs::GetStatsT body;
        body.summary = summary;
        return ask<StatsReport>(std::move(body));
    }

  protected:
    Object(detail::LinkPtr link, Id id) noexcept : link_(std::move(link)), id_(id) {}

    template <class Result, class Body> Call<Result> call(Body body, typename Call<Result>::Convert convert) {
        if (link_ == nullptr) {
            throw Error(SFU_INVALID_STATE, "", "the handle is empty: it was moved from or released");
        }
        return Call<Result>(link_, id_, detail::request(std::move(body)), convert);
    }
    template <class Body> Call<void> done(Body body) { return call<void>(std::move(body), detail::nothing); }
    template <class Reply, class Body> Call<Reply> ask(Body body) {
        return call<Reply>(std::move(body), detail::fields<Reply>);
    }
    template <class Handle, class Body> Call<Handle> make(Body body) {
        return call<Handle>(std::move(body), detail::handle<Handle>);
    }

  private:
    void drop() noexcept {
        if (link_ == nullptr) {
            return;
        }
        link_->drop(id_);
        link_.reset();
    }

    detail::LinkPtr link_;
    Id id_;
};

/// An object made by a reply of type `Reply`, whose dump is a `Dump`.
template <class Reply, class Dump> class Made : public Object {
  public:
    using Created = Reply;
    Made(detail::LinkPtr link, Reply reply) : Object(std::move(link), reply.id), created_(std::move(reply)) {}

    /// What the engine said when it was made.
    const Reply &created() const noexcept { return created_; }
    /// Its state.
    Call<Dump> dump() { return this->template ask<Dump>(fbs::GetDumpT()); }

  private:
    Reply created_;
};

/// Media that a peer sends.
class Producer : public Made<fbs::ProducerCreatedT, fbs::ProducerDumpT> {
  public:
    using Made::Made;
    Call<void> pause() { return done(fbs::PauseT()); }
    Call<void> resume() { return done(fbs::ResumeT()); }
    /// What of it is told as TraceEvent from now on.
    Call<void> set_trace(std::vector<TraceKind> kinds) {
        fbs::SetTraceT body;
        body.kinds = std::move(kinds);
        return done(std::move(body));
    }
};

/// Media that a peer receives: one producer's, rewritten for it.
class Consumer : public Made<fbs::ConsumerCreatedT, fbs::ConsumerDumpT> {
  public:
    using Made::Made;
    Call<void> pause() { return done(fbs::PauseT()); }
    Call<void> resume() { return done(fbs::ResumeT()); }
    Call<void> request_key_frame() { return done(fbs::RequestKeyFrameT()); }
    /// Absent layers: all there are.
    Call<void> set_preferred_layers(std::optional<Layers> layers) {
        fbs::SetPreferredLayersT body;
        if (layers.has_value()) {
            body.layers = std::make_unique<Layers>(*layers);
        }
        return done(std::move(body));
    }
    /// Weight in the sharing of bandwidth, 1 (the least) to 255.
    Call<void> set_priority(std::uint8_t priority) {
        fbs::SetPriorityT body;
        body.priority = priority;
        return done(std::move(body));
    }
    /// Follows another producer of its router from the next key frame on.
    Call<Switched> switch_producer(Id producer) {
        fbs::SwitchProducerT body;
        body.producer = producer;
        return ask<Switched>(std::move(body));
    }
    Call<void> set_trace(std::vector<TraceKind> kinds) {
        fbs::SetTraceT body;
        body.kinds = std::move(kinds);
        return done(std::move(body));
    }
    /// Keeps the latest decisions about its packets, at most so many; 0 is off.
    Call<void> keep_decisions(std::uint32_t rows) {
        fbs::KeepDecisionsT body;
        body.rows = rows;
        return done(std::move(body));
    }
    Call<Decisions> decisions() { return ask<Decisions>(fbs::GetDecisionsT()); }
};

/// What every transport can do.
template <class Reply, class Dump> class Transport : public Made<Reply, Dump> {
  public:
    using Made<Reply, Dump>::Made;

    Call<Producer> produce(ProducerOptions options) { return this->template make<Producer>(std::move(options)); }
    Call<Consumer> consume(ConsumerOptions options) { return this->template make<Consumer>(std::move(options)); }
    /// What the peer is told to stay below, bit/s; 0 is no bound.
    Call<void> set_max_incoming_bitrate(std::uint32_t bitrate) {
        fbs::SetMaxIncomingBitrateT body;
        body.bitrate = bitrate;
        return this->done(std::move(body));
    }
    Call<void> keep_decisions(std::uint32_t rows) {
        fbs::KeepDecisionsT body;
        body.rows = rows;
        return this->done(std::move(body));
    }
    Call<Decisions> decisions() { return this->template ask<Decisions>(fbs::GetDecisionsT()); }
    /// Copies its packets to a file in EngineOptions.tap_directory; TapClosed tells the end.
    Call<void> start_tap(TapOptions options) { return this->done(std::move(options)); }
    Call<void> stop_tap() { return this->done(fbs::StopTapT()); }
};

/// One peer's ICE, DTLS and SRTP.
class WebRtcTransport : public Transport<fbs::WebRtcTransportCreatedT, fbs::WebRtcTransportDumpT> {
  public:
    using Transport::Transport;
    /// Gives the peer's DTLS parameters; tells the role that our side took.
    Call<DtlsRole> connect(DtlsParameters remote) {
        fbs::ConnectWebRtcTransportT body;
        body.dtls_parameters = std::make_unique<DtlsParameters>(std::move(remote));
        return call<DtlsRole>(std::move(body), [](const detail::LinkPtr &, fbs::ReplyBodyUnion &reply) {
            return detail::take<fbs::ConnectedT>(reply).local_role;
        });
    }
    Call<IceParameters> restart_ice() {
        return call<IceParameters>(fbs::RestartIceT(), [](const detail::LinkPtr &, fbs::ReplyBodyUnion &reply) {
            return std::move(*detail::take<fbs::IceRestartedT>(reply).ice_parameters);
        });
    }
    /// The answer to a peer's offer. Sections that are not named are rejected.
    Call<std::string> create_sdp_answer(std::string offer, std::vector<AnswerSection> sections,
                                        std::uint32_t session_version = 1) {
        fbs::CreateSdpAnswerT body;
        body.offer = std::move(offer);
        for (auto &section : sections) {
            body.sections.push_back(std::make_unique<AnswerSection>(std::move(section)));
        }
        body.session_version = session_version;
        return text(std::move(body));
    }
    /// An offer of some of its consumers.
    Call<std::string> create_sdp_offer(std::vector<Id> consumers, std::uint32_t session_version = 1) {
        fbs::CreateSdpOfferT body;
        body.consumers = std::move(consumers);
        body.session_version = session_version;
        return text(std::move(body));
    }
    /// Its credentials and candidates: what answers an ICE restart by trickle (RFC 9725).
    Call<std::string> create_sdp_fragment(std::string mid = "") {
        fbs::CreateSdpFragmentT body;
        body.mid = std::move(mid);
        return text(std::move(body));
    }

  private:
    template <class Body> Call<std::string> text(Body body) {
        return call<std::string>(std::move(body), [](const detail::LinkPtr &, fbs::ReplyBodyUnion &reply) {
            return detail::take<fbs::SdpTextT>(reply).sdp;
        });
    }
};

/// RTP and RTCP without ICE and DTLS.
class PlainTransport : public Transport<fbs::PlainTransportCreatedT, fbs::PlainTransportDumpT> {
  public:
    using Transport::Transport;
    Call<void> connect(PlainRemote remote) { return done(std::move(remote)); }
};

/// One end between two routers, of one engine or of two.
class PipeTransport : public Transport<fbs::PipeTransportCreatedT, fbs::PipeTransportDumpT> {
  public:
    using Transport::Transport;
    Call<void> connect(PipeRemote remote) { return done(std::move(remote)); }
};

/// Its packets go through Engine::send_media and Engine::receive_media.
class DirectTransport : public Transport<fbs::CreatedT, fbs::DirectTransportDumpT> {
  public:
    using Transport::Transport;
};

/// Tells who is loud, or who speaks.
class Observer : public Made<fbs::CreatedT, fbs::ObserverDumpT> {
  public:
    using Made::Made;
    Call<void> observe(Id producer) {
        fbs::ObserveT body;
        body.producer = producer;
        return done(std::move(body));
    }
    Call<void> unobserve(Id producer) {
        fbs::UnobserveT body;
        body.producer = producer;
        return done(std::move(body));
    }
    Call<void> pause() { return done(fbs::PauseT()); }
    Call<void> resume() { return done(fbs::ResumeT()); }
};

/// A UDP port that WebRTC transports share.
class WebRtcServer : public Made<fbs::CreatedT, fbs::WebRtcServerDumpT> {
  public:
    using Made::Made;
};

/// A room: who is in it can hear each other.
class Router : public Made<fbs::CreatedT, fbs::RouterDumpT> {
  public:
    using Made::Made;

    Call<WebRtcTransport> create_webrtc_transport(WebRtcTransportOptions options) {
        return make<WebRtcTransport>(std::move(options));
    }
    Call<PlainTransport> create_plain_transport(PlainTransportOptions options) {
        return make<PlainTransport>(std::move(options));
    }
    Call<PipeTransport> create_pipe_transport(PipeTransportOptions options) {
        return make<PipeTransport>(std::move(options));
    }
    /// `shard` places it there, whichever the router is on; absent: the engine chooses.
    Call<DirectTransport> create_direct_transport(std::uint32_t max_incoming_bitrate = 0,
                                                  std::optional<std::uint8_t> shard = std::nullopt) {
        fbs::CreateDirectTransportT body;
        body.max_incoming_bitrate = max_incoming_bitrate;
        if (shard.has_value()) {
            body.shard = *shard;
        }
        return make<DirectTransport>(std::move(body));
    }
    Call<Observer> create_audio_level_observer(AudioLevelObserverOptions options = {}) {
        return make<Observer>(std::move(options));
    }
    /// `interval` of 100 ms to 10 s.
    Call<Observer> create_active_speaker_observer(milliseconds interval = milliseconds(300)) {
        fbs::CreateActiveSpeakerObserverT body;
        body.interval_ms = static_cast<std::uint32_t>(std::clamp<milliseconds::rep>(interval.count(), 0, UINT32_MAX));
        return make<Observer>(std::move(body));
    }
    /// What clients load.
    Call<RtpCapabilities> capabilities() { return capabilities_of(fbs::GetRouterCapabilitiesT()); }
    /// Other media codecs for what is produced from now on.
    Call<RtpCapabilities> update_media_codecs(std::vector<RtpCodecCapability> codecs) {
        fbs::UpdateMediaCodecsT body;
        for (auto &codec : codecs) {
            body.media_codecs.push_back(std::make_unique<RtpCodecCapability>(std::move(codec)));
        }
        return capabilities_of(std::move(body));
    }
    /// Whether consume() would find a codec.
    Call<bool> can_consume(Id producer, RtpCapabilities capabilities) {
        fbs::CanConsumeT body;
        body.producer = producer;
        body.rtp_capabilities = std::make_unique<RtpCapabilities>(std::move(capabilities));
        return call<bool>(std::move(body), [](const detail::LinkPtr &, fbs::ReplyBodyUnion &reply) {
            return detail::take<fbs::CanConsumeResultT>(reply).can_consume;
        });
    }
    /// What a peer's offer or answer says, in the words that produce(), consume() and connect() take.
    Call<SdpParsed> parse_sdp(std::string sdp, std::vector<std::string> preferred_codecs = {}) {
        fbs::ParseSdpT body;
        body.sdp = std::move(sdp);
        body.preferred_codecs = std::move(preferred_codecs);
        return ask<SdpParsed>(std::move(body));
    }

  private:
    template <class Body> Call<RtpCapabilities> capabilities_of(Body body) {
        return call<RtpCapabilities>(std::move(body), [](const detail::LinkPtr &, fbs::ReplyBodyUnion &reply) {
            auto found = detail::take<fbs::RouterCapabilitiesT>(reply);
            return found.rtp_capabilities == nullptr ? RtpCapabilities() : std::move(*found.rtp_capabilities);
        });
    }
};

/// An engine: its shards, and all that is made in them. Move-only; it is shut down and freed when it dies.
class Engine {
  public:
    /// Starts it. Throws Error whose status is one of SFU_START_*, with one line of cause, value and remedy.
    explicit Engine(EngineOptions options = {}) {
        auto builder = detail::message(std::move(options));
        std::uint64_t engine = 0;
        char why[1024] = "";
        auto status = sfu_engine_new(SFU_ABI_VERSION, builder.GetBufferPointer(), builder.GetSize(), &engine, why, sizeof why);
        if (status != SFU_OK) {
            throw Error(status, "", why);
        }
        link_ = std::make_shared<detail::Link>(engine);
    }
    Engine(Engine &&other) noexcept : link_(std::move(other.link_)) {}
    Engine &operator=(Engine &&other) noexcept {
        std::swap(link_, other.link_);
        return *this;
    }
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;
    ~Engine() {
        if (link_ != nullptr) {
            sfu_engine_free(link_->engine());
            link_->end();
        }
    }

    Call<Router> create_router(RouterOptions options) { return make<Router>(std::move(options)); }
    Call<WebRtcServer> create_webrtc_server(WebRtcServerOptions options) {
        return make<WebRtcServer>(std::move(options));
    }
    /// What libsfu supports.
    Call<RtpCapabilities> supported_capabilities() {
        return call<RtpCapabilities>(0, fbs::GetSupportedCapabilitiesT(), [](const auto &, fbs::ReplyBodyUnion &reply) {
            return std::move(*detail::take<fbs::RouterCapabilitiesT>(reply).rtp_capabilities);
        });
    }
    /// What a trickle-ICE fragment says (RFC 8840).
    Call<SdpFragment> parse_sdp_fragment(std::string fragment) {
        fbs::ParseSdpFragmentT body;
        body.fragment = std::move(fragment);
        return ask<SdpFragment>(std::move(body));
    }
    Call<EngineDump> dump() { return ask<EngineDump>(fbs::GetDumpT()); }
    Call<StatsReport> stats(bool summary = false) {
        fbs::GetStatsT body;
        body.summary = summary;
        return ask<StatsReport>(std::move(body));
    }
    /// Takes no new router from now on; an EngineDrained event tells when the last one is gone.
    Call<Draining> drain() { return ask<Draining>(fbs::DrainT()); }

    /// Any request to any object, by the schema's tables: for ids that were kept, and what has no method.
    template <class Reply, class Body> Call<Reply> request(Id target, Body body) {
        return call<Reply>(target, std::move(body), detail::fields<Reply>);
    }

    /// The next event, waited for at most so long; none if there is none, or the engine was shut down.
    std::optional<Event> next_event(milliseconds timeout) { return link().next_event(timeout); }
    /// Takes what is there, without waiting: for event loops, when event_fd() is readable.
    void poll() { link().poll(); }
    /// Readable when there is something to poll. It belongs to the engine: neither read, write nor close it.
    int event_fd() const { return descriptor(sfu_engine_event_fd); }

    /// Gives packets to direct transports; tells how many were queued. Throws Error if a record is refused.
    std::size_t send_media(const MediaBatch &batch) {
        std::size_t taken = 0;
        check(sfu_engine_send_media(link().engine(), batch.data(), batch.size(), &taken));
        return taken;
    }
    /// Hands each packet that waits to `take(const MediaPacket &)`, until none is left; tells how many. The packets lie
    /// in `buffer`, which grows as needed, and are gone when `take` returns. One thread at a time.
    template <class Take> std::size_t receive_media(std::vector<std::uint8_t> &buffer, Take &&take) {
        return detail::receive_media(link().engine(), buffer, std::forward<Take>(take), check);
    }
    /// Readable when there is something for receive_media(). It belongs to the engine.
    int media_fd() const { return descriptor(sfu_engine_media_fd); }

    /// Ends the shards, which tell their peers first; calls under way are answered `closed`. Events can be taken still.
    /// Throws Error with SFU_TIMEOUT if a shard had not ended by then.
    void shutdown(milliseconds timeout = patience) {
        auto limit = std::clamp<milliseconds::rep>(timeout.count(), 0, UINT32_MAX - 1);
        auto status = sfu_engine_shutdown(link().engine(), static_cast<std::uint32_t>(limit));
        // What was answered until now is handed out before the rest is told that it is over.
        link().poll();
        check(status);
    }

  private:
    static void check(std::uint32_t status) {
        if (status != SFU_OK) {
            throw Error(status == SFU_NOT_FOUND ? SFU_CLOSED : status, "", "");
        }
    }
    detail::Link &link() const {
        if (link_ == nullptr) {
            throw Error(SFU_INVALID_STATE, "", "the engine was moved from");
        }
        return *link_;
    }
    int descriptor(std::uint32_t (*ask)(std::uint64_t, std::int32_t *)) const {
        std::int32_t fd = -1;
        check(ask(link().engine(), &fd));
        return fd;
    }
    template <class Result, class Body>
    Call<Result> call(Id target, Body body, typename Call<Result>::Convert convert) {
        link();
        return Call<Result>(link_, target, detail::request(std::move(body)), convert);
    }
    template <class Reply, class Body> Call<Reply> ask(Body body) {
        return call<Reply>(0, std::move(body), detail::fields<Reply>);
    }
    template <class Handle, class Body> Call<Handle> make(Body body) {
        return call<Handle>(0, std::move(body), detail::handle<Handle>);
    }

    detail::LinkPtr link_;
};

/// Whether an engine could start on this machine: SFU_OK or the status of the refusal, and one line for each check.
inline std::pair<std::uint32_t, std::string> preflight(EngineOptions options = {}) {
    auto builder = detail::message(std::move(options));
    std::string report(16 * 1024, '\0');
    std::size_t length = 0;
    auto status = sfu_preflight(SFU_ABI_VERSION, builder.GetBufferPointer(), builder.GetSize(), report.data(),
                                report.size(), &length);
    report.resize(std::min(length, report.size() - 1));
    return {status, std::move(report)};
}

}  // namespace sfu

#endif
