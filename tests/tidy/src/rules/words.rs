//! Banned words, each with what to write instead.

use super::{found, has_word};
use crate::{Finding, Source};

/// A word that is not written, where, and what to do instead.
struct Banned {
    word: &'static str,
    place: Place,
    instead: &'static str,
}

/// Where a word is banned.
#[derive(PartialEq, Eq)]
enum Place {
    /// Anywhere, comments included.
    Text,
    /// Rust code anywhere, tests included.
    Rust,
    /// Rust code of the engine and of the C ABI outside their tests.
    Engine,
}

/// The list. Words are put together here so that this file does not break its own rule.
const BANNED: [Banned; 17] = [
    Banned { word: concat!("FIX", "ME"), place: Place::Text, instead: "mend it, or open an issue" },
    Banned { word: concat!("X", "XX"), place: Place::Text, instead: "mend it, or open an issue" },
    Banned { word: concat!("TO", "DO"), place: Place::Text, instead: "do it, or open an issue" },
    Banned { word: concat!("/wo", "rk/"), place: Place::Text, instead: "paths of one machine do not belong here" },
    Banned { word: concat!("/ho", "me/"), place: Place::Text, instead: "paths of one machine do not belong here" },
    Banned { word: "todo!", place: Place::Rust, instead: "write it" },
    Banned { word: "unimplemented!", place: Place::Rust, instead: "write it, or refuse with an error" },
    Banned { word: "dbg!", place: Place::Rust, instead: "take it out" },
    Banned { word: "#[ignore]", place: Place::Rust, instead: "a test runs, or it is not one" },
    Banned { word: "#[ignore =", place: Place::Rust, instead: "a test runs, or it is not one" },
    Banned { word: "thread::sleep", place: Place::Rust, instead: "wait for what should happen, with a bound" },
    Banned { word: "println!", place: Place::Engine, instead: "return a value or an event" },
    Banned { word: "eprintln!", place: Place::Engine, instead: "return a value or an event" },
    Banned { word: "process::exit", place: Place::Engine, instead: "the host decides when it ends" },
    Banned { word: "mod util", place: Place::Rust, instead: "name it by what it is" },
    Banned { word: "mod utils", place: Place::Rust, instead: "name it by what it is" },
    Banned { word: "mod helpers", place: Place::Rust, instead: "name it by what it is" },
];

/// Ends of type names that say nothing.
const EMPTY_NAMES: [&str; 3] = ["Manager", "Helper", "Util"];

/// Lines with a banned word, and names that say nothing.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.path.ends_with("package.json")) {
        for banned in &BANNED {
            for (line, text) in lines(source, &banned.place) {
                if has_word(text, banned.word) {
                    findings.push(found(source, line, format!("`{}`: {}", banned.word, banned.instead)));
                }
            }
        }
        findings.extend(empty_names(source));
    }
    findings
}

fn lines<'a>(source: &'a Source, place: &Place) -> Vec<(usize, &'a str)> {
    let numbered = |text: &'a str| text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect();
    let engine = source.path.starts_with("engine/") || source.path.starts_with("ffi/src/");
    // Programs that measure pace themselves and print what they found.
    let measures = source.path.contains("/examples/") && engine || source.path.contains("/benches/");
    match place {
        Place::Text => numbered(&source.text),
        Place::Rust | Place::Engine if measures => Vec::new(),
        Place::Rust if source.is_rust() => numbered(&source.code),
        Place::Engine if source.is_rust() && engine => source.product_lines().collect(),
        Place::Rust | Place::Engine => Vec::new(),
    }
}

fn empty_names(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let named = |line: &str| {
        let words: Vec<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        words.windows(2).find_map(|pair| match pair {
            ["struct" | "enum" | "trait", name] if EMPTY_NAMES.iter().any(|end| name.ends_with(end)) => {
                Some(format!("`{name}`: name it by what it is"))
            }
            ["fn", name] if name.starts_with("get_") && !name.ends_with("_mut") => {
                Some(format!("`{name}`: leave the `get_` out"))
            }
            _ => None,
        })
    };
    let lines = source.code.lines().enumerate();
    lines.filter_map(|(index, line)| named(line).map(|text| found(source, index + 1, text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, text: &str) -> Vec<String> {
        check(&[Source::new(path, text)]).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn unfinished_work_is_found_in_comments_too() {
        let note = format!("// {} later\n", concat!("TO", "DO"));
        assert_eq!(texts("engine/a/src/a.rs", &note).len(), 1);
        assert_eq!(texts("Makefile", &format!("# {}\n", concat!("FIX", "ME"))).len(), 1);
    }

    #[test]
    fn macros_are_found_in_code_and_not_in_comments() {
        assert_eq!(texts("engine/a/src/a.rs", "fn a() { todo!() }\n").len(), 1);
        assert!(texts("engine/a/src/a.rs", "// not `todo!()`\n").is_empty());
    }

    #[test]
    fn the_engine_does_not_print_but_its_tests_and_the_example_may() {
        assert_eq!(texts("engine/a/src/a.rs", "fn a() { println!() }\n").len(), 1);
        assert!(texts("engine/a/src/a.rs", "#[cfg(test)]\nmod tests {\n fn a() { println!() }\n}\n").is_empty());
        assert!(texts("examples/sfu-cli/src/main.rs", "fn a() { println!() }\n").is_empty());
    }

    #[test]
    fn ignored_and_sleeping_tests_are_found() {
        assert_eq!(texts("engine/a/tests/a.rs", "#[ignore]\nfn a() { std::thread::sleep(x) }\n").len(), 2);
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(texts("engine/a/src/a.rs", "pub struct RoomManager;\nfn get_it() {}\n").len(), 2);
    }
}
