/// The driver over libsfu.hpp: each command by the method that a C++ program would call. A command without one here
/// fails its scenario, which is the point.
#include <functional>
#include <map>
#include <variant>

#include "driver.hpp"
#include "libsfu.hpp"
#include "words.hpp"

namespace {

namespace fbs = sfu::fbs;

using Handle = std::variant<sfu::Router, sfu::WebRtcServer, sfu::WebRtcTransport, sfu::PlainTransport, sfu::PipeTransport,
                            sfu::DirectTransport, sfu::Producer, sfu::Consumer, sfu::Observer>;
using Handles = std::map<sfu::Id, Handle>;

Outcome refused(const sfu::Error &error) {
    Outcome outcome;
    if (error.status() >= 100) {
        throw Failure(error.what());
    }
    outcome.code = fbs::EnumNameCode(error.code());
    outcome.field = error.field();
    outcome.text = error.text();
    return outcome;
}

// ---- answers, as the reply that they came from ----

template <class T> constexpr bool is_handle = std::is_base_of_v<sfu::Object, T>;

Outcome answered(std::string reply, json body) {
    Outcome outcome;
    outcome.reply = std::move(reply);
    outcome.body = std::move(body);
    return outcome;
}

template <class Native> Outcome table(const Native &native) {
    auto tag = static_cast<std::uint8_t>(fbs::ReplyBodyUnionTraits<Native>::enum_value);
    return answered(fbs::ReplyBodyTypeTable()->names[tag], words::to_json(native));
}

Outcome told(sfu::DtlsRole role) {
    return answered("Connected", {{"localRole", words::enum_word(fbs::DtlsRoleTypeTable(), static_cast<std::size_t>(role))}});
}
Outcome told(const sfu::IceParameters &ice) { return answered("IceRestarted", {{"iceParameters", words::to_json(ice)}}); }
Outcome told(const sfu::RtpCapabilities &found) {
    return answered("RouterCapabilities", {{"rtpCapabilities", words::to_json(found)}});
}
Outcome told(bool can_consume) { return answered("CanConsumeResult", {{"canConsume", can_consume}}); }
Outcome told(const std::string &sdp) { return answered("SdpText", {{"sdp", sdp}}); }
Outcome told(const fbs::ReplyBodyUnion &body) {
    return answered(fbs::ReplyBodyTypeTable()->names[static_cast<std::size_t>(body.type)],
                    words::read_union(body, fbs::ReplyBodyTypeTable()));
}
template <class Native> auto told(const Native &native) -> decltype(table(native)) { return table(native); }

template <class T> class Under : public Pending {
  public:
    Under(Handles &handles, sfu::Call<T> call) : handles_(handles), call_(std::move(call)) {}
    Outcome finish(milliseconds timeout) override {
        try {
            if constexpr (std::is_void_v<T>) {
                call_.get(timeout);
                return answered("Done", json::object());
            } else if constexpr (is_handle<T>) {
                T handle = call_.get(timeout);
                auto outcome = table(handle.created());
                auto id = handle.id();
                handles_.emplace(id, std::move(handle));
                return outcome;
            } else {
                return told(call_.get(timeout));
            }
        } catch (const sfu::Error &error) {
            return refused(error);
        }
    }

  private:
    Handles &handles_;
    sfu::Call<T> call_;
};

class Wrapped : public Driver {
  public:
    explicit Wrapped(const json &options) : engine_(words::from_json<sfu::EngineOptions>(options)) {
        add_engine_calls();
        add_router_calls();
        add_transport_calls();
        add_media_calls();
    }

    std::unique_ptr<Pending> call(const std::string &command, std::uint64_t on, const json &args, bool untyped) override {
        if (untyped) {
            return generic(command, on, args);
        }
        auto found = calls_.find(command);
        if (found == calls_.end()) {
            throw Failure("the wrapper has no call for " + command);
        }
        return found->second(on, args);
    }

    std::optional<Outcome> raw(const std::vector<std::uint8_t> &) override { return std::nullopt; }

    std::optional<ToldEvent> next_event(milliseconds timeout) override {
        auto event = engine_.next_event(timeout);
        if (!event.has_value()) {
            return std::nullopt;
        }
        auto *bodies = fbs::EventBodyTypeTable();
        return ToldEvent{event->source, bodies->names[static_cast<std::size_t>(event->body.type)],
                         words::read_union(event->body, bodies)};
    }

    void send(const std::vector<Packet> &packets) override {
        sfu::MediaBatch batch;
        for (auto &packet : packets) {
            batch.add(packet.object, packet.bytes.data(), packet.bytes.size());
        }
        if (engine_.send_media(batch) != packets.size()) {
            throw Failure("not all packets were taken");
        }
    }

    std::vector<Packet> receive(milliseconds timeout) override {
        readable(engine_.media_fd(), timeout);
        std::vector<Packet> packets;
        engine_.receive_media(buffer_, [&](const sfu::MediaPacket &packet) {
            packets.push_back(Packet{packet.object, std::vector<std::uint8_t>(packet.data, packet.data + packet.size)});
        });
        return packets;
    }

    void shutdown() override { engine_.shutdown(std::chrono::seconds(10)); }

  private:
    using Do = std::function<std::unique_ptr<Pending>(sfu::Id, const json &)>;

    template <class T> std::unique_ptr<Pending> pend(sfu::Call<T> call) {
        return std::make_unique<Under<T>>(handles_, std::move(call));
    }

    std::unique_ptr<Pending> generic(const std::string &command, sfu::Id on, const json &args) {
        auto tag = words::tag(fbs::RequestBodyTypeTable(), command);
        flatbuffers::FlatBufferBuilder builder;
        builder.ForceDefaults(true);
        builder.Finish(words::write_table(builder, args, words::member(fbs::RequestBodyTypeTable(), tag)));
        fbs::RequestBodyUnion body;
        body.type = static_cast<fbs::RequestBody>(tag);
        body.value = fbs::RequestBodyUnion::UnPack(flatbuffers::GetRoot<std::uint8_t>(builder.GetBufferPointer()),
                                                   body.type, nullptr);
        return pend(engine_.request<fbs::ReplyBodyUnion>(on, std::move(body)));
    }

    /// A call of whatever kinds of handle have it.
    template <class Method> void on_handle(const std::string &command, Method method) {
        calls_[command] = [this, command, method](sfu::Id id, const json &args) {
            auto found = handles_.find(id);
            if (found == handles_.end()) {
                throw Failure("no handle for the target of " + command);
            }
            return std::visit(
                [&](auto &handle) -> std::unique_ptr<Pending> {
                    if constexpr (std::is_invocable_v<Method, decltype(handle), const json &>) {
                        return pend(method(handle, args));
                    } else {
                        throw Failure("the target's kind of handle has no call for " + command);
                    }
                },
                found->second);
        };
    }

    template <class Options, class Method> void make(const std::string &command, Method method) {
        on_handle(command, [method](auto &handle, const json &args) -> decltype(method(handle, Options())) {
            return method(handle, words::from_json<Options>(args));
        });
    }

    void add_engine_calls() {
        calls_["CreateRouter"] = [this](sfu::Id, const json &args) {
            return pend(engine_.create_router(words::from_json<sfu::RouterOptions>(args)));
        };
        calls_["CreateWebRtcServer"] = [this](sfu::Id, const json &args) {
            return pend(engine_.create_webrtc_server(words::from_json<sfu::WebRtcServerOptions>(args)));
        };
        calls_["GetSupportedCapabilities"] = [this](sfu::Id, const json &) { return pend(engine_.supported_capabilities()); };
        calls_["ParseSdpFragment"] = [this](sfu::Id, const json &args) {
            return pend(engine_.parse_sdp_fragment(args.at("fragment").get<std::string>()));
        };
        calls_["Drain"] = [this](sfu::Id, const json &) { return pend(engine_.drain()); };
        on_handle("GetDump", [](auto &handle, const json &) { return handle.dump(); });
        on_handle("GetStats", [](auto &handle, const json &args) { return handle.stats(args.value("summary", false)); });
        auto dump = calls_["GetDump"], stats = calls_["GetStats"];
        calls_["GetDump"] = [this, dump](sfu::Id on, const json &args) { return on == 0 ? pend(engine_.dump()) : dump(on, args); };
        calls_["GetStats"] = [this, stats](sfu::Id on, const json &args) {
            return on == 0 ? pend(engine_.stats(args.value("summary", false))) : stats(on, args);
        };
        on_handle("Close", [](auto &handle, const json &) { return handle.close(); });
    }

    void add_router_calls() {
        make<sfu::WebRtcTransportOptions>("CreateWebRtcTransport", [](auto &router, auto options)
            -> decltype(router.create_webrtc_transport(options)) { return router.create_webrtc_transport(std::move(options)); });
        make<sfu::PlainTransportOptions>("CreatePlainTransport", [](auto &router, auto options)
            -> decltype(router.create_plain_transport(options)) { return router.create_plain_transport(std::move(options)); });
        make<sfu::PipeTransportOptions>("CreatePipeTransport", [](auto &router, auto options)
            -> decltype(router.create_pipe_transport(options)) { return router.create_pipe_transport(std::move(options)); });
        on_handle("CreateDirectTransport", [](auto &router, const json &args)
            -> decltype(router.create_direct_transport()) { return router.create_direct_transport(args.value("maxIncomingBitrate", 0U)); });
        make<sfu::AudioLevelObserverOptions>("CreateAudioLevelObserver", [](auto &router, auto options)
            -> decltype(router.create_audio_level_observer(options)) { return router.create_audio_level_observer(std::move(options)); });
        on_handle("CreateActiveSpeakerObserver", [](auto &router, const json &args)
            -> decltype(router.create_active_speaker_observer()) {
            return router.create_active_speaker_observer(milliseconds(args.value("intervalMs", 300)));
        });
        on_handle("GetRouterCapabilities", [](auto &router, const json &)
            -> decltype(router.capabilities()) { return router.capabilities(); });
        make<fbs::UpdateMediaCodecsT>("UpdateMediaCodecs", [](auto &router, auto args)
            -> decltype(router.update_media_codecs({})) {
            std::vector<sfu::RtpCodecCapability> codecs;
            for (auto &codec : args.media_codecs) {
                codecs.push_back(std::move(*codec));
            }
            return router.update_media_codecs(std::move(codecs));
        });
        make<fbs::CanConsumeT>("CanConsume", [](auto &router, auto args) -> decltype(router.can_consume(0, {})) {
            return router.can_consume(args.producer, std::move(*args.rtp_capabilities));
        });
        make<fbs::ParseSdpT>("ParseSdp", [](auto &router, auto args) -> decltype(router.parse_sdp("")) {
            return router.parse_sdp(std::move(args.sdp), std::move(args.preferred_codecs));
        });
    }

    void add_transport_calls() {
        make<sfu::ProducerOptions>("Produce", [](auto &transport, auto options)
            -> decltype(transport.produce(options)) { return transport.produce(std::move(options)); });
        make<sfu::ConsumerOptions>("Consume", [](auto &transport, auto options)
            -> decltype(transport.consume(options)) { return transport.consume(std::move(options)); });
        make<fbs::SetMaxIncomingBitrateT>("SetMaxIncomingBitrate", [](auto &transport, auto args)
            -> decltype(transport.set_max_incoming_bitrate(0)) { return transport.set_max_incoming_bitrate(args.bitrate); });
        make<fbs::ConnectWebRtcTransportT>("ConnectWebRtcTransport", [](sfu::WebRtcTransport &transport, auto args) {
            return transport.connect(args.dtls_parameters == nullptr ? sfu::DtlsParameters() : std::move(*args.dtls_parameters));
        });
        on_handle("RestartIce", [](auto &transport, const json &) -> decltype(transport.restart_ice()) { return transport.restart_ice(); });
        make<sfu::PlainRemote>("ConnectPlainTransport", [](sfu::PlainTransport &transport, auto remote) { return transport.connect(std::move(remote)); });
        make<sfu::PipeRemote>("ConnectPipeTransport", [](sfu::PipeTransport &transport, auto remote) { return transport.connect(std::move(remote)); });
        make<fbs::CreateSdpAnswerT>("CreateSdpAnswer", [](auto &transport, auto args)
            -> decltype(transport.create_sdp_answer("", {})) {
            std::vector<sfu::AnswerSection> sections;
            for (auto &section : args.sections) {
                sections.push_back(std::move(*section));
            }
            return transport.create_sdp_answer(std::move(args.offer), std::move(sections), args.session_version);
        });
        make<fbs::CreateSdpOfferT>("CreateSdpOffer", [](auto &transport, auto args)
            -> decltype(transport.create_sdp_offer({})) { return transport.create_sdp_offer(std::move(args.consumers), args.session_version); });
        make<fbs::CreateSdpFragmentT>("CreateSdpFragment", [](auto &transport, auto args)
            -> decltype(transport.create_sdp_fragment()) { return transport.create_sdp_fragment(std::move(args.mid)); });
        make<sfu::TapOptions>("StartTap", [](auto &transport, auto options)
            -> decltype(transport.start_tap(options)) { return transport.start_tap(std::move(options)); });
        on_handle("StopTap", [](auto &transport, const json &) -> decltype(transport.stop_tap()) { return transport.stop_tap(); });
    }

    void add_media_calls() {
        on_handle("Pause", [](auto &it, const json &) -> decltype(it.pause()) { return it.pause(); });
        on_handle("Resume", [](auto &it, const json &) -> decltype(it.resume()) { return it.resume(); });
        on_handle("RequestKeyFrame", [](auto &it, const json &) -> decltype(it.request_key_frame()) { return it.request_key_frame(); });
        make<fbs::SetPreferredLayersT>("SetPreferredLayers", [](auto &it, auto args) -> decltype(it.set_preferred_layers({})) {
            return it.set_preferred_layers(args.layers == nullptr ? std::nullopt : std::optional(*args.layers));
        });
        make<fbs::SetPriorityT>("SetPriority", [](auto &it, auto args) -> decltype(it.set_priority(1)) { return it.set_priority(args.priority); });
        make<fbs::SwitchProducerT>("SwitchProducer", [](auto &it, auto args) -> decltype(it.switch_producer(1)) { return it.switch_producer(args.producer); });
        make<fbs::ObserveT>("Observe", [](auto &it, auto args) -> decltype(it.observe(1)) { return it.observe(args.producer); });
        make<fbs::UnobserveT>("Unobserve", [](auto &it, auto args) -> decltype(it.unobserve(1)) { return it.unobserve(args.producer); });
        make<fbs::SetTraceT>("SetTrace", [](auto &it, auto args) -> decltype(it.set_trace({})) { return it.set_trace(std::move(args.kinds)); });
        make<fbs::KeepDecisionsT>("KeepDecisions", [](auto &it, auto args) -> decltype(it.keep_decisions(1)) { return it.keep_decisions(args.rows); });
        on_handle("GetDecisions", [](auto &it, const json &) -> decltype(it.decisions()) { return it.decisions(); });
    }

    // Handles close themselves when they die, so they go before the engine does.
    sfu::Engine engine_;
    Handles handles_;
    std::map<std::string, Do> calls_;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace

std::unique_ptr<Driver> start_wrapped(const json &options) {
    try {
        return std::make_unique<Wrapped>(options);
    } catch (const sfu::Error &error) {
        throw NotStarted(error.status(), error.text());
    }
}
