//! Price and snapshot stores.

use batchcore_core::frame;
use batchcore_core::ids::{Day, SymbolId};
use batchcore_core::store::{self as core, SnapshotColumns};
use hashbrown::HashMap;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::arrays::{DayColumn, DecimalColumn, TextColumn, ids, plain, uuids};
use crate::errors::to_py;
use crate::guard::guard;

/// Closes by symbol as stored and day.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct PriceStore {
    pub(crate) store: core::PriceStore,
}

#[pymethods]
impl PriceStore {
    /// Return the store of all closes of a `frames.Prices` that have a value.
    #[staticmethod]
    fn from_frame(py: Python<'_>, prices: &Bound<'_, PyAny>) -> PyResult<Self> {
        let symbol = TextColumn::of(prices, "prices.symbol")?;
        let day = DayColumn::of(prices, "prices.day")?;
        let close = DecimalColumn::of(prices, "prices.close")?;
        let (symbol, day, close) = (symbol.borrow()?, day.borrow()?, close.borrow()?);
        let store = guard(py, "PriceStore.from_frame", || {
            core::PriceStore::from_columns(&symbol, &day, &close)
        })?;
        Ok(Self { store })
    }

    /// Return (mantissa, day) of the latest close of row `symbol` of the symbol table on a day of
    /// ``[day - lookback_days, day]``, or None.
    fn as_of(&self, symbol: u32, day: i32, lookback_days: u32) -> Option<(i64, i32)> {
        let found = self.store.as_of(SymbolId(symbol), Day(day), lookback_days);
        found.map(|(close, day)| (close, day.0))
    }

    /// Return the number of closes.
    fn __len__(&self) -> usize {
        self.store.len()
    }

    /// Decimals of the closes.
    #[getter]
    fn scale(&self) -> u32 {
        self.store.scale()
    }

    /// Bytes that the store takes.
    #[getter]
    fn size_bytes(&self) -> usize {
        self.store.size_bytes()
    }

    /// Rows without a close to store: NULL, not finite or not representable.
    #[getter]
    fn left_out(&self) -> usize {
        self.store.left_out()
    }
}

/// Complete snapshots by portfolio and day.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct SnapshotStore {
    pub(crate) store: core::SnapshotStore,
}

#[pymethods]
impl SnapshotStore {
    /// Return the store of all rows of a `frames.Previous`.
    #[staticmethod]
    fn from_frame(py: Python<'_>, previous: &Bound<'_, PyAny>) -> PyResult<Self> {
        let portfolio_id = ids(previous, "previous.portfolio_id")?;
        let day = plain::<i32>(previous, "previous.day")?;
        let equity = DecimalColumn::of(previous, "previous.equity")?;
        let pnl = DecimalColumn::of(previous, "previous.cumulative_pnl")?;
        let realized = DecimalColumn::of(previous, "previous.cumulative_realized_pnl")?;
        let flow = DecimalColumn::of(previous, "previous.cumulative_capital_flow")?;
        let columns = SnapshotColumns {
            portfolio_id: frame::uuids("previous.portfolio_id", portfolio_id.as_slice()?)
                .map_err(|error| to_py(&error))?,
            day: day.as_slice()?,
            equity: equity.borrow()?,
            cumulative_pnl: pnl.borrow()?,
            cumulative_realized: realized.borrow()?,
            cumulative_flow: flow.borrow()?,
        };
        let store = guard(py, "SnapshotStore.from_frame", || {
            core::SnapshotStore::from_columns(&columns)
        })?;
        Ok(Self { store })
    }

    /// Return the day of the latest snapshot of a portfolio (16 bytes) before `day`, or None.
    fn before(&self, portfolio_id: [u8; 16], day: i32) -> Option<i32> {
        self.store
            .before(&portfolio_id, Day(day))
            .map(|snapshot| snapshot.day.0)
    }

    /// Return the number of snapshots.
    fn __len__(&self) -> usize {
        self.store.len()
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
    let keys = uuids(keys, "keys")?;
    let ids = uuids(ids, "ids")?;
    let read = |name, flat| frame::uuids(name, flat).map_err(|error| to_py(&error));
    let (keys, ids) = (
        read("keys", keys.as_slice()?)?,
        read("ids", ids.as_slice()?)?,
    );
    let rows = guard(py, "locate", || {
        let rows: HashMap<_, i32> = ids.iter().zip(0i32..).collect();
        Ok(keys
            .iter()
            .map(|key| rows.get(key).copied().unwrap_or(-1))
            .collect::<Vec<i32>>())
    })?;
    Ok(rows.into_pyarray(py))
}
