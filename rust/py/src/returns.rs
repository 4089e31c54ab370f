//! Returns of stored sessions, compounded over periods.

use batchcore_core::digits28::{Digits28, SCALE};
use batchcore_core::fixed::State;
use batchcore_core::returns::{self as core, Compounded, Fall, Period, Sessions};
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::column;
use crate::guard::{CancelFlag, detached, guard};
use crate::results::array;

type Found = Result<Compounded, usize>;
type ValueOf = fn(&Compounded) -> Option<Digits28>;
type RowOf = fn(&Found) -> Option<usize>;

/// Compound the returns `pnl / basis` of sessions, (n,) int64 each, over periods, rows `first` to
/// `last`, (p,) uint32 each, and return columns of one row for each period.
///
/// Ratios are (p, 16) uint8, integers of 128 bits, least byte first, each with its 28 decimals and
/// states; rows are (p,) int64, -1 for none. `missing` is the first row without a return.
///
/// Raises `CancelledError` once `cancel` is raised.
#[pyfunction]
#[pyo3(signature = (*, pnl, basis, first, last, cancel=None))]
pub(crate) fn compound<'py>(
    py: Python<'py>,
    pnl: &Bound<'py, PyAny>,
    basis: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    last: &Bound<'py, PyAny>,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("compound", || {
        let (pnl, basis) = (column::<i64>(pnl, "pnl")?, column::<i64>(basis, "basis")?);
        let (first, last) = (column::<u32>(first, "first")?, column::<u32>(last, "last")?);
        let sessions = Sessions {
            pnl: pnl.as_slice()?,
            basis: basis.as_slice()?,
        };
        let (first, last) = (first.as_slice()?, last.as_slice()?);
        let found = detached(py, || {
            let rows = |row: &u32| usize::try_from(*row).unwrap_or(usize::MAX);
            let periods = first.iter().zip(last).map(|(first, last)| Period {
                first: rows(first),
                last: rows(last),
            });
            core::compounded(sessions, periods, CancelFlag::or_never(cancel))
        })?;
        let out = PyDict::new(py);
        let ratios: [(&str, ValueOf); 5] = [
            ("total", |all| Some(all.total)),
            ("depth", |all| all.fall.map(|fall| fall.depth)),
            ("current", |all| Some(all.current)),
            ("best", |all| Some(all.best.0)),
            ("worst", |all| Some(all.worst.0)),
        ];
        for (name, of) in ratios {
            let cells = |one: &Found| {
                let value = one.as_ref().ok().and_then(of);
                value.map_or((0, State::Null), core::units)
            };
            let bytes = found.iter().flat_map(|one| cells(one).0.to_le_bytes());
            let bytes = bytes.collect::<Vec<u8>>().into_pyarray(py);
            let state = array(py, &found, |one| cells(one).1.byte());
            let bytes = bytes.reshape([found.len(), 16])?;
            out.set_item(name, (bytes, SCALE, state))?;
        }
        let rows: [(&str, RowOf); 7] = [
            ("missing", |one| one.as_ref().err().copied()),
            ("peak", |one| fall(one).map(|fall| fall.peak)),
            ("trough", |one| fall(one).map(|fall| fall.trough)),
            ("recovered", |one| fall(one).and_then(|fall| fall.recovered)),
            ("best_row", |one| one.as_ref().ok().map(|all| all.best.1)),
            ("worst_row", |one| one.as_ref().ok().map(|all| all.worst.1)),
            ("gains", |one| one.as_ref().ok().map(|all| all.gains)),
        ];
        for (name, of) in rows {
            let number = |row: usize| i64::try_from(row).unwrap_or(i64::MAX);
            out.set_item(name, array(py, &found, |one| of(one).map_or(-1, number)))?;
        }
        Ok(out)
    })
}

fn fall(found: &Found) -> Option<Fall> {
    found.as_ref().ok().and_then(|all| all.fall)
}
