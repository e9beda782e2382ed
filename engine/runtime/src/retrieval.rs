//! A small table that tells for each known key its value, exactly, and for any other key anything.
//!
//! Told: hashes of keys with their values. Tells: words of 32 bits, in three equal parts. A key names one field in each
//! part, and the exclusive or of the three is its value (a static function by hypergraph peeling, as in xor filters).
//! The keys themselves are not kept: that takes a quarter more bits than the values have, and is what lets ten
//! thousand of them fit into a program of the kernel's classic packet filter, which has no other memory than its own
//! instructions. So all arithmetic is of 32 bits, and such as that filter has.
//!
//! Limits: those of the caller, in words. Two keys with one hash but two values, or an unlucky seed, make it fail: the
//! caller hashes anew with another seed.

/// Fields for each key, in hundredths: peeling succeeds above 1.22 when there are many keys.
const FIELDS_PER_HUNDRED: usize = 125;
/// More fields, for when there are few.
const SPARE_FIELDS: usize = 24;

/// Multipliers of the hash: odd, with bits spread evenly (the golden ratio, and those of lowbias32).
pub(crate) const SPREAD: u32 = 0x9e37_79b1;
pub(crate) const MIX: [u32; 2] = [0x7feb_352d, 0x846c_a68b];
/// What makes three positions of one hash.
pub(crate) const PART_SALT: [u32; 3] = [0, 0x5bd1_e995, 0xc2b2_ae35];

/// Hashes a key, word for word.
pub(crate) fn hash(seed: u32, words: &[u32]) -> u32 {
    words.iter().fold(seed, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(SPREAD);
        mixed ^ mixed >> 15
    })
}

/// A hash made anew for one of the parts.
pub(crate) fn mix(hash: u32, part: usize) -> u32 {
    let mut mixed = (hash ^ PART_SALT[part]).wrapping_mul(MIX[0]);
    mixed ^= mixed >> 15;
    mixed = mixed.wrapping_mul(MIX[1]);
    mixed ^ mixed >> 16
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Bits of a value, 1 to 8.
    pub(crate) bits: u32,
    /// Three parts of equal length.
    pub(crate) words: Vec<u32>,
}

impl Table {
    /// Words for so many keys.
    pub(crate) fn words_for(keys: usize, bits: u32) -> usize {
        let fields = keys * FIELDS_PER_HUNDRED / 100 + SPARE_FIELDS;
        3 * fields.div_ceil(3).div_ceil(fields_per_word(bits) as usize)
    }

    /// How many keys so many words are for.
    pub(crate) fn keys_for(words: usize, bits: u32) -> usize {
        let fields = words / 3 * 3 * fields_per_word(bits) as usize;
        fields.saturating_sub(SPARE_FIELDS + 3) * 100 / FIELDS_PER_HUNDRED
    }

    /// Makes a table; `None` if it does not come out with these hashes.
    pub(crate) fn build(keys: &[(u32, u8)], bits: u32) -> Option<Self> {
        let words = Self::words_for(keys.len(), bits);
        let mut table = Self { bits, words: vec![0; words] };
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let order = table.peel(&keys)?;
        for (key, part) in order.into_iter().rev() {
            let (hash, value) = keys[key];
            let difference = table.value(hash) ^ u32::from(value);
            let (word, shift) = table.field(hash, part);
            table.words[word] ^= difference << shift;
        }
        Some(table)
    }

    /// The value of a key.
    pub(crate) fn value(&self, hash: u32) -> u32 {
        let read = |part| {
            let (word, shift) = self.field(hash, part);
            self.words[word] >> shift
        };
        (read(0) ^ read(1) ^ read(2)) & ((1 << self.bits) - 1)
    }

    /// Fields of one part.
    pub(crate) fn part_fields(&self) -> u32 {
        (self.words.len() / 3) as u32 * fields_per_word(self.bits)
    }

    /// Word and shift of a key's field in a part.
    fn field(&self, hash: u32, part: usize) -> (usize, u32) {
        let position = mix(hash, part) % self.part_fields();
        let (word, field) = (position / fields_per_word(self.bits), position % fields_per_word(self.bits));
        (part * (self.words.len() / 3) + word as usize, field * self.bits)
    }

    /// Takes away keys that are alone in a field, again and again: each with that field's part, in that order.
    fn peel(&self, keys: &[(u32, u8)]) -> Option<Vec<(usize, usize)>> {
        let fields = self.part_fields() as usize;
        let place = |hash: u32, part: usize| part * fields + (mix(hash, part) % self.part_fields()) as usize;
        // Of each field, how many keys are in it, and the exclusive or of their numbers.
        let mut load = vec![(0_u32, 0_usize); 3 * fields];
        for (number, (hash, _)) in keys.iter().enumerate() {
            for part in 0..3 {
                let (count, all) = &mut load[place(*hash, part)];
                (*count, *all) = (*count + 1, *all ^ number);
            }
        }
        let mut alone: Vec<usize> = (0..load.len()).filter(|field| load[*field].0 == 1).collect();
        let mut order = Vec::with_capacity(keys.len());
        while let Some(field) = alone.pop() {
            let (1, number) = load[field] else { continue };
            order.push((number, field / fields));
            for part in 0..3 {
                let other = place(keys[number].0, part);
                let (count, all) = &mut load[other];
                (*count, *all) = (*count - 1, *all ^ number);
                if *count == 1 {
                    alone.push(other);
                }
            }
        }
        (order.len() == keys.len()).then_some(order)
    }
}

/// How many values a word holds.
pub(crate) fn fields_per_word(bits: u32) -> u32 {
    u32::BITS / bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize, values: u32, seed: u32) -> Vec<(u32, u8)> {
        (0..count as u32)
            .map(|n| (hash(seed, &[0x0a00_0000 + n / 100, 40_000 + n % 100]), (n % values) as u8))
            .collect()
    }

    #[test]
    fn every_key_has_its_value_again_at_every_size() {
        for bits in [1, 2, 3, 6, 8] {
            for count in [0, 1, 2, 3, 10, 100, 1_000, 10_000] {
                let made = (1..64).find_map(|seed| {
                    let keys = keys(count, 1 << bits, seed);
                    Some((Table::build(&keys, bits)?, keys))
                });
                let (table, keys) = made.expect("one of 63 seeds serves");
                assert!(keys.iter().all(|(hash, value)| table.value(*hash) == u32::from(*value)), "{bits} {count}");
                assert_eq!(table.words.len(), Table::words_for(count, bits));
                assert!(Table::keys_for(table.words.len(), bits) + 40 >= count);
            }
        }
    }

    #[test]
    fn seeds_serve_more_often_than_not() {
        for count in [5, 50, 500, 5_000] {
            let served = (1..=40).filter(|seed| Table::build(&keys(count, 2, *seed), 1).is_some()).count();
            assert!(served >= 20, "{served} of 40 seeds for {count} keys");
        }
    }

    #[test]
    fn one_hash_with_two_values_fails_and_with_one_value_does_not() {
        assert!(Table::build(&[(7, 0), (7, 1)], 1).is_none());
        assert_eq!(Table::build(&[(7, 1), (7, 1)], 1).map(|table| table.value(7)), Some(1));
    }

    #[test]
    fn words_for_as_many_keys_as_fit_are_no_more_than_there_are() {
        for bits in 1..=8 {
            for words in [12, 99, 300, 1_200] {
                let fit = Table::keys_for(words, bits);
                assert!(fit == 0 || Table::words_for(fit, bits) <= words, "{bits} bits, {words} words, {fit} keys");
            }
        }
    }
}
