//! One file per rule; each tells the findings of a list of sources.

pub mod clock;
pub mod doors;
pub mod duties;
pub mod floors;
pub mod length;
pub mod opening;
pub mod sharing;
pub mod siblings;
pub mod unsafety;
pub mod words;

use crate::{Exception, Finding, Source};

/// A finding at a line of a file.
fn found(source: &Source, line: usize, text: impl Into<String>) -> Finding {
    Finding { path: source.path.clone(), line, text: text.into() }
}

/// Whether `word` stands in `line` with no letter, digit or underscore at either side.
fn has_word(line: &str, word: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let first_is_name = word.chars().next().is_some_and(name);
        let last_is_name = word.chars().next_back().is_some_and(name);
        !(first_is_name && before.is_some_and(name) || last_is_name && after.is_some_and(name))
    })
}

/// Whether an exception covers the file.
fn excepted(exceptions: &[Exception], path: &str) -> bool {
    exceptions.iter().any(|exception| exception.covers(path))
}

/// Exceptions that cover no offending file any more.
fn stale(exceptions: &[Exception], offends: impl Fn(&Exception) -> bool) -> Vec<Finding> {
    exceptions
        .iter()
        .filter(|exception| !offends(exception))
        .map(|exception| Finding {
            path: exception.path.to_owned(),
            line: 1,
            text: "is on a list of exceptions but does not need to be; take it off (tests/tidy/src/rules)".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::has_word;

    #[test]
    fn a_word_is_not_part_of_a_name() {
        assert!(has_word("use std::sync::Arc;", "Arc"));
        assert!(!has_word("struct Archive;", "Arc"));
        assert!(!has_word("my_Arc", "Arc"));
        assert!(has_word("thread_local! {", "thread_local!"));
    }
}
