/* What these programs say of one stream of VP8: a router for it, the producer that sends it, the consumer that gets it. */
#ifndef VIDEO_H
#define VIDEO_H

#include "session.h"

enum { CLOCK_RATE = 90000, PAYLOAD_TYPE = 96 };

static inline uint64_t create_router(struct session *session) {
    struct flat_out *out = &session->out;
    const struct flat_field codec[] = {{0, 1, VIDEO}, {1, 0, flat_write_text(out, "video/VP8")}, {3, 4, CLOCK_RATE}};
    flat_ref codecs[] = {flat_write_table(out, codec, 3)};
    const struct flat_field body[] = {{0, 0, flat_write_list(out, codecs, 1)}};
    return session_make(session, 0, CREATE_ROUTER, flat_write_table(out, body, 1));
}

/* The peer can be asked for a key frame (RFC 4585). */
static inline flat_ref asks_for_key_frames(struct flat_out *out) {
    const struct flat_field pli[] = {{0, 0, flat_write_text(out, "nack")}, {1, 0, flat_write_text(out, "pli")}};
    flat_ref feedback[] = {flat_write_table(out, pli, 2)};
    return flat_write_list(out, feedback, 1);
}

static inline uint64_t produce(struct session *session, uint64_t transport, uint32_t ssrc) {
    struct flat_out *out = &session->out;
    const struct flat_field codec[] = {{0, 0, flat_write_text(out, "video/VP8")},
                                       {1, 1, PAYLOAD_TYPE},
                                       {2, 4, CLOCK_RATE},
                                       {5, 0, asks_for_key_frames(out)}};
    flat_ref codecs[] = {flat_write_table(out, codec, 4)};
    const struct flat_field encoding[] = {{0, 4, ssrc}};
    flat_ref encodings[] = {flat_write_table(out, encoding, 1)};
    const struct flat_field parameters[] = {{1, 0, flat_write_list(out, codecs, 1)}, {3, 0, flat_write_list(out, encodings, 1)}};
    const struct flat_field body[] = {{0, 1, VIDEO}, {1, 0, flat_write_table(out, parameters, 2)}};
    return session_make(session, transport, PRODUCE, flat_write_table(out, body, 2));
}

/* What is sent to the consumer's peer. */
struct sent {
    uint64_t consumer;
    uint8_t payload_type;
    uint32_t ssrc;
};

static inline struct sent consume(struct session *session, uint64_t transport, uint64_t producer) {
    struct flat_out *out = &session->out;
    const struct flat_field codec[] = {{0, 1, VIDEO},
                                       {1, 0, flat_write_text(out, "video/VP8")},
                                       {2, 1, PAYLOAD_TYPE},
                                       {3, 4, CLOCK_RATE},
                                       {6, 0, asks_for_key_frames(out)}};
    flat_ref codecs[] = {flat_write_table(out, codec, 5)};
    const struct flat_field capabilities[] = {{0, 0, flat_write_list(out, codecs, 1)}};
    const struct flat_field body[] = {{0, 8, producer}, {1, 0, flat_write_table(out, capabilities, 1)}};
    struct flat message;
    flat_at made = session_ask(session, transport, CONSUME, flat_write_table(out, body, 2), &message);
    struct sent sent = {0, 0, 0};
    if (made != 0) {
        flat_at parameters = flat_child(message, made, 2);
        flat_at first = flat_item(message, flat_child(message, parameters, 1), 0);
        flat_at encoding = flat_item(message, flat_child(message, parameters, 3), 0);
        sent.consumer = flat_scalar(message, made, 0, 8);
        sent.payload_type = (uint8_t)flat_scalar(message, first, 1, 1);
        sent.ssrc = (uint32_t)flat_scalar(message, encoding, 0, 4);
    }
    return sent;
}

#endif
