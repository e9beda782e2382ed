//! The way of a media packet from its producer to all consumers, and the resends that they ask for.
//! This is the hot path: after warm-up it allocates nothing. One copy of the plaintext is shared by
//! count; each consumer writes its own header straight into the transmit arena, and the payload is
//! encrypted from the shared packet to behind it.

use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::rtp::RtpView;
use sfu_wire::time::Time;

use crate::link::RtpKind;
use crate::producer::{Ingress, StreamPart};
use crate::rtp_listener::Route;
use crate::shard::{Held, Shard};
use crate::timers::TimerKind;
use crate::watching::last_sent;

impl Shard {
    /// Hands a decrypted packet to its producer and forwards what comes of it.
    pub(crate) fn forward(
        &mut self,
        now: Time,
        arrival: Time,
        route: &Route,
        bytes: &[u8],
        view: &RtpView<'_>,
    ) -> Result<(), DropReason> {
        let id = route.producer;
        let Some(held) = self.producers.get_mut(id) else { return Err(DropReason::RtpUnroutable) };
        let ingress = held.it.handle_rtp(now, arrival, bytes, view);
        let watched = held.watch.any();
        let is_mirror = held.it.mirrored.is_some();
        if let Some(event) = held.it.take_orientation().filter(|_| !is_mirror) {
            self.out.events.push_back(event);
        }
        if held.it.take_choice_changed() {
            self.choose_again(now, id);
            self.tell_state(id);
        }
        if watched {
            self.watch_ingress(now, id, &ingress, view, (bytes, route.part == StreamPart::Rtx));
        }
        self.trip();
        let verdict = ingress.and_then(|ingress| {
            if ingress.primary.is_some() {
                self.fan_out_recovered(now, id, ingress.encoding, bytes);
            }
            self.fan_out(now, id, &ingress, bytes)
        });
        self.flush_producer(now, id);
        verdict
    }

    /// Gives packets that a later one repeats to the consumers that cannot repair their loss themselves.
    #[cold]
    fn fan_out_recovered(&mut self, now: Time, id: ObjectId, encoding: u8, bytes: &[u8]) {
        let Some(held) = self.producers.get_mut(id) else { return };
        for ingress in held.it.take_recovered(encoding) {
            if let Err(reason) = self.fan_out(now, id, &ingress, bytes) {
                self.out.drops.add(reason);
            }
        }
    }

    /// Gives a packet to each consumer of its producer.
    fn fan_out(&mut self, now: Time, id: ObjectId, ingress: &Ingress, bytes: &[u8]) -> Result<(), DropReason> {
        let Some(Held { it: producer, .. }) = self.producers.get_mut(id) else { return Ok(()) };
        if !producer.keeps_packets() {
            return Ok(());
        }
        let shared = self.pool.take(bytes).ok_or(DropReason::TooLarge)?;
        producer.keep(now, ingress, shared.clone());
        let mut wants_key_frame = false;
        if !producer.links.is_empty() {
            let crossed = producer.cross(now, (ingress, &shared), None, &self.pool, &mut self.out.peers);
            self.out.drops.add_many(DropReason::PeerQueueFull, crossed.shed);
            wants_key_frame = crossed.wants_key_frame;
        }
        for consumer in &producer.consumers {
            let Some(held) = self.consumers.get_mut(*consumer) else { continue };
            if !held.it.follows(id, ingress.encoding)
                || held.it.is_replaying(id, ingress.encoding, ingress.position)
                || ingress.recovered && held.it.speaks_red()
            {
                continue;
            }
            let Some(transport) = self.transports.get_mut(held.it.transport()) else { continue };
            let mut number = transport.next_transport_seq;
            let sent_before = self.out.outbox.transmits().len();
            let kind = RtpKind::media(held.it.is_video());
            let sent = transport.send_rtp(now, kind, self.limits.datagram_bytes, &mut self.out, |slot| {
                held.it.forward(now, producer, ingress, &shared, slot, &mut number)
            });
            match sent {
                Ok(()) => {
                    transport.next_transport_seq = number;
                    wants_key_frame |= held.it.wants_key_frame_of_layer();
                    if held.watch.any() && self.out.outbox.transmits().len() > sent_before {
                        let key_frame = ingress.key_frame && ingress.codec.is_video();
                        let packet = last_sent(&self.out.outbox, key_frame, false);
                        self.out.traces.sent(now, held.it.id(), held.watch.traced(), packet);
                    }
                    // A stream that had fallen silent has something to report again.
                    if held.timer.deadline().is_none() {
                        let at = held.it.next_timeout().map(|t| t.max(now));
                        self.timers.arm(&mut held.timer, *consumer, TimerKind::Stream, at);
                    }
                }
                Err(reason) => {
                    wants_key_frame |= reason == DropReason::AwaitingKeyFrame;
                    self.out.drops.add(reason);
                    transport.drops.add(reason);
                    let packet = (held.it.ssrc(), ingress.position as u16);
                    transport.decisions.note_drop(now, held.it.id(), reason, packet, 1);
                    if held.watch.keeps_decisions() {
                        held.it.decisions_mut().note_drop(now, *consumer, reason, packet, 1);
                    }
                }
            }
            if held.it.has_news() {
                self.news.push(*consumer);
            }
        }
        if wants_key_frame {
            producer.request_key_frame(now, ingress.encoding);
        }
        self.settle_news(now);
        Ok(())
    }

    /// Hands a decrypted FlexFEC packet to its producer; each consumer that speaks FlexFEC gets one over what it was sent.
    #[cold]
    pub(crate) fn forward_repair(
        &mut self,
        now: Time,
        route: &Route,
        bytes: &[u8],
        view: &RtpView<'_>,
    ) -> Result<(), DropReason> {
        let id = route.producer;
        let Some(Held { it: producer, .. }) = self.producers.get_mut(id) else { return Err(DropReason::RtpUnroutable) };
        let repair = producer.handle_repair(route.encoding as u8, bytes, view)?;
        if !producer.links.is_empty() {
            let shared = self.pool.take(bytes).ok_or(DropReason::TooLarge)?;
            let shed = producer.cross_repair(now, repair.encoding, &shared, &mut self.out.peers);
            self.out.drops.add_many(DropReason::PeerQueueFull, shed);
        }
        for consumer in &producer.consumers {
            let Some(held) = self.consumers.get_mut(*consumer) else { continue };
            if held.it.ssrcs().fec_ssrc.is_none() || !held.it.follows(id, repair.encoding) {
                continue;
            }
            let Some(transport) = self.transports.get_mut(held.it.transport()) else { continue };
            let mut number = transport.next_transport_seq;
            let sent_before = self.out.outbox.transmits().len();
            let sent = transport.send_rtp(now, RtpKind::Video, self.limits.datagram_bytes, &mut self.out, |slot| {
                held.it.forward_flexfec(now, producer, &repair, slot, &mut number).ok_or(DropReason::RtpFec)
            });
            match sent {
                Ok(()) => {
                    transport.next_transport_seq = number;
                    if held.watch.any() && self.out.outbox.transmits().len() > sent_before {
                        let packet = last_sent(&self.out.outbox, false, false);
                        self.out.traces.sent(now, held.it.id(), held.watch.traced(), packet);
                    }
                }
                Err(reason) => {
                    self.out.drops.add(reason);
                    transport.drops.add(reason);
                }
            }
        }
        Ok(())
    }

    /// Sends what a consumer was asked to send again.
    pub(crate) fn resend(&mut self, now: Time, id: ObjectId) {
        let Some(held) = self.consumers.get_mut(id) else { return };
        let Some(transport) = self.transports.get_mut(held.it.transport()) else { return };
        let max_len = self.limits.datagram_bytes;
        let producers = |id| self.producers.get(id).map(|p| &p.it);
        // Bounded: each round takes one request off the consumer's bounded list.
        while held.it.has_resends() {
            let mut number = transport.next_transport_seq;
            let sent_before = self.out.outbox.transmits().len();
            let sent = transport.send_rtp(now, RtpKind::Rtx, max_len, &mut self.out, |slot| {
                Ok(held.it.poll_resend(now, producers, slot, &mut number).unwrap_or_default())
            });
            match sent {
                Ok(()) => {
                    transport.next_transport_seq = number;
                    if held.watch.any() && self.out.outbox.transmits().len() > sent_before {
                        let packet = last_sent(&self.out.outbox, false, true);
                        self.out.traces.sent(now, held.it.id(), held.watch.traced(), packet);
                    }
                }
                Err(reason) => {
                    self.out.drops.add(reason);
                    transport.drops.add(reason);
                    transport.decisions.note_drop(now, id, reason, (held.it.rtx_ssrc().unwrap_or(0), 0), 1);
                    return;
                }
            }
        }
    }
}
