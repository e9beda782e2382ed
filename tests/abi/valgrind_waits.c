/* Preloaded under valgrind only. Valgrind 3.19 knows no epoll_pwait2, which becomes an epoll_pwait; and it does not know that io_uring_enter may block: it keeps the lock under which
 * all threads of the program run, so that the thread which would end the wait never does. Here such a wait becomes a
 * poll of the ring's descriptor, which valgrind does know, followed by a call that does not wait. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ENTER_GETEVENTS = 1, ENTER_EXT_ARG = 8 };

/* The argument of a wait with a time limit (struct io_uring_getevents_arg). */
struct wait_argument {
    uint64_t sigmask;
    uint32_t sigmask_len, pad;
    uint64_t timespec;
};

static long raw(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static long enter(long fd, long to_submit, long min_complete, long flags, long arg, long size) {
    if (min_complete == 0 || !(flags & ENTER_GETEVENTS)) {
        return raw(SYS_io_uring_enter, fd, to_submit, min_complete, flags, arg, size);
    }
    long submitted = 0;
    if (to_submit > 0) {
        submitted = raw(SYS_io_uring_enter, fd, to_submit, 0, flags & ~ENTER_EXT_ARG, 0, 0);
        if (submitted < 0) {
            return submitted;
        }
    }
    const struct timespec *limit = NULL;
    if ((flags & ENTER_EXT_ARG) && arg != 0) {
        limit = (const struct timespec *)(uintptr_t)((const struct wait_argument *)arg)->timespec;
    }
    struct pollfd ring = {.fd = (int)fd, .events = POLLIN};
    int ready = ppoll(&ring, 1, limit, NULL);
    long ran = raw(SYS_io_uring_enter, fd, 0, 0, flags & ~ENTER_EXT_ARG, 0, 0);
    if (ready == 0 && submitted == 0) {
        errno = ETIME;
        return -1;
    }
    return ran < 0 ? ran : submitted;
}

static long wait_epoll(long fd, long events, long count, long limit) {
    const struct timespec *time = (const struct timespec *)limit;
    /* Rounded up, so that a wait is never shorter than asked for. */
    int ms = time == NULL ? -1 : (int)(time->tv_sec * 1000 + (time->tv_nsec + 999999) / 1000000);
    return epoll_pwait((int)fd, (struct epoll_event *)events, (int)count, ms, NULL);
}

long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    switch (number) {
    case SYS_io_uring_enter:
        return enter(a, b, c, d, e, f);
    case SYS_epoll_pwait2:
        return wait_epoll(a, b, c, d);
    default:
        return raw(number, a, b, c, d, e, f);
    }
}
