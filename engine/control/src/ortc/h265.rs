//! What of the fmtp line of H265 (RFC 7798, section 7.1) two sides must agree on: the profile (space, id, tier) and the
//! transmission mode. Levels are bounds, not forms of the bit stream: they may differ, and the lower one is agreed on.

use super::codec::{integer, text};
use super::types::{ParameterValue, Parameters};

/// Level 3.1, if nothing is said (RFC 7798, section 7.1).
const LEVEL: i64 = 93;

/// Name, greatest value and the value if absent of each number that is looked at.
const NUMBERS: [(&str, i64, i64); 4] =
    [("profile-space", 3, 0), ("profile-id", 31, 1), ("tier-flag", 1, 0), ("level-id", 255, LEVEL)];

/// Main, main tier, one RTP stream.
fn mode(parameters: &Parameters) -> String {
    text(parameters, "tx-mode", "SRST").to_ascii_uppercase()
}

/// Do both name the same bit stream?
pub fn same(a: &Parameters, b: &Parameters) -> bool {
    let agrees = |(name, _, absent): &(&str, i64, i64)| integer(a, name, *absent) == integer(b, name, *absent);
    NUMBERS.iter().filter(|(name, ..)| *name != "level-id").all(agrees) && mode(a) == mode(b)
}

/// What is wrong: the parameter, and what it may be.
pub fn fault(parameters: &Parameters) -> Option<(&'static str, String)> {
    for (name, max, _) in NUMBERS {
        let Some(value) = parameters.get(name) else { continue };
        if !value.as_integer().is_some_and(|v| (0..=max).contains(&v)) {
            return Some((name, format!("0 to {max}")));
        }
    }
    (!matches!(mode(parameters).as_str(), "SRST" | "MRST" | "MRMT"))
        .then(|| ("tx-mode", "SRST, MRST or MRMT".to_owned()))
}

/// Lowers the level in `parameters` to that of a receiver that says one.
pub fn bound_level(parameters: &mut Parameters, receiver: &Parameters) {
    let Some(theirs) = receiver.get("level-id").and_then(ParameterValue::as_integer) else { return };
    if theirs < integer(parameters, "level-id", LEVEL) {
        parameters.insert("level-id".to_owned(), theirs.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, ParameterValue)]) -> Parameters {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn profile_tier_and_mode_tell_streams_apart_and_levels_do_not() {
        let main = of(&[("profile-id", 1.into()), ("level-id", 180.into())]);
        assert!(same(&Parameters::new(), &main));
        assert!(same(&main, &of(&[("profile-id", "1".into()), ("tx-mode", "srst".into())])));
        for (name, value) in [("profile-id", 2.into()), ("tier-flag", 1.into()), ("tx-mode", "MRST".into())] {
            assert!(!same(&main, &of(&[(name, value)])), "{name}");
        }
    }

    #[test]
    fn row_078_numbers_out_of_range_are_named() {
        let fault = |name: &'static str, value: ParameterValue| fault(&of(&[(name, value)])).map(|(name, _)| name);
        assert_eq!(fault("profile-id", 31.into()), None);
        assert_eq!(fault("profile-id", 32.into()), Some("profile-id"));
        assert_eq!(fault("tier-flag", 2.into()), Some("tier-flag"));
        assert_eq!(fault("level-id", "high".into()), Some("level-id"));
        assert_eq!(fault("level-id", ParameterValue::Number(0.5)), Some("level-id"));
        assert_eq!(fault("tx-mode", "SRMT".into()), Some("tx-mode"));
    }

    #[test]
    fn the_lower_level_is_agreed_on() {
        let agreed = |sender: &[(&str, ParameterValue)], receiver: &[(&str, ParameterValue)]| {
            let mut parameters = of(sender);
            bound_level(&mut parameters, &of(receiver));
            integer(&parameters, "level-id", LEVEL)
        };
        assert_eq!(agreed(&[("level-id", 180.into())], &[("level-id", 93.into())]), 93);
        assert_eq!(agreed(&[("level-id", 93.into())], &[("level-id", 180.into())]), 93);
        assert_eq!(agreed(&[("level-id", 180.into())], &[]), 180);
        assert_eq!(agreed(&[], &[("level-id", 60.into())]), 60);
    }
}
