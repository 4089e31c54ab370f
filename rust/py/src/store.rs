//! Price, profile and snapshot stores.

use batchcore_core::fixed::{CENTS, State};
use batchcore_core::frame;
use batchcore_core::ids::{Day, SymbolId};
use batchcore_core::store::{self as core, Amount, PriceColumns, ProfileColumns, SnapshotColumns};
use hashbrown::HashMap;
use numpy::{IntoPyArray, PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{FrameArrays, text_out, uuids};
use crate::caches::{decimal, symbol_text};
use crate::errors::{NumericError, to_py};
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

/// Company profiles by symbol as stored.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct ProfileStore {
    pub(crate) store: core::ProfileStore,
}

#[pymethods]
impl ProfileStore {
    /// Return the store of all rows of a `frames.Profiles` whose symbol is not NULL.
    #[staticmethod]
    fn from_frame(py: Python<'_>, profiles: &Bound<'_, PyAny>) -> PyResult<Self> {
        guard("ProfileStore.from_frame", || {
            let arrays = FrameArrays::of::<ProfileColumns<'_>>(profiles)?;
            let columns = arrays.borrow()?;
            let store = detached(py, || core::ProfileStore::from_columns(&columns))?;
            Ok(Self { store })
        })
    }

    /// Return (name, beta, sector, industry, country, market cap, ETF flag) of a symbol, or
    /// None.
    fn get<'py>(
        &self,
        py: Python<'py>,
        symbol: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        guard("ProfileStore.get", || {
            let Some(found) = self.store.get(symbol_text(symbol)?.as_bytes()) else {
                return Ok(None);
            };
            let number = |value: Amount, scale| value.ok().map(|value| decimal(py, value, scale));
            let beta = number(found.beta, self.store.beta_scale()).transpose()?;
            let market_cap = number(found.market_cap, self.store.market_cap_scale()).transpose()?;
            (
                found.name,
                beta,
                found.sector,
                found.industry,
                found.country,
                market_cap,
                found.is_etf,
            )
                .into_pyobject(py)
                .map(Some)
        })
    }

    /// Return the rows as columns of `frames.Profiles`.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("ProfileStore.columns", || {
            let out = PyDict::new(py);
            for (name, column) in self.store.texts() {
                let (codes, state) = (column.codes.clone(), column.state.clone());
                out.set_item(name, text_out(py, codes, column.table.clone(), state)?)?;
            }
            for (name, column) in self.store.decimals() {
                let (values, state) = (column.values.clone(), column.state.clone());
                let parts = (
                    values.into_pyarray(py),
                    column.scale,
                    state.into_pyarray(py),
                );
                out.set_item(name, parts)?;
            }
            out.set_item("is_etf", self.store.is_etf().to_vec().into_pyarray(py))?;
            Ok(out)
        })
    }

    /// Return the number of profiles.
    fn __len__(&self) -> PyResult<usize> {
        guard("ProfileStore.__len__", || Ok(self.store.len()))
    }

    /// Bytes that the store takes.
    #[getter]
    fn size_bytes(&self) -> PyResult<usize> {
        guard("ProfileStore.size_bytes", || Ok(self.store.size_bytes()))
    }
}

/// Returns a stored amount as a Decimal, NULL as None.
fn dollars<'py>(
    py: Python<'py>,
    value: Amount,
    column: &str,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match value {
        Ok(mantissa) => decimal(py, mantissa, CENTS).map(Some),
        Err(State::Null | State::Value) => Ok(None),
        Err(State::NonFinite | State::NotRepresentable) => {
            let message = format!("column `{column}` is not finite or does not fit cents");
            Err(NumericError::new_err((message, column.to_owned())))
        }
    }
}

type AmountOf = fn(&core::Snapshot) -> Amount;

/// Snapshots by portfolio and day.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct SnapshotStore {
    pub(crate) store: core::SnapshotStore,
}

#[pymethods]
impl SnapshotStore {
    /// Return the store of all rows of a `frames.Previous`.
    #[staticmethod]
    fn from_frame(py: Python<'_>, previous: &Bound<'_, PyAny>) -> PyResult<Self> {
        guard("SnapshotStore.from_frame", || {
            let arrays = FrameArrays::of::<SnapshotColumns<'_>>(previous)?;
            let columns = arrays.borrow()?;
            let store = detached(py, || core::SnapshotStore::from_columns(&columns))?;
            Ok(Self { store })
        })
    }

    /// Return (day, equity, cumulative P&L, realized, flow) of the latest snapshot of a portfolio
    /// (16 bytes), or None.
    fn latest<'py>(
        &self,
        py: Python<'py>,
        portfolio_id: [u8; 16],
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        guard("SnapshotStore.latest", || {
            let Some(snapshot) = self.store.latest(&portfolio_id) else {
                return Ok(None);
            };
            (
                snapshot.day.0,
                dollars(py, snapshot.equity, "equity_balance")?,
                dollars(py, snapshot.cumulative_pnl, "cumulative_pnl")?,
                dollars(py, snapshot.cumulative_realized, "cumulative_realized_pnl")?,
                dollars(py, snapshot.cumulative_flow, "cumulative_capital_flow")?,
            )
                .into_pyobject(py)
                .map(Some)
        })
    }

    /// Return the rows as columns of `frames.Previous`, ordered by portfolio and day.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("SnapshotStore.columns", || {
            let rows = self.store.len();
            let out = PyDict::new(py);
            let ids: Vec<u8> = self.store.iter().flat_map(|(id, _)| *id).collect();
            out.set_item("portfolio_id", ids.into_pyarray(py).reshape([rows, 16])?)?;
            let days: Vec<i32> = self.store.iter().map(|(_, row)| row.day.0).collect();
            out.set_item("day", days.into_pyarray(py))?;
            let is_complete: Vec<bool> =
                self.store.iter().map(|(_, row)| row.is_complete).collect();
            out.set_item("is_complete", is_complete.into_pyarray(py))?;
            let columns: [(&str, AmountOf); 4] = [
                ("equity", |row| row.equity),
                ("cumulative_pnl", |row| row.cumulative_pnl),
                ("cumulative_realized_pnl", |row| row.cumulative_realized),
                ("cumulative_capital_flow", |row| row.cumulative_flow),
            ];
            for (name, of) in columns {
                let amounts = || self.store.iter().map(|(_, row)| of(row));
                let values: Vec<i64> = amounts().map(Result::unwrap_or_default).collect();
                let state = |value: Amount| value.err().unwrap_or(State::Value).byte();
                let states: Vec<u8> = amounts().map(state).collect();
                let parts = (values.into_pyarray(py), CENTS, states.into_pyarray(py));
                out.set_item(name, parts)?;
            }
            Ok(out)
        })
    }

    /// Return the number of snapshots.
    fn __len__(&self) -> PyResult<usize> {
        guard("SnapshotStore.__len__", || Ok(self.store.len()))
    }

    /// Bytes that the store takes.
    #[getter]
    fn size_bytes(&self) -> PyResult<usize> {
        guard("SnapshotStore.size_bytes", || Ok(self.store.size_bytes()))
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
