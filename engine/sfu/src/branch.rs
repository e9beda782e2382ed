//! A router that has transports on other shards too. It has one home, whose id is the only one that the caller knows;
//! a branch stands in for it where else it has transports.
//!
//! Told: commands for a branch, what other shards say of homes and branches, shards that fail. Tells: the same to them,
//! and events, each by the shard on which the object is. A branch comes with its first transport and goes with the
//! last; it closes when its home does, and a bug that is caught in it closes the room. What is on the way meanwhile
//! is harmless: whoever is attached to a home that is no more is told so.
//! Limits: branches count as routers.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::time::Time;

use crate::command::{BoundSocket, CloseReason, Command, CommandError, ErrorCode, Reply};
use crate::dispatch::dispatch;
use crate::peer::PeerMessage;
use crate::router::Router;
use crate::shard::Shard;

/// What of this shard belongs to rooms and producers of others. Keys are ids of our own making.
#[derive(Debug)]
pub(crate) struct Span {
    /// Branches by their homes.
    pub(crate) branches: HashMap<ObjectId, ObjectId, FixedState>,
    /// Mirrors by their producers.
    pub(crate) mirrors: HashMap<ObjectId, ObjectId, FixedState>,
    /// Transports that only carry mirrors.
    pub(crate) carriers: usize,
    /// Packets that came from other shards.
    pub(crate) received: u64,
}

impl Default for Span {
    fn default() -> Self {
        let branches = HashMap::with_hasher(FixedState::default());
        let mirrors = HashMap::with_hasher(FixedState::default());
        Self { branches, mirrors, carriers: 0, received: 0 }
    }
}

impl Shard {
    /// Carries out a command that makes a transport in a router whose home is elsewhere.
    pub(crate) fn in_branch(
        &mut self,
        now: Time,
        sockets: &[BoundSocket],
        home: ObjectId,
        mut command: Command,
    ) -> Result<Reply, CommandError> {
        if home.kind() != Some(ObjectKind::Router) || home.shard() == self.index {
            return Err(CommandError::not_found("target", home));
        }
        let Some(router) = command.router_mut() else {
            let text = "only transports are made in a branch";
            return Err(CommandError::new(ErrorCode::Unsupported, "target", text));
        };
        let branch = self.branch_of(home)?;
        *router = branch;
        let result = dispatch(self, now, sockets, command);
        self.drop_idle_branch(branch);
        result
    }

    fn branch_of(&mut self, home: ObjectId) -> Result<ObjectId, CommandError> {
        if let Some(branch) = self.span.branches.get(&home) {
            return Ok(*branch);
        }
        let limit = self.limits.routers;
        let branch = self.routers.insert(Router { home: Some(home), ..Router::default() }).ok_or_else(|| {
            let text = format!("the limit of {limit} routers is reached: close some first");
            CommandError::new(ErrorCode::ResourceExhausted, "", text)
        })?;
        self.span.branches.insert(home, branch);
        self.out.peers.push(PeerMessage::Attach { room: home, branch });
        Ok(branch)
    }

    /// A branch without transports is of no use.
    pub(crate) fn drop_idle_branch(&mut self, branch: ObjectId) {
        let Some(Router { home: Some(room), transports, .. }) = self.routers.get(branch) else { return };
        let room = *room;
        if transports.is_empty() {
            self.out.peers.push(PeerMessage::Detach { room, branch });
            self.remove_branch(room, branch);
        }
    }

    fn remove_branch(&mut self, room: ObjectId, branch: ObjectId) {
        if let Some(router) = self.routers.remove(branch) {
            // Nothing is consumed without a transport, so nothing is mirrored.
            if router.carrier.and_then(|carrier| self.transports.remove(carrier)).is_some() {
                self.span.carriers -= 1;
            }
        }
        self.span.branches.remove(&room);
    }

    /// After a router was closed: what it has elsewhere.
    pub(crate) fn leave_span(&mut self, now: Time, id: ObjectId, router: &Router, reason: CloseReason) {
        if let Some(carrier) = router.carrier {
            self.close_carrier(now, carrier);
        }
        match router.home {
            Some(home) => {
                self.span.branches.remove(&home);
            }
            None => {
                for branch in &router.branches {
                    self.out.peers.push(PeerMessage::RoomGone { branch: *branch, room: id, reason });
                }
            }
        }
    }

    /// A bug was caught in a router, which is closed: the whole room closes. Answers the room.
    pub(crate) fn fail_room(&mut self, router: ObjectId, home: Option<ObjectId>) -> ObjectId {
        let Some(room) = home else { return router };
        self.out.peers.push(PeerMessage::RoomFailed { room });
        room
    }

    /// The id by which the caller knows a router.
    pub(crate) fn room_of(&self, router: ObjectId) -> ObjectId {
        self.routers.get(router).and_then(|entry| entry.home).unwrap_or(router)
    }

    /// The router of this shard that the caller's id means.
    pub(crate) fn local_router(&self, room: ObjectId) -> ObjectId {
        self.span.branches.get(&room).copied().unwrap_or(room)
    }

    pub(crate) fn take_attach(&mut self, room: ObjectId, branch: ObjectId) {
        match self.routers.get_mut(room).filter(|router| router.home.is_none()) {
            Some(router) => {
                router.branches.retain(|known| *known != branch);
                router.branches.push(branch);
                self.out.peers.push(PeerMessage::Attached { branch, room });
            }
            None => {
                let reason = CloseReason::RouterClosed;
                self.out.peers.push(PeerMessage::RoomGone { branch, room, reason });
            }
        }
    }

    /// A branch that went while it was being told of is to be forgotten.
    pub(crate) fn take_attached(&mut self, room: ObjectId, branch: ObjectId) {
        if self.span.branches.get(&room) != Some(&branch) {
            self.out.peers.push(PeerMessage::Detach { room, branch });
        }
    }

    pub(crate) fn take_detach(&mut self, room: ObjectId, branch: ObjectId) {
        if let Some(router) = self.routers.get_mut(room) {
            router.branches.retain(|b| *b != branch);
        }
    }

    /// Another shard caught a bug in a branch of this room, and tells so.
    pub(crate) fn take_room_failed(&mut self, now: Time, room: ObjectId) {
        self.work_for_object(room);
        // One that is closed already has told its branches.
        let _ = self.close_router_for(now, room, CloseReason::Panic);
    }

    pub(crate) fn take_room_gone(&mut self, now: Time, room: ObjectId, branch: ObjectId, reason: CloseReason) {
        if self.span.branches.get(&room) == Some(&branch) {
            self.work_for_object(branch);
            let _ = self.close_router_for(now, branch, reason);
        }
    }

    /// Another shard is gone, or was made anew: nothing that was there lives any more.
    pub fn handle_peer_lost(&mut self, now: Time, shard: u8) {
        let of = |(home, _): &(&ObjectId, &ObjectId)| home.shard() == shard;
        let branches: Vec<ObjectId> = self.span.branches.iter().filter(of).map(|(_, branch)| *branch).collect();
        for branch in branches {
            // What the panic of a room said is told by its event.
            let _ = self.contained(now, |shard| {
                shard.work_for(branch);
                shard.close_router_for(now, branch, CloseReason::ShardFailed)
            });
        }
        let mirrors: Vec<ObjectId> = self.span.mirrors.iter().filter(of).map(|(_, mirror)| *mirror).collect();
        for mirror in mirrors {
            let _ = self.contained(now, |shard| {
                shard.work_for_object(mirror);
                shard.close_producer(now, mirror)
            });
        }
        self.routers.iter_mut().for_each(|(_, router)| router.branches.retain(|branch| branch.shard() != shard));
        let producers: Vec<ObjectId> = self.producers.iter().map(|(id, _)| id).collect();
        for id in producers {
            let Some(held) = self.producers.get_mut(id) else { continue };
            let before = held.it.links.len();
            held.it.links.retain(|link| link.mirror.shard() != shard);
            if held.it.links.len() < before {
                self.tell_wanted(now, id);
            }
        }
        // Farewells are for nobody.
        self.out.peers.clear(shard);
    }
}

/// What a shard believes of the others, for tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpanView {
    /// Homes and their branches here.
    pub branches: Vec<(ObjectId, ObjectId)>,
    /// Routers here and their branches elsewhere.
    pub attached: Vec<(ObjectId, ObjectId)>,
    /// Producers elsewhere, their mirrors here, and the encodings that are wanted of them.
    pub mirrors: Vec<(ObjectId, ObjectId, u32)>,
    /// Producers here, their mirrors elsewhere, and the encodings that are sent there.
    pub links: Vec<(ObjectId, ObjectId, u32)>,
}

#[cfg(any(test, feature = "testing"))]
impl Shard {
    /// What this shard believes of the others.
    pub fn span_view(&self) -> SpanView {
        let mut view = SpanView {
            branches: self.span.branches.iter().map(|(home, branch)| (*home, *branch)).collect(),
            ..SpanView::default()
        };
        for (id, router) in self.routers.iter() {
            view.attached.extend(router.branches.iter().map(|branch| (id, *branch)));
        }
        for (id, held) in self.producers.iter() {
            if let Some(mirrored) = &held.it.mirrored {
                view.mirrors.push((mirrored.origin, id, mirrored.told.map_or(0, |told| told.encodings)));
            }
            view.links.extend(held.it.links.iter().map(|link| (id, link.mirror, link.encodings)));
        }
        [&mut view.branches, &mut view.attached].into_iter().for_each(|all| all.sort_unstable());
        [&mut view.mirrors, &mut view.links].into_iter().for_each(|all| all.sort_unstable());
        view
    }
}
