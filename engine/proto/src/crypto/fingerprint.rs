//! Certificate fingerprints as signalling carries them (RFC 8122, section 5).
//!
//! What it is: a value with its text form "AA:BB:...". It is told text or bytes, it tells text. Limits:
//! SHA-256, SHA-384 and SHA-512 only; MD5, MD2 and SHA-1 are refused by having no name here (RFC 8122,
//! section 5). It leaves out: hashing, which needs a certificate.

use std::fmt;
use std::str::FromStr;

/// The hash functions that we accept for fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FingerprintAlgorithm {
    /// SHA-256, required of everyone.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl FingerprintAlgorithm {
    /// All of them, shortest first.
    pub const ALL: [FingerprintAlgorithm; 3] =
        [FingerprintAlgorithm::Sha256, FingerprintAlgorithm::Sha384, FingerprintAlgorithm::Sha512];

    /// The name in the registry of hash function names ("sha-256").
    pub const fn name(self) -> &'static str {
        match self {
            FingerprintAlgorithm::Sha256 => "sha-256",
            FingerprintAlgorithm::Sha384 => "sha-384",
            FingerprintAlgorithm::Sha512 => "sha-512",
        }
    }

    /// Length of the digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            FingerprintAlgorithm::Sha256 => 32,
            FingerprintAlgorithm::Sha384 => 48,
            FingerprintAlgorithm::Sha512 => 64,
        }
    }
}

impl fmt::Display for FingerprintAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is no fingerprint: says what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FingerprintError(&'static str);

impl fmt::Display for FingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for FingerprintError {}

impl FromStr for FingerprintAlgorithm {
    type Err = FingerprintError;

    /// Names are compared without regard to case (RFC 8122, section 5).
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
            .ok_or(FingerprintError("hash function must be sha-256, sha-384 or sha-512"))
    }
}

/// The hash of a certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Which hash.
    pub algorithm: FingerprintAlgorithm,
    /// The digest; a value of another length than the algorithm's matches no certificate.
    pub value: Vec<u8>,
}

impl Fingerprint {
    /// From a hash name and the value as "AA:BB:...", as they come separately in ORTC parameters.
    pub fn from_parts(algorithm: &str, value: &str) -> Result<Self, FingerprintError> {
        let algorithm: FingerprintAlgorithm = algorithm.parse()?;
        let mut bytes = Vec::with_capacity(algorithm.digest_len());
        for pair in value.split(':') {
            if bytes.len() == algorithm.digest_len() {
                return Err(FingerprintError("value is too long for its hash function"));
            }
            bytes.push(hex_pair(pair).ok_or(FingerprintError("value must be pairs of hex digits between colons"))?);
        }
        if bytes.len() != algorithm.digest_len() {
            return Err(FingerprintError("value is too short for its hash function"));
        }
        Ok(Self { algorithm, value: bytes })
    }

    /// The value as "AA:BB:...", without the name.
    pub fn value_text(&self) -> String {
        self.value.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }
}

/// Two hex digits of either case.
fn hex_pair(pair: &str) -> Option<u8> {
    match pair.as_bytes() {
        [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => u8::from_str_radix(pair, 16).ok(),
        _ => None,
    }
}

impl fmt::Display for Fingerprint {
    /// "sha-256 AA:BB:...", as in `a=fingerprint`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.value_text())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let (algorithm, value) =
            text.split_once(' ').ok_or(FingerprintError("expected a hash function name, a space and a value"))?;
        Self::from_parts(algorithm, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_both_ways() {
        for algorithm in FingerprintAlgorithm::ALL {
            let fingerprint = Fingerprint { algorithm, value: (0..algorithm.digest_len() as u8).collect() };
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            assert_eq!(fingerprint.to_string().to_lowercase().parse(), Ok(fingerprint));
        }
    }

    #[test]
    fn row_018_wrong_names_and_lengths_are_refused() {
        let value = vec!["AB"; 32].join(":");
        assert!(Fingerprint::from_parts("sha-256", &value).is_ok());
        for name in ["md5", "md2", "sha-1", "sha256", ""] {
            assert!(Fingerprint::from_parts(name, &value).is_err(), "{name}");
        }
        let long = format!("{value}:AB");
        for bad in ["", "AB", "AB:", "+1:AB", long.as_str(), "A:B", "GG", "ÄÄ"] {
            assert!(Fingerprint::from_parts("sha-256", bad).is_err(), "{bad}");
        }
    }
}
