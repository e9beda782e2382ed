/* Reads flatbuffers, just enough for the programs beside it: tables, scalars, strings, vectors of tables. Every access
 * is checked against the end of the message; what is absent or outside reads as nothing. It shows that the wire format
 * needs no library. Left out: building, structs, and anything but little-endian machines are handled by bytes. */
#ifndef FLAT_H
#define FLAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A message without its size prefix. */
struct flat {
    const uint8_t *bytes;
    size_t len;
};

/* A place in it; 0 is nowhere. */
typedef size_t flat_at;

static inline uint64_t flat_number(struct flat flat, flat_at at, size_t size) {
    uint64_t value = 0;
    if (at == 0 || size > flat.len || at > flat.len - size) {
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)flat.bytes[at + i] << (8 * i);
    }
    return value;
}

/* Follows the offset that stands at a place. */
static inline flat_at flat_follow(struct flat flat, flat_at at) {
    uint64_t offset = flat_number(flat, at, 4);
    return at == 0 || offset == 0 || offset >= flat.len - at ? 0 : at + (size_t)offset;
}

static inline flat_at flat_root(struct flat flat) {
    uint64_t offset = 0;
    if (flat.len < 8) {
        return 0;
    }
    for (size_t i = 0; i < 4; i++) {
        offset |= (uint64_t)flat.bytes[i] << (8 * i);
    }
    return offset < flat.len ? (flat_at)offset : 0;
}

/* Where a field of a table stands: `slot` counts the schema's fields from 0, a union being two. */
static inline flat_at flat_field(struct flat flat, flat_at table, unsigned slot) {
    int64_t back = (int32_t)(uint32_t)flat_number(flat, table, 4);
    int64_t vtable = (int64_t)table - back;
    if (table == 0 || vtable <= 0 || (uint64_t)vtable >= flat.len) {
        return 0;
    }
    uint64_t entry = 4 + 2 * (uint64_t)slot;
    if (entry + 2 > flat_number(flat, (flat_at)vtable, 2)) {
        return 0;
    }
    uint64_t offset = flat_number(flat, (flat_at)vtable + (size_t)entry, 2);
    return offset == 0 || offset >= flat.len - table ? 0 : table + (size_t)offset;
}

static inline uint64_t flat_scalar(struct flat flat, flat_at table, unsigned slot, size_t size) {
    return flat_number(flat, flat_field(flat, table, slot), size);
}

/* A table, string or vector that a field refers to. */
static inline flat_at flat_child(struct flat flat, flat_at table, unsigned slot) {
    return flat_follow(flat, flat_field(flat, table, slot));
}

static inline size_t flat_count(struct flat flat, flat_at vector) {
    return (size_t)flat_number(flat, vector, 4);
}

/* A table within a vector of tables. */
static inline flat_at flat_item(struct flat flat, flat_at vector, size_t index) {
    return index < flat_count(flat, vector) ? flat_follow(flat, vector + 4 + 4 * index) : 0;
}

static inline int flat_text_is(struct flat flat, flat_at text, const char *wanted) {
    size_t len = flat_count(flat, text);
    return text != 0 && len == strlen(wanted) && len <= flat.len - text - 4 &&
           memcmp(flat.bytes + text + 4, wanted, len) == 0;
}

#endif
