//! The C ABI called as a C program would, from Rust.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::{null, null_mut};

use super::*;

thread_local! {
    static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Panics if the test of this thread planted a panic behind the export.
pub(crate) fn planted(export: &str) {
    assert_ne!(PLANTED.get(), Some(export), "planted by a test");
}

/// A call that would succeed or be refused without harm. Tells the status, or SFU_PANIC for the fallback value of an
/// export that returns something else.
type Call = fn() -> u32;

/// Every export.
const EXPORTS: [(&str, Call); 15] = [
    ("sfu_version", || if text_of(sfu_version()).is_empty() { SFU_PANIC } else { SFU_OK }),
    ("sfu_abi_version", || if sfu_abi_version() == 0 { SFU_PANIC } else { SFU_OK }),
    ("sfu_schema_version", || if sfu_schema_version() == 0 { SFU_PANIC } else { SFU_OK }),
    ("sfu_status_text", || if text_of(sfu_status_text(0)).is_empty() { SFU_PANIC } else { SFU_OK }),
    // SAFETY: null pointers with length 0 are allowed or refused.
    ("sfu_preflight", || unsafe { sfu_preflight(0, null(), 0, null_mut(), 0, null_mut()) }),
    // SAFETY: as above.
    ("sfu_engine_new", || unsafe { sfu_engine_new(0, null(), 0, null_mut(), null_mut(), 0) }),
    // SAFETY: as above.
    ("sfu_engine_submit", || unsafe { sfu_engine_submit(0, null(), 0, null_mut(), 0) }),
    // SAFETY: as above.
    ("sfu_engine_poll", || unsafe { sfu_engine_poll(0, null_mut(), 0, null_mut(), null_mut()) }),
    // SAFETY: as above.
    ("sfu_engine_send_media", || unsafe { sfu_engine_send_media(0, null(), 0, null_mut()) }),
    // SAFETY: as above.
    ("sfu_engine_poll_media", || unsafe { sfu_engine_poll_media(0, null_mut(), 0, null_mut(), null_mut()) }),
    // SAFETY: as above.
    ("sfu_engine_media_fd", || unsafe { sfu_engine_media_fd(0, null_mut()) }),
    ("sfu_engine_wait", || sfu_engine_wait(0, 0)),
    // SAFETY: as above.
    ("sfu_engine_event_fd", || unsafe { sfu_engine_event_fd(0, null_mut()) }),
    ("sfu_engine_shutdown", || sfu_engine_shutdown(0, 0)),
    ("sfu_engine_free", || sfu_engine_free(0)),
];

fn text_of(text: *const c_char) -> &'static str {
    // SAFETY: the library's texts are static and end with a NUL.
    unsafe { CStr::from_ptr(text) }.to_str().expect("texts are UTF-8")
}

/// Names of the functions that lib.rs exports.
fn exported() -> Vec<&'static str> {
    let source = include_str!("lib.rs");
    let after = source.split("extern \"C\" fn ").skip(1);
    after.map(|rest| rest.split('(').next().unwrap_or_default()).collect()
}

/// GetDump of the engine, request id 7: the bytes of the header's example.
fn request() -> Vec<u8> {
    let example = include_str!("preamble.h");
    let bytes = example.split_once("request[] = {").and_then(|(_, rest)| rest.split_once('}')).expect("the example").0;
    let number = |word: &str| u8::from_str_radix(word.trim().trim_start_matches("0x"), 16).ok();
    bytes.split([',', '\n', '*', ' ']).filter(|word| word.starts_with("0x")).filter_map(number).collect()
}

/// An engine of one unpinned shard, so that tests can run beside each other.
fn engine() -> u64 {
    engine_of(1)
}

/// The same with so many shards.
pub(super) fn engine_of(shards: u16) -> u64 {
    let options = EngineOptions { shards, unpinned: true, ..EngineOptions::default() }.encode();
    let mut engine = 0;
    let mut why: [c_char; 256] = [0; 256];
    // SAFETY: all pointers are of live values of the lengths given.
    let status = unsafe {
        sfu_engine_new(SFU_ABI_VERSION, options.as_ptr(), options.len(), &raw mut engine, why.as_mut_ptr(), why.len())
    };
    assert_eq!(status, SFU_OK, "{}", text_of(why.as_ptr()));
    assert_ne!(engine, 0);
    engine
}

pub(super) fn submit(engine: u64, message: &[u8]) -> (u32, String) {
    let mut why: [c_char; 256] = [0; 256];
    // SAFETY: all pointers are of live values of the lengths given.
    let status = unsafe { sfu_engine_submit(engine, message.as_ptr(), message.len(), why.as_mut_ptr(), why.len()) };
    // SAFETY: zeroed before, and the library closes what it writes.
    (status, unsafe { CStr::from_ptr(why.as_ptr()) }.to_string_lossy().into_owned())
}

pub(super) fn poll(engine: u64, buffer: &mut [u8]) -> (u32, usize, usize) {
    let (mut written, mut needed) = (usize::MAX, usize::MAX);
    // SAFETY: all pointers are of live values of the lengths given.
    let status =
        unsafe { sfu_engine_poll(engine, buffer.as_mut_ptr(), buffer.len(), &raw mut written, &raw mut needed) };
    (status, written, needed)
}

#[test]
fn h35_a_panic_behind_every_export_is_a_status() {
    let names: Vec<&str> = EXPORTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, exported(), "every export is planted once, in the order of the file");
    for (name, call) in EXPORTS {
        assert_ne!(call(), SFU_PANIC, "{name} without a panic");
        PLANTED.set(Some(name));
        assert_eq!(call(), SFU_PANIC, "{name} with a panic");
        PLANTED.set(None);
    }
}

#[test]
fn the_threading_table_lists_every_function() {
    let preamble = include_str!("preamble.h");
    for name in exported() {
        assert!(preamble.contains(&format!(" *   {name} ")), "{name} is not in the threading table");
    }
}

#[test]
fn row_085_another_version_of_the_abi_is_refused() {
    for version in [0, SFU_ABI_VERSION + 1, u32::MAX] {
        let mut engine = 0;
        // SAFETY: null with length 0 is allowed; the handle is a live value.
        let status = unsafe { sfu_engine_new(version, null(), 0, &raw mut engine, null_mut(), 0) };
        assert_eq!((status, engine), (SFU_ABI_MISMATCH, 0));
    }
}

#[test]
fn row_076_null_pointers_are_refused_one_by_one() {
    let engine = engine();
    let message = request();
    let mut buffer = [0u8; 64];
    let mut size = 0usize;
    // SAFETY: every pointer is null or of a live value of the length given.
    unsafe {
        let mut why: [c_char; 8] = [0; 8];
        assert_eq!(sfu_engine_new(SFU_ABI_VERSION, null(), 0, null_mut(), why.as_mut_ptr(), 8), SFU_NULL_POINTER);
        let mut other = 0;
        assert_eq!(sfu_engine_new(SFU_ABI_VERSION, null(), 4, &raw mut other, null_mut(), 0), SFU_NULL_POINTER);
        assert_eq!(other, 0);
        assert_eq!(sfu_engine_submit(engine, null(), 4, null_mut(), 0), SFU_NULL_POINTER);
        assert_eq!(sfu_engine_submit(engine, null(), 0, null_mut(), 0), SFU_MALFORMED);
        assert_eq!(sfu_engine_submit(engine, message.as_ptr(), 0, null_mut(), 9), SFU_MALFORMED);
        assert_eq!(sfu_engine_poll(engine, null_mut(), 4, &raw mut size, &raw mut size), SFU_NULL_POINTER);
        assert_eq!(sfu_engine_poll(engine, buffer.as_mut_ptr(), 64, null_mut(), &raw mut size), SFU_NULL_POINTER);
        assert_eq!(sfu_engine_poll(engine, buffer.as_mut_ptr(), 64, &raw mut size, null_mut()), SFU_NULL_POINTER);
        assert_eq!(sfu_engine_poll(engine, null_mut(), 0, &raw mut size, &raw mut size), SFU_OK);
        assert_eq!(sfu_engine_event_fd(engine, null_mut()), SFU_NULL_POINTER);
        assert_eq!(sfu_preflight(SFU_ABI_VERSION, null(), 4, null_mut(), 0, null_mut()), SFU_NULL_POINTER);
        assert_eq!(sfu_preflight(SFU_ABI_VERSION, null(), 0, null_mut(), 4, null_mut()), SFU_NULL_POINTER);
        assert_eq!(sfu_engine_submit(engine, message.as_ptr(), usize::MAX, null_mut(), 0), SFU_INVALID_ARGUMENT);
    }
    assert_eq!(sfu_engine_free(engine), SFU_OK);
}

#[test]
fn row_073_a_freed_engine_is_not_found_by_any_call() {
    let engine = engine();
    assert_eq!(sfu_engine_free(engine), SFU_OK);
    assert_eq!(sfu_engine_free(engine), SFU_NOT_FOUND);
    assert_eq!(submit(engine, &request()).0, SFU_NOT_FOUND);
    assert_eq!(poll(engine, &mut [0; 64]), (SFU_NOT_FOUND, usize::MAX, usize::MAX));
    assert_eq!(sfu_engine_wait(engine, 0), SFU_NOT_FOUND);
    assert_eq!(sfu_engine_shutdown(engine, 0), SFU_NOT_FOUND);
    let mut fd = -7;
    // SAFETY: the descriptor is a live value.
    let status = unsafe { sfu_engine_event_fd(engine, &raw mut fd) };
    assert_eq!((status, fd), (SFU_NOT_FOUND, -7));
    // The slot is used again, the handle is not.
    let next = self::engine();
    assert_ne!(next, engine);
    assert_eq!(sfu_engine_wait(engine, 0), SFU_NOT_FOUND);
    assert_eq!(sfu_engine_free(next), SFU_OK);
}

#[test]
fn row_073_two_engines_answer_for_themselves_and_one_is_freed_on_another_thread() {
    let (a, b) = (engine(), engine());
    assert_eq!(submit(a, &request()).0, SFU_OK);
    assert_eq!(sfu_engine_wait(a, 5000), SFU_OK);
    assert_eq!(poll(b, &mut [0; 4096]), (SFU_OK, 0, 0));
    let (status, written, needed) = poll(a, &mut [0; 65536]);
    assert_eq!((status, needed), (SFU_OK, 0));
    assert!(written > 0);
    let freed = std::thread::spawn(move || sfu_engine_free(a)).join().expect("the thread ends");
    assert_eq!(freed, SFU_OK);
    assert_eq!(sfu_engine_wait(a, 0), SFU_NOT_FOUND);
    assert_eq!(submit(b, &request()).0, SFU_OK);
    assert_eq!(sfu_engine_free(b), SFU_OK);
}

#[test]
fn row_073_freeing_an_engine_ends_a_wait_on_another_thread() {
    let engine = engine();
    let (ready, begun) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        ready.send(()).expect("the test listens");
        sfu_engine_wait(engine, SFU_FOREVER)
    });
    begun.recv().expect("the waiter runs");
    assert_eq!(sfu_engine_free(engine), SFU_OK);
    let told = waiter.join().expect("the waiter comes back");
    assert!(matches!(told, SFU_OK | SFU_TIMEOUT | SFU_NOT_FOUND | SFU_CLOSED), "{told}");
}

#[test]
fn row_067_bytes_that_are_no_message_are_refused_with_a_text() {
    let engine = engine();
    let whole = request();
    for len in 0..whole.len() {
        let (status, why) = submit(engine, &whole[..len]);
        assert_eq!(status, SFU_MALFORMED, "cut at {len}");
        assert!(!why.is_empty(), "cut at {len}");
    }
    assert_eq!(submit(engine, &[0xff; 4096]).0, SFU_MALFORMED);
    assert_eq!(sfu_engine_free(engine), SFU_OK);
}

#[test]
fn row_068_unaligned_messages_and_wrong_lengths_do_no_harm() {
    let engine = engine();
    let whole = request();
    for shift in 0..8 {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(&whole);
        assert_eq!(submit(engine, &bytes[shift..]).0, SFU_OK, "shifted by {shift}");
        assert_eq!(sfu_engine_wait(engine, 5000), SFU_OK);
        assert_eq!(poll(engine, &mut [0; 65536]).0, SFU_OK);
    }
    for prefix in [u32::MAX, u32::MAX - 3, 1 << 31, 69, 67, 0] {
        let mut bytes = whole.clone();
        bytes[..4].copy_from_slice(&prefix.to_le_bytes());
        assert_eq!(submit(engine, &bytes).0, SFU_MALFORMED, "prefix {prefix}");
    }
    assert_eq!(sfu_engine_free(engine), SFU_OK);
}

#[test]
fn row_071_a_request_id_in_flight_is_refused_and_the_first_is_answered_once() {
    let engine = engine();
    let mut seen = 0;
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..64 {
        match submit(engine, &request()).0 {
            SFU_OK => accepted += 1,
            SFU_ALREADY_EXISTS => refused += 1,
            other => panic!("{other}: {}", text_of(sfu_status_text(other))),
        }
    }
    assert_eq!(accepted + refused, 64);
    let mut buffer = vec![0; 1 << 20];
    while seen < accepted {
        assert_eq!(sfu_engine_wait(engine, 5000), SFU_OK);
        let (status, written, _) = poll(engine, &mut buffer);
        assert_eq!(status, SFU_OK);
        seen += messages(&buffer[..written]);
    }
    assert_eq!(poll(engine, &mut buffer), (SFU_OK, 0, 0));
    assert_eq!(seen, accepted);
    assert_eq!(sfu_engine_free(engine), SFU_OK);
}

/// Number of size-prefixed messages.
fn messages(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((prefix, rest)) = bytes.split_first_chunk::<4>() {
        bytes = &rest[u32::from_le_bytes(*prefix) as usize..];
        count += 1;
    }
    count
}

#[test]
fn a_buffer_that_is_too_small_tells_the_size_and_keeps_the_message() {
    let engine = engine();
    assert_eq!(submit(engine, &request()).0, SFU_OK);
    assert_eq!(sfu_engine_wait(engine, 5000), SFU_OK);
    let (status, written, needed) = poll(engine, &mut [0; 8]);
    assert_eq!((status, written), (SFU_BUFFER_TOO_SMALL, 0));
    let mut buffer = vec![0; needed];
    assert_eq!(poll(engine, &mut buffer), (SFU_OK, needed, 0));
    assert_eq!(sfu_engine_free(engine), SFU_OK);
}

#[test]
fn row_077_shutdown_twice_is_done_and_then_everything_is_closed() {
    let engine = engine();
    assert_eq!(sfu_engine_shutdown(engine, 2000), SFU_OK);
    assert_eq!(sfu_engine_shutdown(engine, 2000), SFU_OK);
    let (status, why) = submit(engine, &request());
    assert_eq!(status, SFU_CLOSED, "{why}");
    assert_eq!(poll(engine, &mut [0; 4096]).0, SFU_CLOSED);
    assert_eq!(sfu_engine_free(engine), SFU_OK);
}

#[test]
fn every_status_has_a_sentence_of_its_own_kind() {
    for status in (0..=11).chain(100..=106).chain(201..=211) {
        assert_ne!(text_of(sfu_status_text(status)), text_of(sfu_status_text(u32::MAX)), "{status}");
    }
    assert_eq!(text_of(sfu_status_text(12)), "not a status of this version");
}

#[test]
fn row_078_options_out_of_range_are_named() {
    let options = EngineOptions { shards: 4096, ..EngineOptions::default() }.encode();
    let mut engine = 0;
    let mut why: [c_char; 200] = [0; 200];
    // SAFETY: all pointers are of live values of the lengths given.
    let status = unsafe {
        sfu_engine_new(SFU_ABI_VERSION, options.as_ptr(), options.len(), &raw mut engine, why.as_mut_ptr(), why.len())
    };
    assert_eq!((status, engine), (SFU_START_INVALID_OPTIONS, 0));
    assert!(text_of(why.as_ptr()).contains("shards"), "{}", text_of(why.as_ptr()));
}

#[test]
fn texts_are_cut_at_a_character_and_closed() {
    let mut buffer: [c_char; 6] = [1; 6];
    // SAFETY: the buffer has the length given.
    unsafe { tell(buffer.as_mut_ptr(), buffer.len(), "abcd\u{e9}f") };
    assert_eq!(text_of(buffer.as_ptr()), "abcd");
    // SAFETY: one byte of room is a NUL; none is nothing; null is nothing.
    unsafe {
        tell(buffer.as_mut_ptr(), 1, "x");
        assert_eq!(buffer[0], 0);
        tell(buffer.as_mut_ptr(), 0, "x");
        tell(null_mut(), 9, "x");
    }
}
