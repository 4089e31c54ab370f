//! All portfolios on all cores: the one place with threads.

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;

use crate::error::{Error, Result};

/// Portfolios taken by a thread at a time: few enough to balance, enough not to contend.
const BATCH: usize = 64;

/// Runs `each` on every portfolio of `0..count`, in batches, and returns what came of the batches
/// in the order of their portfolios.
///
/// `begin` makes what a batch of that many portfolios fills; `S` is a thread's scratch.
///
/// # Errors
///
/// [`Error::Cancelled`] once `cancel` is raised, looked at before each portfolio.
pub fn in_batches<S: Default, T: Send>(
    count: usize,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
    begin: impl Fn(usize) -> T + Sync,
    each: impl Fn(usize, &mut S, &mut T) + Sync,
) -> Result<Vec<T>> {
    let batches = count.div_ceil(BATCH);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(batches));
    let work = || {
        let mut scratch = S::default();
        while !cancel.load(Ordering::Relaxed) {
            let batch = next.fetch_add(1, Ordering::Relaxed);
            if batch >= batches {
                break;
            }
            let from = batch.saturating_mul(BATCH);
            let to = from.saturating_add(BATCH).min(count);
            let mut filled = begin(to.saturating_sub(from));
            for at in from..to {
                if cancel.load(Ordering::Relaxed) {
                    break;
                }
                each(at, &mut scratch, &mut filled);
            }
            if let Ok(mut done) = done.lock() {
                done.push((batch, filled));
            }
        }
    };
    if threads.get() == 1 || batches <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads.get().min(batches) {
                scope.spawn(work);
            }
        });
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|&(batch, _)| batch);
    Ok(done.into_iter().map(|(_, filled)| filled).collect())
}
