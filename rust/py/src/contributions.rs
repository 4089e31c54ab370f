//! The contribution of each lot to the P&L of its portfolio.

use std::num::NonZeroUsize;

use batchcore_core::fixed::{Sum, Wide};
use batchcore_core::pnl::contributions::{self as by_lot, Contribution, Contributions};
use batchcore_core::pnl::legacy::contributions::{self as legacy, ComputedDays};
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{FrameArrays, column};
use crate::guard::{CancelFlag, detached, guard};
use crate::pnl::LotArrays;
use crate::results::{array, state_of};

type OfLot<T> = fn(&Contribution) -> Option<T>;

/// Return the contribution of each lot to the P&L of its portfolio from the day `opening.first_day`
/// to the session `opening.last_day`: columns of one row for each lot. Amounts are (n, 16) uint8,
/// integers of 128 bits, least byte first, with their decimals and states; (n, 64) uint8 where 128
/// bits do not hold one of a column. With `days`, a `frames.ComputedDays`, the contribution of each
/// position over them under the policy `legacy`.
///
/// Raises `CancelledError` once `cancel` is raised.
#[pyfunction]
#[pyo3(signature = (*, book, opening, market, threads, days=None, cancel=None))]
pub(crate) fn contributions<'py>(
    py: Python<'py>,
    book: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    market: &Bound<'py, PyAny>,
    threads: NonZeroUsize,
    days: Option<&Bound<'py, PyAny>>,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("contributions", || {
        let arrays = LotArrays::of(book, opening, market)?;
        let lots = arrays.borrow()?;
        let cancel = CancelFlag::or_never(cancel);
        let Some(days) = days else {
            let found = detached(py, || by_lot::contributions(&lots, threads, cancel))?;
            return contributions_out(py, &found);
        };
        let days = FrameArrays::of::<ComputedDays<'_>>(days)?;
        let days = days.borrow()?;
        let prices = &arrays.prices.get().store;
        let found = detached(py, || {
            legacy::contributions(&lots, prices, &days, threads, cancel)
        })?;
        contributions_out(py, &found)
    })
}

fn contributions_out<'py>(py: Python<'py>, found: &Contributions) -> PyResult<Bound<'py, PyDict>> {
    let (out, rows) = (PyDict::new(py), &found.lots);
    out.set_item("portfolio", array(py, rows, |lot| lot.portfolio))?;
    out.set_item("position", array(py, rows, |lot| lot.position))?;
    out.set_item("kind", array(py, rows, |lot| lot.kind))?;
    out.set_item("multiplier", array(py, rows, |lot| lot.multiplier))?;
    let (price, amount, rate) = (found.price_scale, found.scale, found.rate_scale);
    let wide: [(&str, u32, OfLot<Wide>); 10] = [
        ("quantity", found.quantity_scale, |lot| {
            Some(Wide::of_signed(lot.quantity))
        }),
        ("mark_before", price, |lot| {
            lot.before.map(|mark| Wide::of_signed(mark.price))
        }),
        ("mark", price, |lot| {
            lot.after.map(|mark| Wide::of_signed(mark.price))
        }),
        ("rate_before", rate, |lot| lot.before?.rate),
        ("rate", rate, |lot| lot.after?.rate),
        ("unrealized_change", amount, |lot| {
            Some(lot.added?.unrealized_change)
        }),
        ("realized", amount, |lot| Some(lot.added?.realized)),
        ("price_effect", amount, |lot| Some(lot.added?.price_effect)),
        ("currency_effect", amount, |lot| {
            Some(lot.added?.currency_effect())
        }),
        ("value", found.value_scale, |lot| lot.value),
    ];
    for (name, scale, of) in wide {
        let bytes = integers(py, rows.iter().map(|lot| of(lot).unwrap_or_default()))?;
        let state = array(py, rows, |lot| state_of(of(lot)));
        out.set_item(name, (bytes, scale, state))?;
    }
    let marks: [(&str, OfLot<by_lot::Mark>); 2] =
        [("_before", |lot| lot.before), ("", |lot| lot.after)];
    for (when, of) in marks {
        let day = |lot: &Contribution| of(lot).and_then(|mark| mark.day);
        let days = array(py, rows, |lot| day(lot).map_or(0, |day| day.0));
        let state = array(py, rows, |lot| state_of(day(lot)));
        out.set_item(format!("day{when}"), (days, state))?;
        let status = array(py, rows, |lot| {
            of(lot).map_or(0, |mark| i32::from(mark.status))
        });
        let state = array(py, rows, |lot| state_of(of(lot)));
        out.set_item(format!("status{when}"), (status, state))?;
    }
    Ok(out)
}

/// Returns (n, 16) uint8, integers of 128 bits, least byte first; (n, 64) uint8 where one is wider.
fn integers(
    py: Python<'_>,
    values: impl ExactSizeIterator<Item = Wide> + Clone,
) -> PyResult<Bound<'_, PyArray2<u8>>> {
    let rows = values.len();
    let narrow: Option<Vec<i128>> = values.clone().map(Sum::signed).collect();
    let (bytes, width): (Vec<u8>, usize) = match narrow {
        Some(narrow) => (
            narrow.into_iter().flat_map(i128::to_le_bytes).collect(),
            NARROW,
        ),
        None => (values.flat_map(Wide::to_le_bytes).collect(), WIDE),
    };
    bytes.into_pyarray(py).reshape([rows, width])
}

/// Bytes of an integer of 128 bits.
const NARROW: usize = 16;

/// Bytes of the widest integer.
const WIDE: usize = 64;

/// Return the sums by key of amounts, (16 n,) or (64 n,) uint8 as of `contributions`: (groups, 16)
/// or (groups, 64) uint8.
#[pyfunction]
pub(crate) fn sums_by_key<'py>(
    py: Python<'py>,
    keys: &Bound<'py, PyAny>,
    groups: usize,
    amounts: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray2<u8>>> {
    guard("sums_by_key", || {
        let keys = column::<u32>(keys, "keys")?;
        let keys = keys.as_slice()?;
        let amounts = column::<u8>(amounts, "amounts")?;
        let amounts = amounts.as_slice()?;
        let sums = detached(py, || {
            if amounts.len() == keys.len().saturating_mul(WIDE) {
                let (amounts, _) = amounts.as_chunks::<WIDE>();
                let amounts = amounts.iter().copied().map(Wide::from_le_bytes);
                by_lot::sums_by_key(keys, groups, amounts)
            } else {
                let (amounts, _) = amounts.as_chunks::<NARROW>();
                let amounts = amounts.iter().copied().map(i128::from_le_bytes);
                by_lot::sums_by_key(keys, groups, amounts.map(Wide::of_signed))
            }
        })?;
        integers(py, sums.into_iter())
    })
}
