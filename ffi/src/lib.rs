//! The C ABI of libsfu: `extern "C"` functions and nothing else.
//!
//! Told: handles and bytes. Tells: statuses, and bytes in the caller's buffers. Every pointer is checked for null, no
//! panic leaves, out values are written on success only. Limits: see the header. What a message means is the control
//! floor's business. `include/libsfu.h` is generated of this file, of `status.rs` and of `preamble.h`.

use std::ffi::c_char;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sfu_control::{Engine, EngineOptions, PollOutcome};

mod engines;
mod preflight;
pub mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thread_tests;

use status::*;

/// How long freeing an engine waits for its shards.
const FREE_TIMEOUT: Duration = Duration::from_secs(2);

/// Version of the library, such as "0.1.0". The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn sfu_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    guarded("sfu_version", || VERSION.as_ptr().cast(), || c"".as_ptr())
}

/// Version of the C ABI that the library has: SFU_ABI_VERSION of its own header. 0 if that cannot be told.
#[unsafe(no_mangle)]
pub extern "C" fn sfu_abi_version() -> u32 {
    guarded("sfu_abi_version", || SFU_ABI_VERSION, || 0)
}

/// Version of the schema that the library has: SFU_SCHEMA_VERSION of its own header. 0 if that cannot be told.
#[unsafe(no_mangle)]
pub extern "C" fn sfu_schema_version() -> u32 {
    guarded("sfu_schema_version", || SFU_SCHEMA_VERSION, || 0)
}

/// One sentence for a status. The text is static; it is never null.
#[unsafe(no_mangle)]
pub extern "C" fn sfu_status_text(status: u32) -> *const c_char {
    guarded("sfu_status_text", || status::text(status).as_ptr(), || c"".as_ptr())
}

/// Checks whether an engine could start on this machine, and writes one line for each check: state, name, value
/// found and remedy. Options are as for sfu_engine_new.
///
/// `report` receives at most `report_cap` bytes with a closing NUL; `report_len` (may be null) the length of the whole
/// text without it. Both are written whether or not all checks pass. Returns SFU_OK if an engine could start, else
/// the status with which sfu_engine_new would refuse.
///
/// # Safety
/// `options` points to `options_len` bytes, `report` to `report_cap` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_preflight(
    abi_version: u32,
    options: *const u8,
    options_len: usize,
    report: *mut c_char,
    report_cap: usize,
    report_len: *mut usize,
) -> u32 {
    checked("sfu_preflight", || {
        served(abi_version)?;
        // SAFETY: the caller promises the length.
        let options = parse(unsafe { input(options, options_len) }?);
        if report.is_null() && report_cap > 0 {
            return Err(SFU_NULL_POINTER);
        }
        let (status, text) = match options {
            Ok(options) => preflight::report(&options),
            Err(error) => (status::of_start(error.code), error.to_string()),
        };
        // SAFETY: the caller promises the capacity.
        unsafe { tell(report, report_cap, &text) };
        if !report_len.is_null() {
            // SAFETY: not null, and the caller promises that it is a size_t; alignment is not assumed.
            unsafe { report_len.write_unaligned(text.len()) };
        }
        if status == SFU_OK { Ok(()) } else { Err(status) }
    })
}

/// Starts an engine and writes its handle, which is never 0.
///
/// Give SFU_ABI_VERSION as `abi_version`. `options` is a message whose content is EngineOptions; null with length 0
/// takes the defaults. When it fails, one line with cause, value and remedy goes to `why`, cut at `why_cap` bytes with
/// a closing NUL; `why` may be null.
///
/// # Safety
/// `options` points to `options_len` bytes, `engine` to a uint64_t, `why` to `why_cap` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_engine_new(
    abi_version: u32,
    options: *const u8,
    options_len: usize,
    engine: *mut u64,
    why: *mut c_char,
    why_cap: usize,
) -> u32 {
    checked("sfu_engine_new", || {
        served(abi_version)?;
        // SAFETY: the caller promises the length.
        let options = unsafe { input(options, options_len) }?;
        if engine.is_null() {
            return Err(SFU_NULL_POINTER);
        }
        engines::owned()?;
        let started = parse(options).and_then(|options| Engine::with_options(&options)).map_err(|error| {
            // SAFETY: the caller promises the capacity.
            unsafe { tell(why, why_cap, &error.to_string()) };
            status::of_start(error.code)
        })?;
        let handle = engines::insert(started)?;
        // SAFETY: not null, and the caller promises that it is a uint64_t; alignment is not assumed.
        unsafe { engine.write_unaligned(handle) };
        Ok(())
    })
}

/// Hands over one message whose content is a Request. The bytes are copied before it returns.
///
/// An accepted request gets exactly one Reply by sfu_engine_poll; a refused one gets none. When it is refused, one line
/// that names the field goes to `why`, cut at `why_cap` bytes with a closing NUL; `why` may be null.
///
/// # Safety
/// `message` points to `message_len` bytes, `why` to `why_cap` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_engine_submit(
    engine: u64,
    message: *const u8,
    message_len: usize,
    why: *mut c_char,
    why_cap: usize,
) -> u32 {
    entered("sfu_engine_submit", engine, |engine| {
        // SAFETY: the caller promises the length.
        let message = unsafe { input(message, message_len) }?;
        engine.submit(message).map_err(|error| {
            // SAFETY: the caller promises the capacity.
            unsafe { tell(why, why_cap, &error.to_string()) };
            status::of_refusal(&error)
        })
    })
}

/// Writes as many whole messages as fit: replies and events, each size-prefixed, one after the other.
///
/// `written` receives the bytes written, `needed` the size of the next message that did not fit, or 0 when nothing is
/// left. Poll until both are 0: the event descriptor tells of new messages only. If not even the first message fits,
/// the status is SFU_BUFFER_TOO_SMALL and `needed` is written all the same. After sfu_engine_shutdown the last messages
/// can be polled; then the status is SFU_CLOSED.
///
/// # Safety
/// `buffer` points to `buffer_cap` bytes that nothing else uses during the call, `written` and `needed` to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_engine_poll(
    engine: u64,
    buffer: *mut u8,
    buffer_cap: usize,
    written: *mut usize,
    needed: *mut usize,
) -> u32 {
    entered("sfu_engine_poll", engine, |engine| {
        let poll = |buffer: &mut [u8]| engine.poll(buffer).map_err(|error| status::of_refusal(&error));
        // SAFETY: the caller promises as much.
        unsafe { polled(buffer, buffer_cap, written, needed, poll) }
    })
}

/// Gives packets to direct transports: RTP or RTCP in plaintext, each as one record of the object's id (uint64_t), the
/// packet's length (uint32_t), both little-endian, and the packet, one record after the other. The object is a direct
/// transport, or a producer on one. The bytes are copied before it returns.
///
/// `taken` (may be null) receives how many packets were queued; it is written also when a later record is refused
/// (SFU_MALFORMED, SFU_CLOSED). A queue that is full gives up its oldest packets; the statistics count them as
/// media_queue_full, and packets that no producer takes by their reason.
///
/// # Safety
/// `packets` points to `packets_len` bytes, `taken` to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_engine_send_media(
    engine: u64,
    packets: *const u8,
    packets_len: usize,
    taken: *mut usize,
) -> u32 {
    entered("sfu_engine_send_media", engine, |engine| {
        // SAFETY: the caller promises the length.
        let packets = unsafe { input(packets, packets_len) }?;
        let (count, verdict) = engine.send_media(packets);
        if !taken.is_null() {
            // SAFETY: not null, and the caller promises that it is a size_t; alignment is not assumed.
            unsafe { taken.write_unaligned(count) };
        }
        verdict.map_err(|error| status::of_refusal(&error))
    })
}

/// Writes packets of direct transports, as many whole records as fit. Records are as for sfu_engine_send_media; the
/// object is the consumer that sends RTP, and the transport for RTCP.
///
/// `written` and `needed` are as for sfu_engine_poll, and so is SFU_BUFFER_TOO_SMALL. 65519 bytes hold any record.
///
/// # Safety
/// `buffer` points to `buffer_cap` bytes that nothing else uses during the call, `written` and `needed` to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_engine_poll_media(
    engine: u64,
    buffer: *mut u8,
    buffer_cap: usize,
    written: *mut usize,
    needed: *mut usize,
) -> u32 {
    entered("sfu_engine_poll_media", engine, |engine| {
        // SAFETY: the caller promises as much.
        unsafe { polled(buffer, buffer_cap, written, needed, |buffer| Ok(engine.poll_media(buffer))) }
    })
}

/// Writes a file descriptor that is readable when there is something for sfu_engine_poll_media. It belongs to the
/// engine and lives as long: neither read, write nor close it.
///
/// # Safety
/// `fd` points to an int32_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_engine_media_fd(engine: u64, fd: *mut i32) -> u32 {
    // SAFETY: the caller promises as much.
    entered("sfu_engine_media_fd", engine, |engine| unsafe { descriptor(fd, engine.media_fd()) })
}

/// Blocks until there may be something to poll (SFU_OK), or the time is over (SFU_TIMEOUT). `timeout_ms` 0 only asks;
/// SFU_FOREVER waits without an end. Shutting down or freeing the engine on another thread ends the wait.
#[unsafe(no_mangle)]
pub extern "C" fn sfu_engine_wait(engine: u64, timeout_ms: u32) -> u32 {
    entered("sfu_engine_wait", engine, |engine| {
        let timeout = (timeout_ms != SFU_FOREVER).then(|| Duration::from_millis(timeout_ms.into()));
        if engine.wait(timeout) { Ok(()) } else { Err(SFU_TIMEOUT) }
    })
}

/// Writes a file descriptor that is readable when there is something to poll, for epoll and its like. It belongs to
/// the engine and lives as long: neither read, write nor close it.
///
/// # Safety
/// `fd` points to an int32_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sfu_engine_event_fd(engine: u64, fd: *mut i32) -> u32 {
    // SAFETY: the caller promises as much.
    entered("sfu_engine_event_fd", engine, |engine| unsafe { descriptor(fd, engine.event_fd()) })
}

/// Ends the engine's shards, which tell their peers first (for a second at most); what is in flight is answered as
/// closed and can still be polled. A second call is no error. SFU_TIMEOUT if a shard had not ended after `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn sfu_engine_shutdown(engine: u64, timeout_ms: u32) -> u32 {
    entered("sfu_engine_shutdown", engine, |engine| {
        engine.shutdown(Duration::from_millis(timeout_ms.into())).map_err(|_| SFU_TIMEOUT)
    })
}

/// Frees an engine, shutting it down first if that was not done (at most two seconds). The handle is dead from here
/// on: every later call with it, on any thread, is SFU_NOT_FOUND. A call that is under way on another thread ends
/// first or is told SFU_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn sfu_engine_free(engine: u64) -> u32 {
    checked("sfu_engine_free", || {
        let engine = engines::remove(engine)?;
        // Threads that wait in another call must come back; that a shard is slow to end is not the caller's to mend.
        let _ = engine.shutdown(FREE_TIMEOUT);
        Ok(())
    })
}

/// Runs the body of an export that is about a living engine: every call with a handle comes through here. The engine
/// lives at least until the body is done.
fn entered(export: &'static str, handle: u64, body: impl FnOnce(&Engine) -> Result<(), u32>) -> u32 {
    checked(export, || body(&*engines::find(handle)?))
}

/// Lets an engine fill the caller's buffer with whole messages or records.
///
/// # Safety
/// As for sfu_engine_poll: `buffer` points to `cap` bytes that nothing else uses, `written` and `needed` to a size_t.
unsafe fn polled(
    buffer: *mut u8,
    cap: usize,
    written: *mut usize,
    needed: *mut usize,
    poll: impl FnOnce(&mut [u8]) -> Result<PollOutcome, u32>,
) -> Result<(), u32> {
    // SAFETY: as promised to this function.
    let buffer = unsafe { output(buffer, cap) }?;
    if written.is_null() || needed.is_null() {
        return Err(SFU_NULL_POINTER);
    }
    let outcome = poll(buffer)?;
    // SAFETY: neither is null, and each is promised to be a size_t; alignment is not assumed.
    unsafe {
        written.write_unaligned(outcome.written);
        needed.write_unaligned(outcome.needed);
    }
    if outcome.written == 0 && outcome.needed > 0 { Err(SFU_BUFFER_TOO_SMALL) } else { Ok(()) }
}

/// Writes the number of a descriptor.
///
/// # Safety
/// `fd` is null or points to an int32_t.
unsafe fn descriptor(fd: *mut i32, descriptor: BorrowedFd<'_>) -> Result<(), u32> {
    if fd.is_null() {
        return Err(SFU_NULL_POINTER);
    }
    // SAFETY: not null, and promised to be an int32_t; alignment is not assumed.
    unsafe { fd.write_unaligned(descriptor.as_raw_fd()) };
    Ok(())
}

/// Runs the body of an export that returns a status.
fn checked(export: &'static str, body: impl FnOnce() -> Result<(), u32>) -> u32 {
    let body = || match body() {
        Ok(()) => SFU_OK,
        Err(status) => status,
    };
    guarded(export, body, || SFU_PANIC)
}

/// Runs the body of an export; a panic ends here, since one that left would abort the host.
fn guarded<T>(export: &'static str, body: impl FnOnce() -> T, otherwise: impl FnOnce() -> T) -> T {
    let body = || {
        #[cfg(test)]
        tests::planted(export);
        #[cfg(not(test))]
        let _ = export;
        body()
    };
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // Dropping what was thrown may throw again.
        std::mem::forget(payload);
        otherwise()
    })
}

/// Whether a program compiled with that version of the header is served. Versions only add, so older ones are.
fn served(abi_version: u32) -> Result<(), u32> {
    if (1..=SFU_ABI_VERSION).contains(&abi_version) { Ok(()) } else { Err(SFU_ABI_MISMATCH) }
}

/// Options of an engine; no bytes are the defaults.
fn parse(options: &[u8]) -> Result<EngineOptions, sfu_control::host::StartError> {
    if options.is_empty() { Ok(EngineOptions::default()) } else { EngineOptions::decode(options) }
}

/// The caller's bytes to read. Null is none, if the length says so too.
///
/// # Safety
/// `pointer` is null or points to `len` bytes that do not change during the call.
unsafe fn input<'a>(pointer: *const u8, len: usize) -> Result<&'a [u8], u32> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(SFU_NULL_POINTER);
    }
    if isize::try_from(len).is_err() {
        return Err(SFU_INVALID_ARGUMENT);
    }
    // SAFETY: not null, the length fits an allocation, and the caller promises that it is right.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// The caller's bytes to write.
///
/// # Safety
/// `pointer` is null or points to `cap` bytes that nothing else uses during the call.
unsafe fn output<'a>(pointer: *mut u8, cap: usize) -> Result<&'a mut [u8], u32> {
    if cap == 0 {
        return Ok(&mut []);
    }
    if pointer.is_null() {
        return Err(SFU_NULL_POINTER);
    }
    if isize::try_from(cap).is_err() {
        return Err(SFU_INVALID_ARGUMENT);
    }
    // SAFETY: not null, the length fits an allocation, and the caller promises that it is right.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, cap) })
}

/// Writes a text with a closing NUL, cut at a character so that it fits. Null or no room: nothing is written.
///
/// # Safety
/// `pointer` is null or points to `cap` bytes that nothing else uses during the call.
unsafe fn tell(pointer: *mut c_char, cap: usize, text: &str) {
    // SAFETY: as promised to this function.
    let Ok(buffer) = (unsafe { output(pointer.cast(), cap) }) else {
        return;
    };
    let Some(room) = buffer.len().checked_sub(1) else {
        return;
    };
    // A NUL within would end the text early for a C caller.
    let text = text.split('\0').next().unwrap_or_default();
    let end = text.floor_char_boundary(room);
    buffer[..end].copy_from_slice(&text.as_bytes()[..end]);
    buffer[end] = 0;
}
