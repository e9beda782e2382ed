//! What other shards say and want, and the links that carry packets of producers to them.
//!
//! Told: messages of other shards, by the floor above. Tells: packets, and how the producers are. Messages are believed
//! as far as the ids in them are the sender's: anything else is a bug of ours, and counted.

use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::MediaKind;
use sfu_wire::rtcp::SenderReport;
use sfu_wire::time::Time;

use crate::peer::PeerMessage;
use crate::producer::{PeerLink, StreamPart, Wanted};
use crate::shard::Shard;

impl Shard {
    pub(crate) fn take_peer(&mut self, now: Time, from: u8, message: &PeerMessage, bytes: &[u8]) {
        let verdict = match message {
            PeerMessage::Join { producer, mirror, .. }
            | PeerMessage::Leave { producer, mirror }
            | PeerMessage::Want { producer, mirror, .. }
            | PeerMessage::KeyFrame { producer, mirror, .. }
            | PeerMessage::Nack { producer, mirror, .. } => {
                let is_sound = mirror.shard() == from && mirror.kind() == Some(ObjectKind::Producer);
                if is_sound {
                    self.take_from_mirror(now, *producer, *mirror, message)
                } else {
                    Err(DropReason::PeerUnknown)
                }
            }
            PeerMessage::Packet { producer, mirror, .. }
            | PeerMessage::Report { producer, mirror, .. }
            | PeerMessage::State { producer, mirror, .. }
            | PeerMessage::Gone { producer, mirror } => {
                let is_sound = producer.shard() == from && producer.kind() == Some(ObjectKind::Producer);
                if is_sound {
                    self.take_from_origin(now, *producer, *mirror, message, bytes)
                } else {
                    Err(DropReason::PeerUnknown)
                }
            }
            PeerMessage::Attach { room, branch } if branch.shard() == from => {
                self.take_attach(*room, *branch);
                Ok(())
            }
            PeerMessage::Detach { room, branch } if branch.shard() == from => {
                self.take_detach(*room, *branch);
                Ok(())
            }
            PeerMessage::Attached { room, branch } if room.shard() == from => {
                self.take_attached(*room, *branch);
                Ok(())
            }
            PeerMessage::RoomFailed { room } => {
                self.take_room_failed(now, *room);
                Ok(())
            }
            PeerMessage::RoomGone { room, branch, reason } if room.shard() == from => {
                self.take_room_gone(now, *room, *branch, *reason);
                Ok(())
            }
            PeerMessage::Attach { .. }
            | PeerMessage::Attached { .. }
            | PeerMessage::Detach { .. }
            | PeerMessage::RoomGone { .. } => Err(DropReason::PeerUnknown),
        };
        if let Err(reason) = verdict {
            self.out.drops.add(reason);
        }
    }

    /// Whoever mirrors a producer says something.
    fn take_from_mirror(
        &mut self,
        now: Time,
        producer: ObjectId,
        mirror: ObjectId,
        message: &PeerMessage,
    ) -> Result<(), DropReason> {
        self.work_for_object(producer);
        if let PeerMessage::Join { room, .. } = message {
            self.take_join(producer, mirror, *room);
            return Ok(());
        }
        let held = self.producers.get_mut(producer).ok_or(DropReason::PeerUnknown)?;
        if !held.it.links.iter().any(|link| link.mirror == mirror) {
            return Err(DropReason::PeerUnknown);
        }
        match message {
            PeerMessage::Leave { .. } => {
                held.it.links.retain(|link| link.mirror != mirror);
                self.tell_wanted(now, producer);
            }
            PeerMessage::Want { encodings, layers, within, .. } => {
                let wanted = Wanted { encodings: *encodings, layers: *layers, within: *within };
                self.take_want(now, producer, mirror, wanted);
            }
            PeerMessage::KeyFrame { encoding, .. } => {
                // What is not sent there yet begins with a key frame, once it is wanted there.
                let is_sent = |link: &PeerLink| link.mirror == mirror && link.encodings & 1 << encoding != 0;
                if held.it.links.iter().any(is_sent) {
                    self.want_key_frame(now, producer, *encoding);
                }
            }
            PeerMessage::Nack { encoding, sequences, .. } if !self.out.peers.is_busy(mirror.shard()) => {
                let positions = held.it.positions(mirror, *encoding, sequences).into_iter();
                let again = (*encoding, positions);
                let shed = held.it.cross_again(now, mirror, again, &self.pool, &mut self.out.peers);
                self.out.drops.add_many(DropReason::PeerQueueFull, shed);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_join(&mut self, producer: ObjectId, mirror: ObjectId, room: ObjectId) {
        let here = self.router_of(producer).map(|router| self.room_of(router));
        match self.producers.get_mut(producer).filter(|held| held.it.origin().is_none() && here == Some(room)) {
            Some(held) => {
                // One for each shard: a mirror that was there before is gone.
                held.it.links.retain(|link| link.mirror.shard() != mirror.shard());
                held.it.links.push(PeerLink::new(mirror));
                self.tell_state(producer);
            }
            None => self.out.peers.push(PeerMessage::Gone { mirror, producer }),
        }
    }

    /// Begins to send what was not wanted before: from a key frame that is kept, else with one that is asked for.
    fn take_want(&mut self, now: Time, id: ObjectId, mirror: ObjectId, wanted: Wanted) {
        let Some(held) = self.producers.get_mut(id) else { return };
        let Some(link) = held.it.links.iter_mut().find(|link| link.mirror == mirror) else { return };
        let begun = wanted.encodings & !link.encodings;
        link.fresh = (link.fresh | begun) & wanted.encodings;
        (link.encodings, link.layers, link.within) = (wanted.encodings, wanted.layers, wanted.within);
        held.it.aim_links();
        let video = held.it.kind() == MediaKind::Video;
        let count = held.it.encoding_count();
        for encoding in (0..count).filter(|e| video && begun & 1 << e != 0) {
            let Some(held) = self.producers.get_mut(id) else { return };
            let Some(first) = held.it.cached_start(now, encoding) else {
                self.want_key_frame(now, id, encoding);
                continue;
            };
            let newest = held.it.newest(encoding).unwrap_or(first);
            let run = (encoding, first..=newest);
            let shed = held.it.cross_again(now, mirror, run, &self.pool, &mut self.out.peers);
            self.out.drops.add_many(DropReason::PeerQueueFull, shed);
        }
        self.tell_wanted(now, id);
    }

    /// The origin of a mirror says something.
    fn take_from_origin(
        &mut self,
        now: Time,
        producer: ObjectId,
        mirror: ObjectId,
        message: &PeerMessage,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        if self.span.mirrors.get(&producer) != Some(&mirror) {
            // It has not heard yet, or never will, that the mirror is gone.
            if matches!(message, PeerMessage::State { .. }) {
                self.out.peers.push(PeerMessage::Leave { producer, mirror });
            }
            return Err(DropReason::PeerUnknown);
        }
        match message {
            PeerMessage::Packet { encoding, fresh, at, sifted, .. } => {
                return self.take_peer_packet(now, mirror, (*encoding, *fresh, *sifted), *at, bytes);
            }
            PeerMessage::Report { encoding, at, report, .. } => self.take_peer_report(*at, mirror, *encoding, report),
            PeerMessage::State { paused, active, scores, highest, .. } => {
                self.take_state(now, mirror, (*paused, *active, highest), scores);
            }
            _ => {
                self.work_for_object(mirror);
                // It is there: it was found by its origin.
                let _ = self.close_producer(now, mirror);
            }
        }
        Ok(())
    }

    /// Tells all mirrors of a producer how it is.
    pub(crate) fn tell_state(&mut self, id: ObjectId) {
        let Some(held) = self.producers.get_mut(id).filter(|held| !held.it.links.is_empty()) else { return };
        held.it.aim_links();
        let (paused, active) = (held.it.is_paused(), held.it.active_encodings());
        let highest = held.it.highest_of_all();
        for link in &held.it.links {
            let (mirror, scores) = (link.mirror, held.it.scores().collect());
            let highest = highest.clone();
            self.out.peers.push(PeerMessage::State { mirror, producer: id, paused, active, scores, highest });
        }
    }

    /// Passes a publisher's sender report on to where its packets go.
    pub(crate) fn cross_report(&mut self, now: Time, id: ObjectId, report: &SenderReport) {
        let Some(held) = self.producers.get(id).filter(|held| !held.it.links.is_empty()) else { return };
        let slots = held.it.ssrcs().find(|(ssrc, slot)| *ssrc == report.ssrc && slot.part == StreamPart::Media);
        let Some((_, slot)) = slots else { return };
        for link in held.it.links.iter().filter(|link| link.encodings & 1 << slot.encoding != 0) {
            let (mirror, encoding) = (link.mirror, slot.encoding);
            self.out.peers.push(PeerMessage::Report { mirror, producer: id, encoding, at: now, report: *report });
        }
    }
}
