//! What an operator chooses for an engine: decoding, checking, and what the runtime makes of it.
//!
//! Told: the EngineOptions message or the plain struct. Tells: runtime options, or a one-line [`StartError`] with
//! cause, value and remedy. Limits: 255 shards, 64 KiB of PEM each, queues of 1 to 2^20.

use std::fmt;
use std::path::PathBuf;

use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{IoBackend, RuntimeOptions, ShardPlacement, StartCode, StartError};

use crate::schema as fb;
use crate::{decode, encode};

/// A shard's number is one byte of each id.
const MAX_SHARDS: usize = 255;
const MAX_PEM: usize = 64 * 1024;
const MAX_QUEUE: u32 = 1 << 20;

/// Options of an engine. The default is one pinned shard for each core and a certificate of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Number of shards; 0 is one for each core that the process may use.
    pub shards: u16,
    /// Cores to pin the shards to, in order; empty: the first ones that the process may use.
    pub cpus: Vec<u16>,
    /// Leave the shards unpinned.
    pub unpinned: bool,
    /// PEM; both or neither.
    pub certificate_pem: Option<String>,
    /// PEM; both or neither.
    pub private_key_pem: Option<String>,
    /// Order of preference; empty: as libsfu prefers.
    pub srtp_profiles: Vec<SrtpProfile>,
    /// Requests in flight for each shard before BUSY.
    pub command_queue: u32,
    /// Events held for the caller.
    pub event_queue: u32,
    /// How shards talk to their sockets.
    pub io_backend: IoBackend,
    /// Where taps may write files; `None` refuses them.
    pub tap_directory: Option<String>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            shards: 0,
            cpus: Vec::new(),
            unpinned: false,
            certificate_pem: None,
            private_key_pem: None,
            srtp_profiles: Vec::new(),
            command_queue: 4096,
            event_queue: 65_536,
            io_backend: IoBackend::Default,
            tap_directory: None,
        }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("EngineOptions")
            .field("shards", &self.shards)
            .field("cpus", &self.cpus)
            .field("unpinned", &self.unpinned)
            .field("certificate_given", &self.certificate_pem.is_some())
            .field("srtp_profiles", &self.srtp_profiles)
            .field("command_queue", &self.command_queue)
            .field("event_queue", &self.event_queue)
            .field("io_backend", &self.io_backend)
            .field("tap_directory", &self.tap_directory)
            .finish_non_exhaustive()
    }
}

fn invalid(text: impl Into<String>) -> StartError {
    StartError::new(StartCode::InvalidOptions, "options", text)
}

impl EngineOptions {
    /// From a size-prefixed message whose content is EngineOptions.
    pub fn decode(bytes: &[u8]) -> Result<Self, StartError> {
        let options = decode::engine_options(bytes).map_err(|e| invalid(e.to_string()))?;
        let profile = |(i, p): (usize, fb::SrtpProfile)| match p {
            fb::SrtpProfile::aead_aes_256_gcm => Ok(SrtpProfile::AeadAes256Gcm),
            fb::SrtpProfile::aead_aes_128_gcm => Ok(SrtpProfile::AeadAes128Gcm),
            fb::SrtpProfile::aes128_cm_hmac_sha1_80 => Ok(SrtpProfile::Aes128CmSha1_80),
            fb::SrtpProfile::aes128_cm_hmac_sha1_32 => Ok(SrtpProfile::Aes128CmSha1_32),
            other => Err(invalid(format!("srtp_profiles[{i}]: {} is no profile; use 0 to 3", other.0))),
        };
        let io_backend = match options.io_backend {
            fb::IoBackend::default_ => IoBackend::Default,
            fb::IoBackend::io_uring => IoBackend::IoUring,
            fb::IoBackend::mmsg => IoBackend::Mmsg,
            other => return Err(invalid(format!("io_backend: {} is no back end; use 0 to 2", other.0))),
        };
        let profiles = options.srtp_profiles.unwrap_or_default();
        Ok(Self {
            shards: options.shards,
            cpus: options.cpus.unwrap_or_default(),
            unpinned: options.unpinned,
            certificate_pem: options.certificate_pem,
            private_key_pem: options.private_key_pem,
            srtp_profiles: profiles.into_iter().enumerate().map(profile).collect::<Result<_, _>>()?,
            command_queue: options.command_queue,
            event_queue: options.event_queue,
            io_backend,
            tap_directory: options.tap_directory,
        })
    }

    /// The message that [`decode`](Self::decode) reads.
    pub fn encode(&self) -> Vec<u8> {
        let profile = |p: &SrtpProfile| match p {
            SrtpProfile::AeadAes256Gcm => fb::SrtpProfile::aead_aes_256_gcm,
            SrtpProfile::AeadAes128Gcm => fb::SrtpProfile::aead_aes_128_gcm,
            SrtpProfile::Aes128CmSha1_80 => fb::SrtpProfile::aes128_cm_hmac_sha1_80,
            SrtpProfile::Aes128CmSha1_32 => fb::SrtpProfile::aes128_cm_hmac_sha1_32,
        };
        encode::engine_options(fb::EngineOptionsT {
            shards: self.shards,
            cpus: (!self.cpus.is_empty()).then(|| self.cpus.clone()),
            unpinned: self.unpinned,
            certificate_pem: self.certificate_pem.clone(),
            private_key_pem: self.private_key_pem.clone(),
            srtp_profiles: (!self.srtp_profiles.is_empty()).then(|| self.srtp_profiles.iter().map(profile).collect()),
            command_queue: self.command_queue,
            event_queue: self.event_queue,
            io_backend: match self.io_backend {
                IoBackend::Default => fb::IoBackend::default_,
                IoBackend::IoUring => fb::IoBackend::io_uring,
                IoBackend::Mmsg => fb::IoBackend::mmsg,
            },
            tap_directory: self.tap_directory.clone(),
        })
    }

    /// Checks everything that can be checked without the machine, and makes the certificate.
    pub(crate) fn resolve(&self, usable_cpus: &[usize]) -> Result<RuntimeOptions, StartError> {
        let queue = |name: &str, value: u32| match value {
            1..=MAX_QUEUE => Ok(value as usize),
            _ => Err(invalid(format!("{name}: {value} is out of range; give 1 to {MAX_QUEUE}"))),
        };
        Ok(RuntimeOptions {
            shards: self.placements(usable_cpus)?,
            srtp_profiles: self.profiles()?,
            command_queue: queue("command_queue", self.command_queue)?,
            event_queue: queue("event_queue", self.event_queue)?,
            io: self.io_backend,
            tap_directory: self.tap_directory.as_ref().map(PathBuf::from),
            ..RuntimeOptions::new(self.certificate()?)
        })
    }

    fn placements(&self, usable: &[usize]) -> Result<Vec<ShardPlacement>, StartError> {
        if self.unpinned && !self.cpus.is_empty() {
            return Err(invalid("cpus: given together with unpinned; give one of them"));
        }
        for (i, cpu) in self.cpus.iter().enumerate() {
            if self.cpus[..i].contains(cpu) {
                return Err(invalid(format!("cpus[{i}]: core {cpu} is given twice; give each core once")));
            }
        }
        let cores = if self.cpus.is_empty() { usable.len().max(1) } else { self.cpus.len() };
        let count = if self.shards == 0 { cores } else { usize::from(self.shards) };
        if count > MAX_SHARDS {
            return Err(invalid(format!("shards: {count} are too many; give at most {MAX_SHARDS}")));
        }
        if !self.cpus.is_empty() && count != self.cpus.len() {
            let text = format!("shards: {count} shards for {} cores; give one core for each shard", self.cpus.len());
            return Err(invalid(text));
        }
        // More shards than cores cannot be pinned one to one: the kernel places them better.
        let pin = !self.unpinned && count <= cores && !(self.cpus.is_empty() && usable.is_empty());
        let cpu = |i: usize| match (pin, self.cpus.get(i)) {
            (false, _) => None,
            (true, Some(cpu)) => Some(usize::from(*cpu)),
            (true, None) => usable.get(i).copied(),
        };
        Ok((0..count).map(|i| ShardPlacement { cpu: cpu(i) }).collect())
    }

    fn certificate(&self) -> Result<Certificate, StartError> {
        let failed = |text: String| StartError::new(StartCode::Certificate, "certificate", text);
        match (&self.certificate_pem, &self.private_key_pem) {
            (None, None) => Certificate::generate().map_err(|e| failed(format!("cannot be generated: {e}"))),
            (Some(_), None) => Err(failed("certificate_pem without private_key_pem; give both or neither".into())),
            (None, Some(_)) => Err(failed("private_key_pem without certificate_pem; give both or neither".into())),
            (Some(cert), Some(key)) => {
                for (name, pem) in [("certificate_pem", cert), ("private_key_pem", key)] {
                    if pem.is_empty() || pem.len() > MAX_PEM {
                        let text = format!("{name} has {} bytes; give PEM text of at most {MAX_PEM}", pem.len());
                        return Err(failed(text));
                    }
                }
                Certificate::from_pem(cert.as_bytes(), key.as_bytes()).map_err(|e| failed(e.to_string()))
            }
        }
    }

    fn profiles(&self) -> Result<Vec<SrtpProfile>, StartError> {
        for (i, profile) in self.srtp_profiles.iter().enumerate() {
            if self.srtp_profiles[..i].contains(profile) {
                return Err(invalid(format!("srtp_profiles[{i}]: {profile:?} is given twice; give each once")));
            }
        }
        if self.srtp_profiles.is_empty() { Ok(SrtpProfile::ALL.to_vec()) } else { Ok(self.srtp_profiles.clone()) }
    }
}
