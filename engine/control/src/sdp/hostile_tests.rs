//! Offers cut, mixed and changed: each is read or refused, and answered within itself.

use proptest::prelude::*;

use crate::fuzz::{description, description_seeds};

#[test]
fn every_seed_holds_under_the_fuzz_body() {
    for (_, text) in description_seeds() {
        description(text.as_bytes());
        // Cut anywhere.
        for at in (0..text.len()).step_by(97) {
            description(&text.as_bytes()[..at]);
        }
    }
}

proptest! {
    #[test]
    fn h40_any_text_is_read_or_refused(text in "\\PC{0,400}") {
        description(text.as_bytes());
    }

    #[test]
    fn h40_lines_of_real_offers_in_any_order_are_read_or_refused_and_answered_within_the_offer(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..80),
    ) {
        let seeds = description_seeds();
        let mut text = String::from("v=0\r\n");
        for (seed, line) in picks {
            let lines: Vec<&str> = seed.get(&seeds).1.lines().collect();
            text.push_str(lines[line.index(lines.len())]);
            text.push_str("\r\n");
        }
        description(text.as_bytes());
    }

    #[test]
    fn h40_an_offer_with_bytes_changed_is_read_or_refused_and_answered_within_the_offer(
        seed in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
    ) {
        let mut bytes = seed.get(&description_seeds()).1.as_bytes().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        description(&bytes);
    }
}
