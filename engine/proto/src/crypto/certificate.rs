//! Our certificate with its private key.
//!
//! What it is: a value that can be cloned and sent between threads before it becomes a DTLS context. It
//! is told PEM or makes itself; it tells fingerprints. Limits: one leaf certificate, no chain, since WebRTC
//! peers know each other by fingerprint (RFC 8827, section 6.5; RFC 8122). RFC 8827 asks for P-256, so
//! that is what [`Certificate::generate`] makes. It leaves out: storage; whoever wants the same
//! fingerprint after a restart keeps the PEM.

use std::fmt;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameBuilder, X509Ref};

use super::fingerprint::{Fingerprint, FingerprintAlgorithm};
use crate::keys::erase;

/// Validity of a generated certificate. Peers compare fingerprints, not dates; the end lies far away so
/// that no process outlives it.
const VALID_DAYS: u32 = 3650;

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// The certificate is no PEM certificate.
    UnreadableCertificate(String),
    /// The private key is no unencrypted PEM private key.
    UnreadableKey(String),
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// The certificate's validity is over.
    Expired,
    /// The certificate's validity has not begun.
    NotYetValid,
    /// The TLS library failed (no entropy, no memory).
    Library(String),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableCertificate(why) => {
                write!(f, "certificate is not readable as PEM: {why}")
            }
            Self::UnreadableKey(why) => {
                write!(f, "private key is not readable as unencrypted PEM: {why}")
            }
            Self::KeyMismatch => f.write_str("private key does not belong to the certificate"),
            Self::Expired => f.write_str("certificate has expired"),
            Self::NotYetValid => f.write_str("certificate is not valid yet"),
            Self::Library(why) => write!(f, "TLS library: {why}"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl From<ErrorStack> for CertificateError {
    fn from(stack: ErrorStack) -> Self {
        Self::Library(reason(&stack))
    }
}

/// The first reason of an error stack: short, and free of file names.
pub(super) fn reason(stack: &ErrorStack) -> String {
    stack.errors().first().and_then(|error| error.reason()).unwrap_or("no reason given").to_owned()
}

/// A certificate with its private key, both in DER. The key is erased when dropped, never printed.
#[derive(Clone)]
pub struct Certificate {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// A new self-signed certificate over a new P-256 key.
    pub fn generate() -> Result<Self, CertificateError> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        Self::self_signed(&key, 1, VALID_DAYS)
    }

    /// From PEM texts, checked: readable, key belongs to certificate, valid today.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let x509 =
            X509::from_pem(certificate).map_err(|stack| CertificateError::UnreadableCertificate(reason(&stack)))?;
        // The callback answers a question for a pass phrase with none; without it OpenSSL would ask the
        // terminal.
        let pkey = PKey::private_key_from_pem_callback(key, |_| Ok(0))
            .map_err(|stack| CertificateError::UnreadableKey(reason(&stack)))?;
        if !x509.public_key()?.public_eq(&pkey) {
            return Err(CertificateError::KeyMismatch);
        }
        let today = Asn1Time::days_from_now(0)?;
        if x509.not_after() < &*today {
            return Err(CertificateError::Expired);
        }
        if x509.not_before() > &*today {
            return Err(CertificateError::NotYetValid);
        }
        Self::from_native(&x509, &pkey)
    }

    /// The certificate's fingerprints, one per algorithm that we know.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        FingerprintAlgorithm::ALL
            .into_iter()
            .filter_map(|algorithm| {
                let value = openssl::hash::hash(digest(algorithm), &self.certificate).ok()?.to_vec();
                Some(Fingerprint { algorithm, value })
            })
            .collect()
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate in PEM, to be kept beside [`Certificate::key_pem`].
    pub fn pem(&self) -> Result<Vec<u8>, CertificateError> {
        Ok(X509::from_der(&self.certificate)?.to_pem()?)
    }

    /// The private key in PEM (PKCS #8): a secret.
    pub fn key_pem(&self) -> Result<Vec<u8>, CertificateError> {
        Ok(PKey::private_key_from_der(&self.key)?.private_key_to_pem_pkcs8()?)
    }

    /// The TLS library's own objects.
    pub(super) fn to_native(&self) -> Result<(X509, PKey<Private>), ErrorStack> {
        Ok((X509::from_der(&self.certificate)?, PKey::private_key_from_der(&self.key)?))
    }

    fn from_native(x509: &X509Ref, key: &PKey<Private>) -> Result<Self, CertificateError> {
        Ok(Self { certificate: x509.to_der()?, key: key.private_key_to_der()? })
    }

    /// Signs `key` with itself, valid from `since` days ago for `days` days from now.
    fn self_signed(key: &PKey<Private>, since: i64, days: u32) -> Result<Self, CertificateError> {
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_nid(Nid::COMMONNAME, "libsfu")?;
        let name = name.build();
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_pubkey(key)?;
        // A peer with a clock a little behind ours must not see a certificate from the future.
        builder.set_not_before(&*days_ago(since)?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(days)?)?;
        builder.sign(key, MessageDigest::sha256())?;
        Self::from_native(&builder.build(), key)
    }
}

/// The time `days` before the start of today.
fn days_ago(days: i64) -> Result<Asn1Time, ErrorStack> {
    let epoch = Asn1Time::from_unix(0)?;
    let today = Asn1Time::days_from_now(0)?;
    let since_epoch = i64::from(epoch.diff(&today)?.days);
    Asn1Time::from_unix((since_epoch - days) * 86_400)
}

impl Drop for Certificate {
    fn drop(&mut self) {
        erase(&mut self.key);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.certificate.len())
    }
}

/// The library's name of a hash.
pub(super) fn digest(algorithm: FingerprintAlgorithm) -> MessageDigest {
    match algorithm {
        FingerprintAlgorithm::Sha256 => MessageDigest::sha256(),
        FingerprintAlgorithm::Sha384 => MessageDigest::sha384(),
        FingerprintAlgorithm::Sha512 => MessageDigest::sha512(),
    }
}

/// True if `der`, a peer's certificate, has one of the fingerprints. Compared in constant time.
pub(super) fn matches_any(der: &[u8], fingerprints: &[Fingerprint]) -> bool {
    let mut found = false;
    for fingerprint in fingerprints {
        let Ok(actual) = openssl::hash::hash(digest(fingerprint.algorithm), der) else {
            continue;
        };
        if actual.len() == fingerprint.value.len() {
            found |= openssl::memcmp::eq(&actual, &fingerprint.value);
        }
    }
    found
}

#[cfg(test)]
impl Certificate {
    /// The private key in PKCS #8, as foreign implementations in tests want it.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        let key = PKey::private_key_from_der(&self.key).expect("our own key");
        key.private_key_to_pkcs8().expect("our own key")
    }

    /// An RSA certificate of the given size, for tests.
    pub(crate) fn generate_rsa(bits: u32) -> Result<Self, CertificateError> {
        let key = PKey::from_rsa(openssl::rsa::Rsa::generate(bits)?)?;
        Self::self_signed(&key, 1, 30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("curve");
        PKey::from_ec_key(EcKey::generate(&group).expect("key")).expect("key")
    }

    #[test]
    fn a_generated_certificate_survives_the_way_through_pem() {
        let made = Certificate::generate().expect("generate");
        let read = Certificate::from_pem(&made.pem().expect("pem"), &made.key_pem().expect("pem")).expect("read");
        assert_eq!(made.fingerprints(), read.fingerprints());
        assert_eq!(made.fingerprints().len(), 3);
        assert_eq!(format!("{made:?}"), format!("Certificate({} bytes)", made.der().len()));
    }

    #[test]
    fn two_certificates_differ() {
        let (a, b) = (Certificate::generate().expect("a"), Certificate::generate().expect("b"));
        assert_ne!(a.fingerprints(), b.fingerprints());
    }

    #[test]
    fn row_096_a_key_of_another_certificate_is_refused() {
        let (a, b) = (Certificate::generate().expect("a"), Certificate::generate().expect("b"));
        let error = Certificate::from_pem(&a.pem().expect("pem"), &b.key_pem().expect("pem")).expect_err("mismatch");
        assert_eq!(error, CertificateError::KeyMismatch);
    }

    #[test]
    fn row_096_dates_are_checked() {
        let key = key();
        let expired = Certificate::self_signed(&key, 400, 0).expect("made");
        // Valid until "now": make it surely past by signing with an end before the beginning of today.
        let x509 = X509::from_der(&expired.certificate).expect("der");
        assert!(x509.not_before() < x509.not_after());
        let mut builder = X509::builder().expect("builder");
        builder.set_pubkey(&key).expect("key");
        builder.set_not_before(&days_ago(400).expect("time")).expect("set");
        builder.set_not_after(&days_ago(2).expect("time")).expect("set");
        builder.sign(&key, MessageDigest::sha256()).expect("sign");
        let pem = builder.build().to_pem().expect("pem");
        let key_pem = key.private_key_to_pem_pkcs8().expect("pem");
        assert_eq!(Certificate::from_pem(&pem, &key_pem).expect_err("old"), CertificateError::Expired);

        let future = Certificate::self_signed(&key, -5, 30).expect("made");
        let error = Certificate::from_pem(&future.pem().expect("pem"), &key_pem).expect_err("future");
        assert_eq!(error, CertificateError::NotYetValid);
    }

    #[test]
    fn row_096_unreadable_files_are_refused() {
        let good = Certificate::generate().expect("generate");
        let (pem, key) = (good.pem().expect("pem"), good.key_pem().expect("pem"));
        for bad in [&b""[..], b"not a pem", &pem[..pem.len() / 2], &key[..]] {
            let error = Certificate::from_pem(bad, &key).expect_err("bad certificate");
            assert!(matches!(error, CertificateError::UnreadableCertificate(_)), "{error}");
        }
        for bad in [&b""[..], b"not a pem", &key[..key.len() / 2], &pem[..]] {
            let error = Certificate::from_pem(&pem, bad).expect_err("bad key");
            assert!(matches!(error, CertificateError::UnreadableKey(_)), "{error}");
        }
    }

    #[test]
    fn row_018_any_of_several_fingerprints_matches_and_wrong_lengths_do_not() {
        let certificate = Certificate::generate().expect("generate");
        let other = Certificate::generate().expect("generate");
        let mut list = other.fingerprints();
        assert!(!matches_any(certificate.der(), &list));
        assert!(!matches_any(certificate.der(), &[]));
        let mut short = certificate.fingerprints()[0].clone();
        short.value.pop();
        list.push(short);
        assert!(!matches_any(certificate.der(), &list));
        list.push(certificate.fingerprints()[1].clone());
        assert!(matches_any(certificate.der(), &list));
    }
}
