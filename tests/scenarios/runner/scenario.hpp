/// One scenario: its engines, what it has bound, and its steps (README.md beside the scenarios is the format).
#ifndef SCENARIOS_SCENARIO_HPP
#define SCENARIOS_SCENARIO_HPP

#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "driver.hpp"
#include "match.hpp"

/// Starts an engine in one language.
using Start = std::function<std::unique_ptr<Driver>(const json &)>;

class Scenario {
  public:
    /// `folder` is empty and the scenario's own.
    Scenario(const json &file, Start start, std::filesystem::path folder);
    ~Scenario();
    Scenario(const Scenario &) = delete;
    Scenario &operator=(const Scenario &) = delete;

    /// Throws Failure, its text beginning with the number of the step.
    void run();

  private:
    struct Told {
        ToldEvent event;
        std::uint64_t number;
    };
    struct Engine {
        std::unique_ptr<Driver> driver;
        std::list<Told> events;
        std::vector<Packet> packets;
    };

    void step(const json &step);
    void call(const json &step);
    void await(const json &step);
    void check(const json &step, const Outcome &outcome);
    void start(const std::string &name, const json &step);
    std::uint64_t event(Engine &engine, const json &wanted);
    void events(Engine &engine, const json &step);
    void send(Engine &engine, const json &step);
    void datagram(const json &step);
    void receive(Engine &engine, const json &step);
    void raw(Engine &engine, const json &step);
    void no_event_is_left();

    Engine &engine(const json &step);
    void add_engine(const std::string &name, const json &options);
    void take_events(Engine &engine, milliseconds timeout);
    int socket(const std::string &name);
    std::vector<std::vector<std::uint8_t>> packets(const json &step);
    json args(const json &value);
    std::uint64_t object(const json &step, const char *key);

    const json &file_;
    Start start_;
    std::filesystem::path folder_;
    std::map<std::string, Engine> engines_;
    std::set<std::string> ignored_;
    Bound bound_;
    std::map<std::string, std::vector<std::unique_ptr<Pending>>> later_;
    std::map<std::string, json> expected_;
    std::map<std::string, int> sockets_;
    std::uint64_t events_seen_ = 0;
};

#endif
