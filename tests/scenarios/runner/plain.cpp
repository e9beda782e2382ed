/// The driver over the functions of libsfu.h: flatbuffers in, flatbuffers out.
#include <poll.h>

#include <cstring>
#include <deque>
#include <map>
#include <set>

#include "driver.hpp"
#include "libsfu.h"
#include "words.hpp"

namespace {

using words::fbs::Code;
namespace fb = flatbuffers;

std::string code_word(std::uint32_t status) {
    auto *table = words::fbs::CodeTypeTable();
    for (std::size_t i = 0; i < table->num_elems; i++) {
        if ((table->values == nullptr ? static_cast<std::int64_t>(i) : table->values[i]) == static_cast<std::int64_t>(status)) {
            return table->names[i];
        }
    }
    return "status " + std::to_string(status) + ", which is no code";
}

/// `Code: field: sentence` of a refused submit.
Outcome refused(std::uint32_t status, std::string why) {
    Outcome outcome;
    outcome.code = code_word(status);
    if (auto colon = why.find(": "); colon != std::string::npos) {
        why.erase(0, colon + 2);
    }
    if (auto colon = why.find(": "); colon != std::string::npos && colon < why.find(' ')) {
        outcome.field = why.substr(0, colon);
        why.erase(0, colon + 2);
    }
    outcome.text = why;
    return outcome;
}

class Plain : public Driver {
  public:
    explicit Plain(const json &options) : buffer_(256) {
        fb::FlatBufferBuilder builder;
        builder.ForceDefaults(true);
        auto content = words::write_table(builder, options, words::fbs::EngineOptionsTypeTable());
        finish(builder, words::fbs::Content::EngineOptions, content);
        char why[1024] = "";
        auto status = sfu_engine_new(SFU_ABI_VERSION, builder.GetBufferPointer(), builder.GetSize(), &engine_, why, sizeof why);
        if (status != SFU_OK) {
            throw NotStarted(status, why);
        }
    }
    ~Plain() override { sfu_engine_free(engine_); }

    std::unique_ptr<Pending> call(const std::string &command, std::uint64_t on, const json &args, bool) override {
        auto *bodies = words::fbs::RequestBodyTypeTable();
        auto tag = words::tag(bodies, command);
        if (tag == 0) {
            throw Failure("the schema has no command " + command);
        }
        fb::FlatBufferBuilder builder;
        builder.ForceDefaults(true);
        auto body = words::write_table(builder, args, words::member(bodies, tag));
        auto id = next_id_++;
        auto request = words::fbs::CreateRequest(builder, id, on, static_cast<words::fbs::RequestBody>(tag),
                                                 fb::Offset<void>(body.o));
        finish(builder, words::fbs::Content::Request, words::Offset(request.o));
        auto refusal = submit(builder.GetBufferPointer(), builder.GetSize());
        return std::make_unique<Call>(*this, id, std::move(refusal));
    }

    std::optional<Outcome> raw(const std::vector<std::uint8_t> &bytes) override {
        auto refusal = submit(bytes.data(), bytes.size());
        return refusal.has_value() ? *refusal : Outcome();
    }

    std::optional<ToldEvent> next_event(milliseconds timeout) override {
        pump(timeout, [this] { return !events_.empty(); });
        if (events_.empty()) {
            return std::nullopt;
        }
        auto event = std::move(events_.front());
        events_.pop_front();
        return event;
    }

    void send(const std::vector<Packet> &packets) override {
        std::vector<std::uint8_t> records;
        for (auto &packet : packets) {
            for (int i = 0; i < 8; i++) {
                records.push_back(static_cast<std::uint8_t>(packet.object >> (8 * i)));
            }
            for (int i = 0; i < 4; i++) {
                records.push_back(static_cast<std::uint8_t>(packet.bytes.size() >> (8 * i)));
            }
            records.insert(records.end(), packet.bytes.begin(), packet.bytes.end());
        }
        std::size_t taken = 0;
        auto status = sfu_engine_send_media(engine_, records.data(), records.size(), &taken);
        if (status != SFU_OK || taken != packets.size()) {
            throw Failure("send_media took " + std::to_string(taken) + " packets: " + sfu_status_text(status));
        }
    }

    std::vector<Packet> receive(milliseconds timeout) override {
        std::int32_t fd = -1;
        must(sfu_engine_media_fd(engine_, &fd), "media_fd");
        readable(fd, timeout);
        std::vector<std::uint8_t> buffer(65519);
        std::vector<Packet> packets;
        for (std::size_t written = 1, needed = 0; written > 0;) {
            must(sfu_engine_poll_media(engine_, buffer.data(), buffer.size(), &written, &needed), "poll_media");
            for (std::size_t at = 0; at < written;) {
                std::uint64_t object = fb::ReadScalar<std::uint64_t>(buffer.data() + at);
                std::uint32_t size = fb::ReadScalar<std::uint32_t>(buffer.data() + at + 8);
                auto *packet = buffer.data() + at + 12;
                packets.push_back(Packet{object, std::vector<std::uint8_t>(packet, packet + size)});
                at += 12 + size;
            }
        }
        return packets;
    }

    void shutdown() override { must(sfu_engine_shutdown(engine_, 10000), "shutdown"); }

  private:
    class Call : public Pending {
      public:
        Call(Plain &engine, std::uint64_t id, std::optional<Outcome> refusal)
            : engine_(engine), id_(id), refusal_(std::move(refusal)) {}
        Outcome finish(milliseconds timeout) override {
            if (refusal_.has_value()) {
                return *refusal_;
            }
            auto &replies = engine_.replies_;
            engine_.pump(timeout, [&] { return replies.count(id_) != 0; });
            auto found = replies.find(id_);
            if (found == replies.end()) {
                throw Failure("no reply");
            }
            auto outcome = std::move(found->second);
            replies.erase(found);
            return outcome;
        }

      private:
        Plain &engine_;
        std::uint64_t id_;
        std::optional<Outcome> refusal_;
    };

    static void must(std::uint32_t status, const char *what) {
        if (status != SFU_OK) {
            throw Failure(std::string(what) + ": " + sfu_status_text(status));
        }
    }

    static void finish(fb::FlatBufferBuilder &builder, words::fbs::Content type, words::Offset content) {
        auto message = words::fbs::CreateMessage(builder, type, fb::Offset<void>(content.o));
        builder.FinishSizePrefixed(message, words::fbs::MessageIdentifier());
    }

    /// The bytes are copied into memory of exactly their size and thrown away after it, so that AddressSanitizer sees
    /// who reads beyond them or later.
    std::optional<Outcome> submit(const std::uint8_t *bytes, std::size_t size) {
        std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[size]);
        std::copy(bytes, bytes + size, exact.get());
        char why[512] = "";
        auto status = sfu_engine_submit(engine_, exact.get(), size, why, sizeof why);
        return status == SFU_OK ? std::nullopt : std::optional(refused(status, why));
    }

    template <class Ready> void pump(milliseconds timeout, Ready ready) {
        auto until = std::chrono::steady_clock::now() + timeout;
        for (read(); !ready(); read()) {
            auto left = std::chrono::duration_cast<milliseconds>(until - std::chrono::steady_clock::now());
            if (left.count() <= 0) {
                return;
            }
            auto status = sfu_engine_wait(engine_, static_cast<std::uint32_t>(left.count()));
            if (status != SFU_OK && status != SFU_TIMEOUT) {
                must(status, "wait");
            }
            if (ended_) {
                return;
            }
        }
    }

    /// Takes all messages that wait, with a buffer that grows when one does not fit.
    void read() {
        for (;;) {
            std::size_t written = 0, needed = 0;
            auto status = sfu_engine_poll(engine_, buffer_.data(), buffer_.size(), &written, &needed);
            if (status == SFU_CLOSED) {
                ended_ = true;
                return;
            }
            if (status != SFU_BUFFER_TOO_SMALL) {
                must(status, "poll");
            }
            for (std::size_t at = 0; at < written;) {
                std::size_t size = 4 + fb::ReadScalar<std::uint32_t>(buffer_.data() + at);
                deliver(buffer_.data() + at, size);
                at += size;
            }
            if (written == 0 && needed == 0) {
                return;
            }
            buffer_.resize(std::max(buffer_.size(), needed));
        }
    }

    void deliver(const std::uint8_t *bytes, std::size_t size) {
        fb::Verifier verifier(bytes, size);
        if (!words::fbs::VerifySizePrefixedMessageBuffer(verifier)) {
            throw Failure("a message fails its verifier");
        }
        auto *message = words::fbs::GetSizePrefixedMessage(bytes);
        if (auto *event = message->content_as_Event()) {
            auto *bodies = words::fbs::EventBodyTypeTable();
            auto tag = static_cast<std::uint8_t>(event->body_type());
            auto *type = words::member(bodies, tag);
            events_.push_back(ToldEvent{event->source(), bodies->names[tag],
                                    words::read_table(static_cast<const std::uint8_t *>(event->body()), type)});
            return;
        }
        auto *reply = message->content_as_Reply();
        if (reply == nullptr) {
            throw Failure("a message that is neither reply nor event");
        }
        Outcome outcome;
        outcome.code = code_word(static_cast<std::uint32_t>(reply->code()));
        outcome.field = reply->field() == nullptr ? "" : reply->field()->str();
        outcome.text = reply->text() == nullptr ? "" : reply->text()->str();
        auto tag = static_cast<std::uint8_t>(reply->body_type());
        if (auto *type = words::member(words::fbs::ReplyBodyTypeTable(), tag)) {
            outcome.reply = words::fbs::ReplyBodyTypeTable()->names[tag];
            outcome.body = words::read_table(static_cast<const std::uint8_t *>(reply->body()), type);
        }
        if (!answered_.insert(reply->id()).second) {
            throw Failure("request " + std::to_string(reply->id()) + " is answered twice");
        }
        replies_[reply->id()] = std::move(outcome);
    }

    std::uint64_t engine_ = 0, next_id_ = 1;
    bool ended_ = false;
    std::vector<std::uint8_t> buffer_;
    std::map<std::uint64_t, Outcome> replies_;
    std::set<std::uint64_t> answered_;
    std::deque<ToldEvent> events_;
};

}  // namespace

std::unique_ptr<Driver> start_plain(const json &options) { return std::make_unique<Plain>(options); }

bool readable(int fd, milliseconds timeout) {
    pollfd wanted{fd, POLLIN, 0};
    return poll(&wanted, 1, static_cast<int>(timeout.count())) == 1;
}
