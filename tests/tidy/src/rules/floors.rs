//! Arrows point down only: which crate of this workspace each floor may name, and what only the runtime may name.

use super::{found, has_word};
use crate::{Finding, Source};

/// The crates from the lowest floor to the highest, by manifest.
const FLOORS: [(&str, &str); 7] = [
    ("engine/wire/Cargo.toml", "sfu-wire"),
    ("engine/proto/Cargo.toml", "sfu-proto"),
    ("engine/sfu/Cargo.toml", "sfu-core"),
    ("engine/runtime/Cargo.toml", "sfu-runtime"),
    ("engine/control/Cargo.toml", "sfu-control"),
    ("ffi/Cargo.toml", "libsfu"),
    ("examples/sfu-cli/Cargo.toml", "sfu-cli"),
];

/// Crates that the engine is free of, tests excepted.
const FOREIGN: [&str; 5] = ["tokio", "axum", "async-std", "smol", "tracing"];

/// Manifests that name a floor above theirs, or an async runtime or a logger in the engine.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (floor, (manifest, _)) in FLOORS.iter().enumerate() {
        let Some(source) = sources.iter().find(|source| source.path == *manifest) else {
            continue;
        };
        for (line, name) in dependencies(&source.text) {
            let above = FLOORS.iter().skip(floor + 1).any(|(_, higher)| *higher == name);
            if above {
                findings.push(found(
                    source,
                    line,
                    format!("names `{name}` of a higher floor; hand a value up instead"),
                ));
            }
            if floor <= 5 && FOREIGN.contains(&name) {
                findings.push(found(source, line, format!("names `{name}`; the engine is free of it")));
            }
        }
    }
    findings.extend(async_code(sources));
    findings
}

/// Only the runtime is asynchronous; only it opens sockets and files.
fn async_code(sources: &[Source]) -> Vec<Finding> {
    const WORDS: [&str; 7] = ["async fn", "async move", ".await", "std::fs", "UdpSocket", "TcpStream", "TcpListener"];
    let floors = ["engine/wire/", "engine/proto/", "engine/sfu/", "engine/control/", "ffi/"];
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.is_rust() && floors.iter().any(|floor| s.path.starts_with(floor))) {
        for (line, text) in source.product_lines() {
            if let Some(word) = WORDS.iter().find(|word| has_word(text, word)) {
                findings.push(found(source, line, format!("`{word}`: only the runtime does that")));
            }
        }
    }
    findings
}

/// Names in `[dependencies]`, with their lines; those of tests and build scripts are free.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut names = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && let Some(end) = line.find(['.', ' ', '=']) {
            names.push((index + 1, &line[..end]));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_floor_that_names_a_higher_one_is_found() {
        let wire = Source::new("engine/wire/Cargo.toml", "[dependencies]\nsfu-core.workspace = true\n");
        assert_eq!(check(&[wire]).len(), 1);
        let sfu = Source::new("engine/sfu/Cargo.toml", "[dependencies]\nsfu-wire.workspace = true\n");
        assert!(check(&[sfu]).is_empty());
    }

    #[test]
    fn tokio_in_the_engine_is_found_and_in_its_tests_is_not() {
        let text = "[dependencies]\ntokio.workspace = true\n[dev-dependencies]\ntokio.workspace = true\n";
        assert_eq!(check(&[Source::new("engine/runtime/Cargo.toml", text)]).len(), 1);
    }

    #[test]
    fn async_code_below_the_runtime_is_found() {
        let core = Source::new("engine/sfu/src/a.rs", "async fn a() {}\n");
        let runtime = Source::new("engine/runtime/src/a.rs", "async fn a() {}\n");
        assert_eq!(check(&[core, runtime]).len(), 1);
    }
}
