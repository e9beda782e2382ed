//! What DTLS sessions share: certificate, cipher suites, profiles, refusals.
//!
//! What it is: [`DtlsContext`], made once per shard. It is told a certificate, SRTP profiles in our order of
//! preference and the size of datagrams. Limits: DTLS 1.2 alone; AEAD suites with forward secrecy alone
//! (RFC 8827, section 6.5); a peer's certificate message of 16 KiB; no renegotiation, tickets, compression or
//! session cache. It leaves out: identity, which is each session's own.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
};

use super::budget::MAX_MESSAGE;
use super::certificate::{Certificate, reason};
use super::ffi;
use crate::keys::SrtpProfile;

/// The longest datagram that we send by default: fits an IPv6 minimum link with tunnels.
pub const DEFAULT_MTU: usize = 1200;
/// Forward secrecy and AEAD only; RFC 8827 requires the first.
pub(super) const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
const GROUPS: &str = "X25519:P-256:P-384";

/// The TLS library refused a configuration: no memory, no entropy, unusable certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtlsError(String);

impl fmt::Display for DtlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DTLS: {}", self.0)
    }
}

impl std::error::Error for DtlsError {}

impl From<ErrorStack> for DtlsError {
    fn from(stack: ErrorStack) -> Self {
        Self(reason(&stack))
    }
}

/// What all sessions of a shard share: certificate, profiles, cipher suites.
#[derive(Clone)]
pub struct DtlsContext {
    pub(super) context: SslContext,
    pub(super) mtu: u32,
}

impl fmt::Debug for DtlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DtlsContext(mtu {})", self.mtu)
    }
}

impl DtlsContext {
    /// `profiles` in our order of preference; `mtu` is the longest datagram that sessions send, at least
    /// 256 and at most 1400 bytes.
    pub fn new(certificate: &Certificate, profiles: &[SrtpProfile], mtu: usize) -> Result<Self, DtlsError> {
        Self::customised(certificate, profiles, mtu, |_| Ok(()))
    }

    /// [`DtlsContext::new`] with a last word on the builder, by which tests make odd peers.
    pub(super) fn customised(
        certificate: &Certificate,
        profiles: &[SrtpProfile],
        mtu: usize,
        last_word: impl FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack>,
    ) -> Result<Self, DtlsError> {
        let mut builder = SslContext::builder(SslMethod::dtls())?;
        builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
        builder.set_options(
            SslOptions::NO_QUERY_MTU
                | SslOptions::NO_RENEGOTIATION
                | SslOptions::NO_TICKET
                | SslOptions::NO_COMPRESSION
                | SslOptions::CIPHER_SERVER_PREFERENCE,
        );
        builder.set_mode(SslMode::RELEASE_BUFFERS);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_cipher_list(CIPHERS)?;
        builder.set_groups_list(GROUPS)?;
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        ffi::accept_any_chain(&mut builder);
        ffi::limit_certificates(&mut builder, MAX_MESSAGE);
        let names: Vec<&str> = profiles.iter().map(|profile| profile.openssl_name()).collect();
        builder.set_tlsext_use_srtp(&names.join(":"))?;
        let (x509, key) = certificate.to_native()?;
        builder.set_certificate(&x509)?;
        builder.set_private_key(&key)?;
        last_word(&mut builder)?;
        Ok(Self { context: builder.build(), mtu: mtu.clamp(256, 1400) as u32 })
    }
}
