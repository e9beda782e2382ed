//! `unsafe` only in listed files. That each block says why it is sound is clippy's
//! (`undocumented_unsafe_blocks`).

use super::{excepted, found, has_word, stale};
use crate::{Exception, Finding, Source};

/// Files with unsafe code, each with its reason.
pub const EXCEPTIONS: &[Exception] = &[
    Exception { path: "engine/sfu/tests/no_alloc.rs", reason: "an allocator that counts" },
    Exception { path: "engine/sfu/tests/memory.rs", reason: "asks the C library's allocator what is in use" },
    Exception { path: "engine/proto/src/crypto/ffi.rs", reason: "calls of OpenSSL that its crate does not wrap" },
    Exception {
        path: "engine/proto/src/crypto/aead.rs",
        reason: "a cipher context that is used again, from place to place",
    },
    Exception { path: "engine/proto/src/srtp/library.rs", reason: "calls of libsrtp, which has no safe wrapper" },
    Exception { path: "engine/runtime/src/sys.rs", reason: "system calls that std does not offer" },
    Exception { path: "engine/runtime/src/media_io/", reason: "messages and buffers shared with the kernel" },
    Exception { path: "engine/runtime/tests/echo.rs", reason: "fork, poll" },
    Exception { path: "engine/runtime/tests/start_faults.rs", reason: "makes faults: limits, a seccomp filter" },
    Exception { path: "tests/bench/src/sys.rs", reason: "system calls that std does not offer" },
    Exception { path: "tests/tsan/canary.rs", reason: "a race on purpose, for ThreadSanitizer to find" },
    Exception { path: "ffi/src/lib.rs", reason: "callers hand over raw pointers" },
    Exception { path: "ffi/src/tests.rs", reason: "calls the C ABI as a C program would" },
    Exception { path: "ffi/src/thread_tests.rs", reason: "calls of the C ABI, as a C program makes them" },
];

/// Unsafe code in files that are not listed.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    check_with(sources, EXCEPTIONS)
}

fn check_with(sources: &[Source], exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && !excepted(exceptions, &source.path)) {
        let mut lines = source.code.lines().enumerate();
        if let Some((index, _)) = lines.find(|(_, line)| has_word(line, "unsafe")) {
            findings.push(found(
                source,
                index + 1,
                "`unsafe` in a file that is not listed (tests/tidy/src/rules/unsafety.rs)",
            ));
        }
    }
    findings.extend(stale(exceptions, |exception| {
        let mut covered = sources.iter().filter(|source| exception.covers(&source.path));
        covered.any(|source| source.code.lines().any(|line| has_word(line, "unsafe")))
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_in_an_unlisted_file_is_found() {
        let listed = [Exception { path: "ffi/src/lib.rs", reason: "" }];
        let a = Source::new("ffi/src/lib.rs", "unsafe { a() }\n");
        let b = Source::new("engine/wire/src/a.rs", "unsafe { a() }\n");
        let findings = check_with(&[a, b], &listed);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "engine/wire/src/a.rs");
    }

    #[test]
    fn a_listed_file_without_unsafe_code_is_found() {
        let listed = [Exception { path: "ffi/src/lib.rs", reason: "" }];
        assert_eq!(
            check_with(&[Source::new("ffi/src/lib.rs", "#![deny(unsafe_op_in_unsafe_fn)]\n")], &listed).len(),
            1
        );
    }
}
