/* Reads and writes flatbuffers, just enough for libsfu.fbs: tables, scalars, strings, vectors of tables. It shows that
 * the wire format needs no library; flatcc makes typed functions of the schema for programs that want them.
 *
 * Reading: every access is checked against the end of the message; what is absent or outside reads as nothing.
 * Writing: from the end of a buffer towards its beginning, children before what refers to them. Each field takes eight
 * bytes, which keeps everything aligned and the code short. What does not fit makes flat_finish return 0.
 * Left out: structs, vectors of scalars and of strings. */
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

/* A string's bytes, without a closing NUL; null if it is not there. */
static inline const char *flat_text(struct flat flat, flat_at text, size_t *len) {
    *len = flat_count(flat, text);
    return text != 0 && *len <= flat.len - text - 4 ? (const char *)flat.bytes + text + 4 : NULL;
}

static inline int flat_text_is(struct flat flat, flat_at text, const char *wanted) {
    size_t len = flat_count(flat, text);
    return text != 0 && len == strlen(wanted) && len <= flat.len - text - 4 &&
           memcmp(flat.bytes + text + 4, wanted, len) == 0;
}

/* ---- writing ---- */

/* A message under construction; `used` bytes at the end of `bytes` are written. Begin with flat_begin. */
struct flat_out {
    uint8_t bytes[4096];
    size_t used;
    int full;
};

/* Something written: its distance from the end; 0 is nothing. */
typedef size_t flat_ref;

/* One field of a table: its slot in the schema (a union being two), and a number of `size` bytes, or with size 0 what
 * it refers to. */
struct flat_field {
    unsigned slot, size;
    uint64_t value;
};

static inline void flat_begin(struct flat_out *out) { out->used = 0, out->full = 0; }

/* Room of so many bytes, zeroed, and its beginning aligned to eight. */
static inline uint8_t *flat_room(struct flat_out *out, size_t size) {
    size_t used = (out->used + size + 7) / 8 * 8;
    if (used > sizeof out->bytes) {
        out->full = 1;
        return NULL;
    }
    out->used = used;
    return memset(out->bytes + sizeof out->bytes - used, 0, size);
}

static inline void flat_put(uint8_t *at, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline flat_ref flat_write_text(struct flat_out *out, const char *text) {
    size_t len = strlen(text);
    uint8_t *at = flat_room(out, 4 + len + 1);
    if (at == NULL) {
        return 0;
    }
    flat_put(at, len, 4);
    memcpy(at + 4, text, len);
    return out->used;
}

/* A vector of tables or strings. */
static inline flat_ref flat_write_list(struct flat_out *out, const flat_ref *items, size_t count) {
    uint8_t *at = flat_room(out, 4 + 4 * count);
    if (at == NULL) {
        return 0;
    }
    flat_put(at, count, 4);
    for (size_t i = 0; i < count; i++) {
        flat_put(at + 4 + 4 * i, out->used - (4 + 4 * i) - items[i], 4);
    }
    return out->used;
}

/* A table. A reference to nothing is left out. */
static inline flat_ref flat_write_table(struct flat_out *out, const struct flat_field *fields, size_t count) {
    size_t slots = 0;
    for (size_t i = 0; i < count; i++) {
        slots = fields[i].slot + 1 > slots ? fields[i].slot + 1 : slots;
    }
    uint8_t *at = flat_room(out, 8 + 8 * count);
    flat_ref table = out->used;
    uint8_t *vtable = at == NULL ? NULL : flat_room(out, 4 + 2 * slots);
    if (vtable == NULL) {
        return 0;
    }
    flat_put(at, out->used - table, 4);
    flat_put(vtable, 4 + 2 * slots, 2);
    flat_put(vtable + 2, 8 + 8 * count, 2);
    for (size_t i = 0; i < count; i++) {
        size_t place = 8 + 8 * i;
        uint64_t value = fields[i].size > 0 ? fields[i].value : table - place - fields[i].value;
        if (fields[i].size > 0 || fields[i].value != 0) {
            flat_put(vtable + 4 + 2 * (size_t)fields[i].slot, place, 2);
            flat_put(at + place, value, fields[i].size > 0 ? fields[i].size : 4);
        }
    }
    return table;
}

/* Closes the message around its root: size prefix, offset of the root, file identifier. Tells its beginning, and its
 * length in `len`, which is 0 if something did not fit. */
static inline const uint8_t *flat_finish(struct flat_out *out, flat_ref root, size_t *len) {
    uint8_t *at = flat_room(out, 16);
    *len = out->full ? 0 : out->used;
    if (*len > 0) {
        flat_put(at, *len - 4, 4);
        flat_put(at + 4, *len - 4 - root, 4);
        memcpy(at + 8, "LSFU", 4);
    }
    return out->bytes + sizeof out->bytes - out->used;
}

#endif
