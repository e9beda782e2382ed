//! What a transport tells its peer about the path as a whole: transport-wide feedback (when the
//! peer's packets carry the sequence number) and the bitrate bound, by REMB where one of the peer's codecs
//! was negotiated with it. A peer that negotiated no REMB is told no bound: there is nothing it must obey.
//!
//! Told: producers as they come, packets as they arrive, the bound. Tells: RTCP packets and when to ask
//! for them. Limits: one feedback at a time. draft-holmer-rmcat-transport-wide-cc-extensions-01,
//! draft-alvestrand-rmcat-remb-03. What the peer says about our packets is noted, and no more yet.

use sfu_proto::remb_limit::RembLimit;
use sfu_proto::transport_cc::TransportCcReceiver;
use sfu_wire::extension::{ExtensionIds, ExtensionKind, transport_sequence};
use sfu_wire::rtcp::{DlrrBlock, ReceiverReport};
use sfu_wire::rtp::RtpView;
use sfu_wire::time::{NtpTime, Time, duration_to_short_ntp};

use crate::config::ProducerConfig;

/// Feedback of one transport.
#[derive(Debug)]
pub(crate) struct Feedback {
    /// The SSRC that speaks for the transport where no stream does.
    ssrc: u32,
    transport_cc: Option<TransportCcReceiver>,
    /// A producer's codecs were negotiated with REMB: the bound can be told.
    remb: bool,
    limit: RembLimit,
    /// The SSRC of the packet seen last.
    media_ssrc: u32,
    transport_cc_sent: u64,
    transport_cc_received: u64,
    remb_sent: u64,
    remb_received: u64,
    remb_bitrate: u64,
    /// The peer's clock as it told it last, and who of it said so.
    reference: Option<Reference>,
}

/// A reference time of the peer (RFC 3611, section 4.4).
#[derive(Debug, Clone, Copy)]
struct Reference {
    ssrc: u32,
    middle: u32,
    at: Time,
}

impl Feedback {
    /// Nothing was negotiated yet.
    pub(crate) fn new(now: Time, ssrc: u32, max_bitrate: u32) -> Self {
        let mut limit = RembLimit::new();
        limit.set(now, max_bitrate);
        Self {
            ssrc,
            transport_cc: None,
            remb: false,
            limit,
            media_ssrc: 0,
            transport_cc_sent: 0,
            transport_cc_received: 0,
            remb_sent: 0,
            remb_received: 0,
            remb_bitrate: 0,
            reference: None,
        }
    }

    /// A producer joined: its codecs say what its peer understands.
    pub(crate) fn add_producer(&mut self, config: &ProducerConfig) {
        let numbered = config.extensions.get(ExtensionKind::TransportCc).is_some();
        self.remb |= config.codecs.iter().any(|c| c.feedback.remb);
        if numbered && config.codecs.iter().any(|c| c.feedback.transport_cc) && self.transport_cc.is_none() {
            self.transport_cc = Some(TransportCcReceiver::new());
        }
    }

    /// The bound changed.
    pub(crate) fn set_max_bitrate(&mut self, now: Time, bitrate: u32) {
        self.limit.set(now, bitrate);
    }

    /// The bound; 0 is none.
    pub(crate) fn max_bitrate(&self) -> u32 {
        self.limit.bitrate()
    }

    /// A packet arrived, whoever it is for. `true`: there is a new deadline.
    pub(crate) fn on_packet(&mut self, arrival: Time, view: &RtpView<'_>, ids: &ExtensionIds) -> bool {
        let Some(receiver) = &mut self.transport_cc else { return false };
        let Some(value) = ids.get(ExtensionKind::TransportCc).and_then(|id| view.extension(id)) else { return false };
        let Some(sequence) = transport_sequence(value) else { return false };
        self.media_ssrc = view.ssrc;
        receiver.on_packet(arrival, sequence)
    }

    /// The next thing to say, as a compound of its own: behind an empty receiver report where reduced
    /// size was not negotiated. `ssrcs` are those that the bound is for.
    pub(crate) fn poll(&mut self, now: Time, reduced_size: bool, ssrcs: &[u32], buf: &mut [u8]) -> Option<usize> {
        let report = ReceiverReport { ssrc: self.ssrc };
        let start = if reduced_size { 0 } else { report.write(buf, &[]).ok()? };
        let (ssrc, media) = (self.ssrc, self.media_ssrc);
        let rest = buf.get_mut(start..)?;
        if let Some(len) = self.transport_cc.as_mut().and_then(|t| t.poll(now, ssrc, media, rest)) {
            self.transport_cc_sent += 1;
            return Some(start + len);
        }
        if !self.remb {
            return None;
        }
        let len = self.limit.poll(now, ssrc, ssrcs, rest)?;
        self.remb_sent += 1;
        Some(start + len)
    }

    /// When there is something to say.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let transport_cc = self.transport_cc.as_ref().and_then(TransportCcReceiver::next_timeout);
        let limit = self.limit.next_timeout().filter(|_| self.remb);
        [transport_cc, limit].into_iter().flatten().min()
    }

    /// The peer's estimate of what it can receive.
    pub(crate) fn note_remb(&mut self, bitrate: u64) {
        self.remb_received += 1;
        self.remb_bitrate = bitrate;
    }

    /// The peer said which of our packets arrived.
    pub(crate) fn note_transport_cc(&mut self) {
        self.transport_cc_received += 1;
    }

    /// The peer told its clock.
    pub(crate) fn note_reference_time(&mut self, now: Time, ssrc: u32, ntp: NtpTime) {
        self.reference = Some(Reference { ssrc, middle: ntp.middle(), at: now });
    }

    /// The answer to the peer's reference time, for the next sender reports; each is answered once.
    pub(crate) fn take_dlrr(&mut self, now: Time) -> Option<DlrrBlock> {
        let reference = self.reference.take()?;
        let delay_since_last_rr = duration_to_short_ntp(now.saturating_since(reference.at));
        Some(DlrrBlock { ssrc: reference.ssrc, last_rr: reference.middle, delay_since_last_rr })
    }

    /// The SSRC that speaks for the transport.
    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Named counters.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("transport_cc_sent", self.transport_cc_sent),
            ("transport_cc_received", self.transport_cc_received),
            ("remb_sent", self.remb_sent),
            ("remb_received", self.remb_received),
            ("remb_bitrate", self.remb_bitrate),
        ]
    }
}
