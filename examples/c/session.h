/* One engine, asked one thing at a time: starts it, sends a request, waits for its reply, hands over the events that
 * come. Slots and union tags are those of libsfu.fbs, in the order of their declaration; they never change. */
#ifndef SESSION_H
#define SESSION_H

#include "flat.h"
#include "libsfu.h"

#include <inttypes.h>
#include <stdio.h>

enum { CONTENT_REQUEST = 1, CONTENT_REPLY = 2, CONTENT_EVENT = 3, CONTENT_ENGINE_OPTIONS = 4 };
enum {
    CREATE_ROUTER = 1,
    PRODUCE = 7,
    CONSUME = 8,
    REQUEST_KEY_FRAME = 14,
    CLOSE = 15,
    GET_STATS = 17,
    CREATE_PLAIN_TRANSPORT = 34,
    CONNECT_PLAIN_TRANSPORT = 35,
    CREATE_DIRECT_TRANSPORT = 38
};
enum { EVENT_OBJECT_CLOSED = 1, EVENT_TRANSPORT_TUPLE_CHANGED = 17 };
enum { AUDIO = 0, VIDEO = 1 };

/* How long a reply may take. An engine answers within a millisecond; only a broken one takes this long. */
enum { PATIENCE_MS = 30000 };

struct session {
    uint64_t engine, next_id;
    /* The request under construction: write its body here, then session_ask. */
    struct flat_out out;
    uint8_t inbox[65536];
    size_t len, at;
    /* Called for each event; may be null. */
    void (*on_event)(uint64_t source, uint64_t type);
};

/* Closes the message and tells the bytes: `content` is a union member of Message. */
static inline const uint8_t *session_message(struct session *session, unsigned type, flat_ref content, size_t *len) {
    const struct flat_field fields[] = {{0, 1, type}, {1, 0, content}};
    flat_ref root = flat_write_table(&session->out, fields, 2);
    return flat_finish(&session->out, root, len);
}

/* Starts an engine of one shard that the kernel may move. 0 is success. */
static inline int session_start(struct session *session) {
    const struct flat_field options[] = {{0, 2, 1}, {2, 1, 1}};
    char why[256] = "";
    size_t len;
    flat_begin(&session->out);
    session->next_id = 1;
    session->len = session->at = 0;
    const uint8_t *bytes =
        session_message(session, CONTENT_ENGINE_OPTIONS, flat_write_table(&session->out, options, 2), &len);
    uint32_t status = sfu_engine_new(SFU_ABI_VERSION, bytes, len, &session->engine, why, sizeof why);
    flat_begin(&session->out);
    if (status != SFU_OK) {
        fprintf(stderr, "%s: %s\n", sfu_status_text(status), why);
    }
    return status != SFU_OK;
}

/* The next message that the engine tells, waited for. Its bytes are good until the next call. */
static inline int session_next(struct session *session, uint32_t timeout_ms, struct flat *message) {
    while (session->at == session->len) {
        size_t needed = 0;
        session->at = session->len = 0;
        uint32_t status = sfu_engine_poll(session->engine, session->inbox, sizeof session->inbox, &session->len, &needed);
        if (status == SFU_OK && session->len == 0) {
            status = sfu_engine_wait(session->engine, timeout_ms);
        }
        if (status != SFU_OK) {
            return status == SFU_TIMEOUT ? 1 : 2;
        }
    }
    const uint8_t *prefix = session->inbox + session->at;
    message->bytes = prefix + 4;
    message->len = (size_t)prefix[0] | (size_t)prefix[1] << 8 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 24;
    session->at += 4 + message->len;
    return 0;
}

/* Tells of an event, if the message is one. */
static inline int session_event(struct session *session, struct flat message) {
    flat_at root = flat_root(message), event = flat_child(message, root, 1);
    if (flat_scalar(message, root, 0, 1) != CONTENT_EVENT) {
        return 0;
    }
    if (session->on_event != NULL) {
        session->on_event(flat_scalar(message, event, 0, 8), flat_scalar(message, event, 1, 1));
    }
    return 1;
}

/* Sends a request whose body was written to session->out, and waits for its reply. Tells the place of the reply's body
 * in `message`, or 0 if it was refused, which is said on standard error. */
static inline flat_at session_ask(struct session *session, uint64_t target, unsigned type, flat_ref body,
                                  struct flat *message) {
    const uint64_t id = session->next_id++;
    const struct flat_field fields[] = {{0, 8, id}, {1, 8, target}, {2, 1, type}, {3, 0, body}};
    char why[256] = "";
    size_t len;
    const uint8_t *bytes =
        session_message(session, CONTENT_REQUEST, flat_write_table(&session->out, fields, 4), &len);
    uint32_t status = sfu_engine_submit(session->engine, bytes, len, why, sizeof why);
    flat_begin(&session->out);
    if (status != SFU_OK) {
        fprintf(stderr, "request %u: %s: %s\n", type, sfu_status_text(status), why);
        return 0;
    }
    while (session_next(session, PATIENCE_MS, message) == 0) {
        flat_at reply = flat_child(*message, flat_root(*message), 1);
        if (session_event(session, *message) || flat_scalar(*message, reply, 0, 8) != id) {
            continue;
        }
        if (flat_scalar(*message, reply, 1, 2) != SFU_OK) {
            size_t field_len, text_len;
            const char *field = flat_text(*message, flat_child(*message, reply, 2), &field_len);
            const char *text = flat_text(*message, flat_child(*message, reply, 3), &text_len);
            fprintf(stderr, "request %u: %.*s: %.*s\n", type, (int)field_len, field == NULL ? "" : field, (int)text_len,
                    text == NULL ? "" : text);
            return 0;
        }
        return flat_child(*message, reply, 5);
    }
    fprintf(stderr, "request %u: no reply\n", type);
    return 0;
}

/* The same where only the id of what was made matters; 0 is a refusal. The id is the first field of every reply. */
static inline uint64_t session_make(struct session *session, uint64_t target, unsigned type, flat_ref body) {
    struct flat message;
    flat_at made = session_ask(session, target, type, body, &message);
    return made == 0 ? 0 : flat_scalar(message, made, 0, 8);
}

#endif
