//! The engines of this process, found by handles that are never used again.
//!
//! Told: an engine to keep, a handle to look up or to take out. Tells: the engine, shared while a call uses it, so
//! that freeing it on another thread is safe; or a status. A handle is generation | mark | index; a freed one is
//! NOT_FOUND for ever. Limits: 256 engines at a time. Left out: what an engine does.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sfu_control::Engine;

use crate::status::{SFU_FORKED, SFU_NOT_FOUND, SFU_TOO_MANY_ENGINES};

/// Engines at a time; each has threads and rings of its own, so that more would be a leak.
pub(crate) const ENGINES_MAX: usize = 256;

/// Bits 16 to 31 of every handle: a number that is not a handle is refused at once.
const MARK: u64 = 0x5f5c;

struct Slot {
    generation: u32,
    engine: Option<Arc<Engine>>,
}

/// The process that made the first engine; 0 before there is one. A forked child has neither the threads of the
/// engines nor a lock it could trust, so that this is looked at before the lock is taken.
static OWNER: AtomicU32 = AtomicU32::new(0);

static SLOTS: RwLock<Vec<Slot>> = RwLock::new(Vec::new());

/// Keeps an engine and tells its handle.
pub(crate) fn insert(engine: Engine) -> Result<u64, u32> {
    owned()?;
    OWNER.store(std::process::id(), Ordering::Relaxed);
    let mut slots = SLOTS.write().unwrap_or_else(PoisonError::into_inner);
    // A slot whose generations are used up stays empty: its handles must not come back.
    let free = slots.iter().position(|slot| slot.engine.is_none() && slot.generation < u32::MAX);
    let index = match free {
        Some(index) => index,
        None if slots.len() < ENGINES_MAX => {
            slots.push(Slot { generation: 0, engine: None });
            slots.len() - 1
        }
        None => return Err(SFU_TOO_MANY_ENGINES),
    };
    let slot = &mut slots[index];
    slot.generation += 1;
    slot.engine = Some(Arc::new(engine));
    Ok(handle(slot.generation, index))
}

/// The engine of a handle.
pub(crate) fn find(handle: u64) -> Result<Arc<Engine>, u32> {
    owned()?;
    let (generation, index) = parts(handle).ok_or(SFU_NOT_FOUND)?;
    let slots = SLOTS.read().unwrap_or_else(PoisonError::into_inner);
    let slot = slots.get(index).filter(|slot| slot.generation == generation).ok_or(SFU_NOT_FOUND)?;
    slot.engine.clone().ok_or(SFU_NOT_FOUND)
}

/// Takes the engine of a handle out; the handle is dead from here on.
pub(crate) fn remove(handle: u64) -> Result<Arc<Engine>, u32> {
    owned()?;
    let (generation, index) = parts(handle).ok_or(SFU_NOT_FOUND)?;
    let mut slots = SLOTS.write().unwrap_or_else(PoisonError::into_inner);
    let slot = slots.get_mut(index).filter(|slot| slot.generation == generation).ok_or(SFU_NOT_FOUND)?;
    slot.engine.take().ok_or(SFU_NOT_FOUND)
}

/// Refuses a forked child of the process that has engines.
pub(crate) fn owned() -> Result<(), u32> {
    match OWNER.load(Ordering::Relaxed) {
        0 => Ok(()),
        owner if owner == std::process::id() => Ok(()),
        _ => Err(SFU_FORKED),
    }
}

fn handle(generation: u32, index: usize) -> u64 {
    u64::from(generation) << 32 | MARK << 16 | index as u64
}

fn parts(handle: u64) -> Option<(u32, usize)> {
    let marked = handle >> 16 & 0xffff == MARK;
    marked.then_some(((handle >> 32) as u32, (handle & 0xffff) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_taken_apart_as_they_were_made() {
        assert_eq!(parts(handle(7, 3)), Some((7, 3)));
        assert_eq!(parts(handle(u32::MAX, ENGINES_MAX - 1)), Some((u32::MAX, ENGINES_MAX - 1)));
    }

    #[test]
    fn row_073_numbers_that_are_no_handles_find_nothing() {
        for number in [0, 1, u64::MAX, 0xdead_beef, handle(0, 0), handle(9, 0xffff)] {
            assert_eq!(find(number).err(), Some(SFU_NOT_FOUND), "{number:#x}");
            assert_eq!(remove(number).err(), Some(SFU_NOT_FOUND), "{number:#x}");
        }
    }
}
