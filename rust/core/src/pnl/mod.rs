//! Profit and loss: from frames to result rows, all portfolios on all cores.
//!
//! | module          | what it owns                                            |
//! |-----------------|---------------------------------------------------------|
//! | [`inputs`]      | the borrowed frames                                     |
//! | [`marks`]       | valid closes and their marks on the sessions (S2, S4)   |
//! | [`lot`]         | positions become lots (S3)                              |
//! | [`rollforward`] | one portfolio, session by session (S5 to S10)           |
//! | [`issue`]       | what is noticed                                         |
//! | [`rows`]        | result columns                                          |
//!
//! [`run`] is the one place with threads. Portfolios are independent of each other, and results
//! are put together in input order, so that neither threads nor the order of rows show (S11).

pub mod inputs;
pub mod issue;
pub mod lot;
pub mod marks;
pub mod rollforward;
pub mod rows;

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::fixed::State;
use crate::frame::index;
use crate::ids::{Day, PortfolioId, Uuid};
use crate::store::SnapshotStore;
use crate::store::snapshot::cents;
use inputs::{Events, Flows, Opening, Positions};
use issue::{Issue, IssueKind};
use lot::{Lot, Meanings, Noted, append_lots};
use marks::Marks;
use rollforward::{Portfolio, Scales, Scratch, Start, Units, flow_between, opening_equity};
use rows::Rows;

/// What the figures mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `docs/semantics.md`.
    Rollforward,
}

impl Policy {
    /// Returns the policy of a name, or nothing.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        (name == "rollforward").then_some(Self::Rollforward)
    }
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

/// Portfolios taken by a thread at a time: few enough to balance, enough not to contend.
const BATCH: usize = 64;

/// Returns the rows of all portfolios of `inputs.opening` over the sessions of `inputs.marks`.
///
/// Portfolios come in input order, their sessions ascending. The order of rows in any frame and
/// the number of threads do not show in the result.
///
/// # Errors
///
/// [`Error::Length`], [`Error::Value`] or [`Error::Duplicate`] for frames that contradict
/// themselves; [`Error::Cancelled`] once `cancel` is raised, looked at before each portfolio.
pub fn run(
    policy: Policy,
    inputs: &Inputs<'_>,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<Rows> {
    match policy {
        Policy::Rollforward => {}
    }
    let prepared = Prepared::of(inputs)?;
    let portfolios = inputs.opening.portfolio_id.len();
    let batches = portfolios.div_ceil(BATCH);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Rows)>> = Mutex::new(Vec::with_capacity(batches));
    let work = || {
        let mut scratch = Scratch::default();
        while !cancel.load(Ordering::Relaxed) {
            let batch = next.fetch_add(1, Ordering::Relaxed);
            if batch >= batches {
                break;
            }
            let from = batch.saturating_mul(BATCH);
            let to = from.saturating_add(BATCH).min(portfolios);
            let rows = prepared.batch(from, to, &mut scratch, cancel);
            if let Ok(mut done) = done.lock() {
                done.push((batch, rows));
            }
        }
    };
    if threads.get() == 1 || batches <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads.get().min(batches) {
                scope.spawn(work);
            }
        });
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|&(batch, _)| batch);
    let mut rows = Rows::default();
    rows.reserve(done.iter().map(|(_, rows)| rows.len()).sum());
    for (_, later) in done {
        rows.append(later);
    }
    rows.settle();
    Ok(rows)
}

/// Rows of a frame grouped by their owner: those of owner `i` are `rows[starts[i]..starts[i + 1]]`.
struct Groups {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Groups {
    /// Groups the rows of `owners`; rows without owner are left out.
    fn of(owners: &[Option<u32>], count: usize) -> Self {
        let mut starts = vec![0u32; count.saturating_add(1)];
        for owner in owners.iter().flatten() {
            if let Some(start) = starts.get_mut(index(*owner).saturating_add(1)) {
                *start = start.saturating_add(1);
            }
        }
        let mut total = 0u32;
        for start in &mut starts {
            total = total.saturating_add(*start);
            *start = total;
        }
        let mut next = starts.clone();
        let mut rows = vec![0u32; index(total)];
        for (row, owner) in (0u32..).zip(owners) {
            let Some(slot) = owner.and_then(|owner| next.get_mut(index(owner))) else {
                continue;
            };
            if let Some(place) = rows.get_mut(index(*slot)) {
                *place = row;
            }
            *slot = slot.saturating_add(1);
        }
        Self { starts, rows }
    }

    fn get(&self, owner: usize) -> &[u32] {
        let range = self
            .starts
            .get(owner)
            .zip(self.starts.get(owner.saturating_add(1)));
        let Some((&from, &to)) = range else {
            return &[];
        };
        self.rows.get(index(from)..index(to)).unwrap_or_default()
    }
}

/// Returns the row of each uuid.
fn rows_by_id(column: &'static str, ids: &[Uuid]) -> Result<HashMap<Uuid, u32>> {
    let mut rows = HashMap::with_capacity(ids.len());
    for (row, id) in (0u32..).zip(ids) {
        if let Some(first) = rows.insert(*id, row) {
            return Err(Error::Duplicate {
                column,
                row: index(row),
                first: index(first),
            });
        }
    }
    Ok(rows)
}

fn owners(keys: &[Uuid], rows: &HashMap<Uuid, u32>) -> Vec<Option<u32>> {
    keys.iter().map(|key| rows.get(key).copied()).collect()
}

struct Prepared<'a> {
    inputs: &'a Inputs<'a>,
    units: Units,
    meanings: Meanings<'a>,
    positions: Groups,
    events: Groups,
    flows: Groups,
    /// By code of `change_type`: 1, -1, or nothing.
    flow_signs: Vec<Option<i128>>,
}

impl<'a> Prepared<'a> {
    fn of(inputs: &'a Inputs<'a>) -> Result<Self> {
        let Inputs {
            positions,
            events,
            flows,
            marks,
            opening,
            ..
        } = inputs;
        positions.check()?;
        events.check()?;
        flows.check()?;
        opening.check()?;
        let portfolios = rows_by_id("opening.portfolio_id", opening.portfolio_id)?;
        let count = opening.portfolio_id.len();
        let events_by_position = if events.position_id.is_empty() {
            Groups {
                starts: Vec::new(),
                rows: Vec::new(),
            }
        } else {
            let rows = rows_by_id("positions.id", positions.id)?;
            Groups::of(&owners(events.position_id, &rows), positions.id.len())
        };
        let sign = |text: &[u8]| match text {
            b"CONTRIBUTION" => Some(1),
            b"WITHDRAWAL" => Some(-1),
            _ => None,
        };
        Ok(Self {
            inputs,
            units: Units::of(&Scales {
                close: marks.scale(),
                entry: positions.entry_price.scale(),
                exit: positions.exit_price.scale(),
                quantity: positions.quantity.scale(),
                event_quantity: events.quantity.scale(),
                realized: events.realized.scale(),
                market_value: positions.market_value.scale(),
                flow: flows.amount.scale(),
            }),
            meanings: Meanings::of(positions, marks),
            positions: Groups::of(&owners(positions.portfolio_id, &portfolios), count),
            events: events_by_position,
            flows: Groups::of(&owners(flows.portfolio_id, &portfolios), count),
            flow_signs: flows.change_type.table().iter().map(sign).collect(),
        })
    }

    fn batch(&self, from: usize, to: usize, scratch: &mut Scratch, cancel: &AtomicBool) -> Rows {
        let mut rows = Rows::default();
        let sessions = self.inputs.marks.sessions().len();
        rows.reserve(to.saturating_sub(from).saturating_mul(sessions));
        let mut buffers = Buffers::default();
        for portfolio in from..to {
            if cancel.load(Ordering::Relaxed) {
                break;
            }
            self.portfolio(portfolio, scratch, &mut buffers, &mut rows);
        }
        rows
    }

    fn portfolio(
        &self,
        at: usize,
        scratch: &mut Scratch,
        buffers: &mut Buffers<'a>,
        rows: &mut Rows,
    ) {
        let opening = &self.inputs.opening;
        let sessions = self.inputs.marks.sessions();
        let first_day = opening.first_day.get(at).copied().unwrap_or(i32::MAX);
        let last_day = opening.last_day.get(at).copied().unwrap_or(i32::MIN);
        let from = sessions.partition_point(|&day| day < first_day);
        let to = sessions.partition_point(|&day| day <= last_day).max(from);
        let portfolio = PortfolioId(u32::try_from(at).unwrap_or(u32::MAX));
        let number = i32::try_from(at).unwrap_or(i32::MAX);
        let Some(&first) = sessions.get(from).filter(|_| from < to) else {
            rows.written.push(0);
            rows.failed.push(false);
            return;
        };
        self.collect(at, portfolio, buffers, &mut rows.issues);
        let mut issue = |kind, symbol: Option<u32>, day, detail| {
            let symbol = symbol.and_then(|code| self.symbol(code));
            rows.issues.push(Issue {
                kind,
                portfolio: Some(portfolio),
                symbol,
                day,
                detail,
            });
        };
        let start = match self.start(at, Day(first), &buffers.flows) {
            Ok(start) => start,
            Err((column, state)) => {
                issue(
                    IssueKind::of_state(state),
                    None,
                    Some(Day(first)),
                    column.to_owned(),
                );
                rows.written.push(0);
                rows.failed.push(true);
                return;
            }
        };
        let outcome = rollforward::roll_forward(
            &Portfolio {
                lots: &buffers.lots,
                symbols: &buffers.symbols,
                flows: &buffers.flows,
                start,
                sessions,
                from,
                to,
                units: &self.units,
            },
            scratch,
        );
        for (kind, lot, day) in outcome.closings {
            let column = if kind == IssueKind::Expired {
                "expiration_date"
            } else {
                "exit_price"
            };
            issue(
                kind,
                buffers.symbols.get(lot).copied(),
                Some(day),
                column.to_owned(),
            );
        }
        for (day, value) in outcome.returns {
            issue(IssueKind::ReturnOutOfRange, None, Some(day), value);
        }
        rows.failed.push(outcome.failure.is_some());
        if let Some((day, detail)) = outcome.failure {
            issue(IssueKind::OutOfRange, None, Some(day), detail);
        }
        rows.written
            .push(i32::try_from(outcome.rows.len()).unwrap_or(i32::MAX));
        for row in &outcome.rows {
            rows.push(number, row);
        }
        rows.misses.extend(outcome.misses);
    }

    fn symbol(&self, code: u32) -> Option<String> {
        self.inputs
            .positions
            .symbol
            .table()
            .text(code)
            .map(str::to_owned)
    }

    /// Gathers the lots and flows of a portfolio.
    fn collect(
        &self,
        at: usize,
        portfolio: PortfolioId,
        buffers: &mut Buffers<'a>,
        issues: &mut Vec<Issue>,
    ) {
        let Inputs {
            positions,
            events,
            flows,
            ..
        } = self.inputs;
        buffers.clear();
        for &row in self.positions.get(at) {
            let row = index(row);
            let events_of_row = self.events.get(row);
            let Buffers {
                lots,
                noted,
                symbols,
                ..
            } = buffers;
            append_lots(
                row,
                positions,
                events_of_row,
                events,
                &self.meanings,
                lots,
                noted,
            );
            symbols.resize(lots.len(), positions.symbol.get(row).unwrap_or(u32::MAX));
        }
        for Noted {
            kind,
            position,
            column,
        } in buffers.noted.drain(..)
        {
            issues.push(Issue {
                kind,
                portfolio: Some(portfolio),
                symbol: positions
                    .symbol
                    .get(position)
                    .ok()
                    .and_then(|code| self.symbol(code)),
                day: None,
                detail: column.to_owned(),
            });
        }
        for &row in self.flows.get(at) {
            match self.flow(index(row), flows) {
                Ok(flow) => buffers.flows.push(flow),
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
    lots: Vec<Lot<'a>>,
    symbols: Vec<u32>,
    noted: Vec<Noted>,
    flows: Vec<(Day, i128)>,
}

impl Buffers<'_> {
    fn clear(&mut self) {
        self.lots.clear();
        self.symbols.clear();
        self.noted.clear();
        self.flows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Days, Decimals, Texts};
    use crate::store::PriceStore;
    use crate::text::Table;

    /// Returns what `run` makes of portfolios without positions, whose opening equity is their
    /// number, on two sessions.
    fn run_empty(ids: &[Uuid], threads: usize, cancel: &AtomicBool) -> Result<Rows> {
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
                market_value: amount,
                deleted: &[],
            },
            events: Events {
                position_id: &[],
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
        run(Policy::Rollforward, &inputs, threads, cancel)
    }

    fn ids(count: u8) -> Vec<Uuid> {
        (0..count).map(|number| [number; 16]).collect()
    }

    #[test]
    fn portfolios_come_in_input_order_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            // four batches of 64, the last one short
            let rows = run_empty(&ids(200), threads, &AtomicBool::new(false)).unwrap();
            let expected: Vec<i32> = (0..200).flat_map(|number| [number, number]).collect();
            assert_eq!(rows.portfolio, expected);
            assert_eq!(
                rows.equity,
                expected.iter().map(|&n| n.into()).collect::<Vec<i64>>()
            );
            assert_eq!(rows.written, [2; 200]);
        }
    }

    #[test]
    fn no_portfolios_give_no_rows() {
        let rows = run_empty(&[], 2, &AtomicBool::new(false)).unwrap();
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

    #[test]
    fn rows_are_grouped_by_owner_in_their_order() {
        let groups = Groups::of(&[Some(2), None, Some(0), Some(2)], 3);
        assert_eq!(groups.get(0), [2]);
        assert_eq!(groups.get(1), []);
        assert_eq!(groups.get(2), [0, 3]);
        assert_eq!(groups.get(3), []);
    }
}
