/// JSON in the words of ORTC <-> flatbuffers, for any table of the schema, by flatc's mini reflection.
///
/// Names are the schema's in lowerCamelCase, enum values its words without a trailing underscore; fmtp parameters are
/// an object; fingerprint algorithms and crypto suites are spelled as SDP spells them. Left out: unions and structs,
/// which no body of a request, reply or event has. Anything unknown is an error: a scenario with a typing mistake must
/// not pass.
#ifndef SCENARIOS_WORDS_HPP
#define SCENARIOS_WORDS_HPP

#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "flatbuffers/minireflect.h"
#include "libsfu_generated.h"

namespace words {

using nlohmann::json;
namespace fbs = libsfu::fbs;
namespace fb = flatbuffers;

inline std::string camel(const std::string &snake) {
    std::string out;
    for (std::size_t i = 0; i < snake.size(); i++) {
        if (snake[i] == '_' && i + 1 < snake.size()) {
            out += static_cast<char>(std::toupper(static_cast<unsigned char>(snake[++i])));
        } else {
            out += snake[i];
        }
    }
    return out;
}

/// How a value of an enum is written.
inline std::string enum_word(const fb::TypeTable *table, std::size_t index) {
    static const char *const suites[] = {"AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80",
                                         "AES_CM_128_HMAC_SHA1_32"};
    static const char *const hashes[] = {"sha-256", "sha-384", "sha-512"};
    if (table == fbs::SrtpProfileTypeTable() && index < 4) {
        return suites[index];
    }
    if (table == fbs::FingerprintAlgorithmTypeTable() && index < 3) {
        return hashes[index];
    }
    std::string name = table->names[index];
    if (!name.empty() && name.back() == '_') {
        name.pop_back();
    }
    return name;
}

inline const fb::TypeTable *reference(const fb::TypeTable *table, std::size_t field) {
    auto ref = table->type_codes[field].sequence_ref;
    return ref < 0 ? nullptr : table->type_refs[ref]();
}

// ---- reading ----

json read_table(const std::uint8_t *at, const fb::TypeTable *table);

template <class T> json read_number(const std::uint8_t *at, const fb::TypeTable *table) {
    auto value = fb::ReadScalar<T>(at);
    if (table != nullptr && table->st == fb::ST_ENUM) {
        for (std::size_t i = 0; i < table->num_elems; i++) {
            if ((table->values == nullptr ? static_cast<std::int64_t>(i) : table->values[i]) ==
                static_cast<std::int64_t>(value)) {
                return enum_word(table, i);
            }
        }
    }
    return value;
}

inline json read_value(fb::ElementaryType type, const std::uint8_t *at, const fb::TypeTable *table) {
    switch (type) {
    case fb::ET_BOOL: return fb::ReadScalar<std::uint8_t>(at) != 0;
    case fb::ET_CHAR: return read_number<std::int8_t>(at, table);
    case fb::ET_UCHAR: return read_number<std::uint8_t>(at, table);
    case fb::ET_SHORT: return read_number<std::int16_t>(at, table);
    case fb::ET_USHORT: return read_number<std::uint16_t>(at, table);
    case fb::ET_INT: return read_number<std::int32_t>(at, table);
    case fb::ET_UINT: return read_number<std::uint32_t>(at, table);
    case fb::ET_LONG: return fb::ReadScalar<std::int64_t>(at);
    case fb::ET_ULONG: return fb::ReadScalar<std::uint64_t>(at);
    case fb::ET_FLOAT: return fb::ReadScalar<float>(at);
    case fb::ET_DOUBLE: return fb::ReadScalar<double>(at);
    case fb::ET_STRING:
        return reinterpret_cast<const fb::String *>(at + fb::ReadScalar<fb::uoffset_t>(at))->str();
    case fb::ET_SEQUENCE: return read_table(at + fb::ReadScalar<fb::uoffset_t>(at), table);
    default: throw std::logic_error("a type that no body has");
    }
}

inline json read_vector(fb::ElementaryType type, const std::uint8_t *at, const fb::TypeTable *table) {
    auto *vector = reinterpret_cast<const fb::Vector<std::uint8_t> *>(at + fb::ReadScalar<fb::uoffset_t>(at));
    bool parameters = table == fbs::ParameterTypeTable();
    json list = parameters ? json::object() : json::array();
    auto *item = vector->Data();
    for (fb::uoffset_t i = 0; i < vector->size(); i++, item += fb::InlineSize(type, table)) {
        auto value = read_value(type, item, table);
        if (parameters) {
            list[value.at("name").get<std::string>()] = value.contains("text") ? value["text"] : value.value("number", json());
        } else {
            list.push_back(std::move(value));
        }
    }
    return list;
}

/// All fields that are there, and enums that are not: no answer has one whose default is not its first word.
inline json read_table(const std::uint8_t *at, const fb::TypeTable *table) {
    json out = json::object();
    for (std::size_t i = 0; i < table->num_elems; i++) {
        auto *value = reinterpret_cast<const fb::Table *>(at)->GetAddressOf(
            fb::FieldIndexToOffset(static_cast<fb::voffset_t>(i)));
        auto type = static_cast<fb::ElementaryType>(table->type_codes[i].base_type);
        auto *ref = reference(table, i);
        if (value == nullptr) {
            bool word = ref != nullptr && ref->st == fb::ST_ENUM && !table->type_codes[i].is_repeating;
            if (word) {
                out[camel(table->names[i])] = enum_word(ref, 0);
            }
            continue;
        }
        out[camel(table->names[i])] =
            table->type_codes[i].is_repeating ? read_vector(type, value, ref) : read_value(type, value, ref);
    }
    return out;
}

// ---- writing ----

using Offset = fb::Offset<fb::Table>;

Offset write_table(fb::FlatBufferBuilder &builder, const json &value, const fb::TypeTable *table);

[[noreturn]] inline void bad(const std::string &name, const std::string &what) {
    throw std::runtime_error("the scenario's " + name + ": " + what);
}

template <class T> T scalar(const json &value, const fb::TypeTable *table, const std::string &name) {
    if (value.is_string()) {
        for (std::size_t i = 0; table != nullptr && i < table->num_elems; i++) {
            if (enum_word(table, i) == value.get<std::string>()) {
                return static_cast<T>(table->values == nullptr ? static_cast<std::int64_t>(i) : table->values[i]);
            }
        }
        bad(name, "no such word: " + value.dump());
    }
    if constexpr (std::is_integral_v<T>) {
        bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<T>::max())
                        : value.is_number_integer() &&
                              value.get<std::int64_t>() >= static_cast<std::int64_t>(std::numeric_limits<T>::min());
        if (!fits) {
            bad(name, value.dump() + " does not fit the field");
        }
    } else if (!value.is_number()) {
        bad(name, value.dump() + " is no number");
    }
    return value.get<T>();
}

/// Calls `use` with the value as the type that the schema says.
template <class Use>
void with_scalar(fb::ElementaryType type, const json &value, const fb::TypeTable *table, const std::string &name, Use use) {
    switch (type) {
    case fb::ET_BOOL:
        if (!value.is_boolean()) {
            bad(name, value.dump() + " is neither true nor false");
        }
        return use(static_cast<std::uint8_t>(value.get<bool>()));
    case fb::ET_CHAR: return use(scalar<std::int8_t>(value, table, name));
    case fb::ET_UCHAR: return use(scalar<std::uint8_t>(value, table, name));
    case fb::ET_SHORT: return use(scalar<std::int16_t>(value, table, name));
    case fb::ET_USHORT: return use(scalar<std::uint16_t>(value, table, name));
    case fb::ET_INT: return use(scalar<std::int32_t>(value, table, name));
    case fb::ET_UINT: return use(scalar<std::uint32_t>(value, table, name));
    case fb::ET_LONG: return use(scalar<std::int64_t>(value, table, name));
    case fb::ET_ULONG: return use(scalar<std::uint64_t>(value, table, name));
    case fb::ET_FLOAT: return use(scalar<float>(value, table, name));
    case fb::ET_DOUBLE: return use(scalar<double>(value, table, name));
    default: bad(name, "a type that no body has");
    }
}

inline fb::uoffset_t write_parameters(fb::FlatBufferBuilder &builder, const json &value) {
    std::vector<fb::Offset<fbs::Parameter>> items;
    for (auto &[name, one] : value.items()) {
        items.push_back(one.is_string()
                            ? fbs::CreateParameterDirect(builder, name.c_str(), one.get<std::string>().c_str())
                            : fbs::CreateParameterDirect(builder, name.c_str(), nullptr, one.get<double>()));
    }
    return builder.CreateVector(items).o;
}

inline fb::uoffset_t write_vector(fb::FlatBufferBuilder &builder, fb::ElementaryType type, const json &value,
                                  const fb::TypeTable *table, const std::string &name) {
    if (table == fbs::ParameterTypeTable()) {
        return write_parameters(builder, value);
    }
    if (!value.is_array()) {
        bad(name, "not a list: " + value.dump());
    }
    if (type == fb::ET_STRING || type == fb::ET_SEQUENCE) {
        std::vector<Offset> items;
        for (auto &item : value) {
            items.push_back(type == fb::ET_STRING ? Offset(builder.CreateString(item.get<std::string>()).o)
                                                  : write_table(builder, item, table));
        }
        return builder.CreateVector(items).o;
    }
    auto size = fb::InlineSize(type, table);
    builder.StartVector(value.size(), size, size);
    for (auto item = value.rbegin(); item != value.rend(); ++item) {
        with_scalar(type, *item, table, name, [&](auto number) { builder.PushElement(number); });
    }
    return builder.EndVector(value.size());
}

/// A table with the fields of an object.
inline Offset write_table(fb::FlatBufferBuilder &builder, const json &value, const fb::TypeTable *table) {
    if (!value.is_object()) {
        throw std::runtime_error("not an object: " + value.dump());
    }
    std::map<std::string, std::size_t> fields;
    for (std::size_t i = 0; i < table->num_elems; i++) {
        fields[camel(table->names[i])] = i;
    }
    // What a table refers to stands before it.
    std::map<std::size_t, fb::uoffset_t> offsets;
    for (auto &[name, one] : value.items()) {
        auto found = fields.find(name);
        if (found == fields.end()) {
            bad(name, "the schema has no such field here");
        }
        auto i = found->second;
        auto type = static_cast<fb::ElementaryType>(table->type_codes[i].base_type);
        if (table->type_codes[i].is_repeating) {
            offsets[i] = write_vector(builder, type, one, reference(table, i), name);
        } else if (type == fb::ET_STRING) {
            offsets[i] = builder.CreateString(one.get<std::string>()).o;
        } else if (type == fb::ET_SEQUENCE) {
            offsets[i] = write_table(builder, one, reference(table, i)).o;
        }
    }
    auto start = builder.StartTable();
    for (auto &[name, one] : value.items()) {
        auto i = fields[name];
        auto at = fb::FieldIndexToOffset(static_cast<fb::voffset_t>(i));
        if (auto offset = offsets.find(i); offset != offsets.end()) {
            builder.AddOffset(at, fb::Offset<void>(offset->second));
        } else {
            auto type = static_cast<fb::ElementaryType>(table->type_codes[i].base_type);
            with_scalar(type, one, reference(table, i), name, [&](auto number) { builder.AddElement(at, number); });
        }
    }
    return Offset(builder.EndTable(start));
}

// ---- unions, by the names of their members ----

/// The tag of a member of a union; 0 is none.
inline std::uint8_t tag(const fb::TypeTable *table, const std::string &name) {
    for (std::size_t i = 1; i < table->num_elems; i++) {
        if (name == table->names[i]) {
            return static_cast<std::uint8_t>(table->values == nullptr ? static_cast<std::int64_t>(i) : table->values[i]);
        }
    }
    return 0;
}

inline const fb::TypeTable *member(const fb::TypeTable *table, std::uint8_t tag) {
    return tag == 0 || tag >= table->num_elems ? nullptr : reference(table, tag);
}

/// A member's fields, from a union of the object API.
template <class Union> json read_union(const Union &value, const fb::TypeTable *table) {
    auto *type = member(table, static_cast<std::uint8_t>(value.type));
    if (type == nullptr) {
        return json::object();
    }
    fb::FlatBufferBuilder builder;
    builder.Finish(Offset(value.Pack(builder).o));
    return read_table(fb::GetRoot<std::uint8_t>(builder.GetBufferPointer()), type);
}

/// The object API's struct of an object.
template <class Native> Native from_json(const json &value) {
    using Table = typename Native::TableType;
    fb::FlatBufferBuilder builder;
    builder.ForceDefaults(true);
    builder.Finish(write_table(builder, value, Table::MiniReflectTypeTable()));
    Native native;
    fb::GetRoot<Table>(builder.GetBufferPointer())->UnPackTo(&native);
    return native;
}

template <class Native> json to_json(const Native &native) {
    using Table = typename Native::TableType;
    fb::FlatBufferBuilder builder;
    builder.Finish(Table::Pack(builder, &native));
    return read_table(fb::GetRoot<std::uint8_t>(builder.GetBufferPointer()), Table::MiniReflectTypeTable());
}

}  // namespace words

#endif
