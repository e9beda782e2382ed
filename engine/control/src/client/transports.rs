//! Calls about transports that browsers do not use: plain, pipe and direct ones.

use sfu_proto::keys::SrtpProfile;

use super::{Call, Client, ClientError, Id, ListenInfo, unexpected};
use crate::encode;
use crate::schema as fb;

/// A key as ORTC's JSON has it: `{cryptoSuite, keyBase64}`. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SrtpParameters {
    /// `AEAD_AES_256_GCM`, `AEAD_AES_128_GCM`, `AES_CM_128_HMAC_SHA1_80` or `AES_CM_128_HMAC_SHA1_32`.
    pub crypto_suite: String,
    /// Key and salt in base64 (RFC 4568, section 6.1).
    pub key_base64: String,
}

impl std::fmt::Debug for SrtpParameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SrtpParameters({})", self.crypto_suite)
    }
}

impl SrtpParameters {
    fn to_schema(&self) -> Result<Box<fb::SrtpParametersT>, ClientError> {
        let crypto_suite = suite(&self.crypto_suite, "srtp_parameters.crypto_suite")?;
        Ok(Box::new(fb::SrtpParametersT { crypto_suite, key_base64: self.key_base64.clone() }))
    }

    fn from_schema(srtp: fb::SrtpParametersT) -> Option<Self> {
        let crypto_suite = encode::profile_from(srtp.crypto_suite)?.sdes_name().to_owned();
        Some(Self { crypto_suite, key_base64: srtp.key_base64 })
    }
}

fn suite(name: &str, field: &str) -> Result<fb::SrtpProfile, ClientError> {
    SrtpProfile::from_sdes_name(name).map(encode::profile).ok_or_else(|| {
        let names = SrtpProfile::ALL.map(SrtpProfile::sdes_name).join(", ");
        let text = format!("{name:?} is no crypto suite; give one of {names}");
        ClientError { code: sfu_core::command::ErrorCode::InvalidArgument, field: field.to_owned(), text }
    })
}

/// Options of a plain transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTransportOptions {
    /// Where RTP is taken.
    pub listen: ListenInfo,
    /// Without `rtcp_mux`: where RTCP is taken; absent: any free port at the same address.
    pub rtcp_listen: Option<ListenInfo>,
    /// RTP and RTCP share a port.
    pub rtcp_mux: bool,
    /// The peer's first packet tells where it is.
    pub comedia: bool,
    /// Name of the crypto suite of our key; absent: no SRTP.
    pub srtp_crypto_suite: Option<String>,
    /// Bit/s; 0 is no bound.
    pub max_incoming_bitrate: u32,
    /// Where it is placed; absent: the engine chooses.
    pub shard: Option<u8>,
}

impl PlainTransportOptions {
    /// RTP and RTCP on one port of `listen`, to a peer that connect will name.
    pub fn new(listen: ListenInfo) -> Self {
        let (rtcp_mux, comedia) = (true, false);
        Self {
            listen,
            rtcp_listen: None,
            rtcp_mux,
            comedia,
            srtp_crypto_suite: None,
            max_incoming_bitrate: 0,
            shard: None,
        }
    }
}

/// A new plain transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTransport {
    /// Its id.
    pub id: Id,
    /// What peers send to: an address or a host name.
    pub address: String,
    /// RTP's port.
    pub port: u16,
    /// RTCP's port, if it has its own.
    pub rtcp_port: Option<u16>,
    /// Our key.
    pub srtp_parameters: Option<SrtpParameters>,
}

/// Where the peer of a plain transport is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlainRemote {
    /// Its address; absent with comedia.
    pub ip: Option<String>,
    /// RTP's port; absent with comedia.
    pub port: Option<u16>,
    /// RTCP's port, if it has its own.
    pub rtcp_port: Option<u16>,
    /// Its key, with SRTP.
    pub srtp_parameters: Option<SrtpParameters>,
}

/// Options of a pipe transport. Both ends are made with the same, but for the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeTransportOptions {
    /// Where it listens.
    pub listen: ListenInfo,
    /// Lost packets are sent again (RTX).
    pub rtx: bool,
    /// SRTP with AEAD_AES_256_GCM.
    pub srtp: bool,
    /// Of the streams and layers of what is consumed only those pass that the far router wants. Else all pass.
    pub only_wanted: bool,
    /// Where it is placed; absent: the engine chooses.
    pub shard: Option<u8>,
}

impl PipeTransportOptions {
    /// Everything passes, as it is.
    pub fn new(listen: ListenInfo) -> Self {
        Self { listen, rtx: false, srtp: false, only_wanted: false, shard: None }
    }
}

/// A new pipe transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeTransport {
    /// Its id.
    pub id: Id,
    /// What the other end sends to.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Our key.
    pub srtp_parameters: Option<SrtpParameters>,
}

/// What is left of an engine that drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Routers.
    pub routers: u32,
    /// Transports.
    pub transports: u32,
    /// Producers.
    pub producers: u32,
    /// Consumers.
    pub consumers: u32,
}

impl Client {
    /// Makes a plain transport in a router.
    pub fn create_plain_transport(&self, router: Id, options: &PlainTransportOptions) -> Call<PlainTransport> {
        let wanted = options.srtp_crypto_suite.as_ref().map(|name| suite(name, "srtp_crypto_suite")).transpose();
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return super::failed(error),
        };
        let body = fb::CreatePlainTransportT {
            listen_info: Some(Box::new(options.listen.to_schema())),
            rtcp_listen_info: options.rtcp_listen.as_ref().map(|info| Box::new(info.to_schema())),
            rtcp_mux: options.rtcp_mux,
            comedia: options.comedia,
            enable_srtp: wanted.is_some(),
            srtp_crypto_suite: wanted.unwrap_or(fb::SrtpProfile::aes128_cm_hmac_sha1_80),
            max_incoming_bitrate: options.max_incoming_bitrate,
            shard: options.shard,
        };
        self.call(router, fb::RequestBodyT::CreatePlainTransport(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::PlainTransportCreated(created) => Ok(PlainTransport {
                id: created.id,
                address: created.address,
                port: created.port,
                rtcp_port: created.rtcp_port,
                srtp_parameters: created.srtp_parameters.and_then(|srtp| SrtpParameters::from_schema(*srtp)),
            }),
            _ => Err(unexpected("another reply than PlainTransportCreated")),
        })
    }

    /// Tells a plain transport where its peer is, and its key.
    pub fn connect_plain_transport(&self, transport: Id, remote: &PlainRemote) -> Call<()> {
        let srtp_parameters = match remote.srtp_parameters.as_ref().map(SrtpParameters::to_schema).transpose() {
            Ok(srtp) => srtp,
            Err(error) => return super::failed(error),
        };
        let (ip, port, rtcp_port) = (remote.ip.clone(), remote.port, remote.rtcp_port);
        let body = fb::ConnectPlainTransportT { ip, port, rtcp_port, srtp_parameters };
        self.done(transport, fb::RequestBodyT::ConnectPlainTransport(Box::new(body)))
    }

    /// Makes a pipe transport in a router.
    pub fn create_pipe_transport(&self, router: Id, options: &PipeTransportOptions) -> Call<PipeTransport> {
        let body = fb::CreatePipeTransportT {
            listen_info: Some(Box::new(options.listen.to_schema())),
            enable_rtx: options.rtx,
            enable_srtp: options.srtp,
            only_wanted: options.only_wanted,
            shard: options.shard,
        };
        self.call(router, fb::RequestBodyT::CreatePipeTransport(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::PipeTransportCreated(created) => Ok(PipeTransport {
                id: created.id,
                address: created.address,
                port: created.port,
                srtp_parameters: created.srtp_parameters.and_then(|srtp| SrtpParameters::from_schema(*srtp)),
            }),
            _ => Err(unexpected("another reply than PipeTransportCreated")),
        })
    }

    /// Tells a pipe transport where its other end is, and its key.
    pub fn connect_pipe_transport(
        &self,
        transport: Id,
        ip: &str,
        port: u16,
        srtp_parameters: Option<&SrtpParameters>,
    ) -> Call<()> {
        let srtp_parameters = match srtp_parameters.map(SrtpParameters::to_schema).transpose() {
            Ok(srtp) => srtp,
            Err(error) => return super::failed(error),
        };
        let body = fb::ConnectPipeTransportT { ip: Some(ip.to_owned()), port, srtp_parameters };
        self.done(transport, fb::RequestBodyT::ConnectPipeTransport(Box::new(body)))
    }

    /// Makes a direct transport in a router; its packets pass by [`Engine::send_media`](crate::Engine::send_media)
    /// and [`Engine::poll_media`](crate::Engine::poll_media).
    pub fn create_direct_transport(&self, router: Id, max_incoming_bitrate: u32) -> Call<Id> {
        self.create_direct_transport_on(router, max_incoming_bitrate, None)
    }

    /// The same on a shard of the caller's choice.
    pub fn create_direct_transport_on(&self, router: Id, max_incoming_bitrate: u32, shard: Option<u8>) -> Call<Id> {
        let body = fb::CreateDirectTransportT { max_incoming_bitrate, shard };
        self.call(router, fb::RequestBodyT::CreateDirectTransport(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::Created(created) => Ok(created.id),
            _ => Err(unexpected("another reply than Created")),
        })
    }

    /// Refuses new routers from now on; tells what is left. [`Event::EngineDrained`](super::Event::EngineDrained) comes
    /// when nothing is.
    pub fn drain(&self) -> Call<Left> {
        self.call(0, fb::RequestBodyT::Drain(Box::default()), |reply| match reply {
            fb::ReplyBodyT::Draining(d) => Ok(Left {
                routers: d.routers,
                transports: d.transports,
                producers: d.producers,
                consumers: d.consumers,
            }),
            _ => Err(unexpected("another reply than Draining")),
        })
    }
}
