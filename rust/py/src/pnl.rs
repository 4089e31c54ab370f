//! Marks, the two policies, and the lots held.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use batchcore_core::fixed::State;
use batchcore_core::frame;
use batchcore_core::ids::Day;
use batchcore_core::pnl::columns::{self, Room};
use batchcore_core::pnl::inputs::{Betas, Events, Flows, Host, Opening, Positions};
use batchcore_core::pnl::issue::Issue;
use batchcore_core::pnl::legacy::columns::Columns;
use batchcore_core::pnl::rows::Rows;
use batchcore_core::pnl::{self as core, Inputs, Policy};
use batchcore_core::text::Intern;
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods, dtype};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice};

use crate::arrays::{DayColumn, DecimalColumn, TextColumn, column, ids, plain, table, text_out};
use crate::errors::{InputError, to_py};
use crate::guard::{CancelFlag, detached, guard};
use crate::store::{PriceStore, ProfileStore, SnapshotStore};

/// Marks of all symbols on the sessions of a run.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct Marks {
    marks: core::marks::Marks,
}

type Count<'py> = Bound<'py, PyArray1<u32>>;
type Counts<'py> = (Count<'py>, Count<'py>, Count<'py>);

#[pymethods]
impl Marks {
    /// Return the marks of every symbol of `prices` on `sessions`, (s,) int32 ascending.
    ///
    /// Raises `CancelledError` once `cancel` is raised.
    #[staticmethod]
    #[pyo3(signature = (prices, *, sessions, lookback_days, cancel=None))]
    fn from_prices(
        py: Python<'_>,
        prices: &PriceStore,
        sessions: &Bound<'_, PyAny>,
        lookback_days: u32,
        cancel: Option<&CancelFlag>,
    ) -> PyResult<Self> {
        guard("Marks.from_prices", || {
            let never = AtomicBool::new(false);
            let cancel = cancel.map_or(&never, CancelFlag::raised);
            let sessions = column::<i32>(sessions, "sessions")?;
            let sessions = sessions.as_slice()?;
            let marks = detached(py, || {
                let store = &prices.store;
                core::marks::Marks::from_prices_unless(store, sessions, lookback_days, cancel)
            })?;
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

/// Return the rows of all portfolios of `opening` over the sessions of `marks`, as columns.
///
/// What follows `cancel` is read by the policy `legacy`, which needs `prices` and `today`.
#[pyfunction]
#[pyo3(signature = (
    *, policy, positions, events, flows, opening, previous, marks, threads, cancel=None,
    prices=None, today=None, cached=None, profiles=None, betas=None, has_benchmark=false
))]
#[expect(
    clippy::too_many_arguments,
    reason = "one for each frame, keyword-only"
)]
pub(crate) fn run<'py>(
    py: Python<'py>,
    policy: &str,
    positions: &Bound<'py, PyAny>,
    events: &Bound<'py, PyAny>,
    flows: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    previous: &SnapshotStore,
    marks: &Marks,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
    prices: Option<&PriceStore>,
    today: Option<i32>,
    cached: Option<&PriceStore>,
    profiles: Option<&ProfileStore>,
    betas: Option<&Bound<'py, PyAny>>,
    has_benchmark: bool,
) -> PyResult<Bound<'py, PyDict>> {
    guard("run", || {
        let betas = betas.map(BetaArrays::of).transpose()?;
        let policy = match (policy, prices, today) {
            ("rollforward", ..) => Policy::Rollforward,
            ("legacy", Some(prices), Some(today)) => Policy::Legacy(Host {
                prices: &prices.store,
                cached: cached.map(|cached| &cached.store),
                today: Day(today),
                profiles: profiles.map(|profiles| &profiles.store),
                betas: betas.as_ref().map(BetaArrays::borrow).transpose()?,
                has_benchmark,
            }),
            ("legacy", ..) => {
                let message = "policy `legacy`: expected `prices` and `today`, was None";
                return Err(InputError::new_err((message, "policy")));
            }
            (policy, ..) => {
                let message = format!("no policy `{policy}`, expected rollforward or legacy");
                return Err(InputError::new_err((message, "policy")));
            }
        };
        let positions = PositionArrays::of(positions)?;
        let events = EventArrays::of(events)?;
        let flows = FlowArrays::of(flows)?;
        let opening = OpeningArrays::of(opening)?;
        let inputs = Inputs {
            positions: positions.borrow()?,
            events: events.borrow()?,
            flows: flows.borrow()?,
            marks: &marks.marks,
            previous: &previous.store,
            opening: opening.borrow()?,
        };
        let never = AtomicBool::new(false);
        let cancel = cancel.map_or(&never, CancelFlag::raised);
        let memory = Memory::of(py, inputs.most_rows())?;
        let rows = memory
            .filled(|room| detached(py, || core::run(policy, &inputs, threads, cancel, room)))?;
        rows_out(py, &memory, rows)
    })
}

/// Return the lots held on at least one of `sessions`, (s,) int32, as columns.
#[pyfunction]
#[pyo3(signature = (*, positions, events, opening, marks, sessions, threads, cancel=None))]
#[expect(
    clippy::too_many_arguments,
    reason = "one for each frame, keyword-only"
)]
pub(crate) fn hold<'py>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    events: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    marks: &Marks,
    sessions: &Bound<'py, PyAny>,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("hold", || {
        let positions = PositionArrays::of(positions)?;
        let events = EventArrays::of(events)?;
        let opening = OpeningArrays::of(opening)?;
        let (positions, events, opening) =
            (positions.borrow()?, events.borrow()?, opening.borrow()?);
        let days = column::<i32>(sessions, "sessions")?;
        let days = days.as_slice()?;
        let never = AtomicBool::new(false);
        let cancel = cancel.map_or(&never, CancelFlag::raised);
        let held = detached(py, || {
            let marks = &marks.marks;
            core::holdings::hold(positions, events, &opening, marks, days, threads, cancel)
        })?;
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
#[pyo3(signature = (*, positions, events, opening, marks, session, threads, cancel=None))]
#[expect(
    clippy::too_many_arguments,
    reason = "one for each frame, keyword-only"
)]
pub(crate) fn value_positions<'py>(
    py: Python<'py>,
    positions: &Bound<'py, PyAny>,
    events: &Bound<'py, PyAny>,
    opening: &Bound<'py, PyAny>,
    marks: &Marks,
    session: i32,
    threads: NonZeroUsize,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyDict>> {
    guard("value_positions", || {
        let positions = PositionArrays::of(positions)?;
        let events = EventArrays::of(events)?;
        let opening = OpeningArrays::of(opening)?;
        let (positions, events, opening) =
            (positions.borrow()?, events.borrow()?, opening.borrow()?);
        let never = AtomicBool::new(false);
        let cancel = cancel.map_or(&never, CancelFlag::raised);
        let values = detached(py, || {
            let (marks, day) = (&marks.marks, Day(session));
            core::position_values::value_positions(
                positions, events, &opening, marks, day, threads, cancel,
            )
        })?;
        let out = PyDict::new(py);
        out.set_item("position", values.position.into_pyarray(py))?;
        out.set_item("last_price", values.last_price.into_pyarray(py))?;
        out.set_item("market_value_cents", values.market_value.into_pyarray(py))?;
        out.set_item("unrealized_cents", values.unrealized.into_pyarray(py))?;
        out.set_item("issues", issues_out(py, &values.issues)?)?;
        Ok(out)
    })
}

macro_rules! arrays {
    ($(#[$doc:meta])* $name:ident => $frame:ident {
        ids { $($id:ident: $id_path:literal),* }
        plain { $($plain:ident: $plain_type:ty = $plain_path:literal),* }
        columns { $($column:ident: $column_type:ident = $column_path:literal),* }
    }) => {
        $(#[$doc])*
        struct $name<'py> {
            $($id: numpy::PyReadonlyArray1<'py, u8>,)*
            $($plain: numpy::PyReadonlyArray1<'py, $plain_type>,)*
            $($column: $column_type<'py>,)*
        }

        impl<'py> $name<'py> {
            fn of(frame: &Bound<'py, PyAny>) -> PyResult<Self> {
                Ok(Self {
                    $($id: ids(frame, $id_path)?,)*
                    $($plain: plain::<$plain_type>(frame, $plain_path)?,)*
                    $($column: $column_type::of(frame, $column_path)?,)*
                })
            }

            fn borrow(&self) -> PyResult<$frame<'_>> {
                Ok($frame {
                    $($id: frame::uuids($id_path, self.$id.as_slice()?)
                        .map_err(|error| to_py(&error))?,)*
                    $($plain: self.$plain.as_slice()?,)*
                    $($column: self.$column.borrow()?,)*
                })
            }
        }
    };
}

arrays! {
    /// The arrays of `frames.Positions`.
    PositionArrays => Positions {
        ids { id: "positions.id", portfolio_id: "positions.portfolio_id" }
        plain { deleted: bool = "positions.deleted" }
        columns {
            symbol: TextColumn = "positions.symbol",
            position_type: TextColumn = "positions.position_type",
            quantity: DecimalColumn = "positions.quantity",
            entry_price: DecimalColumn = "positions.entry_price",
            entry_day: DayColumn = "positions.entry_day",
            exit_price: DecimalColumn = "positions.exit_price",
            exit_day: DayColumn = "positions.exit_day",
            expiration_day: DayColumn = "positions.expiration_day",
            investment_class: TextColumn = "positions.investment_class",
            last_price: DecimalColumn = "positions.last_price",
            market_value: DecimalColumn = "positions.market_value"
        }
    }
}

arrays! {
    /// The arrays of `frames.Events`.
    EventArrays => Events {
        ids { position_id: "events.position_id", portfolio_id: "events.portfolio_id" }
        plain { }
        columns {
            day: DayColumn = "events.day",
            quantity: DecimalColumn = "events.quantity",
            realized: DecimalColumn = "events.realized"
        }
    }
}

arrays! {
    /// The arrays of `frames.Betas`.
    BetaArrays => Betas {
        ids { position_id: "betas.position_id" }
        plain { }
        columns { day: DayColumn = "betas.day", beta: DecimalColumn = "betas.beta" }
    }
}

arrays! {
    /// The arrays of `frames.Flows`.
    FlowArrays => Flows {
        ids { portfolio_id: "flows.portfolio_id" }
        plain { }
        columns {
            day: DayColumn = "flows.day",
            amount: DecimalColumn = "flows.amount",
            change_type: TextColumn = "flows.change_type"
        }
    }
}

arrays! {
    /// The arrays of `frames.Opening`.
    OpeningArrays => Opening {
        ids { portfolio_id: "opening.portfolio_id" }
        plain { first_day: i32 = "opening.first_day", last_day: i32 = "opening.last_day" }
        columns {
            equity: DecimalColumn = "opening.equity",
            earliest_day: DayColumn = "opening.earliest_day",
            earliest_equity: DecimalColumn = "opening.earliest_equity",
            earliest_pnl: DecimalColumn = "opening.earliest_pnl",
            earliest_flow: DecimalColumn = "opening.earliest_flow"
        }
    }
}

/// Names of the columns of 64 bits, in the order of [`Room::AMOUNTS`].
const AMOUNTS: [&str; columns::AMOUNTS] = [
    "equity_cents",
    "daily_pnl_cents",
    "daily_realized_cents",
    "daily_flow_cents",
    "daily_return",
    "cumulative_pnl_cents",
    "cumulative_realized_cents",
    "cumulative_flow_cents",
    "unrealized",
    "long_cents",
    "short_cents",
    "gross_cents",
    "net_cents",
    "cash_cents",
];

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
            amounts: empty(py, rows, columns::AMOUNTS)?,
            numbers: empty(py, rows, columns::NUMBERS)?,
            marks: empty(py, rows, 4)?,
            states: empty(py, rows, columns::STATES)?,
        })
    }

    /// Returns what `fill` makes of the columns.
    fn filled<T>(&self, fill: impl FnOnce(Room<'_>) -> PyResult<T>) -> PyResult<T> {
        let mut amounts = self.amounts.try_readwrite()?;
        let mut numbers = self.numbers.try_readwrite()?;
        let mut marks = self.marks.try_readwrite()?;
        let mut states = self.states.try_readwrite()?;
        let (marks, _) = marks.as_slice_mut()?.as_chunks_mut::<4>();
        fill(Room::of(
            self.rows,
            amounts.as_slice_mut()?,
            numbers.as_slice_mut()?,
            marks,
            states.as_slice_mut()?,
        ))
    }

    /// Adds the first `rows` values of each column to `out`, as views.
    fn set_items(&self, out: &Bound<'py, PyDict>, rows: usize) -> PyResult<()> {
        let py = out.py();
        let views = |block: &Bound<'py, PyAny>, names: &[&str]| {
            for (column, name) in names.iter().enumerate() {
                let from = column.saturating_mul(self.rows);
                out.set_item(name, part(block, from, rows)?)?;
            }
            PyResult::Ok(())
        };
        views(self.amounts.as_any(), &AMOUNTS)?;
        views(self.numbers.as_any(), &Room::NUMBERS)?;
        views(self.states.as_any(), &Room::STATES)?;
        let marks = part(self.marks.as_any(), 0, rows.saturating_mul(4))?;
        let marks = marks.call_method1(intern!(py, "reshape"), ((rows, 4),))?;
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
        .import(intern!(py, "numpy"))?
        .call_method1(intern!(py, "empty"), (values, dtype::<T>(py)))?;
    Ok(array.cast_into()?)
}

/// Returns `length` values of an array from `from` on, as a view.
fn part<'py>(block: &Bound<'py, PyAny>, from: usize, length: usize) -> PyResult<Bound<'py, PyAny>> {
    let bound = |place: usize| isize::try_from(place).unwrap_or(isize::MAX);
    let to = from.saturating_add(length);
    block.get_item(PySlice::new(block.py(), bound(from), bound(to), 1))
}

fn rows_out<'py>(
    py: Python<'py>,
    memory: &Memory<'py>,
    rows: Rows,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    memory.set_items(&out, rows.len())?;
    out.set_item("written", rows.written.into_pyarray(py))?;
    out.set_item("failed", rows.failed.into_pyarray(py))?;
    out.set_item("issues", issues_out(py, &rows.issues)?)?;

    let misses = PyDict::new(py);
    let symbols: Vec<u32> = rows.misses.iter().map(|miss| miss.symbol).collect();
    let unpriced: Vec<bool> = rows.misses.iter().map(|miss| miss.unpriced).collect();
    let held = |miss: &core::rows::Miss| i64::try_from(miss.lot_sessions).unwrap_or(i64::MAX);
    let lot_sessions: Vec<i64> = rows.misses.iter().map(held).collect();
    let first: Vec<i32> = rows.misses.iter().map(|miss| miss.first.0).collect();
    let last: Vec<i32> = rows.misses.iter().map(|miss| miss.last.0).collect();
    misses.set_item("symbol", symbols.into_pyarray(py))?;
    misses.set_item("unpriced", unpriced.into_pyarray(py))?;
    misses.set_item("lot_sessions", lot_sessions.into_pyarray(py))?;
    misses.set_item("first", first.into_pyarray(py))?;
    misses.set_item("last", last.into_pyarray(py))?;
    out.set_item("misses", misses)?;
    out.set_item("legacy", legacy_out(py, rows.legacy)?)?;
    Ok(out)
}

/// Returns the columns of the policy `legacy`: no rows under another.
fn legacy_out(py: Python<'_>, columns: Columns) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    for (name, values) in [
        ("total_value", columns.total_value),
        ("beta_provider_1y", columns.beta),
        ("hhi", columns.hhi),
        ("effective_num_positions", columns.effective),
        ("top_3_concentration", columns.top_3),
        ("top_10_concentration", columns.top_10),
        ("weight_row", columns.weight_row),
    ] {
        out.set_item(name, values.into_pyarray(py))?;
    }
    out.set_item("greeks_state", columns.greeks_state.into_pyarray(py))?;
    out.set_item("beta_state", columns.beta_state.into_pyarray(py))?;
    out.set_item("weights_state", columns.weights_state.into_pyarray(py))?;
    out.set_item("weight_sector", columns.weight_sector.into_pyarray(py))?;
    out.set_item("weight", columns.weight.into_pyarray(py))?;
    let names: Vec<u32> = (0u32..).take(columns.sectors.len()).collect();
    let state = vec![State::Value.byte(); names.len()];
    out.set_item("sectors", text_out(py, names, columns.sectors, state)?)?;
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
        let state = if code.is_some() {
            State::Value
        } else {
            State::Null
        };
        self.state.push(state.byte());
    }

    fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, pyo3::types::PyTuple>> {
        text_out(py, self.codes, self.values.into_table(), self.state)
    }
}

fn issues_out<'py>(py: Python<'py>, issues: &[Issue]) -> PyResult<Bound<'py, PyDict>> {
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
        let state = if issue.day.is_some() {
            State::Value
        } else {
            State::Null
        };
        day_state.push(state.byte());
    }
    let out = PyDict::new(py);
    out.set_item("name", name.finish(py)?)?;
    out.set_item("portfolio", portfolio.into_pyarray(py))?;
    out.set_item("symbol", symbol.finish(py)?)?;
    out.set_item("day", (day.into_pyarray(py), day_state.into_pyarray(py)))?;
    out.set_item("detail", detail.finish(py)?)?;
    Ok(out)
}
