//! Rates between currencies.

use batchcore_core::ids::Day;
use batchcore_core::pnl::issue::{Issue, IssueKind};
use batchcore_core::store::rates::{self, Currency, RateColumns, RateRules};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{FrameArrays, column, table};
use crate::errors::to_py;
use crate::guard::{detached, guard};
use crate::results::issues_out;

type LookedUp = (String, Option<(i32, usize)>, bool);

/// Rates of every currency of some lots in every currency of some portfolios.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct Rates {
    pub(crate) rates: rates::Rates,
}

#[pymethods]
impl Rates {
    /// Return the rates of a `frames.RateRows` on `sessions`, (s,) int32 ascending, of the
    /// currencies in the tables of two columns.
    #[staticmethod]
    #[pyo3(signature = (rates, *, currencies, homes, sessions, lookback_days, pivot))]
    fn from_frame(
        py: Python<'_>,
        rates: &Bound<'_, PyAny>,
        currencies: &Bound<'_, PyAny>,
        homes: &Bound<'_, PyAny>,
        sessions: &Bound<'_, PyAny>,
        lookback_days: u32,
        pivot: &str,
    ) -> PyResult<Self> {
        guard("Rates.from_frame", || {
            let arrays = FrameArrays::of::<RateColumns<'_>>(rates)?;
            let columns = arrays.borrow()?;
            let sessions = column::<i32>(sessions, "sessions")?;
            let rules = RateRules {
                currencies: &table(currencies, "currencies")?,
                homes: &table(homes, "homes")?,
                sessions: sessions.as_slice()?,
                lookback_days,
                pivot: pivot.as_bytes(),
            };
            let rates = detached(py, || rates::Rates::of(&columns, &rules))?;
            Ok(Self { rates })
        })
    }

    /// Return the rows that are treated as absent, as columns of `frames.Issues`.
    fn issues<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("Rates.issues", || {
            let bad = self.rates.bad().iter().map(|bad| Issue {
                kind: IssueKind::BadRate,
                portfolio: None,
                symbol: None,
                day: Some(bad.day),
                detail: {
                    let dates = if bad.dates == 1 { "date" } else { "dates" };
                    let (pair, shown) = (&bad.pair, &bad.shown);
                    format!("{pair}: {} {dates}; {shown} on the first", bad.dates)
                },
            });
            issues_out(py, &bad.collect::<Vec<_>>())
        })
    }

    /// Return the rates of two currencies as stored: the pair, the first session without a rate and
    /// how many there are, and whether there is a rate on a day; None if they are the same.
    ///
    /// Raises `InputError` for currencies that the rates were not made for.
    fn look_up(&self, currency: &str, home: Option<&str>, day: i32) -> PyResult<Option<LookedUp>> {
        guard("Rates.look_up", || {
            let of = |text: &str| Currency::of(text.as_bytes());
            let Some(own) = of(currency) else {
                return Ok(None);
            };
            let home = home.and_then(of);
            let found = self.rates.pair(&own, home.as_ref());
            let found = found.map_err(|error| to_py(&error))?;
            Ok(found.map(|pair| {
                let gaps = self.rates.gaps(pair).map(|(day, count)| (day.0, count));
                (pair.name().to_owned(), gaps, pair.at(Day(day)).is_some())
            }))
        })
    }
}
