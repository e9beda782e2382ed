//! RTCP out, and the work of timers. What several streams of a transport have to say at one time goes
//! into one datagram: compounds one after the other, up to the size of the buffer.

use std::time::Duration;

use arrayvec::ArrayVec;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::rtcp::Xr;
use sfu_wire::time::Time;

use crate::shard::Shard;
use crate::tap::TapEnd;
use crate::timers::TimerKind;
use crate::transport::Transport;

/// A timer that was just served is not due again before this; so the loop over due timers ends.
const TICK: Duration = Duration::from_micros(100);

/// Compounds that one stream may send at one time; a bound for a loop, not a limit that is met.
const MAX_COMPOUNDS: usize = 16;

/// SSRCs that a bitrate bound names: all that a REMB of reasonable size has room for.
const MAX_BOUND_SSRCS: usize = 31;

impl Shard {
    /// Serves all timers that are due.
    pub(crate) fn run_timers(&mut self, now: Time) {
        let later = now + TICK;
        while let Some(entry) = self.timers.pop(now) {
            let id = entry.object;
            match id.kind() {
                Some(ObjectKind::Transport) => {
                    let Some(transport) = self.transports.get_mut(id) else { continue };
                    let Some(slot) = transport.timer(entry.kind) else { continue };
                    if self.timers.is_due(now, slot, &entry) {
                        self.run_transport_timer(now, id, entry.kind);
                        self.arm_transport(id, later);
                    }
                }
                Some(ObjectKind::Producer) => {
                    let Some(held) = self.producers.get_mut(id) else { continue };
                    if self.timers.is_due(now, &mut held.timer, &entry) {
                        self.due.push((held.it.transport(), id));
                    }
                }
                Some(ObjectKind::Consumer) => {
                    let Some(held) = self.consumers.get_mut(id) else { continue };
                    if self.timers.is_due(now, &mut held.timer, &entry) {
                        self.due.push((held.it.transport(), id));
                    }
                }
                Some(ObjectKind::Observer) => {
                    let Some(observer) = self.observers.get_mut(id) else { continue };
                    if self.timers.is_due(now, &mut observer.timer, &entry) {
                        self.work_for_object(id);
                        self.run_observer(now, id);
                    }
                }
                Some(ObjectKind::Router | ObjectKind::WebRtcServer) | None => {}
            }
        }
        self.run_due_streams(now, later);
    }

    fn run_transport_timer(&mut self, now: Time, id: ObjectId, kind: TimerKind) {
        self.work_for_object(id);
        let Some(transport) = self.transports.get_mut(id) else { return };
        let was = (transport.is_handshaking(), transport.is_connected());
        match kind {
            TimerKind::Ice => {
                let Some((webrtc, link)) = transport.webrtc_mut() else { return };
                webrtc.handle_ice_timeout(now, link, &mut self.lookup, &mut self.out);
            }
            TimerKind::Dtls => {
                let Some((webrtc, link)) = transport.webrtc_mut() else { return };
                webrtc.handle_dtls_timeout(now, link, &mut self.out);
            }
            TimerKind::KeepAlive => {
                let ssrc = transport.feedback.ssrc();
                let Some((pipe, link)) = transport.pipe_mut() else { return };
                pipe.handle_timeout(now, ssrc, link, &mut self.out);
            }
            TimerKind::Tap => self.end_tap(id, TapEnd::TimeReached),
            TimerKind::Feedback | TimerKind::Stream | TimerKind::Observer => {
                let ssrcs: ArrayVec<u32, MAX_BOUND_SSRCS> = transport.listener.ssrcs().take(MAX_BOUND_SSRCS).collect();
                for _ in 0..MAX_COMPOUNDS {
                    let reduced = transport.reduced_size_rtcp;
                    let Some(len) = transport.feedback.poll(now, reduced, &ssrcs, &mut self.rtcp) else { break };
                    let plain = self.rtcp.get(..len).unwrap_or_default();
                    if let Err(reason) = transport.send_rtcp(now, &mut self.out, plain) {
                        self.out.drops.add(reason);
                    }
                }
            }
        }
        self.settle(now, id, was);
    }

    /// Lets the streams whose timers were due speak, those of one transport together.
    fn run_due_streams(&mut self, now: Time, later: Time) {
        let mut due = std::mem::take(&mut self.due);
        due.sort_unstable();
        let mut rest = due.as_slice();
        while let Some((transport, _)) = rest.first() {
            let len = rest.iter().take_while(|(t, _)| t == transport).count();
            let (group, others) = rest.split_at(len);
            self.work_for_object(*transport);
            for (_, stream) in group {
                if stream.kind() == Some(ObjectKind::Consumer) {
                    self.replay(now, *stream);
                } else {
                    self.tell_wishes(now, *stream);
                }
            }
            self.send_rtcp_of(now, *transport, group.iter().map(|(_, stream)| *stream), later);
            rest = others;
        }
        due.clear();
        self.due = due;
    }

    /// Sends what a producer wants its publisher to know now, and sets its timer.
    pub(crate) fn flush_producer(&mut self, now: Time, id: ObjectId) {
        let Some(held) = self.producers.get(id) else { return };
        let transport = held.it.transport();
        self.send_rtcp_of(now, transport, std::iter::once(id), now);
    }

    /// Lets streams of one transport speak and sets their timers. A consumer that has nothing to say
    /// has sent nothing: its timer waits for the next packet, so that silence costs nothing.
    fn send_rtcp_of(
        &mut self,
        now: Time,
        transport: ObjectId,
        streams: impl Iterator<Item = ObjectId>,
        not_before: Time,
    ) {
        if self.transports.get(transport).is_some_and(Transport::is_carrier) {
            return streams.for_each(|mirror| self.flush_mirror(now, mirror, not_before));
        }
        if self.transports.get(transport).is_none_or(|t| !t.is_connected()) {
            // What waits is said when there is a path.
            return;
        }
        let mut fill = 0;
        let mut sender = None;
        for stream in streams {
            let mut silent = stream.kind() == Some(ObjectKind::Consumer);
            for _ in 0..MAX_COMPOUNDS {
                let Some(len) = self.poll_stream(now, stream, fill) else { break };
                silent = false;
                sender = sender.or_else(|| self.consumers.get(stream).map(|held| held.it.ssrc()));
                // A buffer that is more than half full may be too small for the next compound.
                fill += len;
                if fill > self.rtcp.len() / 2 {
                    fill += self.write_dlrr(now, transport, sender.take(), fill);
                    self.send_compound(now, transport, fill);
                    fill = 0;
                }
            }
            self.tell_producer_scores(stream);
            if !silent {
                self.arm_stream(stream, not_before);
            }
        }
        fill += self.write_dlrr(now, transport, sender, fill);
        self.send_compound(now, transport, fill);
    }

    /// The answer to the peer's reference time, behind the sender reports of one datagram; returns
    /// its length. `sender` is one of the streams that report.
    fn write_dlrr(&mut self, now: Time, transport: ObjectId, sender: Option<u32>, at: usize) -> usize {
        let (Some(ssrc), Some(transport)) = (sender, self.transports.get_mut(transport)) else { return 0 };
        let Some(answer) = transport.feedback.take_dlrr(now) else { return 0 };
        let room = self.rtcp.get_mut(at..).unwrap_or_default();
        Xr::write(room, ssrc, None, &[answer]).unwrap_or(0)
    }

    fn send_compound(&mut self, now: Time, transport: ObjectId, len: usize) {
        let Some(transport) = self.transports.get_mut(transport) else { return };
        let plain = self.rtcp.get(..len).unwrap_or_default();
        if plain.is_empty() {
            return;
        }
        if let Err(reason) = transport.send_rtcp(now, &mut self.out, plain) {
            self.out.drops.add(reason);
        }
    }

    /// One compound of a producer or consumer into the buffer from `at` on.
    fn poll_stream(&mut self, now: Time, id: ObjectId, at: usize) -> Option<usize> {
        let ntp = self.ntp(now);
        let buf = self.rtcp.get_mut(at..)?;
        if id.kind() == Some(ObjectKind::Producer) {
            let held = self.producers.get_mut(id)?;
            let len = held.it.poll_rtcp(now, ntp, buf)?;
            if held.watch.any() {
                self.out.traces.requests(now, id, held.watch.traced(), buf.get(..len).unwrap_or_default());
            }
            return Some(len);
        }
        let consumer = &mut self.consumers.get_mut(id)?.it;
        let clock =
            consumer.line().and_then(|(source, encoding)| self.producers.get(source)?.it.source_clock(encoding));
        consumer.poll_rtcp(now, ntp, clock, buf)
    }

    /// Sets the timers of a transport.
    pub(crate) fn arm_transport(&mut self, id: ObjectId, not_before: Time) {
        if let Some(transport) = self.transports.get_mut(id) {
            transport.arm(&mut self.timers, not_before);
        }
    }

    /// Sets the timer of a producer or consumer. A stream whose transport is not connected waits
    /// without one; connecting sets it.
    pub(crate) fn arm_stream(&mut self, id: ObjectId, not_before: Time) {
        if let Some(held) = self.producers.get_mut(id) {
            let carried = held.it.mirrored.is_some();
            let flows = carried || self.transports.get(held.it.transport()).is_some_and(Transport::is_connected);
            let at = held.it.next_timeout().filter(|_| flows).map(|t| t.max(not_before));
            self.timers.arm(&mut held.timer, id, TimerKind::Stream, at);
        } else if let Some(held) = self.consumers.get_mut(id) {
            let flows = self.transports.get(held.it.transport()).is_some_and(Transport::is_connected);
            let at = held.it.next_timeout().filter(|_| flows).map(|t| t.max(not_before));
            self.timers.arm(&mut held.timer, id, TimerKind::Stream, at);
        }
    }
}
