//! Results of the core as NumPy arrays.

use batchcore_core::fixed::{CENTS, State};
use batchcore_core::pnl::columns::{self, Columns};
use batchcore_core::pnl::issue::Issue;
use batchcore_core::pnl::legacy::row::LegacyRow;
use batchcore_core::pnl::report::{HeldFinding, Miss, Report};
use batchcore_core::text::{Intern, Table};
use numpy::{Element, IntoPyArray, PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice, PyTuple};

use crate::arrays::text_out;

pub(crate) type AmountOf<R> = fn(&R) -> i64;

type OfRow = fn(&LegacyRow) -> Option<i64>;

/// Adds the columns of a block to `out` by their names: views of the first `rows` rows of each.
fn set_columns<T: Element>(
    out: &Bound<'_, PyDict>,
    names: &[&str],
    block: Vec<T>,
    rows: usize,
) -> PyResult<()> {
    let room = block.len().checked_div(names.len()).unwrap_or(0);
    let block = block.into_pyarray(out.py());
    let bound = |place: usize| isize::try_from(place).unwrap_or(isize::MAX);
    for (column, name) in names.iter().enumerate() {
        let from = column.saturating_mul(room);
        let part = PySlice::new(out.py(), bound(from), bound(from.saturating_add(rows)), 1);
        out.set_item(name, block.as_any().get_item(part)?)?;
    }
    Ok(())
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
    columns: Columns,
    report: Report,
    sectors: &Table,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let rows = report.rows();
    set_columns(&out, columns::AMOUNTS, columns.amounts, rows)?;
    set_columns(&out, columns::NUMBERS, columns.numbers, rows)?;
    set_columns(&out, columns::STATES, columns.states, rows)?;
    let mut marks = columns.counts;
    marks.truncate(rows);
    let marks = marks.into_flattened().into_pyarray(py);
    out.set_item("marks", marks.reshape([rows, 4])?)?;
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
