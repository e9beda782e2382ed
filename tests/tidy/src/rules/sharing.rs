//! No Arc, locks, atomics, channels or thread-locals on floors 0 to 2: a shard is one thread's.

use super::{excepted, found, has_word, stale};
use crate::{Exception, Finding, Source};

const WORDS: [&str; 14] = [
    "Arc",
    "Mutex",
    "RwLock",
    "Condvar",
    "mpsc",
    "thread_local!",
    "OnceLock",
    "LazyLock",
    "Once",
    "static mut",
    "AtomicBool",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
];

const FLOORS: [&str; 3] = ["engine/wire/", "engine/proto/", "engine/sfu/"];

/// Files that share state between threads all the same, each with its reason.
pub const EXCEPTIONS: &[Exception] =
    &[Exception { path: "engine/proto/src/srtp/library.rs", reason: "libsrtp is to be set up once per process" }];

/// Shared state where there is none.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    check_with(sources, EXCEPTIONS)
}

fn check_with(sources: &[Source], exceptions: &[Exception]) -> Vec<Finding> {
    let pure = |source: &&Source| source.is_rust() && FLOORS.iter().any(|floor| source.path.starts_with(floor));
    let mut findings = Vec::new();
    for source in sources.iter().filter(pure).filter(|source| !excepted(exceptions, &source.path)) {
        for (line, text) in source.product_lines() {
            if let Some(word) = WORDS.iter().find(|word| has_word(text, word)) {
                findings.push(found(
                    source,
                    line,
                    format!("`{word}`: floors 0 to 2 are one thread's; use Rc, or an id"),
                ));
            }
        }
    }
    findings.extend(stale(exceptions, |exception| {
        let mut covered = sources.iter().filter(|source| exception.covers(&source.path));
        covered.any(|source| source.product_lines().any(|(_, text)| WORDS.iter().any(|word| has_word(text, word))))
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_pure_floor_is_found_and_in_the_runtime_is_not() {
        let pure = Source::new("engine/sfu/src/a.rs", "use std::sync::Mutex;\n");
        let runtime = Source::new("engine/runtime/src/a.rs", "use std::sync::Mutex;\n");
        assert_eq!(check_with(&[pure, runtime], &[]).len(), 1);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_found() {
        let exceptions = [Exception { path: "engine/proto/src/a.rs", reason: "" }];
        assert_eq!(check_with(&[Source::new("engine/proto/src/a.rs", "fn a() {}\n")], &exceptions).len(), 1);
        let needed = Source::new("engine/proto/src/a.rs", "static A: Once = Once::new();\n");
        assert!(check_with(&[needed], &exceptions).is_empty());
    }
}
