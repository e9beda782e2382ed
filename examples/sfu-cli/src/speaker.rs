//! Who speaks in a room: an audio level observer for each room, and what its events mean to the peers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sfu_control::client::{AudioLevelObserverOptions, Id};

use crate::protoo::Refusal;
use crate::room::{Peer, Room};
use crate::service::{Owner, Service, refusal};

/// One speaker, everything above near silence, often enough for a face to light up while it speaks.
const OPTIONS: AudioLevelObserverOptions =
    AudioLevelObserverOptions { max_entries: 1, threshold: -80, interval: Duration::from_millis(800) };

/// Lets a new room listen.
pub(crate) async fn listen(service: &Service, room: &Arc<Room>) -> Result<(), Refusal> {
    let observer = service.client.create_audio_level_observer(room.router, &OPTIONS).await.map_err(refusal)?;
    // A room listens once.
    let _ = room.observer.set(observer);
    service.own(observer, Owner::Observer(Arc::downgrade(room)));
    Ok(())
}

/// Lets a room hear a new audio producer.
pub(crate) async fn hear(service: &Service, room: &Room, peer: &Arc<Peer>, producer: Id) {
    let Some(observer) = room.observer.get() else { return };
    let heard = async {
        let voice = service.producer_in(room.router, peer, producer).await?;
        if voice != producer {
            service.own_voice(voice, peer, producer);
        }
        service.client.observe(*observer, voice).await
    };
    if let Err(error) = heard.await {
        // Most likely the producer is gone again.
        tracing::debug!(target: "sfu::room", "room {}: {producer:016x} is not heard: {error}", room.name);
    }
}

/// Tells the peers of a room who speaks now; `None` is nobody.
pub(crate) fn tell(room: &Room, speaker: Option<(&str, i8)>) {
    let data = match speaker {
        Some((peer, volume)) => json!({ "peerId": peer, "volume": volume }),
        None => json!({ "peerId": null }),
    };
    for peer in room.peers() {
        if peer.state().joined.is_some() {
            peer.connection.notify("activeSpeaker", &data);
        }
    }
}
