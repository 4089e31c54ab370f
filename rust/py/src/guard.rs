//! What every entry point runs through: panics become exceptions, long calls can be cancelled.

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
    fn new() -> Self {
        Self::default()
    }

    /// Raise the flag; it stays raised.
    fn set(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Return whether the flag is raised.
    fn is_set(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }
}

impl CancelFlag {
    pub(crate) fn raised(&self) -> &AtomicBool {
        &self.raised
    }

    /// Refuses to go on once a flag, if there is one, is raised.
    pub(crate) fn check(cancel: Option<&Self>) -> Result<()> {
        match cancel {
            Some(flag) if flag.is_set() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}

/// Runs `work` without the interpreter; a panic in it becomes `InternalError` with a report line.
pub(crate) fn guard<T: Send>(
    py: Python<'_>,
    entry: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(result) => result.map_err(|error| to_py(&error)),
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            let version = env!("CARGO_PKG_VERSION");
            Err(InternalError::new_err(format!(
                "a defect of batchcore {version} in `{entry}`: {said}; please report this line"
            )))
        }
    }
}
