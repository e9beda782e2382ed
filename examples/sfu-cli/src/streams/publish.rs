//! WHIP: a publisher's offer becomes a peer with producers.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value, json};
use sfu_control::client::{Listen, ProduceOptions, SdpSection, WebRtcTransportOptions};
use sfu_control::ortc::MediaKind;
use sfu_control::sdp::{Peer as Description, PeerSection};

use super::problem::{Answered, Problem};
use super::resource::Resource;
use super::secret::random_text;
use super::{Kind, Streams};
use crate::connection::Connection;
use crate::consumers;
use crate::protoo::{Refusal, check_text};
use crate::room::{Joined, Peer, ProducerEntry, Room};
use crate::service::{Hello, Owner, Service};

/// Characters of a display name.
const MAX_NAME: usize = 60;
/// Sections that are taken up; the others are rejected.
pub(super) const MAX_SECTIONS: usize = 32;

/// How the others in the room see a publisher.
pub(super) struct Introduction {
    name: String,
    device: Map<String, Value>,
}

impl Introduction {
    pub(super) fn new(query: &HashMap<String, String>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let name = query.get("displayName").map_or("Broadcaster", String::as_str);
        check_text("displayName", name, MAX_NAME)?;
        let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("WHIP");
        let agent: String = agent.chars().take(MAX_NAME).collect();
        let device = json!({ "flag": "broadcaster", "name": agent, "version": "" });
        Ok(Self { name: name.to_owned(), device: device.as_object().cloned().unwrap_or_default() })
    }
}

/// Takes an offer up.
pub(super) async fn open(streams: Arc<Streams>, room: String, offer: String, who: Introduction) -> Answered {
    let hello = Hello { room_id: room, peer_id: format!("whip-{}", random_text(4)?), replicas: 0 };
    // Nobody reads what is sent to this peer.
    let (connection, _) = Connection::new();
    let (room, peer) = streams.service.enter(&hello, connection).await?;
    match publish(&streams, &room, &peer, &offer, who).await {
        Ok((resource, answer)) => {
            resource.start(&streams);
            resource.created(answer).await
        }
        Err(problem) => {
            tracing::info!("{}: refused in room {}: {}", peer.id, room.name, problem.detail);
            streams.service.leave(&room, &peer).await;
            Err(problem)
        }
    }
}

/// Makes a transport for a peer, connected to what its description says.
pub(super) async fn transport(
    service: &Service,
    room: &Arc<Room>,
    peer: &Arc<Peer>,
    consuming: bool,
) -> Result<u64, Problem> {
    let mut options = WebRtcTransportOptions::new(Listen::Server(service.server));
    // See `Resource`: silence is what ends these.
    options.ice_consent_timeout = None;
    let made = service.client.create_webrtc_transport(peer.router(), &options).await?;
    service.own(made.id, Owner::Transport(Arc::downgrade(peer)));
    service.tap(made.id);
    room.add_transport(peer, made.id, consuming);
    Ok(made.id)
}

/// Why none of the sections can be used.
pub(super) fn nothing(description: &Description, otherwise: &str) -> Problem {
    let problem = description.sections.iter().find_map(|section| section.problem.clone());
    Problem::unprocessable(problem.unwrap_or_else(|| otherwise.to_owned()))
}

pub(super) fn kind_of(section: &PeerSection) -> MediaKind {
    if section.media == "audio" { MediaKind::Audio } else { MediaKind::Video }
}

async fn publish(
    streams: &Streams,
    room: &Arc<Room>,
    peer: &Arc<Peer>,
    offer: &str,
    who: Introduction,
) -> Result<(Arc<Resource>, String), Problem> {
    let service = &streams.service;
    let description = service.client.parse_sdp(room.router, offer, &[]).await?;
    let sending: Vec<&PeerSection> =
        description.sections.iter().filter(|section| section.rtp_parameters.is_some()).take(MAX_SECTIONS).collect();
    if sending.is_empty() {
        return Err(nothing(&description, "nothing is sent; offer a=sendonly"));
    }
    let transport = transport(service, room, peer, false).await?;
    service.client.connect(transport, &description.dtls_parameters).await?;
    let mut sections = Vec::new();
    let mut producers = Vec::new();
    for section in sending {
        let Some(rtp_parameters) = section.rtp_parameters.clone() else { continue };
        let kind = kind_of(section);
        let producer = service.client.produce(transport, &ProduceOptions::new(kind, rtp_parameters)).await?;
        service.own(producer.id, Owner::Producer(Arc::downgrade(peer)));
        sections.push(SdpSection { mid: section.mid.clone(), producer: Some(producer.id), ..SdpSection::default() });
        producers.push((producer.id, kind));
    }
    let answer = service.client.create_sdp_answer(transport, offer, &sections, 1).await?;
    let ufrag = description.ice_parameters.username_fragment;
    let resource = Resource::new(Kind::Whip, Arc::clone(room), Arc::clone(peer), transport, Some(ufrag))?;
    announce(service, room, peer, who, &producers)?;
    Ok((resource, answer))
}

/// The others learn of the publisher as of any peer.
fn announce(
    service: &Arc<Service>,
    room: &Arc<Room>,
    peer: &Arc<Peer>,
    who: Introduction,
    producers: &[(u64, MediaKind)],
) -> Result<(), Refusal> {
    tracing::info!("{}: joined room {} as {}", peer.id, room.name, who.name);
    room.join(peer, Joined { display_name: who.name, device: who.device, rtp_capabilities: None })?;
    if let Some(introduction) = peer.introduction() {
        room.notify_others(peer, "newPeer", &introduction);
    }
    for (producer, kind) in producers {
        // What clients tell a microphone from a camera by.
        let source = if *kind == MediaKind::Audio { "mic" } else { "webcam" };
        let app_data = json!({ "source": source }).as_object().cloned().unwrap_or_default();
        let (offer, others) = room.add_producer(peer, *producer, ProducerEntry { kind: *kind, app_data });
        for other in others {
            consumers::offer_all(service, &other, vec![offer.clone()]);
        }
    }
    Ok(())
}
