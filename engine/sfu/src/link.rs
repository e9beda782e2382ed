//! A transport's link: where its media goes, how it is protected, and what has passed.
//!
//! Told: the path and the keys, by the transport's kind; plaintext to send; datagrams to open. Tells:
//! protected datagrams in the outbox, decrypted packets, counters. Nothing is sent without a path, and
//! nothing without protection unless the transport was made to do so. This is what every packet
//! touches, so it lies in the transport itself while the kind's own state is in a box.
//! Limits: streams by the SRTP sender and receiver. RFC 3711, RFC 7714.
//! Left out: how path and keys come about, which is the kinds' affair.

use sfu_proto::srtp::{Plain, SrtpError, SrtpProfile, SrtpReceiver, SrtpSender};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::Tuple;
use sfu_wire::rate::RateMeter;
use sfu_wire::time::Time;

use crate::command::SrtpParameters;
use crate::outbox::Urgency;
use crate::shard::Out;
use crate::tap::{Passing, Tap, Taps};
use crate::trace::Direction;

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
    pub(crate) rtx_receive_rate: RateMeter,
    pub(crate) rtx_send_rate: RateMeter,
}

/// What kind of RTP is sent, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RtpKind {
    /// Audio as it comes.
    Audio,
    /// Video as it comes.
    Video,
    /// A retransmission.
    Rtx,
}

impl RtpKind {
    /// Media of this kind.
    pub(crate) fn media(video: bool) -> Self {
        if video { Self::Video } else { Self::Audio }
    }

    fn urgency(self) -> Urgency {
        match self {
            Self::Audio => Urgency::Audio,
            Self::Video | Self::Rtx => Urgency::Video,
        }
    }
}

/// How packets are protected.
#[derive(Debug, Default)]
pub(crate) enum Guard {
    /// Not known yet: nothing passes.
    #[default]
    Closed,
    /// By SRTP.
    Srtp(Box<Srtp>),
    /// Not at all, as the controller wants it.
    Clear,
    /// They go to the application, by this direct transport.
    Direct(ObjectId),
}

/// Both directions of one SRTP session.
#[derive(Debug)]
pub(crate) struct Srtp {
    /// Of what we send.
    pub(crate) profile: SrtpProfile,
    pub(crate) receiver: SrtpReceiver,
    pub(crate) sender: SrtpSender,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Where media goes; `None`: nowhere.
    path: Option<Tuple>,
    /// Where RTCP goes: mostly the same.
    rtcp_path: Option<Tuple>,
    guard: Guard,
    /// Keys that the streams have not been registered with.
    fresh_keys: bool,
    /// Copies what passes, if somebody wants that.
    pub(crate) tap: Option<Box<Tap>>,
    pub(crate) counters: Counters,
}

impl Link {
    /// Media goes there from now on.
    pub(crate) fn set_path(&mut self, path: Option<Tuple>, rtcp_path: Option<Tuple>) {
        self.path = path;
        self.rtcp_path = rtcp_path;
    }

    /// Packets pass as they are.
    pub(crate) fn set_clear(&mut self) {
        self.guard = Guard::Clear;
    }

    /// Packets go to the application.
    pub(crate) fn set_direct(&mut self, transport: ObjectId) {
        self.guard = Guard::Direct(transport);
    }

    /// New keys: what follows is SRTP.
    pub(crate) fn set_sessions(&mut self, theirs: &SrtpParameters, ours: &SrtpParameters) -> Result<(), SrtpError> {
        let receiver = SrtpReceiver::new(&theirs.profile, &theirs.key)?;
        let sender = SrtpSender::new(&ours.profile, &ours.key)?;
        self.guard = Guard::Srtp(Box::new(Srtp { profile: ours.profile, receiver, sender }));
        self.fresh_keys = true;
        Ok(())
    }

    /// Forgets path and keys.
    pub(crate) fn disconnect(&mut self) {
        self.set_path(None, None);
        self.guard = Guard::Closed;
    }

    /// Whether there are keys since the last call.
    pub(crate) fn take_fresh_keys(&mut self) -> bool {
        std::mem::take(&mut self.fresh_keys)
    }

    /// Media can be sent.
    pub(crate) fn is_connected(&self) -> bool {
        match self.guard {
            Guard::Closed => false,
            Guard::Srtp(_) | Guard::Clear => self.path.is_some(),
            Guard::Direct(_) => true,
        }
    }

    /// The SRTP session, if any.
    pub(crate) fn srtp(&self) -> Option<&Srtp> {
        match &self.guard {
            Guard::Srtp(srtp) => Some(srtp),
            Guard::Closed | Guard::Clear | Guard::Direct(_) => None,
        }
    }

    /// The SRTP session, if any.
    pub(crate) fn srtp_mut(&mut self) -> Option<&mut Srtp> {
        match &mut self.guard {
            Guard::Srtp(srtp) => Some(srtp),
            Guard::Closed | Guard::Clear | Guard::Direct(_) => None,
        }
    }

    /// Decrypts an RTP packet in place; answers its length. State of SSRCs that lead nowhere is kept as
    /// long as the receiver has room: a stream may be signalled late, or again, and must then be known
    /// by its rollover counter.
    pub(crate) fn unprotect_rtp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        match &mut self.guard {
            Guard::Srtp(srtp) => srtp.receiver.unprotect_rtp(datagram),
            Guard::Closed => Err(DropReason::SrtpNotReady),
            Guard::Clear | Guard::Direct(_) => Ok(datagram.len()),
        }
    }

    /// Decrypts an RTCP packet in place; answers its length.
    pub(crate) fn unprotect_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        match &mut self.guard {
            Guard::Srtp(srtp) => srtp.receiver.unprotect_rtcp(datagram),
            Guard::Closed => Err(DropReason::SrtpNotReady),
            Guard::Clear | Guard::Direct(_) => Ok(datagram.len()),
        }
    }

    /// Copies an opened packet for the tap.
    pub(crate) fn tap_in(&mut self, now: Time, rtcp: bool, bytes: &[u8], taps: &mut Taps) {
        if let Some(tap) = &mut self.tap {
            let path = if rtcp { self.rtcp_path } else { self.path }.or(tap.newcomer);
            tap.take(taps, Passing { now, path, direction: Direction::In, rtcp }, [bytes, &[], &[]]);
        }
    }

    /// What comes next is from there, which is no path yet.
    pub(crate) fn note_newcomer(&mut self, tuple: Tuple) {
        if let Some(tap) = &mut self.tap {
            tap.newcomer = Some(tuple);
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
        let (tap, taps, path) = (&mut self.tap, &mut out.taps, self.path);
        let mut copy = |slot: &[u8], plain: &Plain<'_>| {
            if let Some(tap) = tap {
                let what = Passing { now, path, direction: Direction::Out, rtcp: false };
                let head = slot.get(..plain.written).unwrap_or_default();
                tap.take(taps, what, [head, plain.tail, plain.padding_bytes()]);
            }
        };
        let urgency = kind.urgency();
        let len = match (self.path, &mut self.guard) {
            (Some(path), Guard::Srtp(srtp)) => {
                out.outbox.try_push_as(urgency, path.socket, path.remote, max_len, |slot| {
                    let room = slot.len().saturating_sub(srtp.profile.rtp_overhead());
                    let plain = write(slot.get_mut(..room).unwrap_or_default())?;
                    if plain.is_empty() {
                        return Ok(0);
                    }
                    copy(slot, &plain);
                    srtp.sender.protect_rtp_from(slot, plain)
                })?
            }
            (Some(path), Guard::Clear) => {
                out.outbox.try_push_as(urgency, path.socket, path.remote, max_len, |slot| {
                    let plain = write(slot)?;
                    if !plain.is_empty() {
                        copy(slot, &plain);
                    }
                    plain.complete(slot).ok_or(DropReason::TooLarge)
                })?
            }
            (_, Guard::Direct(transport)) => out.media.try_push_with(*transport, false, max_len, |slot| {
                let plain = write(slot)?;
                if !plain.is_empty() {
                    copy(slot, &plain);
                }
                plain.complete(slot).ok_or(DropReason::TooLarge)
            })?,
            _ => return Err(DropReason::NotConnected),
        };
        if len == 0 {
            return Ok(());
        }
        self.counters.sent(now, len);
        match kind {
            RtpKind::Audio | RtpKind::Video => self.counters.rtp_bytes_sent += len as u64,
            RtpKind::Rtx => {
                self.counters.rtx_bytes_sent += len as u64;
                self.counters.rtx_send_rate.add(now, len);
            }
        }
        Ok(())
    }

    /// Sends one RTCP compound.
    pub(crate) fn send_rtcp(&mut self, now: Time, out: &mut Out, plain: &[u8]) -> Result<(), DropReason> {
        let copy = |slot: &mut [u8]| {
            slot.get_mut(..plain.len()).ok_or(DropReason::TooLarge)?.copy_from_slice(plain);
            Ok(plain.len())
        };
        let len = match (self.rtcp_path, &mut self.guard) {
            (Some(path), Guard::Srtp(srtp)) => {
                let room = plain.len() + srtp.profile.rtcp_overhead();
                out.outbox.try_push_with(path.socket, path.remote, room, |slot| {
                    let len = copy(slot)?;
                    srtp.sender.protect_rtcp(slot, len)
                })?
            }
            (Some(path), Guard::Clear) => out.outbox.try_push_with(path.socket, path.remote, plain.len(), copy)?,
            (_, Guard::Direct(transport)) => out.media.try_push_with(*transport, true, plain.len(), copy)?,
            _ => return Err(DropReason::NotConnected),
        };
        if let Some(tap) = &mut self.tap {
            let what = Passing { now, path: self.rtcp_path, direction: Direction::Out, rtcp: true };
            tap.take(&mut out.taps, what, [plain, &[], &[]]);
        }
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
