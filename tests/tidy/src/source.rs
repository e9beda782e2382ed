//! The repository's own text files, as rules see them.

use std::path::Path;
use std::process::Command;

use crate::blank::blank;

/// Files that a generator or a package manager wrote; style rules do not hold for them.
const GENERATED: &[&str] = &[
    "engine/control/src/schema_generated.rs",
    "include/libsfu_generated.h",
    "bindings-python/libsfu/_fbs.py",
    "bindings-python/libsfu/_layout.py",
    "bindings-python/libsfu/_object.py",
    "bindings-python/libsfu/_objects.py",
    "bindings-python/libsfu/_streams.py",
    "bindings-python/libsfu/schema.py",
    "bindings-go/internal/fbs/libsfu_generated.go",
    "include/libsfu.h",
    "docs/reference.md",
    "Cargo.lock",
    "tests/fuzz/Cargo.lock",
    "LICENSE",
];

/// Endings of the files that are read; others are data.
const TEXT: [&str; 16] = [
    ".rs", ".toml", ".fbs", ".h", ".hpp", ".c", ".cc", ".cpp", ".sh", ".py", ".ts", ".mjs", ".css", ".html", ".md",
    ".go",
];

/// One text file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path below the root of the repository, with forward slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The text with comments and the content of literals blanked; the same lines, and for Rust files only.
    pub code: String,
}

impl Source {
    /// Takes a file's text.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { text.to_owned() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// Whether it is a Rust file.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is Rust that only tests compile.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
    }

    /// Lines of code before the file's own tests, with their numbers; none when the whole file is tests.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() { 0 } else { self.product_len() };
        self.code.lines().take(end).enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Number of lines before the file's own tests.
    #[must_use]
    pub fn product_len(&self) -> usize {
        let mut lines = self.code.lines().peekable();
        let mut count = 0;
        while let Some(line) = lines.next() {
            let opens_tests = line.starts_with("#[cfg(test)]")
                && lines.peek().is_some_and(|next| next.starts_with("mod ") || next.starts_with("pub(crate) mod "));
            // `mod tests;` in another file is one line; what counts is the module written here.
            if opens_tests && lines.peek().is_some_and(|next| next.trim_end().ends_with('{')) {
                return count;
            }
            count += 1;
        }
        count
    }
}

/// Reads every text file that belongs to the repository: what git tracks, and what it would on `git add`.
///
/// # Errors
/// When git cannot be asked or a file cannot be read.
pub fn load(root: &Path) -> Result<Vec<Source>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let list = String::from_utf8_lossy(&output.stdout);
    let mut sources = Vec::new();
    for path in list.split('\0').filter(|path| wanted(path)) {
        // A tracked file that is deleted in the work tree is no longer part of what is checked.
        if let Ok(bytes) = std::fs::read(root.join(path)) {
            sources.push(Source::new(path, &String::from_utf8_lossy(&bytes)));
        }
    }
    Ok(sources)
}

fn wanted(path: &str) -> bool {
    let text = TEXT.iter().any(|end| path.ends_with(end))
        || path.ends_with("Makefile")
        || path == ".ci/run"
        || path.ends_with(".json") && !path.ends_with("package-lock.json");
    text && !GENERATED.contains(&path) && !path.contains("/dist/") && !path.contains("/corpus/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tests_module_are_not_product() {
        let file = Source::new("engine/a/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(file.product_len(), 1);
        assert_eq!(file.product_lines().count(), 1);
    }

    #[test]
    fn a_tests_module_in_another_file_does_not_end_the_product() {
        let file = Source::new("engine/a/src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
        assert_eq!(file.product_len(), 3);
    }

    #[test]
    fn generated_files_and_bundles_are_not_read() {
        assert!(!wanted("include/libsfu.h"));
        assert!(!wanted("examples/sfu-cli/page/dist/index.html"));
        assert!(wanted("examples/sfu-cli/page/src/main.ts"));
        assert!(wanted("ffi/src/lib.rs"));
    }
}
