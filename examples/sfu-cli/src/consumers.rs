//! Giving a peer what others publish: a consumer is made paused, offered, and resumed once the peer has accepted it.
//! Consumers of one joining are made side by side, so that their offers arrive together and the peer can take them in
//! one negotiation; meanwhile the publishers are asked for the key frames that their pictures will begin with.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::json;
use sfu_control::ErrorCode;
use sfu_control::client::{ConsumeOptions, Consumer};
use sfu_control::ortc::MediaKind;

use crate::room::{ConsumerEntry, Offer, Peer, id_text};
use crate::service::{Owner, Service};

/// Consumers of one peer.
const MAX_CONSUMERS: usize = 2000;
/// Consumers of one peer that are being made at one time.
const AT_ONCE: usize = 16;

/// Makes and offers consumers of all these producers; returns at once.
pub(crate) fn offer_all(service: &Arc<Service>, peer: &Arc<Peer>, offers: Vec<Offer>) {
    if offers.is_empty() {
        return;
    }
    if let Some(watch) = &peer.state().watch {
        watch.notify_one();
        return;
    }
    let (service, peer) = (Arc::clone(service), Arc::clone(peer));
    tokio::spawn(async move {
        let copies = peer.replicas + 1;
        let wanted = offers.into_iter().flat_map(move |offer| std::iter::repeat_n(offer, copies));
        let mut made = futures_util::stream::iter(wanted)
            .map(|offer| {
                let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
                async move { make(&service, &peer, &offer).await.map(|consumer| (offer, consumer)) }
            })
            .buffered(AT_ONCE);
        while let Some(made) = made.next().await {
            if let Some((offer, consumer)) = made {
                tokio::spawn(introduce(Arc::clone(&service), Arc::clone(&peer), offer, consumer));
            }
        }
    });
}

async fn make(service: &Service, peer: &Arc<Peer>, offer: &Offer) -> Option<Consumer> {
    let (transport, capabilities) = {
        let state = peer.state();
        if state.consumers.len() >= MAX_CONSUMERS {
            tracing::warn!(target: "sfu::session", "{}: has {MAX_CONSUMERS} consumers, the most", peer.id);
            return None;
        }
        (state.consuming_transport()?, state.joined.as_ref()?.rtp_capabilities.clone()?)
    };
    let producer = service.producer_in(peer.router(), &offer.publisher, offer.producer).await;
    let options = |producer| ConsumeOptions {
        paused: true,
        // For audio too: a lost packet is worth one repetition.
        enable_rtx: Some(true),
        // Silence needs no packets.
        ignore_dtx: true,
        ..ConsumeOptions::new(producer, (*capabilities).clone())
    };
    let consumer = match producer {
        Ok(producer) => service.client.consume(transport, &options(producer)).await,
        Err(error) => Err(error),
    };
    let consumer = match consumer {
        Ok(consumer) => consumer,
        Err(error) => {
            // The publisher or the subscriber may have left meanwhile.
            if matches!(error.code, ErrorCode::NotFound | ErrorCode::Closed) {
                tracing::debug!(target: "sfu::session", "{}: no consumer of {}: {error}", peer.id, offer.publisher.id);
            } else {
                // They may have no codec in common.
                tracing::info!(target: "sfu::session", "{}: receives no {} of {}: {error}", peer.id, offer.kind, offer.publisher.id);
            }
            return None;
        }
    };
    // Known before the owner is looked for, so that an event about it finds both. Should the producer be gone by now,
    // the event may have passed already: the consumer died with it and is not spoken of.
    service.own(consumer.id, Owner::Consumer(Arc::downgrade(peer)));
    let registered = {
        let mut state = peer.state();
        if !state.left {
            state.consumers.insert(consumer.id, ConsumerEntry::default());
        }
        !state.left
    };
    if registered && offer.publisher.state().producers.contains_key(&offer.producer) {
        return Some(consumer);
    }
    peer.state().consumers.remove(&consumer.id);
    service.disown(consumer.id);
    // Most likely gone with its producer or its transport.
    let _ = service.client.close(consumer.id).await;
    None
}

/// Has the picture ready that the peer is going to begin with: the way to it takes longer to make than a key frame.
async fn provide_start(service: &Service, peer: &Peer, consumer: &Consumer) {
    if consumer.kind == MediaKind::Video
        && let Err(error) = service.client.request_key_frame(consumer.id).await
    {
        tracing::debug!(target: "sfu::session", "{}: no key frame for {}: {error}", peer.id, id_text(consumer.id));
    }
}

async fn introduce(service: Arc<Service>, peer: Arc<Peer>, offer: Offer, consumer: Consumer) {
    let data = json!({
        "peerId": offer.publisher.id,
        "producerId": id_text(offer.producer),
        "id": id_text(consumer.id),
        "kind": consumer.kind,
        "rtpParameters": consumer.rtp_parameters,
        "type": consumer.r#type,
        "appData": offer.app_data,
        "producerPaused": consumer.producer_paused,
    });
    let offered = peer.connection.request("newConsumer", &data);
    let (answer, ()) = tokio::join!(offered, provide_start(&service, &peer, &consumer));
    match answer {
        Ok(_) => {
            let (wanted, news) = {
                let mut state = peer.state();
                let entry = state.consumers.get_mut(&consumer.id);
                entry.map_or((None, Vec::new()), |entry| (Some(!entry.paused), entry.accept()))
            };
            for (method, data) in news {
                peer.connection.notify(method, &data);
            }
            if wanted == Some(true)
                && let Err(error) = service.client.resume(consumer.id).await
            {
                tracing::debug!(target: "sfu::session", "{}: consumer {} was not resumed: {error}", peer.id, id_text(consumer.id));
            }
        }
        Err(refusal) => {
            let known = peer.state().consumers.remove(&consumer.id).is_some();
            service.disown(consumer.id);
            if known {
                tracing::info!(target: "sfu::session", "{}: refused {}'s {}: {refusal}", peer.id, offer.publisher.id, offer.kind);
                let _ = service.client.close(consumer.id).await;
            }
        }
    }
}
