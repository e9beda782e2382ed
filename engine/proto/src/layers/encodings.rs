//! Which encoding of a source a receiver gets.

/// The encoding to follow, of `count`, lowest first: the best of those that are `active` (one bit each) at
/// or below the preferred one; else the lowest one above, since a publisher may not send its low ones at
/// all; else, while nothing is sent, the preferred one.
pub fn choose_encoding(preferred: Option<u8>, active: u32, count: u8) -> u8 {
    let top = count.saturating_sub(1).min(31);
    let preferred = preferred.unwrap_or(top).min(top);
    let all = (2_u64 << top) as u32;
    let active = active & all.wrapping_sub(1);
    let below = active & ((2_u64 << preferred) - 1) as u32;
    match (below, active) {
        (0, 0) => preferred,
        (0, above) => above.trailing_zeros() as u8,
        (below, _) => 31 - below.leading_zeros() as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_best_active_one_at_or_below_the_preferred() {
        assert_eq!(choose_encoding(None, 0b111, 3), 2);
        assert_eq!(choose_encoding(Some(1), 0b111, 3), 1);
        assert_eq!(choose_encoding(Some(2), 0b011, 3), 1, "the high one fell silent");
        assert_eq!(choose_encoding(Some(0), 0b110, 3), 1, "the low one was never started");
        assert_eq!(choose_encoding(Some(9), 0b001, 3), 0);
        assert_eq!(choose_encoding(Some(1), 0, 3), 1, "nothing is sent yet");
        assert_eq!(choose_encoding(None, 0, 1), 0);
        assert_eq!(choose_encoding(None, u32::MAX, 200), 31);
        assert_eq!(choose_encoding(Some(3), u32::MAX, 0), 0);
    }

    proptest! {
        #[test]
        fn what_is_chosen_exists_and_is_sent_if_anything_is(preferred in any::<Option<u8>>(), active in any::<u32>(), count in 1u8..=32) {
            let chosen = choose_encoding(preferred, active, count);
            prop_assert!(chosen < count);
            let sent: Vec<u8> = (0..count).filter(|e| active >> e & 1 == 1).collect();
            if !sent.is_empty() {
                prop_assert!(sent.contains(&chosen));
                let limit = preferred.unwrap_or(count);
                let best = sent.iter().rev().find(|e| **e <= limit).or(sent.first());
                prop_assert_eq!(Some(&chosen), best);
            }
        }
    }
}
