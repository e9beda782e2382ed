//! Rooms and their peers: what is kept of them between requests.
//!
//! A room is one router. Whatever relates several peers (who has joined, who publishes what, who has a transport to
//! receive on) changes under the room's one lock, so that each pair of publisher and subscriber meets exactly once.
//! The lock is never held over an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Map, Value, json};
use sfu_control::client::Id;
use sfu_control::ortc::{MediaKind, RtpCapabilities};

use tokio::sync::Notify;

use crate::connection::Connection;
use crate::protoo::Refusal;

/// An id in the JSON of the protocol: 64 bits do not fit a JavaScript number.
pub(crate) fn id_text(id: Id) -> String {
    format!("{id:016x}")
}

/// The id in a request's field.
pub(crate) fn id_from_text(field: &str, text: &str) -> Result<Id, Refusal> {
    // `from_str_radix` would take a sign too.
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = if digits { Id::from_str_radix(text, 16).ok() } else { None };
    id.ok_or_else(|| Refusal::unknown(field, text))
}

/// A room.
pub(crate) struct Room {
    pub(crate) name: String,
    /// The first of its routers.
    pub(crate) router: Id,
    /// All of them, joined by pipes where media has to cross. All have the same capabilities.
    pub(crate) routers: Vec<Id>,
    /// Peers that have entered.
    entered: AtomicUsize,
    pub(crate) capabilities: RtpCapabilities,
    /// Who listens for speakers.
    pub(crate) observer: OnceLock<Id>,
    /// Its router is gone: whoever comes next gets a new room of this name.
    dead: AtomicBool,
    peers: Mutex<BTreeMap<String, Arc<Peer>>>,
}

/// One member of a room.
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) connection: Arc<Connection>,
    /// Each consumer is made this many times more, for load.
    pub(crate) replicas: usize,
    /// The router that its transports are in; set when it enters.
    router: OnceLock<Id>,
    state: Mutex<PeerState>,
}

/// What `join` said.
#[derive(Clone)]
pub(crate) struct Joined {
    pub(crate) display_name: String,
    pub(crate) device: Map<String, Value>,
    /// Absent: the peer receives nothing.
    pub(crate) rtp_capabilities: Option<Arc<RtpCapabilities>>,
}

pub(crate) struct ProducerEntry {
    pub(crate) kind: MediaKind,
    pub(crate) app_data: Map<String, Value>,
}

#[derive(Default)]
pub(crate) struct ConsumerEntry {
    /// The peer itself wants it paused.
    pub(crate) paused: bool,
    /// The peer has accepted it.
    pub(crate) accepted: bool,
    /// What is to be told of it once it is accepted: the latest of each method.
    news: BTreeMap<&'static str, Value>,
}

impl ConsumerEntry {
    /// What can be told now; what the peer would not understand yet is kept.
    pub(crate) fn tell(&mut self, method: &'static str, data: Value) -> Option<Value> {
        if self.accepted {
            return Some(data);
        }
        self.news.insert(method, data);
        None
    }

    /// The peer knows it now. Tells what was kept.
    pub(crate) fn accept(&mut self) -> Vec<(&'static str, Value)> {
        self.accepted = true;
        std::mem::take(&mut self.news).into_iter().collect()
    }
}

/// What changes of a peer.
#[derive(Default)]
pub(crate) struct PeerState {
    pub(crate) joined: Option<Joined>,
    /// The flag tells whether it was made for consuming.
    pub(crate) transports: HashMap<Id, bool>,
    pub(crate) producers: BTreeMap<Id, ProducerEntry>,
    pub(crate) consumers: HashMap<Id, ConsumerEntry>,
    pub(crate) left: bool,
    /// It fills its sections by itself when this tells of a change; such a peer need not join.
    pub(crate) watch: Option<Arc<Notify>>,
}

impl PeerState {
    /// The transport that consumers are made on.
    pub(crate) fn consuming_transport(&self) -> Option<Id> {
        self.transports.iter().filter(|(_, consuming)| **consuming).map(|(id, _)| *id).min()
    }

    fn receives(&self) -> bool {
        !self.left
            && self.consuming_transport().is_some()
            && (self.watch.is_some() || self.joined.as_ref().is_some_and(|joined| joined.rtp_capabilities.is_some()))
    }
}

/// A producer that a peer is to consume.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) publisher: Arc<Peer>,
    pub(crate) producer: Id,
    pub(crate) kind: MediaKind,
    pub(crate) app_data: Map<String, Value>,
}

impl Peer {
    pub(crate) fn new(id: &str, replicas: usize, connection: Arc<Connection>) -> Arc<Self> {
        Arc::new(Self { id: id.to_owned(), connection, replicas, router: OnceLock::new(), state: Mutex::default() })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The router that its transports are in.
    pub(crate) fn router(&self) -> Id {
        self.router.get().copied().unwrap_or_default()
    }

    /// How others are told of it; `None` before it has joined.
    pub(crate) fn introduction(&self) -> Option<Value> {
        let state = self.state();
        let joined = state.joined.as_ref()?;
        Some(json!({ "id": self.id, "displayName": joined.display_name, "device": joined.device }))
    }

    fn offers(self: &Arc<Self>) -> Vec<Offer> {
        let offer = |(id, entry): (&Id, &ProducerEntry)| Offer {
            publisher: Arc::clone(self),
            producer: *id,
            kind: entry.kind,
            app_data: entry.app_data.clone(),
        };
        self.state().producers.iter().map(offer).collect()
    }
}

impl Room {
    pub(crate) fn new(name: &str, routers: Vec<Id>, capabilities: RtpCapabilities) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            router: routers.first().copied().unwrap_or_default(),
            routers,
            entered: AtomicUsize::new(0),
            capabilities,
            observer: OnceLock::new(),
            dead: AtomicBool::new(false),
            peers: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Release);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        self.lock().values().cloned().collect()
    }

    /// Adds a peer; tells which one of the same id it replaced.
    pub(crate) fn add(&self, peer: &Arc<Peer>, max: usize) -> Result<Option<Arc<Peer>>, Refusal> {
        let mut peers = self.lock();
        if peers.len() >= max && !peers.contains_key(&peer.id) {
            return Err(Refusal::new(503, format!("roomId: the room is full ({max} peers)")));
        }
        let at = self.entered.fetch_add(1, Ordering::Relaxed) % self.routers.len().max(1);
        // A peer enters once.
        let _ = peer.router.set(self.routers.get(at).copied().unwrap_or(self.router));
        let replaced = peers.insert(peer.id.clone(), Arc::clone(peer));
        drop(peers);
        if let Some(old) = &replaced {
            self.depart(old);
        }
        Ok(replaced)
    }

    /// Removes a peer; others are told if it had joined. Tells whether the room is empty now.
    pub(crate) fn remove(&self, peer: &Arc<Peer>) -> bool {
        let mut peers = self.lock();
        if peers.get(&peer.id).is_some_and(|current| Arc::ptr_eq(current, peer)) {
            peers.remove(&peer.id);
        }
        let empty = peers.is_empty();
        drop(peers);
        self.depart(peer);
        empty
    }

    fn depart(&self, peer: &Arc<Peer>) {
        let mut state = peer.state();
        let first = !std::mem::replace(&mut state.left, true);
        let joined = state.joined.is_some();
        drop(state);
        if first && joined {
            self.notify_others(peer, "peerClosed", &json!({ "peerId": peer.id }));
        }
    }

    /// Marks a peer as joined. Tells the introductions of those who have joined before, and what it is to consume.
    pub(crate) fn join(&self, peer: &Arc<Peer>, joined: Joined) -> Result<(Vec<Value>, Vec<Offer>), Refusal> {
        let peers = self.lock();
        {
            let mut state = peer.state();
            if state.joined.is_some() {
                return Err(Refusal::new(409, "join: the peer has joined already"));
            }
            state.joined = Some(joined);
        }
        let others = peers.values().filter(|other| !Arc::ptr_eq(other, peer));
        let introductions = others.filter_map(|other| other.introduction()).collect();
        Ok((introductions, offers_to(&peers, peer)))
    }

    /// Adds a transport to a peer. Tells what it is to consume, should it have waited for this.
    pub(crate) fn add_transport(&self, peer: &Arc<Peer>, transport: Id, consuming: bool) -> Vec<Offer> {
        let peers = self.lock();
        let mut state = peer.state();
        let had_one = state.consuming_transport().is_some();
        state.transports.insert(transport, consuming);
        drop(state);
        if consuming && !had_one { offers_to(&peers, peer) } else { Vec::new() }
    }

    /// Adds a producer to a peer. Tells the offer and who is to consume it.
    pub(crate) fn add_producer(&self, peer: &Arc<Peer>, producer: Id, entry: ProducerEntry) -> (Offer, Vec<Arc<Peer>>) {
        let peers = self.lock();
        let publisher = Arc::clone(peer);
        let offer = Offer { publisher, producer, kind: entry.kind, app_data: entry.app_data.clone() };
        peer.state().producers.insert(producer, entry);
        let others = peers.values().filter(|other| !Arc::ptr_eq(other, peer) && other.state().receives());
        (offer, others.cloned().collect())
    }

    /// What the others publish.
    pub(crate) fn offers(&self, but: &Arc<Peer>) -> Vec<Offer> {
        offers_of_others(&self.lock(), but)
    }

    /// Tells all who have joined, but one.
    pub(crate) fn notify_others(&self, but: &Arc<Peer>, method: &str, data: &Value) {
        for peer in self.peers() {
            if !Arc::ptr_eq(&peer, but) && peer.state().joined.is_some() {
                peer.connection.notify(method, data);
            }
        }
    }
}

fn offers_to(peers: &BTreeMap<String, Arc<Peer>>, peer: &Arc<Peer>) -> Vec<Offer> {
    if !peer.state().receives() {
        return Vec::new();
    }
    offers_of_others(peers, peer)
}

fn offers_of_others(peers: &BTreeMap<String, Arc<Peer>>, peer: &Arc<Peer>) -> Vec<Offer> {
    peers.values().filter(|other| !Arc::ptr_eq(other, peer)).flat_map(Peer::offers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str) -> Arc<Peer> {
        // The frames of these peers go nowhere: their receivers are dropped.
        Peer::new(id, 0, Connection::new().0)
    }

    fn joined() -> Joined {
        Joined { display_name: "x".into(), device: Map::new(), rtp_capabilities: Some(Arc::default()) }
    }

    fn entry() -> ProducerEntry {
        ProducerEntry { kind: MediaKind::Audio, app_data: Map::new() }
    }

    fn room_of(peers: &[&Arc<Peer>]) -> Arc<Room> {
        let room = Room::new("r", vec![1, 2], RtpCapabilities::default());
        for peer in peers {
            room.add(peer, 10).unwrap();
        }
        room
    }

    #[test]
    fn publisher_and_subscriber_meet_once_in_whatever_order_they_come() {
        // 0: subscriber joins, 1: it gets a transport, 2: the publisher produces.
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let (publisher, subscriber) = (peer("p"), peer("s"));
            let room = room_of(&[&publisher, &subscriber]);
            room.join(&publisher, joined()).unwrap();
            let mut meetings = 0;
            for step in order {
                meetings += match step {
                    0 => room.join(&subscriber, joined()).unwrap().1.len(),
                    1 => room.add_transport(&subscriber, 7, true).len(),
                    _ => room.add_producer(&publisher, 9, entry()).1.len(),
                };
            }
            assert_eq!(meetings, 1, "{order:?}");
        }
    }

    #[test]
    fn a_peer_of_the_same_id_replaces_the_old_one_whose_leaving_then_removes_nobody() {
        let (old, new) = (peer("a"), peer("a"));
        let room = room_of(&[&old]);
        assert!(room.add(&new, 1).unwrap().is_some_and(|replaced| Arc::ptr_eq(&replaced, &old)));
        assert!(!room.remove(&old));
        assert_eq!(room.len(), 1);
        assert!(room.remove(&new));
    }

    #[test]
    fn a_full_room_refuses_and_joining_twice_is_refused() {
        let a = peer("a");
        let room = room_of(&[&a]);
        assert_eq!(room.add(&peer("b"), 1).err().map(|refusal| refusal.code), Some(503));
        room.join(&a, joined()).unwrap();
        assert_eq!(room.join(&a, joined()).err().map(|refusal| refusal.code), Some(409));
    }

    #[test]
    fn peers_take_the_rooms_routers_by_turns() {
        let peers = ["a", "b", "c"].map(peer);
        room_of(&[&peers[0], &peers[1], &peers[2]]);
        assert_eq!(peers.map(|peer| peer.router()), [1, 2, 1]);
    }

    #[test]
    fn ids_are_sixteen_hexadecimal_digits() {
        assert_eq!(id_from_text("x", &id_text(0x0102_0304_0506_0708)).unwrap(), 0x0102_0304_0506_0708);
        for wrong in ["", "1", "zzzzzzzzzzzzzzzz", "+000000000000001", "00000000000000001"] {
            assert!(id_from_text("x", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_happens_to_a_consumer_is_told_once_its_peer_knows_it_and_only_the_latest() {
        let mut entry = ConsumerEntry::default();
        assert_eq!(entry.tell("consumerScore", json!(1)), None);
        assert_eq!(entry.tell("consumerScore", json!(2)), None);
        assert_eq!(entry.tell("consumerLayersChanged", json!(3)), None);
        let news = entry.accept();
        assert_eq!(news, [("consumerLayersChanged", json!(3)), ("consumerScore", json!(2))]);
        assert_eq!(entry.tell("consumerScore", json!(4)), Some(json!(4)));
        assert!(entry.accept().is_empty());
    }
}
