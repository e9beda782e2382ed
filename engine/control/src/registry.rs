//! What the control floor remembers of living objects: capabilities, parameters, MIDs in use, and who is below whom.
//!
//! Told: replies and closings as they pass on their way to the caller. Tells: lookups for negotiation and dumps. An
//! object is in here from its reply to its closing, so nothing a caller may know is missing. A consumer goes with its
//! transport, or when its own closing is told: only the shard knows which producer it follows at the moment when one of
//! two closes. Limits: those of the shards, which refuse before this grows.

use std::collections::{BTreeMap, HashMap, HashSet};

use sfu_core::command::{CommandError, ErrorCode};
use sfu_core::config::ProducerConfig;
use sfu_core::stats::{ProducerDump, RouterDump};
use sfu_runtime::ListenInfo;
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
    /// Transports by shard, those under way included.
    spread: BTreeMap<u8, usize>,
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
    /// What its shard was given: other shards are given the same.
    pub(crate) config: Box<ProducerConfig>,
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

/// A WebRTC server: on one shard, or with a part on each.
#[derive(Debug, Default)]
struct Server {
    /// What each part listens on; of a server of one shard, nothing.
    listen: Vec<ListenInfo>,
    /// By shard.
    parts: HashMap<u8, ObjectId>,
    /// Shards that have been made anew and are to have theirs again.
    coming: HashMap<u8, Coming>,
}

/// A part that is to be made again.
#[derive(Debug, Default)]
struct Coming {
    /// The token of the request that is under way.
    attempt: Option<u64>,
    /// Why the last one failed; empty: none has.
    why: String,
}

/// What a server is on a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerPart {
    /// The object that the shard knows.
    There(ObjectId),
    /// The server is on all shards, but that one has been made anew: with the error of the last attempt to have a part
    /// again, if there was one.
    Coming(String),
    /// The server is on another shard alone.
    Elsewhere,
}

/// All that lives.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    routers: HashMap<ObjectId, Router>,
    servers: HashMap<ObjectId, Server>,
    transports: HashMap<ObjectId, Transport>,
    producers: HashMap<ObjectId, Producer>,
    consumers: HashMap<ObjectId, Consumer>,
    /// With their routers.
    observers: HashMap<ObjectId, ObjectId>,
}

impl Registry {
    pub(crate) fn contains(&self, id: ObjectId) -> bool {
        self.routers.contains_key(&id)
            || self.servers.contains_key(&id)
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
        let (transports, observers, spread) = (HashSet::new(), HashSet::new(), BTreeMap::new());
        self.routers.insert(id, Router { capabilities, transports, observers, spread });
    }

    /// A server of one shard.
    pub(crate) fn add_server(&mut self, id: ObjectId) {
        let parts = HashMap::from([(id.shard(), id)]);
        self.servers.insert(id, Server { parts, ..Server::default() });
    }

    /// A server of all shards, known by the name of one of its parts.
    pub(crate) fn add_shared_server(&mut self, id: ObjectId, listen: Vec<ListenInfo>, parts: &[ObjectId]) {
        let parts = parts.iter().map(|part| (part.shard(), *part)).collect();
        self.servers.insert(id, Server { listen, parts, coming: HashMap::new() });
    }

    /// A shard that was made anew has its part of a server again; false if the server is gone, or has one there.
    pub(crate) fn add_part(&mut self, server: ObjectId, part: ObjectId) -> bool {
        let Some(server) = self.servers.get_mut(&server) else { return false };
        let is_awaited = server.coming.remove(&part.shard()).is_some();
        if is_awaited {
            server.parts.insert(part.shard(), part);
        }
        is_awaited
    }

    /// A part of a server is asked for.
    pub(crate) fn part_asked(&mut self, server: ObjectId, shard: u8, token: u64) {
        let coming = self.servers.get_mut(&server).and_then(|server| server.coming.get_mut(&shard));
        if let Some(coming) = coming {
            coming.attempt = Some(token);
        }
    }

    /// What was asked for by this token cannot be, for now.
    pub(crate) fn part_failed(&mut self, server: ObjectId, shard: u8, token: u64, why: String) {
        let coming = self.servers.get_mut(&server).and_then(|server| server.coming.get_mut(&shard));
        if let Some(coming) = coming.filter(|coming| coming.attempt == Some(token)) {
            *coming = Coming { attempt: None, why };
        }
    }

    /// Shards that lack their part of a server although it was asked for.
    pub(crate) fn failed_parts(&self, server: ObjectId) -> Vec<u8> {
        let coming = self.servers.get(&server).into_iter().flat_map(|server| &server.coming);
        let mut shards: Vec<u8> = coming.filter(|(_, c)| c.attempt.is_none()).map(|(shard, _)| *shard).collect();
        shards.sort_unstable();
        shards
    }

    /// A shard lacks a part that it could not be given.
    pub(crate) fn lacks_part(&self, shard: u8) -> bool {
        self.servers.values().any(|server| server.coming.get(&shard).is_some_and(|coming| !coming.why.is_empty()))
    }

    /// A transport on this shard can use the server.
    pub(crate) fn listens_on(&self, server: ObjectId, shard: u8) -> bool {
        self.servers.get(&server).is_some_and(|server| server.parts.contains_key(&shard))
    }

    /// Whether a server is on all shards.
    pub(crate) fn is_shared(&self, server: ObjectId) -> bool {
        self.servers.get(&server).is_some_and(|server| !server.listen.is_empty())
    }

    /// The parts of a server.
    pub(crate) fn parts(&self, server: ObjectId) -> Vec<ObjectId> {
        let mut parts: Vec<ObjectId> =
            self.servers.get(&server).map(|server| server.parts.values().copied().collect()).unwrap_or_default();
        parts.sort_unstable();
        parts
    }

    /// What a server is on a shard.
    pub(crate) fn server_part(&self, server: ObjectId, shard: u8) -> ServerPart {
        let Some(known) = self.servers.get(&server) else { return ServerPart::Elsewhere };
        match known.parts.get(&shard) {
            Some(part) => ServerPart::There(*part),
            None if known.listen.is_empty() => ServerPart::Elsewhere,
            None => ServerPart::Coming(known.coming.get(&shard).map(|c| c.why.clone()).unwrap_or_default()),
        }
    }

    /// The name under which callers know the server of a part.
    pub(crate) fn server_of(&self, part: ObjectId) -> ObjectId {
        let of = |(_, server): &(&ObjectId, &Server)| server.parts.get(&part.shard()) == Some(&part);
        self.servers.iter().find(of).map_or(part, |(id, _)| *id)
    }

    /// Servers of all shards, and what a new part of each listens on.
    pub(crate) fn shared_servers(&self) -> Vec<(ObjectId, Vec<ListenInfo>)> {
        let shared = self.servers.iter().filter(|(_, server)| !server.listen.is_empty());
        shared.map(|(id, server)| (*id, server.listen.clone())).collect()
    }

    /// A transport of a router is about to be made on a shard.
    pub(crate) fn reserve_transport(&mut self, router: ObjectId, shard: u8) {
        if let Some(router) = self.routers.get_mut(&router) {
            *router.spread.entry(shard).or_default() += 1;
        }
    }

    /// A transport of a router is gone from a shard, or never came to be.
    pub(crate) fn release_transport(&mut self, router: ObjectId, shard: u8) {
        let Some(spread) = self.routers.get_mut(&router).map(|router| &mut router.spread) else { return };
        if let Some(count) = spread.get_mut(&shard) {
            *count = count.saturating_sub(1);
        }
        spread.retain(|_, count| *count > 0);
    }

    /// Transports of a router on a shard, those under way included.
    pub(crate) fn transports_on(&self, router: ObjectId, shard: u8) -> usize {
        self.routers.get(&router).and_then(|router| router.spread.get(&shard)).copied().unwrap_or(0)
    }

    /// The shards that a router has something on, its home first.
    pub(crate) fn shards_of(&self, router: ObjectId) -> Vec<u8> {
        let others = self.routers.get(&router).into_iter().flat_map(|router| router.spread.keys().copied());
        std::iter::once(router.shard()).chain(others.filter(|shard| *shard != router.shard())).collect()
    }

    /// The router of an observer.
    pub(crate) fn router_of_observer(&self, observer: ObjectId) -> Option<ObjectId> {
        self.observers.get(&observer).copied()
    }

    /// False if the router is gone meanwhile, and the transport with it; likewise below.
    pub(crate) fn add_transport(&mut self, id: ObjectId, router: ObjectId, server: Option<ObjectId>) -> bool {
        if server.is_some_and(|server| !self.servers.contains_key(&server)) {
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
        (consumable, config): (Consumable, Box<ProducerConfig>),
    ) -> bool {
        let Some(parent) = self.transports.get_mut(&transport) else { return false };
        parent.producers.insert(id);
        self.producers.insert(id, Producer { transport, parameters, consumable, config });
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
        } else if self.servers.remove(&id).is_some() {
            removed.push(id);
            let of_server = self.transports.iter().filter(|(_, t)| t.server == Some(id));
            let of_server: Vec<ObjectId> = of_server.map(|(id, _)| *id).collect();
            of_server.into_iter().for_each(|t| self.remove_into(t, removed));
        } else if let Some(transport) = self.transports.remove(&id) {
            removed.push(id);
            if let Some(router) = self.routers.get_mut(&transport.router) {
                router.transports.remove(&id);
            }
            self.release_transport(transport.router, id.shard());
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

    /// Removes all of a shard. What its routers have on other shards stays until those tell that it is closed. What is left
    /// of a server of all shards goes when its last part does, unless the shard will have one again.
    pub(crate) fn remove_shard(&mut self, shard: u8, restarts: bool) -> Vec<ObjectId> {
        let mut removed = Vec::new();
        let here = |id: &&ObjectId| id.shard() == shard;
        let routers: Vec<ObjectId> = self.routers.keys().filter(here).copied().collect();
        for id in routers {
            let Some(router) = self.routers.remove(&id) else { continue };
            removed.push(id);
            router.observers.into_iter().for_each(|o| self.remove_into(o, &mut removed));
            let own = router.transports.into_iter().filter(|t| t.shard() == shard);
            own.for_each(|t| self.remove_into(t, &mut removed));
        }
        let mut rest: Vec<ObjectId> = self.transports.keys().filter(here).copied().collect();
        for (id, server) in &mut self.servers {
            let had = server.parts.remove(&shard).is_some() | server.coming.remove(&shard).is_some();
            if had && restarts && !server.listen.is_empty() {
                server.coming.insert(shard, Coming::default());
            }
            if had && server.parts.is_empty() && server.coming.is_empty() {
                rest.push(*id);
            }
        }
        rest.into_iter().for_each(|id| self.remove_into(id, &mut removed));
        removed
    }

    /// Adds to a router's state what it has on other shards than the one that told it.
    pub(crate) fn complete_router(&self, dump: &mut RouterDump) {
        let Some(router) = self.routers.get(&dump.id) else { return };
        let mut others: Vec<ObjectId> =
            router.transports.iter().filter(|t| t.shard() != dump.id.shard()).copied().collect();
        others.sort_unstable();
        for transport in others {
            let Some(entry) = self.transports.get(&transport) else { continue };
            dump.transports.push(transport);
            let sorted = |all: &HashSet<ObjectId>| {
                let mut all: Vec<ObjectId> = all.iter().copied().collect();
                all.sort_unstable();
                all
            };
            dump.producers.extend(sorted(&entry.producers));
            dump.consumers.extend(sorted(&entry.consumers));
        }
        if router.spread.keys().all(|shard| *shard == dump.id.shard()) {
            return;
        }
        let known: HashSet<ObjectId> = dump.consumers_of.iter().flat_map(|(_, all)| all.iter().copied()).collect();
        for consumer in dump.consumers.iter().filter(|consumer| !known.contains(consumer)) {
            let Some(producer) = self.consumers.get(consumer).map(|c| c.producer) else { continue };
            match dump.consumers_of.iter_mut().find(|(p, _)| *p == producer) {
                Some((_, all)) => all.push(*consumer),
                None => dump.consumers_of.push((producer, vec![*consumer])),
            }
        }
    }

    /// Adds to a producer's state its consumers on other shards than its own.
    pub(crate) fn complete_producer(&self, dump: &mut ProducerDump) {
        let router = self.transports.get(&dump.transport).and_then(|t| self.routers.get(&t.router));
        let transports = router.into_iter().flat_map(|r| &r.transports).filter(|t| t.shard() != dump.id.shard());
        let consumers = transports.filter_map(|t| self.transports.get(t)).flat_map(|t| &t.consumers);
        let own = consumers.filter(|c| self.consumers.get(c).is_some_and(|entry| entry.producer == dump.id));
        let mut own: Vec<ObjectId> = own.copied().collect();
        own.sort_unstable();
        dump.consumers.extend(own);
    }

    /// Entries of all kinds, links and MIDs: what a leak would show in.
    pub(crate) fn footprint(&self) -> usize {
        let of_router = |r: &Router| 1 + r.transports.len() + r.observers.len() + r.spread.len();
        let routers = self.routers.values().map(of_router).sum::<usize>();
        let links = |t: &Transport| 1 + t.producers.len() + t.consumers.len() + t.mids.len();
        let transports = self.transports.values().map(links).sum::<usize>();
        let leaves = self.producers.len() + self.consumers.len() + self.observers.len();
        let servers = self.servers.values().map(|s| 1 + s.parts.len() + s.coming.len()).sum::<usize>();
        routers + servers + transports + leaves
    }
}
