/* How long a command takes through the C ABI on an idle engine: submit, to the shard and back, wait, poll. Prints the
 * median and the 99th percentile of 20,000 dumps of a router, in microseconds.
 *
 *     round_trip FOLDER    with the requests that flatc made of requests/ */
#define _POSIX_C_SOURCE 200809L
#include "flat.h"
#include "libsfu.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 20000, WARM_UP = 1000 };

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static size_t load(const char *folder, const char *name, uint8_t *bytes, size_t cap) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.bin", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size_t len = fread(bytes, 1, cap, file);
    fclose(file);
    return len;
}

static void must(uint32_t status, const char *what) {
    if (status != SFU_OK) {
        fprintf(stderr, "%s: %s\n", what, sfu_status_text(status));
        exit(1);
    }
}

/* Submits a request and waits until there is an answer. */
static size_t ask(uint64_t engine, const uint8_t *request, size_t len, uint8_t *replies, size_t cap) {
    size_t written = 0, needed = 0;
    must(sfu_engine_submit(engine, request, len, NULL, 0), "submit");
    while (written == 0) {
        must(sfu_engine_wait(engine, 5000), "wait");
        must(sfu_engine_poll(engine, replies, cap, &written, &needed), "poll");
    }
    return written;
}

/* The reply's table, which must be a good one. */
static flat_at good(struct flat message) {
    flat_at reply = flat_child(message, flat_root(message), 1);
    if (reply == 0 || flat_scalar(message, reply, 1, 2) != 0) {
        fprintf(stderr, "refused with code %d\n", (int)flat_scalar(message, reply, 1, 2));
        exit(1);
    }
    return reply;
}

/* The id in the one Created that was polled. */
static uint64_t created(const uint8_t *replies, size_t len) {
    struct flat message = {replies + 4, len - 4};
    flat_at reply = good(message);
    return flat_scalar(message, flat_child(message, reply, 5), 0, 8);
}

int main(int argc, char **argv) {
    static uint8_t options[1024], request[1024], replies[65536];
    static double times[ROUNDS];
    if (argc != 2) {
        fprintf(stderr, "give the folder of requests\n");
        return 2;
    }
    size_t len = load(argv[1], "engine_options", options, sizeof options);
    uint64_t engine = 0;
    must(sfu_engine_new(SFU_ABI_VERSION, options, len, &engine, NULL, 0), "new");
    len = load(argv[1], "create_router", request, sizeof request);
    uint64_t router = created(replies, ask(engine, request, len, replies, sizeof replies));
    len = load(argv[1], "get_dump", request, sizeof request);
    struct flat flat = {request + 4, len - 4};
    flat_at target = flat_field(flat, flat_child(flat, flat_root(flat), 1), 1);
    for (size_t i = 0; i < 8; i++) {
        request[4 + target + i] = (uint8_t)(router >> (8 * i));
    }
    for (int round = -WARM_UP; round < ROUNDS; round++) {
        double began = now_us();
        size_t written = ask(engine, request, len, replies, sizeof replies);
        good((struct flat){replies + 4, written - 4});
        if (round >= 0) {
            times[round] = now_us() - began;
        }
    }
    must(sfu_engine_free(engine), "free");
    qsort(times, ROUNDS, sizeof times[0], by_size);
    printf("command through the C ABI, one at a time: p50 %.1f us, p99 %.1f us\n", times[ROUNDS / 2],
           times[ROUNDS * 99 / 100]);
    return 0;
}
