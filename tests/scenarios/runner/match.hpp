/// References to what a scenario has bound, and matching of what came against what is expected.
#ifndef SCENARIOS_MATCH_HPP
#define SCENARIOS_MATCH_HPP

#include <algorithm>
#include <functional>
#include <map>
#include <string>

#include "driver.hpp"

/// Names that a scenario has bound, each to a whole reply.
using Bound = std::map<std::string, json>;

/// What `$name` or `$name.path` stands for.
inline json refer(const Bound &bound, const std::string &reference) {
    auto dot = reference.find('.');
    auto found = bound.find(reference.substr(1, dot == std::string::npos ? dot : dot - 1));
    if (found == bound.end()) {
        throw Failure("the scenario has not bound " + reference);
    }
    if (dot == std::string::npos) {
        return found->second.at("id");
    }
    json value = found->second;
    for (std::size_t at = dot; at != std::string::npos;) {
        auto next = reference.find('.', at + 1);
        auto part = reference.substr(at + 1, next == std::string::npos ? next : next - at - 1);
        value = value.is_array() ? value.at(std::stoul(part)) : value.at(part);
        at = next;
    }
    return value;
}

/// A copy with all references replaced.
inline json resolve(const Bound &bound, const json &value) {
    if (value.is_string() && value.get<std::string>().rfind('$', 0) == 0) {
        return refer(bound, value.get<std::string>());
    }
    if (value.is_object() && value.size() == 1 && value.contains("$merge")) {
        json all = json::object();
        for (auto &part : value["$merge"]) {
            all.update(resolve(bound, part));
        }
        return all;
    }
    if (value.is_object() && value.size() == 1 && value.contains("$repeat")) {
        std::string text;
        for (auto times = value["$repeat"].at(1).get<int>(); times > 0; times--) {
            text += value["$repeat"].at(0).get<std::string>();
        }
        return text;
    }
    json copy = value;
    if (copy.is_structured()) {
        for (auto &item : copy) {
            item = resolve(bound, item);
        }
    }
    return copy;
}

/// A value that a field has when it is absent.
inline bool is_nothing(const json &value) {
    return value.is_null() || value == json(0) || value == json(false) || value == json("") || value == json::array() || value == json::object();
}

/// Why a value is not as expected; empty if it is. `came` is null for what is absent.
inline std::string difference(const json &wanted, const json &came, const std::string &at) {
    auto say = [&](const std::string &what) { return at + ": wanted " + what + ", came " + came.dump(); };
    if (wanted.is_object() && wanted.size() == 1 && wanted.begin().key().rfind('$', 0) == 0) {
        auto &key = wanted.begin().key();
        auto &value = wanted.begin().value();
        auto number = [&] { return came.is_number() ? came.get<double>() : 0.0; };
        if (key == "$any") return came.is_null() ? say("something") : "";
        if (key == "$absent") return came.is_null() ? "" : say("nothing");
        if (key == "$min") return number() >= value.get<double>() ? "" : say("at least " + value.dump());
        if (key == "$max") return number() <= value.get<double>() ? "" : say("at most " + value.dump());
        if (key == "$count") return (came.is_array() ? came.size() : 0) == value.get<std::size_t>() ? "" : say(value.dump() + " items");
        if (key == "$contains") {
            return came.is_string() && came.get<std::string>().find(value.get<std::string>()) != std::string::npos ? "" : say("a text with " + value.dump());
        }
        if (key == "$has") {
            for (auto &item : came.is_array() ? came : json::array()) {
                if (difference(value, item, at).empty()) {
                    return "";
                }
            }
            return say("an item like " + value.dump());
        }
        if (key == "$sameItems") {
            auto sorted = [](json list) { std::sort(list.begin(), list.end()); return list; };
            return came.is_array() && sorted(value) == sorted(came) ? "" : (value.empty() && came.is_null() ? "" : say("in any order " + value.dump()));
        }
        throw Failure("no such matcher: " + key);
    }
    if (wanted.is_object() && came.is_object()) {
        for (auto &[name, one] : wanted.items()) {
            if (auto text = difference(one, came.contains(name) ? came[name] : json(), at + "." + name); !text.empty()) {
                return text;
            }
        }
        return "";
    }
    if (wanted.is_array() && came.is_array() && wanted.size() == came.size()) {
        for (std::size_t i = 0; i < wanted.size(); i++) {
            if (auto text = difference(wanted[i], came[i], at + "." + std::to_string(i)); !text.empty()) {
                return text;
            }
        }
        return "";
    }
    bool same = wanted == came || (came.is_null() && is_nothing(wanted));
    return same ? "" : say(wanted.dump());
}

#endif
