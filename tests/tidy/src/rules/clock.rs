//! One file of the engine reads the clock. Clippy bans the calls (`clippy.toml`); this holds the permission slips.

use super::{excepted, found, stale};
use crate::{Exception, Finding, Source};

/// Engine files that may allow themselves a banned call.
const EXCEPTIONS: [Exception; 1] =
    [Exception { path: "engine/runtime/src/clock.rs", reason: "the one clock: everything else is handed `now`" }];

/// Engine files that permit themselves what clippy bans.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let permits =
        |line: &str| line.contains("clippy::disallowed_methods") && (line.contains("allow") || line.contains("expect"));
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("engine/")) {
        for (line, _) in source.product_lines().filter(|(_, text)| permits(text)) {
            if !excepted(&EXCEPTIONS, &source.path) {
                findings.push(found(source, line, "reads the clock; take `now: Time` as an argument"));
            }
        }
    }
    findings.extend(stale(&EXCEPTIONS, |exception| {
        let mut covered = sources.iter().filter(|source| exception.covers(&source.path));
        covered.any(|source| source.code.lines().any(permits))
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_clock_is_found() {
        let line = "#[expect(clippy::disallowed_methods, reason = \"\")]\nfn a() {}\n";
        let one = Source::new("engine/runtime/src/clock.rs", line);
        let two = Source::new("engine/sfu/src/a.rs", line);
        let findings = check(&[one, two]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "engine/sfu/src/a.rs");
    }
}
