//! What media is called: kind, MID and RID. Names are stored inline, so that tables of them need no
//! allocation and copies cost 33 bytes.

use std::fmt;

use crate::error::ParseError;

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl MediaKind {
    /// As in SDP and in MIME types.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// Longest MID or RID that is taken. The two-byte header extension could carry 255 bytes; real ones
/// have one to sixteen.
pub const NAME_CAP: usize = 32;

/// Characters of an SDP token (RFC 8866, section 9), which a MID is.
const fn is_token(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x27 | 0x2a | 0x2b | 0x2d | 0x2e | 0x30..=0x39 | 0x41..=0x5a | 0x5e..=0x7e)
}

/// Characters of a RID (RFC 8851, section 10).
const fn is_rid_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $legal:ident, $empty:literal, $long:literal, $illegal:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            bytes: [u8; NAME_CAP],
            len: u8,
        }

        impl $name {
            /// Checks and takes a name: 1 to [`NAME_CAP`] legal characters.
            pub fn new(name: &[u8]) -> Result<Self, ParseError> {
                if name.is_empty() {
                    return Err(ParseError::new($empty, 0));
                }
                let mut bytes = [0; NAME_CAP];
                let Some(slot) = bytes.get_mut(..name.len()) else {
                    return Err(ParseError::new($long, NAME_CAP));
                };
                if let Some(at) = name.iter().position(|byte| !$legal(*byte)) {
                    return Err(ParseError::new($illegal, at));
                }
                slot.copy_from_slice(name);
                Ok(Self { bytes, len: name.len() as u8 })
            }

            /// The name.
            #[inline]
            pub fn as_bytes(&self) -> &[u8] {
                self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
            }

            /// The name; all legal characters are ASCII.
            #[inline]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(self.as_bytes()).unwrap_or("")
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseError;

            fn from_str(name: &str) -> Result<Self, ParseError> {
                Self::new(name.as_bytes())
            }
        }
    };
}

name! {
    /// Name of an m-section (RFC 9143).
    Mid, is_token, "empty MID", "MID too long", "illegal character in MID"
}

name! {
    /// Name of an encoding within an m-section (RFC 8851, RFC 8852).
    Rid, is_rid_char, "empty RID", "RID too long", "illegal character in RID"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_059_mid_and_rid_have_legal_characters_and_lengths() {
        for len in [0, 33, 255] {
            assert!(Mid::new(&vec![b'a'; len]).is_err());
            assert!(Rid::new(&vec![b'a'; len]).is_err());
        }
        for len in [1, 16, 32] {
            let name = vec![b'a'; len];
            assert_eq!(Mid::new(&name).unwrap().as_bytes(), name);
            assert_eq!(Rid::new(&name).unwrap().as_str().len(), len);
        }
        for byte in 0..=255 {
            let rid = Rid::new(&[b'a', byte]);
            assert_eq!(rid.is_ok(), byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            let token = byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte);
            assert_eq!(Mid::new(&[byte]).is_ok(), token, "{byte}");
        }
        assert_eq!(Rid::new(b"hi\0"), Err(ParseError::new("illegal character in RID", 2)));
    }

    #[test]
    fn equal_names_are_equal_values() {
        assert_eq!(Mid::new(b"0"), "0".parse());
        assert_ne!(Mid::new(b"0"), Mid::new(b"00"));
        assert_eq!(format!("{:?} {}", Rid::new(b"hi").unwrap(), Mid::new(b"v").unwrap()), "Rid(\"hi\") v");
    }
}
