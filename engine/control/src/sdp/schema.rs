//! Between what descriptions say and the tables of the schema.

use sfu_core::command::CommandError;

use super::description::Direction;
use super::{Fragment, Peer, PeerSection};
use crate::ortc::{IceParameters, convert};
use crate::schema as fb;

type Converted<T> = Result<T, CommandError>;

fn ice_to(ice: &IceParameters) -> fb::IceParametersT {
    fb::IceParametersT {
        username_fragment: ice.username_fragment.clone(),
        password: ice.password.clone(),
        ice_lite: ice.ice_lite,
    }
}

fn direction_to(direction: Direction) -> fb::MediaDirection {
    match direction {
        Direction::Sendrecv => fb::MediaDirection::sendrecv,
        Direction::Sendonly => fb::MediaDirection::sendonly,
        Direction::Recvonly => fb::MediaDirection::recvonly,
        Direction::Inactive => fb::MediaDirection::inactive,
    }
}

fn direction_from(direction: fb::MediaDirection) -> Direction {
    match direction {
        fb::MediaDirection::sendrecv => Direction::Sendrecv,
        fb::MediaDirection::sendonly => Direction::Sendonly,
        fb::MediaDirection::recvonly => Direction::Recvonly,
        _ => Direction::Inactive,
    }
}

/// A peer's description to the schema.
pub(crate) fn peer_to(peer: &Peer) -> Converted<fb::SdpParsedT> {
    let section = |s: &PeerSection| fb::SdpSectionT {
        mid: s.mid.clone(),
        media: s.media.clone(),
        direction: direction_to(s.direction),
        problem: s.problem.clone(),
        rtp_parameters: s.rtp_parameters.as_ref().map(|p| Box::new(convert::parameters_of_stream_to(p))),
        rtp_capabilities: s.rtp_capabilities.as_ref().map(|c| Box::new(convert::capabilities_to(c))),
        sctp_port: s.sctp_port,
        max_message_size: s.max_message_size,
    };
    Ok(fb::SdpParsedT {
        ice_parameters: Some(Box::new(ice_to(&peer.ice_parameters))),
        dtls_parameters: Some(Box::new(convert::dtls_parameters_to(&peer.dtls_parameters)?)),
        sections: Some(peer.sections.iter().map(section).collect()),
        candidates: peer.candidates,
    })
}

/// A peer's description from the schema.
pub(crate) fn peer_from(parsed: fb::SdpParsedT) -> Converted<Peer> {
    let section = |s: fb::SdpSectionT| {
        let parameters = |p: Box<fb::RtpParametersT>| convert::parameters_of_stream_from(*p, "rtp_parameters");
        let capabilities = |c: Box<fb::RtpCapabilitiesT>| convert::capabilities_from(*c, "rtp_capabilities");
        Ok(PeerSection {
            mid: s.mid,
            media: s.media,
            direction: direction_from(s.direction),
            problem: s.problem,
            rtp_parameters: s.rtp_parameters.map(parameters).transpose()?,
            rtp_capabilities: s.rtp_capabilities.map(capabilities).transpose()?,
            sctp_port: s.sctp_port,
            max_message_size: s.max_message_size,
        })
    };
    let ice = parsed.ice_parameters.map(|ice| *ice).unwrap_or_default();
    let dtls = parsed.dtls_parameters.map(|dtls| *dtls).unwrap_or_default();
    Ok(Peer {
        ice_parameters: convert::ice_parameters_from(ice),
        dtls_parameters: convert::dtls_parameters_from(dtls, "dtls_parameters")?,
        candidates: parsed.candidates,
        sections: parsed.sections.unwrap_or_default().into_iter().map(section).collect::<Converted<_>>()?,
    })
}

/// A fragment to the schema.
pub(crate) fn fragment_to(fragment: Fragment) -> fb::SdpFragmentParsedT {
    fb::SdpFragmentParsedT {
        ice_parameters: fragment.ice_parameters.map(|ice| Box::new(ice_to(&ice))),
        mid: fragment.mid,
        candidates: fragment.candidates,
        end_of_candidates: fragment.end_of_candidates,
    }
}

/// A fragment from the schema.
pub(crate) fn fragment_from(parsed: fb::SdpFragmentParsedT) -> Fragment {
    Fragment {
        ice_parameters: parsed.ice_parameters.map(|ice| convert::ice_parameters_from(*ice)),
        mid: parsed.mid,
        candidates: parsed.candidates,
        end_of_candidates: parsed.end_of_candidates,
    }
}
