//! A guard that one thread at a time may enter.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::errors::ConcurrentUseError;
use crate::guard::guard;

/// Bits of a state that count how often its thread is inside; the others are the thread's number.
const TIMES: u64 = (1 << 24) - 1;

thread_local! {
    /// Number of this thread, from 1, shifted to its bits.
    static THREAD: u64 = {
        static STARTED: AtomicU64 = AtomicU64::new(1);
        STARTED.fetch_add(1, Ordering::Relaxed) * (TIMES + 1)
    };
}

/// Refuses a thread while another one is inside: a context manager.
///
/// A thread may enter again while it is inside: one of its tasks awaits a load, another one asks.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct ThreadGuard {
    owner: String,
    state: AtomicU64,
}

/// Leaves the guard when dropped.
pub(crate) struct Inside<'a>(&'a ThreadGuard);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl ThreadGuard {
    /// Enters until the value returned is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> PyResult<Inside<'_>> {
        self.begin().map(|()| Inside(self))
    }

    fn begin(&self) -> PyResult<()> {
        let thread = THREAD.with(|thread| *thread);
        let entered = |state: u64| {
            (state == 0 || state & !TIMES == thread).then(|| (state | thread).saturating_add(1))
        };
        match self
            .state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, entered)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(self.refusal()),
        }
    }

    fn leave(&self) {
        let left = |state: u64| {
            let state = state.saturating_sub(1);
            Some(if state & TIMES == 0 { 0 } else { state })
        };
        // never an error: there always is a state after
        let _ = self
            .state
            .fetch_update(Ordering::Release, Ordering::Relaxed, left);
    }

    #[cold]
    fn refusal(&self) -> PyErr {
        let owner = &self.owner;
        let message = format!(
            "{owner} is in use by another thread, expected one thread at a time: \
             give each thread a cache of its own, or a lock"
        );
        ConcurrentUseError::new_err((message, owner.clone()))
    }
}

#[pymethods]
impl ThreadGuard {
    /// Return a guard that no thread is in; `owner` is the name that errors use.
    #[new]
    fn new(owner: String) -> PyResult<Self> {
        guard("ThreadGuard", || {
            Ok(Self {
                owner,
                state: AtomicU64::new(0),
            })
        })
    }

    /// Enter, or raise `ConcurrentUseError` while another thread is inside.
    fn __enter__(&self) -> PyResult<()> {
        guard("ThreadGuard.__enter__", || self.begin())
    }

    /// Leave.
    fn __exit__(
        &self,
        _type: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        guard("ThreadGuard.__exit__", || {
            self.leave();
            Ok(())
        })
    }
}
