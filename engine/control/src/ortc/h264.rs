//! The profile-level-id of H264 (RFC 6184, section 8.1): three bytes in hexadecimal, of which two streams must share
//! the profile; levels may differ where asymmetry is allowed, so they are not compared.

/// What a profile-level-id says about the bit stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Constrained Baseline.
    ConstrainedBaseline,
    /// Baseline.
    Baseline,
    /// Main.
    Main,
    /// Extended.
    Extended,
    /// High.
    High,
    /// Constrained High.
    ConstrainedHigh,
    /// High 4:4:4 Predictive.
    PredictiveHigh444,
    /// Any other pair of profile_idc and profile-iop: equal only to itself.
    Other(u8, u8),
}

/// Browsers take an absent profile-level-id for Constrained Baseline, level 3.1.
pub const DEFAULT: &str = "42e01f";

/// Reads a profile-level-id; `None` if it is not six hexadecimal digits.
pub fn profile(text: &str) -> Option<Profile> {
    let text = text.trim();
    if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(text, 16).ok()?;
    let [_, idc, iop, _level] = number.to_be_bytes();
    // The flags that restrict a profile are constraint_set0 (baseline), 1 (main) and 2 (extended), from the top bit;
    // table 5 of RFC 6184. The lower four bits of a known profile are zero, but for Constrained High.
    let (set0, set1) = (iop & 0x80 != 0, iop & 0x40 != 0);
    let clean = iop & 0x0f == 0;
    Some(match idc {
        0x42 if clean && set1 => Profile::ConstrainedBaseline,
        0x42 if clean => Profile::Baseline,
        0x4d if clean && set0 => Profile::ConstrainedBaseline,
        0x4d if clean && iop & 0x20 == 0 => Profile::Main,
        0x58 if clean && set0 && set1 => Profile::ConstrainedBaseline,
        0x58 if clean && set0 => Profile::Baseline,
        0x58 if clean => Profile::Extended,
        0x64 if iop == 0 => Profile::High,
        0x64 if iop == 0x0c => Profile::ConstrainedHigh,
        0xf4 if iop == 0 => Profile::PredictiveHigh444,
        _ => Profile::Other(idc, iop),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_from_idc_and_constraint_flags() {
        assert_eq!(profile("42e01f"), Some(Profile::ConstrainedBaseline));
        assert_eq!(profile("42E034"), Some(Profile::ConstrainedBaseline));
        assert_eq!(profile("42001f"), Some(Profile::Baseline));
        assert_eq!(profile("4d801f"), Some(Profile::ConstrainedBaseline));
        assert_eq!(profile("4d001f"), Some(Profile::Main));
        assert_eq!(profile("58c01f"), Some(Profile::ConstrainedBaseline));
        assert_eq!(profile("58801f"), Some(Profile::Baseline));
        assert_eq!(profile("580020"), Some(Profile::Extended));
        assert_eq!(profile("64001f"), Some(Profile::High));
        assert_eq!(profile("640c1f"), Some(Profile::ConstrainedHigh));
        assert_eq!(profile("f4001f"), Some(Profile::PredictiveHigh444));
        assert_eq!(profile("42f01f"), Some(Profile::ConstrainedBaseline));
    }

    #[test]
    fn what_is_not_six_digits_is_no_profile() {
        for text in ["", "42e01", "42e01f0", "42e01g", "+2e01f", "４２e01f"] {
            assert_eq!(profile(text), None, "{text}");
        }
    }
}
