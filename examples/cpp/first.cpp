// The first call in C++: an engine, a room, and a transport that a browser could connect to.
#include <cstdio>

#include "libsfu.hpp"

int main() try {
    sfu::Engine engine;

    sfu::RouterOptions codecs;
    codecs.media_codecs.push_back(sfu::codec(sfu::MediaKind::audio, "audio/opus", 48000, 2));
    codecs.media_codecs.push_back(sfu::codec(sfu::MediaKind::video, "video/VP8", 90000));
    sfu::Router room = engine.create_router(std::move(codecs)).get();

    sfu::WebRtcTransportOptions where;
    where.listen_infos.push_back(sfu::listen("127.0.0.1"));
    sfu::WebRtcTransport transport = room.create_webrtc_transport(std::move(where)).get();

    auto &candidate = *transport.created().ice_candidates.at(0);
    std::printf("media at %s:%u\n", candidate.address.c_str(), unsigned{candidate.port});
    return 0;
} catch (const sfu::Error &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
