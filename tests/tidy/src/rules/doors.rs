//! One door per foreign library: the only files that may name it.

use super::{found, has_word};
use crate::{Exception, Finding, Source};

/// A foreign library and where it may be named. Tests may name it as an oracle.
struct Door {
    names: &'static [&'static str],
    doors: &'static [Exception],
}

const DOORS: [Door; 5] = [
    Door {
        names: &["openssl", "openssl_sys", "foreign_types_shared"],
        doors: &[
            Exception { path: "engine/proto/src/crypto/", reason: "certificates, DTLS, hashes" },
            Exception { path: "examples/sfu-cli/src/tls.rs", reason: "the example's web side over https" },
            Exception { path: "examples/sfu-cli/src/streams/secret.rs", reason: "digests of tokens, random addresses" },
        ],
    },
    Door {
        names: &["libsrtp2_sys", "srtp2_sys"],
        doors: &[Exception { path: "engine/proto/src/srtp/library.rs", reason: "SRTP and SRTCP" }],
    },
    Door {
        names: &["flatbuffers"],
        doors: &[Exception { path: "engine/control/src/", reason: "decoding and encoding of the command channel" }],
    },
    Door {
        names: &["glommio", "io_uring"],
        doors: &[Exception { path: "engine/runtime/", reason: "executors and rings" }],
    },
    Door {
        names: &["axum", "tokio", "clap"],
        doors: &[Exception { path: "examples/", reason: "the example service" }],
    },
];

/// Uses of a foreign library that do not go through its door.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        for door in DOORS.iter().filter(|door| !door.doors.iter().any(|place| place.covers(&source.path))) {
            for (line, text) in source.product_lines() {
                let named =
                    |name: &&&str| has_word(text, &format!("{name}::")) || has_word(text, &format!("use {name}"));
                if let Some(name) = door.names.iter().find(named) {
                    let place = door.doors[0].path;
                    findings.push(found(source, line, format!("names `{name}`; its door is {place}")));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_outside_its_door_is_found() {
        let inside = Source::new("engine/proto/src/crypto/dtls.rs", "use openssl::ssl;\n");
        let outside = Source::new("engine/proto/src/ice.rs", "use openssl::ssl;\n");
        let findings = check(&[inside, outside]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "engine/proto/src/ice.rs");
    }

    #[test]
    fn a_path_in_code_counts_and_a_comment_does_not() {
        let code = Source::new("ffi/src/lib.rs", "fn a() { glommio::spawn() }\n");
        let comment = Source::new("ffi/src/lib.rs", "// glommio::spawn\n");
        assert_eq!(check(&[code]).len(), 1);
        assert!(check(&[comment]).is_empty());
    }
}
