//! Marks of symbols, and the checks of their closes.

use std::collections::HashMap;

use batchcore_core::frame::{Kind, Texts};
use batchcore_core::ids::Day;
use batchcore_core::pnl::checks::{self, Action, Rules};
use batchcore_core::pnl::inputs::SplitRows;
use batchcore_core::pnl::marks;
use batchcore_core::pnl::splits::{PriceBasis, QuantityBasis, Splits};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{FrameArrays, HeldColumn, column, table, text};
use crate::errors::{InputError, to_py};
use crate::guard::{CancelFlag, detached, guard};
use crate::results::{TextOut, array, issues_out, state_of};
use crate::store::PriceStore;

/// Marks of all symbols on the sessions of a run.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct Marks {
    pub(crate) marks: marks::Marks,
}
type Count<'py> = Bound<'py, PyArray1<u32>>;
type Counts<'py> = (Count<'py>, Count<'py>, Count<'py>);

#[pymethods]
impl Marks {
    /// Return the marks of every symbol of `prices` on `sessions`, (s,) int32 ascending.
    ///
    /// With `splits` they restate quantities (C4). Raises `CancelledError` once `cancel` is raised.
    #[staticmethod]
    #[pyo3(signature = (prices, *, sessions, lookback_days, splits=None, cancel=None))]
    fn from_prices(
        py: Python<'_>,
        prices: &PriceStore,
        sessions: &Bound<'_, PyAny>,
        lookback_days: u32,
        splits: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelFlag>,
    ) -> PyResult<Self> {
        guard("Marks.from_prices", || {
            let splits = splits.map(splits_of).transpose()?;
            let cancel = CancelFlag::or_never(cancel);
            let sessions = column::<i32>(sessions, "sessions")?;
            let sessions = sessions.as_slice()?;
            let marks = detached(py, || {
                let store = &prices.store;
                marks::Marks::from_prices_unless(store, sessions, lookback_days, cancel)
            })?;
            let marks = match splits {
                Some(splits) => marks.with_splits(splits),
                None => marks,
            };
            Ok(Self { marks })
        })
    }

    /// Return for each session how many of the table of `symbols` have a valid close on it, how
    /// many on it or in the lookback before, and how many on it or ever before: three (s,) uint32.
    fn coverage<'py>(&self, py: Python<'py>, symbols: &Bound<'py, PyAny>) -> PyResult<Counts<'py>> {
        guard("Marks.coverage", || {
            let symbols = table(symbols, "symbols")?;
            let [fresh, recent, known] = detached(py, || Ok(self.marks.coverage(&symbols)))?;
            let [fresh, recent, known] = [fresh, recent, known].map(|count| count.into_pyarray(py));
            Ok((fresh, recent, known))
        })
    }

    /// Return the valid close of each of `symbols` on each of `days`, (d,) int32: (d, u) float64
    /// dollars, NaN where there is none on that very day.
    fn fresh_closes<'py>(
        &self,
        py: Python<'py>,
        symbols: &Bound<'py, PyAny>,
        days: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        guard("Marks.fresh_closes", || {
            let symbols = HeldColumn::of(symbols, "symbols", Kind::Texts)?;
            let symbols: Texts<'_> = symbols.borrow()?;
            let days = column::<i32>(days, "days")?;
            let days = days.as_slice()?;
            let closes = detached(py, || Ok(self.marks.fresh_closes(&symbols, days)))?;
            closes.into_pyarray(py).reshape([days.len(), symbols.len()])
        })
    }

    /// Return the issues of the prices, as columns of `frames.Issues`.
    fn issues<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("Marks.issues", || issues_out(py, self.marks.issues()))
    }
}
/// The findings about the closes of a run (C1).
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct Checks {
    pub(crate) checks: checks::Checks,
}

#[pymethods]
impl Checks {
    /// Return the findings about the closes of `marks` on `days`, (d,) int32 ascending: the
    /// sessions of `marks` on which closes are expected, and those before them.
    ///
    /// `actions` maps the name of each check to off, report or fail; thresholds that are shares are
    /// in millionths. `closed` is the last session closed by now, if `marks` reach it.
    #[staticmethod]
    #[pyo3(signature = (
        marks, *, days, actions, max_move, frozen_sessions, max_missing, closed=None
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each threshold, keyword-only"
    )]
    fn of(
        py: Python<'_>,
        marks: &Marks,
        days: &Bound<'_, PyAny>,
        actions: &Bound<'_, PyDict>,
        max_move: u64,
        frozen_sessions: usize,
        max_missing: u64,
        closed: Option<i32>,
    ) -> PyResult<Self> {
        guard("Checks.of", || {
            let actions: HashMap<String, String> = actions.extract()?;
            let action = |(name, text): (String, String)| match text.as_str() {
                "fail" => Ok((name, Action::Fail)),
                "report" => Ok((name, Action::Report)),
                "off" => Ok((name, Action::Off)),
                other => {
                    let message = format!("{name} is `{other}`, expected off, report or fail");
                    Err(InputError::new_err((message, "actions")))
                }
            };
            let rules = Rules {
                actions: actions.into_iter().map(action).collect::<PyResult<_>>()?,
                max_move,
                frozen_sessions,
                max_missing,
            };
            let days = column::<i32>(days, "days")?;
            let days = days.as_slice()?;
            let checks = detached(py, || {
                let splits = marks.marks.splits();
                let split =
                    |symbol: &[u8], after, until| splits?.between_closes(symbol, after, until);
                checks::Checks::of(&marks.marks, days, rules, closed.map(Day), split)
            })?;
            Ok(Self { checks })
        })
    }

    /// Return the findings, as columns of `frames.Findings`.
    fn findings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("Checks.findings", || {
            let (out, found) = (PyDict::new(py), self.checks.findings());
            let (mut name, mut symbol, mut detail) =
                (TextOut::default(), TextOut::default(), TextOut::default());
            for finding in found {
                name.push(Some(finding.kind.name()));
                symbol.push(Some(&finding.symbol));
                detail.push(Some(&finding.detail));
            }
            out.set_item("name", name.finish(py)?)?;
            out.set_item("symbol", symbol.finish(py)?)?;
            out.set_item("detail", detail.finish(py)?)?;
            let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
            out.set_item("first", array(py, found, |one| place(one.sessions.start)))?;
            out.set_item("end", array(py, found, |one| place(one.sessions.end)))?;
            let day = |one: &checks::Finding| one.since.map_or(0, |day| day.0);
            let state = array(py, found, |one| state_of(one.since));
            out.set_item("since", (array(py, found, day), state))?;
            Ok(out)
        })
    }
}

/// Returns the splits of `frames.SplitRows`.
fn splits_of(frame: &Bound<'_, PyAny>) -> PyResult<Splits> {
    let prices = [
        ("as_traded", PriceBasis::AsTraded),
        ("adjusted", PriceBasis::Adjusted),
    ];
    let quantities = [
        ("as_entered", QuantityBasis::AsEntered),
        ("current", QuantityBasis::Current),
    ];
    let prices = basis(frame, "splits.price_basis", prices)?;
    let quantities = basis(frame, "splits.quantity_basis", quantities)?;
    let rows = FrameArrays::of::<SplitRows<'_>>(frame)?;
    Splits::of(&rows.borrow()?, prices, quantities).map_err(|error| to_py(&error))
}

/// Returns the basis that a frame names.
fn basis<T: Copy>(
    frame: &Bound<'_, PyAny>,
    column: &'static str,
    names: [(&str, T); 2],
) -> PyResult<T> {
    let found = text(frame, column)?;
    if let Some(&(_, basis)) = names.iter().find(|(name, _)| *name == found) {
        return Ok(basis);
    }
    let [one, other] = names.map(|(name, _)| name);
    let message = format!("`{column}` is {found}, expected {one} or {other}");
    Err(InputError::new_err((message, column)))
}
