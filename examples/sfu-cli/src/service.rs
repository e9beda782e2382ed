//! The room service: who is in which room, and what the engine's events mean to them.
//!
//! Told: connections that come and go, events of the engine. Tells: peers what concerns them. Limits: rooms, peers in
//! a room. Placement of rooms on shards is the engine's: each new router goes to the least loaded one.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use sfu_control::client::{Client, ClientError, Event, Id, Layers, PipeToRouter};
use sfu_control::ortc::RtpCodecCapability;
use sfu_control::schema as fb;

use crate::connection::{Connection, close_code};
use crate::metrics::Requests;
use crate::protoo::{Refusal, check_text};
use crate::room::{Peer, Room, id_text};
use crate::speaker;

/// Most characters of a room's or a peer's id.
const MAX_ID: usize = 64;
/// Most consumers made of one producer for one peer.
const MAX_REPLICAS: usize = 50;

/// What a connection's address says.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) room_id: String,
    pub(crate) peer_id: String,
    pub(crate) replicas: usize,
}

impl Hello {
    /// Checks what the address says; the refusal names the parameter.
    pub(crate) fn new(query: &HashMap<String, String>) -> Result<Self, Refusal> {
        let text = |name: &str| -> Result<String, Refusal> {
            let text = query.get(name).ok_or_else(|| Refusal::field(name, "missing in the address"))?;
            check_text(name, text, MAX_ID)?;
            Ok(text.clone())
        };
        let replicas = match query.get("consumerReplicas") {
            None => 0,
            Some(number) => match number.parse() {
                Ok(n) if n <= MAX_REPLICAS => n,
                _ => return Err(Refusal::field("consumerReplicas", format_args!("expected 0 to {MAX_REPLICAS}"))),
            },
        };
        Ok(Self { room_id: text("roomId")?, peer_id: text("peerId")?, replicas })
    }
}

/// Whom an object of the engine belongs to.
#[derive(Clone)]
pub(crate) enum Owner {
    Router(Weak<Room>),
    Transport(Weak<Peer>),
    Producer(Weak<Peer>),
    Consumer(Weak<Peer>),
    Observer(Weak<Room>),
    /// What stands for a peer's producer in the router that listens for speakers, and that producer.
    Voice(Weak<Peer>, Id),
}

/// Numbers that the operator sets.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) rooms: usize,
    pub(crate) peers: usize,
    /// Routers of each room.
    pub(crate) room_routers: u8,
    /// What a publisher is told to stay below, bit/s; 0 is no bound.
    pub(crate) incoming_bitrate: u32,
    /// The media of every transport is written to a file.
    pub(crate) taps: bool,
}

/// See the module.
pub(crate) struct Service {
    pub(crate) client: Client,
    /// The WebRTC server of all shards.
    pub(crate) server: Id,
    shards: usize,
    codecs: Vec<RtpCodecCapability>,
    pub(crate) limits: Limits,
    /// An async lock: rooms are made under it, so that two who open the same room get the same router.
    rooms: tokio::sync::Mutex<BTreeMap<String, Arc<Room>>>,
    owners: Mutex<HashMap<Id, Owner>>,
    /// No room opens any more. Set and read under the lock of the rooms.
    draining: AtomicBool,
    /// The last room closed.
    emptied: tokio::sync::Notify,
    /// What was asked and answered.
    pub(crate) requests: Requests,
}

impl Service {
    pub(crate) fn new(
        client: Client,
        (server, shards): (Id, usize),
        codecs: Vec<RtpCodecCapability>,
        limits: Limits,
    ) -> Arc<Self> {
        let rooms = tokio::sync::Mutex::default();
        Arc::new(Self {
            client,
            server,
            shards,
            codecs,
            limits,
            rooms,
            owners: Mutex::default(),
            draining: AtomicBool::new(false),
            emptied: tokio::sync::Notify::new(),
            requests: Requests::default(),
        })
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<Id, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the media of a new transport to a file, if that was asked for. The call does not wait for it.
    pub(crate) fn tap(&self, transport: Id) {
        if self.limits.taps {
            let mut tap = fb::StartTapT::default();
            tap.name = format!("{}.pcapng", id_text(transport));
            let started = self.client.start_tap(transport, &tap);
            tokio::spawn(async move {
                if let Err(error) = started.await {
                    tracing::warn!(target: "sfu::engine", "transport {} is not tapped: {error}", id_text(transport));
                }
            });
        }
    }

    /// Remembers whose voice an object is. The engine closes such an object when its producer goes, and tells nobody: those
    /// that have gone meanwhile are forgotten.
    pub(crate) fn own_voice(&self, id: Id, peer: &Arc<Peer>, producer: Id) {
        let voices: Vec<(Id, Weak<Peer>, Id)> = {
            let owners = self.owners();
            let voice = |(id, owner): (&Id, &Owner)| match owner {
                Owner::Voice(peer, producer) => Some((*id, Weak::clone(peer), *producer)),
                _ => None,
            };
            owners.iter().filter_map(voice).collect()
        };
        // Peers are looked at without the lock.
        let has =
            |peer: &Weak<Peer>, producer| peer.upgrade().is_some_and(|p| p.state().producers.contains_key(producer));
        voices.iter().filter(|(_, peer, producer)| !has(peer, producer)).for_each(|(id, ..)| self.disown(*id));
        self.own(id, Owner::Voice(Arc::downgrade(peer), producer));
    }

    /// Remembers whom events of an object concern.
    pub(crate) fn own(&self, id: Id, owner: Owner) {
        self.owners().insert(id, owner);
    }

    /// Forgets an object.
    pub(crate) fn disown(&self, id: Id) {
        self.owners().remove(&id);
    }

    /// Rooms and peers right now.
    pub(crate) async fn census(&self) -> (usize, usize) {
        let rooms = self.rooms.lock().await;
        (rooms.len(), rooms.values().map(|room| room.len()).sum())
    }

    /// Opens no rooms any more and waits until those that are open have emptied, at most for `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        {
            let _rooms = self.rooms.lock().await;
            self.draining.store(true, Ordering::Relaxed);
        }
        let (rooms, peers) = self.census().await;
        tracing::info!(target: "sfu::web", "draining for at most {} s: rooms {rooms}, peers {peers}", limit.as_secs());
        let emptied = async {
            // Told once too often at most: what counts is looked at again.
            while self.census().await.0 > 0 {
                self.emptied.notified().await;
            }
        };
        if tokio::time::timeout(limit, emptied).await.is_err() {
            let (rooms, peers) = self.census().await;
            tracing::warn!(target: "sfu::web", "still open after {} s: rooms {rooms}, peers {peers}; closing them", limit.as_secs());
        }
    }

    /// There is a room of this name.
    pub(crate) async fn is_open(&self, room: &str) -> bool {
        self.rooms.lock().await.get(room).is_some_and(|room| !room.is_dead())
    }

    /// The rooms that are open right now.
    pub(crate) async fn open_rooms(&self) -> Vec<Arc<Room>> {
        self.rooms.lock().await.values().cloned().collect()
    }

    /// Number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    /// Where the WebRTC server listens: address, port and protocol.
    pub(crate) async fn media_addresses(&self) -> Vec<String> {
        let Ok(fb::ReplyBodyT::WebRtcServerDump(dump)) = self.client.dump(self.server).await else { return Vec::new() };
        let of = |name: &'static str, all: Option<Vec<String>>| {
            all.unwrap_or_default().into_iter().map(move |address| format!("{address}/{name}"))
        };
        of("udp", dump.local_addresses).chain(of("tcp", dump.tcp_local_addresses)).collect()
    }

    /// A room that somebody is in.
    pub(crate) async fn room(&self, name: &str) -> Option<Arc<Room>> {
        self.rooms.lock().await.get(name).filter(|room| !room.is_dead()).cloned()
    }

    /// A new peer enters a room, which is made for its first.
    pub(crate) async fn enter(
        &self,
        hello: &Hello,
        connection: Arc<Connection>,
    ) -> Result<(Arc<Room>, Arc<Peer>), Refusal> {
        let mut rooms = self.rooms.lock().await;
        let room = match rooms.get(&hello.room_id) {
            Some(room) if !room.is_dead() => Arc::clone(room),
            _ => {
                if self.draining.load(Ordering::Relaxed) {
                    return Err(Refusal::new(503, "roomId: the service is stopping and opens no rooms any more"));
                }
                if rooms.len() >= self.limits.rooms {
                    return Err(Refusal::new(503, format!("roomId: {} rooms are open, the most", self.limits.rooms)));
                }
                let room = self.open(&hello.room_id).await?;
                rooms.insert(hello.room_id.clone(), Arc::clone(&room));
                tracing::info!(target: "sfu::room", "room {} opened on shard {}", room.name, room.router >> 56);
                room
            }
        };
        let peer = Peer::new(&hello.peer_id, hello.replicas, connection);
        let replaced = room.add(&peer, self.limits.peers)?;
        drop(rooms);
        if let Some(old) = replaced {
            old.connection.close(close_code::CLOSED, "peerId: the same peer connected again");
        }
        tracing::info!(target: "sfu::room", "{}: entered room {}", peer.id, room.name);
        Ok((room, peer))
    }

    /// Makes the routers of a room, and lets the first listen.
    async fn open(&self, name: &str) -> Result<Arc<Room>, Refusal> {
        let mut routers = Vec::new();
        let mut capabilities = None;
        for _ in 0..self.limits.room_routers {
            match self.client.create_router(&self.codecs).await {
                Ok(router) => {
                    routers.push(router.id);
                    capabilities = Some(router.rtp_capabilities);
                }
                Err(error) => {
                    self.close_routers(&routers).await;
                    return Err(refusal(error));
                }
            }
        }
        let room = Room::new(name, routers, capabilities.unwrap_or_default());
        if let Err(refused) = speaker::listen(self, &room).await {
            // Nothing of it is known to anybody; it goes with what is below it.
            self.close_routers(&room.routers).await;
            return Err(refused);
        }
        for router in &room.routers {
            self.own(*router, Owner::Router(Arc::downgrade(&room)));
        }
        Ok(room)
    }

    async fn close_routers(&self, routers: &[Id]) {
        for router in routers {
            if let Err(error) = self.client.close(*router).await {
                tracing::debug!(target: "sfu::room", "router {router:016x} was gone already: {error}");
            }
        }
    }

    /// What stands for a publisher's producer in a router: the producer itself, or one that a pipe feeds.
    pub(crate) async fn producer_in(&self, router: Id, publisher: &Peer, producer: Id) -> Result<Id, ClientError> {
        if publisher.router() == router {
            return Ok(producer);
        }
        let mut wanted = PipeToRouter::new(producer, publisher.router(), router);
        wanted.transports.rtx = true;
        wanted.transports.only_wanted = true;
        let client = self.client.clone();
        let piped = tokio::task::spawn_blocking(move || client.pipe_to_router(&wanted)).await;
        let failed = |error: tokio::task::JoinError| ClientError {
            code: sfu_control::ErrorCode::Internal,
            field: String::new(),
            text: error.to_string(),
        };
        Ok(piped.map_err(failed)??.producer)
    }

    /// A peer is gone: its transports close, and with the last peer the room.
    pub(crate) async fn leave(&self, room: &Arc<Room>, peer: &Arc<Peer>) {
        let mut rooms = self.rooms.lock().await;
        let empty = room.remove(peer);
        if empty && rooms.get(&room.name).is_some_and(|current| Arc::ptr_eq(current, room)) {
            rooms.remove(&room.name);
        }
        if rooms.is_empty() {
            self.emptied.notify_one();
        }
        drop(rooms);
        let why = peer.connection.closing().borrow().as_ref().map(|c| c.reason.clone()).unwrap_or_default();
        tracing::info!(target: "sfu::room", "{}: left room {}{}{why}", peer.id, room.name, if why.is_empty() { "" } else { ": " });
        self.close_objects(peer).await;
        if empty {
            room.routers.iter().for_each(|router| self.disown(*router));
            if let Some(observer) = room.observer.get() {
                self.disown(*observer);
            }
            self.close_routers(&room.routers).await;
            tracing::info!(target: "sfu::room", "room {} closed", room.name);
        }
    }

    async fn close_objects(&self, peer: &Peer) {
        let transports: Vec<Id> = {
            let mut state = peer.state();
            let mut owners = self.owners();
            let ids = state.transports.keys().chain(state.producers.keys()).chain(state.consumers.keys());
            ids.for_each(|id| drop(owners.remove(id)));
            drop(owners);
            state.producers.clear();
            state.consumers.clear();
            state.transports.drain().map(|(id, _)| id).collect()
        };
        for transport in transports {
            // What closed by itself is closed just as well.
            if let Err(error) = self.client.close(transport).await {
                tracing::debug!(target: "sfu::room", "{}: transport {} was gone already: {error}", peer.id, id_text(transport));
            }
        }
    }

    /// Takes one event of the engine.
    pub(crate) fn on_event(&self, event: &Event) {
        tracing::debug!(target: "sfu::engine", "{event:?}");
        match event {
            Event::Closed { object, reason } => self.on_closed(*object, *reason),
            Event::IceState { transport, state } if *state == fb::IceState::disconnected => {
                self.drop_peer(*transport, "ICE disconnected");
            }
            Event::DtlsState { transport, state, reason } if *state == fb::DtlsState::failed => {
                self.drop_peer(*transport, &format!("DTLS failed: {reason}"));
            }
            Event::ProducerPaused { consumer } => self.tell_consumer(*consumer, "consumerPaused", &json!({})),
            Event::ProducerResumed { consumer } => self.tell_consumer(*consumer, "consumerResumed", &json!({})),
            Event::LayersChanged { consumer, layers } => {
                self.tell_consumer(*consumer, "consumerLayersChanged", &layers_json(*layers));
            }
            Event::ConsumerScore { consumer, score, producer_score, producer_scores } => {
                let score = json!({
                    "score": score, "producerScore": producer_score, "producerScores": producer_scores,
                });
                self.tell_consumer(*consumer, "consumerScore", &json!({ "score": score }));
            }
            Event::ProducerScore { producer, scores } => {
                let score: Vec<Value> = scores.iter().map(score_json).collect();
                self.tell_producer(*producer, "producerScore", &json!({ "score": score }));
            }
            Event::WantedLayers { producer, layers } => {
                self.tell_wanted(*producer, *layers);
            }
            Event::Volumes { observer, volumes } => self.on_speaker(*observer, volumes.first().copied()),
            Event::Silence { observer } => self.on_speaker(*observer, None),
            Event::EventsLost { count } => {
                tracing::warn!(target: "sfu::engine", "{count} events of the engine were lost: the service is too slow")
            }
            Event::StreamLimitReached { transport, limit } => {
                tracing::warn!(target: "sfu::engine", "the peer of transport {} brought more than {limit} SSRCs of its own", id_text(*transport))
            }
            // Nothing here asks for these.
            Event::TapClosed { transport, closed } => {
                let (transport, packets, dropped) = (id_text(*transport), closed.packets, closed.dropped);
                match &closed.text {
                    Some(text) => {
                        tracing::warn!(target: "sfu::engine", "the tap of transport {transport} failed: {text}")
                    }
                    None => {
                        tracing::info!(target: "sfu::engine", "{packets} packets of transport {transport} are written, {dropped} were not")
                    }
                }
            }
            Event::DominantSpeaker { .. } | Event::Trace { .. } => {}
            // A browser turns pictures by the header extension itself.
            Event::VideoOrientation { .. }
            | Event::IceState { .. }
            | Event::DtlsState { .. }
            | Event::IceSelectedTuple { .. }
            | Event::TransportTuple { .. }
            | Event::PipeSilence { .. }
            | Event::EngineDrained => {}
        }
    }

    fn on_closed(&self, object: Id, reason: fb::CloseReason) {
        let owner = self.owners().remove(&object);
        let why = reason.variant_name().unwrap_or("unknown");
        match owner {
            Some(Owner::Consumer(peer)) => {
                let Some(peer) = peer.upgrade() else { return };
                let mut state = peer.state();
                let known = state.consumers.remove(&object).is_some();
                if let Some(watch) = &state.watch {
                    watch.notify_one();
                }
                drop(state);
                if known {
                    peer.connection.notify("consumerClosed", &json!({ "consumerId": id_text(object) }));
                }
            }
            Some(Owner::Producer(peer)) => {
                if let Some(peer) = peer.upgrade() {
                    peer.state().producers.remove(&object);
                }
            }
            Some(Owner::Transport(peer)) => {
                if let Some(peer) = peer.upgrade() {
                    peer.connection.close(close_code::RETRY, format!("its transport closed: {why}"));
                }
            }
            Some(Owner::Router(room)) => {
                let Some(room) = room.upgrade() else { return };
                tracing::error!(target: "sfu::room", "room {}: its router closed: {why}", room.name);
                room.die();
                for peer in room.peers() {
                    peer.connection.close(close_code::RETRY, format!("the room closed: {why}"));
                }
            }
            Some(Owner::Observer(_) | Owner::Voice(..)) | None => {}
        }
    }

    fn on_speaker(&self, observer: Id, loudest: Option<(Id, i8)>) {
        let (room, publisher) = {
            let owners = self.owners();
            let Some(Owner::Observer(room)) = owners.get(&observer) else { return };
            let publisher = match loudest.and_then(|(producer, _)| owners.get(&producer)) {
                Some(Owner::Producer(peer) | Owner::Voice(peer, _)) => peer.upgrade(),
                _ => None,
            };
            (room.upgrade(), publisher)
        };
        let Some(room) = room else { return };
        match (loudest, publisher) {
            (Some((_, volume)), Some(peer)) => speaker::tell(&room, Some((&peer.id, volume))),
            // The speaker has just left: the next window tells who speaks now.
            (Some(_), None) => {}
            (None, _) => speaker::tell(&room, None),
        }
    }

    fn drop_peer(&self, transport: Id, why: &str) {
        let owner = self.owners().get(&transport).cloned();
        if let Some(Owner::Transport(peer)) = owner
            && let Some(peer) = peer.upgrade()
        {
            tracing::info!(target: "sfu::room", "{}: dropped: {why}", peer.id);
            peer.connection.close(close_code::RETRY, why);
        }
    }

    /// Tells a peer of its consumer, once it knows it.
    fn tell_consumer(&self, consumer: Id, method: &'static str, data: &Value) {
        let owner = self.owners().get(&consumer).cloned();
        let Some(Owner::Consumer(peer)) = owner else { return };
        let Some(peer) = peer.upgrade() else { return };
        let data = with_id("consumerId", consumer, data);
        let mut state = peer.state();
        let told = state.consumers.get_mut(&consumer).and_then(|entry| entry.tell(method, data));
        drop(state);
        if let Some(data) = told {
            peer.connection.notify(method, &data);
        }
    }

    /// Tells a publisher the highest layers that anybody wants: an extension of ours to the protocol.
    pub(crate) fn tell_wanted(&self, producer: Id, layers: Option<Layers>) {
        self.tell_producer(producer, "producerWantedLayers", &layers_json(layers));
    }

    fn tell_producer(&self, producer: Id, method: &str, data: &Value) {
        let owner = self.owners().get(&producer).cloned();
        if let Some(Owner::Producer(peer)) = owner
            && let Some(peer) = peer.upgrade()
        {
            peer.connection.notify(method, &with_id("producerId", producer, data));
        }
    }

    /// Closes every connection and waits, for a while, until all have left.
    pub(crate) async fn close_all(&self, patience: Duration) {
        let rooms: Vec<_> = self.rooms.lock().await.values().cloned().collect();
        for peer in rooms.iter().flat_map(|room| room.peers()) {
            peer.connection.close(close_code::GOING_AWAY, "the service stops");
        }
        let emptied = async {
            while self.census().await.0 > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(patience, emptied).await.is_err() {
            tracing::warn!(target: "sfu::room", "some peers did not leave within {} s", patience.as_secs());
        }
    }
}

/// The engine's refusal in the words of the protocol: codes follow HTTP, fields are camelCase.
pub(crate) fn refusal(error: ClientError) -> Refusal {
    use sfu_control::ErrorCode as Code;
    let code = match error.code {
        Code::Malformed | Code::InvalidArgument => 400,
        Code::NotFound => 404,
        Code::InvalidState | Code::AlreadyExists => 409,
        Code::Unsupported => 501,
        Code::Busy | Code::ResourceExhausted | Code::AddressUnavailable | Code::Closed => 503,
        Code::Internal => 500,
    };
    let field = camel_case(&error.field);
    let reason = if field.is_empty() { error.text } else { format!("{field}: {}", error.text) };
    Refusal::new(code, reason)
}

/// The data of a notification with the id of its object.
fn with_id(name: &str, id: Id, data: &Value) -> Value {
    let mut data = data.as_object().cloned().unwrap_or_default();
    data.insert(name.to_owned(), json!(id_text(id)));
    Value::Object(data)
}

/// Both are null when nothing is sent, or wanted.
fn layers_json(layers: Option<Layers>) -> Value {
    json!({ "spatialLayer": layers.map(|l| l.spatial), "temporalLayer": layers.map(|l| l.temporal) })
}

fn score_json(score: &fb::EncodingScoreT) -> Value {
    json!({ "encodingIdx": score.encoding, "ssrc": score.ssrc, "rid": score.rid, "score": score.score })
}

fn camel_case(field: &str) -> String {
    let mut up = false;
    let mut out = String::with_capacity(field.len());
    for letter in field.chars() {
        if letter == '_' {
            up = true;
        } else {
            out.push(if up { letter.to_ascii_uppercase() } else { letter });
            up = false;
        }
    }
    out
}

/// Data for the health check.
pub(crate) async fn health(service: &Service) -> Value {
    let (rooms, peers) = service.census().await;
    json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "shards": service.shards(),
        "rooms": rooms,
        "peers": peers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(pairs: &[(&str, &str)]) -> Result<Hello, Refusal> {
        Hello::new(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_address_must_name_room_and_peer_and_each_refusal_names_its_parameter() {
        let good = hello(&[("roomId", "r"), ("peerId", "p"), ("consumerReplicas", "3")]).unwrap();
        assert_eq!((good.room_id.as_str(), good.peer_id.as_str(), good.replicas), ("r", "p", 3));
        let long = "x".repeat(MAX_ID + 1);
        for (pairs, field) in [
            (vec![("peerId", "p")], "roomId"),
            (vec![("roomId", "r")], "peerId"),
            (vec![("roomId", ""), ("peerId", "p")], "roomId"),
            (vec![("roomId", "r"), ("peerId", long.as_str())], "peerId"),
            (vec![("roomId", "r"), ("peerId", "p"), ("consumerReplicas", "-1")], "consumerReplicas"),
            (vec![("roomId", "r"), ("peerId", "p"), ("consumerReplicas", "9999")], "consumerReplicas"),
        ] {
            let refusal = hello(&pairs).unwrap_err();
            assert!(refusal.reason.starts_with(field), "{}", refusal.reason);
        }
    }

    #[test]
    fn fields_are_told_in_the_words_of_the_protocol() {
        assert_eq!(camel_case("rtp_parameters.header_extensions[0].uri"), "rtpParameters.headerExtensions[0].uri");
    }
}
