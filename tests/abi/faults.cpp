/// What programs do wrong, or at the worst time, as the C ABI and the wrapper answer it. Each function is a row of the
/// list of faults; a check that does not hold ends the program.
///
///     faults         all rows
///     faults exit    ends with an engine that is alive and was never freed
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <set>
#include <thread>

#include "libsfu.hpp"

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                                \
        }                                                                                \
    } while (0)

namespace {

using namespace std::chrono_literals;

sfu::EngineOptions options(std::uint16_t shards = 1) {
    sfu::EngineOptions options;
    options.shards = shards;
    options.unpinned = true;
    return options;
}

sfu::RouterOptions opus() {
    sfu::RouterOptions options;
    options.media_codecs.push_back(sfu::codec(sfu::MediaKind::audio, "audio/opus", 48000, 2));
    return options;
}

sfu::ProducerOptions microphone(std::uint32_t ssrc) {
    auto codec = std::make_unique<sfu::RtpCodecParameters>();
    codec->mime_type = "audio/opus";
    codec->payload_type = 111;
    codec->clock_rate = 48000;
    codec->channels = std::uint8_t{2};
    auto encoding = std::make_unique<sfu::RtpEncodingParameters>();
    encoding->ssrc = ssrc;
    sfu::ProducerOptions options;
    options.kind = sfu::MediaKind::audio;
    options.rtp_parameters = std::make_unique<sfu::RtpParameters>();
    options.rtp_parameters->codecs.push_back(std::move(codec));
    options.rtp_parameters->encodings.push_back(std::move(encoding));
    return options;
}

sfu::ConsumerOptions hearing(const sfu::Router &room, sfu::Id producer) {
    sfu::ConsumerOptions options;
    options.producer = producer;
    options.rtp_capabilities = std::make_unique<sfu::RtpCapabilities>(*room.created().rtp_capabilities);
    return options;
}

/// One who speaks and one who listens, by direct transports.
struct Room {
    explicit Room(sfu::Engine &engine)
        : router(engine.create_router(opus()).get()), speaking(router.create_direct_transport().get()),
          listening(router.create_direct_transport().get()), mic(speaking.produce(microphone(7)).get()),
          ear(listening.consume(hearing(router, mic.id())).get()) {}

    void speak(sfu::Engine &engine, int packets) {
        sfu::MediaBatch batch;
        for (int i = 0; i < packets; i++, sequence++) {
            const std::uint8_t packet[] = {0x80, 111, static_cast<std::uint8_t>(sequence >> 8), static_cast<std::uint8_t>(sequence),
                                           0, 0, static_cast<std::uint8_t>(sequence), 0, 0, 0, 0, 7, 0xf8, 0xff, 0xfe};
            batch.add(mic.id(), packet, sizeof packet);
        }
        CHECK(engine.send_media(batch) == static_cast<std::size_t>(packets));
    }

    sfu::Router router;
    sfu::DirectTransport speaking, listening;
    sfu::Producer mic;
    sfu::Consumer ear;
    std::uint16_t sequence = 1;
};

/// The status with which a call is refused.
template <class Ask> std::uint32_t refused(Ask ask) {
    try {
        ask();
    } catch (const sfu::Error &error) {
        CHECK(error.what()[0] != '\0');
        return error.status();
    }
    return SFU_OK;
}

/// The next event of a kind; others are passed over.
template <class Body> sfu::Event next(sfu::Engine &engine) {
    for (;;) {
        auto event = engine.next_event(30s);
        CHECK(event.has_value());
        if (event->as<Body>() != nullptr) {
            return std::move(*event);
        }
    }
}

/// An engine without the wrapper, for bytes that the wrapper does not make.
class Bare {
  public:
    Bare() : buffer_(1 << 20) {
        auto builder = sfu::detail::message(options());
        char why[1024] = "";
        CHECK(sfu_engine_new(SFU_ABI_VERSION, builder.GetBufferPointer(), builder.GetSize(), &engine_, why, sizeof why) == SFU_OK);
    }
    ~Bare() { sfu_engine_free(engine_); }

    /// Gives a request whose body is an empty table, or, bodiless, is absent.
    std::uint32_t ask(sfu::fbs::RequestBody type, sfu::Id target, bool bodiless = false) {
        flatbuffers::FlatBufferBuilder builder;
        flatbuffers::Offset<void> body(bodiless ? 0 : builder.EndTable(builder.StartTable()));
        sfu::fbs::RequestBuilder request(builder);
        request.add_id(++last_);
        request.add_target(target);
        request.add_body_type(type);
        request.add_body(body);
        // Without Finish(), which insists on what is required.
        flatbuffers::Offset<void> made(builder.EndTable(request.start_));
        auto message = sfu::fbs::CreateMessage(builder, sfu::fbs::Content::Request, made);
        builder.FinishSizePrefixed(message, sfu::fbs::MessageIdentifier());
        char why[1024] = "";
        auto status = sfu_engine_submit(engine_, builder.GetBufferPointer(), builder.GetSize(), why, sizeof why);
        CHECK(status == SFU_OK || why[0] != '\0');
        return status;
    }

    /// The reply to what was taken last.
    const sfu::fbs::Reply &answer() {
        for (;;) {
            std::size_t written = 0, needed = 0;
            CHECK(sfu_engine_wait(engine_, 30000) == SFU_OK);
            CHECK(sfu_engine_poll(engine_, buffer_.data(), buffer_.size(), &written, &needed) == SFU_OK);
            if (written != 0) {
                auto *reply = sfu::fbs::GetSizePrefixedMessage(buffer_.data())->content_as_Reply();
                CHECK(reply != nullptr && reply->id() == last_);
                return *reply;
            }
        }
    }

  private:
    std::uint64_t engine_ = 0, last_ = 0;
    std::vector<std::uint8_t> buffer_;
};

static void row_069_what_has_no_body_or_is_of_another_kind_is_refused() {
    Bare engine;
    CHECK(engine.ask(sfu::fbs::RequestBody::GetDump, 0, true) == SFU_MALFORMED);
    CHECK(engine.ask(sfu::fbs::RequestBody::NONE, 0) == SFU_MALFORMED);
    CHECK(engine.ask(static_cast<sfu::fbs::RequestBody>(255), 0) != SFU_OK);
    CHECK(engine.ask(sfu::fbs::RequestBody::GetDump, 0) == SFU_OK);
    CHECK(engine.answer().code() == sfu::Code::ok);

    sfu::Engine whole(options());
    Room room(whole);
    auto asked = [&](auto body) { return refused([&] { whole.request<sfu::fbs::DoneT>(room.router.id(), body).get(); }); };
    for (auto status : {asked(sfu::fbs::PauseT()), asked(sfu::fbs::RequestKeyFrameT()), asked(sfu::fbs::StopTapT())}) {
        CHECK(status != SFU_OK);
    }
    CHECK(room.router.dump().get().id == room.router.id());
}

static void row_070_ids_of_nobody_are_not_found() {
    sfu::Engine engine(options()), other(options());
    auto closed = engine.create_router(opus()).get();
    auto id = closed.id();
    closed.close().get();
    auto elsewhere = other.create_router(opus()).get();
    for (sfu::Id nobody : {id, elsewhere.id() + (1 << 20), sfu::Id{1}, sfu::Id{1} << 63, ~sfu::Id{0}}) {
        CHECK(refused([&] { engine.request<sfu::fbs::RouterDumpT>(nobody, sfu::fbs::GetDumpT()).get(); }) == SFU_NOT_FOUND);
    }
}

static void row_072_closing_in_any_order_is_answered() {
    sfu::Engine engine(options());
    Room room(engine);
    room.speaking.close().get();
    for (auto status : {refused([&] { room.speaking.close().get(); }), refused([&] { room.mic.close().get(); }),
                        refused([&] { room.ear.close().get(); })}) {
        CHECK(status == SFU_NOT_FOUND);
    }
    // While children are made.
    for (int i = 0; i < 20; i++) {
        auto router = engine.create_router(opus()).get();
        std::vector<sfu::Call<sfu::DirectTransport>> calls;
        for (int n = 0; n < 8; n++) {
            calls.push_back(router.create_direct_transport());
        }
        router.close().get();
        for (auto &call : calls) {
            auto status = refused([&] { call.get().release(); });
            CHECK(status == SFU_OK || status == SFU_NOT_FOUND);
        }
    }
    CHECK(engine.dump().get().shards[0]->routers.size() == 1);
}

static void row_079_calls_out_of_their_order_are_refused_or_the_last_one_wins() {
    sfu::Engine engine(options());
    Room room(engine);
    sfu::WebRtcTransportOptions where;
    where.listen_infos.push_back(sfu::listen("127.0.0.1"));
    auto transport = room.router.create_webrtc_transport(std::move(where)).get();
    CHECK(refused([&] { transport.consume(hearing(room.router, 5)).get(); }) == SFU_NOT_FOUND);
    auto connect = [&] {
        sfu::DtlsParameters remote;
        auto digest = std::make_unique<sfu::DtlsFingerprint>();
        for (int i = 0; i < 32; i++) {
            digest->value += i == 0 ? "AB" : ":AB";
        }
        remote.fingerprints.push_back(std::move(digest));
        transport.connect(std::move(remote)).get();
    };
    CHECK(refused(connect) == SFU_OK);
    CHECK(refused(connect) == SFU_INVALID_STATE);
    transport.restart_ice().get();
    for (int i = 0; i < 500; i++) {
        room.mic.pause().get();
        room.mic.resume().get();
    }
    room.mic.pause().get();
    room.mic.pause().get();
    CHECK(room.mic.dump().get().paused);
    transport.close().get();
    CHECK(refused(connect) == SFU_NOT_FOUND);
}

static void h33_every_request_may_come_with_nothing_in_it() {
    Bare engine;
    CHECK(engine.ask(sfu::fbs::RequestBody::CreateRouter, 0) == SFU_OK);
    auto router = engine.answer().body_as_Created();
    CHECK(router != nullptr);
    for (auto target : {sfu::Id{0}, sfu::Id{router->id()}}) {
        for (auto type : sfu::fbs::EnumValuesRequestBody()) {
            bool ends = type == sfu::fbs::RequestBody::Drain || type == sfu::fbs::RequestBody::Close;
            if (!ends && engine.ask(type, target) == SFU_OK) {
                engine.answer();
            }
        }
    }
    CHECK(engine.ask(sfu::fbs::RequestBody::GetDump, 0) == SFU_OK);
    CHECK(engine.answer().code() == sfu::Code::ok);
}

static void h40_session_descriptions_have_bounds() {
    sfu::Engine engine(options());
    auto router = engine.create_router(opus()).get();
    auto many = [](const char *line, int times) {
        std::string text = "v=0\r\n";
        for (int i = 0; i < times; i++) {
            text += line;
        }
        return text;
    };
    for (const auto &sdp : {std::string(), std::string("hello"), many("a=x\r\n", 100000), many("x", 300000), std::string(1000, '\0'),
                            many("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", 5000)}) {
        auto status = refused([&] { router.parse_sdp(sdp).get(); });
        CHECK(status == SFU_INVALID_ARGUMENT || status == SFU_MALFORMED || status == SFU_UNSUPPORTED);
    }
    CHECK(refused([&] { engine.parse_sdp_fragment(many("a=candidate:x\r\n", 100000)).get(); }) != SFU_OK);
    CHECK(router.dump().get().id == router.id());
}

static void row_074_thirty_two_threads_ask_and_each_is_answered_once() {
    sfu::Engine engine(options());
    auto room = engine.create_router(opus()).get();
    std::atomic<int> answered{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 32; i++) {
        threads.emplace_back([&engine, &answered, id = room.id()] {
            for (int n = 0; n < 20; n++) {
                auto dump = engine.request<sfu::fbs::RouterDumpT>(id, sfu::fbs::GetDumpT()).get();
                answered += dump.id == id ? 1 : 0;
            }
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    CHECK(answered == 32 * 20);
}

/// What leads to an event, and which it is.
struct Telling {
    std::function<void(sfu::Engine &, Room &)> cause;
    std::function<sfu::Event(sfu::Engine &)> wait;
};

static void h25_and_row_075_who_reads_an_event_may_close_its_object_its_parent_and_the_engine() {
    const Telling tellings[] = {
        {[](sfu::Engine &, Room &room) { room.mic.pause().get(); }, next<sfu::ProducerPaused>},
        {[](sfu::Engine &, Room &room) { room.mic.pause().get(), room.mic.resume().get(); }, next<sfu::ProducerResumed>},
        {[](sfu::Engine &engine, Room &room) { room.mic.set_trace({sfu::TraceKind::rtp}).get(), room.speak(engine, 3); }, next<sfu::TraceEvent>},
        {[](sfu::Engine &, Room &room) { room.mic.close().get(); }, next<sfu::ObjectClosed>},
        {[](sfu::Engine &engine, Room &room) { engine.drain().get(), room.router.close().get(); }, next<sfu::EngineDrained>},
    };
    for (auto &telling : tellings) {
        for (int what = 0; what < 3; what++) {
            sfu::Engine engine(options());
            Room room(engine);
            telling.cause(engine, room);
            CHECK(telling.wait(engine).body.value != nullptr);
            // Closed already, or closed now: both are answers, and neither is a hang.
            auto status = what == 0   ? refused([&] { room.ear.close().get(); })
                          : what == 1 ? refused([&] { room.router.close().get(); })
                                      : refused([&] { engine.shutdown(10s); });
            CHECK(status == SFU_OK || status == SFU_NOT_FOUND);
        }
    }
}

static void row_080_a_consumer_of_ones_own_producer_and_of_one_that_closes_is_answered() {
    sfu::Engine engine(options());
    Room room(engine);
    auto own = room.speaking.consume(hearing(room.router, room.mic.id())).get();
    CHECK(own.id() != 0);
    // In flight together: whichever comes first, each is answered, and nothing of the producer is left.
    std::vector<sfu::Call<sfu::Consumer>> calls;
    for (int i = 0; i < 10; i++) {
        calls.push_back(room.listening.consume(hearing(room.router, room.mic.id())));
    }
    auto closing = room.mic.close();
    for (auto &call : calls) {
        auto status = refused([&] { call.get().release(); });
        CHECK(status == SFU_OK || status == SFU_NOT_FOUND);
    }
    closing.get();
    CHECK(refused([&] { room.listening.consume(hearing(room.router, room.mic.id())).get(); }) == SFU_NOT_FOUND);
    CHECK(room.router.dump().get().consumers.empty());
}

static void row_081_who_reads_no_events_loses_telemetry_and_nothing_else() {
    auto few = options();
    few.event_queue = 16;
    sfu::Engine engine(std::move(few));
    Room room(engine);
    room.mic.set_trace({sfu::TraceKind::rtp}).get();
    std::vector<std::uint8_t> buffer;
    std::size_t heard = 0;
    for (int round = 0; round < 20; round++) {
        room.speak(engine, 50);
        while (heard < 50U * static_cast<unsigned>(round + 1)) {
            pollfd readable{engine.media_fd(), POLLIN, 0};
            CHECK(::poll(&readable, 1, 30000) == 1);
            heard += engine.receive_media(buffer, [&](const sfu::MediaPacket &packet) { CHECK(packet.object == room.ear.id()); });
        }
    }
    room.router.close().get();
    std::uint64_t traces = 0, lost = 0;
    std::set<sfu::Id> closed;
    while (closed.size() < 4) {
        auto event = engine.next_event(30s);
        CHECK(event.has_value());
        traces += event->as<sfu::TraceEvent>() != nullptr;
        lost += event->as<sfu::EventsLost>() != nullptr ? event->as<sfu::EventsLost>()->count : 0;
        if (event->as<sfu::ObjectClosed>() != nullptr) {
            CHECK(closed.insert(event->source).second);
        }
    }
    CHECK(lost > 0 && traces + lost <= 1000);
    CHECK(closed == (std::set<sfu::Id>{room.speaking.id(), room.listening.id(), room.mic.id(), room.ear.id()}));
}

static void row_083_a_flood_of_one_room_is_busy_there_and_not_on_other_shards() {
    auto short_queue = options(2);
    short_queue.command_queue = 8;
    sfu::Engine engine(std::move(short_queue));
    auto on = [&](std::uint8_t shard) {
        auto codecs = opus();
        codecs.shard = shard;
        return engine.create_router(std::move(codecs)).get();
    };
    auto flooded = on(0), calm = on(1);
    // Nobody reads meanwhile, so answers keep their places.
    std::vector<sfu::Call<sfu::fbs::RouterDumpT>> calls;
    for (int i = 0; i < 5000 && (calls.empty() || !calls.back().ready()); i++) {
        calls.push_back(flooded.dump());
    }
    CHECK(calls.back().ready());
    CHECK(refused([&] { calls.back().get(); }) == SFU_BUSY);
    calls.pop_back();
    auto elsewhere = calm.dump();
    CHECK(elsewhere.get().id == calm.id());
    for (auto &call : calls) {
        CHECK(call.get().id == flooded.id());
    }
    CHECK(flooded.dump().get().id == flooded.id());
}

static void handles_that_go_while_the_queue_is_full_close_their_objects_later() {
    auto short_queue = options();
    short_queue.command_queue = 8;
    sfu::Engine engine(std::move(short_queue));
    auto room = engine.create_router(opus()).get();
    std::vector<sfu::DirectTransport> transports;
    for (int i = 0; i < 20; i++) {
        transports.push_back(room.create_direct_transport(0, std::uint8_t{0}).get());
    }
    // Nobody reads meanwhile, so answers keep their places.
    std::vector<sfu::Call<sfu::fbs::RouterDumpT>> calls;
    while (calls.empty() || !calls.back().ready()) {
        CHECK(calls.size() < 5000);
        calls.push_back(room.dump());
    }
    CHECK(refused([&] { calls.back().get(); }) == SFU_BUSY);
    calls.pop_back();
    transports.clear();
    for (auto &call : calls) {
        CHECK(call.get().id == room.id());
    }
    auto until = std::chrono::steady_clock::now() + 10s;
    auto left = [&] {
        try {
            return room.dump().get().transports.size();
        } catch (const sfu::Error &error) {
            // The places are taken by what closes.
            CHECK(error.status() == SFU_BUSY);
            engine.poll();
            return std::size_t{1};
        }
    };
    while (left() != 0) {
        CHECK(std::chrono::steady_clock::now() < until);
    }
}

static void row_084_exceptions_moves_and_lifetimes_of_the_program_do_no_harm() {
    std::optional<sfu::Engine> engine(options());
    std::optional<Room> room(*engine);
    // An exception of the program leaves by where it came in, and the packets after it are still there.
    room->speak(*engine, 10);
    std::vector<std::uint8_t> buffer;
    int thrown = 0, taken = 0;
    for (auto until = std::chrono::steady_clock::now() + 30s; taken == 0 && std::chrono::steady_clock::now() < until;) {
        pollfd readable{engine->media_fd(), POLLIN, 0};
        CHECK(::poll(&readable, 1, 30000) == 1);
        try {
            engine->receive_media(buffer, [&](const sfu::MediaPacket &) {
                taken++;
                throw 5;
            });
        } catch (int) {
            thrown++;
        }
    }
    CHECK(thrown == 1);
    // Handles that were moved from are empty and say so; one moved over another closes that one.
    auto extra = room->speaking.produce(microphone(8)).get();
    auto other = room->speaking.produce(microphone(9)).get();
    auto gone = extra.id();
    extra = std::move(other);
    CHECK(refused([&] { other.pause().get(); }) == SFU_INVALID_STATE);
    CHECK(refused([&] { engine->request<sfu::fbs::DoneT>(gone, sfu::fbs::PauseT()).get(); }) == SFU_NOT_FOUND);
    extra.pause().get();
    // A call gives its answer once, and one that is dropped is no matter.
    auto call = extra.resume();
    call.get();
    CHECK(refused([&] { call.get(); }) == SFU_INVALID_STATE);
    { auto dropped = extra.pause(); }
    // Handles outlive their engine, and a wait on another thread ends with it.
    std::thread waiting([&] {
        while (engine->next_event(30s).has_value()) {
        }
    });
    engine->shutdown(10s);
    waiting.join();
    CHECK(refused([&] { extra.pause().get(); }) == SFU_CLOSED);
    engine.reset();
    CHECK(refused([&] { room->router.dump().get(); }) == SFU_CLOSED);
    room.reset();
}

static void row_085_another_version_of_the_abi_is_refused_before_anything_is_started() {
    std::uint64_t engine = 77;
    char why[64] = "";
    CHECK(sfu_engine_new(SFU_ABI_VERSION + 1, nullptr, 0, &engine, why, sizeof why) == SFU_ABI_MISMATCH);
    CHECK(sfu_engine_new(0, nullptr, 0, &engine, why, sizeof why) == SFU_ABI_MISMATCH);
    CHECK(engine == 77);
}

static void row_114_descriptors_close_on_exec_and_signals_stay_as_they_were() {
    const int signals[] = {SIGPIPE, SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGUSR1, SIGUSR2, SIGABRT, SIGSEGV, SIGBUS};
    std::vector<struct sigaction> before;
    for (int number : signals) {
        struct sigaction action {};
        sigaction(number, nullptr, &action);
        before.push_back(action);
    }
    std::set<int> open;
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            open.insert(fd);
        }
    }
    sfu::Engine engine(options());
    Room room(engine);
    int ours = 0;
    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && open.count(fd) == 0) {
            ours++;
            CHECK((flags & FD_CLOEXEC) != 0);
        }
    }
    CHECK(ours > 0);
    for (std::size_t i = 0; i < before.size(); i++) {
        struct sigaction action {};
        sigaction(signals[i], nullptr, &action);
        CHECK(action.sa_handler == before[i].sa_handler && action.sa_flags == before[i].sa_flags);
    }
}

}  // namespace

int main(int argc, char **) try {
    if (argc > 1) {
        auto *alive = new sfu::Engine(options());
        auto *room = new Room(*alive);
        room->speak(*alive, 10);
        std::exit(0);
    }
    row_069_what_has_no_body_or_is_of_another_kind_is_refused();
    row_070_ids_of_nobody_are_not_found();
    row_072_closing_in_any_order_is_answered();
    row_074_thirty_two_threads_ask_and_each_is_answered_once();
    row_079_calls_out_of_their_order_are_refused_or_the_last_one_wins();
    h33_every_request_may_come_with_nothing_in_it();
    h40_session_descriptions_have_bounds();
    h25_and_row_075_who_reads_an_event_may_close_its_object_its_parent_and_the_engine();
    row_080_a_consumer_of_ones_own_producer_and_of_one_that_closes_is_answered();
    row_081_who_reads_no_events_loses_telemetry_and_nothing_else();
    row_083_a_flood_of_one_room_is_busy_there_and_not_on_other_shards();
    handles_that_go_while_the_queue_is_full_close_their_objects_later();
    row_084_exceptions_moves_and_lifetimes_of_the_program_do_no_harm();
    row_085_another_version_of_the_abi_is_refused_before_anything_is_started();
    row_114_descriptors_close_on_exec_and_signals_stay_as_they_were();
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
