/// Plain RTP in, plain RTP out, on the wrapper: takes VP8 from ffmpeg at one UDP port of this host and sends it to a
/// player at another. Ends by SIGINT or SIGTERM.
///
///     relay IN_PORT OUT_PORT SDP_FILE
///
/// SDP_FILE is written for the player. README.md has the commands of both sides.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "libsfu.hpp"

namespace {

using namespace std::chrono_literals;

/// ffmpeg is told to use it (-ssrc), so that its stream is known when it comes.
constexpr std::uint32_t ssrc = 11111;
constexpr std::uint8_t payload_type = 96;

std::atomic<bool> ended{false};

sfu::Router create_router(sfu::Engine &engine) {
    sfu::RouterOptions options;
    options.media_codecs.push_back(sfu::codec(sfu::MediaKind::video, "video/VP8", 90000));
    return engine.create_router(std::move(options)).get();
}

/// Takes RTP from whoever sends first (comedia).
sfu::PlainTransport create_input(sfu::Router &router, std::uint16_t port) {
    sfu::PlainTransportOptions options;
    options.listen_info = sfu::listen("127.0.0.1", "", port);
    options.comedia = true;
    return router.create_plain_transport(std::move(options)).get();
}

/// Sends to a port that is told.
sfu::PlainTransport create_output(sfu::Router &router, std::uint16_t port) {
    sfu::PlainTransportOptions options;
    options.listen_info = sfu::listen("127.0.0.1");
    auto transport = router.create_plain_transport(std::move(options)).get();
    sfu::PlainRemote remote;
    remote.ip = "127.0.0.1";
    remote.port = port;
    transport.connect(std::move(remote)).get();
    return transport;
}

sfu::Producer produce(sfu::PlainTransport &input) {
    auto codec = std::make_unique<sfu::RtpCodecParameters>();
    codec->mime_type = "video/VP8";
    codec->payload_type = payload_type;
    codec->clock_rate = 90000;
    auto encoding = std::make_unique<sfu::RtpEncodingParameters>();
    encoding->ssrc = ssrc;
    sfu::ProducerOptions options;
    options.kind = sfu::MediaKind::video;
    options.rtp_parameters = std::make_unique<sfu::RtpParameters>();
    options.rtp_parameters->codecs.push_back(std::move(codec));
    options.rtp_parameters->encodings.push_back(std::move(encoding));
    return input.produce(std::move(options)).get();
}

void write_sdp(const std::string &path, std::uint16_t port, unsigned number) {
    std::ofstream file(path);
    file << "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=relay\nc=IN IP4 127.0.0.1\nt=0 0\n"
         << "m=video " << port << " RTP/AVP " << number << "\na=rtpmap:" << number << " VP8/90000\na=rtcp-mux\n";
    file.close();
    if (!file) {
        throw std::runtime_error(path + " cannot be written");
    }
}

void tell(const sfu::Event &event) {
    if (event.as<sfu::TransportTupleChanged>() != nullptr) {
        std::cout << "the sender was heard" << std::endl;
    } else if (event.as<sfu::ObjectClosed>() != nullptr) {
        std::cout << "closed: " << event.source << std::endl;
    }
}

void run(std::uint16_t in_port, std::uint16_t out_port, const std::string &sdp) {
    sfu::EngineOptions options;
    options.shards = 1;
    options.unpinned = true;
    sfu::Engine engine(std::move(options));
    auto router = create_router(engine);
    auto input = create_input(router, in_port);
    auto output = create_output(router, out_port);
    auto producer = produce(input);

    sfu::ConsumerOptions wanted;
    wanted.producer = producer.id();
    wanted.rtp_capabilities = std::make_unique<sfu::RtpCapabilities>(*router.created().rtp_capabilities);
    auto consumer = output.consume(std::move(wanted)).get();
    auto &codec = consumer.created().rtp_parameters->codecs.at(0);
    write_sdp(sdp, out_port, codec->payload_type);
    std::cout << "ready: VP8 in at " << in_port << ", out to " << out_port << " as payload type "
              << unsigned{codec->payload_type} << std::endl;
    while (!ended) {
        // A signal is seen after at most this long.
        if (auto event = engine.next_event(200ms)) {
            tell(*event);
        }
    }
}

}  // namespace

int main(int argc, char **argv) try {
    if (argc != 4) {
        std::cerr << "relay IN_PORT OUT_PORT SDP_FILE\n";
        return 2;
    }
    std::signal(SIGINT, [](int) { ended = true; });
    std::signal(SIGTERM, [](int) { ended = true; });
    auto port = [](const char *text) { return static_cast<std::uint16_t>(std::stoul(text)); };
    run(port(argv[1]), port(argv[2]), argv[3]);
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
