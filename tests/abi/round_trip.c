/* How long a command takes through the C ABI on an idle engine: submit, wait, poll. Prints the median and the 99th
 * percentile of 20,000 round trips, in microseconds.
 *
 *     round_trip FOLDER    with the requests that flatc made of requests/ */
#define _POSIX_C_SOURCE 200809L
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

int main(int argc, char **argv) {
    static uint8_t options[1024], request[1024], replies[65536];
    static double times[ROUNDS];
    if (argc != 2) {
        fprintf(stderr, "give the folder of requests\n");
        return 2;
    }
    size_t options_len = load(argv[1], "engine_options", options, sizeof options);
    size_t request_len = load(argv[1], "get_stats", request, sizeof request);
    uint64_t engine = 0;
    must(sfu_engine_new(SFU_ABI_VERSION, options, options_len, &engine, NULL, 0), "new");
    for (int round = -WARM_UP; round < ROUNDS; round++) {
        size_t written = 0, needed = 0;
        double began = now_us();
        must(sfu_engine_submit(engine, request, request_len, NULL, 0), "submit");
        while (written == 0) {
            must(sfu_engine_wait(engine, 5000), "wait");
            must(sfu_engine_poll(engine, replies, sizeof replies, &written, &needed), "poll");
        }
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
