//! The house rules that reading the files can check, each as a function with tests of its own.
//!
//! It is told the repository as a list of [`Source`]s and tells a list of [`Finding`]s, each with the file, the line,
//! the rule and what to do instead. `tests/house.rs` runs every rule over the repository. What the compiler, clippy or
//! a fuzzer holds is left to them; exceptions are tables beside their rule, each with its reason, and a stale
//! exception is a finding too.

pub mod blank;
pub mod rules;
pub mod source;

pub use source::{Source, load};

/// A rule broken at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path below the root of the repository.
    pub path: String,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// A file that may break a rule, and why.
#[derive(Debug, Clone, Copy)]
pub struct Exception {
    /// Path below the root, or the beginning of one when it ends in `/`.
    pub path: &'static str,
    /// Why the rule does not hold there.
    pub reason: &'static str,
}

impl Exception {
    /// Whether a file is meant.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        if self.path.ends_with('/') { path.starts_with(self.path) } else { path == self.path }
    }
}
