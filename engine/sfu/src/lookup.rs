//! Which transport a datagram is for.
//!
//! Told: verified 5-tuples, the username fragments of WebRTC transports, the sockets of plain and pipe
//! transports. Tells: a transport's id. Keys of
//! the tuple table come from the network, but only after ICE has verified them, and each transport
//! keeps at most eight; usernames and sockets are our own. So all tables are bounded by the number of transports.
//! The hash is seeded from the shard's generator: a peer chooses its port, not its bucket.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::FixedState;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{SocketId, Tuple};

use crate::shared_port::Claim;

/// Length of our username fragments, ice-chars.
pub const UFRAG_LEN: usize = 16;

/// 2^64 over the golden ratio: neighbours come to lie far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A username fragment of ours.
pub type Ufrag = [u8; UFRAG_LEN];

/// The tables.
#[derive(Debug)]
pub struct Lookup {
    tuples: HashMap<Tuple, ObjectId, FixedState>,
    ufrags: HashMap<Ufrag, ObjectId, FixedState>,
    sockets: HashMap<SocketId, ObjectId, FixedState>,
    /// Sockets whose port other shards listen on too.
    shared: HashSet<SocketId, FixedState>,
    /// What happened to tuples of those.
    claims: VecDeque<Claim>,
}

impl Lookup {
    /// Makes empty tables whose hash depends on `seed`.
    pub fn new(seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Self {
            tuples: HashMap::with_hasher(state.clone()),
            ufrags: HashMap::with_hasher(state.clone()),
            sockets: HashMap::with_hasher(state.clone()),
            shared: HashSet::with_hasher(state),
            claims: VecDeque::new(),
        }
    }

    /// A tuple was verified for a transport. The first transport to verify a tuple keeps it while it
    /// lives: otherwise a peer with credentials of its own could take another's tuple by a forged
    /// source address.
    pub fn claim_tuple(&mut self, tuple: Tuple, transport: ObjectId) {
        if let Entry::Vacant(place) = self.tuples.entry(tuple) {
            place.insert(transport);
            self.note_claim(&tuple, true);
        }
    }

    /// A transport lost a tuple; `true` if it had been the one that datagrams of the tuple went to.
    pub fn release_tuple(&mut self, tuple: &Tuple, transport: ObjectId) -> bool {
        let is_its = self.tuples.get(tuple) == Some(&transport);
        if is_its {
            self.tuples.remove(tuple);
            self.note_claim(tuple, false);
        }
        is_its
    }

    fn note_claim(&mut self, tuple: &Tuple, held: bool) {
        if self.is_shared(tuple.socket) {
            self.claims.push_back(Claim { socket: tuple.socket, remote: tuple.remote, held });
        }
    }

    /// What happened to a tuple of a shared socket, in order.
    pub fn poll_claim(&mut self) -> Option<Claim> {
        self.claims.pop_front()
    }

    /// Other shards listen on the socket's port too.
    pub fn share_socket(&mut self, socket: SocketId) {
        self.shared.insert(socket);
    }

    /// Whether other shards listen on the socket's port too.
    pub fn is_shared(&self, socket: SocketId) -> bool {
        self.shared.contains(&socket)
    }

    /// The transport that verified this tuple.
    pub fn by_tuple(&self, tuple: &Tuple) -> Option<ObjectId> {
        self.tuples.get(tuple).copied()
    }

    /// A transport answers to a username fragment. `false` if another one does: draw again.
    pub fn claim_ufrag(&mut self, ufrag: Ufrag, transport: ObjectId) -> bool {
        *self.ufrags.entry(ufrag).or_insert(transport) == transport
    }

    /// A transport no longer answers to a username fragment.
    pub fn release_ufrag(&mut self, ufrag: &Ufrag) {
        self.ufrags.remove(ufrag);
    }

    /// The fragment is in use.
    pub fn has_ufrag(&self, ufrag: &Ufrag) -> bool {
        self.ufrags.contains_key(ufrag)
    }

    /// The transport meant by a STUN USERNAME, `local:remote` (RFC 8445, section 7.2.2).
    pub fn by_username(&self, username: &[u8]) -> Option<ObjectId> {
        let local = username.split(|b| *b == b':').next()?;
        if local.len() == username.len() {
            return None;
        }
        self.by_ufrag(local.try_into().ok()?)
    }

    /// The transport that answers to a username fragment.
    pub fn by_ufrag(&self, ufrag: &Ufrag) -> Option<ObjectId> {
        self.ufrags.get(ufrag).copied()
    }

    /// A number that goes with a USERNAME: always the same, spread over all numbers.
    pub fn number_of(&self, username: &[u8]) -> u64 {
        let first = username.first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(first).wrapping_mul(SPREAD) >> 32
    }

    /// A socket is one transport's own, so that strangers on it are that transport's affair.
    pub fn claim_socket(&mut self, socket: SocketId, transport: ObjectId) {
        self.sockets.insert(socket, transport);
    }

    /// A socket goes.
    pub fn release_socket(&mut self, socket: SocketId) {
        self.sockets.remove(&socket);
        self.shared.remove(&socket);
    }

    /// The transport whose own socket this is.
    pub fn by_socket(&self, socket: SocketId) -> Option<ObjectId> {
        self.sockets.get(&socket).copied()
    }

    /// Sizes of the first two tables: tuples, fragments.
    pub fn sizes(&self) -> (usize, usize) {
        (self.tuples.len(), self.ufrags.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::id::ObjectKind;
    use sfu_wire::net::SocketId;

    fn transport(n: u32) -> ObjectId {
        ObjectId::new(0, ObjectKind::Transport, 1, n)
    }

    #[test]
    fn a_username_needs_a_colon_and_a_fragment_of_ours() {
        let mut lookup = Lookup::new(7);
        assert!(lookup.claim_ufrag(*b"abcdefghijklmnop", transport(1)));
        assert!(!lookup.claim_ufrag(*b"abcdefghijklmnop", transport(2)));
        assert_eq!(lookup.by_username(b"abcdefghijklmnop:x"), Some(transport(1)));
        assert_eq!(lookup.by_username(b"abcdefghijklmnop:x:y"), Some(transport(1)));
        for bad in [&b"abcdefghijklmnop"[..], b"", b":", b"abc:x", b"\xff\xfe:x", &[b'a'; 513]] {
            assert_eq!(lookup.by_username(bad), None);
        }
    }

    #[test]
    fn a_verified_tuple_stays_with_the_transport_that_verified_it_first() {
        let mut lookup = Lookup::new(7);
        let tuple = Tuple { socket: SocketId(1), remote: ([192, 0, 2, 1], 5000).into() };
        lookup.claim_tuple(tuple, transport(1));
        lookup.claim_tuple(tuple, transport(2));
        assert_eq!(lookup.by_tuple(&tuple), Some(transport(1)));
        lookup.release_tuple(&tuple, transport(2));
        assert_eq!(lookup.by_tuple(&tuple), Some(transport(1)));
        lookup.release_tuple(&tuple, transport(1));
        lookup.claim_tuple(tuple, transport(2));
        assert_eq!(lookup.by_tuple(&tuple), Some(transport(2)));
        assert_eq!(lookup.poll_claim(), None, "nobody else listens there");
    }

    #[test]
    fn row_104_a_tuple_of_a_shared_socket_is_claimed_by_the_first_and_given_up_by_it_alone() {
        let mut lookup = Lookup::new(7);
        lookup.share_socket(SocketId(1));
        let remote = ([192, 0, 2, 1], 5000).into();
        let tuple = Tuple { socket: SocketId(1), remote };
        let claim = |held| Some(Claim { socket: SocketId(1), remote, held });
        lookup.claim_tuple(tuple, transport(1));
        lookup.claim_tuple(tuple, transport(1));
        lookup.claim_tuple(tuple, transport(2));
        lookup.release_tuple(&tuple, transport(2));
        assert_eq!((lookup.poll_claim(), lookup.poll_claim()), (claim(true), None));
        lookup.release_tuple(&tuple, transport(1));
        lookup.claim_tuple(tuple, transport(2));
        assert_eq!([lookup.poll_claim(), lookup.poll_claim()], [claim(false), claim(true)]);
        lookup.release_socket(SocketId(1));
        lookup.release_tuple(&tuple, transport(2));
        assert_eq!(lookup.poll_claim(), None);
    }
}
