//! A transport's link: where its media goes, how it is protected, and what has passed.
//!
//! Told: the path and the keys, by the transport's kind; plaintext to send; datagrams to open. Tells:
//! protected datagrams in the outbox, decrypted packets, counters. Nothing is sent without a path, and
//! nothing without protection unless the transport was made to do so. This is what every packet
//! touches, so it lies in the transport itself while the kind's own state is in a box.
//! Limits: streams by the SRTP sender and receiver. RFC 3711, RFC 7714.
//! Left out: how path and keys come about, which is the kinds' affair.

use sfu_proto::srtp::{Plain, SrtpError, SrtpKeys, SrtpProfile, SrtpReceiver, SrtpSender};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::net::Tuple;
use sfu_wire::rate::RateMeter;
use sfu_wire::time::Time;

use crate::shard::Out;

/// Counters of a transport.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) rtp_bytes_received: u64,
    pub(crate) rtp_bytes_sent: u64,
    pub(crate) rtx_bytes_received: u64,
    pub(crate) rtx_bytes_sent: u64,
    pub(crate) receive_rate: RateMeter,
    pub(crate) send_rate: RateMeter,
}

/// What kind of RTP is sent, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RtpKind {
    /// Media as it comes.
    Media,
    /// A retransmission.
    Rtx,
}

/// How packets are protected.
#[derive(Debug, Default)]
pub(crate) enum Guard {
    /// Not known yet: nothing passes.
    #[default]
    Closed,
    /// By SRTP.
    Srtp(Box<Srtp>),
}

/// Both directions of one SRTP session.
#[derive(Debug)]
pub(crate) struct Srtp {
    pub(crate) profile: SrtpProfile,
    pub(crate) receiver: SrtpReceiver,
    pub(crate) sender: SrtpSender,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Where media goes; `None`: nowhere.
    path: Option<Tuple>,
    guard: Guard,
    /// Keys that the streams have not been registered with.
    fresh_keys: bool,
    pub(crate) counters: Counters,
}

impl Link {
    /// Media goes there from now on.
    pub(crate) fn set_path(&mut self, path: Option<Tuple>) {
        self.path = path;
    }

    /// New keys: what follows is SRTP.
    pub(crate) fn set_keys(&mut self, keys: &SrtpKeys) -> Result<(), SrtpError> {
        let receiver = SrtpReceiver::new(&keys.profile, &keys.remote)?;
        let sender = SrtpSender::new(&keys.profile, &keys.local)?;
        self.guard = Guard::Srtp(Box::new(Srtp { profile: keys.profile, receiver, sender }));
        self.fresh_keys = true;
        Ok(())
    }

    /// Forgets path and keys.
    pub(crate) fn disconnect(&mut self) {
        self.path = None;
        self.guard = Guard::Closed;
    }

    /// Whether there are keys since the last call.
    pub(crate) fn take_fresh_keys(&mut self) -> bool {
        std::mem::take(&mut self.fresh_keys)
    }

    /// Media can be sent.
    pub(crate) fn is_connected(&self) -> bool {
        self.path.is_some()
    }

    /// The SRTP session, if any.
    pub(crate) fn srtp(&self) -> Option<&Srtp> {
        match &self.guard {
            Guard::Srtp(srtp) => Some(srtp),
            Guard::Closed => None,
        }
    }

    /// The SRTP session, if any.
    pub(crate) fn srtp_mut(&mut self) -> Option<&mut Srtp> {
        match &mut self.guard {
            Guard::Srtp(srtp) => Some(srtp),
            Guard::Closed => None,
        }
    }

    /// Decrypts an RTP packet in place; answers its length. State of SSRCs that lead nowhere is kept as
    /// long as the receiver has room: a stream may be signalled late, or again, and must then be known
    /// by its rollover counter.
    pub(crate) fn unprotect_rtp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        match &mut self.guard {
            Guard::Srtp(srtp) => srtp.receiver.unprotect_rtp(datagram),
            Guard::Closed => Err(DropReason::SrtpNotReady),
        }
    }

    /// Decrypts an RTCP packet in place; answers its length.
    pub(crate) fn unprotect_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        match &mut self.guard {
            Guard::Srtp(srtp) => srtp.receiver.unprotect_rtcp(datagram),
            Guard::Closed => Err(DropReason::SrtpNotReady),
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
        let (Some(path), Guard::Srtp(srtp)) = (self.path, &mut self.guard) else {
            return Err(DropReason::NotConnected);
        };
        let len = out.outbox.try_push_with(path.socket, path.remote, max_len, |slot| {
            let room = slot.len().saturating_sub(srtp.profile.rtp_overhead());
            let plain = write(slot.get_mut(..room).unwrap_or_default())?;
            if plain.is_empty() { Ok(0) } else { srtp.sender.protect_rtp_from(slot, plain) }
        })?;
        if len == 0 {
            return Ok(());
        }
        self.counters.sent(now, len);
        match kind {
            RtpKind::Media => self.counters.rtp_bytes_sent += len as u64,
            RtpKind::Rtx => self.counters.rtx_bytes_sent += len as u64,
        }
        Ok(())
    }

    /// Sends one RTCP compound.
    pub(crate) fn send_rtcp(&mut self, now: Time, out: &mut Out, plain: &[u8]) -> Result<(), DropReason> {
        let (Some(path), Guard::Srtp(srtp)) = (self.path, &mut self.guard) else {
            return Err(DropReason::NotConnected);
        };
        let room = plain.len() + srtp.profile.rtcp_overhead();
        let len = out.outbox.try_push_with(path.socket, path.remote, room, |slot| {
            slot[..plain.len()].copy_from_slice(plain);
            srtp.sender.protect_rtcp(slot, plain.len())
        })?;
        self.counters.sent(now, len);
        Ok(())
    }
}

impl Counters {
    /// A datagram came.
    pub(crate) fn received(&mut self, now: Time, len: usize) {
        self.packets_received += 1;
        self.bytes_received += len as u64;
        self.receive_rate.add(now, len);
    }

    /// A datagram goes.
    pub(crate) fn sent(&mut self, now: Time, len: usize) {
        if len > 0 {
            self.packets_sent += 1;
            self.bytes_sent += len as u64;
            self.send_rate.add(now, len);
        }
    }
}
