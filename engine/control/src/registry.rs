//! What the control floor remembers of living objects: capabilities, parameters, MIDs in use, and who is below whom.
//!
//! Told: replies and closings as they pass on their way to the caller. Tells: lookups for negotiation and dumps. An
//! object is in here from its reply to its closing, so nothing a caller may know is missing. A consumer goes with its
//! transport, or when its own closing is told: only the shard knows which producer it follows at the moment when one of
//! two closes. Limits: those of the shards, which refuse before this grows.

use std::collections::{HashMap, HashSet};

use sfu_core::command::{CommandError, ErrorCode};
use sfu_wire::id::ObjectId;

use crate::ortc::consumer::Share;
use crate::ortc::producer::Consumable;
use crate::ortc::{IceParameters, MediaKind, RtpCapabilities, RtpParameters};
use crate::sdp::Local;

#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) capabilities: RtpCapabilities,
    transports: HashSet<ObjectId>,
    observers: HashSet<ObjectId>,
}

#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) router: ObjectId,
    server: Option<ObjectId>,
    producers: HashSet<ObjectId>,
    consumers: HashSet<ObjectId>,
    /// MIDs of consumers, those under way included.
    mids: HashSet<String>,
    next_mid: u32,
    /// What descriptions say of our side; absent for what is no WebRTC transport.
    pub(crate) local: Option<Local>,
    /// Of a pipe transport: whether its consumers have RTX.
    pub(crate) pipe: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) transport: ObjectId,
    pub(crate) parameters: RtpParameters,
    pub(crate) consumable: Consumable,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) transport: ObjectId,
    pub(crate) producer: ObjectId,
    pub(crate) kind: MediaKind,
    /// What the peer was told.
    pub(crate) parameters: RtpParameters,
    /// What it wants of its producer, whichever that is.
    pub(crate) share: Share,
}

/// All that lives.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    routers: HashMap<ObjectId, Router>,
    servers: HashSet<ObjectId>,
    transports: HashMap<ObjectId, Transport>,
    producers: HashMap<ObjectId, Producer>,
    consumers: HashMap<ObjectId, Consumer>,
    /// With their routers.
    observers: HashMap<ObjectId, ObjectId>,
}

impl Registry {
    pub(crate) fn contains(&self, id: ObjectId) -> bool {
        self.routers.contains_key(&id)
            || self.servers.contains(&id)
            || self.transports.contains_key(&id)
            || self.producers.contains_key(&id)
            || self.consumers.contains_key(&id)
            || self.observers.contains_key(&id)
    }

    pub(crate) fn router(&self, id: ObjectId) -> Option<&Router> {
        self.routers.get(&id)
    }

    pub(crate) fn router_mut(&mut self, id: ObjectId) -> Option<&mut Router> {
        self.routers.get_mut(&id)
    }

    pub(crate) fn transport(&self, id: ObjectId) -> Option<&Transport> {
        self.transports.get(&id)
    }

    pub(crate) fn producer(&self, id: ObjectId) -> Option<&Producer> {
        self.producers.get(&id)
    }

    pub(crate) fn consumer(&self, id: ObjectId) -> Option<&Consumer> {
        self.consumers.get(&id)
    }

    pub(crate) fn add_router(&mut self, id: ObjectId, capabilities: RtpCapabilities) {
        self.routers.insert(id, Router { capabilities, transports: HashSet::new(), observers: HashSet::new() });
    }

    pub(crate) fn add_server(&mut self, id: ObjectId) {
        self.servers.insert(id);
    }

    /// False if the router is gone meanwhile, and the transport with it; likewise below.
    pub(crate) fn add_transport(&mut self, id: ObjectId, router: ObjectId, server: Option<ObjectId>) -> bool {
        if server.is_some_and(|server| !self.servers.contains(&server)) {
            return false;
        }
        let Some(parent) = self.routers.get_mut(&router) else { return false };
        parent.transports.insert(id);
        let transport = Transport {
            router,
            server,
            producers: HashSet::new(),
            consumers: HashSet::new(),
            mids: HashSet::new(),
            next_mid: 0,
            local: None,
            pipe: None,
        };
        self.transports.insert(id, transport);
        true
    }

    /// Remembers our side of a transport.
    pub(crate) fn describe(&mut self, transport: ObjectId, local: Local) {
        if let Some(transport) = self.transports.get_mut(&transport) {
            transport.local = Some(local);
        }
    }

    /// A transport is a pipe, with RTX or without.
    pub(crate) fn set_pipe(&mut self, transport: ObjectId, rtx: bool) {
        if let Some(transport) = self.transports.get_mut(&transport) {
            transport.pipe = Some(rtx);
        }
    }

    /// A transport has new credentials.
    pub(crate) fn restarted(&mut self, transport: ObjectId, ice: IceParameters) {
        if let Some(local) = self.transports.get_mut(&transport).and_then(|t| t.local.as_mut()) {
            local.ice = ice;
        }
    }

    pub(crate) fn add_observer(&mut self, id: ObjectId, router: ObjectId) -> bool {
        let Some(parent) = self.routers.get_mut(&router) else { return false };
        parent.observers.insert(id);
        self.observers.insert(id, router);
        true
    }

    pub(crate) fn add_producer(
        &mut self,
        id: ObjectId,
        transport: ObjectId,
        parameters: RtpParameters,
        consumable: Consumable,
    ) -> bool {
        let Some(parent) = self.transports.get_mut(&transport) else { return false };
        parent.producers.insert(id);
        self.producers.insert(id, Producer { transport, parameters, consumable });
        true
    }

    /// The MID in `parameters` must have been reserved.
    pub(crate) fn add_consumer(&mut self, id: ObjectId, consumer: Consumer) -> bool {
        let Some(transport) = self.transports.get_mut(&consumer.transport) else { return false };
        if !self.producers.contains_key(&consumer.producer) {
            // The consumer went with its producer.
            if let Some(mid) = &consumer.parameters.mid {
                transport.mids.remove(mid);
            }
            return false;
        }
        transport.consumers.insert(id);
        self.consumers.insert(id, consumer);
        true
    }

    /// Changes what a consumer wants.
    pub(crate) fn set_share(&mut self, id: ObjectId, change: impl FnOnce(&mut Share)) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            change(&mut consumer.share);
        }
    }

    /// A consumer follows another producer, or is about to.
    pub(crate) fn switch(&mut self, id: ObjectId, producer: ObjectId, parameters: RtpParameters) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.producer = producer;
            consumer.parameters = parameters;
        }
    }

    /// Takes a MID of a transport: the wanted one, or the next free number.
    pub(crate) fn reserve_mid(&mut self, transport: ObjectId, wanted: Option<&str>) -> Result<String, CommandError> {
        let Some(transport_entry) = self.transports.get_mut(&transport) else {
            return Err(CommandError::not_found("target", transport));
        };
        let mid = match wanted {
            Some(mid) => mid.to_owned(),
            None => loop {
                let mid = transport_entry.next_mid.to_string();
                transport_entry.next_mid = transport_entry.next_mid.wrapping_add(1);
                if !transport_entry.mids.contains(&mid) {
                    break mid;
                }
            },
        };
        if !transport_entry.mids.insert(mid.clone()) {
            let text = format!("{mid:?} is used by another consumer of the transport; give another or none");
            return Err(CommandError::new(ErrorCode::AlreadyExists, "mid", text));
        }
        Ok(mid)
    }

    pub(crate) fn release_mid(&mut self, transport: ObjectId, mid: &str) {
        if let Some(transport) = self.transports.get_mut(&transport) {
            transport.mids.remove(mid);
        }
    }

    /// Routers, transports, producers, consumers.
    pub(crate) fn counts(&self) -> [usize; 4] {
        [self.routers.len(), self.transports.len(), self.producers.len(), self.consumers.len()]
    }

    /// Removes an object and all below it; tells what went, the object itself first. Removing twice is harmless.
    pub(crate) fn remove(&mut self, id: ObjectId) -> Vec<ObjectId> {
        let mut removed = Vec::new();
        self.remove_into(id, &mut removed);
        removed
    }

    // The tree is three levels deep: router, transport, producer or consumer.
    fn remove_into(&mut self, id: ObjectId, removed: &mut Vec<ObjectId>) {
        if let Some(router) = self.routers.remove(&id) {
            removed.push(id);
            router.observers.into_iter().for_each(|o| self.remove_into(o, removed));
            router.transports.into_iter().for_each(|t| self.remove_into(t, removed));
        } else if self.servers.remove(&id) {
            removed.push(id);
            let of_server = self.transports.iter().filter(|(_, t)| t.server == Some(id));
            let of_server: Vec<ObjectId> = of_server.map(|(id, _)| *id).collect();
            of_server.into_iter().for_each(|t| self.remove_into(t, removed));
        } else if let Some(transport) = self.transports.remove(&id) {
            removed.push(id);
            if let Some(router) = self.routers.get_mut(&transport.router) {
                router.transports.remove(&id);
            }
            transport.producers.into_iter().for_each(|p| self.remove_into(p, removed));
            transport.consumers.into_iter().for_each(|c| self.remove_into(c, removed));
        } else if let Some(producer) = self.producers.remove(&id) {
            removed.push(id);
            if let Some(transport) = self.transports.get_mut(&producer.transport) {
                transport.producers.remove(&id);
            }
        } else if let Some(consumer) = self.consumers.remove(&id) {
            removed.push(id);
            if let Some(transport) = self.transports.get_mut(&consumer.transport) {
                transport.consumers.remove(&id);
                if let Some(mid) = &consumer.parameters.mid {
                    transport.mids.remove(mid);
                }
            }
        } else if let Some(router) = self.observers.remove(&id) {
            removed.push(id);
            if let Some(router) = self.routers.get_mut(&router) {
                router.observers.remove(&id);
            }
        }
    }

    /// Removes all of a shard.
    pub(crate) fn remove_shard(&mut self, shard: u8) -> Vec<ObjectId> {
        let tops = self.routers.keys().chain(self.servers.iter()).filter(|id| id.shard() == shard);
        let tops: Vec<ObjectId> = tops.copied().collect();
        let mut removed = Vec::new();
        tops.into_iter().for_each(|id| self.remove_into(id, &mut removed));
        removed
    }

    /// Entries of all kinds, links and MIDs: what a leak would show in.
    pub(crate) fn footprint(&self) -> usize {
        let routers = self.routers.values().map(|r| 1 + r.transports.len() + r.observers.len()).sum::<usize>();
        let links = |t: &Transport| 1 + t.producers.len() + t.consumers.len() + t.mids.len();
        let transports = self.transports.values().map(links).sum::<usize>();
        let leaves = self.producers.len() + self.consumers.len() + self.observers.len();
        routers + self.servers.len() + transports + leaves
    }
}
