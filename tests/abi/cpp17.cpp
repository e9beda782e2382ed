// A C++17 program as a control plane would be, with the headers that flatc makes: starts an engine, creates a router
// and a WebRTC transport, asks from several threads at once, reads the event of the transport's end, and shuts down.
#include "libsfu.h"
#include "libsfu_generated.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace fbs = libsfu::fbs;

namespace {

void check(bool so, const char *what) {
    if (!so) {
        throw std::runtime_error(what);
    }
}

void check_status(std::uint32_t status, const char *what, const char *why = "") {
    if (status != SFU_OK) {
        throw std::runtime_error(std::string(what) + ": " + sfu_status_text(status) + ": " + why);
    }
}

/// An engine that frees itself.
class Engine {
  public:
    Engine() {
        flatbuffers::FlatBufferBuilder builder;
        fbs::EngineOptionsBuilder options(builder);
        options.add_shards(2);
        options.add_unpinned(true);
        auto content = options.Finish().Union();
        auto message = fbs::CreateMessage(builder, fbs::Content::EngineOptions, content);
        builder.FinishSizePrefixed(message, fbs::MessageIdentifier());
        char why[256] = "";
        check_status(sfu_engine_new(SFU_ABI_VERSION, builder.GetBufferPointer(), builder.GetSize(), &handle_, why,
                                    sizeof why),
                     "new", why);
    }
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;
    ~Engine() { sfu_engine_free(handle_); }

    template <typename Make>
    void submit(std::uint64_t id, std::uint64_t target, fbs::RequestBody tag, Make make) const {
        flatbuffers::FlatBufferBuilder builder;
        auto body = make(builder).Union();
        auto request = fbs::CreateRequest(builder, id, target, tag, body).Union();
        auto message = fbs::CreateMessage(builder, fbs::Content::Request, request);
        builder.FinishSizePrefixed(message, fbs::MessageIdentifier());
        char why[256] = "";
        check_status(sfu_engine_submit(handle_, builder.GetBufferPointer(), builder.GetSize(), why, sizeof why),
                     "submit", why);
    }

    /// Whole messages, each of its own, once there are any.
    std::vector<std::vector<std::uint8_t>> poll() {
        check_status(sfu_engine_wait(handle_, 30000), "wait");
        std::vector<std::vector<std::uint8_t>> messages;
        // Small on purpose: growing must work.
        std::vector<std::uint8_t> buffer(64);
        for (;;) {
            std::size_t written = 0, needed = 0;
            auto status = sfu_engine_poll(handle_, buffer.data(), buffer.size(), &written, &needed);
            if (status != SFU_BUFFER_TOO_SMALL) {
                check_status(status, "poll");
            }
            for (std::size_t at = 0; at < written;) {
                auto size = sizeof(std::uint32_t) + flatbuffers::ReadScalar<std::uint32_t>(buffer.data() + at);
                messages.emplace_back(buffer.begin() + static_cast<std::ptrdiff_t>(at),
                                      buffer.begin() + static_cast<std::ptrdiff_t>(at + size));
                at += size;
            }
            if (written == 0 && needed == 0) {
                return messages;
            }
            if (needed > buffer.size()) {
                buffer.resize(needed);
            }
        }
    }

    /// The next message, verified.
    const fbs::Message *next() {
        while (waiting_.empty()) {
            waiting_ = poll();
        }
        current_ = std::move(waiting_.front());
        waiting_.erase(waiting_.begin());
        flatbuffers::Verifier verifier(current_.data(), current_.size());
        check(fbs::VerifySizePrefixedMessageBuffer(verifier), "a message fails its verifier");
        return fbs::GetSizePrefixedMessage(current_.data());
    }

    const fbs::Reply *next_reply(std::uint64_t id) {
        const auto *reply = next()->content_as_Reply();
        check(reply != nullptr && reply->id() == id, "another message than the reply");
        check(reply->code() == fbs::Code::ok, reply->text() == nullptr ? "no text" : reply->text()->c_str());
        return reply;
    }

    std::uint64_t handle() const { return handle_; }

  private:
    std::uint64_t handle_ = 0;
    std::vector<std::vector<std::uint8_t>> waiting_;
    std::vector<std::uint8_t> current_;
};

std::uint64_t create_router(Engine &engine) {
    engine.submit(1, 0, fbs::RequestBody::CreateRouter, [](auto &builder) {
        std::vector<flatbuffers::Offset<fbs::RtpCodecCapability>> codecs;
        codecs.push_back(fbs::CreateRtpCodecCapabilityDirect(builder, fbs::MediaKind::audio, "audio/opus",
                                                             flatbuffers::nullopt, 48000, 2));
        codecs.push_back(fbs::CreateRtpCodecCapabilityDirect(builder, fbs::MediaKind::video, "video/VP8",
                                                             flatbuffers::nullopt, 90000));
        return fbs::CreateCreateRouterDirect(builder, &codecs);
    });
    const auto *created = engine.next_reply(1)->body_as_Created();
    check(created != nullptr && created->rtp_capabilities() != nullptr, "no router");
    return created->id();
}

std::uint64_t create_transport(Engine &engine, std::uint64_t router) {
    engine.submit(2, router, fbs::RequestBody::CreateWebRtcTransport, [](auto &builder) {
        std::vector<flatbuffers::Offset<fbs::ListenInfo>> listen;
        listen.push_back(fbs::CreateListenInfoDirect(builder, fbs::Protocol::udp, "127.0.0.1"));
        return fbs::CreateCreateWebRtcTransportDirect(builder, &listen);
    });
    const auto *created = engine.next_reply(2)->body_as_WebRtcTransportCreated();
    check(created != nullptr && created->ice_candidates()->size() == 1, "no transport");
    check(created->ice_candidates()->Get(0)->port() != 0, "no port");
    check(created->ice_parameters()->ice_lite(), "not ICE-lite");
    return created->id();
}

/// Requests of several threads are each answered exactly once.
void ask_from_threads(Engine &engine, std::uint64_t router) {
    constexpr int threads = 4, each = 25;
    std::vector<std::thread> askers;
    for (int thread = 0; thread < threads; thread++) {
        askers.emplace_back([&engine, router, thread] {
            for (int i = 0; i < each; i++) {
                auto id = static_cast<std::uint64_t>(1000 * (thread + 1) + i);
                engine.submit(id, router, fbs::RequestBody::GetDump,
                              [](auto &builder) { return fbs::CreateGetDump(builder); });
            }
        });
    }
    std::set<std::uint64_t> answered;
    while (answered.size() < threads * each) {
        const auto *reply = engine.next()->content_as_Reply();
        check(reply != nullptr && reply->code() == fbs::Code::ok, "not answered");
        check(reply->body_as_RouterDump() != nullptr, "no dump of a router");
        check(answered.insert(reply->id()).second, "answered twice");
    }
    for (auto &asker : askers) {
        asker.join();
    }
}

void close_router(Engine &engine, std::uint64_t router, std::uint64_t transport) {
    engine.submit(3, router, fbs::RequestBody::Close, [](auto &builder) { return fbs::CreateClose(builder); });
    bool answered = false, told = false;
    while (!answered || !told) {
        const auto *message = engine.next();
        if (const auto *event = message->content_as_Event()) {
            check(event->source() == transport && !told, "an event of something else");
            const auto *closed = event->body_as_ObjectClosed();
            check(closed != nullptr && closed->reason() == fbs::CloseReason::router_closed, "another event");
            told = true;
        } else {
            const auto *reply = message->content_as_Reply();
            check(reply != nullptr && reply->id() == 3 && reply->code() == fbs::Code::ok && !answered, "no reply");
            answered = true;
        }
    }
}

}  // namespace

int main() try {
    Engine engine;
    auto router = create_router(engine);
    auto transport = create_transport(engine, router);
    ask_from_threads(engine, router);
    close_router(engine, router, transport);
    check_status(sfu_engine_shutdown(engine.handle(), 30000), "shutdown");
    std::printf("libsfu %s from C++17: router %016llx, transport %016llx\n", sfu_version(),
                static_cast<unsigned long long>(router), static_cast<unsigned long long>(transport));
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
