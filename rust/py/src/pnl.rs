//! The two policies, and the lots held.

use std::num::NonZeroUsize;

use batchcore_core::ids::Day;
use batchcore_core::pnl::inputs::{Betas, Host, Inputs, Opening, Profiles};
use batchcore_core::pnl::legacy::Legacy;
use batchcore_core::pnl::position_values::PositionValue;
use batchcore_core::pnl::rollforward::Rollforward;
use batchcore_core::pnl::{holdings, policy, position_values};
use batchcore_core::store::{SnapshotColumns, SnapshotStore};
use batchcore_core::text::Table;
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{FrameArrays, attribute, column};
use crate::errors::InternalError;
use crate::guard::{CancelFlag, detached, guard};
use crate::marks::{Checks, Marks};
use crate::rates::Rates;
use crate::results::{AmountOf, array, issues_out, report_out};
use crate::store::PriceStore;

/// Return the rows of all portfolios of `opening` over the sessions of `market`, as columns.
///
/// `book` is a `native.Book`, `market` a `native.Market`, `checks` those of its closes. `rules` are
/// those of a policy, by its name; `legacy` needs `host`, a `native.Host`.
#[pyfunction]
#[pyo3(signature = (
    *, rules, book, opening, market, previous, threads, cancel=None, checks=None, host=None
))]
#[expect(
    clippy::too_many_arguments,
    reason = "one for each input of a policy, keyword-only"
)]
pub(crate) fn run<'py>(
    py: Python<'py>,
    rules: &str,
    book: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    market: &Bound<'py, PyAny>,
    previous: &Bound<'py, PyAny>,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
    checks: Option<&Checks>,
    host: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("run", || {
        let lots = LotArrays::of(book, opening, market)?;
        let betas: Option<Bound<'py, PyAny>> = attribute(book, "book", "betas")?.extract()?;
        let betas = betas
            .as_ref()
            .map(FrameArrays::of::<Betas<'_>>)
            .transpose()?;
        let betas = betas.as_ref().map(FrameArrays::borrow).transpose()?;
        let host: Option<LegacyHost<'py>> = host.map(PyAnyMethods::extract).transpose()?;
        let profiles = host.as_ref().and_then(|host| host.profiles.as_ref());
        let profiles = profiles.map(FrameArrays::of::<Profiles<'_>>).transpose()?;
        let profiles = profiles.as_ref().map(FrameArrays::borrow).transpose()?;
        let host = host.as_ref().map(|host| Host {
            prices: &lots.prices.get().store,
            cached: host.cached.as_ref().map(|cached| &cached.get().store),
            today: Day(host.today),
            profiles,
            betas,
            has_benchmark: host.has_benchmark,
        });
        let previous = FrameArrays::of::<SnapshotColumns<'_>>(previous)?;
        let (inputs, previous) = (lots.borrow()?, previous.borrow()?);
        let cancel = CancelFlag::or_never(cancel);
        let ((columns, report), sectors) = match (rules, host) {
            ("rollforward", _) => detached(py, || {
                let previous = SnapshotStore::from_columns(&previous)?;
                let checks = checks.map(|checks| &checks.checks);
                let policy = Rollforward::of(&inputs, &previous, checks)?;
                let done = policy::run(&policy, &inputs, threads, cancel)?;
                Ok((done, Table::default()))
            }),
            ("legacy", Some(host)) => detached(py, || {
                let previous = SnapshotStore::from_columns(&previous)?;
                let policy = Legacy::of(&inputs, &previous, &host)?;
                let done = policy::run(&policy, &inputs, threads, cancel)?;
                Ok((done, policy.sectors()))
            }),
            _ => Err(InternalError::new_err(format!(
                "no rules `{rules}` of these inputs"
            ))),
        }?;
        report_out(py, columns, report, &sectors)
    })
}

/// A `native.Host`, borrowed for a call.
#[derive(FromPyObject)]
pub(crate) struct LegacyHost<'py> {
    today: i32,
    cached: Option<Bound<'py, PriceStore>>,
    profiles: Option<Bound<'py, PyAny>>,
    has_benchmark: bool,
}

/// Return the lots held on at least one of `sessions`, (s,) int32, as columns.
#[pyfunction]
#[pyo3(signature = (*, book, opening, market, sessions, threads, cancel=None))]
pub(crate) fn hold<'py>(
    py: Python<'py>,
    book: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    market: &Bound<'py, PyAny>,
    sessions: &Bound<'py, PyAny>,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("hold", || {
        let lots = LotArrays::of(book, opening, market)?;
        let lots = lots.borrow()?;
        let days = column::<i32>(sessions, "sessions")?;
        let days = days.as_slice()?;
        let cancel = CancelFlag::or_never(cancel);
        let held = detached(py, || holdings::hold(&lots, days, threads, cancel))?;
        let shape = [held.len(), days.len()];
        let out = PyDict::new(py);
        out.set_item("portfolio", held.portfolio.into_pyarray(py))?;
        out.set_item("position", held.position.into_pyarray(py))?;
        out.set_item("symbol", held.symbol.into_pyarray(py))?;
        out.set_item("kind", held.kind.into_pyarray(py))?;
        out.set_item("value", held.value.into_pyarray(py).reshape(shape)?)?;
        out.set_item("held", held.held.into_pyarray(py).reshape(shape)?)?;
        Ok(out)
    })
}
/// Return the values of public positions on `session`, as columns.
#[pyfunction]
#[pyo3(signature = (*, book, opening, market, session, threads, cancel=None))]
pub(crate) fn value_positions<'py>(
    py: Python<'py>,
    book: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    market: &Bound<'py, PyAny>,
    session: i32,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("value_positions", || {
        let lots = LotArrays::of(book, opening, market)?;
        let lots = lots.borrow()?;
        let cancel = CancelFlag::or_never(cancel);
        let values = detached(py, || {
            position_values::value_positions(&lots, Day(session), threads, cancel)
        })?;
        let out = PyDict::new(py);
        let columns: [(&str, AmountOf<PositionValue>); 3] = [
            ("last_price", |value| value.last_price),
            ("market_value", |value| value.market_value),
            ("unrealized_pnl", |value| value.unrealized),
        ];
        for (name, of) in columns {
            out.set_item(name, array(py, &values.values, of))?;
        }
        out.set_item(
            "position",
            array(py, &values.values, |value| value.position),
        )?;
        out.set_item("issues", issues_out(py, &values.issues)?)?;
        Ok(out)
    })
}
/// The frames of lots, borrowed for a call.
pub(crate) struct LotArrays<'py> {
    book: FrameArrays<'py>,
    opening: FrameArrays<'py>,
    marks: Bound<'py, Marks>,
    pub(crate) prices: Bound<'py, PriceStore>,
    rates: Option<Bound<'py, Rates>>,
}

impl<'py> LotArrays<'py> {
    /// Returns the frames of a `native.Book`, a `frames.Opening` and a `native.Market`.
    pub(crate) fn of(
        book: &Bound<'py, PyAny>,
        opening: &Bound<'py, PyAny>,
        market: &Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        Ok(Self {
            book: FrameArrays::of_book(book)?,
            opening: FrameArrays::of::<Opening<'_>>(opening)?,
            marks: attribute(market, "market", "marks")?.cast_into()?,
            prices: attribute(market, "market", "prices")?.cast_into()?,
            rates: attribute(book, "book", "rates")?.extract()?,
        })
    }

    pub(crate) fn borrow(&self) -> PyResult<Inputs<'_>> {
        Ok(Inputs {
            book: self.book.borrow()?,
            opening: self.opening.borrow()?,
            marks: &self.marks.get().marks,
            rates: self.rates.as_ref().map(|rates| &rates.get().rates),
        })
    }
}
