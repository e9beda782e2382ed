//! A transport: one peer's link with the streams that use it. What all kinds have in common is here;
//! what makes a kind is in the file of its name.
//!
//! Told: producers and consumers as they come and go, plaintext to send. Tells: protected datagrams,
//! counters. The kinds are a closed set, and an enum. Limits: streams by [`RtpListener`], the rest by the kinds.
//! Left out: the choice of packets, which is the producers' and consumers'.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use sfu_proto::srtp::Plain;
use sfu_wire::drop_reason::{DropCounters, DropReason};
use sfu_wire::id::ObjectId;
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::rate::RateMeter;
use sfu_wire::time::Time;

use crate::command::{BoundSocket, DtlsState, IceState};
use crate::decision::DecisionLog;
use crate::feedback::Feedback;
use crate::link::{Link, RtpKind};
use crate::lookup::Lookup;
use crate::pipe_transport::PipeTransport;
use crate::plain_transport::PlainTransport;
use crate::rtp_listener::RtpListener;
use crate::shard::Out;
use crate::stats::{TransportStats, TupleAddrs};
use crate::timers::{Slot, TimerKind, Timers};
use crate::webrtc_transport::WebRtcTransport;

/// What makes one kind of transport differ from the others.
#[derive(Debug)]
pub(crate) enum Kind {
    /// ICE, DTLS and SRTP.
    WebRtc(Box<WebRtcTransport>),
    /// RTP and RTCP as they are, or SRTP with signalled keys.
    Plain(Box<PlainTransport>),
    /// Another router.
    Pipe(Box<PipeTransport>),
    /// The application.
    Direct,
    /// Nobody: mirrors need a transport, and have no publisher.
    Carrier,
}

/// What every transport is made of, besides its kind.
pub(crate) struct TransportParts {
    pub(crate) id: ObjectId,
    pub(crate) router: ObjectId,
    pub(crate) hash_seed: u64,
    pub(crate) max_learned_ssrcs: usize,
    pub(crate) feedback: Feedback,
}

/// One transport of a router.
#[derive(Debug)]
pub struct Transport {
    pub(crate) id: ObjectId,
    pub(crate) router: ObjectId,
    pub(crate) link: Link,
    pub(crate) next_transport_seq: u16,
    /// RTCP without a leading report was negotiated by one of the streams (RFC 5506).
    pub(crate) reduced_size_rtcp: bool,
    pub(crate) listener: RtpListener,
    pub(crate) producers: Vec<ObjectId>,
    pub(crate) consumers: Vec<ObjectId>,
    /// Consumers by the SSRCs that they send.
    pub(crate) by_ssrc: HashMap<u32, ObjectId, FixedState>,
    pub(crate) feedback: Feedback,
    pub(crate) feedback_timer: Slot,
    pub(crate) drops: DropCounters,
    /// Why packets were not taken or not sent, while somebody asks.
    pub(crate) decisions: DecisionLog,
    pub(crate) kind: Kind,
}

impl Transport {
    /// Makes a transport without streams.
    pub(crate) fn new(parts: TransportParts, kind: Kind) -> Self {
        Self {
            id: parts.id,
            router: parts.router,
            link: Link::default(),
            next_transport_seq: 0,
            reduced_size_rtcp: false,
            listener: RtpListener::new(parts.hash_seed, parts.max_learned_ssrcs),
            producers: Vec::new(),
            consumers: Vec::new(),
            by_ssrc: HashMap::with_hasher(FixedState::with_seed(parts.hash_seed)),
            feedback: parts.feedback,
            feedback_timer: Slot::default(),
            drops: DropCounters::default(),
            decisions: DecisionLog::default(),
            kind,
        }
    }

    /// The kind's own state and the link that it steers, if this is a WebRTC transport.
    pub(crate) fn webrtc_mut(&mut self) -> Option<(&mut WebRtcTransport, &mut Link)> {
        match &mut self.kind {
            Kind::WebRtc(webrtc) => Some((webrtc, &mut self.link)),
            _ => None,
        }
    }

    /// The kind's own state, if this is a WebRTC transport.
    pub(crate) fn webrtc(&self) -> Option<&WebRtcTransport> {
        match &self.kind {
            Kind::WebRtc(webrtc) => Some(webrtc),
            _ => None,
        }
    }

    /// Sends one RTP packet: `write` gives the plaintext, or its beginning and where the rest is.
    pub(crate) fn send_rtp<'p>(
        &mut self,
        now: Time,
        kind: RtpKind,
        max_len: usize,
        out: &mut Out,
        write: impl FnOnce(&mut [u8]) -> Result<Plain<'p>, DropReason>,
    ) -> Result<(), DropReason> {
        self.link.send_rtp(now, kind, max_len, out, write)
    }

    /// Sends one RTCP compound.
    pub(crate) fn send_rtcp(&mut self, now: Time, out: &mut Out, plain: &[u8]) -> Result<(), DropReason> {
        self.link.send_rtcp(now, out, plain)
    }

    /// Says good-bye to the peer. The transport is of no use afterwards.
    pub(crate) fn close(&mut self, now: Time, out: &mut Out) {
        match &mut self.kind {
            Kind::WebRtc(webrtc) => webrtc.close(now, &mut self.link, out),
            Kind::Plain(_) | Kind::Pipe(_) | Kind::Direct | Kind::Carrier => self.link.disconnect(),
        }
    }

    /// Gives back what leads here.
    pub(crate) fn release(&self, lookup: &mut Lookup, out: &mut Out) {
        match &self.kind {
            Kind::WebRtc(webrtc) => webrtc.release(lookup, out),
            Kind::Plain(plain) => plain.release(lookup),
            Kind::Pipe(pipe) => pipe.release(lookup),
            Kind::Direct | Kind::Carrier => {}
        }
    }

    /// Sets the timers to what the parts want. `not_before` keeps a part that wants the past from
    /// turning the loop for ever.
    pub(crate) fn arm(&mut self, timers: &mut Timers, not_before: Time) {
        match &mut self.kind {
            Kind::WebRtc(webrtc) => webrtc.arm(timers, not_before),
            Kind::Pipe(pipe) => pipe.arm(timers, not_before),
            Kind::Plain(_) | Kind::Direct | Kind::Carrier => {}
        }
        self.arm_feedback(timers, not_before);
    }

    /// Sets the timer of transport-wide feedback alone.
    pub(crate) fn arm_feedback(&mut self, timers: &mut Timers, not_before: Time) {
        let at = if self.is_connected() { self.feedback.next_timeout() } else { None };
        timers.arm(&mut self.feedback_timer, self.id, TimerKind::Feedback, at.map(|t| t.max(not_before)));
    }

    /// The state of one of the timers, if this kind has it.
    pub(crate) fn timer(&mut self, kind: TimerKind) -> Option<&mut Slot> {
        match (kind, &mut self.kind) {
            (TimerKind::Ice, Kind::WebRtc(webrtc)) => Some(&mut webrtc.ice_timer),
            (TimerKind::Dtls, Kind::WebRtc(webrtc)) => Some(&mut webrtc.dtls_timer),
            (TimerKind::KeepAlive, Kind::Pipe(pipe)) => Some(&mut pipe.timer),
            (TimerKind::Feedback, _) => Some(&mut self.feedback_timer),
            (TimerKind::Tap, _) => self.link.tap.as_mut().map(|tap| &mut tap.timer),
            _ => None,
        }
    }

    /// Media can be sent.
    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// It only carries mirrors.
    pub(crate) fn is_carrier(&self) -> bool {
        matches!(self.kind, Kind::Carrier)
    }

    /// A handshake is under way.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.webrtc().is_some_and(WebRtcTransport::is_handshaking)
    }

    /// Datagrams of this tuple are taken.
    pub(crate) fn accepts(&self, tuple: &Tuple) -> bool {
        match &self.kind {
            Kind::WebRtc(webrtc) => webrtc.ice.is_valid(tuple),
            Kind::Plain(plain) => plain.accepts(tuple),
            Kind::Pipe(pipe) => pipe.tuple().as_ref() == Some(tuple),
            Kind::Direct | Kind::Carrier => false,
        }
    }

    /// Whether datagrams of this socket may be for us.
    pub(crate) fn listens_on(&self, socket: SocketId) -> bool {
        self.sockets().iter().any(|s| s.socket == socket)
    }

    /// The sockets that it uses.
    pub(crate) fn sockets(&self) -> &[BoundSocket] {
        match &self.kind {
            Kind::WebRtc(webrtc) => &webrtc.sockets,
            Kind::Plain(plain) => &plain.sockets,
            Kind::Pipe(pipe) => std::slice::from_ref(&pipe.socket),
            Kind::Direct | Kind::Carrier => &[],
        }
    }

    /// The server whose sockets it uses; `None` where they are its own.
    pub(crate) fn server(&self) -> Option<ObjectId> {
        match &self.kind {
            Kind::WebRtc(webrtc) => webrtc.server,
            Kind::Plain(_) | Kind::Pipe(_) | Kind::Direct | Kind::Carrier => None,
        }
    }

    /// The far router tells what it wants, and gets nothing else.
    pub(crate) fn is_demanding(&self) -> bool {
        matches!(&self.kind, Kind::Pipe(pipe) if pipe.only_wanted)
    }

    /// Where media goes, with our address.
    pub(crate) fn selected(&self) -> Option<TupleAddrs> {
        match &self.kind {
            Kind::WebRtc(webrtc) => webrtc.ice.selected().and_then(|tuple| webrtc.addrs(&tuple)),
            Kind::Plain(plain) => plain.addrs(false),
            Kind::Pipe(pipe) => pipe.addrs(),
            Kind::Direct | Kind::Carrier => None,
        }
    }

    /// Counters.
    pub(crate) fn stats(&self, now: Time) -> TransportStats {
        let c = &self.link.counters;
        let rate = |meter: &RateMeter| u32::try_from(meter.bitrate(now)).unwrap_or(u32::MAX);
        let webrtc = self.webrtc();
        TransportStats {
            bytes_received: c.bytes_received,
            bytes_sent: c.bytes_sent,
            packets_received: c.packets_received,
            packets_sent: c.packets_sent,
            receive_bitrate: rate(&c.receive_rate),
            send_bitrate: rate(&c.send_rate),
            rtp_bytes_received: c.rtp_bytes_received,
            rtp_bytes_sent: c.rtp_bytes_sent,
            rtx_bytes_received: c.rtx_bytes_received,
            rtx_bytes_sent: c.rtx_bytes_sent,
            // Those of the streams are added by whoever has them.
            rtp_receive_bitrate: 0,
            rtp_send_bitrate: 0,
            rtx_receive_bitrate: rate(&c.rtx_receive_rate),
            rtx_send_bitrate: rate(&c.rtx_send_rate),
            rtp_loss_received: None,
            rtp_loss_sent: None,
            max_incoming_bitrate: self.feedback.max_bitrate(),
            ice_state: webrtc.map_or(IceState::New, WebRtcTransport::ice_state),
            dtls_state: webrtc.map_or(DtlsState::New, |w| w.dtls_state),
            selected_tuple: self.selected(),
        }
    }
}
