//! What a peer may ask for: one function for each request.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sfu_control::client::{Id, Layers, Listen, ProduceOptions, WebRtcTransportOptions};
use sfu_control::ortc::{DtlsParameters, MediaKind, RtpCapabilities, RtpParameters};

use crate::consumers;
use crate::protoo::{Data, Refusal};
use crate::report;
use crate::room::{Joined, Peer, PeerState, ProducerEntry, Room, id_from_text, id_text};
use crate::service::{Owner, Service, refusal};
use crate::speaker;

/// Most characters of a display name.
const MAX_NAME: usize = 60;
/// Bytes of JSON that a peer may have carried to others.
const MAX_OPAQUE: usize = 4096;
/// The highest number of a layer.
const MAX_LAYER: u8 = 7;
/// Transports of a peer. The page has two.
const MAX_TRANSPORTS: usize = 8;
/// Producers of a peer. The page has three.
const MAX_PRODUCERS: usize = 32;
/// Without a valid ICE check for this long a peer is dropped.
const CONSENT: Duration = Duration::from_secs(20);

/// `None`: answered already.
type Handled = Result<Option<Value>, Refusal>;

fn done() -> Handled {
    Ok(Some(json!({})))
}

/// Handles one request of a peer.
pub(crate) async fn handle(
    service: &Arc<Service>,
    room: &Arc<Room>,
    peer: &Arc<Peer>,
    id: u32,
    method: &str,
    mut data: Data,
) -> Handled {
    match method {
        "getRouterRtpCapabilities" => Ok(Some(json!(room.capabilities))),
        "join" => join(service, room, peer, id, &mut data),
        "createWebRtcTransport" => create_transport(service, room, peer, &data).await,
        "connectWebRtcTransport" => connect(service, peer, &mut data).await,
        "restartIce" => restart_ice(service, peer, &data).await,
        "produce" => produce(service, room, peer, &mut data).await,
        "closeProducer" => close_producer(service, peer, &data).await,
        "pauseProducer" => {
            service.client.pause(producer(peer, &data)?).await.map_err(refusal)?;
            done()
        }
        "resumeProducer" => {
            service.client.resume(producer(peer, &data)?).await.map_err(refusal)?;
            done()
        }
        "pauseConsumer" => set_consumer_paused(service, peer, &data, true).await,
        "resumeConsumer" => set_consumer_paused(service, peer, &data, false).await,
        "requestConsumerKeyFrame" => {
            service.client.request_key_frame(consumer(peer, &data)?).await.map_err(refusal)?;
            done()
        }
        "changeDisplayName" => change_name(room, peer, &data),
        "getTransportStats" => report::of(service, transport(peer, &data)?).await.map(Some),
        "getProducerStats" => report::of(service, producer(peer, &data)?).await.map(Some),
        "getConsumerStats" => report::of(service, consumer(peer, &data)?).await.map(Some),
        "setConsumerPreferredLayers" => set_preferred_layers(service, peer, &data).await,
        "setConsumerPriority" => set_priority(service, peer, &data).await,
        "switchConsumerProducer" => switch_producer(service, room, peer, &data).await,
        "produceData"
        | "getDataProducerStats"
        | "getDataConsumerStats"
        | "applyNetworkThrottle"
        | "resetNetworkThrottle" => {
            Err(Refusal::new(501, format!("{method}: this build does not have that capability")))
        }
        _ => Err(Refusal::new(404, format!("method: {method:?} is unknown"))),
    }
}

fn owned(peer: &Peer, data: &Data, field: &str, has: fn(&PeerState, Id) -> bool) -> Result<Id, Refusal> {
    let text = data.text(field, 64)?;
    let id = id_from_text(field, text)?;
    if has(&peer.state(), id) { Ok(id) } else { Err(Refusal::unknown(field, text)) }
}

fn transport(peer: &Peer, data: &Data) -> Result<Id, Refusal> {
    owned(peer, data, "transportId", |state, id| state.transports.contains_key(&id))
}

fn producer(peer: &Peer, data: &Data) -> Result<Id, Refusal> {
    owned(peer, data, "producerId", |state, id| state.producers.contains_key(&id))
}

fn consumer(peer: &Peer, data: &Data) -> Result<Id, Refusal> {
    owned(peer, data, "consumerId", |state, id| state.consumers.contains_key(&id))
}

fn join(service: &Arc<Service>, room: &Arc<Room>, peer: &Arc<Peer>, id: u32, data: &mut Data) -> Handled {
    let display_name = data.text("displayName", MAX_NAME)?.to_owned();
    let device = data.take_opaque("device", MAX_OPAQUE)?;
    let rtp_capabilities: Option<RtpCapabilities> = data.take_option("rtpCapabilities")?;
    let rtp_capabilities = rtp_capabilities.map(Arc::new);
    let name = display_name.clone();
    let (peers, offers) = room.join(peer, Joined { display_name, device, rtp_capabilities })?;
    tracing::info!(target: "sfu::session", "{}: joined room {} as {name}", peer.id, room.name);
    // The answer goes out before anything that it must be known for.
    peer.connection.respond(id, &Ok(json!({ "peers": peers })));
    peer.connection.notify("mediasoup-version", &json!({ "version": concat!("libsfu ", env!("CARGO_PKG_VERSION")) }));
    if let Some(introduction) = peer.introduction() {
        room.notify_others(peer, "newPeer", &introduction);
    }
    consumers::offer_all(service, peer, offers);
    Ok(None)
}

async fn create_transport(service: &Arc<Service>, room: &Arc<Room>, peer: &Arc<Peer>, data: &Data) -> Handled {
    let consuming = data.flag("consuming")?;
    data.flag("producing")?;
    let force_tcp = data.flag("forceTcp")?;
    if peer.state().transports.len() >= MAX_TRANSPORTS {
        return Err(Refusal::new(503, format!("the peer has {MAX_TRANSPORTS} transports, the most")));
    }
    let mut options = WebRtcTransportOptions::new(Listen::Server(service.server));
    options.ice_consent_timeout = Some(CONSENT);
    options.max_incoming_bitrate = service.limits.incoming_bitrate;
    options.enable_udp = !force_tcp;
    let made = service.client.create_webrtc_transport(peer.router(), &options).await.map_err(|error| {
        match error.field.as_str() {
            "enable_udp" => Refusal::new(501, "forceTcp: this service takes media by UDP only (--rtc-protocol)"),
            _ => refusal(error),
        }
    })?;
    service.own(made.id, Owner::Transport(Arc::downgrade(peer)));
    service.tap(made.id);
    let offers = room.add_transport(peer, made.id, consuming);
    consumers::offer_all(service, peer, offers);
    Ok(Some(json!({
        "id": id_text(made.id),
        "iceParameters": made.ice_parameters,
        "iceCandidates": made.ice_candidates,
        "dtlsParameters": made.dtls_parameters,
    })))
}

async fn connect(service: &Service, peer: &Peer, data: &mut Data) -> Handled {
    let transport = transport(peer, data)?;
    let dtls: DtlsParameters = data.take("dtlsParameters")?;
    service.client.connect(transport, &dtls).await.map_err(refusal)?;
    done()
}

async fn restart_ice(service: &Service, peer: &Peer, data: &Data) -> Handled {
    let ice = service.client.restart_ice(transport(peer, data)?).await.map_err(refusal)?;
    Ok(Some(json!(ice)))
}

async fn produce(service: &Arc<Service>, room: &Arc<Room>, peer: &Arc<Peer>, data: &mut Data) -> Handled {
    if peer.state().joined.is_none() {
        return Err(Refusal::new(409, "produce: join first"));
    }
    if peer.state().producers.len() >= MAX_PRODUCERS {
        return Err(Refusal::new(503, format!("the peer has {MAX_PRODUCERS} producers, the most")));
    }
    let transport = transport(peer, data)?;
    let kind: MediaKind = data.take("kind")?;
    let rtp_parameters: RtpParameters = data.take("rtpParameters")?;
    let mut app_data = data.take_opaque("appData", MAX_OPAQUE)?;
    app_data.insert("peerId".into(), json!(peer.id));
    let opaque_payload = data.flag("opaquePayload")?;
    let options = ProduceOptions { opaque_payload, ..ProduceOptions::new(kind, rtp_parameters) };
    let made = service.client.produce(transport, &options).await.map_err(refusal)?;
    service.own(made.id, Owner::Producer(Arc::downgrade(peer)));
    if kind == MediaKind::Audio {
        speaker::hear(service, room, peer, made.id).await;
    }
    // Nobody watches yet; whoever does from now on is told of by the engine.
    if kind == MediaKind::Video {
        service.tell_wanted(made.id, None);
    }
    let (offer, subscribers) = room.add_producer(peer, made.id, ProducerEntry { kind, app_data });
    for subscriber in subscribers {
        consumers::offer_all(service, &subscriber, vec![offer.clone()]);
    }
    Ok(Some(json!({ "id": id_text(made.id) })))
}

async fn close_producer(service: &Service, peer: &Peer, data: &Data) -> Handled {
    let producer = producer(peer, data)?;
    peer.state().producers.remove(&producer);
    service.disown(producer);
    service.client.close(producer).await.map_err(refusal)?;
    done()
}

async fn set_consumer_paused(service: &Service, peer: &Peer, data: &Data, paused: bool) -> Handled {
    let consumer = consumer(peer, data)?;
    let accepted = match peer.state().consumers.get_mut(&consumer) {
        Some(entry) => {
            entry.paused = paused;
            entry.accepted
        }
        None => return Err(Refusal::unknown("consumerId", &id_text(consumer))),
    };
    // Before it is accepted a consumer is paused; what is wished now takes effect then.
    if accepted {
        let call = if paused { service.client.pause(consumer) } else { service.client.resume(consumer) };
        call.await.map_err(refusal)?;
    }
    done()
}

async fn set_preferred_layers(service: &Service, peer: &Peer, data: &Data) -> Handled {
    let consumer = consumer(peer, data)?;
    let layers = match (data.number("spatialLayer", MAX_LAYER)?, data.number("temporalLayer", MAX_LAYER)?) {
        (Some(spatial), temporal) => Some(Layers::new(spatial, temporal.unwrap_or(MAX_LAYER))),
        (None, None) => None,
        (None, Some(_)) => return Err(Refusal::field("spatialLayer", "missing beside temporalLayer")),
    };
    service.client.set_preferred_layers(consumer, layers).await.map_err(refusal)?;
    done()
}

async fn set_priority(service: &Service, peer: &Peer, data: &Data) -> Handled {
    let consumer = consumer(peer, data)?;
    let priority = data.number("priority", u8::MAX)?.ok_or_else(|| Refusal::field("priority", "missing"))?;
    service.client.set_priority(consumer, priority).await.map_err(refusal)?;
    done()
}

/// Ours: a consumer of the peer follows another publisher of the room, without a new negotiation.
async fn switch_producer(service: &Service, room: &Room, peer: &Peer, data: &Data) -> Handled {
    let consumer = consumer(peer, data)?;
    let text = data.text("producerId", 64)?;
    let producer = id_from_text("producerId", text)?;
    // Another room's producers are unknown here, whatever the engine knows.
    let publisher = room.peers().into_iter().find(|other| other.state().producers.contains_key(&producer));
    let Some(publisher) = publisher else { return Err(Refusal::unknown("producerId", text)) };
    let here = service.producer_in(peer.router(), &publisher, producer).await.map_err(refusal)?;
    let switched = service.client.switch_producer(consumer, here).await.map_err(refusal)?;
    Ok(Some(json!({
        "peerId": publisher.id,
        "producerId": id_text(producer),
        "type": switched.r#type,
        "rtpParameters": switched.rtp_parameters,
    })))
}

fn change_name(room: &Room, peer: &Arc<Peer>, data: &Data) -> Handled {
    let name = data.text("displayName", MAX_NAME)?.to_owned();
    let old = {
        let mut state = peer.state();
        let Some(joined) = state.joined.as_mut() else {
            return Err(Refusal::new(409, "changeDisplayName: join first"));
        };
        std::mem::replace(&mut joined.display_name, name.clone())
    };
    let data = json!({ "peerId": peer.id, "displayName": name, "oldDisplayName": old });
    room.notify_others(peer, "peerDisplayNameChanged", &data);
    done()
}
