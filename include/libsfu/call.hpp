/// What stands under every handle of libsfu.hpp: errors, events, calls, and the link to one engine that matches answers
/// to the calls that wait for them. Include libsfu.hpp, not this.
#ifndef LIBSFU_CALL_HPP
#define LIBSFU_CALL_HPP

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libsfu.h"
#include "libsfu_generated.h"

namespace sfu {

/// The schema's tables, unions and enums, as flatc makes them of libsfu.fbs.
namespace fbs = ::libsfu::fbs;

/// Names an object of an engine. Never used again; 0 is the engine itself.
using Id = std::uint64_t;
using fbs::Code;
using std::chrono::milliseconds;

/// How long a call waits for its answer if nothing else is said. An engine answers within a millisecond; only one that
/// is overloaded or broken takes longer.
inline constexpr milliseconds patience{30000};

/// Why something was not done.
class Error : public std::runtime_error {
  public:
    Error(std::uint32_t status, std::string field, std::string text)
        : std::runtime_error(line(status, field, text)), status_(status), field_(std::move(field)),
          text_(std::move(text)) {}

    /// A status of libsfu.h. Those below 100 are the codes of the schema.
    std::uint32_t status() const noexcept { return status_; }
    /// The schema's code; `internal` for a status that is no code, such as SFU_TIMEOUT or a reason not to start.
    Code code() const noexcept { return status_ < 100 ? static_cast<Code>(status_) : Code::internal; }
    /// The offending field in the schema's words, such as `rtp_parameters.codecs[0].clock_rate`; may be empty.
    const std::string &field() const noexcept { return field_; }
    /// One sentence with the value and the remedy.
    const std::string &text() const noexcept { return text_; }

  private:
    static std::string line(std::uint32_t status, const std::string &field, const std::string &text) {
        std::string all = text.empty() ? sfu_status_text(status) : text;
        return field.empty() ? all : field + ": " + all;
    }

    std::uint32_t status_;
    std::string field_, text_;
};

/// Something that happened to an object without being asked for.
struct Event {
    /// The object; 0 is the engine.
    Id source = 0;
    /// `body.type` says which event it is. A library newer than the header may tell unknown ones.
    fbs::EventBodyUnion body;

    /// The event's fields if it is of that type, such as `as<sfu::ObjectClosed>()`, else null.
    template <class Body> const Body *as() const noexcept {
        return body.type == fbs::EventBodyUnionTraits<Body>::enum_value ? static_cast<const Body *>(body.value)
                                                                        : nullptr;
    }
};

namespace detail {

using Clock = std::chrono::steady_clock;

/// The end of a wait; none for the longest of times, which would overflow the clock.
inline Clock::time_point after(milliseconds timeout) {
    constexpr milliseconds longest = std::chrono::hours(24 * 365);
    return Clock::now() + std::clamp(timeout, milliseconds(0), longest);
}

/// A size-prefixed message around a content.
template <class Content> flatbuffers::FlatBufferBuilder message(Content &&content) {
    fbs::MessageT message;
    message.content.Set(std::forward<Content>(content));
    flatbuffers::FlatBufferBuilder builder;
    builder.FinishSizePrefixed(fbs::Message::Pack(builder, &message), fbs::MessageIdentifier());
    return builder;
}

/// What `why` of a refused submit says: `Code: field: sentence`, or without a field.
inline Error refusal(std::uint32_t status, const std::string &why) {
    std::string text = why, field;
    if (auto colon = text.find(": "); colon != std::string::npos && text.find(' ') == colon + 1) {
        text.erase(0, colon + 2);
        if (auto second = text.find(": "); second != std::string::npos && text.find(' ') == second + 1) {
            field = text.substr(0, second);
            text.erase(0, second + 2);
        }
    }
    return Error(status, std::move(field), std::move(text));
}

/// What came of one request; guarded by the link's lock.
struct Answer {
    std::unique_ptr<fbs::ReplyT> reply;
    std::optional<Error> error;
    bool done() const noexcept { return reply != nullptr || error.has_value(); }
};

/// One engine as its handles share it. There is no thread: whoever waits reads for all others too, one at a time.
class Link {
  public:
    explicit Link(std::uint64_t engine) : engine_(engine), buffer_(64 * 1024) {}
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;

    std::uint64_t engine() const noexcept { return engine_; }

    /// Sends a request. Without an answer to fill, the reply is thrown away.
    void send(Id target, fbs::RequestBodyUnion body, const std::shared_ptr<Answer> &answer) {
        fbs::RequestT request;
        request.target = target;
        request.body = std::move(body);
        {
            std::lock_guard lock(mutex_);
            if (ended_) {
                fail(answer, closed());
                return;
            }
            request.id = next_request_++;
            if (answer != nullptr) {
                waiting_.emplace(request.id, answer);
            }
        }
        auto id = request.id;
        auto builder = message(std::move(request));
        char why[512] = "";
        auto status = sfu_engine_submit(engine_, builder.GetBufferPointer(), builder.GetSize(), why, sizeof why);
        if (status != SFU_OK) {
            std::lock_guard lock(mutex_);
            waiting_.erase(id);
            fail(answer, status == SFU_NOT_FOUND ? closed() : refusal(status, why));
        }
    }

    /// Closes an object that no handle leads to any more. If the engine's queue is full just now, a later turn of reading
    /// does it: what fills the queue will be answered.
    void drop(Id id) noexcept {
        try {
            std::lock_guard lock(mutex_);
            unwanted_.push_back(id);
            close_unwanted();
        } catch (...) {
            // Without memory for the request the object stays until its parent is closed; nobody can be told here.
        }
    }

    /// Waits for an answer; false if the time is over.
    bool wait(const Answer &answer, milliseconds timeout) {
        std::unique_lock lock(mutex_);
        return pump(lock, after(timeout), [&] { return answer.done(); });
    }

    bool done(const Answer &answer) {
        std::lock_guard lock(mutex_);
        return answer.done();
    }

    /// The next event, waited for; none if the time is over or no more can come.
    std::optional<Event> next_event(milliseconds timeout) {
        std::unique_lock lock(mutex_);
        pump(lock, after(timeout), [&] { return !events_.empty() || ended_; });
        if (events_.empty()) {
            return std::nullopt;
        }
        auto event = std::move(events_.front());
        events_.pop_front();
        return event;
    }

    /// Takes what is there, without waiting for more.
    void poll() {
        std::unique_lock lock(mutex_);
        pump(lock, Clock::now(), [] { return false; });
    }

    /// The engine is gone: nothing is sent any more, and who waits is told.
    void end() {
        std::lock_guard lock(mutex_);
        end_locked();
    }

  private:
    static Error closed() { return Error(SFU_CLOSED, "", "the engine was shut down"); }

    static void fail(const std::shared_ptr<Answer> &answer, Error error) {
        if (answer != nullptr) {
            answer->error = std::move(error);
        }
    }

    void end_locked() {
        ended_ = true;
        for (auto &[id, answer] : waiting_) {
            fail(answer, closed());
        }
        waiting_.clear();
        unwanted_.clear();
        changed_.notify_all();
    }

    /// The lock is held.
    void close_unwanted() {
        while (!ended_ && !unwanted_.empty()) {
            fbs::RequestT request;
            request.id = next_request_++;
            request.target = unwanted_.front();
            request.body.Set(fbs::CloseT());
            auto builder = message(std::move(request));
            if (sfu_engine_submit(engine_, builder.GetBufferPointer(), builder.GetSize(), nullptr, 0) == SFU_BUSY) {
                return;
            }
            unwanted_.pop_front();
        }
    }

    /// Reads messages until `ready`, or the time is over. The lock is held when `ready` is asked and when this returns.
    template <class Ready> bool pump(std::unique_lock<std::mutex> &lock, Clock::time_point until, Ready ready) {
        bool looked = false;
        while (!ready()) {
            if (ended_ || (looked && Clock::now() >= until)) {
                return false;
            }
            if (reading_) {
                looked = true;
                changed_.wait_until(lock, until);
                continue;
            }
            Turn turn(*this, lock);
            looked = true;
            auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
            auto limit = std::clamp<milliseconds::rep>(left, 0, 3600 * 1000);
            auto status = sfu_engine_wait(engine_, static_cast<std::uint32_t>(limit));
            turn.last = status == SFU_OK || status == SFU_TIMEOUT ? read(turn.messages) : status;
        }
        return true;
    }

    /// One thread's time of reading: the lock is free meanwhile, and what was read is handed out at the end.
    struct Turn {
        Turn(Link &link, std::unique_lock<std::mutex> &lock) : link(link), lock(lock) {
            link.reading_ = true;
            lock.unlock();
        }
        ~Turn() {
            lock.lock();
            link.reading_ = false;
            for (auto &message : messages) {
                link.deliver(*message);
            }
            if (last != SFU_OK) {
                link.end_locked();
            }
            try {
                link.close_unwanted();
            } catch (...) {
                // Without memory: the next turn tries again.
            }
            link.changed_.notify_all();
        }
        Turn(const Turn &) = delete;
        Turn &operator=(const Turn &) = delete;

        Link &link;
        std::unique_lock<std::mutex> &lock;
        std::vector<std::unique_ptr<fbs::MessageT>> messages;
        std::uint32_t last = SFU_OK;
    };

    /// Takes all that is there; tells why no more will come, or SFU_OK. Only the thread whose turn it is.
    std::uint32_t read(std::vector<std::unique_ptr<fbs::MessageT>> &messages) {
        for (;;) {
            std::size_t written = 0, needed = 0;
            auto status = sfu_engine_poll(engine_, buffer_.data(), buffer_.size(), &written, &needed);
            if (status != SFU_OK && status != SFU_BUFFER_TOO_SMALL) {
                return status;
            }
            for (std::size_t at = 0; at < written;) {
                messages.emplace_back(fbs::GetSizePrefixedMessage(buffer_.data() + at)->UnPack());
                at += sizeof(std::uint32_t) + flatbuffers::ReadScalar<std::uint32_t>(buffer_.data() + at);
            }
            if (written == 0 && needed == 0) {
                return SFU_OK;
            }
            if (needed > buffer_.size()) {
                buffer_.resize(needed);
            }
        }
    }

    void deliver(fbs::MessageT &message) {
        if (auto *event = message.content.AsEvent()) {
            events_.push_back(Event{event->source, std::move(event->body)});
            return;
        }
        auto *reply = message.content.AsReply();
        auto found = reply == nullptr ? waiting_.end() : waiting_.find(reply->id);
        if (found == waiting_.end()) {
            return;
        }
        if (reply->code == Code::ok) {
            found->second->reply = std::make_unique<fbs::ReplyT>(std::move(*reply));
        } else {
            found->second->error = Error(static_cast<std::uint32_t>(reply->code), reply->field, reply->text);
        }
        waiting_.erase(found);
    }

    const std::uint64_t engine_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool reading_ = false, ended_ = false;
    std::uint64_t next_request_ = 1;
    std::unordered_map<std::uint64_t, std::shared_ptr<Answer>> waiting_;
    std::deque<Event> events_;
    /// To be closed; never more than there are objects.
    std::deque<Id> unwanted_;
    std::vector<std::uint8_t> buffer_;
};

using LinkPtr = std::shared_ptr<Link>;

/// The body of a reply as one of its types.
template <class Body> Body take(fbs::ReplyBodyUnion &body) {
    if (body.type != fbs::ReplyBodyUnionTraits<Body>::enum_value || body.value == nullptr) {
        throw Error(SFU_INTERNAL, "", std::string("another reply than expected: ") + fbs::EnumNameReplyBody(body.type));
    }
    return std::move(*static_cast<Body *>(body.value));
}

/// A reply whose type is looked at when the program runs.
template <> inline fbs::ReplyBodyUnion take<fbs::ReplyBodyUnion>(fbs::ReplyBodyUnion &body) { return std::move(body); }

}  // namespace detail

/// A request under way. Its answer is asked for by get(); a call that is dropped goes on, and its answer is thrown away.
template <class T> class [[nodiscard]] Call {
  public:
    /// Makes a T of the engine's reply.
    using Convert = T (*)(const detail::LinkPtr &, fbs::ReplyBodyUnion &);

    Call(detail::LinkPtr link, Id target, fbs::RequestBodyUnion body, Convert convert)
        : link_(std::move(link)), answer_(std::make_shared<detail::Answer>()), convert_(convert) {
        link_->send(target, std::move(body), answer_);
    }
    Call(Call &&) noexcept = default;
    Call &operator=(Call &&) noexcept = default;
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;
    ~Call() = default;

    /// Waits for the answer. Throws Error: the engine's refusal, or SFU_TIMEOUT, after which it may be asked again.
    /// Once it gave an answer, or threw another error, the call is used up.
    T get(milliseconds timeout = patience) {
        if (answer_ == nullptr) {
            throw Error(SFU_INVALID_STATE, "", "the call has given its answer");
        }
        if (!link_->wait(*answer_, timeout)) {
            throw Error(SFU_TIMEOUT, "", "no answer in " + std::to_string(timeout.count()) + " ms");
        }
        auto answer = std::move(answer_);
        if (answer->error.has_value()) {
            throw Error(*answer->error);
        }
        return convert_(link_, answer->reply->body);
    }

    /// Whether get() would return at once. Answers are read by whoever waits, or by Engine::poll().
    bool ready() const { return answer_ == nullptr || link_->done(*answer_); }

  private:
    detail::LinkPtr link_;
    std::shared_ptr<detail::Answer> answer_;
    Convert convert_;
};

namespace detail {

/// Conversions of a reply's body: nothing, its fields, or a handle on what was made.
inline void nothing(const LinkPtr &, fbs::ReplyBodyUnion &) {}
template <class Body> Body fields(const LinkPtr &, fbs::ReplyBodyUnion &body) { return take<Body>(body); }
template <class Handle> Handle handle(const LinkPtr &link, fbs::ReplyBodyUnion &body) {
    return Handle(link, take<typename Handle::Created>(body));
}

/// A request whose type is chosen when the program runs.
inline fbs::RequestBodyUnion request(fbs::RequestBodyUnion &&body) { return std::move(body); }

template <class Body> fbs::RequestBodyUnion request(Body &&body) {
    fbs::RequestBodyUnion any;
    any.Set(std::forward<Body>(body));
    return any;
}

}  // namespace detail
}  // namespace sfu

#endif
