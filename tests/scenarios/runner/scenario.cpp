/// The steps of a scenario.
#include "scenario.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

/// Longer than anything takes on a loaded machine.
constexpr milliseconds limit{10000};

std::vector<std::uint8_t> from_hex(const std::string &hex) {
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        bytes.push_back(static_cast<std::uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    }
    return bytes;
}

std::string to_hex(const std::uint8_t *bytes, std::size_t size) {
    static const char digits[] = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < size; i++) {
        out += digits[bytes[i] >> 4];
        out += digits[bytes[i] & 15];
    }
    return out;
}

void put(std::vector<std::uint8_t> &bytes, std::uint64_t value, int count) {
    for (int i = count - 1; i >= 0; i--) {
        bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    }
}

/// RTP (RFC 3550), with extensions in the one-byte form (RFC 8285).
std::vector<std::uint8_t> rtp_packet(const json &rtp, std::uint32_t index) {
    auto extensions = rtp.value("extension", json::array());
    if (extensions.is_object()) {
        extensions = json::array({extensions});
    }
    std::vector<std::uint8_t> bytes;
    bytes.push_back(extensions.empty() ? 0x80 : 0x90);
    bytes.push_back(static_cast<std::uint8_t>(rtp.at("payloadType").get<unsigned>() | (rtp.value("marker", false) ? 0x80U : 0U)));
    put(bytes, rtp.value("sequence", 0U) + index, 2);
    put(bytes, rtp.value("timestamp", 0U) + index * rtp.value("timestampStep", 0U), 4);
    put(bytes, rtp.at("ssrc").get<std::uint32_t>(), 4);
    if (!extensions.empty()) {
        std::vector<std::uint8_t> items;
        for (auto &extension : extensions) {
            auto data = from_hex(extension.at("data").get<std::string>());
            items.push_back(static_cast<std::uint8_t>(extension.at("id").get<unsigned>() << 4 | (data.size() - 1)));
            items.insert(items.end(), data.begin(), data.end());
        }
        items.resize((items.size() + 3) / 4 * 4);
        put(bytes, 0xBEDE, 2);
        put(bytes, items.size() / 4, 2);
        bytes.insert(bytes.end(), items.begin(), items.end());
    }
    auto payload = from_hex(rtp.value("payload", "00"));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

bool is_rtcp(const std::vector<std::uint8_t> &bytes) { return bytes.size() >= 2 && bytes[1] >= 192 && bytes[1] <= 223; }

/// The fields of an RTP packet in the words of `rtp_packet`.
json rtp_fields(const std::vector<std::uint8_t> &bytes) {
    if (bytes.size() < 12) {
        throw Failure("a packet of " + std::to_string(bytes.size()) + " bytes");
    }
    auto number = [&](std::size_t at, int count) {
        std::uint64_t value = 0;
        for (int i = 0; i < count; i++) {
            value = value << 8 | bytes.at(at + static_cast<std::size_t>(i));
        }
        return value;
    };
    std::size_t at = 12 + 4 * static_cast<std::size_t>(bytes[0] & 15);
    if (bytes[0] & 0x10) {
        at += 4 + 4 * number(at + 2, 2);
    }
    return {{"payloadType", bytes[1] & 0x7f}, {"marker", bytes[1] >> 7 == 1}, {"sequence", number(2, 2)},
            {"timestamp", number(4, 4)},      {"ssrc", number(8, 4)},         {"payload", to_hex(bytes.data() + at, bytes.size() - at)}};
}

/// Whether a compound has a packet of that type (RFC 3550, section 6.1).
bool has_rtcp(const std::vector<std::uint8_t> &bytes, unsigned type) {
    for (std::size_t at = 0; is_rtcp(bytes) && at + 4 <= bytes.size();) {
        if (bytes[at + 1] == type) {
            return true;
        }
        at += 4 + 4 * static_cast<std::size_t>(bytes[at + 2] << 8 | bytes[at + 3]);
    }
    return false;
}

}  // namespace

Scenario::Scenario(const json &file, Start start, std::filesystem::path folder)
    : file_(file), start_(std::move(start)), folder_(std::move(folder)) {
    for (auto &name : file.value("ignore", json::array())) {
        ignored_.insert(name.get<std::string>());
    }
    auto engines = file.value("engines", json{{"main", {{"shards", 1}, {"unpinned", true}}}});
    for (auto &[name, options] : engines.items()) {
        add_engine(name, options);
    }
}

Scenario::~Scenario() {
    for (auto &[name, fd] : sockets_) {
        close(fd);
    }
}

void Scenario::run() {
    int number = 0;
    for (auto &one : file_.at("steps")) {
        number++;
        try {
            step(one);
        } catch (const std::exception &error) {
            throw Failure("step " + std::to_string(number) + " " + one.dump().substr(0, 300) + ": " + error.what());
        }
    }
    no_event_is_left();
}

void Scenario::step(const json &step) {
    static const std::map<std::string, std::function<void(Scenario &, const json &)>> kinds = {
        {"call", [](Scenario &s, const json &j) { s.call(j); }},
        {"await", [](Scenario &s, const json &j) { s.await(j); }},
        {"event", [](Scenario &s, const json &j) { s.event(s.engine(j), j); }},
        {"events", [](Scenario &s, const json &j) { s.events(s.engine(j), j); }},
        {"send", [](Scenario &s, const json &j) { s.send(s.engine(j), j); }},
        {"receive", [](Scenario &s, const json &j) { s.receive(s.engine(j), j); }},
        {"datagram", [](Scenario &s, const json &j) { s.datagram(j); }},
        {"start", [](Scenario &s, const json &j) { s.start(j.at("start").get<std::string>(), j); }},
        {"shutdown", [](Scenario &s, const json &j) { s.engines_.at(j.at("shutdown").get<std::string>()).driver->shutdown(); }},
        {"free", [](Scenario &s, const json &j) { s.engines_.at(j.at("free").get<std::string>()).driver.reset(); }},
        {"raw", [](Scenario &s, const json &j) { s.raw(s.engine(j), j); }},
    };
    for (auto &[name, run] : kinds) {
        if (step.contains(name)) {
            run(*this, step);
            return;
        }
    }
    throw Failure("no such step");
}

Scenario::Engine &Scenario::engine(const json &step) { return engines_.at(step.value("engine", "main")); }

void Scenario::add_engine(const std::string &name, const json &options) {
    json all = options;
    for (auto &option : all) {
        if (option.is_string()) {
            auto text = option.get<std::string>();
            if (auto at = text.find("${tmp}"); at != std::string::npos) {
                option = text.replace(at, 6, folder_.string());
            }
        }
    }
    engines_[name].driver = start_(all);
}

void Scenario::start(const std::string &name, const json &step) {
    try {
        add_engine(name, step.value("options", json::object()));
    } catch (const NotStarted &refused) {
        // What the header calls the numbers; the set holds those that a scenario can bring about.
        static const std::map<std::string, std::uint32_t> statuses = {{"SFU_START_INVALID_OPTIONS", 201}, {"SFU_START_CERTIFICATE", 209}, {"SFU_START_CPU_UNAVAILABLE", 206}};
        engines_.erase(name);
        if (!step.contains("error")) {
            throw Failure(std::string("not started: ") + refused.what());
        }
        auto wanted = statuses.at(step["error"].at("status").get<std::string>());
        bool told = std::string(refused.what()).find(step["error"].value("text", "")) != std::string::npos;
        if (wanted != refused.status || !told) {
            throw Failure("refused with status " + std::to_string(refused.status) + ": " + refused.what());
        }
        return;
    }
    if (step.contains("error")) {
        throw Failure("it started");
    }
}

json Scenario::args(const json &value) {
    // Sockets are made when they are first named.
    std::function<void(const json &)> look = [&](const json &one) {
        if (one.is_string() && one.get<std::string>().rfind("$socket.", 0) == 0) {
            auto name = one.get<std::string>().substr(8);
            socket(name.substr(0, name.find('.')));
        }
        if (one.is_structured()) {
            for (auto &item : one) {
                look(item);
            }
        }
    };
    look(value);
    return resolve(bound_, value);
}

std::uint64_t Scenario::object(const json &step, const char *key) {
    return step.contains(key) ? args(step[key]).get<std::uint64_t>() : 0;
}

void Scenario::call(const json &step) {
    auto &target = engine(step);
    if (target.driver == nullptr) {
        throw Failure("the engine was freed");
    }
    auto command = step.at("call").get<std::string>();
    auto later = step.value("later", "");
    auto body = args(step.value("args", json::object()));
    auto on = object(step, "on");
    for (int i = 0; i < step.value("times", 1); i++) {
        auto pending = target.driver->call(command, on, body, step.value("untyped", false));
        if (later.empty()) {
            check(step, pending->finish(limit));
        } else {
            later_[later].push_back(std::move(pending));
        }
    }
}

void Scenario::await(const json &step) {
    auto found = later_.find(step.at("await").get<std::string>());
    if (found == later_.end()) {
        throw Failure("nothing is under way by that name");
    }
    std::map<std::string, int> codes;
    for (auto &pending : found->second) {
        auto outcome = pending->finish(limit);
        codes[outcome.code]++;
        if (!step.contains("answers")) {
            check(step, outcome);
        } else if (std::find(step["answers"].begin(), step["answers"].end(), outcome.code) == step["answers"].end()) {
            throw Failure("answered " + outcome.code + ": " + outcome.text);
        }
    }
    auto least_of = step.value("atLeast", json::object());
    for (auto &[code, least] : least_of.items()) {
        if (codes[code] < least.get<int>()) {
            throw Failure(code + " came " + std::to_string(codes[code]) + " times");
        }
    }
    later_.erase(found);
}

void Scenario::check(const json &step, const Outcome &outcome) {
    if (step.contains("error")) {
        auto &wanted = step["error"];
        bool field = !wanted.contains("field") || wanted["field"] == outcome.field;
        bool text = !outcome.text.empty() && outcome.text.find('\n') == std::string::npos;
        if (wanted.at("code") != outcome.code || !field || !text) {
            throw Failure("answered " + outcome.code + ", field '" + outcome.field + "': " + outcome.text);
        }
        return;
    }
    if (outcome.code != "ok" || outcome.reply != step.value("reply", "Done")) {
        throw Failure("answered " + outcome.code + " " + outcome.reply + ", field '" + outcome.field + "': " + outcome.text);
    }
    if (step.contains("as")) {
        bound_[step["as"].get<std::string>()] = outcome.body;
    }
    if (auto text = difference(args(step.value("expect", json::object())), outcome.body, "reply"); !text.empty()) {
        throw Failure(text);
    }
}

void Scenario::take_events(Engine &engine, milliseconds timeout) {
    for (auto event = engine.driver->next_event(timeout); event.has_value(); event = engine.driver->next_event(milliseconds(0))) {
        engine.events.push_back(Told{*event, ++events_seen_});
    }
}

/// Takes the next event of a source; tells its place in the order of arrival.
std::uint64_t Scenario::event(Engine &engine, const json &wanted) {
    auto source = object(wanted, "from");
    auto type = wanted.at("event").get<std::string>();
    auto until = std::chrono::steady_clock::now() + limit;
    for (take_events(engine, milliseconds(0));; take_events(engine, milliseconds(100))) {
        auto found = std::find_if(engine.events.begin(), engine.events.end(), [&](auto &told) {
            return told.event.source == source && (ignored_.count(told.event.type) == 0 || told.event.type == type);
        });
        if (found == engine.events.end()) {
            if (std::chrono::steady_clock::now() > until) {
                throw Failure("no event came from it");
            }
            continue;
        }
        auto told = *found;
        engine.events.erase(found);
        if (type != told.event.type) {
            throw Failure("another event came: " + told.event.type + " " + told.event.body.dump());
        }
        auto text = difference(args(wanted.value("expect", json::object())), told.event.body, "event");
        if (!text.empty()) {
            throw Failure(text);
        }
        return told.number;
    }
}

void Scenario::events(Engine &engine, const json &step) {
    std::uint64_t before = 0;
    for (auto &wanted : step["events"]) {
        auto number = event(engine, wanted);
        if (number < before && !step.value("anyOrder", false)) {
            throw Failure("out of order: " + wanted.dump());
        }
        before = number;
    }
}

std::vector<std::vector<std::uint8_t>> Scenario::packets(const json &step) {
    if (step.contains("hex")) {
        return {from_hex(step["hex"].get<std::string>())};
    }
    auto rtp = args(step.at("rtp"));
    std::vector<std::vector<std::uint8_t>> all;
    for (std::uint32_t i = 0; i < rtp.value("count", 1U); i++) {
        all.push_back(rtp_packet(rtp, i));
    }
    return all;
}

void Scenario::send(Engine &engine, const json &step) {
    std::vector<Packet> all;
    for (auto &bytes : packets(step)) {
        all.push_back(Packet{object(step, "send"), std::move(bytes)});
    }
    engine.driver->send(all);
}

int Scenario::socket(const std::string &name) {
    if (auto found = sockets_.find(name); found != sockets_.end()) {
        return found->second;
    }
    int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto *any = reinterpret_cast<sockaddr *>(&address);
    if (fd < 0 || bind(fd, any, size) != 0 || getsockname(fd, any, &size) != 0) {
        throw Failure("no socket");
    }
    sockets_[name] = fd;
    auto &all = bound_["socket"];
    all[name] = {{"port", ntohs(address.sin_port)}};
    return fd;
}

void Scenario::datagram(const json &step) {
    auto where = args(step["datagram"]);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(where.at("port").get<std::uint16_t>());
    if (inet_pton(AF_INET, where.at("address").get<std::string>().c_str(), &to.sin_addr) != 1) {
        throw Failure("no address");
    }
    int fd = socket(step.value("socket", "datagrams"));
    for (auto &bytes : packets(step)) {
        if (sendto(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr *>(&to), sizeof to) < 0) {
            throw Failure("not sent");
        }
    }
}

void Scenario::receive(Engine &engine, const json &step) {
    bool by_socket = step["receive"].is_object();
    int fd = by_socket ? socket(step["receive"].at("socket").get<std::string>()) : -1;
    auto from = by_socket ? 0 : object(step, "receive");
    auto until = std::chrono::steady_clock::now() + limit;
    std::uint64_t last = 0;
    for (int wanted = step.value("count", 1); wanted > 0;) {
        auto found = std::find_if(engine.packets.begin(), engine.packets.end(), [&](auto &p) { return p.object == from; });
        if (found == engine.packets.end()) {
            if (std::chrono::steady_clock::now() > until) {
                throw Failure(std::to_string(wanted) + " packets did not come");
            }
            if (by_socket && readable(fd, milliseconds(100))) {
                std::vector<std::uint8_t> bytes(2048);
                auto size = recv(fd, bytes.data(), bytes.size(), 0);
                bytes.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
                engine.packets.push_back(Packet{0, std::move(bytes)});
            } else if (!by_socket) {
                for (auto &packet : engine.driver->receive(milliseconds(100))) {
                    engine.packets.push_back(std::move(packet));
                }
            }
            continue;
        }
        auto packet = std::move(*found);
        engine.packets.erase(found);
        if (step.contains("rtcp")) {
            wanted -= has_rtcp(packet.bytes, step["rtcp"].get<unsigned>()) ? 1 : 0;
            continue;
        }
        if (is_rtcp(packet.bytes)) {
            continue;
        }
        auto fields = rtp_fields(packet.bytes);
        if (auto text = difference(args(step.value("rtp", json::object())), fields, "packet"); !text.empty()) {
            throw Failure(text);
        }
        auto sequence = fields["sequence"].get<std::uint64_t>();
        if (last != 0 && static_cast<std::uint16_t>(sequence - last) >= 0x8000) {
            throw Failure("packets out of order");
        }
        last = sequence;
        wanted--;
    }
}

void Scenario::raw(Engine &engine, const json &step) {
    auto outcome = engine.driver->raw(from_hex(step["raw"].get<std::string>()));
    if (outcome.has_value()) {
        check(step, *outcome);
    }
}

void Scenario::no_event_is_left() {
    for (auto &[name, engine] : engines_) {
        if (engine.driver == nullptr) {
            continue;
        }
        take_events(engine, milliseconds(0));
        engine.events.remove_if([this](auto &told) { return ignored_.count(told.event.type) != 0; });
        if (!engine.events.empty()) {
            auto &event = engine.events.front().event;
            throw Failure("an event that no step expects: " + event.type + " of " + std::to_string(event.source) + " " + event.body.dump());
        }
    }
}
