//! Headless publishers and recorders over HTTP: ffmpeg, GStreamer and their like, by plain RTP.
//!
//! Told: requests under `/rooms/ROOM`. Tells: where to send, what is sent, and session descriptions that the tools
//! read. A broadcaster is a peer of the room without a connection: others see it come, publish and leave. It leaves by
//! DELETE, or with its room. Limits: those of peers; transports, producers and consumers of each. Left out: data channels.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Map, Value, json};
use sfu_control::client::{
    ConsumeOptions, Consumer, Id, Listen, PlainRemote, PlainTransport, PlainTransportOptions, ProduceOptions,
    SrtpParameters, WebRtcTransportOptions,
};
use sfu_control::ortc::{DtlsParameters, MediaKind, RtpCapabilities, RtpParameters};

use crate::connection::Connection;
use crate::consumers;
use crate::protoo::{Data, Refusal};
use crate::room::{ConsumerEntry, Joined, Peer, ProducerEntry, Room, id_from_text, id_text};
use crate::sdp_file::{self, Stream};
use crate::service::{Hello, Owner, Service, refusal};
use crate::web::{Web, origin_allowed};

/// Transports of one broadcaster.
const MAX_TRANSPORTS: usize = 16;
/// Producers of one broadcaster.
const MAX_PRODUCERS: usize = 32;
/// Consumers of one broadcaster: a recorder may take all that is published in a room.
const MAX_CONSUMERS: usize = 256;
/// Most characters of a name.
const MAX_NAME: usize = 60;
/// Bytes of JSON that are carried to others.
const MAX_OPAQUE: usize = 4096;
/// How often publishers are asked for a key frame for a recorder that may be starting, at most.
const KEY_FRAME_ASKS: u8 = 20;
/// Time between them.
const KEY_FRAME_PERIOD: Duration = Duration::from_secs(1);

type Answer = Result<Value, Refusal>;

/// One broadcaster.
struct Broadcaster {
    room: Arc<Room>,
    peer: Arc<Peer>,
    capabilities: Option<RtpCapabilities>,
    plain: Mutex<BTreeMap<Id, Plain>>,
    transports: Arriving,
    producers: Arriving,
    consumers: Arriving,
}

/// Objects of one kind that are being made. With those that are there they may be so many and no more, however many
/// requests come at once.
#[derive(Debug, Default)]
struct Arriving(AtomicUsize);

impl Arriving {
    /// A place for one more. To be held until the object is among those that are there.
    fn admit(&self, there: impl FnOnce() -> usize, (most, what): (usize, &str)) -> Result<Place<'_>, Refusal> {
        let arriving = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let place = Place(&self.0);
        if there() + arriving > most {
            let text =
                format!("{what}: the broadcaster has {most}, the most; let it leave, or let another one take more");
            return Err(Refusal::new(409, text));
        }
        Ok(place)
    }
}

/// See [`Arriving::admit`].
#[derive(Debug)]
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a session description needs of a plain transport.
struct Plain {
    created: PlainTransport,
    remote: Option<PlainRemote>,
    consumers: Vec<Consumer>,
    /// Asks for key frames that are left.
    asks: u8,
}

impl Broadcaster {
    fn plain(&self) -> MutexGuard<'_, BTreeMap<Id, Plain>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of its transports.
    fn transport(&self, text: &str) -> Result<Id, Refusal> {
        let id = id_from_text("transportId", text)?;
        let known = self.peer.state().transports.contains_key(&id);
        if known { Ok(id) } else { Err(Refusal::unknown("transportId", text)) }
    }
}

/// All broadcasters, by room and id.
#[derive(Default)]
pub(crate) struct Broadcasters {
    all: Mutex<BTreeMap<(String, String), Arc<Broadcaster>>>,
}

impl Broadcasters {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Arc<Broadcaster>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, room: &str, id: &str) -> Result<Arc<Broadcaster>, Refusal> {
        let found = self.lock().get(&(room.to_owned(), id.to_owned())).cloned();
        found.ok_or_else(|| Refusal::new(404, format!("broadcasterId: {id:?} is not in room {room:?}")))
    }
}

/// The routes.
pub(crate) fn routes() -> Router<Web> {
    Router::new()
        .route("/rooms/{room}", get(capabilities))
        .route("/rooms/{room}/broadcasters", post(enter))
        .route("/rooms/{room}/broadcasters/{id}", delete(leave))
        .route("/rooms/{room}/broadcasters/{id}/sdp", get(description))
        .route("/rooms/{room}/broadcasters/{id}/transports", post(create_transport))
        .route("/rooms/{room}/broadcasters/{id}/transports/{transport}/connect", post(connect))
        .route("/rooms/{room}/broadcasters/{id}/transports/{transport}/producers", post(produce))
        .route("/rooms/{room}/broadcasters/{id}/transports/{transport}/consume", post(consume))
}

fn answer(result: Answer) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(refusal) => {
            let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (code, Json(json!({ "error": refusal.reason }))).into_response()
        }
    }
}

/// A page of another origin must not act for whom it has open.
fn own_origin(web: &Web, headers: &HeaderMap) -> Result<(), Refusal> {
    let allowed = origin_allowed(headers, &web.origins);
    if allowed { Ok(()) } else { Err(Refusal::new(403, "Origin: not allowed here; see --origin")) }
}

async fn capabilities(State(web): State<Web>, Path(room): Path<String>) -> Response {
    let room = web.service.room(&room).await;
    answer(room.map(|room| json!(room.capabilities)).ok_or_else(|| Refusal::new(404, "roomId: nobody is in it")))
}

async fn enter(
    State(web): State<Web>,
    Path(room): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Response {
    answer(
        async {
            own_origin(&web, &headers)?;
            enter_room(&web, &room, Data::new(body)).await
        }
        .await,
    )
}

async fn enter_room(web: &Web, room: &str, mut data: Data) -> Answer {
    let names = HashMap::from([
        ("roomId".to_owned(), room.to_owned()),
        ("peerId".to_owned(), data.text("id", MAX_NAME)?.to_owned()),
    ]);
    let hello = Hello::new(&names)?;
    let display_name = data.text("displayName", MAX_NAME)?.to_owned();
    let device = data.take_opaque("device", MAX_OPAQUE)?;
    let capabilities: Option<RtpCapabilities> = data.take_option("rtpCapabilities")?;
    if web.broadcasters.lock().contains_key(&(hello.room_id.clone(), hello.peer_id.clone())) {
        return Err(Refusal::new(409, format!("id: {:?} is in the room already", hello.peer_id)));
    }
    // What is told to the peer goes nowhere: it has no connection.
    let (connection, _) = Connection::new();
    let (room, peer) = web.service.enter(&hello, connection).await?;
    // Others are offered by request only, so the room is told of no capabilities.
    let joined = Joined { display_name, device, rtp_capabilities: None };
    room.join(&peer, joined)?;
    let broadcaster = Arc::new(Broadcaster {
        room,
        peer,
        capabilities,
        plain: Mutex::default(),
        transports: Arriving::default(),
        producers: Arriving::default(),
        consumers: Arriving::default(),
    });
    web.broadcasters.lock().insert((hello.room_id, hello.peer_id), Arc::clone(&broadcaster));
    let (room, peer) = (&broadcaster.room, &broadcaster.peer);
    if let Some(introduction) = peer.introduction() {
        room.notify_others(peer, "newPeer", &introduction);
    }
    let peers: Vec<Value> =
        room.peers().iter().filter(|other| !Arc::ptr_eq(other, peer)).filter_map(with_producers).collect();
    tokio::spawn(watch(web.clone(), Arc::clone(&broadcaster)));
    Ok(json!({ "peers": peers }))
}

/// A peer as others are told of it, with what it publishes.
fn with_producers(peer: &Arc<Peer>) -> Option<Value> {
    let mut introduction = peer.introduction()?;
    let producers: Vec<Value> =
        peer.state().producers.iter().map(|(id, p)| json!({ "id": id_text(*id), "kind": p.kind })).collect();
    introduction["producers"] = json!(producers);
    Some(introduction)
}

/// Sees a broadcaster out when it is closed, by whomever.
async fn watch(web: Web, broadcaster: Arc<Broadcaster>) {
    let mut closing = broadcaster.peer.connection.closing();
    // An ended sender means that the peer is gone.
    let _ = closing.wait_for(Option::is_some).await;
    let key = (broadcaster.room.name.clone(), broadcaster.peer.id.clone());
    {
        let mut all = web.broadcasters.lock();
        if all.get(&key).is_some_and(|current| Arc::ptr_eq(current, &broadcaster)) {
            all.remove(&key);
        }
    }
    web.service.leave(&broadcaster.room, &broadcaster.peer).await;
}

async fn leave(State(web): State<Web>, Path((room, id)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let gone = own_origin(&web, &headers).and_then(|()| web.broadcasters.find(&room, &id)).map(|broadcaster| {
        broadcaster.peer.connection.close(crate::connection::close_code::CLOSED, "left");
        json!({})
    });
    answer(gone)
}

async fn create_transport(
    State(web): State<Web>,
    Path((room, id)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Response {
    let made = async {
        own_origin(&web, &headers)?;
        let broadcaster = web.broadcasters.find(&room, &id)?;
        let there = || broadcaster.peer.state().transports.len();
        let _place = broadcaster.transports.admit(there, (MAX_TRANSPORTS, "transports"))?;
        make_transport(&web, &broadcaster, Data::new(body)).await
    };
    answer(made.await)
}

async fn make_transport(web: &Web, broadcaster: &Broadcaster, mut data: Data) -> Answer {
    let (service, room, peer) = (&web.service, &broadcaster.room, &broadcaster.peer);
    match data.text("type", 16)? {
        "plain" => {
            let mut options = PlainTransportOptions::new(web.plain.clone());
            options.rtcp_mux = data.flag("rtcpMux")?;
            options.comedia = data.take_option::<bool>("comedia")?.unwrap_or(true);
            options.srtp_crypto_suite = data.take_option("srtpCryptoSuite")?;
            let made = service.client.create_plain_transport(peer.router(), &options).await.map_err(refusal)?;
            adopt(service, room, peer, made.id);
            service.tap(made.id);
            let told = json!({
                "id": id_text(made.id),
                "ip": made.address,
                "port": made.port,
                "rtcpPort": made.rtcp_port,
                "srtpParameters": made.srtp_parameters,
            });
            broadcaster.plain().insert(made.id, Plain { created: made, remote: None, consumers: Vec::new(), asks: 0 });
            Ok(told)
        }
        "webrtc" => {
            let options = WebRtcTransportOptions::new(Listen::Server(service.server));
            let made = service.client.create_webrtc_transport(peer.router(), &options).await.map_err(refusal)?;
            adopt(service, room, peer, made.id);
            service.tap(made.id);
            Ok(json!({
                "id": id_text(made.id),
                "iceParameters": made.ice_parameters,
                "iceCandidates": made.ice_candidates,
                "dtlsParameters": made.dtls_parameters,
            }))
        }
        other => Err(Refusal::field("type", format_args!("{other:?}; expected plain or webrtc"))),
    }
}

fn adopt(service: &Service, room: &Arc<Room>, peer: &Arc<Peer>, transport: Id) {
    service.own(transport, Owner::Transport(Arc::downgrade(peer)));
    // Not for consuming: what others publish is consumed by request only.
    room.add_transport(peer, transport, false);
}

async fn connect(
    State(web): State<Web>,
    Path((room, id, transport)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Response {
    let connected = async {
        own_origin(&web, &headers)?;
        let broadcaster = web.broadcasters.find(&room, &id)?;
        let transport = broadcaster.transport(&transport)?;
        let mut data = Data::new(body);
        if !broadcaster.plain().contains_key(&transport) {
            let dtls: DtlsParameters = data.take("dtlsParameters")?;
            web.service.client.connect(transport, &dtls).await.map_err(refusal)?;
            return Ok(json!({}));
        }
        let remote = PlainRemote {
            ip: data.take_option("ip")?,
            port: data.take_option("port")?,
            rtcp_port: data.take_option("rtcpPort")?,
            srtp_parameters: data.take_option::<SrtpParameters>("srtpParameters")?,
        };
        web.service.client.connect_plain_transport(transport, &remote).await.map_err(refusal)?;
        if let Some(plain) = broadcaster.plain().get_mut(&transport) {
            plain.remote = Some(remote);
        }
        start_asking(&web, &broadcaster);
        Ok(json!({}))
    };
    answer(connected.await)
}

async fn produce(
    State(web): State<Web>,
    Path((room, id, transport)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Response {
    let produced = async {
        own_origin(&web, &headers)?;
        let broadcaster = web.broadcasters.find(&room, &id)?;
        let transport = broadcaster.transport(&transport)?;
        let mut data = Data::new(body);
        let kind: MediaKind = data.take("kind")?;
        let rtp_parameters: RtpParameters = data.take("rtpParameters")?;
        let mut app_data = data.take_opaque("appData", MAX_OPAQUE)?;
        let (service, peer) = (&web.service, &broadcaster.peer);
        app_data.insert("peerId".into(), json!(peer.id));
        let _place = broadcaster.producers.admit(|| peer.state().producers.len(), (MAX_PRODUCERS, "producers"))?;
        let options = ProduceOptions::new(kind, rtp_parameters);
        let made = service.client.produce(transport, &options).await.map_err(refusal)?;
        service.own(made.id, Owner::Producer(Arc::downgrade(peer)));
        let (offer, subscribers) = broadcaster.room.add_producer(peer, made.id, ProducerEntry { kind, app_data });
        for subscriber in subscribers {
            consumers::offer_all(service, &subscriber, vec![offer.clone()]);
        }
        Ok(json!({ "id": id_text(made.id) }))
    };
    answer(produced.await)
}

async fn consume(
    State(web): State<Web>,
    Path((room, id, transport)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let consumed = async {
        own_origin(&web, &headers)?;
        let broadcaster = web.broadcasters.find(&room, &id)?;
        let transport = broadcaster.transport(&transport)?;
        let text = query.get("producerId").ok_or_else(|| Refusal::field("producerId", "missing in the address"))?;
        let producer = id_from_text("producerId", text)?;
        let peers = broadcaster.room.peers();
        let publisher = peers.iter().find(|peer| peer.state().producers.contains_key(&producer));
        let publisher = publisher.ok_or_else(|| Refusal::unknown("producerId", text))?;
        let capabilities = broadcaster.capabilities.clone().ok_or_else(|| {
            Refusal::new(409, "rtpCapabilities: the broadcaster gave none when it came; it cannot receive")
        })?;
        let (service, peer) = (&web.service, &broadcaster.peer);
        let _place = broadcaster.consumers.admit(|| peer.state().consumers.len(), (MAX_CONSUMERS, "consumers"))?;
        let here = service.producer_in(peer.router(), publisher, producer).await.map_err(refusal)?;
        let made = service.client.consume(transport, &ConsumeOptions::new(here, capabilities)).await;
        let made = made.map_err(refusal)?;
        service.own(made.id, Owner::Consumer(Arc::downgrade(peer)));
        peer.state().consumers.insert(made.id, ConsumerEntry::default());
        if !publisher.state().producers.contains_key(&producer) {
            // Its closing may have passed before the consumer had an owner.
            peer.state().consumers.remove(&made.id);
            service.disown(made.id);
            return Err(Refusal::unknown("producerId", text));
        }
        let told = json!({
            "id": id_text(made.id),
            "producerId": text,
            "kind": made.kind,
            "rtpParameters": made.rtp_parameters,
            "type": made.r#type,
        });
        if let Some(plain) = broadcaster.plain().get_mut(&transport) {
            // Those whose producers are gone are gone too.
            plain.consumers.retain(|consumer| peer.state().consumers.contains_key(&consumer.id));
            plain.consumers.push(made);
        }
        start_asking(&web, &broadcaster);
        Ok(told)
    };
    answer(consumed.await)
}

/// A recorder that reads a file has no way to ask for key frames, and nobody tells when it starts. So they are asked for
/// on its behalf, from when it could start and each time when the description is read.
fn start_asking(web: &Web, broadcaster: &Arc<Broadcaster>) {
    for (id, plain) in broadcaster.plain().iter_mut() {
        let video = plain.consumers.iter().any(|c| c.kind == MediaKind::Video);
        if !video || plain.remote.is_none() {
            continue;
        }
        let asking = plain.asks > 0;
        plain.asks = KEY_FRAME_ASKS;
        if !asking {
            tokio::spawn(ask_for_key_frames(web.clone(), Arc::clone(broadcaster), *id));
        }
    }
}

/// Asks until the recorder is heard of, its time is over or its transport is gone.
async fn ask_for_key_frames(web: Web, broadcaster: Arc<Broadcaster>, transport: Id) {
    let client = &web.service.client;
    let mut heard_before = None;
    let mut asked_since_heard = false;
    loop {
        let consumers: Vec<Id> = match broadcaster.plain().get_mut(&transport) {
            Some(plain) if plain.asks > 0 && !asked_since_heard => {
                plain.asks -= 1;
                plain.consumers.iter().filter(|c| c.kind == MediaKind::Video).map(|c| c.id).collect()
            }
            Some(plain) => {
                plain.asks = 0;
                return;
            }
            None => return,
        };
        let Some(heard) = client.summary(transport).await.ok().and_then(|report| report.transport) else { return };
        // What comes back from a recorder is RTCP; from one that publishes as well it could be anything.
        let publishes = !broadcaster.peer.state().producers.is_empty();
        asked_since_heard = !publishes && heard.packets_received > *heard_before.get_or_insert(heard.packets_received);
        for consumer in consumers {
            if let Err(error) = client.request_key_frame(consumer).await {
                tracing::debug!(target: "sfu::room", "{}: no key frame asked of {}: {error}", broadcaster.peer.id, id_text(consumer));
            }
        }
        tokio::time::sleep(KEY_FRAME_PERIOD).await;
    }
}

/// What the plain transports send, as a file that ffmpeg, VLC and GStreamer open.
async fn description(State(web): State<Web>, Path((room, id)): Path<(String, String)>) -> Response {
    let text = web.broadcasters.find(&room, &id).and_then(|broadcaster| {
        start_asking(&web, &broadcaster);
        let plain = broadcaster.plain();
        let streams = plain.values().flat_map(|plain| {
            let to = plain.remote.as_ref().and_then(|r| Some((r.ip.clone()?, r.port?)));
            let srtp = plain.created.srtp_parameters.as_ref();
            plain.consumers.iter().filter_map(move |c| {
                let (ip, port) = to.clone()?;
                let rtcp_port = plain.remote.as_ref().and_then(|r| r.rtcp_port);
                Some(Stream { kind: c.kind, parameters: &c.rtp_parameters, ip, port, rtcp_port, srtp })
            })
        });
        sdp_file::write(&broadcaster.peer.id, &streams.collect::<Vec<_>>())
            .ok_or_else(|| Refusal::new(409, "nothing is consumed on a transport that is connected"))
    });
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, "application/sdp")], text).into_response(),
        Err(refusal) => answer(Err(refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_made_counts_with_what_is_there() {
        let arriving = Arriving::default();
        let admit = |there: usize| arriving.admit(|| there, (3, "producers"));
        let first = admit(1).expect("two of three");
        let second = admit(1).expect("three of three");
        let refused = admit(1).expect_err("a fourth one");
        assert_eq!(refused.code, 409);
        assert!(refused.reason.starts_with("producers: ") && refused.reason.contains("has 3"), "{}", refused.reason);
        // One has come, the other failed: a refusal has taken no place.
        drop((first, second));
        assert!(admit(2).is_ok());
        assert!(admit(3).is_err());
    }
}
