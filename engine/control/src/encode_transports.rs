//! Transports without ICE as messages: their addresses, keys, events and dumps. As in [`crate::encode`], nothing here
//! can fail.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfu_core::command::{LocalAddress, PipeTransportCreated, PlainTransportCreated, SrtpParameters};
use sfu_core::stats;
use sfu_proto::keys::SrtpProfile;

use crate::encode::{ids, transport_streams, tuple};
use crate::ortc::convert::layers_to;
use crate::schema as fb;

/// A suite as the schema has it.
pub(crate) fn profile(profile: SrtpProfile) -> fb::SrtpProfile {
    match profile {
        SrtpProfile::AeadAes256Gcm => fb::SrtpProfile::aead_aes_256_gcm,
        SrtpProfile::AeadAes128Gcm => fb::SrtpProfile::aead_aes_128_gcm,
        SrtpProfile::Aes128CmSha1_80 => fb::SrtpProfile::aes128_cm_hmac_sha1_80,
        SrtpProfile::Aes128CmSha1_32 => fb::SrtpProfile::aes128_cm_hmac_sha1_32,
    }
}

/// A suite of the schema, if it is one.
pub(crate) fn profile_from(value: fb::SrtpProfile) -> Option<SrtpProfile> {
    SrtpProfile::ALL.into_iter().find(|p| profile(*p) == value)
}

fn srtp(parameters: &SrtpParameters) -> Box<fb::SrtpParametersT> {
    let key_base64 = STANDARD.encode(parameters.key.as_bytes());
    Box::new(fb::SrtpParametersT { crypto_suite: profile(parameters.profile), key_base64 })
}

/// What peers send to.
fn shown((announced, local): &LocalAddress) -> (String, u16) {
    (announced.clone().unwrap_or_else(|| local.ip().to_string()), local.port())
}

/// A new plain transport.
pub(crate) fn plain_created(created: &PlainTransportCreated) -> fb::PlainTransportCreatedT {
    let (address, port) = shown(&created.rtp);
    let rtcp = created.rtcp.as_ref().map(shown);
    fb::PlainTransportCreatedT {
        id: created.id.to_u64(),
        address,
        port,
        rtcp_port: rtcp.as_ref().map(|(_, port)| *port),
        rtcp_address: rtcp.map(|(address, _)| address),
        srtp_parameters: created.srtp.as_ref().map(srtp),
    }
}

/// A new pipe transport.
pub(crate) fn pipe_created(created: &PipeTransportCreated) -> fb::PipeTransportCreatedT {
    let (address, port) = shown(&created.local);
    let srtp_parameters = created.srtp.as_ref().map(srtp);
    fb::PipeTransportCreatedT { id: created.id.to_u64(), address, port, srtp_parameters }
}

/// A plain transport's state.
pub(crate) fn plain_dump(dump: &stats::PlainTransportDump) -> fb::PlainTransportDumpT {
    fb::PlainTransportDumpT {
        id: dump.id.to_u64(),
        router: dump.router.to_u64(),
        rtcp_mux: dump.rtcp_mux,
        comedia: dump.comedia,
        local_addresses: Some(dump.local_addresses.iter().map(ToString::to_string).collect()),
        tuple: dump.tuple.as_ref().map(|t| Box::new(tuple(t))),
        rtcp_tuple: dump.rtcp_tuple.as_ref().map(|t| Box::new(tuple(t))),
        srtp_profile: dump.srtp_profile.map(str::to_owned),
        producers: ids(&dump.producers),
        consumers: ids(&dump.consumers),
        streams: transport_streams(&dump.streams),
    }
}

/// A pipe transport's state.
pub(crate) fn pipe_dump(dump: &stats::PipeTransportDump) -> fb::PipeTransportDumpT {
    fb::PipeTransportDumpT {
        id: dump.id.to_u64(),
        router: dump.router.to_u64(),
        local_address: Some(dump.local_address.to_string()),
        tuple: dump.tuple.as_ref().map(|t| Box::new(tuple(t))),
        rtx: dump.rtx,
        srtp: dump.srtp,
        silent: dump.silent,
        producers: ids(&dump.producers),
        consumers: ids(&dump.consumers),
        streams: transport_streams(&dump.streams),
        only_wanted: dump.only_wanted,
    }
}

/// The streams of a pipe consumer; absent for others.
pub(crate) fn lanes(lanes: &[stats::LaneDump]) -> Option<Vec<fb::ConsumerLaneT>> {
    let lane = |lane: &stats::LaneDump| fb::ConsumerLaneT {
        ssrc: lane.ssrc,
        rtx_ssrc: lane.rtx_ssrc,
        fec_ssrc: lane.fec_ssrc,
        wanted: lane.wanted,
        current_layers: layers_to(lane.current_layers),
    };
    (!lanes.is_empty()).then(|| lanes.iter().map(lane).collect())
}

/// A direct transport's state.
pub(crate) fn direct_dump(dump: &stats::DirectTransportDump) -> fb::DirectTransportDumpT {
    fb::DirectTransportDumpT {
        id: dump.id.to_u64(),
        router: dump.router.to_u64(),
        producers: ids(&dump.producers),
        consumers: ids(&dump.consumers),
        streams: transport_streams(&dump.streams),
    }
}
