//! Which SSRCs of a transport hold cipher state, and for how long.
//!
//! Outbound: those of consumers, the one that speaks for the transport, and one for the reports of each
//! producer; each goes with its object, and none comes back under the same key (see
//! [`sfu_proto::srtp`]). Inbound: whatever the peer sends, within the receiver's cap; the signalled ones
//! are pinned, so that others of the same peer cannot cost them their rollover counter and replay list.
//! Limits: the receiver's and the sender's. RFC 3711, section 3.2.3.

use sfu_wire::id::ObjectId;

use crate::config::ProducerConfig;
use crate::signalled::StreamSsrcs;
use crate::transport::Transport;

impl Transport {
    /// A consumer sends on this transport.
    pub(crate) fn add_consumer(&mut self, consumer: ObjectId, ssrcs: StreamSsrcs) {
        self.consumers.push(consumer);
        for ssrc in ssrcs.all() {
            self.by_ssrc.insert(ssrc, consumer);
            if let Some(srtp) = self.link.srtp_mut() {
                // What is refused here is refused again, and counted, when it is sent.
                let _ = srtp.sender.add_stream(ssrc);
            }
        }
    }

    /// A consumer no longer sends on this transport.
    pub(crate) fn remove_consumer(&mut self, consumer: ObjectId, ssrcs: StreamSsrcs) {
        self.consumers.retain(|c| *c != consumer);
        for ssrc in ssrcs.all() {
            self.by_ssrc.remove(&ssrc);
            if let Some(srtp) = self.link.srtp_mut() {
                srtp.sender.remove_stream(ssrc);
            }
        }
    }

    /// A producer receives on this transport: what is signalled for it keeps its state.
    pub(crate) fn pin_streams(&mut self, config: &ProducerConfig) {
        if let Some(srtp) = self.link.srtp_mut() {
            signalled(config).for_each(|ssrc| srtp.receiver.pin_stream(ssrc));
        }
    }

    /// A producer is gone: what was signalled for it, and the SSRC of its reports.
    pub(crate) fn remove_producer(&mut self, producer: ObjectId, config: &ProducerConfig, rtcp_ssrc: u32) {
        self.producers.retain(|p| *p != producer);
        self.listener.remove(producer);
        if let Some(srtp) = self.link.srtp_mut() {
            signalled(config).for_each(|ssrc| srtp.receiver.unpin_stream(ssrc));
            srtp.sender.remove_stream(rtcp_ssrc);
        }
    }

    /// If keys are new: tells them of the streams that exist.
    pub(crate) fn settle_streams(&mut self) {
        if !self.link.take_fresh_keys() {
            return;
        }
        let Some(srtp) = self.link.srtp_mut() else { return };
        self.listener.signalled().for_each(|ssrc| srtp.receiver.pin_stream(ssrc));
        for ssrc in self.by_ssrc.keys() {
            // What is refused here is refused again, and counted, when it is sent.
            let _ = srtp.sender.add_stream(*ssrc);
        }
    }

    /// Nothing can be sent by this SSRC any more.
    pub(crate) fn is_spent(&self, ssrc: u32) -> bool {
        self.link.srtp().is_some_and(|srtp| srtp.sender.is_spent(ssrc))
    }

    /// Whether the key has room for the SSRCs of so many more streams.
    pub(crate) fn has_room_for_consumers(&self, streams: usize) -> bool {
        self.link.srtp().is_none_or(|srtp| srtp.sender.room() >= 3 * streams)
    }
}

/// SSRCs that were signalled for a producer, of its media and of what repairs it.
fn signalled(config: &ProducerConfig) -> impl Iterator<Item = u32> + '_ {
    config.encodings.iter().flat_map(|e| [e.ssrc, e.rtx_ssrc, e.fec_ssrc]).flatten()
}
