/// Packets of direct transports, many in one call: RTP and RTCP in plaintext. Include libsfu.hpp, not this.
#ifndef LIBSFU_MEDIA_HPP
#define LIBSFU_MEDIA_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

#include "libsfu.h"

namespace sfu {

/// One packet that came out: RTP of a consumer, or RTCP of a transport.
struct MediaPacket {
    /// The consumer, or the direct transport.
    std::uint64_t object;
    const std::uint8_t *data;
    /// Bytes.
    std::size_t size;
};

/// Packets on their way in, one after the other as sfu_engine_send_media takes them.
class MediaBatch {
  public:
    /// Appends a packet for a direct transport, or a producer on one. Longer ones than 65507 bytes are refused by the
    /// engine (SFU_MALFORMED).
    void add(std::uint64_t object, const std::uint8_t *packet, std::size_t size) {
        number(object, 8);
        number(size, 4);
        bytes_.insert(bytes_.end(), packet, packet + size);
        count_++;
    }
    /// Empties it; its memory is kept.
    void clear() noexcept {
        bytes_.clear();
        count_ = 0;
    }
    /// Packets.
    std::size_t count() const noexcept { return count_; }
    const std::uint8_t *data() const noexcept { return bytes_.data(); }
    /// Bytes of all records.
    std::size_t size() const noexcept { return bytes_.size(); }

  private:
    void number(std::uint64_t value, int bytes) {
        for (int i = 0; i < bytes; i++) {
            bytes_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
        }
    }

    std::vector<std::uint8_t> bytes_;
    std::size_t count_ = 0;
};

namespace detail {

/// A number of a record, least byte first.
inline std::uint64_t record_number(const std::uint8_t *bytes, int count) noexcept {
    std::uint64_t value = 0;
    for (int i = 0; i < count; i++) {
        value |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
    }
    return value;
}

/// Takes all packets that wait; `check` throws for a status that is none of these two.
template <class Take, class Check>
std::size_t receive_media(std::uint64_t engine, std::vector<std::uint8_t> &buffer, Take &&take, Check &&check) {
    constexpr std::size_t least = 64 * 1024, head = 12;
    if (buffer.size() < least) {
        buffer.resize(least);
    }
    std::size_t packets = 0;
    for (;;) {
        std::size_t written = 0, needed = 0;
        auto status = sfu_engine_poll_media(engine, buffer.data(), buffer.size(), &written, &needed);
        if (status == SFU_BUFFER_TOO_SMALL) {
            buffer.resize(needed);
            continue;
        }
        check(status);
        for (std::size_t at = 0; at < written; packets++) {
            auto size = static_cast<std::size_t>(record_number(buffer.data() + at + 8, 4));
            take(MediaPacket{record_number(buffer.data() + at, 8), buffer.data() + at + head, size});
            at += head + size;
        }
        if (written == 0) {
            return packets;
        }
    }
}

}  // namespace detail
}  // namespace sfu

#endif
