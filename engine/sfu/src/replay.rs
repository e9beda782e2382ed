//! A consumer that begins in the past: it is sent what its producer keeps, from a key frame on, until it has
//! caught up with what comes.
//!
//! Told: consumers that have a position to begin from. Tells: packets, a bounded number at a time, so that
//! many who join at once do not fill the transmit arena; the rest follows by timer.

use std::time::Duration;

use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

use crate::link::RtpKind;
use crate::shard::Shard;
use crate::timers::TimerKind;

/// Packets of one consumer at one time, and the distance of such times: some 75 Mbit/s.
const BURST: usize = 32;
const DISTANCE: Duration = Duration::from_millis(4);

impl Shard {
    /// Sends a consumer what is its turn to get of what its producer keeps.
    pub(crate) fn replay(&mut self, now: Time, id: ObjectId) {
        let mut due = None;
        let mut wants_key_frame = None;
        let Some(held) = self.consumers.get_mut(id) else { return };
        let Some(mut position) = held.it.replay_position() else { return };
        // Before its stretch begins, what is wanted is what is begun with.
        let source = held.it.replay_source();
        let Some(producer) = self.producers.get(source.0) else { return held.it.set_replay(None, None) };
        let Some(transport) = self.transports.get_mut(held.it.transport()) else { return };
        let newest = producer.it.newest(source.1).unwrap_or(0);
        let mut sent = 0;
        let mut next = Some(position);
        while position <= newest {
            if sent >= BURST || self.out.outbox.is_nearly_full() {
                due = Some(now + DISTANCE);
                break;
            }
            next = Some(position + 1);
            if let Some(entry) = producer.it.recall(now, source.1, position) {
                let mut meta = entry.meta.clone();
                if meta.undecided {
                    producer.it.look_again(&mut meta, &entry.packet);
                }
                let mut number = transport.next_transport_seq;
                let max_len = self.limits.datagram_bytes;
                let kind = RtpKind::media(held.it.is_video());
                let written = transport.send_rtp(now, kind, max_len, &mut self.out, |slot| {
                    held.it.forward(now, &producer.it, &meta, &entry.packet, slot, &mut number)
                });
                match written {
                    Ok(()) => {
                        transport.next_transport_seq = number;
                        sent += 1;
                    }
                    Err(reason @ (DropReason::NotConnected | DropReason::ConsumerPaused)) => {
                        self.out.drops.add(reason);
                        next = None;
                        break;
                    }
                    Err(DropReason::AwaitingKeyFrame) => {
                        wants_key_frame = Some(source);
                        next = None;
                        break;
                    }
                    Err(reason) => {
                        self.out.drops.add(reason);
                        transport.drops.add(reason);
                    }
                }
            }
            position += 1;
        }
        held.it.set_replay(next.filter(|next| *next <= newest), due);
        let at = held.it.next_timeout().map(|t| t.max(now));
        self.timers.arm(&mut held.timer, id, TimerKind::Stream, at);
        let has_news = held.it.has_news();
        if let Some((producer, encoding)) = wants_key_frame {
            self.want_key_frame(now, producer, encoding);
        }
        if has_news {
            self.settle_consumer(now, id);
        }
    }

    /// Asks a publisher for a key frame of an encoding.
    pub(crate) fn want_key_frame(&mut self, now: Time, producer: ObjectId, encoding: u8) {
        if let Some(held) = self.producers.get_mut(producer) {
            held.it.request_key_frame(now, encoding);
        }
        self.flush_producer(now, producer);
    }
}
