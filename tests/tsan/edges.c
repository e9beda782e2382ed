/* What ThreadSanitizer must be told of Rust's standard library, which comes compiled without it: who waited for a lock has it
 * after the one who gave it up. The uncontended ways are inlined into our own code, and so are seen; these are the others. The
 * linker puts each in the place of the function whose name run.sh gives it. */
#include <stdint.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

#define JOIN_AS_WRITTEN(a, b) a##b
#define JOIN(a, b) JOIN_AS_WRITTEN(a, b)
#define WRAP(name) JOIN(__wrap_, name)
#define REAL(name) JOIN(__real_, name)

#define LOCK(name)              \
    void REAL(name)(void *lock); \
    void WRAP(name)(void *lock); \
    void WRAP(name)(void *lock) { \
        REAL(name)(lock);         \
        __tsan_acquire(lock);     \
    }

/* A condition gives a lock up and takes it again. The words after it are a time, however it is passed. */
#define WAIT(name)                                                                 \
    _Bool REAL(name)(void *condition, void *lock, uint64_t a, uint64_t b, uint64_t c); \
    _Bool WRAP(name)(void *condition, void *lock, uint64_t a, uint64_t b, uint64_t c); \
    _Bool WRAP(name)(void *condition, void *lock, uint64_t a, uint64_t b, uint64_t c) { \
        __tsan_release(lock);                                                      \
        _Bool result = REAL(name)(condition, lock, a, b, c);                       \
        __tsan_acquire(lock);                                                      \
        return result;                                                             \
    }

/* What is made once is made before it is used. */
#define ONCE(name)                                                         \
    void REAL(name)(void *once, uint64_t a, void *b, void *c, void *d);     \
    void WRAP(name)(void *once, uint64_t a, void *b, void *c, void *d);     \
    void WRAP(name)(void *once, uint64_t a, void *b, void *c, void *d) {    \
        REAL(name)(once, a, b, c, d);                                       \
        __tsan_acquire(once);                                               \
        __tsan_release(once);                                               \
    }

LOCK(MUTEX_LOCK)
LOCK(RWLOCK_READ)
LOCK(RWLOCK_WRITE)
WAIT(CONDVAR_WAIT)
WAIT(CONDVAR_WAIT_TIMEOUT)
ONCE(ONCE_CALL)
