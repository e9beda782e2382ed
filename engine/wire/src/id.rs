//! Names of objects that cross threads, queues and the public interface, and the table that resolves
//! them.
//!
//! ```text
//!  63      56 55      48 47                24 23                 0
//! +----------+----------+--------------------+-------------------+
//! |  shard   |   kind   |     generation     |       index       |
//! +----------+----------+--------------------+-------------------+
//! ```
//!
//! An id carries its shard, so that a request finds its way without a table, and a generation, so
//! that an id whose object is gone never means another object.

use std::fmt;
use std::str::FromStr;

/// Bits of a generation and of an index.
const FIELD_BITS: u32 = 24;
const FIELD_MASK: u32 = (1 << FIELD_BITS) - 1;

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ObjectKind {
    /// A room.
    Router = 1,
    /// Sockets shared by transports.
    WebRtcServer = 2,
    /// A peer connection.
    Transport = 3,
    /// An incoming media source.
    Producer = 4,
    /// An outgoing copy of a producer.
    Consumer = 5,
    /// A listener to the producers of a room.
    Observer = 6,
}

impl ObjectKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [ObjectKind; 6] =
        [Self::Router, Self::WebRtcServer, Self::Transport, Self::Producer, Self::Consumer, Self::Observer];

    /// The kind with this number.
    #[inline]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Router),
            2 => Some(Self::WebRtcServer),
            3 => Some(Self::Transport),
            4 => Some(Self::Producer),
            5 => Some(Self::Consumer),
            6 => Some(Self::Observer),
            _ => None,
        }
    }

    /// The name used in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::WebRtcServer => "webrtc_server",
            Self::Transport => "transport",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Observer => "observer",
        }
    }
}

/// The name of an object: shard, kind, generation and index. An id made by [`ObjectId::new`] is
/// never 0, since kinds start at 1; one made by [`ObjectId::from_u64`] may be anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(u64);

impl ObjectId {
    /// Makes an id. Only the low 24 bits of `generation` and `index` count.
    #[inline]
    pub const fn new(shard: u8, kind: ObjectKind, generation: u32, index: u32) -> Self {
        Self(
            (shard as u64) << 56
                | (kind as u64) << 48
                | ((generation & FIELD_MASK) as u64) << FIELD_BITS
                | (index & FIELD_MASK) as u64,
        )
    }

    /// The shard that the object lives on.
    #[inline]
    pub const fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// What it names; `None` for numbers that no table ever gave out.
    #[inline]
    pub const fn kind(self) -> Option<ObjectKind> {
        ObjectKind::from_u8((self.0 >> 48) as u8)
    }

    /// How often its slot had been used before, plus one.
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0 >> FIELD_BITS) as u32 & FIELD_MASK
    }

    /// The slot in its table.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0 as u32 & FIELD_MASK
    }

    /// The number.
    #[inline]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// Any number; a table refuses the ones that it did not give out.
    #[inline]
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind().map_or("?", ObjectKind::name);
        write!(f, "ObjectId({kind} {:016x})", self.0)
    }
}

impl FromStr for ObjectId {
    type Err = std::num::ParseIntError;

    /// The inverse of `Display`: hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A slab whose keys are [`ObjectId`]s. A removed id is never found again: each use of a slot has
/// its own generation, and a slot whose generations are used up is retired.
#[derive(Debug)]
pub struct IdTable<T> {
    shard: u8,
    kind: ObjectKind,
    cap: usize,
    /// The index of the first slot.
    base: u32,
    /// How many slots there may be.
    room: u32,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> IdTable<T> {
    /// An empty table for objects of one kind, of at most `cap` live ones.
    pub fn new(shard: u8, kind: ObjectKind, cap: usize) -> Self {
        Self::in_part(shard, kind, cap, 0, 1)
    }

    /// An empty table whose ids no other of the `parts` tables of that shard and kind gives out.
    pub fn in_part(shard: u8, kind: ObjectKind, cap: usize, part: u8, parts: u8) -> Self {
        let room = (1 << FIELD_BITS) / u32::from(parts.max(1));
        let (base, cap) = (room * u32::from(part.min(parts.saturating_sub(1))), cap.min(room as usize));
        Self { shard, kind, cap, base, room, slots: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// The place of an id's slot.
    #[inline]
    fn place(&self, id: ObjectId) -> usize {
        id.index().wrapping_sub(self.base) as usize
    }

    /// Adds a value; `None` if the table is full.
    pub fn insert(&mut self, value: T) -> Option<ObjectId> {
        self.insert_with(|_| value)
    }

    /// The id that the next insertion gives; `None` if the table is full.
    pub fn next_id(&self) -> Option<ObjectId> {
        if self.len >= self.cap {
            return None;
        }
        let index = match self.free.last() {
            Some(index) => *index,
            None => u32::try_from(self.slots.len()).ok().filter(|i| *i < self.room)?,
        };
        let generation = self.slots.get(index as usize).map_or(1, |slot| slot.generation);
        Some(ObjectId::new(self.shard, self.kind, generation, self.base + index))
    }

    /// Adds a value that knows its own id; `None`, without calling `make`, if the table is full.
    pub fn insert_with(&mut self, make: impl FnOnce(ObjectId) -> T) -> Option<ObjectId> {
        if self.len >= self.cap {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).ok().filter(|i| *i < self.room)?;
                self.slots.push(Slot { generation: 1, value: None });
                index
            }
        };
        let slot = self.slots.get_mut(index as usize)?;
        let id = ObjectId::new(self.shard, self.kind, slot.generation, self.base + index);
        slot.value = Some(make(id));
        self.len += 1;
        Some(id)
    }

    /// Takes a value out; its id is dead from now on.
    pub fn remove(&mut self, id: ObjectId) -> Option<T> {
        if !self.is_ours(id) {
            return None;
        }
        let place = self.place(id);
        let slot = self.slots.get_mut(place)?;
        if slot.generation != id.generation() {
            return None;
        }
        let value = slot.value.take()?;
        self.len -= 1;
        slot.generation += 1;
        // Past the last generation the slot is retired: it stays empty, and no id can name it.
        if slot.generation <= FIELD_MASK {
            self.free.push(place as u32);
        }
        Some(value)
    }

    /// The value of a live id, to change.
    #[inline]
    pub fn get_mut(&mut self, id: ObjectId) -> Option<&mut T> {
        if !self.is_ours(id) {
            return None;
        }
        let place = self.place(id);
        let slot = self.slots.get_mut(place)?;
        if slot.generation == id.generation() { slot.value.as_mut() } else { None }
    }

    /// The value of a live id.
    #[inline]
    pub fn get(&self, id: ObjectId) -> Option<&T> {
        if !self.is_ours(id) {
            return None;
        }
        let slot = self.slots.get(self.place(id))?;
        if slot.generation == id.generation() { slot.value.as_ref() } else { None }
    }

    /// Two different live values at once, to change.
    pub fn get_pair_mut(&mut self, a: ObjectId, b: ObjectId) -> Option<(&mut T, &mut T)> {
        if !self.is_ours(a) || !self.is_ours(b) {
            return None;
        }
        let places = [self.place(a), self.place(b)];
        let [x, y] = self.slots.get_disjoint_mut(places).ok()?;
        if x.generation != a.generation() || y.generation != b.generation() {
            return None;
        }
        Some((x.value.as_mut()?, y.value.as_mut()?))
    }

    /// Is this id alive?
    #[inline]
    pub fn contains(&self, id: ObjectId) -> bool {
        self.get(id).is_some()
    }

    /// A live value, chosen by the lower half of `n`, for who wants any; `None` if that slot is empty.
    #[inline]
    pub fn sample(&self, n: u64) -> Option<&T> {
        let at = (u64::from(n as u32) * self.slots.len() as u64) >> 32;
        self.slots.get(at as usize)?.value.as_ref()
    }

    /// Live values, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &T)> {
        let (shard, kind, base) = (self.shard, self.kind, self.base);
        self.slots.iter().enumerate().filter_map(move |(index, slot)| {
            let id = ObjectId::new(shard, kind, slot.generation, base + index as u32);
            slot.value.as_ref().map(|value| (id, value))
        })
    }

    /// Live values, to change, in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ObjectId, &mut T)> {
        let (shard, kind, base) = (self.shard, self.kind, self.base);
        self.slots.iter_mut().enumerate().filter_map(move |(index, slot)| {
            let id = ObjectId::new(shard, kind, slot.generation, base + index as u32);
            slot.value.as_mut().map(|value| (id, value))
        })
    }

    /// How many are alive.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is none alive?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many may be alive at once.
    pub fn cap(&self) -> usize {
        self.cap
    }

    #[inline]
    fn is_ours(&self, id: ObjectId) -> bool {
        id.to_u64() >> 48 == u64::from(self.shard) << 8 | self.kind as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_and_no_real_id_is_zero() {
        for kind in ObjectKind::ALL {
            for (shard, generation, index) in [(0, 0, 0), (255, FIELD_MASK, FIELD_MASK), (3, 1, 77)] {
                let id = ObjectId::new(shard, kind, generation, index);
                assert_eq!(
                    (id.shard(), id.kind(), id.generation(), id.index()),
                    (shard, Some(kind), generation, index)
                );
                assert_ne!(id.to_u64(), 0);
                assert_eq!(ObjectId::from_u64(id.to_u64()), id);
                assert_eq!(id.to_string().parse::<ObjectId>(), Ok(id));
            }
        }
        assert_eq!(ObjectId::from_u64(0).kind(), None);
        assert_eq!(ObjectId::new(1, ObjectKind::Router, 2, 3).to_string(), "0101000002000003");
    }

    #[test]
    fn a_sample_is_some_live_value_the_same_for_the_same_number() {
        let mut table = IdTable::new(0, ObjectKind::Router, 8);
        assert_eq!(table.sample(7), None::<&u32>);
        let ids: Vec<_> = (0..4u32).map(|n| table.insert(n).unwrap()).collect();
        let quarters = [0, 1 << 30, 1 << 31, 3 << 30];
        assert_eq!(quarters.map(|n: u64| table.sample(n).copied()), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(table.sample(u64::MAX), Some(&3));
        table.remove(ids[3]);
        assert_eq!(table.sample(u64::MAX), None, "that slot is empty");
    }

    #[test]
    fn a_removed_id_is_never_found_again() {
        let mut table = IdTable::new(1, ObjectKind::Producer, 2);
        let a = table.insert("a").unwrap();
        let b = table.insert("b").unwrap();
        assert_eq!(table.insert("c"), None);
        assert_eq!(table.remove(a), Some("a"));
        let mut seen = vec![a];
        for _ in 0..1000 {
            let id = table.insert("again").unwrap();
            assert!(!seen.contains(&id));
            assert!(seen.iter().all(|old| table.get(*old).is_none() && !table.contains(*old)));
            table.remove(id).unwrap();
            assert_eq!(table.remove(id), None);
            seen.push(id);
        }
        assert_eq!(table.len(), 1);
        assert_eq!(table.get(b), Some(&"b"));
        assert_eq!(table.iter().collect::<Vec<_>>(), [(b, &"b")]);
    }

    #[test]
    fn ids_of_another_shard_or_kind_are_not_found() {
        let mut table = IdTable::new(1, ObjectKind::Producer, 10);
        let id = table.insert(5).unwrap();
        for other in [
            ObjectId::new(2, ObjectKind::Producer, id.generation(), id.index()),
            ObjectId::new(1, ObjectKind::Consumer, id.generation(), id.index()),
            ObjectId::new(1, ObjectKind::Producer, id.generation() + 1, id.index()),
            ObjectId::new(1, ObjectKind::Producer, id.generation(), id.index() + 1),
            ObjectId::from_u64(0),
            ObjectId::from_u64(u64::MAX),
        ] {
            assert_eq!(table.get(other), None);
            assert_eq!(table.get_mut(other), None);
            assert_eq!(table.remove(other), None);
        }
        assert_eq!(table.get(id), Some(&5));
    }

    #[test]
    fn a_slot_is_retired_when_its_generations_are_used_up() {
        let mut table = IdTable::new(0, ObjectKind::Router, 10);
        let id = table.insert(1).unwrap();
        table.remove(id).unwrap();
        table.slots[0].generation = FIELD_MASK;
        let last = table.insert(2).unwrap();
        assert_eq!((last.generation(), last.index()), (FIELD_MASK, 0));
        assert_eq!(table.remove(last), Some(2));
        let next = table.insert(3).unwrap();
        assert_eq!(next.index(), 1);
        assert_eq!(table.get(ObjectId::new(0, ObjectKind::Router, 0, 0)), None);
        assert_eq!(table.get(last), None);
    }

    #[test]
    fn a_pair_is_two_different_live_values() {
        let mut table = IdTable::new(0, ObjectKind::Router, 10);
        let a = table.insert(1).unwrap();
        let b = table.insert(2).unwrap();
        assert_eq!(table.get_pair_mut(a, a), None);
        let (x, y) = table.get_pair_mut(b, a).unwrap();
        std::mem::swap(x, y);
        assert_eq!((table.get(a), table.get(b)), (Some(&2), Some(&1)));
        table.remove(a);
        assert_eq!(table.get_pair_mut(a, b), None);
    }

    #[test]
    fn a_table_of_a_later_part_names_its_values_by_their_ids() {
        let mut table = IdTable::in_part(1, ObjectKind::Router, 8, 3, 16);
        let ids = [7, 8, 9].map(|value| table.insert(value).unwrap());
        table.remove(ids[1]);
        assert_eq!(table.iter().collect::<Vec<_>>(), [(ids[0], &7), (ids[2], &9)]);
        table.iter_mut().for_each(|(_, value)| *value += 1);
        assert_eq!(table.iter_mut().map(|(id, value)| (id, *value)).collect::<Vec<_>>(), [(ids[0], 8), (ids[2], 10)]);
    }
}
