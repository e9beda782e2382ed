//! WHEP: a watcher's sections are filled with the producers of a room.
//!
//! Each section of the offer that receives holds one producer of its kind. They are filled in the order in which the
//! producers came; those that find no section wait. A section without a producer is agreed on all the same: a late
//! producer takes the first free section of its kind, without a new description. A section whose producer ended is given to
//! the next one too, which peers that hold on to an SSRC they were told of do not play. `?producer=` (ids, parted by commas)
//! restricts what is watched.
//!
//! With an empty body the service offers what is there at that moment; such a watcher gets no later producers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use sfu_control::client::{ConsumeOptions, Id, SdpSection};
use sfu_control::ortc::numbering::Numbering;
use sfu_control::ortc::{MediaKind, RtpCapabilities};
use tokio::sync::Notify;

use super::problem::{Answered, Problem};
use super::publish::{MAX_SECTIONS, kind_of, nothing, transport};
use super::resource::Resource;
use super::secret::random_text;
use super::{Kind, Streams};
use crate::connection::Connection;
use crate::protoo::Refusal;
use crate::room::{ConsumerEntry, Offer, Peer, Room, id_from_text};
use crate::service::{Hello, Owner, Service};

/// Ids in `?producer=`.
const MAX_WANTED: usize = 64;

/// Producers that the address asks for; absent: all.
pub(super) fn wanted(query: &HashMap<String, String>) -> Result<Option<HashSet<Id>>, Refusal> {
    let Some(list) = query.get("producer") else { return Ok(None) };
    let ids: Vec<&str> = list.split(',').take(MAX_WANTED + 1).collect();
    if ids.len() > MAX_WANTED {
        return Err(Refusal::field("producer", format_args!("more than {MAX_WANTED} ids")));
    }
    let read = |id: &str| {
        let wrong = |_| Refusal::field("producer", format_args!("{id:?} is no id of 16 hexadecimal digits"));
        id_from_text("producer", id).map_err(wrong)
    };
    ids.into_iter().map(|id| read(id.trim())).collect::<Result<_, _>>().map(Some)
}

/// One section of a watcher.
struct Section {
    mid: String,
    kind: MediaKind,
    capabilities: RtpCapabilities,
    /// Producer and consumer in it.
    holds: Option<(Id, Id)>,
}

/// What a watcher has and wants.
struct Watcher {
    service: Arc<Service>,
    room: Arc<Room>,
    peer: Arc<Peer>,
    transport: Id,
    wanted: Option<HashSet<Id>>,
    sections: Vec<Section>,
    /// Producers in the order in which they were seen.
    seen: Vec<Id>,
    /// Sections and producers that have no codec in common.
    unfit: HashSet<(usize, Id)>,
}

async fn enter(streams: &Streams, room: &str) -> Result<(Arc<Room>, Arc<Peer>), Problem> {
    // Who watches does not open rooms.
    if !streams.service.is_open(room).await {
        let text = format!("room {room:?}: nobody is in it; publish first");
        return Err(Problem::new(StatusCode::NOT_FOUND, text).with(header::RETRY_AFTER, "2"));
    }
    let hello = Hello { room_id: room.to_owned(), peer_id: format!("whep-{}", random_text(4)?), replicas: 0 };
    let (connection, _) = Connection::new();
    Ok(streams.service.enter(&hello, connection).await?)
}

/// Takes a watcher's offer up.
pub(super) async fn open(streams: Arc<Streams>, room: String, offer: String, wanted: Option<HashSet<Id>>) -> Answered {
    let (room, peer) = enter(&streams, &room).await?;
    match watch(&streams, &room, &peer, &offer, wanted).await {
        Ok((resource, answer, watcher)) => {
            resource.start(&streams);
            tokio::spawn(watcher.run());
            resource.created(answer).await
        }
        Err(problem) => refuse(&streams, &room, &peer, problem).await,
    }
}

async fn refuse(streams: &Streams, room: &Arc<Room>, peer: &Arc<Peer>, problem: Problem) -> Answered {
    tracing::info!("{}: refused in room {}: {}", peer.id, room.name, problem.detail);
    streams.service.leave(room, peer).await;
    Err(problem)
}

async fn watch(
    streams: &Streams,
    room: &Arc<Room>,
    peer: &Arc<Peer>,
    offer: &str,
    wanted: Option<HashSet<Id>>,
) -> Result<(Arc<Resource>, String, Watcher), Problem> {
    let service = &streams.service;
    let description = service.client.parse_sdp(room.router, offer, &[]).await?;
    let receiving = description.sections.iter().filter_map(|s| Some((s, s.rtp_capabilities.clone()?)));
    let sections: Vec<Section> = receiving
        .take(MAX_SECTIONS)
        .map(|(s, capabilities)| Section { mid: s.mid.clone(), kind: kind_of(s), capabilities, holds: None })
        .collect();
    if sections.is_empty() {
        return Err(nothing(&description, "nothing is received; offer a=recvonly"));
    }
    // From here on whatever is produced wakes the watcher.
    peer.state().watch = Some(Arc::new(Notify::new()));
    let transport = transport(service, room, peer, true).await?;
    service.client.connect(transport, &description.dtls_parameters).await?;
    let mut watcher = Watcher {
        service: Arc::clone(service),
        room: Arc::clone(room),
        peer: Arc::clone(peer),
        transport,
        wanted,
        sections,
        seen: Vec::new(),
        unfit: HashSet::new(),
    };
    watcher.fill().await;
    let section = |s: &Section| SdpSection {
        mid: s.mid.clone(),
        producer: None,
        consumer: s.holds.map(|(_, consumer)| consumer),
        open: s.holds.is_none(),
    };
    let sections: Vec<SdpSection> = watcher.sections.iter().map(section).collect();
    let answer = service.client.create_sdp_answer(transport, offer, &sections, 1).await?;
    let ufrag = description.ice_parameters.username_fragment;
    let resource = Resource::new(Kind::Whep, Arc::clone(room), Arc::clone(peer), transport, Some(ufrag))?;
    Ok((resource, answer, watcher))
}

impl Watcher {
    /// Fills free sections whenever something changed, until the watcher leaves.
    async fn run(mut self) {
        let mut closing = self.peer.connection.closing();
        let Some(news) = self.peer.state().watch.clone() else { return };
        loop {
            let changed = tokio::select! {
                () = news.notified() => true,
                _ = closing.wait_for(Option::is_some) => false,
            };
            if !changed {
                return;
            }
            self.fill().await;
        }
    }

    async fn fill(&mut self) {
        let offers = self.room.offers(&self.peer);
        self.seen.retain(|id| offers.iter().any(|offer| offer.producer == *id));
        for offer in &offers {
            if !self.seen.contains(&offer.producer) {
                self.seen.push(offer.producer);
            }
        }
        {
            let state = self.peer.state();
            for section in &mut self.sections {
                section.holds = section.holds.filter(|(_, consumer)| state.consumers.contains_key(consumer));
            }
        }
        let seen = &self.seen;
        self.unfit.retain(|(_, producer)| seen.contains(producer));
        for id in self.seen.clone() {
            let Some(offer) = offers.iter().find(|offer| offer.producer == id) else { continue };
            let held = self.sections.iter().any(|section| section.holds.is_some_and(|(producer, _)| producer == id));
            let unwanted = self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&id));
            if !held && !unwanted {
                self.place(offer).await;
            }
        }
    }

    /// Puts a producer into the first free section that has a codec for it.
    async fn place(&mut self, offer: &Offer) {
        for (index, section) in self.sections.iter_mut().enumerate() {
            let fits = section.kind == offer.kind && !self.unfit.contains(&(index, offer.producer));
            if section.holds.is_some() || !fits {
                continue;
            }
            let options = ConsumeOptions {
                mid: Some(section.mid.clone()),
                numbering: Numbering::Peer,
                ..ConsumeOptions::new(offer.producer, section.capabilities.clone())
            };
            match consume(&self.service, &self.peer, self.transport, offer, &options).await {
                Some(consumer) => {
                    section.holds = Some((offer.producer, consumer));
                    return;
                }
                None => drop(self.unfit.insert((index, offer.producer))),
            }
        }
    }
}

/// Makes a consumer that needs nobody's consent.
async fn consume(
    service: &Service,
    peer: &Arc<Peer>,
    transport: Id,
    offer: &Offer,
    options: &ConsumeOptions,
) -> Option<Id> {
    let consumed = async {
        let producer = service.producer_in(peer.router(), &offer.publisher, offer.producer).await?;
        service.client.consume(transport, &ConsumeOptions { producer, ..options.clone() }).await
    };
    let consumer = match consumed.await {
        Ok(consumer) => consumer.id,
        Err(error) => {
            tracing::info!("{}: receives no {} of {}: {error}", peer.id, offer.kind, offer.publisher.id);
            return None;
        }
    };
    service.own(consumer, Owner::Consumer(Arc::downgrade(peer)));
    let registered = {
        let mut state = peer.state();
        if !state.left {
            let mut entry = ConsumerEntry::default();
            entry.accept();
            state.consumers.insert(consumer, entry);
        }
        !state.left
    };
    // Should the producer be gone by now, its closing may have passed before the consumer had an owner.
    if registered && offer.publisher.state().producers.contains_key(&offer.producer) {
        return Some(consumer);
    }
    peer.state().consumers.remove(&consumer);
    service.disown(consumer);
    // Most likely gone with its producer or its transport.
    let _ = service.client.close(consumer).await;
    None
}

/// Offers what is in a room.
pub(super) async fn offer(streams: Arc<Streams>, room: String, wanted: Option<HashSet<Id>>) -> Answered {
    let (room, peer) = enter(&streams, &room).await?;
    match offer_all(&streams, &room, &peer, wanted).await {
        Ok((resource, sdp)) => {
            resource.start(&streams);
            resource.created(sdp).await
        }
        Err(problem) => refuse(&streams, &room, &peer, problem).await,
    }
}

async fn offer_all(
    streams: &Streams,
    room: &Arc<Room>,
    peer: &Arc<Peer>,
    wanted: Option<HashSet<Id>>,
) -> Result<(Arc<Resource>, String), Problem> {
    let service = &streams.service;
    let transport = transport(service, room, peer, false).await?;
    let mut consumers = Vec::new();
    let asked = |offer: &Offer| wanted.as_ref().is_none_or(|wanted| wanted.contains(&offer.producer));
    for offer in room.offers(peer).into_iter().filter(asked).take(MAX_SECTIONS) {
        let options = ConsumeOptions::new(offer.producer, room.capabilities.clone());
        consumers.extend(consume(service, peer, transport, &offer, &options).await);
    }
    if consumers.is_empty() {
        let text = "nothing is published in the room that could be offered";
        return Err(Problem::new(StatusCode::CONFLICT, text).with(header::RETRY_AFTER, "2"));
    }
    let sdp = service.client.create_sdp_offer(transport, &consumers, 1).await?;
    let resource = Resource::new(Kind::Whep, Arc::clone(room), Arc::clone(peer), transport, None)?;
    Ok((resource, sdp))
}

/// The watcher's answer to our offer.
pub(super) async fn answered(streams: Arc<Streams>, resource: Arc<Resource>, answer: String) -> Answered {
    let service = &streams.service;
    let description = service.client.parse_sdp(resource.room.router, &answer, &[]).await?;
    let taken: HashSet<&str> = description
        .sections
        .iter()
        .filter(|section| section.rtp_capabilities.is_some())
        .map(|section| section.mid.as_str())
        .collect();
    if taken.is_empty() {
        return Err(nothing(&description, "nothing of the offer is received"));
    }
    service.client.connect(resource.transport, &description.dtls_parameters).await?;
    resource.answered(description.ice_parameters.username_fragment.clone()).await;
    let consumers: Vec<Id> = resource.peer.state().consumers.keys().copied().collect();
    for consumer in consumers {
        let dump = service.client.dump(consumer).await;
        let mid = match dump {
            Ok(sfu_control::schema::ReplyBodyT::ConsumerDump(dump)) => dump.rtp_parameters.and_then(|p| p.mid),
            // It ended meanwhile.
            Ok(_) | Err(_) => continue,
        };
        if mid.is_none_or(|mid| !taken.contains(mid.as_str())) {
            resource.peer.state().consumers.remove(&consumer);
            service.disown(consumer);
            service.client.close(consumer).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
