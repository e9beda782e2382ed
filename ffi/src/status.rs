//! Versions and statuses of the C ABI. Numbers are never changed or used again.
//!
//! 1 to 99 are the codes of the schema's replies, 100 to 199 belong to the calls themselves, 200 to 299 are reasons
//! for which an engine does not start.

use std::ffi::CStr;

/// Version of this header. Grows when a function or a status is added.
pub const SFU_ABI_VERSION: u32 = 1;

/// Version of libsfu.fbs. Grows when something is appended to it.
pub const SFU_SCHEMA_VERSION: u32 = 1;

/// Give as `timeout_ms` to wait without an end.
pub const SFU_FOREVER: u32 = u32::MAX;

/// Done.
pub const SFU_OK: u32 = 0;
/// The bytes are not a message that can be taken; nothing was done.
pub const SFU_MALFORMED: u32 = 1;
/// A value is out of its range.
pub const SFU_INVALID_ARGUMENT: u32 = 2;
/// There is no such engine: never made, or freed.
pub const SFU_NOT_FOUND: u32 = 3;
/// Not possible in this state.
pub const SFU_INVALID_STATE: u32 = 4;
/// The request id is in use by a request in flight.
pub const SFU_ALREADY_EXISTS: u32 = 5;
/// Well-formed, but outside what libsfu does.
pub const SFU_UNSUPPORTED: u32 = 6;
/// A queue is full: poll, then try again.
pub const SFU_BUSY: u32 = 7;
/// A limit of the configuration or of the machine is reached.
pub const SFU_RESOURCE_EXHAUSTED: u32 = 8;
/// An address or port cannot be had.
pub const SFU_ADDRESS_UNAVAILABLE: u32 = 9;
/// The engine was shut down.
pub const SFU_CLOSED: u32 = 10;
/// A bug in libsfu.
pub const SFU_INTERNAL: u32 = 11;

/// A pointer is null that must not be.
pub const SFU_NULL_POINTER: u32 = 100;
/// The program was compiled with a header that this library does not serve.
pub const SFU_ABI_MISMATCH: u32 = 101;
/// The time is over and nothing came.
pub const SFU_TIMEOUT: u32 = 102;
/// The next message is larger than the buffer; `needed` tells its size.
pub const SFU_BUFFER_TOO_SMALL: u32 = 103;
/// This process was forked by one that has engines; only that one can use the library.
pub const SFU_FORKED: u32 = 104;
/// A bug in libsfu, caught before it could unwind into the caller.
pub const SFU_PANIC: u32 = 105;
/// Too many engines in this process.
pub const SFU_TOO_MANY_ENGINES: u32 = 106;

/// An option of the engine is out of its range.
pub const SFU_START_INVALID_OPTIONS: u32 = 201;
/// The kernel is too old.
pub const SFU_START_KERNEL_TOO_OLD: u32 = 202;
/// io_uring is denied by a sysctl, by seccomp, or lacks an operation.
pub const SFU_START_IO_URING_UNAVAILABLE: u32 = 203;
/// Not enough memory may be locked.
pub const SFU_START_MEMLOCK_TOO_LOW: u32 = 204;
/// Not enough files may be opened.
pub const SFU_START_FILE_LIMIT_TOO_LOW: u32 = 205;
/// A shard cannot have the core that was asked for.
pub const SFU_START_CPU_UNAVAILABLE: u32 = 206;
/// An address or port cannot be had.
pub const SFU_START_ADDRESS_UNAVAILABLE: u32 = 207;
/// The kernel gives no randomness.
pub const SFU_START_NO_ENTROPY: u32 = 208;
/// The certificate or key cannot be used.
pub const SFU_START_CERTIFICATE: u32 = 209;
/// A resource ran out while starting.
pub const SFU_START_RESOURCE: u32 = 210;
/// A bug in libsfu.
pub const SFU_START_INTERNAL: u32 = 211;

/// First number of the reasons for which an engine does not start.
const START: u32 = 200;

/// The status for a reason not to start.
pub(crate) fn of_start(code: sfu_control::host::StartCode) -> u32 {
    START + code as u32
}

/// The status for a refusal.
pub(crate) fn of_refusal(error: &sfu_control::SubmitError) -> u32 {
    error.code as u32
}

/// One sentence for each status.
pub(crate) fn text(status: u32) -> &'static CStr {
    match status {
        SFU_OK => c"done",
        SFU_MALFORMED => c"the bytes are not a message that can be taken",
        SFU_INVALID_ARGUMENT => c"a value is out of its range",
        SFU_NOT_FOUND => c"there is no such engine: never made, or freed",
        SFU_INVALID_STATE => c"not possible in this state",
        SFU_ALREADY_EXISTS => c"the request id is in use by a request in flight",
        SFU_UNSUPPORTED => c"outside what libsfu does",
        SFU_BUSY => c"a queue is full: poll, then try again",
        SFU_RESOURCE_EXHAUSTED => c"a limit of the configuration or of the machine is reached",
        SFU_ADDRESS_UNAVAILABLE => c"an address or port cannot be had",
        SFU_CLOSED => c"the engine was shut down",
        SFU_INTERNAL => c"a bug in libsfu",
        SFU_NULL_POINTER => c"a pointer is null that must not be",
        SFU_ABI_MISMATCH => c"the program was compiled with a header that this library does not serve",
        SFU_TIMEOUT => c"the time is over and nothing came",
        SFU_BUFFER_TOO_SMALL => c"the next message is larger than the buffer",
        SFU_FORKED => c"this process was forked by one that has engines",
        SFU_PANIC => c"a bug in libsfu, caught before it could unwind into the caller",
        SFU_TOO_MANY_ENGINES => c"too many engines in this process",
        SFU_START_INVALID_OPTIONS => c"an option of the engine is out of its range",
        SFU_START_KERNEL_TOO_OLD => c"the kernel is too old",
        SFU_START_IO_URING_UNAVAILABLE => c"io_uring is denied or lacks an operation",
        SFU_START_MEMLOCK_TOO_LOW => c"not enough memory may be locked",
        SFU_START_FILE_LIMIT_TOO_LOW => c"not enough files may be opened",
        SFU_START_CPU_UNAVAILABLE => c"a shard cannot have the core that was asked for",
        SFU_START_ADDRESS_UNAVAILABLE => c"an address or port cannot be had",
        SFU_START_NO_ENTROPY => c"the kernel gives no randomness",
        SFU_START_CERTIFICATE => c"the certificate or key cannot be used",
        SFU_START_RESOURCE => c"a resource ran out while starting",
        SFU_START_INTERNAL => c"a bug in libsfu, met while starting",
        _ => c"not a status of this version",
    }
}
