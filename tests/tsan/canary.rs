//! Threads that meet by locks, conditions, once-cells and channels; with `race`, two that do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock, mpsc};

static MADE: OnceLock<Vec<u64>> = OnceLock::new();

struct Cell(std::cell::UnsafeCell<u64>);
// SAFETY: it is not; that is the mistake to be found.
unsafe impl Sync for Cell {}

fn main() {
    if std::env::args().nth(1).is_some() {
        let cell = Arc::new(Cell(std::cell::UnsafeCell::new(0)));
        let go = Arc::new(AtomicBool::new(false));
        let other = (cell.clone(), go.clone());
        let thread = std::thread::spawn(move || {
            other.1.store(true, Ordering::Relaxed);
            // SAFETY: see above.
            unsafe { *other.0.0.get() += 1 };
        });
        while !go.load(Ordering::Relaxed) {}
        // SAFETY: see above.
        unsafe { *cell.0.get() += 1 };
        thread.join().unwrap();
        return;
    }
    let shared = Arc::new((Mutex::new(vec![0_u64; 16]), Condvar::new(), RwLock::new(vec![0_u64; 16])));
    let (tell, hear) = mpsc::channel();
    let threads: Vec<_> = (0..8_usize)
        .map(|thread| {
            let (shared, tell) = (shared.clone(), tell.clone());
            std::thread::spawn(move || {
                for round in 0..2_000_u64 {
                    let mut list = shared.0.lock().unwrap();
                    list[thread] += round;
                    if round % 50 == 0 {
                        shared.1.notify_all();
                        list = shared.1.wait_timeout(list, std::time::Duration::from_micros(50)).unwrap().0;
                        list.push(round);
                    }
                    drop(list);
                    if round % 3 == 0 {
                        shared.2.write().unwrap().push(round);
                    } else {
                        assert!(shared.2.read().unwrap().len() >= 16);
                    }
                    assert_eq!(MADE.get_or_init(|| vec![1; 100]).iter().sum::<u64>(), 100);
                    tell.send(Box::new(round)).unwrap();
                }
            })
        })
        .collect();
    drop(tell);
    let sum: u64 = hear.iter().map(|round| *round).sum();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(sum, 8 * 1_999_000);
}
