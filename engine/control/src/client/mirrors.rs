//! What follows what over pipes: when one end pauses, resumes or closes, its counterpart does, in this engine or another.
//!
//! Told: events as they pass, and closings that the program asks for. Tells: requests to the counterpart's engine, whose
//! answers nobody waits for: what is gone already may be. An engine that is busy gets them when it has answered others.
//! Limits: two entries for each piped producer and for each pair of transports, which go with them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use sfu_core::command::ErrorCode;

use super::call::lock;
use super::pipes::Pair;
use super::{Event, Id, Inner};
use crate::encode;
use crate::schema as fb;

/// What has become of one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Paused,
    Resumed,
    Closed,
}

/// The counterpart of an object.
#[derive(Clone)]
pub(super) struct Counterpart {
    pub(super) engine: Weak<Inner>,
    pub(super) object: Id,
    /// Pausing is passed on, not just closing.
    pub(super) pauses: bool,
    /// The pair to which the object belongs, which forgets it when it closes.
    pub(super) pair: Weak<Pair>,
    /// Of a producer that stands for another: that one's router, and itself.
    pub(super) origin: Option<(Id, Id)>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mirrors {
    counterparts: Mutex<HashMap<Id, Counterpart>>,
    /// Requests that the engine had no room for.
    debts: Mutex<VecDeque<(Id, Change)>>,
}

impl Inner {
    /// From now on `counterpart` follows `object`.
    pub(super) fn follow(&self, object: Id, counterpart: Counterpart) {
        lock(&self.mirrors.counterparts).insert(object, counterpart);
    }

    /// What a producer stands for, if it does: engine, router and producer.
    pub(super) fn origin_of(&self, producer: Id) -> Option<(Arc<Inner>, Id, Id)> {
        let counterparts = lock(&self.mirrors.counterparts);
        let counterpart = counterparts.get(&producer)?;
        let (router, origin) = counterpart.origin?;
        Some((counterpart.engine.upgrade()?, router, origin))
    }

    /// Nothing follows `object` any more. False if nothing did.
    pub(super) fn unfollow(&self, object: Id) -> bool {
        lock(&self.mirrors.counterparts).remove(&object).is_some()
    }

    /// Passes on what an event says.
    pub(super) fn mirror_event(&self, event: &Event) {
        match event {
            Event::ProducerPaused { consumer } => self.mirror(*consumer, Change::Paused),
            Event::ProducerResumed { consumer } => self.mirror(*consumer, Change::Resumed),
            Event::Closed { object, .. } => self.mirror(*object, Change::Closed),
            _ => {}
        }
    }

    /// Passes on what has become of an object.
    pub(super) fn mirror(&self, object: Id, change: Change) {
        let counterpart = {
            let mut counterparts = lock(&self.mirrors.counterparts);
            match change {
                Change::Closed => counterparts.remove(&object),
                _ => counterparts.get(&object).filter(|c| c.pauses).cloned(),
            }
        };
        let Some(counterpart) = counterpart else { return };
        if change == Change::Closed
            && let Some(pair) = counterpart.pair.upgrade()
        {
            pair.forget(object);
        }
        let Some(engine) = counterpart.engine.upgrade() else { return };
        if change == Change::Closed && !engine.unfollow(counterpart.object) {
            // It went first.
            return;
        }
        engine.demand(counterpart.object, change);
    }

    /// Asks the engine for a change, sooner or later.
    fn demand(&self, object: Id, change: Change) {
        let mut debts = lock(&self.mirrors.debts);
        debts.push_back((object, change));
        self.pay(&mut debts);
    }

    /// Asks again for what the engine had no room for.
    pub(super) fn pay_debts(&self) {
        let mut debts = lock(&self.mirrors.debts);
        self.pay(&mut debts);
    }

    fn pay(&self, debts: &mut VecDeque<(Id, Change)>) {
        while let Some((object, change)) = debts.front().copied() {
            let body = match change {
                Change::Paused => fb::RequestBodyT::Pause(Box::default()),
                Change::Resumed => fb::RequestBodyT::Resume(Box::default()),
                Change::Closed => fb::RequestBodyT::Close(Box::default()),
            };
            let id = self.next_request.fetch_add(1, Ordering::Relaxed);
            match self.engine.submit(&encode::request(id, object, body)) {
                // Its answers wake the pump, which asks again.
                Err(error) if error.code == ErrorCode::Busy => return,
                Ok(()) | Err(_) => debts.pop_front(),
            };
        }
    }
}

#[cfg(test)]
impl super::Client {
    /// Entries that a leak would show in.
    pub(crate) fn mirrored(&self) -> usize {
        let mirrors = &self.guard.inner.mirrors;
        lock(&mirrors.counterparts).len() + lock(&mirrors.debts).len()
    }
}

/// Two transports that close together.
pub(super) fn join_transports(first: (&Arc<Inner>, Id), second: (&Arc<Inner>, Id), pair: &Weak<Pair>) {
    let counterpart = |(engine, object): (&Arc<Inner>, Id)| Counterpart {
        engine: Arc::downgrade(engine),
        object,
        pauses: false,
        pair: Weak::clone(pair),
        origin: None,
    };
    first.0.follow(first.1, counterpart(second));
    second.0.follow(second.1, counterpart(first));
}

/// A consumer and the producer that it feeds. They close together, and the producer pauses with the consumer's one.
pub(super) fn join_media(
    consumer: (&Arc<Inner>, Id),
    producer: (&Arc<Inner>, Id),
    origin: (Id, Id),
    pair: &Weak<Pair>,
) {
    let counterpart = |(engine, object): (&Arc<Inner>, Id), pauses, origin| Counterpart {
        engine: Arc::downgrade(engine),
        object,
        pauses,
        pair: Weak::clone(pair),
        origin,
    };
    producer.0.follow(producer.1, counterpart(consumer, false, Some(origin)));
    consumer.0.follow(consumer.1, counterpart(producer, true, None));
}
