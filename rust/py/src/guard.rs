//! The guard of every entry point: panics become exceptions, and long calls can be cancelled.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::errors::{InternalError, to_py};
use batchcore_core::error::{Error, Result};

/// Stops native calls from another thread: they raise `CancelledError` within milliseconds.
#[pyclass(frozen, module = "batchcore._core")]
#[derive(Debug, Default)]
pub(crate) struct CancelFlag {
    raised: AtomicBool,
}

#[pymethods]
impl CancelFlag {
    #[new]
    fn new() -> PyResult<Self> {
        guard("CancelFlag", || Ok(Self::default()))
    }

    /// Raise the flag; it stays raised.
    fn set(&self) -> PyResult<()> {
        guard("CancelFlag.set", || {
            self.raised.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Return whether the flag is raised.
    fn is_set(&self) -> PyResult<bool> {
        guard("CancelFlag.is_set", || {
            Ok(self.raised.load(Ordering::Relaxed))
        })
    }
}

impl CancelFlag {
    /// Returns the flag, or one that is never raised where there is none.
    pub(crate) fn or_never(cancel: Option<&Self>) -> &AtomicBool {
        static NEVER: AtomicBool = AtomicBool::new(false);
        cancel.map_or(&NEVER, |flag| &flag.raised)
    }

    /// Raises an error once a flag, if there is one, is raised.
    pub(crate) fn check(cancel: Option<&Self>) -> Result<()> {
        match cancel {
            Some(flag) if flag.raised.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}

/// Runs the body of an entry point; a panic in it becomes `InternalError` with a report line.
#[inline]
pub(crate) fn guard<T>(entry: &str, body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => Err(report(entry, panic.as_ref())),
    }
}

/// Returns the exception of a panic.
#[cold]
fn report(entry: &str, panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().copied();
    let said = text
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let version = env!("CARGO_PKG_VERSION");
    InternalError::new_err(format!(
        "a defect of batchcore {version} in `{entry}`: {said}; please report this line"
    ))
}

/// Runs `work` without the interpreter's lock.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    py.detach(work).map_err(|error| to_py(&error))
}
