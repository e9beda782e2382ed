//! Which shard a new router or server goes to: the one with the fewest objects, the lowest number among equals. A
//! router's transports follow it as long as they are few.
//!
//! Told: objects that come and go, shards that fail. Tells: a shard. Creations under way count, so that a burst of
//! them spreads.

/// Objects of each shard.
#[derive(Debug)]
pub(crate) struct Placement {
    objects: Vec<u64>,
    failed: Vec<bool>,
}

impl Placement {
    pub(crate) fn new(shards: usize) -> Self {
        Self { objects: vec![0; shards], failed: vec![false; shards] }
    }

    pub(crate) fn exists(&self, shard: u8) -> bool {
        usize::from(shard) < self.objects.len()
    }

    pub(crate) fn is_alive(&self, shard: u8) -> bool {
        self.failed.get(usize::from(shard)).is_some_and(|failed| !failed)
    }

    /// Shards that still work.
    pub(crate) fn alive(&self) -> impl Iterator<Item = u8> + '_ {
        // At most 255 shards.
        (0..self.objects.len()).map(|i| i as u8).filter(|shard| self.is_alive(*shard))
    }

    /// Of those that `of` allows.
    pub(crate) fn least_loaded(&self, of: impl Fn(u8) -> bool) -> Option<u8> {
        self.alive().filter(|shard| of(*shard)).min_by_key(|shard| self.objects[usize::from(*shard)])
    }

    pub(crate) fn add(&mut self, shard: u8) {
        if let Some(objects) = self.objects.get_mut(usize::from(shard)) {
            *objects += 1;
        }
    }

    pub(crate) fn take(&mut self, shard: u8, count: usize) {
        if let Some(objects) = self.objects.get_mut(usize::from(shard)) {
            *objects = objects.saturating_sub(count as u64);
        }
    }

    pub(crate) fn fail(&mut self, shard: u8) {
        if let Some(failed) = self.failed.get_mut(usize::from(shard)) {
            *failed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_routers_spreads_evenly_and_leaves_failed_shards_out() {
        let mut placement = Placement::new(3);
        let place = |placement: &mut Placement| {
            let shard = placement.least_loaded(|_| true).unwrap();
            placement.add(shard);
            shard
        };
        assert_eq!([0, 1, 2, 0], std::array::from_fn(|_| place(&mut placement)));
        placement.fail(1);
        assert_eq!([2, 0, 2, 0], std::array::from_fn(|_| place(&mut placement)));
        placement.take(2, 3);
        assert_eq!(place(&mut placement), 2);
        assert_eq!(
            (placement.least_loaded(|shard| shard == 0), placement.least_loaded(|shard| shard == 1)),
            (Some(0), None)
        );
        placement.fail(0);
        placement.fail(2);
        assert_eq!(placement.least_loaded(|_| true), None);
    }
}
