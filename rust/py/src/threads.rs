//! A guard that one thread at a time may enter.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;

use crate::errors::ConcurrentUseError;
use crate::guard::guard;

/// Refuses a thread while another one is inside: a context manager.
///
/// A thread may enter again while it is inside: one of its tasks awaits a load, another one asks.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct ThreadGuard {
    owner: String,
    /// The thread that is inside, and how often.
    inside: Mutex<Option<(ThreadId, u32)>>,
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
        let own = thread::current().id();
        let mut inside = self.inside();
        let (thread, times) = inside.unwrap_or((own, 0));
        if thread != own {
            return Err(self.refusal());
        }
        *inside = Some((own, times.saturating_add(1)));
        Ok(())
    }

    fn leave(&self) {
        let mut inside = self.inside();
        let left = |(thread, times): (ThreadId, u32)| (thread, times.saturating_sub(1));
        *inside = inside.map(left).filter(|&(_, times)| times > 0);
    }

    fn inside(&self) -> MutexGuard<'_, Option<(ThreadId, u32)>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
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
                inside: Mutex::default(),
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
