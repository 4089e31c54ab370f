//! The store of prices.

use batchcore_core::frame;
use batchcore_core::ids::{Day, SymbolId};
use batchcore_core::store::{self as core, PriceColumns};
use hashbrown::HashMap;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::arrays::{FrameArrays, uuids};
use crate::errors::to_py;
use crate::guard::{CancelFlag, detached, guard};

/// Closes by symbol as stored and day.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct PriceStore {
    pub(crate) store: core::PriceStore,
}

#[pymethods]
impl PriceStore {
    /// Return the store of all closes of a `frames.Prices` that have a value.
    ///
    /// Raises `CancelledError` once `cancel` is raised.
    #[staticmethod]
    #[pyo3(signature = (prices, *, cancel=None))]
    fn from_frame(
        py: Python<'_>,
        prices: &Bound<'_, PyAny>,
        cancel: Option<&CancelFlag>,
    ) -> PyResult<Self> {
        guard("PriceStore.from_frame", || {
            let cancel = CancelFlag::or_never(cancel);
            let arrays = FrameArrays::of::<PriceColumns<'_>>(prices)?;
            let columns = arrays.borrow()?;
            let store = detached(py, || core::PriceStore::from_columns(&columns, cancel))?;
            Ok(Self { store })
        })
    }

    /// Return (mantissa, day) of the latest close of row `symbol` of the symbol table on a day of
    /// ``[day - lookback_days, day]``, or None.
    fn as_of(&self, symbol: u32, day: i32, lookback_days: u32) -> PyResult<Option<(i64, i32)>> {
        guard("PriceStore.as_of", || {
            let found = self.store.as_of(SymbolId(symbol), Day(day), lookback_days);
            Ok(found.map(|(close, day)| (close, day.0)))
        })
    }

    /// Return the number of closes.
    fn __len__(&self) -> PyResult<usize> {
        guard("PriceStore.__len__", || Ok(self.store.len()))
    }

    /// Decimals of the closes.
    #[getter]
    fn scale(&self) -> PyResult<u32> {
        guard("PriceStore.scale", || Ok(self.store.scale()))
    }

    /// Bytes that the store takes.
    #[getter]
    fn size_bytes(&self) -> PyResult<usize> {
        guard("PriceStore.size_bytes", || Ok(self.store.size_bytes()))
    }
}

/// Return for each of `keys` its row in `ids`, both (n, 16) uint8, or -1: (n,) int32.
#[pyfunction]
#[pyo3(signature = (*, keys, ids))]
pub(crate) fn locate<'py>(
    py: Python<'py>,
    keys: &Bound<'py, PyAny>,
    ids: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    guard("locate", || {
        let keys = uuids(keys, "keys")?;
        let ids = uuids(ids, "ids")?;
        let read = |name, flat| frame::uuids(name, flat).map_err(|error| to_py(&error));
        let (keys, ids) = (
            read("keys", keys.as_slice()?)?,
            read("ids", ids.as_slice()?)?,
        );
        let rows = detached(py, || {
            let rows: HashMap<_, i32> = ids.iter().zip(0i32..).collect();
            Ok(keys
                .iter()
                .map(|key| rows.get(key).copied().unwrap_or(-1))
                .collect::<Vec<i32>>())
        })?;
        Ok(rows.into_pyarray(py))
    })
}
