/* libsfu: a WebRTC selective forwarding engine.
 *
 * Bytes through a slot. A program starts an engine, submits requests, and polls replies and events. What requests,
 * replies and events are stands in libsfu.fbs; each is one size-prefixed flatbuffer of the table Message. All that
 * grows, grows there.
 *
 * Ownership: we copy your bytes before a call returns; what we give you is written into your buffer; the only thing
 * you free is the engine, once. An engine is a number, not a pointer: a freed or invented one is SFU_NOT_FOUND.
 *
 * Every call returns a status; SFU_OK is 0, and numbers are never changed or used again. Pointers may be null only
 * where that is said, else SFU_NULL_POINTER. Nothing is written unless the call succeeds, but for the texts that say
 * why it failed and for `needed` of sfu_engine_poll. There is no last error, per thread or otherwise.
 *
 * Threads:
 *
 *   function              may be called from               blocks
 *   --------------------  -------------------------------  -----------------------------------------------
 *   sfu_version           any thread                       no
 *   sfu_abi_version       any thread                       no
 *   sfu_schema_version    any thread                       no
 *   sfu_status_text       any thread                       no
 *   sfu_preflight         any thread                       for the checks, under a second
 *   sfu_engine_new        any thread                       until the shards run
 *   sfu_engine_submit     any thread, any number at once   no
 *   sfu_engine_poll       any thread; one at a time, else  no
 *                         messages are shared out
 *   sfu_engine_send_media any thread                       no
 *   sfu_engine_poll_media any thread; one at a time, else  no
 *                         packets are shared out
 *   sfu_engine_media_fd   any thread                       no
 *   sfu_engine_wait       any thread                       at most timeout_ms
 *   sfu_engine_event_fd   any thread                       no
 *   sfu_engine_shutdown   any thread                       at most timeout_ms
 *   sfu_engine_free       any thread                       at most two seconds
 *
 * None may be called from a signal handler. A child forked while its parent had an engine is told SFU_FORKED by every
 * call that names or makes one. There are no callbacks; no thread of yours is ever needed for media to flow. The library never writes to your standard streams, but a panic
 * inside it (a bug: SFU_PANIC) says where it was on standard error. Descriptors are close-on-exec.
 *
 * Link with -lsfu, or with libsfu.a -lpthread -ldl -lm. libsfu.a brings an OpenSSL of its own: do not link another
 * into the same program; the shared library hides its own.
 *
 * Example: start an engine with its defaults, ask what it is made of, and end.
 *
 *     #include "libsfu.h"
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         // {"content_type": "Request", "content": {"id": 7, "body_type": "GetDump", "body": {}}}, by flatc.
 *         static const uint8_t request[] = {
 *             0x44, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x4c, 0x53, 0x46, 0x55, 0x08, 0x00, 0x0c, 0x00, 0x07,
 *             0x00, 0x08, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x10, 0x00, 0x00, 0x00, 0x0c, 0x00,
 *             0x14, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x07, 0x00, 0x08, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
 *             0x10, 0x10, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x04, 0x00,
 *             0x04, 0x00, 0x00, 0x00,
 *         };
 *         static uint8_t buffer[65536];
 *         char why[256] = "";
 *         uint64_t engine = 0;
 *         size_t written = 0, needed = 0;
 *
 *         uint32_t status = sfu_engine_new(SFU_ABI_VERSION, NULL, 0, &engine, why, sizeof why);
 *         if (status != SFU_OK) {
 *             fprintf(stderr, "%s: %s\n", sfu_status_text(status), why);
 *             return 1;
 *         }
 *         status = sfu_engine_submit(engine, request, sizeof request, why, sizeof why);
 *         while (status == SFU_OK && written == 0) {
 *             status = sfu_engine_wait(engine, 5000);
 *             if (status == SFU_OK) {
 *                 status = sfu_engine_poll(engine, buffer, sizeof buffer, &written, &needed);
 *             }
 *         }
 *         printf("libsfu %s: %s, a reply of %zu bytes\n", sfu_version(), sfu_status_text(status), written);
 *         sfu_engine_free(engine);
 *         return status == SFU_OK ? 0 : 1;
 *     }
 *
 * End of example.
 */
