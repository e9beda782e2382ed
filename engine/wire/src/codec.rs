//! Codecs, as far as forwarding needs them: names, and the payload descriptors that say where key
//! frames and layers are. Nothing here decodes media.
//!
//! Payload may be end-to-end encrypted: then a descriptor reads noise. So a broken descriptor is an
//! answer ("no key frame", an error to the one who asked), never a reason to stop forwarding.

pub mod av1;
pub mod fec;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod picture;
pub mod red;
pub mod vp8;
pub mod vp9;

use crate::media::MediaKind;

/// What a payload type means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// RFC 7587.
    Opus,
    /// Opus with more than two channels.
    MultiOpus,
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722.
    G722,
    /// RFC 4733.
    TelephoneEvent,
    /// RFC 3389.
    ComfortNoise,
    /// Redundant audio (RFC 2198).
    Red,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RTP Payload Format for AV1, version 1.0.
    Av1,
    /// Retransmission (RFC 4588).
    Rtx,
    /// RFC 8627.
    FlexFec,
    /// RFC 5109.
    UlpFec,
    /// Anything else: forwarded without a look.
    Other,
}

/// Subtype names of MIME types, in the spelling of the registry.
const SUBTYPES: &[(&str, CodecKind)] = &[
    ("opus", CodecKind::Opus),
    ("multiopus", CodecKind::MultiOpus),
    ("PCMU", CodecKind::Pcmu),
    ("PCMA", CodecKind::Pcma),
    ("G722", CodecKind::G722),
    ("telephone-event", CodecKind::TelephoneEvent),
    ("CN", CodecKind::ComfortNoise),
    ("red", CodecKind::Red),
    ("VP8", CodecKind::Vp8),
    ("VP9", CodecKind::Vp9),
    ("H264", CodecKind::H264),
    ("H265", CodecKind::H265),
    ("AV1", CodecKind::Av1),
    ("rtx", CodecKind::Rtx),
    ("flexfec-03", CodecKind::FlexFec),
    ("ulpfec", CodecKind::UlpFec),
];

impl CodecKind {
    /// The codec with this MIME subtype, in any case; [`CodecKind::Other`] if libsfu knows none.
    pub fn from_subtype(subtype: &str) -> Self {
        SUBTYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(subtype)).map_or(Self::Other, |(_, kind)| *kind)
    }

    /// The MIME subtype; empty for [`CodecKind::Other`].
    pub fn subtype(self) -> &'static str {
        SUBTYPES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Is it a codec of pictures? Repair formats carry either and count as neither.
    #[inline]
    pub const fn is_video(self) -> bool {
        matches!(self, Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1)
    }

    /// Does it carry media itself, or repair another stream?
    #[inline]
    pub const fn is_repair(self) -> bool {
        matches!(self, Self::Rtx | Self::FlexFec | Self::UlpFec)
    }

    /// The kind of media, where the codec alone tells.
    pub const fn media_kind(self) -> Option<MediaKind> {
        match self {
            Self::Rtx | Self::FlexFec | Self::UlpFec | Self::Red | Self::Other => None,
            _ if self.is_video() => Some(MediaKind::Video),
            _ => Some(MediaKind::Audio),
        }
    }

    /// Does a decoder that knows nothing yet start at this packet? Always, if the codec has no key
    /// frames or libsfu cannot tell; never, for a payload that is empty or broken.
    #[inline]
    pub fn is_key_frame(self, payload: &[u8]) -> bool {
        match self {
            Self::Vp8 => vp8::is_key_frame(payload),
            Self::Vp9 => vp9::is_key_frame(payload),
            Self::H264 => h264::is_key_frame(payload),
            Self::H265 => h265::is_key_frame(payload),
            Self::Av1 => av1::is_key_frame(payload),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_codecs_come_back_in_any_case() {
        for (name, kind) in SUBTYPES {
            assert_eq!(CodecKind::from_subtype(&name.to_ascii_uppercase()), *kind);
            assert_eq!(kind.subtype(), *name);
        }
        assert_eq!(CodecKind::from_subtype("H266"), CodecKind::Other);
        assert_eq!(CodecKind::Other.subtype(), "");
        assert_eq!(CodecKind::Vp8.media_kind(), Some(MediaKind::Video));
        assert_eq!(CodecKind::Opus.media_kind(), Some(MediaKind::Audio));
        assert_eq!(CodecKind::Rtx.media_kind(), None);
    }

    #[test]
    fn audio_starts_at_any_packet_and_video_never_at_an_empty_one() {
        for (_, kind) in SUBTYPES {
            assert_eq!(kind.is_key_frame(&[]), !kind.is_video());
        }
    }
}
