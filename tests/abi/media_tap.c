/* Media through the C ABI: a direct transport takes RTP in batches, another gives it out rewritten, and RTCP goes both
 * ways. What is wrong with a batch is told without harm to what was right. */
#define _POSIX_C_SOURCE 200809L
#include "video.h"

#include <poll.h>
#include <stdlib.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

enum { BATCHES = 20, BATCH = 50, HEAD = 12, RTP_HEADER = 12, PAYLOAD = 200, SSRC = 700 };
enum { RTCP_PSFB = 206, PLI = 1 };

struct batch {
    uint8_t bytes[BATCH * (HEAD + RTP_HEADER + PAYLOAD)];
    size_t len;
};

static uint8_t *add(struct batch *batch, uint64_t object, size_t size) {
    CHECK(batch->len + HEAD + size <= sizeof batch->bytes);
    uint8_t *record = batch->bytes + batch->len;
    flat_put(record, object, 8);
    flat_put(record + 8, size, 4);
    batch->len += HEAD + size;
    return record + HEAD;
}

static void big_endian(uint8_t *at, uint32_t value, int size) {
    for (int i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

static uint32_t from_big_endian(const uint8_t *at, int size) {
    uint32_t value = 0;
    for (int i = 0; i < size; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* One picture in one packet (RFC 7741): a key frame first, then others. The rest of the payload tells which it is. */
static void picture(struct batch *batch, uint64_t producer, uint32_t number) {
    uint8_t *rtp = add(batch, producer, RTP_HEADER + PAYLOAD);
    rtp[0] = 0x80;
    rtp[1] = 0x80 | PAYLOAD_TYPE;
    big_endian(rtp + 2, 65500 + number, 2);
    big_endian(rtp + 4, 3000 * number, 4);
    big_endian(rtp + 8, SSRC, 4);
    uint8_t *vp8 = rtp + RTP_HEADER;
    memset(vp8, (int)number, PAYLOAD);
    static const uint8_t key[] = {0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0};
    memcpy(vp8, key, sizeof key);
    vp8[1] |= number > 0;
    big_endian(vp8 + 16, number, 4);
}

/* A compound of one picture loss indication about a stream (RFC 4585, section 6.3.1). */
static void loss(struct batch *batch, uint64_t transport, uint32_t media) {
    uint8_t *rtcp = add(batch, transport, 12);
    rtcp[0] = 0x80 | PLI;
    rtcp[1] = RTCP_PSFB;
    big_endian(rtcp + 2, 2, 2);
    big_endian(rtcp + 4, 1, 4);
    big_endian(rtcp + 8, media, 4);
}

/* What came out, counted. */
struct seen {
    uint64_t consumer, publisher, watcher;
    uint32_t ssrc;
    uint8_t payload_type;
    uint32_t pictures, losses, reports;
    uint32_t first;
};

static void look(struct seen *seen, uint64_t object, const uint8_t *packet, size_t size) {
    if (object == seen->consumer) {
        CHECK(size == RTP_HEADER + PAYLOAD && packet[0] == 0x80);
        CHECK(packet[1] == (0x80 | seen->payload_type));
        CHECK(from_big_endian(packet + 8, 4) == seen->ssrc);
        CHECK(from_big_endian(packet + RTP_HEADER + 16, 4) == seen->pictures);
        uint32_t sequence = from_big_endian(packet + 2, 2);
        seen->first = seen->pictures == 0 ? sequence : seen->first;
        CHECK(sequence == ((seen->first + seen->pictures) & 0xffff));
        seen->pictures++;
        return;
    }
    CHECK(object == seen->publisher || object == seen->watcher);
    for (size_t at = 0; at + 4 <= size; at += 4 + 4 * from_big_endian(packet + at + 2, 2)) {
        CHECK(packet[at] >> 6 == 2);
        seen->losses += packet[at + 1] == RTCP_PSFB && (packet[at] & 31) == PLI && object == seen->publisher;
        seen->reports++;
    }
}

static void drain(uint64_t engine, struct seen *seen) {
    static uint8_t buffer[4096];
    for (;;) {
        size_t written = 0, needed = 0;
        uint32_t status = sfu_engine_poll_media(engine, buffer, sizeof buffer, &written, &needed);
        CHECK(status == SFU_OK);
        for (size_t at = 0; at < written;) {
            struct flat record = {buffer + at, written - at};
            size_t size = (size_t)flat_number(record, 8, 4);
            uint64_t object = 0;
            for (int i = 7; i >= 0; i--) {
                object = object << 8 | buffer[at + (size_t)i];
            }
            look(seen, object, buffer + at + HEAD, size);
            at += HEAD + size;
        }
        if (written == 0) {
            return;
        }
    }
}

/* Waits at the descriptor, as an event loop would, until a count is reached. */
static void until(uint64_t engine, struct seen *seen, const uint32_t *count, uint32_t wanted) {
    int32_t fd = -1;
    CHECK(sfu_engine_media_fd(engine, &fd) == SFU_OK);
    for (drain(engine, seen); *count < wanted; drain(engine, seen)) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        CHECK(poll(&readable, 1, 30000) == 1);
    }
}

/* What is refused, and what is taken all the same. */
static void misuse(uint64_t engine, uint64_t producer) {
    struct batch batch = {.len = 0};
    size_t taken = 77, written = 77, needed = 77;
    uint8_t tiny[1];
    CHECK(sfu_engine_send_media(engine, NULL, 0, &taken) == SFU_OK && taken == 0);
    CHECK(sfu_engine_send_media(engine, NULL, 5, &taken) == SFU_NULL_POINTER);
    CHECK(sfu_engine_poll_media(engine, NULL, 5, &written, &needed) == SFU_NULL_POINTER);
    CHECK(sfu_engine_poll_media(engine, tiny, 1, NULL, &needed) == SFU_NULL_POINTER);
    CHECK(sfu_engine_media_fd(engine, NULL) == SFU_NULL_POINTER);
    CHECK(sfu_engine_send_media(engine + 1, batch.bytes, 0, &taken) == SFU_NOT_FOUND);
    /* No producer takes it: counted by the engine, no matter for the caller. */
    add(&batch, producer, 3);
    add(&batch, 12345, 20);
    CHECK(sfu_engine_send_media(engine, batch.bytes, batch.len, &taken) == SFU_OK && taken == 2);
    /* The second record is cut off at each of its bytes; the first one is taken. */
    for (size_t cut = HEAD + 3 + 1; cut < batch.len; cut++) {
        CHECK(sfu_engine_send_media(engine, batch.bytes, cut, &taken) == SFU_MALFORMED && taken == 1);
    }
    flat_put(batch.bytes + 8, UINT32_MAX, 4);
    CHECK(sfu_engine_send_media(engine, batch.bytes, batch.len, NULL) == SFU_MALFORMED);
}

int main(void) {
    static struct session session;
    static struct batch batch;
    CHECK(session_start(&session) == 0);
    uint64_t router = create_router(&session);
    struct seen seen = {0};
    seen.publisher = session_make(&session, router, CREATE_DIRECT_TRANSPORT, flat_write_table(&session.out, NULL, 0));
    seen.watcher = session_make(&session, router, CREATE_DIRECT_TRANSPORT, flat_write_table(&session.out, NULL, 0));
    uint64_t producer = produce(&session, seen.publisher, SSRC);
    CHECK(seen.publisher != 0 && seen.watcher != 0 && producer != 0);
    struct sent sent = consume(&session, seen.watcher, producer);
    CHECK(sent.consumer != 0 && sent.ssrc != 0);
    seen.consumer = sent.consumer, seen.ssrc = sent.ssrc, seen.payload_type = sent.payload_type;

    misuse(session.engine, producer);
    for (uint32_t n = 0; n < BATCHES; n++) {
        size_t taken = 0;
        batch.len = 0;
        for (uint32_t i = 0; i < BATCH; i++) {
            picture(&batch, producer, n * BATCH + i);
        }
        CHECK(sfu_engine_send_media(session.engine, batch.bytes, batch.len, &taken) == SFU_OK && taken == BATCH);
        until(session.engine, &seen, &seen.pictures, (n + 1) * BATCH);
    }
    /* RTCP in at the watcher comes out at the publisher. */
    uint32_t before = seen.losses;
    batch.len = 0;
    loss(&batch, seen.watcher, sent.ssrc);
    CHECK(sfu_engine_send_media(session.engine, batch.bytes, batch.len, NULL) == SFU_OK);
    until(session.engine, &seen, &seen.losses, before + 1);
    CHECK(seen.pictures == BATCHES * BATCH);

    CHECK(sfu_engine_shutdown(session.engine, 30000) == SFU_OK);
    batch.len = 0;
    picture(&batch, producer, 0);
    CHECK(sfu_engine_send_media(session.engine, batch.bytes, batch.len, NULL) == SFU_CLOSED);
    CHECK(sfu_engine_free(session.engine) == SFU_OK);
    CHECK(sfu_engine_send_media(session.engine, batch.bytes, batch.len, NULL) == SFU_NOT_FOUND);
    printf("%u pictures in order, %u reports and losses\n", seen.pictures, seen.reports);
    return 0;
}
