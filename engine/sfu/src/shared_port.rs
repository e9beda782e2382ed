//! Ports that all shards of an engine listen on: whose a datagram is, and which 5-tuples are this shard's.
//!
//! Told: which of the shard's sockets share their port with other shards, datagrams of 5-tuples that no transport
//! here has verified. Tells: whose those are, and each 5-tuple that was verified or given up here, so that whoever
//! carries datagrams can bring them straight to this shard.
//!
//! Each username fragment begins with a tag of its shard, so a connectivity check (RFC 8445, section 7.3) names its
//! shard by itself, as a datagram or as the first packet of a TCP connection. Nothing else does: what comes from a 5-tuple that nobody has verified, and is no check, is for no
//! shard. The tag is no secret and proves nothing; what proves a peer is the signature, which only the owner can check.
//!
//! Limits: one claim for each change of a verified 5-tuple, of which a transport has at most eight.

use std::net::SocketAddr;

use sfu_wire::demux::{DatagramKind, classify};
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::stun::{BINDING, Class, StunMessage};

use crate::lookup::{UFRAG_LEN, Ufrag};
use crate::shard::Shard;

/// Length of the tag at the beginning of a username fragment.
pub const TAG_LEN: usize = 2;
/// The character for zero; those up to fifteen follow it. All of them are ice-chars (RFC 8839, section 5.4).
pub const TAG_ZERO: u8 = b'A';

/// Whose a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This shard's: it was taken, or refused and counted.
    Ours,
    /// A connectivity check for a transport of the shard with this number. Nothing was done and nothing counted.
    Shard(u8),
    /// No check, and from a 5-tuple that no transport of this shard has verified. Nothing was done and nothing
    /// counted: another shard may know it.
    Unknown,
}

/// A 5-tuple of a shared port was verified for a transport of this shard, or given up by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Our side.
    pub socket: SocketId,
    /// The peer's side, canonical.
    pub remote: SocketAddr,
    /// Verified; else given up.
    pub held: bool,
}

/// Writes a shard's tag over the beginning of a username fragment.
pub fn tag(shard: u8, ufrag: &mut Ufrag) {
    let [high, low, ..] = ufrag;
    (*high, *low) = (TAG_ZERO + (shard >> 4), TAG_ZERO + (shard & 15));
}

/// The shard that a STUN USERNAME (`ours:theirs`) names, if the first part may be one of our fragments.
pub fn shard_of_username(username: &[u8]) -> Option<u8> {
    let local = username.split(|byte| *byte == b':').next()?;
    let [high, low, ..] = *local else { return None };
    let digit = |byte: u8| byte.checked_sub(TAG_ZERO).filter(|value| *value < 16);
    let shard = digit(high)? << 4 | digit(low)?;
    (local.len() == UFRAG_LEN && username.len() > UFRAG_LEN).then_some(shard)
}

impl Shard {
    /// Other shards listen on the port of this socket too.
    pub fn share_socket(&mut self, socket: SocketId) {
        self.lookup.share_socket(socket);
    }

    /// The next 5-tuple of a shared port that was verified or given up, in the order in which it happened.
    pub fn poll_claim(&mut self) -> Option<Claim> {
        self.lookup.poll_claim()
    }

    /// Whose a datagram is, by what can be seen without a key.
    pub(crate) fn whose(&self, tuple: &Tuple, datagram: &[u8]) -> Whose {
        if !self.lookup.is_shared(tuple.socket) || self.lookup.by_tuple(tuple).is_some() {
            return Whose::Ours;
        }
        match classify(datagram) {
            Some(DatagramKind::Stun) => match shard_of_check(datagram) {
                Some(shard) if shard != self.index => Whose::Shard(shard),
                _ => Whose::Ours,
            },
            Some(_) => Whose::Unknown,
            None => Whose::Ours,
        }
    }
}

/// The shard that a connectivity check names. One without a signature or with a wrong checksum names none, so it costs no other
/// shard anything.
pub(crate) fn shard_of_check(datagram: &[u8]) -> Option<u8> {
    let message = StunMessage::parse(datagram).ok()?;
    let check = message.class() == Class::Request && message.method() == BINDING && message.has_integrity();
    shard_of_username(message.username()?).filter(|_| check && message.has_valid_fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn username(ufrag: &Ufrag, rest: &[u8]) -> Vec<u8> {
        [&ufrag[..], b":", rest].concat()
    }

    proptest! {
        #[test]
        fn a_tag_names_its_shard_whatever_else_the_fragment_says(
            shard: u8,
            random in prop::array::uniform16(prop::sample::select(&b"ABCxyz0189+/"[..])),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut ufrag = random;
            tag(shard, &mut ufrag);
            prop_assert_eq!(shard_of_username(&username(&ufrag, &rest)), Some(shard));
            prop_assert_eq!(&ufrag[TAG_LEN..], &random[TAG_LEN..]);
        }

        #[test]
        fn what_is_no_fragment_of_ours_names_no_shard(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let ours = bytes.len() > UFRAG_LEN
                && bytes[UFRAG_LEN] == b':'
                && !bytes[..UFRAG_LEN].contains(&b':')
                && bytes[..TAG_LEN].iter().all(|byte| (TAG_ZERO..TAG_ZERO + 16).contains(byte));
            prop_assert_eq!(shard_of_username(&bytes).is_some(), ours);
        }
    }

    #[test]
    fn a_fragment_without_a_colon_or_of_another_length_names_no_shard() {
        for bad in
            [&b""[..], b":", b"A", b"AA", b"AB:x", b"ABcdefghijklmnop", b"ABcdefghijklmno:x", b"Qbcdefghijklmnop:x"]
        {
            assert_eq!(shard_of_username(bad), None, "{bad:?}");
        }
        assert_eq!(shard_of_username(b"ABcdefghijklmnop:"), Some(1));
        assert_eq!(shard_of_username(b"PPcdefghijklmnop:x"), Some(255));
    }
}
