//! The compiled module `batchcore._core`.
use pyo3::prelude::*;

/// The compiled core of batchcore.
#[pymodule]
fn _core(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
