//! Layers: how many of them an encoding has, and which of them are meant.
//!
//! Scalability modes are named as in W3C webrtc-svc: `L` spatial layers that depend on each other, or
//! `S` that do not, `T` temporal layers; `h` after it has layers of 2:3 in size, `_KEY` lets spatial
//! layers depend on each other in key frames only, `_KEY_SHIFT` does and moves the temporal patterns.

use std::fmt;
use std::str::FromStr;

use crate::error::ParseError;

/// Most spatial layers, or encodings of a source: three bits of a number in VP9.
pub const MAX_SPATIAL: u8 = 8;
/// Most temporal layers.
pub const MAX_TEMPORAL: u8 = 8;

/// What one encoding consists of. Default: one layer of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScalabilityMode {
    /// Spatial layers within the encoding, 1 to [`MAX_SPATIAL`].
    pub spatial: u8,
    /// Temporal layers, 1 to [`MAX_TEMPORAL`].
    pub temporal: u8,
    /// Spatial layers depend on each other in key frames only (K-SVC).
    pub key: bool,
    /// Spatial layers that do not depend on each other at all, within one stream (`S` modes): their
    /// number; 1 for `L` modes.
    pub simulcast: u8,
    /// Layers are of 2:3 in size, not 1:2 (`h`).
    pub half: bool,
    /// Temporal patterns of spatial layers are moved against each other (`_KEY_SHIFT`).
    pub shift: bool,
}

impl Default for ScalabilityMode {
    fn default() -> Self {
        Self { spatial: 1, temporal: 1, key: false, simulcast: 1, half: false, shift: false }
    }
}

impl ScalabilityMode {
    /// More than one spatial layer, whether they depend on each other or not.
    pub fn is_spatial(&self) -> bool {
        self.spatial > 1
    }
}

impl FromStr for ScalabilityMode {
    type Err = ParseError;

    /// Reads `L1T3`, `L3T3_KEY`, `L2T1h`, `S3T3`, `L3T3_KEY_SHIFT` and their like.
    fn from_str(name: &str) -> Result<Self, ParseError> {
        let bytes = name.as_bytes();
        let number = |at: usize, max: u8, error: &'static str| match bytes.get(at) {
            Some(digit @ b'1'..=b'9') if digit - b'0' <= max => Ok(digit - b'0'),
            _ => Err(ParseError::new(error, at)),
        };
        let letter = *bytes.first().ok_or(ParseError::new("empty scalability mode", 0))?;
        if !matches!(letter, b'L' | b'S') {
            return Err(ParseError::new("scalability mode begins with neither L nor S", 0));
        }
        let spatial = number(1, MAX_SPATIAL, "spatial layers are 1 to 8")?;
        if bytes.get(2) != Some(&b'T') {
            return Err(ParseError::new("scalability mode without T", 2));
        }
        let temporal = number(3, MAX_TEMPORAL, "temporal layers are 1 to 8")?;
        let rest = name.get(4..).unwrap_or("");
        let (half, rest) = rest.strip_prefix('h').map_or((false, rest), |rest| (true, rest));
        let (key, shift) = match rest {
            "" => (false, false),
            "_KEY" => (true, false),
            "_KEY_SHIFT" => (true, true),
            _ => return Err(ParseError::new("unknown end of a scalability mode", 4)),
        };
        let simulcast = if letter == b'S' { spatial } else { 1 };
        Ok(Self { spatial, temporal, key, simulcast, half, shift })
    }
}

impl fmt::Display for ScalabilityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = if self.simulcast > 1 { 'S' } else { 'L' };
        write!(f, "{letter}{}T{}", self.spatial, self.temporal)?;
        if self.half {
            f.write_str("h")?;
        }
        f.write_str(match (self.key, self.shift) {
            (false, _) => "",
            (true, false) => "_KEY",
            (true, true) => "_KEY_SHIFT",
        })
    }
}

/// A pair of layers: all up to and including these. Ordered by size first, then by rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Layers {
    /// Index of the encoding for simulcast, spatial id within the encoding otherwise.
    pub spatial: u8,
    /// Temporal id.
    pub temporal: u8,
}

impl Layers {
    /// A pair.
    #[inline]
    pub const fn new(spatial: u8, temporal: u8) -> Self {
        Self { spatial, temporal }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}T{}", self.spatial, self.temporal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for name in ["L1T1", "L1T3", "L3T3", "L3T3_KEY", "L2T2_KEY_SHIFT", "L2T1h", "S3T3", "S2T1h", "L3T3h", "L8T8"] {
            let mode: ScalabilityMode = name.parse().unwrap();
            assert_eq!(mode.to_string(), name);
        }
        let mode: ScalabilityMode = "L3T2_KEY".parse().unwrap();
        assert_eq!((mode.spatial, mode.temporal, mode.key, mode.simulcast), (3, 2, true, 1));
        let mode: ScalabilityMode = "S3T1".parse().unwrap();
        assert_eq!((mode.spatial, mode.simulcast, mode.is_spatial()), (3, 3, true));
        assert_eq!(ScalabilityMode::default().to_string(), "L1T1");
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for bad in
            ["", "L", "L1", "L1T", "L0T1", "L1T0", "L9T1", "L1T9", "T1L1", "l1t1", "L1T1_", "L1T1KEY", "L10T1", "Lé"]
        {
            assert!(bad.parse::<ScalabilityMode>().is_err(), "{bad}");
        }
    }
}
