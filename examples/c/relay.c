/* Plain RTP in, plain RTP out: takes VP8 from ffmpeg at one UDP port of this host and sends it to a player at another.
 * Ends by SIGINT or SIGTERM.
 *
 *     relay IN_PORT OUT_PORT SDP_FILE
 *
 * SDP_FILE is written for the player: it says at which port which payload type comes. README.md has the commands of
 * both sides. */
#define _POSIX_C_SOURCE 200809L
#include "video.h"

#include <signal.h>
#include <stdlib.h>

/* ffmpeg is told to use it (-ssrc), so that its stream is known when it comes. */
enum { SSRC = 11111 };

static volatile sig_atomic_t ended;

static void on_signal(int number) { ended = number; }

static void on_event(uint64_t source, uint64_t type) {
    if (type == EVENT_TRANSPORT_TUPLE_CHANGED) {
        printf("the sender was heard\n");
    } else if (type == EVENT_OBJECT_CLOSED) {
        printf("closed: %016" PRIx64 "\n", source);
    }
    fflush(stdout);
}

static flat_ref listen_at(struct session *session, uint16_t port) {
    const struct flat_field info[] = {{1, 0, flat_write_text(&session->out, "127.0.0.1")}, {4, 2, port}};
    return flat_write_table(&session->out, info, 2);
}

/* Takes RTP from whoever sends first (comedia). */
static uint64_t create_input(struct session *session, uint64_t router, uint16_t port) {
    const struct flat_field body[] = {{0, 0, listen_at(session, port)}, {2, 1, 1}, {3, 1, 1}};
    return session_make(session, router, CREATE_PLAIN_TRANSPORT, flat_write_table(&session->out, body, 3));
}

/* Sends to a port that is told. */
static uint64_t create_output(struct session *session, uint64_t router, uint16_t port) {
    struct flat message;
    const struct flat_field body[] = {{0, 0, listen_at(session, 0)}, {2, 1, 1}};
    uint64_t transport = session_make(session, router, CREATE_PLAIN_TRANSPORT, flat_write_table(&session->out, body, 2));
    const struct flat_field peer[] = {{0, 0, flat_write_text(&session->out, "127.0.0.1")}, {1, 2, port}};
    flat_ref connect = flat_write_table(&session->out, peer, 2);
    return transport != 0 && session_ask(session, transport, CONNECT_PLAIN_TRANSPORT, connect, &message) != 0 ? transport : 0;
}

static int write_sdp(const char *path, uint16_t port, unsigned payload_type) {
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    fprintf(file, "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=relay\nc=IN IP4 127.0.0.1\nt=0 0\n");
    fprintf(file, "m=video %u RTP/AVP %u\na=rtpmap:%u VP8/%d\na=rtcp-mux\n", port, payload_type, payload_type, CLOCK_RATE);
    return fclose(file);
}

static uint16_t port_of(const char *text) {
    long port = strtol(text, NULL, 10);
    if (port < 1 || port > 65535) {
        fprintf(stderr, "%s is no port; give 1 to 65535\n", text);
        exit(2);
    }
    return (uint16_t)port;
}

int main(int argc, char **argv) {
    static struct session session;
    if (argc != 4) {
        fprintf(stderr, "relay IN_PORT OUT_PORT SDP_FILE\n");
        return 2;
    }
    uint16_t in_port = port_of(argv[1]), out_port = port_of(argv[2]);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    session.on_event = on_event;
    if (session_start(&session) != 0) {
        return 1;
    }
    uint64_t router = create_router(&session);
    uint64_t input = router == 0 ? 0 : create_input(&session, router, in_port);
    uint64_t output = input == 0 ? 0 : create_output(&session, router, out_port);
    uint64_t producer = output == 0 ? 0 : produce(&session, input, SSRC);
    struct sent sent = {0, 0, 0};
    if (producer != 0) {
        sent = consume(&session, output, producer);
    }
    int failed = sent.consumer == 0 || write_sdp(argv[3], out_port, sent.payload_type) != 0;
    if (!failed) {
        printf("ready: VP8 in at %u, out to %u as payload type %u\n", in_port, out_port, sent.payload_type);
        fflush(stdout);
    }
    while (!failed && !ended) {
        struct flat message;
        /* A signal is seen after at most this long. */
        int came = session_next(&session, 200, &message);
        failed = came == 2;
        if (came == 0) {
            session_event(&session, message);
        }
    }
    sfu_engine_free(session.engine);
    return failed;
}
