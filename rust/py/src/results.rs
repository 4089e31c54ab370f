//! Results of the core as NumPy arrays.

use batchcore_core::fixed::{CENTS, State};
use batchcore_core::pnl::columns::{self, ColumnSlices};
use batchcore_core::pnl::issue::Issue;
use batchcore_core::pnl::legacy::row::LegacyRow;
use batchcore_core::pnl::report::{HeldFinding, Miss, Report};
use batchcore_core::text::{Intern, Table};
use numpy::{Element, IntoPyArray, PyArray1, PyArrayMethods, dtype};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice, PyTuple};

use crate::arrays::text_out;

pub(crate) type AmountOf<R> = fn(&R) -> i64;

type OfRow = fn(&LegacyRow) -> Option<i64>;

/// Memory of result columns that NumPy has allocated and not cleared: one block for each width,
/// which an allocator is likelier to keep for the next chunk than many small ones.
pub(crate) struct Memory<'py> {
    rows: usize,
    amounts: Bound<'py, PyArray1<i64>>,
    numbers: Bound<'py, PyArray1<i32>>,
    marks: Bound<'py, PyArray1<i32>>,
    states: Bound<'py, PyArray1<u8>>,
}

impl<'py> Memory<'py> {
    pub(crate) fn of(py: Python<'py>, rows: usize) -> PyResult<Self> {
        Ok(Self {
            rows,
            amounts: empty(py, rows, columns::AMOUNTS.len())?,
            numbers: empty(py, rows, columns::NUMBERS.len())?,
            marks: empty(py, rows, 4)?,
            states: empty(py, rows, columns::STATES.len())?,
        })
    }

    /// Runs `fill` on the columns and returns its result.
    pub(crate) fn filled<T>(
        &self,
        fill: impl FnOnce(ColumnSlices<'_>) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut amounts = self.amounts.try_readwrite()?;
        let mut numbers = self.numbers.try_readwrite()?;
        let mut marks = self.marks.try_readwrite()?;
        let mut states = self.states.try_readwrite()?;
        let (marks, _) = marks.as_slice_mut()?.as_chunks_mut::<4>();
        fill(ColumnSlices::of(
            self.rows,
            amounts.as_slice_mut()?,
            numbers.as_slice_mut()?,
            marks,
            states.as_slice_mut()?,
        ))
    }

    /// Adds the first `rows` values of each column to `out`, as views.
    fn set_items(&self, out: &Bound<'py, PyDict>, rows: usize) -> PyResult<()> {
        let views = |block: &Bound<'py, PyAny>, names: &[&str]| {
            for (column, name) in names.iter().enumerate() {
                let from = column.saturating_mul(self.rows);
                out.set_item(name, part(block, from, rows)?)?;
            }
            PyResult::Ok(())
        };
        views(self.amounts.as_any(), columns::AMOUNTS)?;
        views(self.numbers.as_any(), columns::NUMBERS)?;
        views(self.states.as_any(), columns::STATES)?;
        let marks = part(self.marks.as_any(), 0, rows.saturating_mul(4))?;
        let marks = marks.call_method1("reshape", ((rows, 4),))?;
        out.set_item("marks", marks)
    }
}

/// Returns an array of `rows * columns` values that are not cleared.
fn empty<T: Element>(
    py: Python<'_>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'_, PyArray1<T>>> {
    let values = rows.saturating_mul(columns);
    let array = py
        .import("numpy")?
        .call_method1("empty", (values, dtype::<T>(py)))?;
    Ok(array.cast_into()?)
}

/// Returns `length` values of an array from `from` on, as a view.
fn part<'py>(block: &Bound<'py, PyAny>, from: usize, length: usize) -> PyResult<Bound<'py, PyAny>> {
    let bound = |place: usize| isize::try_from(place).unwrap_or(isize::MAX);
    let to = from.saturating_add(length);
    block.get_item(PySlice::new(block.py(), bound(from), bound(to), 1))
}
/// Returns the state of a value that may be NULL.
pub(crate) fn state_of<T>(value: Option<T>) -> u8 {
    value.map_or(State::Null, |_| State::Value).byte()
}

/// Returns a value of each row as an array.
pub(crate) fn array<'py, R, T: Element>(
    py: Python<'py>,
    rows: &[R],
    of: impl Fn(&R) -> T,
) -> Bound<'py, PyArray1<T>> {
    rows.iter().map(of).collect::<Vec<T>>().into_pyarray(py)
}
pub(crate) fn report_out<'py>(
    py: Python<'py>,
    memory: &Memory<'py>,
    report: Report,
    sectors: &Table,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    memory.set_items(&out, report.rows())?;
    out.set_item("written", report.written.into_pyarray(py))?;
    out.set_item("failed", report.failed.into_pyarray(py))?;
    out.set_item("issues", issues_out(py, &report.issues)?)?;
    out.set_item("misses", misses_out(py, &report.misses)?)?;
    out.set_item("held", held_out(py, &report.held)?)?;
    out.set_item("legacy", legacy_out(py, &report.legacy, sectors)?)?;
    Ok(out)
}

fn misses_out<'py>(py: Python<'py>, misses: &[Miss]) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let lot_sessions = |miss: &Miss| i64::try_from(miss.lot_sessions).unwrap_or(i64::MAX);
    out.set_item("symbol", array(py, misses, |miss| miss.symbol))?;
    out.set_item("unpriced", array(py, misses, |miss| miss.unpriced))?;
    out.set_item("lot_sessions", array(py, misses, lot_sessions))?;
    out.set_item("first", array(py, misses, |miss| miss.first.0))?;
    out.set_item("last", array(py, misses, |miss| miss.last.0))?;
    Ok(out)
}

fn held_out<'py>(py: Python<'py>, held: &[HeldFinding]) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let count = |held: &HeldFinding| i64::try_from(held.portfolios).unwrap_or(i64::MAX);
    let finding = |held: &HeldFinding| i32::try_from(held.finding).unwrap_or(i32::MAX);
    out.set_item("finding", array(py, held, finding))?;
    out.set_item("session", array(py, held, |held| held.first.0))?;
    out.set_item("portfolios", array(py, held, count))?;
    Ok(out)
}

/// Returns the columns of the policy `legacy`; empty under another.
fn legacy_out<'py>(
    py: Python<'py>,
    rows: &[LegacyRow],
    sectors: &Table,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let part = |scale: u32, of: OfRow| {
        let values = array(py, rows, |row| of(row).unwrap_or(0));
        (values, scale, array(py, rows, |row| state_of(of(row))))
    };
    let columns: [(&str, u32, OfRow); 6] = [
        ("total_value", CENTS, |row| Some(row.total_value)),
        ("beta_provider_1y", 4, |row| row.beta),
        ("hhi", 4, |row| Some(row.weights.as_ref()?.hhi)),
        ("effective_num_positions", 2, |row| {
            Some(row.weights.as_ref()?.effective)
        }),
        ("top_3_concentration", 4, |row| {
            Some(row.weights.as_ref()?.top_3)
        }),
        ("top_10_concentration", 4, |row| {
            Some(row.weights.as_ref()?.top_10)
        }),
    ];
    for (name, scale, of) in columns {
        out.set_item(name, part(scale, of))?;
    }
    let greeks = part(CENTS, |row| row.is_active.then_some(0)).into_pyobject(py)?;
    for greek in ["delta", "gamma", "theta", "vega"] {
        out.set_item(format!("portfolio_{greek}"), &greeks)?;
    }
    let own = |(at, row): (i64, &'_ LegacyRow)| {
        let weights = row.weights.as_deref();
        let sectors = weights.map_or(&[][..], |weights| &weights.sectors);
        sectors
            .iter()
            .map(move |&(sector, weight)| (at, sector, weight))
            .collect::<Vec<_>>()
    };
    let weights: Vec<_> = (0i64..).zip(rows).flat_map(own).collect();
    let names = (0u32..).map_while(|code| sectors.text(code));
    let sectors = (
        names.collect::<Vec<_>>(),
        array(py, &weights, |&(row, ..)| row),
        array(py, &weights, |&(_, sector, _)| sector),
        array(py, &weights, |&(.., weight)| weight),
        array(py, rows, |row| state_of(row.weights.as_ref())),
    );
    out.set_item("sector_exposure", sectors)?;
    Ok(out)
}
/// A builder of a column of texts.
#[derive(Default)]
pub(crate) struct TextOut {
    codes: Vec<u32>,
    state: Vec<u8>,
    values: Intern,
}

impl TextOut {
    pub(crate) fn push(&mut self, value: Option<&str>) {
        let code = value.and_then(|value| self.values.code(value.as_bytes()));
        self.codes.push(code.unwrap_or(0));
        self.state.push(state_of(code));
    }

    pub(crate) fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        text_out(py, self.codes, self.values.into_table(), self.state)
    }
}

pub(crate) fn issues_out<'py>(py: Python<'py>, issues: &[Issue]) -> PyResult<Bound<'py, PyDict>> {
    let (mut name, mut symbol, mut detail) =
        (TextOut::default(), TextOut::default(), TextOut::default());
    let mut portfolio = Vec::with_capacity(issues.len());
    let mut day = Vec::with_capacity(issues.len());
    let mut day_state = Vec::with_capacity(issues.len());
    for issue in issues {
        name.push(Some(issue.kind.name()));
        symbol.push(issue.symbol.as_deref());
        detail.push(Some(&issue.detail));
        portfolio.push(
            issue
                .portfolio
                .map_or(-1, |id| i32::try_from(id.0).unwrap_or(i32::MAX)),
        );
        day.push(issue.day.map_or(0, |day| day.0));
        day_state.push(state_of(issue.day));
    }
    let out = PyDict::new(py);
    out.set_item("name", name.finish(py)?)?;
    out.set_item("portfolio", portfolio.into_pyarray(py))?;
    out.set_item("symbol", symbol.finish(py)?)?;
    out.set_item("day", (day.into_pyarray(py), day_state.into_pyarray(py)))?;
    out.set_item("detail", detail.finish(py)?)?;
    Ok(out)
}
