/* The first call in C: an engine, and a room for Opus in it. */
#include "session.h"

int main(void) {
    static struct session session;
    if (session_start(&session) != 0) {
        return 1;
    }
    struct flat_out *out = &session.out;
    const struct flat_field codec[] = {
        {0, 1, AUDIO}, {1, 0, flat_write_text(out, "audio/opus")}, {3, 4, 48000}, {4, 1, 2}};
    flat_ref codecs[] = {flat_write_table(out, codec, 4)};
    const struct flat_field router[] = {{0, 0, flat_write_list(out, codecs, 1)}};
    uint64_t room = session_make(&session, 0, CREATE_ROUTER, flat_write_table(out, router, 1));
    printf("libsfu %s, room %016" PRIx64 "\n", sfu_version(), room);
    sfu_engine_free(session.engine);
    return room == 0;
}
