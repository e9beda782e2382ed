//! Certificates, DTLS, HMAC and AES-GCM: the only folder that names OpenSSL.
//!
//! What it is: the door to the TLS library. It is told bytes and times; it tells datagrams, keys and
//! why a handshake failed. Limits and sections are named in each file. It leaves out SRTP itself, which
//! is fed with the keys that come out of [`DtlsSession`].

pub mod aead;
mod budget;
pub mod certificate;
pub mod context;
pub mod dtls;
mod ffi;
pub mod fingerprint;
pub mod hmac;
mod pipe;
mod records;

pub use crate::keys::{KeyMaterial, SrtpKeys, SrtpProfile};
pub use certificate::{Certificate, CertificateError};
pub use context::{DtlsContext, DtlsError};
pub use dtls::{DtlsEvent, DtlsRole, DtlsSession, DtlsState};
pub use fingerprint::{Fingerprint, FingerprintAlgorithm};
