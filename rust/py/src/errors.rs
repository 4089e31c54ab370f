//! The one place where an error of the core becomes a Python exception.

use batchcore_core::error::Error;
use pyo3::prelude::*;

pyo3::import_exception!(batchcore.errors, CancelledError);
pyo3::import_exception!(batchcore.errors, ConcurrentUseError);
pyo3::import_exception!(batchcore.errors, ConfigError);
pyo3::import_exception!(batchcore.errors, DecodeError);
pyo3::import_exception!(batchcore.errors, InputError);
pyo3::import_exception!(batchcore.errors, InternalError);

/// Returns the exception of a core error.
pub(crate) fn to_py(error: &Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Length { column, .. }
        | Error::Value { column, .. }
        | Error::Duplicate { column, .. }
        | Error::Scale { column, .. } => InputError::new_err((message, *column)),
        Error::Encode { column, .. } => InputError::new_err((message, column.clone())),
        Error::Decode { row, column, .. } => {
            DecodeError::new_err((message, None::<String>, column.clone(), *row))
        }
        Error::Cancelled => CancelledError::new_err(message),
    }
}
