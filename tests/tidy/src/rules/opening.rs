//! Every Rust file opens with what it is.

use super::found;
use crate::{Finding, Source};

/// Rust files without an opening comment.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| source.is_rust())
        .filter(|source| {
            // A `#!` line or an attribute for the whole file may stand before it.
            let first = source.text.lines().find(|line| !line.is_empty() && !line.starts_with("#!"));
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|source| found(source, 1, "opens without `//!`: say what it is, what it is told, what it tells"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_opening_is_found() {
        let bare = Source::new("engine/a/src/a.rs", "use b;\n");
        let told = Source::new("engine/a/src/b.rs", "#![no_main]\n//! What it is.\n");
        let findings = check(&[bare, told]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "engine/a/src/a.rs");
    }
}
