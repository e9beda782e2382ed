//! No module of `proto` names a sibling: the parent carries values between them.

use super::found;
use crate::{Finding, Source};

/// A pair that may, and why.
pub struct Pair {
    /// The module that names.
    pub from: &'static str,
    /// The module that is named.
    pub to: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Modules of plain values without behaviour, which every machine may name: they are what the parent carries.
const VALUES: [&str; 1] = ["keys"];

/// Pairs of siblings that may know each other.
pub const EXCEPTIONS: &[Pair] = &[
    Pair { from: "ice", to: "crypto", reason: "MESSAGE-INTEGRITY is an HMAC, and crypto is the only door to hashes" },
    Pair {
        from: "srtp",
        to: "crypto",
        reason: "the direct path of the GCM profiles is a cipher, and crypto is the only door to those",
    },
];

const ROOT: &str = "engine/proto/src/";

/// Uses of a sibling.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    check_with(sources, EXCEPTIONS)
}

fn check_with(sources: &[Source], exceptions: &[Pair]) -> Vec<Finding> {
    let proto: Vec<(&Source, &str)> = sources.iter().filter_map(|s| module(&s.path).map(|m| (s, m))).collect();
    let mut findings = Vec::new();
    let mut used = vec![false; exceptions.len()];
    for (source, own) in &proto {
        for (line, text) in source.product_lines() {
            for named in named_modules(text) {
                let known = proto.iter().any(|(_, module)| *module == named);
                if named == *own || !known || VALUES.contains(&named) {
                    continue;
                }
                match exceptions.iter().position(|pair| pair.from == *own && pair.to == named) {
                    Some(index) => used[index] = true,
                    None => findings.push(found(
                        source,
                        line,
                        format!("names its sibling `{named}`; let the parent carry the value"),
                    )),
                }
            }
        }
    }
    for (pair, used) in exceptions.iter().zip(used) {
        if !used {
            let text = format!("the exception {} -> {} is not needed; take it off", pair.from, pair.to);
            findings.push(Finding { path: "tests/tidy/src/rules/siblings.rs".to_owned(), line: 1, text });
        }
    }
    findings
}

/// The top module that a file of the crate belongs to; none for the crate root and the fuzz bodies, which see all.
fn module(path: &str) -> Option<&str> {
    let below = path.strip_prefix(ROOT)?.strip_suffix(".rs")?;
    let top = below.split('/').next().unwrap_or(below);
    (!matches!(top, "lib" | "fuzz" | "testing")).then_some(top)
}

/// Top modules named by absolute paths in a line.
fn named_modules(line: &str) -> Vec<&str> {
    let name = |text: &'static str| move |(at, _): (usize, &str)| at + text.len();
    let starts = line.match_indices("crate::").map(name("crate::"));
    starts
        .map(|at| {
            let rest = &line[at..];
            &rest[..rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())]
        })
        .filter(|module| !module.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        vec![
            Source::new("engine/proto/src/ice.rs", "use crate::nack::NackGenerator;\nuse crate::Other;\n"),
            Source::new("engine/proto/src/nack.rs", "use crate::nack::X;\n"),
            Source::new("engine/proto/src/lib.rs", "use crate::nack::X;\n"),
        ]
    }

    #[test]
    fn a_named_sibling_is_found_and_the_crate_root_may() {
        let findings = check_with(&sources(), &[]);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("engine/proto/src/ice.rs", 1));
    }

    #[test]
    fn an_exception_holds_and_a_stale_one_is_found() {
        let pair = |to| Pair { from: "ice", to, reason: "" };
        assert!(check_with(&sources(), &[pair("nack")]).is_empty());
        assert_eq!(check_with(&sources(), &[pair("nack"), pair("srtp")]).len(), 1);
    }
}
