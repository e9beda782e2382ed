//! Writes every generated file that is checked in, or proves that it is fresh.
//!
//! It is told nothing; the files to read and to write are the tables below. Without `CI=true` it writes; with it, it
//! only compares, and fails naming each stale file, its first differing line and the command to run. The flatbuffers
//! compiler is taken from `FLATC`, else from the path; its version must be the one that the Rust crate has. Modules of the
//! Python package, and the reference, are made by scripts, since they are made of Python.
//! It leaves out formatting: generated files stay as their generator wrote them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Version of flatc, of the `flatbuffers` crate and of the header that C++ programs include.
const FLATC_VERSION: &str = "flatc version 25.12.19";

/// The schema: the one source of everything flatc makes.
const SCHEMA: &str = "include/libsfu.fbs";

/// Released schemas: today's must read what they wrote (`flatc --conform`). Empty until the first release.
const RELEASED: &str = "tests/generate/released";

/// Sources of the C header, in the order in which their items appear in it.
const HEADER_SOURCES: [&str; 2] = ["ffi/src/status.rs", "ffi/src/lib.rs"];

/// Text before the declarations of the C header: what a caller must know.
const HEADER_PREAMBLE: &str = "ffi/src/preamble.h";

/// Scripts of Python, called as `SCRIPT SCHEMA FOLDER`, and what they make.
const SCRIPTS: [(&str, &[&str]); 2] = [
    (
        "bindings-python/generate.py",
        &[
            "bindings-python/libsfu/schema.py",
            "bindings-python/libsfu/_layout.py",
            "bindings-python/libsfu/_object.py",
            "bindings-python/libsfu/_objects.py",
            "bindings-python/libsfu/_streams.py",
        ],
    ),
    ("tests/generate/reference.py", &["docs/reference.md"]),
];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the root");
    let compare_only = std::env::var("CI").is_ok_and(|value| value == "true");
    match generate(root).and_then(|files| conform(root).map(|()| files)) {
        Err(text) => {
            eprintln!("generate: {text}");
            ExitCode::FAILURE
        }
        Ok(files) => settle(root, &files, compare_only),
    }
}

/// A generated file: where it belongs, and what it should hold.
struct Generated {
    path: &'static str,
    bytes: Vec<u8>,
}

fn generate(root: &Path) -> Result<Vec<Generated>, String> {
    let mut files = vec![
        Generated { path: "include/libsfu.h", bytes: header(root)? },
        Generated {
            path: "engine/control/src/schema_generated.rs",
            bytes: flatc(root, &["--rust", "--gen-object-api"], "rs")?,
        },
        Generated {
            path: "include/libsfu_generated.h",
            bytes: flatc(root, &["--cpp", "--cpp-std", "c++17", "--scoped-enums", "--gen-object-api"], "h")?,
        },
        Generated { path: "bindings-python/libsfu/_fbs.py", bytes: flatc(root, &["--python", "--gen-onefile"], "py")? },
        Generated {
            path: "bindings-go/internal/fbs/libsfu_generated.go",
            bytes: flatc(root, &["--go", "--gen-onefile", "--gen-object-api", "--go-namespace", "fbs"], "go")?,
        },
    ];
    for (script, paths) in SCRIPTS {
        files.extend(scripted(root, script, paths)?);
    }
    Ok(files)
}

/// Writes what differs, or under CI tells of it.
fn settle(root: &Path, files: &[Generated], compare_only: bool) -> ExitCode {
    let mut stale = 0;
    for file in files {
        let path = root.join(file.path);
        let found = std::fs::read(&path).unwrap_or_default();
        if found == file.bytes {
            println!("generate: {} is fresh", file.path);
        } else if compare_only {
            stale += 1;
            let line = first_difference(&found, &file.bytes);
            eprintln!("generate: {} is stale from line {line} on; run `make generate` and commit it", file.path);
        } else if let Err(error) = std::fs::write(&path, &file.bytes) {
            stale += 1;
            eprintln!("generate: cannot write {}: {error}", file.path);
        } else {
            println!("generate: {} written", file.path);
        }
    }
    if stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Number of the first line in which two files differ.
fn first_difference(found: &[u8], wanted: &[u8]) -> usize {
    let same = found.split(|b| *b == b'\n').zip(wanted.split(|b| *b == b'\n')).take_while(|(a, b)| a == b).count();
    same + 1
}

/// The C header, by cbindgen.
fn header(root: &Path) -> Result<Vec<u8>, String> {
    let preamble = root.join(HEADER_PREAMBLE);
    let preamble = std::fs::read_to_string(&preamble).map_err(|error| format!("{HEADER_PREAMBLE}: {error}"))?;
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some(preamble.trim_end().to_owned()),
        include_guard: Some("LIBSFU_H".to_owned()),
        autogen_warning: Some("/* Generated by `make generate` from ffi/src. Do not edit. */".to_owned()),
        cpp_compat: true,
        no_includes: true,
        usize_is_size_t: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        documentation_style: cbindgen::DocumentationStyle::C99,
        line_length: 110,
        style: cbindgen::Style::Both,
        ..cbindgen::Config::default()
    };
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in HEADER_SOURCES {
        builder = builder.with_src(root.join(source));
    }
    let bindings = builder.generate().map_err(|error| format!("cbindgen: {error}"))?;
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    // The heading that Rust wants above a caller's promises says nothing to a C programmer.
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    Ok(text.replace("// # Safety\n", "").into_bytes())
}

/// One file made by flatc of the schema.
fn flatc(root: &Path, arguments: &[&str], extension: &str) -> Result<Vec<u8>, String> {
    let program = flatc_program()?;
    let folder = std::env::temp_dir().join(format!("libsfu-generate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let run = Command::new(program).args(arguments).arg("-o").arg(&folder).arg(root.join(SCHEMA)).output();
    let made = run.map_err(|error| format!("flatc does not start: {error}")).and_then(|output| {
        if !output.status.success() {
            return Err(format!("flatc: {}", String::from_utf8_lossy(&output.stdout)));
        }
        let file = folder.join(format!("libsfu_generated.{extension}"));
        std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))
    });
    // A leftover folder of the temporary directory is not worth a failure.
    let _ = std::fs::remove_dir_all(&folder);
    made
}

/// What a script makes of the schema.
fn scripted(root: &Path, script: &str, paths: &'static [&'static str]) -> Result<Vec<Generated>, String> {
    let folder = std::env::temp_dir().join(format!("libsfu-python-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let run = Command::new("python3").arg(root.join(script)).arg(root.join(SCHEMA)).arg(&folder).output();
    let made = run.map_err(|error| format!("python3 does not start: {error}")).and_then(|output| {
        if !output.status.success() {
            return Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let read = |path: &'static str| {
            let file = folder.join(Path::new(path).file_name().unwrap_or_default());
            let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            Ok(Generated { path, bytes })
        };
        paths.iter().copied().map(read).collect()
    });
    // A leftover folder of the temporary directory is not worth a failure.
    let _ = std::fs::remove_dir_all(&folder);
    made
}

/// The flatbuffers compiler, of the right version.
fn flatc_program() -> Result<PathBuf, String> {
    let program = PathBuf::from(std::env::var_os("FLATC").unwrap_or_else(|| "flatc".into()));
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .map_err(|error| format!("{}: {error}; `make generate` installs it and sets FLATC", program.display()))?;
    let version = String::from_utf8_lossy(&output.stdout);
    if version.trim() == FLATC_VERSION {
        Ok(program)
    } else {
        Err(format!("{} says '{}', wanted '{FLATC_VERSION}'", program.display(), version.trim()))
    }
}

/// Today's schema only appends to each released one.
fn conform(root: &Path) -> Result<(), String> {
    let Ok(folder) = std::fs::read_dir(root.join(RELEASED)) else {
        return Ok(());
    };
    let program = flatc_program()?;
    for entry in folder.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "fbs")) {
        let output = Command::new(&program)
            .arg("--conform")
            .arg(entry.path())
            .arg(root.join(SCHEMA))
            .output()
            .map_err(|error| format!("flatc does not start: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            return Err(format!("{SCHEMA} breaks {}: {text}", entry.path().display()));
        }
        println!("generate: the schema conforms to {}", entry.file_name().display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_differing_line_is_named() {
        assert_eq!(first_difference(b"a\nb\nc\n", b"a\nx\nc\n"), 2);
        assert_eq!(first_difference(b"", b"a\n"), 1);
    }

    #[test]
    fn a_missing_tail_is_named_by_its_line() {
        assert_eq!(first_difference(b"a\n", b"a\nb\n"), 2);
    }
}
