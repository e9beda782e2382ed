//! Redundant audio (RFC 2198) as a consumer's peer gets it: whole, or what is in it.

use sfu_wire::codec::CodecKind;

use super::{Codec, Consumer};
use crate::producer::Ingress;

impl Consumer {
    /// In which of its codecs the peer gets a packet, and where the payload begins: as it came, or for
    /// RED that the peer does not speak, what is in it.
    #[inline]
    pub(super) fn form(&self, ingress: &Ingress) -> Option<(Codec, u16)> {
        form_in(&self.codecs, ingress)
    }

    /// What the peer calls the codec within a packet of RED that it gets whole.
    #[inline]
    pub(super) fn repeated(&self, codec: Codec, ingress: &Ingress) -> Option<u8> {
        let block = ingress.primary.filter(|_| codec.slot == ingress.slot)?;
        self.codecs.iter().find(|c| c.slot == block.slot).map(|c| c.payload_type)
    }

    /// Its peer gets RED as it is, and repairs losses from it.
    pub fn speaks_red(&self) -> bool {
        self.cold.config.codecs.iter().any(|c| c.kind == CodecKind::Red)
    }
}

/// As [`Consumer::form`], in these codecs.
pub(super) fn form_in(codecs: &[Codec], ingress: &Ingress) -> Option<(Codec, u16)> {
    let known = |slot: u8| codecs.iter().find(|c| c.slot == slot).copied();
    let whole = known(ingress.slot).map(|codec| (codec, ingress.payload_start));
    whole.or_else(|| ingress.primary.and_then(|block| Some((known(block.slot)?, block.start))))
}
