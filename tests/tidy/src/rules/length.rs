//! Files of at most 600 lines before their tests. Functions are clippy's (`too_many_lines`).

use super::found;
use crate::{Finding, Source};

/// Most lines of a file before its tests.
pub const LINES_MAX: usize = 600;

/// Files that are too long.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| {
            !source.path.ends_with(".md") && !source.path.ends_with(".json") && !source.path.ends_with(".fbs")
        })
        .filter_map(|source| {
            let lines = source.product_len();
            (lines > LINES_MAX)
                .then(|| found(source, lines, format!("{lines} lines before the tests; split it at {LINES_MAX}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_601_lines_is_found_and_its_tests_do_not_count() {
        let long = Source::new("engine/a/src/a.rs", &"fn a() {}\n".repeat(601));
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(600), "\n".repeat(900));
        let tested = Source::new("engine/a/src/b.rs", &tested);
        let findings = check(&[long, tested]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "engine/a/src/a.rs");
    }
}
