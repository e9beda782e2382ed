//! Closing: the order in which the tree comes down.
//!
//! The object that a command names goes with a reply; everything else that goes with it gets an event
//! with the reason, children before their parent's siblings:
//!
//! | closed | takes along | reason |
//! |---|---|---|
//! | router | its observers, its transports and what is on them | router closed |
//! | WebRTC server | its transports and what is on them | server closed |
//! | transport | its producers and consumers | transport closed |
//! | producer | its consumers, on any transport | producer closed |
//! | consumer, observer | nothing | |
//!
//! What is on other shards is closed there, and told there, with the same reasons ([`crate::peer`]); what a shard
//! tells is in this order, and what two shards tell is in none.
//!
//! Each object is removed from its table first, so that nothing below can find it any more; its id is
//! never found again. What goes along with a router or a server is told one event each, for
//! grandchildren too: the floors above keep records for each id.

use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::time::Time;

use crate::command::{BoundSocket, CloseReason, CommandError, Event, ReleaseSocket, Reply};
use crate::decision::LayerCause;
use crate::shard::Shard;
use crate::tap::TapEnd;

impl Shard {
    pub(crate) fn close(&mut self, now: Time, id: ObjectId) -> Result<Reply, CommandError> {
        let closed = match id.kind() {
            Some(ObjectKind::Router) => self.close_router(now, id),
            Some(ObjectKind::WebRtcServer) => self.close_server(now, id),
            Some(ObjectKind::Transport) => self.close_transport(now, id),
            Some(ObjectKind::Producer) => self.close_producer(now, id),
            Some(ObjectKind::Consumer) => self.close_consumer(now, id),
            Some(ObjectKind::Observer) => self.close_observer(id),
            None => None,
        };
        closed.map(|()| Reply::Done).ok_or_else(|| CommandError::not_found("target", id))
    }

    /// Closes transports until the outbox is nearly full; says whether any are left.
    pub(crate) fn close_all(&mut self, now: Time) -> bool {
        let all: Vec<ObjectId> = self.transports.iter().map(|(id, _)| id).collect();
        for id in all {
            if self.out.outbox.is_nearly_full() {
                return true;
            }
            // Only transports are taken along by nobody here, so each is still there.
            let _ = self.close_transport(now, id);
            self.out.events.clear();
        }
        false
    }

    fn close_router(&mut self, now: Time, id: ObjectId) -> Option<()> {
        self.close_router_for(now, id, CloseReason::RouterClosed)
    }

    /// Closes a router and tells what goes along why.
    pub(crate) fn close_router_for(&mut self, now: Time, id: ObjectId, reason: CloseReason) -> Option<()> {
        let mut router = self.routers.remove(id)?;
        for observer in std::mem::take(&mut router.observers) {
            if self.close_observer(observer).is_some() {
                self.tell_closed(observer, reason);
            }
        }
        let transports = std::mem::take(&mut router.transports);
        self.close_transports(now, transports, reason);
        self.leave_span(now, id, &router, reason);
        Some(())
    }

    fn close_server(&mut self, now: Time, id: ObjectId) -> Option<()> {
        let server = self.servers.remove(id)?;
        self.close_transports(now, server.transports, CloseReason::ServerClosed);
        server.sockets.iter().for_each(|s| self.lookup.release_socket(s.socket));
        self.release(&server.sockets);
        Some(())
    }

    fn close_transports(&mut self, now: Time, transports: Vec<ObjectId>, reason: CloseReason) {
        for transport in transports {
            if self.close_transport(now, transport).is_some() {
                self.tell_closed(transport, reason);
            }
        }
    }

    pub(crate) fn close_transport(&mut self, now: Time, id: ObjectId) -> Option<()> {
        // Consumers first, while the transport can still say good-bye for them.
        let (consumers, producers) = {
            let transport = self.transports.get_mut(id)?;
            (std::mem::take(&mut transport.consumers), std::mem::take(&mut transport.producers))
        };
        for consumer in consumers {
            if self.close_consumer(now, consumer).is_some() {
                self.tell_closed(consumer, CloseReason::TransportClosed);
            }
        }
        for producer in producers {
            if self.close_producer(now, producer).is_some() {
                self.tell_closed(producer, CloseReason::TransportClosed);
            }
        }
        let mut transport = self.transports.remove(id)?;
        if transport.is_handshaking() {
            self.handshakes = self.handshakes.saturating_sub(1);
        }
        transport.close(now, &mut self.out);
        let tap = transport.link.tap.take();
        self.out.events.extend(tap.map(|tap| tap.closed(TapEnd::TransportClosed)));
        transport.release(&mut self.lookup, &mut self.out);
        self.span.carriers -= usize::from(transport.is_carrier());
        if let Some(router) = self.routers.get_mut(transport.router) {
            router.transports.retain(|t| *t != id);
            router.carrier = router.carrier.filter(|carrier| *carrier != id);
        }
        match transport.server() {
            Some(server) => {
                if let Some(server) = self.servers.get_mut(server) {
                    server.transports.retain(|t| *t != id);
                }
            }
            None => self.release(transport.sockets()),
        }
        self.drop_idle_branch(transport.router);
        Some(())
    }

    pub(crate) fn close_producer(&mut self, now: Time, id: ObjectId) -> Option<()> {
        let producer = self.producers.remove(id)?.it;
        self.forget_observed(id);
        if let Some(transport) = self.transports.get_mut(producer.transport()) {
            transport.remove_producer(id, producer.config(), producer.rtcp_ssrc());
        }
        for consumer in &producer.consumers {
            if self.outlives(now, *consumer, id) {
                continue;
            }
            if self.close_consumer(now, *consumer).is_some() {
                self.tell_closed(*consumer, CloseReason::ProducerClosed);
            }
        }
        self.leave_mirrors(&producer);
        Some(())
    }

    /// A consumer that is between two producers goes on with the other one.
    fn outlives(&mut self, now: Time, id: ObjectId, closed: ObjectId) -> bool {
        let Some(held) = self.consumers.get_mut(id) else { return false };
        let Some(pending) = held.it.pending_source() else { return false };
        if pending == closed {
            held.it.cancel_switch();
            return true;
        }
        held.it.force_switch();
        self.settle_consumer(now, id);
        self.choose(now, id, LayerCause::Source);
        true
    }

    pub(crate) fn close_consumer(&mut self, now: Time, id: ObjectId) -> Option<()> {
        let consumer = self.consumers.remove(id)?.it;
        for producer in [Some(consumer.producer()), consumer.pending_source()].into_iter().flatten() {
            if let Some(producer) = self.producers.get_mut(producer) {
                producer.it.consumers.retain(|c| *c != id);
            }
            self.tell_wanted(now, producer);
        }
        if let Some(transport) = self.transports.get_mut(consumer.transport()) {
            if let Some(bye) = consumer.write_bye(&mut self.rtcp).and_then(|len| self.rtcp.get(..len)) {
                // A stream that never flowed needs no farewell, and a full outbox has other worries.
                let _ = transport.send_rtcp(now, &mut self.out, bye);
            }
            transport.remove_consumer(id, consumer.ssrcs());
        }
        for lane in consumer.other_lanes() {
            self.close_consumer(now, *lane);
        }
        Some(())
    }

    fn tell_closed(&mut self, object: ObjectId, reason: CloseReason) {
        self.out.events.push_back(Event::Closed { object, reason });
    }

    fn release(&mut self, sockets: &[BoundSocket]) {
        self.releases.extend(sockets.iter().map(|s| ReleaseSocket(s.socket)));
    }
}
