//! All portfolios on all cores: the only module with threads.

use core::num::NonZeroUsize;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use crate::error::{Error, Result};

/// Portfolios taken by a thread at a time: few enough to balance, enough not to contend.
const BATCH: usize = 64;

/// Returns the portfolios of `0..count` in batches.
pub(crate) fn batches(count: usize) -> impl Iterator<Item = Range<usize>> + Send {
    let starts = (0..count).step_by(BATCH);
    starts.map(move |from| from..from.saturating_add(BATCH).min(count))
}

/// Runs `each` on every portfolio of each batch and returns the batches, filled, in their order.
///
/// Each batch comes with its output; `S` is the scratch memory of a thread.
///
/// # Errors
///
/// [`Error::Cancelled`] once `cancel` is raised, which is checked before each portfolio.
pub(crate) fn in_batches<S: Default, T: Send>(
    batches: impl Iterator<Item = (Range<usize>, T)> + Send,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
    each: impl Fn(usize, &mut S, &mut T) + Sync,
) -> Result<Vec<T>> {
    let most = batches.size_hint().1.unwrap_or(usize::MAX);
    let batches = Mutex::new(batches.enumerate());
    let done: Mutex<Vec<(usize, T)>> = Mutex::default();
    let work = || {
        let mut scratch = S::default();
        while !cancel.load(Ordering::Relaxed) {
            let next = locked(&batches, Iterator::next);
            let Some((batch, (portfolios, mut filled))) = next else {
                break;
            };
            for at in portfolios {
                if cancel.load(Ordering::Relaxed) {
                    break;
                }
                each(at, &mut scratch, &mut filled);
            }
            locked(&done, |done| done.push((batch, filled)));
        }
    };
    std::thread::scope(|scope| {
        // where the system refuses more threads, the existing ones do all of the work
        let others: Vec<_> = (1..threads.get().min(most))
            .map_while(|_| Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        work();
        for other in others {
            // resumes the panic of the thread, so that its message is not lost
            other.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|&(batch, _)| batch);
    Ok(done.into_iter().map(|(_, filled)| filled).collect())
}

fn locked<T, R>(mutex: &Mutex<T>, action: impl FnOnce(&mut T) -> R) -> R {
    action(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
}
