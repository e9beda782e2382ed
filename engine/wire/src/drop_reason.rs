//! Why a piece of network input was refused: a closed list, so that every refusal is a counter.

/// Declares the enum, the list of all values and their names in one place.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a datagram, or a part of one, was dropped. Closed: each value is one counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All reasons, in counter order.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The stable snake-case name used in statistics.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// Zero bytes, or too short to classify.
    Empty = "empty",
    /// First byte outside the ranges of RFC 7983.
    UnknownFirstByte = "unknown_first_byte",
    /// ZRTP or TURN channel data, which libsfu does not speak.
    UnsupportedProtocol = "unsupported_protocol",
    /// DTLS, RTP or RTCP from a 5-tuple that no transport has verified by ICE.
    UnknownTuple = "unknown_tuple",
    /// Malformed STUN.
    StunMalformed = "stun_malformed",
    /// STUN that is not a Binding request (indications, responses, other methods).
    StunUnexpected = "stun_unexpected",
    /// STUN FINGERPRINT missing or wrong.
    StunFingerprint = "stun_fingerprint",
    /// STUN USERNAME missing, malformed or unknown, or MESSAGE-INTEGRITY missing or wrong. One
    /// reason on purpose: a stranger must not tell these apart (RFC 8445, enumeration).
    StunUnauthenticated = "stun_unauthenticated",
    /// Signed request refused since the transport's tuple table is full.
    IceTupleLimit = "ice_tuple_limit",
    /// DTLS record malformed or refused by the session.
    Dtls = "dtls",
    /// DTLS input beyond the per-handshake byte or message budget.
    DtlsBudget = "dtls_budget",
    /// SRTP or SRTCP before the handshake is done.
    SrtpNotReady = "srtp_not_ready",
    /// Too short for header plus authentication tag.
    SrtpTooShort = "srtp_too_short",
    /// SRTP authentication failed.
    SrtpAuth = "srtp_auth",
    /// SRTP replay list refused the packet.
    SrtpReplay = "srtp_replay",
    /// SRTP failed for another reason.
    SrtpOther = "srtp_other",
    /// SRTP or SRTCP key lifetime is over (RFC 3711, section 9.2).
    SrtpKeyExhausted = "srtp_key_exhausted",
    /// Malformed RTP header, extension or padding.
    RtpMalformed = "rtp_malformed",
    /// Payload type not negotiated for the stream.
    RtpPayloadType = "rtp_payload_type",
    /// No producer for this SSRC, MID or RID.
    RtpUnroutable = "rtp_unroutable",
    /// The per-transport table of streams is full.
    RtpStreamLimit = "rtp_stream_limit",
    /// Duplicate of a packet already received.
    RtpDuplicate = "rtp_duplicate",
    /// Sequence number too old to be placed.
    RtpTooOld = "rtp_too_old",
    /// Payload descriptor malformed for the codec.
    RtpPayload = "rtp_payload",
    /// Forward error correction: it is about packets of the sender's hop, and ends with it.
    RtpFec = "rtp_fec",
    /// RTX without original sequence number, for an unknown stream or payload type.
    RtxMalformed = "rtx_malformed",
    /// Padding only: nothing to forward.
    RtpPaddingOnly = "rtp_padding_only",
    /// Malformed RTCP compound or block.
    RtcpMalformed = "rtcp_malformed",
    /// RTCP block of a kind that libsfu does not handle.
    RtcpUnsupported = "rtcp_unsupported",
    /// RTCP block about an SSRC that is not ours.
    RtcpUnknownSsrc = "rtcp_unknown_ssrc",
    /// RTCP request over its rate (NACK, PLI, FIR).
    RtcpRateLimited = "rtcp_rate_limited",
    /// The producer is paused.
    ProducerPaused = "producer_paused",
    /// The consumer is paused, or its producer is.
    ConsumerPaused = "consumer_paused",
    /// The consumer waits for a key frame.
    AwaitingKeyFrame = "awaiting_key_frame",
    /// The consumer does not speak this codec or payload type.
    ConsumerCodec = "consumer_codec",
    /// The sending transport is not connected.
    NotConnected = "not_connected",
    /// Rewritten packet would exceed the path's size limit.
    TooLarge = "too_large",
    /// The shard's transmit arena is full.
    TransmitFull = "transmit_full",
    /// The kernel refused the datagram.
    SendFailed = "send_failed",
    /// Data channel traffic while SCTP is off.
    SctpDisabled = "sctp_disabled",
    /// A packet between the application and a direct transport made room for younger ones.
    MediaQueueFull = "media_queue_full",
    /// A TCP connection was refused, or closed to make room: a cap on connections is reached.
    TcpLimit = "tcp_limit",
    /// A TCP connection was closed: it had not brought a signed Binding request in time, or something else first.
    TcpUnverified = "tcp_unverified",
    /// A TCP connection was closed: a frame was longer than packets are.
    TcpFrame = "tcp_frame",
    /// A TCP connection was closed: nothing came, or nothing was read, for too long.
    TcpIdle = "tcp_idle",
    /// A packet for a TCP connection found no room, or made room for younger ones.
    TcpBufferFull = "tcp_buffer_full",
    /// A packet for a TCP connection that is closed.
    TcpClosed = "tcp_closed",
    /// Video given up under pressure: the transmit arena or a socket's buffer is full, and younger video and all audio come
    /// first.
    ShedVideo = "shed_video",
    /// Audio given up under pressure, when there was no video left to give up.
    ShedAudio = "shed_audio",
    /// A datagram that arrived at another shard than its own found no room on the way there, or a TCP connection did and was closed.
    HandOverFull = "hand_over_full",
    /// A packet on its way to another shard made room for a younger one.
    PeerQueueFull = "peer_queue_full",
    /// A message of another shard about something that is no more.
    PeerUnknown = "peer_unknown",
}

/// One counter per [`DropReason`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl DropCounters {
    /// Counts one refusal.
    pub fn add(&mut self, reason: DropReason) {
        self.add_many(reason, 1);
    }

    /// Counts `n` refusals.
    pub fn add_many(&mut self, reason: DropReason, n: u64) {
        let counter = &mut self.0[reason as usize];
        *counter = counter.saturating_add(n);
    }

    /// The count for `reason`.
    pub fn count(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Reasons that happened, with their counts.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|r| (*r, self.count(*r))).filter(|(_, n)| *n > 0)
    }

    /// Sum over all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |a, b| a.saturating_add(*b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut counters = DropCounters::default();
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            counters.add_many(*reason, i as u64 + 1);
        }
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(counters.count(*reason), i as u64 + 1);
        }
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
