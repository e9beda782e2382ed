//! Indices of one stream: which one a sequence number stands for, and which have been seen.
//!
//! What it is: the packet index of RFC 3711, section 3.3.1, and the replay list of section 3.3.2, behaving as
//! libsrtp's do. It is told sequence numbers, and in a second step that a packet was good; it tells indices.
//! Estimating changes nothing: only [`Window::commit`] moves, so that what does not verify leaves no trace.
//! Limits: [`REPLAY_WINDOW`] indices back; an index has 48 bits. It leaves out the packets.

use sfu_wire::drop_reason::DropReason;

use super::REPLAY_WINDOW;

const WORDS: usize = REPLAY_WINDOW / 64;
const HALF: i64 = 1 << 15;
const CYCLE: i64 = 1 << 16;

/// The newest index, and which of the last [`REPLAY_WINDOW`] were committed: bit `index % REPLAY_WINDOW`.
#[derive(Debug, Clone)]
pub(super) struct Window {
    newest: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// A stream of which nothing was seen: it is taken to be in its first cycle.
    pub(super) const fn new() -> Self {
        Self { newest: 0, seen: [0; WORDS] }
    }

    /// The index for which `sequence` stands most likely. `SrtpReplay` if it has been committed or lies too
    /// far back, `SrtpKeyExhausted` beyond the last index that a key may have.
    #[inline]
    pub(super) fn estimate(&self, sequence: u16) -> Result<u64, DropReason> {
        let index = self.closest(sequence)?;
        let replay = index.saturating_add(REPLAY_WINDOW as u64) <= self.newest
            || (index <= self.newest && self.word(index) & bit(index) != 0);
        if replay { Err(DropReason::SrtpReplay) } else { Ok(index) }
    }

    /// Of the indices with these low bits, the one closest to the newest. Within the first half cycle nothing has
    /// wrapped yet, so that a stream's first packet is not taken for one from before its beginning.
    #[inline]
    fn closest(&self, sequence: u16) -> Result<u64, DropReason> {
        let newest = self.newest as i64;
        let sequence = i64::from(sequence);
        if newest <= HALF {
            return Ok(sequence as u64);
        }
        let mut index = (newest & !(CYCLE - 1)) | sequence;
        if newest & (CYCLE - 1) < HALF {
            if index - newest > HALF {
                index -= CYCLE;
            }
        } else if newest - HALF > index {
            index += CYCLE;
        }
        match u64::try_from(index) {
            Ok(index) if index < 1 << 48 => Ok(index),
            Ok(_) => Err(DropReason::SrtpKeyExhausted),
            Err(_) => Err(DropReason::SrtpReplay),
        }
    }

    /// A packet with an index that [`Window::estimate`] told was good, or is sent.
    #[inline]
    pub(super) fn commit(&mut self, index: u64) {
        if index > self.newest {
            let step = index - self.newest;
            if step >= REPLAY_WINDOW as u64 {
                self.seen = [0; WORDS];
            } else {
                for passed in self.newest + 1..index {
                    *self.word_mut(passed) &= !bit(passed);
                }
            }
            self.newest = index;
        }
        *self.word_mut(index) |= bit(index);
    }

    fn word(&self, index: u64) -> u64 {
        self.seen[(index as usize % REPLAY_WINDOW) / 64]
    }

    fn word_mut(&mut self, index: u64) -> &mut u64 {
        &mut self.seen[(index as usize % REPLAY_WINDOW) / 64]
    }
}

const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn take(window: &mut Window, sequence: u16) -> Result<u64, DropReason> {
        let index = window.estimate(sequence)?;
        window.commit(index);
        Ok(index)
    }

    #[test]
    fn row_025_indices_go_on_over_wraps() {
        let mut window = Window::new();
        for index in 30_000..300_000u64 {
            assert_eq!(take(&mut window, index as u16), Ok(index));
            assert_eq!(window.estimate(index as u16), Err(DropReason::SrtpReplay));
        }
        assert_eq!(take(&mut window, (299_999u64 - 1024) as u16), Err(DropReason::SrtpReplay), "too far back");
    }

    #[test]
    fn row_036_the_last_index_is_the_last() {
        let last = (1u64 << 48) - 1;
        let mut window = Window { newest: last - 2, seen: [0; WORDS] };
        assert_eq!(take(&mut window, (last - 1) as u16), Ok(last - 1));
        assert_eq!(take(&mut window, last as u16), Ok(last));
        assert_eq!(take(&mut window, 0), Err(DropReason::SrtpKeyExhausted));
    }

    proptest! {
        /// Against a set: nothing is taken twice, nothing within reach is refused that is new.
        #[test]
        fn row_024_agrees_with_a_set(start in 0u64..200_000, steps in prop::collection::vec((0u8..10, 0u64..3000), 1..300)) {
            let mut window = Window::new();
            let mut seen = BTreeSet::new();
            // The stream is followed up to its start first.
            for index in (0..start).step_by(20_000).chain([start]) {
                prop_assert_eq!(take(&mut window, index as u16), Ok(index));
                seen.insert(index);
            }
            let mut newest = start;
            for (kind, by) in steps {
                let index = if kind < 6 { newest + 1 + by % 5 } else if kind < 9 { newest.saturating_sub(by) } else { newest + by };
                let expected = !seen.contains(&index) && index + (REPLAY_WINDOW as u64) > newest;
                prop_assert_eq!(take(&mut window, index as u16).ok(), expected.then_some(index));
                if expected {
                    seen.insert(index);
                    newest = newest.max(index);
                }
            }
        }
    }
}
