//! Faults stay in their room: a panic on the way of a packet, a command or a timer closes the router at work, and
//! nothing else.
//!
//! Told: which router each step works for, by those who take it. Tells: [`Event::RouterFailed`] with what the
//! panic said, after events for all that went along. Other routers lose nothing: what the step had still to do for
//! them (timers taken from the queue, counts) is put in order again. A panic that belongs to no router, or one on the
//! way down of a router that is broken too badly to be closed, goes on to the caller, who gives the shard up.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::time::Time;

use crate::command::{CloseReason, Event};
use crate::shard::Shard;
use crate::transport::Transport;

/// What is kept of a panic's words, characters.
const MAX_TEXT: usize = 500;

impl Shard {
    /// Takes a step. A panic in it closes the router at work; the answer is then what it said.
    pub(crate) fn contained<T>(&mut self, now: Time, step: impl FnOnce(&mut Self) -> T) -> Result<T, String> {
        self.at_work = None;
        catch_unwind(AssertUnwindSafe(|| step(self))).map_err(|panic| self.contain(now, panic))
    }

    /// What follows is done for this router.
    #[inline]
    pub(crate) fn work_for(&mut self, router: ObjectId) {
        self.at_work = Some(router);
        self.trip();
    }

    /// What follows is done for the router of this object, if it has one.
    pub(crate) fn work_for_object(&mut self, object: ObjectId) {
        self.at_work = self.router_of(object);
        self.trip();
    }

    #[cold]
    fn contain(&mut self, now: Time, panic: Box<dyn Any + Send>) -> String {
        let Some(router) = self.at_work.take().filter(|id| self.routers.contains(*id)) else { resume_unwind(panic) };
        let text = words(&*panic);
        let home = self.routers.get(router).and_then(|entry| entry.home);
        let closed = catch_unwind(AssertUnwindSafe(|| self.close_router_for(now, router, CloseReason::Panic)));
        if closed.is_err() {
            resume_unwind(panic);
        }
        let router = self.fail_room(router, home);
        self.out.events.push_back(Event::RouterFailed { router, text: text.clone() });
        self.put_in_order(now);
        text
    }

    /// What an unfinished step may have left behind for others.
    fn put_in_order(&mut self, now: Time) {
        self.due.clear();
        self.handshakes = self.transports.iter().filter(|(_, t)| t.is_handshaking()).count();
        let transports: Vec<ObjectId> = self.transports.iter().map(|(id, _)| id).collect();
        transports.into_iter().for_each(|id| self.arm_transport(id, now));
        let producers = self.producers.iter().map(|(id, _)| id);
        let streams: Vec<ObjectId> = producers.chain(self.consumers.iter().map(|(id, _)| id)).collect();
        streams.into_iter().for_each(|id| self.arm_stream(id, now));
    }

    /// The router that an object belongs to.
    pub(crate) fn router_of(&self, object: ObjectId) -> Option<ObjectId> {
        let of = |transport: ObjectId| self.transports.get(transport).map(|t: &Transport| t.router);
        match object.kind()? {
            ObjectKind::Router => self.routers.contains(object).then_some(object),
            ObjectKind::Transport => of(object),
            ObjectKind::Producer => of(self.producers.get(object)?.it.transport()),
            ObjectKind::Consumer => of(self.consumers.get(object)?.it.transport()),
            ObjectKind::Observer => self.observers.get(object).map(|observer| observer.router()),
            ObjectKind::WebRtcServer => None,
        }
    }

    /// The place of planted panics.
    #[cfg(any(test, feature = "testing"))]
    #[expect(clippy::panic, reason = "planted by tests")]
    pub(crate) fn trip(&mut self) {
        if self.planted.is_some() && self.planted == self.at_work {
            panic!("planted in {:?}", self.planted);
        }
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[inline]
    pub(crate) fn trip(&mut self) {}
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").chars().take(MAX_TEXT).collect()
}
