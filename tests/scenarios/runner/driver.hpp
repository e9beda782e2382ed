/// What a scenario asks of a language: the plain C ABI and the C++ wrapper each have a driver.
#ifndef SCENARIOS_DRIVER_HPP
#define SCENARIOS_DRIVER_HPP

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

using nlohmann::json;
using std::chrono::milliseconds;

/// The scenario does not go as it should; the text says how.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// How a call ended.
struct Outcome {
    /// `ok` or a code of the schema.
    std::string code = "ok";
    std::string field, text;
    /// Type of the reply's body, and its fields.
    std::string reply;
    json body = json::object();
};

struct ToldEvent {
    std::uint64_t source = 0;
    std::string type;
    json body = json::object();
};

struct Packet {
    std::uint64_t object = 0;
    std::vector<std::uint8_t> bytes;
};

/// A call under way.
class Pending {
  public:
    virtual ~Pending() = default;
    /// Waits for its end. Throws Failure when the time is over.
    virtual Outcome finish(milliseconds timeout) = 0;
};

/// One engine as a language sees it. Nothing polls behind the scenario's back.
class Driver {
  public:
    virtual ~Driver() = default;
    virtual std::unique_ptr<Pending> call(const std::string &command, std::uint64_t on, const json &args, bool untyped) = 0;
    /// Bytes as they are; only the plain ABI has a way for them.
    virtual std::optional<Outcome> raw(const std::vector<std::uint8_t> &bytes) = 0;
    virtual std::optional<ToldEvent> next_event(milliseconds timeout) = 0;
    virtual void send(const std::vector<Packet> &packets) = 0;
    /// What came out until now, waited for if it is nothing.
    virtual std::vector<Packet> receive(milliseconds timeout) = 0;
    virtual void shutdown() = 0;
};

/// A refused start.
struct NotStarted : std::runtime_error {
    NotStarted(std::uint32_t status, const std::string &text) : std::runtime_error(text), status(status) {}
    std::uint32_t status;
};

std::unique_ptr<Driver> start_plain(const json &options);
std::unique_ptr<Driver> start_wrapped(const json &options);

/// Waits until a descriptor is readable.
bool readable(int fd, milliseconds timeout);

#endif
