//! A queue with a cap.

use std::collections::VecDeque;

/// First in, first out, of at most `cap` values. Memory is reserved at once.
#[derive(Debug, Clone)]
pub struct Ring<T> {
    values: VecDeque<T>,
    cap: usize,
}

impl<T> Ring<T> {
    /// An empty ring.
    pub fn new(cap: usize) -> Self {
        Self { values: VecDeque::with_capacity(cap), cap }
    }

    /// Adds at the back; gives the value back if the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        self.values.push_back(value);
        Ok(())
    }

    /// Adds at the back; if the ring is full, the oldest value makes room and is returned. With a
    /// cap of 0 that is `value` itself.
    #[inline]
    pub fn push_evicting(&mut self, value: T) -> Option<T> {
        if self.cap == 0 {
            return Some(value);
        }
        let oldest = if self.is_full() { self.values.pop_front() } else { None };
        self.values.push_back(value);
        oldest
    }

    /// Takes the oldest.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.values.pop_front()
    }

    /// Drops all values and keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// A value by its age, to change: 0 is the oldest.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.values.get_mut(index)
    }

    /// A value by its age: 0 is the oldest.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.values.get(index)
    }

    /// The oldest.
    #[inline]
    pub fn front(&self) -> Option<&T> {
        self.values.front()
    }

    /// The newest.
    #[inline]
    pub fn back(&self) -> Option<&T> {
        self.values.back()
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.values.iter()
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Is there none?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Would the next push be refused?
    #[inline]
    pub fn is_full(&self) -> bool {
        self.values.len() >= self.cap
    }

    /// How many there may be.
    #[inline]
    pub fn cap(&self) -> usize {
        self.cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_and_order_is_kept() {
        let mut ring = Ring::new(3);
        for i in 0..3 {
            assert_eq!(ring.push(i), Ok(()));
        }
        assert_eq!(ring.push(9), Err(9));
        assert_eq!(ring.push_evicting(3), Some(0));
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((ring.front(), ring.back(), ring.get(1), ring.len()), (Some(&1), Some(&3), Some(&2), 3));
        assert_eq!(ring.pop(), Some(1));
        assert_eq!(ring.push_evicting(4), None);
        ring.clear();
        assert!(ring.is_empty() && !ring.is_full());
        assert_eq!(Ring::new(0).push_evicting(1), Some(1));
    }

    #[test]
    fn a_ring_never_grows_its_memory() {
        let mut ring = Ring::new(100);
        let before = ring.values.capacity();
        for i in 0..10_000 {
            ring.push_evicting(i);
        }
        assert_eq!((ring.len(), ring.values.capacity()), (100, before));
    }
}
