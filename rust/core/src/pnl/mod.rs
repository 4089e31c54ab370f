//! Profit and loss: from frames to result rows, all portfolios on all cores.
//!
//! | module              | what it owns                                            |
//! |---------------------|---------------------------------------------------------|
//! | [`inputs`]          | the borrowed frames                                     |
//! | [`marks`]           | valid closes and their marks on the sessions (S2, S4)   |
//! | [`lot`]             | positions become lots (S3)                              |
//! | [`groups`]          | rows by their owner                                     |
//! | [`book`]            | positions and events by portfolio                       |
//! | [`value`]           | what a lot is worth, exactly                            |
//! | [`rollforward`]     | one portfolio, session by session (S5 to S10)           |
//! | [`legacy`]          | the second policy (L1 to L34)                           |
//! | [`holdings`]        | the lots held on some sessions, as floats               |
//! | [`position_values`] | market values of positions on one session               |
//! | [`batches`]         | threads                                                 |
//! | [`issue`]           | what is noticed                                         |
//! | [`columns`]         | result columns, and stretches of them                   |
//! | [`rows`]            | one row, and what is noticed over all                   |
//!
//! Portfolios are independent of each other, and results are put together in input order, so that
//! neither threads nor the order of rows show (S11).

pub mod batches;
pub mod book;
pub mod columns;
pub mod groups;
pub mod holdings;
pub mod inputs;
pub mod issue;
pub mod legacy;
pub mod lot;
pub mod marks;
pub mod position_values;
pub mod rollforward;
pub mod rows;
#[cfg(test)]
mod samples;
pub mod value;

use core::num::NonZeroUsize;
use core::ops::Range;
use core::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::fixed::{State, TEXT_BYTES, text_in};
use crate::frame::index;
use crate::ids::{Day, PortfolioId};
use crate::store::SnapshotStore;
use crate::store::snapshot::cents;
use crate::text::Table;
use batches::{batches, in_batches};
use book::{Book, Page};
use columns::Room;
use groups::Groups;
use inputs::{Events, Flows, Host, Opening, Positions};
use issue::{Issue, IssueKind};
use marks::Marks;
use rollforward::{Outcome, Portfolio, Scratch, Start, flow_between, opening_equity};
use rows::Rows;
use value::Units;

/// What the figures mean.
#[derive(Debug, Clone, Copy)]
pub enum Policy<'a> {
    /// `docs/semantics.md`.
    Rollforward,
    /// `docs/legacy.md`.
    Legacy(Host<'a>),
}

/// Everything that [`run`] reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Holdings.
    pub positions: Positions<'a>,
    /// Partial closes.
    pub events: Events<'a>,
    /// Cash in and out.
    pub flows: Flows<'a>,
    /// Marks of all symbols on the sessions of the run.
    pub marks: &'a Marks,
    /// Where portfolios stood.
    pub previous: &'a SnapshotStore,
    /// Which portfolios, in which order.
    pub opening: Opening<'a>,
}

impl Inputs<'_> {
    /// Returns how many rows [`run`] makes at most: one for each portfolio and session of its own.
    #[must_use]
    pub fn most_rows(&self) -> usize {
        self.rows_of(0..self.opening.portfolio_id.len())
    }

    fn rows_of(&self, portfolios: Range<usize>) -> usize {
        let sessions = self.marks.sessions();
        portfolios
            .map(|at| self.opening.span(at, sessions).len())
            .fold(0, usize::saturating_add)
    }
}

/// Fills `room` with the rows of all portfolios of `inputs.opening` over the sessions of
/// `inputs.marks`, one behind the other, and returns how many there are and what was noticed.
///
/// Portfolios come in input order, their sessions ascending. The order of rows in any frame and
/// the number of threads do not show in the result. What stands in `room` counts for nothing;
/// behind the last row it is left undefined.
///
/// # Errors
///
/// [`Error::Length`], [`Error::Value`] or [`Error::Duplicate`] for frames that contradict
/// themselves, [`Error::Length`] for a room of fewer than [`Inputs::most_rows`];
/// [`Error::Cancelled`] once `cancel` is raised, looked at before each portfolio.
///
/// [`Error::Length`]: crate::error::Error::Length
/// [`Error::Value`]: crate::error::Error::Value
/// [`Error::Duplicate`]: crate::error::Error::Duplicate
/// [`Error::Cancelled`]: crate::error::Error::Cancelled
pub fn run(
    policy: Policy<'_>,
    inputs: &Inputs<'_>,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
    room: Room<'_>,
) -> Result<Rows> {
    match policy {
        Policy::Rollforward => {
            let prepared = Prepared::of(inputs)?;
            gathered(inputs, threads, cancel, room, |at, buffers, filled| {
                prepared.portfolio(at, buffers, filled);
            })
        }
        Policy::Legacy(host) => {
            let prepared = legacy::Prepared::of(inputs, &host)?;
            let mut rows = gathered(inputs, threads, cancel, room, |at, buffers, filled| {
                prepared.portfolio(at, buffers, filled);
            })?;
            rows.legacy.sectors = prepared.sectors();
            Ok(rows)
        }
    }
}

/// What the portfolios of a batch fill.
struct Filled<'a> {
    room: Room<'a>,
    rows: Rows,
}

/// Fills `room` with what `each` makes of the portfolios, in their order.
fn gathered<S: Default>(
    inputs: &Inputs<'_>,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
    mut room: Room<'_>,
    each: impl Fn(usize, &mut S, &mut Filled<'_>) + Sync,
) -> Result<Rows> {
    let most = inputs.most_rows();
    if room.len() < most {
        return Err(Error::Length {
            column: "room",
            expected: most,
            actual: room.len(),
        });
    }
    let mut rest = room.stretch(0, most);
    let batches = batches(inputs.opening.portfolio_id.len()).map(|portfolios| {
        let rows = inputs.rows_of(portfolios.clone());
        let (room, behind) = core::mem::take(&mut rest).split_at(rows);
        rest = behind;
        let rows = Rows::default();
        (portfolios, Filled { room, rows })
    });
    let done = in_batches(batches, threads, cancel, each)?;
    let done = done
        .into_iter()
        .map(|filled| (filled.room.len(), filled.rows));
    Ok(joined(done.collect(), &mut room))
}

/// Returns what was noticed in all batches; each comes with the rows it had room for, and those of
/// later batches move down to where it ends.
fn joined(batches: Vec<(usize, Rows)>, room: &mut Room<'_>) -> Rows {
    let mut rows = Rows::default();
    let legacy = batches.iter().map(|(_, later)| later.legacy.len());
    rows.legacy.reserve(legacy.sum());
    let mut from = 0usize;
    for (most, later) in batches {
        room.move_down(from, later.len(), rows.len());
        rows.append(later);
        from = from.saturating_add(most);
    }
    rows.settle();
    rows
}

/// Returns by code of `change_type` which way cash went: 1 in, -1 out, nothing for no type.
fn flow_signs(change_types: &Table) -> Vec<Option<i128>> {
    let sign = |text: &[u8]| match text {
        b"CONTRIBUTION" => Some(1),
        b"WITHDRAWAL" => Some(-1),
        _ => None,
    };
    change_types.iter().map(sign).collect()
}

/// Returns the detail of `close_refused`: the first close, and on how many sessions there is one.
fn refused_close(close: Option<i64>, scale: u32, sessions: usize) -> String {
    let close = close.map_or_else(
        || "not_representable".to_owned(),
        |close| {
            let mut buffer = [0; TEXT_BYTES];
            let text = text_in(&mut buffer, close, scale);
            let decimals = text.contains('.');
            let short = text.trim_end_matches(|digit| decimals && digit == '0');
            short.trim_end_matches('.').to_owned()
        },
    );
    if sessions == 1 {
        close
    } else {
        format!("{close}, the first of {sessions} sessions")
    }
}

struct Prepared<'a> {
    inputs: &'a Inputs<'a>,
    units: Units,
    book: Book<'a>,
    flows: Groups,
    /// By code of `change_type`: 1, -1, or nothing.
    flow_signs: Vec<Option<i128>>,
}

impl<'a> Prepared<'a> {
    fn of(inputs: &'a Inputs<'a>) -> Result<Self> {
        let flows = &inputs.flows;
        let book = Book::of(
            inputs.positions,
            inputs.events,
            &inputs.opening,
            inputs.marks,
        )?;
        flows.check()?;
        Ok(Self {
            inputs,
            units: Units::of(&book.scales(flows.amount.scale())),
            flows: book.by_portfolio(flows.portfolio_id),
            flow_signs: flow_signs(flows.change_type.table()),
            book,
        })
    }

    fn portfolio(&self, at: usize, buffers: &mut Buffers<'a>, filled: &mut Filled<'_>) {
        let Filled { room, rows } = filled;
        let sessions = self.inputs.marks.sessions();
        let span = self.inputs.opening.span(at, sessions);
        let portfolio = PortfolioId(u32::try_from(at).unwrap_or(u32::MAX));
        let Some(&first) = sessions.get(span.start).filter(|_| !span.is_empty()) else {
            rows.wrote(0, false);
            return;
        };
        self.collect(at, portfolio, buffers, &mut rows.issues);
        let start = match self.start(at, Day(first), &buffers.flows) {
            Ok(start) => start,
            Err((column, state)) => {
                rows.issues.push(Issue {
                    kind: IssueKind::of_state(state),
                    portfolio: Some(portfolio),
                    symbol: None,
                    day: Some(Day(first)),
                    detail: column.to_owned(),
                });
                rows.wrote(0, true);
                return;
            }
        };
        let mut room = room.stretch(rows.len(), span.len());
        let outcome = rollforward::roll_forward(
            &Portfolio {
                lots: &buffers.page.lots,
                symbols: &buffers.symbols,
                flows: &buffers.flows,
                start,
                sessions,
                from: span.start,
                to: span.end,
                units: &self.units,
            },
            &mut buffers.scratch,
            &mut room,
        );
        room.portfolio.fill(i32::try_from(at).unwrap_or(i32::MAX));
        rows.wrote(outcome.written, outcome.failure.is_some());
        self.notice(portfolio, &buffers.page, outcome, rows);
    }

    /// Adds what was noticed while a portfolio was rolled.
    fn notice(&self, portfolio: PortfolioId, page: &Page<'_>, outcome: Outcome, rows: &mut Rows) {
        let mut issue = |kind, position: Option<usize>, day, detail| {
            let symbol = position.and_then(|position| self.book.symbol(position));
            rows.issues.push(Issue {
                kind,
                portfolio: Some(portfolio),
                symbol,
                day: Some(day),
                detail,
            });
        };
        for (kind, lot, day) in outcome.closings {
            let column = if kind == IssueKind::Expired {
                "expiration_date"
            } else {
                "exit_price"
            };
            let position = page.lots.get(lot).map(|lot| lot.position);
            issue(kind, position, day, column.to_owned());
        }
        for (day, value) in outcome.returns {
            issue(IssueKind::ReturnOutOfRange, None, day, value);
        }
        if let Some((day, detail)) = outcome.failure {
            issue(IssueKind::OutOfRange, None, day, detail);
        }
        rows.misses.extend(outcome.misses);
        let symbols = self.inputs.positions.symbol.table();
        let scale = self.inputs.marks.scale();
        for of_symbol in outcome
            .refused
            .chunk_by(|(code, ..), (next, ..)| code == next)
        {
            if let Some(&(code, day, close)) = of_symbol.first() {
                rows.issues.push(Issue {
                    kind: IssueKind::CloseRefused,
                    portfolio: Some(portfolio),
                    symbol: symbols.text(code).map(str::to_owned),
                    day: Some(day),
                    detail: refused_close(close, scale, of_symbol.len()),
                });
            }
        }
    }

    /// Gathers the lots and flows of a portfolio.
    fn collect(
        &self,
        at: usize,
        portfolio: PortfolioId,
        buffers: &mut Buffers<'a>,
        issues: &mut Vec<Issue>,
    ) {
        let Buffers {
            page,
            symbols,
            flows,
            ..
        } = buffers;
        self.book.gather(at, page);
        issues.extend(
            page.noted
                .iter()
                .map(|noted| self.book.issue(portfolio, noted)),
        );
        symbols.clear();
        symbols.extend(
            page.lots
                .iter()
                .map(|lot| self.book.symbol_code(lot.position)),
        );
        flows.clear();
        for &row in self.flows.get(at) {
            match self.flow(index(row), &self.inputs.flows) {
                Ok(flow) => flows.push(flow),
                Err(column) => issues.push(Issue {
                    kind: IssueKind::BadFlow,
                    portfolio: Some(portfolio),
                    symbol: None,
                    day: None,
                    detail: column.to_owned(),
                }),
            }
        }
    }

    fn flow(
        &self,
        row: usize,
        flows: &Flows<'_>,
    ) -> core::result::Result<(Day, i128), &'static str> {
        let code = flows.change_type.get(row).map_err(|_| "change_type")?;
        let sign = self
            .flow_signs
            .get(index(code))
            .copied()
            .flatten()
            .ok_or("change_type")?;
        let amount = flows.amount.get(row).map_err(|_| "amount")?;
        let day = flows.day.get(row).map_err(|_| "change_date")?;
        Ok((day, i128::from(amount).saturating_mul(sign)))
    }

    /// Returns where a portfolio stands before session `first` (S5), or the column and state that
    /// fail it.
    fn start(
        &self,
        at: usize,
        first: Day,
        flows: &[(Day, i128)],
    ) -> core::result::Result<Start, (&'static str, State)> {
        let opening = &self.inputs.opening;
        let id = opening.portfolio_id.get(at).copied().unwrap_or_default();
        if let Some(snapshot) = self.inputs.previous.before(&id, first) {
            let columns = [
                ("equity_balance", snapshot.equity),
                ("cumulative_pnl", snapshot.cumulative_pnl),
                ("cumulative_realized_pnl", snapshot.cumulative_realized),
                ("cumulative_capital_flow", snapshot.cumulative_flow),
            ];
            for wanted in [State::NonFinite, State::NotRepresentable] {
                if let Some(&(column, _)) = columns.iter().find(|(_, a)| *a == Err(wanted)) {
                    return Err((column, wanted));
                }
            }
            return Ok(Start {
                previous: Some(snapshot.day),
                equity: i128::from(snapshot.equity.unwrap_or(0)),
                cumulative_pnl: snapshot.cumulative_pnl.unwrap_or(0),
                cumulative_realized: snapshot.cumulative_realized.unwrap_or(0),
                cumulative_flow: snapshot.cumulative_flow.unwrap_or(0),
            });
        }
        let null = Err(State::Null);
        let equity = if let Ok(earliest) = opening.earliest_day.get(at) {
            let scale = self.units.flow_scale();
            let last = Day(earliest.0.saturating_sub(1));
            let before = flow_between(flows, first, last, scale);
            opening_equity(
                cents(&opening.earliest_equity, at),
                cents(&opening.earliest_pnl, at),
                cents(&opening.earliest_flow, at),
                before,
            )?
        } else {
            opening_equity(cents(&opening.equity, at), null, null, 0)?
        };
        Ok(Start {
            previous: None,
            equity,
            cumulative_pnl: 0,
            cumulative_realized: 0,
            cumulative_flow: 0,
        })
    }
}

/// Buffers of one thread, reused from portfolio to portfolio.
#[derive(Default)]
struct Buffers<'a> {
    page: Page<'a>,
    symbols: Vec<u32>,
    flows: Vec<(Day, i128)>,
    scratch: Scratch<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Days, Decimals, Texts};
    use crate::ids::Uuid;
    use crate::pnl::columns::Columns;
    use crate::store::PriceStore;

    /// Returns what `run` makes of portfolios without positions, whose opening equity is their
    /// number, on two sessions.
    fn run_empty(ids: &[Uuid], threads: usize, cancel: &AtomicBool) -> Result<(Rows, Columns)> {
        let nothing = Table::default();
        let text = Texts::new("text", &[], &nothing, &[])?;
        let amount = Decimals::new("amount", &[], &[], 2)?;
        let day = Days::new("day", &[], &[])?;
        let prices = PriceStore::from_columns(&text, &day, &amount)?;
        let marks = Marks::from_prices(&prices, &[5, 6], 10)?;
        let equity: Vec<i64> = (0..).take(ids.len()).collect();
        let (values, null) = (vec![0u8; ids.len()], vec![State::Null.byte(); ids.len()]);
        let no_day = vec![0; ids.len()];
        let earliest = Decimals::new("opening.earliest", &equity, &null, 2)?;
        let inputs = Inputs {
            positions: Positions {
                id: &[],
                portfolio_id: &[],
                symbol: text,
                position_type: text,
                quantity: amount,
                entry_price: amount,
                entry_day: day,
                exit_price: amount,
                exit_day: day,
                expiration_day: day,
                investment_class: text,
                last_price: amount,
                market_value: amount,
                deleted: &[],
            },
            events: Events {
                position_id: &[],
                portfolio_id: &[],
                day,
                quantity: amount,
                realized: amount,
            },
            flows: Flows {
                portfolio_id: &[],
                day,
                amount,
                change_type: text,
            },
            marks: &marks,
            previous: &SnapshotStore::default(),
            opening: Opening {
                portfolio_id: ids,
                equity: Decimals::new("opening.equity", &equity, &values, 2)?,
                earliest_day: Days::new("opening.earliest_day", &no_day, &null)?,
                earliest_equity: earliest,
                earliest_pnl: earliest,
                earliest_flow: earliest,
                first_day: &vec![i32::MIN; ids.len()],
                last_day: &vec![i32::MAX; ids.len()],
            },
        };
        let threads = NonZeroUsize::new(threads).unwrap();
        let mut columns = Columns::zeroed(inputs.most_rows());
        let rows = run(
            Policy::Rollforward,
            &inputs,
            threads,
            cancel,
            columns.room(),
        )?;
        Ok((rows, columns))
    }

    fn ids(count: u8) -> Vec<Uuid> {
        (0..count).map(|number| [number; 16]).collect()
    }

    #[test]
    fn portfolios_come_in_input_order_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            // four batches of 64, the last one short
            let run = run_empty(&ids(200), threads, &AtomicBool::new(false));
            let (rows, mut columns) = run.unwrap();
            let room = columns.room();
            let expected: Vec<i32> = (0..200).flat_map(|number| [number, number]).collect();
            assert_eq!(room.portfolio, expected);
            assert_eq!(
                room.equity,
                expected.iter().map(|&n| n.into()).collect::<Vec<i64>>()
            );
            assert_eq!(rows.written, [2; 200]);
        }
    }

    #[test]
    fn rows_behind_a_batch_with_fewer_than_it_had_room_for_move_down() {
        let mut columns = Columns::zeroed(7);
        columns.room().day.copy_from_slice(&[1, 2, 0, 3, 0, 4, 5]);
        let batch = |rows| {
            let mut noticed = Rows::default();
            noticed.wrote(rows, false);
            noticed
        };
        let batches = vec![(3, batch(2)), (2, batch(1)), (2, batch(2))];
        let rows = joined(batches, &mut columns.room());
        assert_eq!(rows.len(), 5);
        assert_eq!(rows.written, [2, 1, 2]);
        assert_eq!(columns.room().day[..5], [1, 2, 3, 4, 5]);
    }

    #[test]
    fn no_portfolios_give_no_rows() {
        let (rows, _) = run_empty(&[], 2, &AtomicBool::new(false)).unwrap();
        assert_eq!(rows, Rows::default());
    }

    #[test]
    fn a_raised_flag_cancels() {
        for threads in [1, 2] {
            let error = run_empty(&ids(200), threads, &AtomicBool::new(true)).unwrap_err();
            assert_eq!(error, Error::Cancelled);
        }
    }

    #[test]
    fn a_portfolio_asked_for_twice_is_refused() {
        let error = run_empty(&[[7; 16], [8; 16], [7; 16]], 1, &AtomicBool::new(false));
        assert_eq!(
            error.unwrap_err(),
            Error::Duplicate {
                column: "opening.portfolio_id",
                row: 2,
                first: 0
            }
        );
    }
}
