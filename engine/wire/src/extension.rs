//! RTP header extensions: which ones libsfu knows, by which number a peer calls them, and their
//! values (RFC 8285 and the document of each extension).

use crate::error::ParseError;
use crate::layers_allocation::LayersAllocation;
use crate::media::{Mid, Rid};
use crate::read::{u8_at, u16_at, u24_at, u64_at};
use crate::time::NtpTime;

macro_rules! extensions {
    ($($(#[$doc:meta])* $name:ident = $uri:literal,)*) => {
        /// A header extension that libsfu negotiates.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ExtensionKind { $($(#[$doc])* $name,)* }

        impl ExtensionKind {
            /// All of them.
            pub const ALL: &'static [ExtensionKind] = &[$(ExtensionKind::$name,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The URI by which it is negotiated.
            pub const fn uri(self) -> &'static str {
                match self { $(ExtensionKind::$name => $uri,)* }
            }
        }
    };
}

extensions! {
    /// MID (RFC 9143).
    Mid = "urn:ietf:params:rtp-hdrext:sdes:mid",
    /// RID of a primary stream (RFC 8852).
    Rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    /// RID of the stream that an RTX stream repairs (RFC 8852).
    RepairedRid = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    /// Absolute send time, 6.18 fixed point seconds.
    AbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    /// Transport-wide sequence number.
    TransportCc = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    /// Client-to-mixer audio level (RFC 6464).
    AudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    /// Dependency descriptor of the AV1 RTP specification.
    DependencyDescriptor = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    /// Video layers allocation.
    VideoLayersAllocation = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
    /// Coordination of video orientation (3GPP TS 26.114).
    VideoOrientation = "urn:3gpp:video-orientation",
    /// Transmission time offset (RFC 5450).
    TransmissionOffset = "urn:ietf:params:rtp-hdrext:toffset",
    /// Absolute capture time.
    AbsCaptureTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    /// Playout delay limits.
    PlayoutDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
}

impl ExtensionKind {
    /// The extension with this URI, compared byte by byte.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.uri() == uri)
    }

    /// Could this be a value of the extension? One that could not is ignored, as if it were absent. A
    /// dependency descriptor is known by its first bytes only: the rest depends on what came before.
    #[inline]
    pub fn accepts(self, value: &[u8]) -> bool {
        match self {
            Self::Mid => mid(value).is_ok(),
            Self::Rid | Self::RepairedRid => rid(value).is_ok(),
            Self::AbsSendTime | Self::TransmissionOffset => value.len() == 3,
            Self::TransportCc => transport_sequence(value).is_some(),
            Self::AudioLevel => AudioLevel::parse(value).is_some(),
            Self::DependencyDescriptor => value.len() >= crate::dependency_descriptor::MANDATORY_LEN,
            Self::VideoLayersAllocation => LayersAllocation::parse(value).is_ok(),
            Self::VideoOrientation => value.len() == 1,
            Self::AbsCaptureTime => matches!(value.len(), 8 | 16),
            Self::PlayoutDelay => PlayoutDelay::parse(value).is_some(),
        }
    }
}

/// The numbers by which one side of one stream calls its header extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ExtensionIds {
    /// 0 is none.
    ids: [u8; ExtensionKind::COUNT],
}

impl ExtensionIds {
    /// None at all.
    pub const fn new() -> Self {
        Self { ids: [0; ExtensionKind::COUNT] }
    }

    /// Gives an extension its number. `false`, and nothing changed, for the reserved numbers 0 and
    /// 15 (RFC 8285, section 4.2) and for a number that another extension has.
    pub fn set(&mut self, kind: ExtensionKind, id: u8) -> bool {
        if id == 0 || id == 15 || self.kind_of(id).is_some_and(|other| other != kind) {
            return false;
        }
        self.ids[kind as usize] = id;
        true
    }

    /// Takes an extension's number away.
    pub fn unset(&mut self, kind: ExtensionKind) {
        self.ids[kind as usize] = 0;
    }

    /// The number of an extension.
    #[inline]
    pub const fn get(&self, kind: ExtensionKind) -> Option<u8> {
        match self.ids[kind as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// The extension with this number.
    #[inline]
    pub fn kind_of(&self, id: u8) -> Option<ExtensionKind> {
        if id == 0 {
            return None;
        }
        let index = self.ids.iter().position(|other| *other == id)?;
        ExtensionKind::ALL.get(index).copied()
    }

    /// Those that have a number.
    pub fn iter(&self) -> impl Iterator<Item = (ExtensionKind, u8)> + '_ {
        ExtensionKind::ALL.iter().copied().zip(self.ids).filter(|(_, id)| *id != 0)
    }

    /// Has none a number?
    pub fn is_empty(&self) -> bool {
        self.ids == [0; ExtensionKind::COUNT]
    }
}

/// Value of [`ExtensionKind::AudioLevel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender believes that this is speech.
    pub voice: bool,
    /// 0 is the loudest, 127 is silence: -dBov.
    pub level: u8,
}

impl AudioLevel {
    /// Reads the value. The two-byte form may be padded to two bytes (RFC 6464, section 3).
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        match *value {
            [byte] | [byte, 0] => Some(Self { voice: byte & 0x80 != 0, level: byte & 0x7f }),
            _ => None,
        }
    }

    /// The value as one byte.
    #[inline]
    pub const fn to_byte(self) -> u8 {
        (self.voice as u8) << 7 | self.level & 0x7f
    }
}

/// Value of [`ExtensionKind::VideoOrientation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoOrientation {
    /// From the back camera.
    pub back_camera: bool,
    /// To be flipped horizontally.
    pub flip: bool,
    /// Degrees clockwise: 0, 90, 180 or 270.
    pub rotation: u16,
}

/// Value of [`ExtensionKind::AbsCaptureTime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsCaptureTime {
    /// When the source captured this, on the clock of who captured it.
    pub capture: NtpTime,
    /// What the one that sends this packet adds to `capture` to have its own clock's time: 32.32 bits
    /// of seconds, signed.
    pub clock_offset: Option<i64>,
}

impl AbsCaptureTime {
    /// Longest value.
    pub const MAX_LEN: usize = 16;

    /// Reads the value.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let clock_offset = match value.len() {
            8 => None,
            16 => u64_at(value, 8).map(|offset| offset as i64),
            _ => return None,
        };
        Some(Self { capture: NtpTime(u64_at(value, 0)?), clock_offset })
    }

    /// The value, and how many bytes of it there are.
    #[inline]
    pub fn to_bytes(self) -> ([u8; Self::MAX_LEN], usize) {
        let mut bytes = [0; Self::MAX_LEN];
        let whole = u128::from(self.capture.0) << 64 | u128::from(self.clock_offset.unwrap_or(0) as u64);
        bytes.copy_from_slice(&whole.to_be_bytes());
        (bytes, if self.clock_offset.is_some() { 16 } else { 8 })
    }
}

/// Value of [`ExtensionKind::PlayoutDelay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// Least delay from capture to display, ms, in steps of 10.
    pub min_ms: u16,
    /// Most, up to 40,950.
    pub max_ms: u16,
}

impl PlayoutDelay {
    /// Reads the value; a least delay above the most is none.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &[a, b, c] = value.first_chunk().filter(|_| value.len() == 3)?;
        let (min, max) = (u16::from(a) << 4 | u16::from(b) >> 4, u16::from(b & 15) << 8 | u16::from(c));
        (min <= max).then_some(Self { min_ms: min * 10, max_ms: max * 10 })
    }
}

/// Reads [`ExtensionKind::TransmissionOffset`]: by how many timestamp units the packet was sent later
/// than its timestamp says; 24 bits, signed (RFC 5450, section 2).
#[inline]
pub fn transmission_offset(value: &[u8]) -> Option<i32> {
    if value.len() == 3 { u24_at(value, 0).map(|offset| (offset << 8) as i32 >> 8) } else { None }
}

/// Reads [`ExtensionKind::AbsSendTime`]: 24 bits of 6.18 fixed point seconds.
#[inline]
pub fn abs_send_time(value: &[u8]) -> Option<u32> {
    if value.len() == 3 { u24_at(value, 0) } else { None }
}

/// 6.18 fixed point seconds of a moment in nanoseconds, as [`ExtensionKind::AbsSendTime`] wants it.
#[inline]
pub const fn abs_send_time_from_nanos(nanos: u64) -> [u8; 3] {
    let fixed = ((nanos as u128) << 18) / 1_000_000_000;
    let [_, a, b, c] = (fixed as u32).to_be_bytes();
    [a, b, c]
}

/// Reads [`ExtensionKind::TransportCc`], also in its longer form of version 02, of which only the
/// number is taken.
#[inline]
pub fn transport_sequence(value: &[u8]) -> Option<u16> {
    if matches!(value.len(), 2 | 4) { u16_at(value, 0) } else { None }
}

/// Reads [`ExtensionKind::Mid`]. Some senders pad it with zero bytes, which are no part of it.
#[inline]
pub fn mid(value: &[u8]) -> Result<Mid, ParseError> {
    Mid::new(without_padding(value))
}

/// Reads [`ExtensionKind::Rid`] and [`ExtensionKind::RepairedRid`]. As [`mid`].
#[inline]
pub fn rid(value: &[u8]) -> Result<Rid, ParseError> {
    Rid::new(without_padding(value))
}

/// Reads [`ExtensionKind::VideoOrientation`].
#[inline]
pub fn video_orientation(value: &[u8]) -> Option<VideoOrientation> {
    if value.len() != 1 {
        return None;
    }
    let byte = u8_at(value, 0)?;
    Some(VideoOrientation { back_camera: byte & 8 != 0, flip: byte & 4 != 0, rotation: u16::from(byte & 3) * 90 })
}

fn without_padding(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    value.get(..end).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_uri() {
        for (index, kind) in ExtensionKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(ExtensionKind::from_uri(kind.uri()), Some(*kind));
        }
        assert_eq!(ExtensionKind::from_uri("urn:ietf:params:rtp-hdrext:encrypt"), None);
    }

    #[test]
    fn numbers_are_unique_and_never_reserved() {
        let mut ids = ExtensionIds::new();
        assert!(ids.is_empty());
        assert!(!ids.set(ExtensionKind::Mid, 0));
        assert!(!ids.set(ExtensionKind::Mid, 15));
        assert!(ids.set(ExtensionKind::Mid, 1));
        assert!(ids.set(ExtensionKind::Mid, 1));
        assert!(!ids.set(ExtensionKind::Rid, 1));
        assert!(ids.set(ExtensionKind::Rid, 255));
        assert_eq!((ids.get(ExtensionKind::Rid), ids.get(ExtensionKind::AudioLevel)), (Some(255), None));
        assert_eq!((ids.kind_of(1), ids.kind_of(2), ids.kind_of(0)), (Some(ExtensionKind::Mid), None, None));
        assert_eq!(ids.iter().collect::<Vec<_>>(), [(ExtensionKind::Mid, 1), (ExtensionKind::Rid, 255)]);
        ids.unset(ExtensionKind::Mid);
        assert!(ids.set(ExtensionKind::Rid, 1));
        assert_eq!(ids.kind_of(255), None);
    }

    #[test]
    fn values_of_wrong_size_are_nothing() {
        assert_eq!(AudioLevel::parse(&[0xff]), Some(AudioLevel { voice: true, level: 127 }));
        assert_eq!(AudioLevel::parse(&[5, 0]).map(AudioLevel::to_byte), Some(5));
        assert_eq!(abs_send_time(&[1, 2, 3]), Some(0x01_0203));
        assert_eq!(abs_send_time_from_nanos(64_500_000_000), [0x02, 0, 0]);
        assert_eq!(transport_sequence(&[1, 2]), Some(0x0102));
        assert_eq!(transport_sequence(&[1, 2, 3, 4]), Some(0x0102));
        assert_eq!(video_orientation(&[0x0f]).unwrap().rotation, 270);
        for len in [0, 5, 6, 16, 255] {
            let value = vec![1; len];
            assert_eq!(AudioLevel::parse(&value), None);
            assert_eq!(abs_send_time(&value), None);
            assert_eq!(transport_sequence(&value), None);
            assert_eq!(video_orientation(&value), None);
        }
    }

    #[test]
    fn row_061_values_that_cannot_be_are_ignored() {
        let time = AbsCaptureTime { capture: NtpTime(0x0102_0304_0506_0708), clock_offset: Some(-2) };
        let (bytes, len) = time.to_bytes();
        assert_eq!((AbsCaptureTime::parse(&bytes[..len]), len), (Some(time), 16));
        let short = AbsCaptureTime { clock_offset: None, ..time };
        assert_eq!(AbsCaptureTime::parse(&short.to_bytes().0[..8]), Some(short));
        assert_eq!(PlayoutDelay::parse(&[0x00, 0xa0, 0x14]), Some(PlayoutDelay { min_ms: 100, max_ms: 200 }));
        assert_eq!(PlayoutDelay::parse(&[0xff, 0xff, 0xff]), Some(PlayoutDelay { min_ms: 40_950, max_ms: 40_950 }));
        assert_eq!(PlayoutDelay::parse(&[0x01, 0x50, 0x14]), None, "least above most");
        assert_eq!(transmission_offset(&[0xff, 0xff, 0xfe]), Some(-2));
        for len in (0..=255).filter(|len| ![1, 2, 3, 8, 16].contains(len)) {
            let value = vec![0x11; len];
            assert_eq!((AbsCaptureTime::parse(&value), PlayoutDelay::parse(&value)), (None, None), "{len}");
            for kind in ExtensionKind::ALL {
                let free = matches!(kind, ExtensionKind::DependencyDescriptor | ExtensionKind::VideoLayersAllocation);
                assert!(free || !kind.accepts(&value) || len == 4, "{kind:?} {len}");
            }
        }
        assert!(!ExtensionKind::VideoLayersAllocation.accepts(&[0xff; 255]));
        assert!(!ExtensionKind::DependencyDescriptor.accepts(&[0xff; 2]));
    }

    #[test]
    fn row_059_names_in_extensions_may_be_padded_but_not_empty_or_illegal() {
        assert_eq!(mid(b"0\0\0\0"), Mid::new(b"0"));
        assert_eq!(rid(b"hi"), Rid::new(b"hi"));
        for bad in [&b""[..], b"\0", b"\0a", b"a b", b"a\0b", &[b'a'; 255]] {
            assert!(mid(bad).is_err());
            assert!(rid(bad).is_err());
        }
    }
}
