//! Marks, the two policies, and the lots held.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use batchcore_core::fixed::{State, Sum, Wide};
use batchcore_core::ids::Day;
use batchcore_core::pnl::checks::{self, Action, Rules};
use batchcore_core::pnl::columns::{self, ColumnSlices};
use batchcore_core::pnl::contributions::{self as by_lot, Contribution, Contributions};
use batchcore_core::pnl::inputs::{
    Betas, Events, Flows, Host, Inputs, LotInputs, Opening, Positions, SplitRows,
};
use batchcore_core::pnl::issue::Issue;
use batchcore_core::pnl::legacy::Legacy;
use batchcore_core::pnl::legacy::contributions::{self as legacy, ComputedDays};
use batchcore_core::pnl::legacy::row::{LegacyRow, Weights};
use batchcore_core::pnl::position_values::PositionValue;
use batchcore_core::pnl::report::{HeldFinding, Miss, Report};
use batchcore_core::pnl::rollforward::Rollforward;
use batchcore_core::pnl::splits::{PriceBasis, QuantityBasis, Splits};
use batchcore_core::pnl::{holdings, marks, policy, position_values};
use batchcore_core::text::{Intern, Table};
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods, dtype};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice};

use crate::arrays::{FrameArrays, TextColumn, attribute, column, plain, table, text, text_out};
use crate::errors::{InputError, to_py};
use crate::guard::{CancelFlag, detached, guard};
use crate::rates::Rates;
use crate::store::{PriceStore, ProfileStore, SnapshotStore};

/// Marks of all symbols on the sessions of a run.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct Marks {
    marks: marks::Marks,
}

type AmountOf<R> = fn(&R) -> i64;
type OfLot<T> = fn(&Contribution) -> Option<T>;
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
            let symbols = TextColumn::from_object(symbols, "symbols")?;
            let symbols = symbols.borrow()?;
            let days = column::<i32>(days, "days")?;
            let days = days.as_slice()?;
            let closes = detached(py, || Ok(self.marks.fresh_closes(&symbols, days)))?;
            closes.into_pyarray(py).reshape([days.len(), symbols.len()])
        })
    }

    /// Return what was noticed about the prices, as columns of `frames.Issues`.
    fn issues<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("Marks.issues", || issues_out(py, self.marks.issues()))
    }
}

/// What is odd about the closes of a run (C1).
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct Checks {
    checks: checks::Checks,
}

#[pymethods]
impl Checks {
    /// Return what is odd about the closes of `marks` on `days`, (d,) int32 ascending: the sessions
    /// of `marks` that closes are expected of, and those before them.
    ///
    /// `actions` says for each check by name what to do, off, report or fail; thresholds that are
    /// shares are in millionths. `closed` is the last session closed by now, if `marks` reach it.
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
            let action = |name: &str| match actions.get(name).map(String::as_str) {
                Some("fail") => Ok(Action::Fail),
                Some("report") => Ok(Action::Report),
                Some("off") | None => Ok(Action::Off),
                Some(other) => {
                    let message = format!("{name} is `{other}`, expected off, report or fail");
                    Err(InputError::new_err((message, "actions")))
                }
            };
            let rules = Rules {
                split_suspected: action("split_suspected")?,
                price_jump: action("price_jump")?,
                price_frozen: action("price_frozen")?,
                price_ahead: action("price_ahead")?,
                price_low: action("price_low")?,
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

    /// Return what was found, as columns of `frames.Findings`.
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

/// Return the rows of all portfolios of `opening` over the sessions of `market`, as columns.
///
/// `book` is a `native.Book`, `market` a `native.Market`, `checks` those of its closes. What
/// follows them is read by the policy `legacy`, which needs `today`.
#[pyfunction]
#[pyo3(signature = (
    *, policy, book, opening, market, previous, threads, cancel=None, checks=None, today=None,
    cached=None, profiles=None, has_benchmark=false
))]
#[expect(
    clippy::too_many_arguments,
    reason = "one for each input of a policy, keyword-only"
)]
pub(crate) fn run<'py>(
    py: Python<'py>,
    policy: &str,
    book: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    market: &Bound<'py, PyAny>,
    previous: &SnapshotStore,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
    checks: Option<&Checks>,
    today: Option<i32>,
    cached: Option<&PriceStore>,
    profiles: Option<&ProfileStore>,
    has_benchmark: bool,
) -> PyResult<Bound<'py, PyDict>> {
    guard("run", || {
        let lots = LotArrays::of(book, opening, market)?;
        let betas: Option<Bound<'py, PyAny>> = attribute(book, "book", "betas")?.extract()?;
        let betas = betas
            .as_ref()
            .map(FrameArrays::of::<Betas<'_>>)
            .transpose()?;
        let host = match (policy, today) {
            ("rollforward", _) => None,
            ("legacy", Some(today)) => Some(Host {
                prices: &lots.prices.get().store,
                cached: cached.map(|cached| &cached.store),
                today: Day(today),
                profiles: profiles.map(|profiles| &profiles.store),
                betas: betas.as_ref().map(FrameArrays::borrow).transpose()?,
                has_benchmark,
            }),
            ("legacy", None) => {
                let message = "policy `legacy`: expected `today`, was None";
                return Err(InputError::new_err((message, "policy")));
            }
            (policy, _) => {
                let message = format!("no policy `{policy}`, expected rollforward or legacy");
                return Err(InputError::new_err((message, "policy")));
            }
        };
        let flows = FrameArrays::of::<Flows<'_>>(&attribute(book, "book", "flows")?)?;
        let inputs = Inputs {
            lots: lots.borrow()?,
            flows: flows.borrow()?,
            previous: &previous.store,
        };
        let cancel = CancelFlag::or_never(cancel);
        let memory = Memory::of(py, inputs.most_rows())?;
        let (report, sectors) = memory.filled(|columns| {
            detached(py, || match host {
                None => {
                    let policy = Rollforward::of(&inputs, checks.map(|checks| &checks.checks))?;
                    let report = policy::run(&policy, &inputs, threads, cancel, columns)?;
                    Ok((report, Table::default()))
                }
                Some(host) => {
                    let policy = Legacy::of(&inputs, &host)?;
                    let report = policy::run(&policy, &inputs, threads, cancel, columns)?;
                    Ok((report, policy.sectors()))
                }
            })
        })?;
        report_out(py, &memory, report, sectors)
    })
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

/// Return what each lot added to the P&L of its portfolio from the day `opening.first_day` to the
/// session `opening.last_day`: columns of one row for each lot. Those of `wide` are (n, 16) uint8,
/// integers of 128 bits, least byte first, with their decimals and states; (n, 64) uint8 where 128
/// bits do not hold one of a column.
///
/// Raises `CancelledError` once `cancel` is raised.
#[pyfunction]
#[pyo3(signature = (*, book, opening, market, threads, cancel=None))]
pub(crate) fn contributions<'py>(
    py: Python<'py>,
    book: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    market: &Bound<'py, PyAny>,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("contributions", || {
        let lots = LotArrays::of(book, opening, market)?;
        let lots = lots.borrow()?;
        let cancel = CancelFlag::or_never(cancel);
        let found = detached(py, || by_lot::contributions(&lots, threads, cancel))?;
        contributions_out(py, &found)
    })
}

/// Return what each position added to the P&L of its portfolio under the policy `legacy`, as
/// `contributions` does, over the days of a `frames.ComputedDays`.
///
/// Raises `CancelledError` once `cancel` is raised.
#[pyfunction]
#[pyo3(signature = (*, book, opening, market, days, threads, cancel=None))]
pub(crate) fn legacy_contributions<'py>(
    py: Python<'py>,
    book: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    market: &Bound<'py, PyAny>,
    days: &Bound<'py, PyAny>,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("legacy_contributions", || {
        let arrays = LotArrays::of(book, opening, market)?;
        let lots = arrays.borrow()?;
        let portfolio = plain::<i32>(days, "days.portfolio")?;
        let day = plain::<i32>(days, "days.day")?;
        let earns = plain::<bool>(days, "days.earns")?;
        let days = ComputedDays {
            portfolio: portfolio.as_slice()?,
            day: day.as_slice()?,
            earns: earns.as_slice()?,
        };
        let cancel = CancelFlag::or_never(cancel);
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
    let columns = PyDict::new(py);
    for (name, scale, of) in wide {
        let bytes = integers(py, rows.iter().map(|lot| of(lot).unwrap_or_default()))?;
        let state = array(py, rows, |lot| state_of(of(lot)));
        columns.set_item(name, (bytes, scale, state))?;
    }
    out.set_item("wide", columns)?;
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

/// What lots are made of and valued by, held while a call reads it.
struct LotArrays<'py> {
    positions: FrameArrays<'py>,
    events: FrameArrays<'py>,
    opening: FrameArrays<'py>,
    marks: Bound<'py, Marks>,
    prices: Bound<'py, PriceStore>,
    rates: Option<Bound<'py, Rates>>,
}

impl<'py> LotArrays<'py> {
    /// Returns those of a `native.Book`, a `frames.Opening` and a `native.Market`.
    fn of(
        book: &Bound<'py, PyAny>,
        opening: &Bound<'py, PyAny>,
        market: &Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        Ok(Self {
            positions: FrameArrays::of::<Positions<'_>>(&attribute(book, "book", "positions")?)?,
            events: FrameArrays::of::<Events<'_>>(&attribute(book, "book", "events")?)?,
            opening: FrameArrays::of::<Opening<'_>>(opening)?,
            marks: attribute(market, "market", "marks")?.cast_into()?,
            prices: attribute(market, "market", "prices")?.cast_into()?,
            rates: attribute(book, "book", "rates")?.extract()?,
        })
    }

    fn borrow(&self) -> PyResult<LotInputs<'_>> {
        Ok(LotInputs {
            positions: self.positions.borrow()?,
            events: self.events.borrow()?,
            opening: self.opening.borrow()?,
            marks: &self.marks.get().marks,
            rates: self.rates.as_ref().map(|rates| &rates.get().rates),
        })
    }
}

/// Returns the splits of `frames.SplitRows`.
fn splits_of(frame: &Bound<'_, PyAny>) -> PyResult<Splits> {
    let prices = match text(frame, "splits.price_basis")?.as_str() {
        "as_traded" => PriceBasis::AsTraded,
        "adjusted" => PriceBasis::Adjusted,
        other => {
            return Err(no_basis(
                "splits.price_basis",
                other,
                "as_traded or adjusted",
            ));
        }
    };
    let quantities = match text(frame, "splits.quantity_basis")?.as_str() {
        "as_entered" => QuantityBasis::AsEntered,
        "current" => QuantityBasis::Current,
        other => {
            return Err(no_basis(
                "splits.quantity_basis",
                other,
                "as_entered or current",
            ));
        }
    };
    let rows = FrameArrays::of::<SplitRows<'_>>(frame)?;
    Splits::of(&rows.borrow()?, prices, quantities).map_err(|error| to_py(&error))
}

fn no_basis(column: &str, found: &str, expected: &str) -> PyErr {
    let message = format!("`{column}` is {found}, expected {expected}");
    InputError::new_err((message, column.to_owned()))
}

/// Memory of result columns that NumPy has allocated and not cleared: one block for each width,
/// which an allocator is likelier to keep for the next chunk than many small ones.
struct Memory<'py> {
    rows: usize,
    amounts: Bound<'py, PyArray1<i64>>,
    numbers: Bound<'py, PyArray1<i32>>,
    marks: Bound<'py, PyArray1<i32>>,
    states: Bound<'py, PyArray1<u8>>,
}

impl<'py> Memory<'py> {
    fn of(py: Python<'py>, rows: usize) -> PyResult<Self> {
        Ok(Self {
            rows,
            amounts: empty(py, rows, columns::AMOUNTS.len())?,
            numbers: empty(py, rows, columns::NUMBERS.len())?,
            marks: empty(py, rows, 4)?,
            states: empty(py, rows, columns::STATES.len())?,
        })
    }

    /// Returns what `fill` makes of the columns.
    fn filled<T>(&self, fill: impl FnOnce(ColumnSlices<'_>) -> PyResult<T>) -> PyResult<T> {
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
fn state_of<T>(value: Option<T>) -> u8 {
    value.map_or(State::Null, |_| State::Value).byte()
}

/// Returns a value of each row as an array.
fn array<'py, R, T: Element>(
    py: Python<'py>,
    rows: &[R],
    of: impl Fn(&R) -> T,
) -> Bound<'py, PyArray1<T>> {
    rows.iter().map(of).collect::<Vec<T>>().into_pyarray(py)
}

fn report_out<'py>(
    py: Python<'py>,
    memory: &Memory<'py>,
    report: Report,
    sectors: Table,
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

/// Returns the columns of the policy `legacy`: no rows under another.
fn legacy_out<'py>(
    py: Python<'py>,
    rows: &[LegacyRow],
    sectors: Table,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("total_value", array(py, rows, |row| row.total_value))?;
    out.set_item(
        "greeks_state",
        array(py, rows, |row| state_of(row.is_active.then_some(()))),
    )?;
    out.set_item(
        "beta_provider_1y",
        array(py, rows, |row| row.beta.unwrap_or(0)),
    )?;
    out.set_item("beta_state", array(py, rows, |row| state_of(row.beta)))?;
    out.set_item(
        "weights_state",
        array(py, rows, |row| state_of(row.weights.as_ref())),
    )?;
    let columns: [(&str, AmountOf<Weights>); 4] = [
        ("hhi", |weights| weights.hhi),
        ("effective_num_positions", |weights| weights.effective),
        ("top_3_concentration", |weights| weights.top_3),
        ("top_10_concentration", |weights| weights.top_10),
    ];
    for (name, of) in columns {
        let value = |row: &LegacyRow| row.weights.as_deref().map_or(0, of);
        out.set_item(name, array(py, rows, value))?;
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
    out.set_item("weight_row", array(py, &weights, |&(row, ..)| row))?;
    out.set_item(
        "weight_sector",
        array(py, &weights, |&(_, sector, _)| sector),
    )?;
    out.set_item("weight", array(py, &weights, |&(.., weight)| weight))?;
    let names: Vec<u32> = (0u32..).take(sectors.len()).collect();
    let state = vec![State::Value.byte(); names.len()];
    out.set_item("sectors", text_out(py, names, sectors, state)?)?;
    Ok(out)
}

/// A column of texts in the making.
#[derive(Default)]
struct TextOut {
    codes: Vec<u32>,
    state: Vec<u8>,
    values: Intern,
}

impl TextOut {
    fn push(&mut self, value: Option<&str>) {
        let code = value.and_then(|value| self.values.code(value.as_bytes()));
        self.codes.push(code.unwrap_or(0));
        self.state.push(state_of(code));
    }

    fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, pyo3::types::PyTuple>> {
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
