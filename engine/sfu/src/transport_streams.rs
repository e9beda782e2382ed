//! What a transport knows of the streams on it: the tables by which packets find their producers, the SSRCs of its
//! consumers, and who looks at them. For people and tests: told when it is asked for, and kept nowhere.
//!
//! Limits: those of the tables themselves. Left out: counters, which are statistics.

use std::time::Duration;

use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{Mid, Rid};

use crate::shard::Shard;
use crate::tap::TapFormat;
use crate::transport::Transport;

/// An SSRC of the peer, and where its packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedSsrc {
    /// The SSRC.
    pub ssrc: u32,
    /// The producer.
    pub producer: ObjectId,
    /// Index of its encoding.
    pub encoding: u8,
    /// It is the encoding's RTX stream.
    pub rtx: bool,
    /// It is the encoding's FlexFEC stream.
    pub fec: bool,
    /// It was signalled, not learned from a packet.
    pub signalled: bool,
}

/// What packets of a producer are known by before their SSRC is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerLine {
    /// The producer.
    pub producer: ObjectId,
    /// Its MID.
    pub mid: Option<Mid>,
    /// The RID of each encoding.
    pub rids: Vec<Option<Rid>>,
    /// Its payload types, each with that of its RTX.
    pub payload_types: Vec<(u8, Option<u8>)>,
}

/// An SSRC of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentSsrc {
    /// The SSRC.
    pub ssrc: u32,
    /// The consumer whose stream it is.
    pub consumer: ObjectId,
    /// It is the consumer's RTX stream.
    pub rtx: bool,
    /// It is the consumer's FlexFEC stream.
    pub fec: bool,
}

/// A tap at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapDump {
    /// The file.
    pub name: String,
    /// How it is written.
    pub format: TapFormat,
    /// Bytes of the file at most.
    pub max_bytes: u64,
    /// How long it lasts at most, from its start on.
    pub max_duration: Duration,
    /// Without the payload of RTP.
    pub headers_only: bool,
    /// Packets copied.
    pub packets: u64,
    /// Bytes that they take at most.
    pub bytes: u64,
    /// Packets for which there was no room in a turn.
    pub dropped: u64,
}

/// The streams of a transport.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportStreams {
    /// By SSRC.
    pub received: Vec<ReceivedSsrc>,
    /// In the order of their creation.
    pub lines: Vec<ProducerLine>,
    /// By SSRC.
    pub sent: Vec<SentSsrc>,
    /// What the peer calls the header extensions that it sends.
    pub extensions: Vec<(ExtensionKind, u8)>,
    /// SSRCs learned from packets, and how many are kept at most.
    pub learned: (usize, usize),
    /// So many decisions about its media are kept; 0 is none.
    pub decision_rows: usize,
    /// The tap, if there is one.
    pub tap: Option<TapDump>,
}

impl Shard {
    /// The streams of a transport.
    pub(crate) fn streams_of(&self, transport: &Transport) -> TransportStreams {
        let consumers = transport.consumers.iter().filter_map(|id| self.consumers.get(*id));
        let mut sent: Vec<SentSsrc> = consumers
            .flat_map(|held| {
                let (consumer, ssrcs) = (held.it.id(), held.it.ssrcs());
                let one = move |ssrc| SentSsrc {
                    ssrc,
                    consumer,
                    rtx: ssrcs.rtx_ssrc == Some(ssrc),
                    fec: ssrcs.fec_ssrc == Some(ssrc),
                };
                ssrcs.all().map(one)
            })
            .collect();
        sent.sort_unstable_by_key(|s| s.ssrc);
        let listener = &transport.listener;
        TransportStreams {
            received: listener.received(),
            lines: listener.producer_lines(),
            sent,
            extensions: listener.extensions().iter().collect(),
            learned: (listener.learned(), listener.max_learned()),
            decision_rows: transport.decisions.capacity(),
            tap: transport.link.tap.as_ref().map(|tap| tap.dump()),
        }
    }
}
