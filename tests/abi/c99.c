/* A C99 program as a control plane would be: starts an engine, creates a router and a WebRTC transport, closes the
 * router, reads the event that tells of the transport's end, and shuts down.
 *
 *     c99 FOLDER    with the requests that flatc made of requests/ (see run.sh) */
#define _POSIX_C_SOURCE 200809L
#include "flat.h"
#include "libsfu.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Union tags and slots of libsfu.fbs; the numbers never change. */
enum { CONTENT_REPLY = 2, CONTENT_EVENT = 3 };
enum { REPLY_DONE = 1, REPLY_CREATED = 2, REPLY_WEBRTC_TRANSPORT = 3 };
enum { EVENT_OBJECT_CLOSED = 1, REASON_ROUTER_CLOSED = 0 };
enum { CODE_OK = 0, CODE_NOT_FOUND = 3 };

#define CHECK(condition)                                                           \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                               \
        }                                                                          \
    } while (0)

struct request {
    uint8_t bytes[4096];
    size_t len;
};

static struct request load(const char *folder, const char *name) {
    struct request request;
    char path[512];
    snprintf(path, sizeof path, "%s/%s.bin", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    request.len = fread(request.bytes, 1, sizeof request.bytes, file);
    fclose(file);
    CHECK(request.len > 8 && request.len < sizeof request.bytes);
    return request;
}

/* Overwrites a number that stands in the message: the request's id (slot 0) or target (slot 1). */
static void put(struct request *request, unsigned slot, uint64_t value) {
    struct flat flat = {request->bytes + 4, request->len - 4};
    flat_at place = flat_field(flat, flat_child(flat, flat_root(flat), 1), slot);
    CHECK(place != 0);
    for (size_t i = 0; i < 8; i++) {
        request->bytes[4 + place + i] = (uint8_t)(value >> (8 * i));
    }
}

static void submit(uint64_t engine, const struct request *request) {
    char why[256] = "";
    uint32_t status = sfu_engine_submit(engine, request->bytes, request->len, why, sizeof why);
    if (status != SFU_OK) {
        fprintf(stderr, "submit: %s: %s\n", sfu_status_text(status), why);
        exit(1);
    }
}

/* What came since the last look, one message at a time. */
struct inbox {
    uint8_t bytes[65536];
    size_t len, at;
};

static struct flat next(uint64_t engine, struct inbox *inbox) {
    for (int tries = 0; inbox->at == inbox->len && tries < 100; tries++) {
        size_t needed = 0;
        CHECK(sfu_engine_wait(engine, 30000) == SFU_OK);
        inbox->at = inbox->len = 0;
        CHECK(sfu_engine_poll(engine, inbox->bytes, sizeof inbox->bytes, &inbox->len, &needed) == SFU_OK);
    }
    CHECK(inbox->len - inbox->at > 8);
    struct flat prefix = {inbox->bytes, inbox->len};
    /* Place 0 is nowhere for the reader, so the first prefix is read by hand. */
    size_t size = inbox->at == 0 ? (size_t)inbox->bytes[0] | (size_t)inbox->bytes[1] << 8 |
                                       (size_t)inbox->bytes[2] << 16 | (size_t)inbox->bytes[3] << 24
                                 : (size_t)flat_number(prefix, inbox->at, 4);
    CHECK(size <= inbox->len - inbox->at - 4);
    struct flat message = {inbox->bytes + inbox->at + 4, size};
    CHECK(memcmp(message.bytes + 4, "LSFU", 4) == 0);
    inbox->at += 4 + size;
    return message;
}

/* The reply's table, which must answer that request. */
static flat_at reply(struct flat message, uint64_t id, uint64_t code) {
    flat_at root = flat_root(message);
    CHECK(flat_scalar(message, root, 0, 1) == CONTENT_REPLY);
    flat_at reply = flat_child(message, root, 1);
    CHECK(flat_scalar(message, reply, 0, 8) == id);
    CHECK(flat_scalar(message, reply, 1, 2) == code);
    return reply;
}

static flat_at body(struct flat message, flat_at reply, unsigned tag) {
    CHECK(flat_scalar(message, reply, 4, 1) == tag);
    return flat_child(message, reply, 5);
}

static uint64_t create_router(uint64_t engine, struct inbox *inbox, const char *folder) {
    struct request request = load(folder, "create_router");
    put(&request, 0, 1);
    submit(engine, &request);
    struct flat message = next(engine, inbox);
    flat_at created = body(message, reply(message, 1, CODE_OK), REPLY_CREATED);
    /* rtp_capabilities.codecs: what was asked for, and an RTX codec beside each video codec. */
    CHECK(flat_count(message, flat_child(message, flat_child(message, created, 1), 0)) >= 2);
    return flat_scalar(message, created, 0, 8);
}

static uint64_t create_transport(uint64_t engine, struct inbox *inbox, const char *folder, uint64_t router) {
    struct request request = load(folder, "create_webrtc_transport");
    put(&request, 0, 2);
    put(&request, 1, router);
    submit(engine, &request);
    struct flat message = next(engine, inbox);
    flat_at created = body(message, reply(message, 2, CODE_OK), REPLY_WEBRTC_TRANSPORT);
    flat_at ice = flat_child(message, created, 1);
    CHECK(flat_count(message, flat_child(message, ice, 0)) >= 4);
    CHECK(flat_count(message, flat_child(message, ice, 1)) >= 22);
    flat_at candidate = flat_item(message, flat_child(message, created, 2), 0);
    CHECK(flat_text_is(message, flat_child(message, candidate, 2), "127.0.0.1"));
    CHECK(flat_scalar(message, candidate, 3, 2) != 0);
    /* dtls_parameters.fingerprints */
    CHECK(flat_count(message, flat_child(message, flat_child(message, created, 3), 1)) >= 1);
    return flat_scalar(message, created, 0, 8);
}

/* Closing the router answers once and tells of the transport once, in either order. */
static void close_router(uint64_t engine, struct inbox *inbox, const char *folder, uint64_t router, uint64_t transport) {
    struct request request = load(folder, "close");
    put(&request, 0, 3);
    put(&request, 1, router);
    submit(engine, &request);
    int answered = 0, told = 0;
    while (answered + told < 2) {
        struct flat message = next(engine, inbox);
        flat_at root = flat_root(message);
        if (flat_scalar(message, root, 0, 1) == CONTENT_EVENT) {
            flat_at event = flat_child(message, root, 1);
            CHECK(flat_scalar(message, event, 0, 8) == transport);
            CHECK(flat_scalar(message, event, 1, 1) == EVENT_OBJECT_CLOSED);
            CHECK(flat_scalar(message, flat_child(message, event, 2), 0, 1) == REASON_ROUTER_CLOSED);
            CHECK(told == 0);
            told = 1;
        } else {
            body(message, reply(message, 3, CODE_OK), REPLY_DONE);
            CHECK(answered == 0);
            answered = 1;
        }
    }
    /* Closed is closed: its id names nothing, and never will again. */
    put(&request, 0, 4);
    submit(engine, &request);
    reply(next(engine, inbox), 4, CODE_NOT_FOUND);
}

/* A forked child has no engine, and is told so by every call that names or makes one. It ends by a signal, since a
 * leak checker would look for the engine's memory in threads that the child does not have. */
static void fork_a_child(uint64_t engine) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        uint64_t other = 0;
        int so = sfu_engine_wait(engine, 0) == SFU_FORKED && sfu_engine_free(engine) == SFU_FORKED &&
                 sfu_engine_new(SFU_ABI_VERSION, NULL, 0, &other, NULL, 0) == SFU_FORKED && other == 0;
        if (so) {
            raise(SIGKILL);
        }
        _exit(1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(int argc, char **argv) {
    static struct inbox inbox;
    CHECK(argc == 2);
    CHECK(sfu_abi_version() >= SFU_ABI_VERSION);
    CHECK(sfu_schema_version() >= SFU_SCHEMA_VERSION);

    struct request options = load(argv[1], "engine_options");
    uint64_t engine = 0;
    char why[256] = "";
    uint32_t status = sfu_engine_new(SFU_ABI_VERSION, options.bytes, options.len, &engine, why, sizeof why);
    if (status != SFU_OK) {
        fprintf(stderr, "%s: %s\n", sfu_status_text(status), why);
        return 1;
    }
    int32_t fd = -1;
    CHECK(sfu_engine_event_fd(engine, &fd) == SFU_OK && fd >= 0);

    uint64_t router = create_router(engine, &inbox, argv[1]);
    uint64_t transport = create_transport(engine, &inbox, argv[1], router);
    CHECK(router != 0 && transport != 0 && router != transport);
    fork_a_child(engine);
    close_router(engine, &inbox, argv[1], router, transport);
    CHECK(inbox.at == inbox.len);

    CHECK(sfu_engine_shutdown(engine, 30000) == SFU_OK);
    CHECK(sfu_engine_free(engine) == SFU_OK);
    CHECK(sfu_engine_free(engine) == SFU_NOT_FOUND);
    CHECK(sfu_engine_wait(engine, 0) == SFU_NOT_FOUND);
    printf("libsfu %s from C99: router %016" PRIx64 ", transport %016" PRIx64 "\n", sfu_version(), router, transport);
    return 0;
}
