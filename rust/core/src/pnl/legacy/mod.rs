//! The `legacy` policy: the figures that a host computed before it used batchcore, flaws included
//! (L1 to L34).
//!
//! | module      | what it owns                                                      |
//! |-------------|-------------------------------------------------------------------|
//! | `quotes`    | change and price of a symbol on each session (L10, L12, L26)       |
//! | `holding`   | positions, and the values that no rule can read                    |
//! | `roll`      | one portfolio, day by day (L3 to L31)                              |
//! | `current`   | provider beta, sectors and concentration (L32 to L34)              |
//! | [`row`]     | the columns that only this policy has                              |
//! | [`contributions`] | the contribution of each position to a P&L (X7)               |
//!
//! Floats are used only where the rules do: for values of positions (L28) and the columns of the
//! current day. They are added up in the order of the positions' ids, so that the order of rows
//! does not matter.

pub mod contributions;
mod current;
mod holding;
mod quotes;
mod roll;
pub mod row;

use crate::error::Result;
use crate::fixed::Sum;
use crate::frame::index;
use crate::ids::Day;
use crate::pnl::book::{Book, SignedFlows};
use crate::pnl::columns::Row;
use crate::pnl::groups::Groups;
use crate::pnl::inputs::{Host, Inputs, Opening};
use crate::pnl::policy::{Policy, PortfolioOutput, PortfolioRun};
use crate::pnl::report::Report;
use crate::pnl::value::{Scales, Valuer};
use crate::store::SnapshotStore;
use crate::store::snapshot::cents;
use crate::text::Table;
use current::CurrentDay;
use holding::{Fault, Holding, HoldingReader};
use quotes::Quotes;
use roll::{Portfolio, Sums, rolled};

/// `docs/legacy.md`.
#[derive(Debug)]
pub struct Legacy<'a> {
    opening: Opening<'a>,
    previous: &'a SnapshotStore,
    today: Day,
    quotes: Quotes,
    valuer: Valuer,
    reader: HoldingReader,
    current: Option<CurrentDay<'a>>,
    book: Book<'a>,
    events: Groups,
    flows: SignedFlows<'a>,
}

/// The rows of one portfolio, gathered from the frames.
#[derive(Debug, Default)]
pub struct Gathered {
    /// In the order in which floats are added up.
    holdings: Vec<Holding>,
    /// Date and amount, ascending (L17).
    events: Vec<(Day, i64)>,
    /// Date and signed amount, ascending (L18).
    flows: Vec<(Day, i128)>,
    faults: Vec<Fault>,
}

impl<'a> Legacy<'a> {
    /// Returns the policy, prepared for the portfolios of `inputs` and their stored snapshots.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] or [`crate::error::Error::Duplicate`] for frames that
    /// contradict themselves.
    pub fn of(inputs: &Inputs<'a>, previous: &'a SnapshotStore, host: &Host<'_>) -> Result<Self> {
        let Inputs { opening, marks, .. } = *inputs;
        let book = Book::of(inputs)?;
        let positions = &book.frames.positions;
        let quotes = Quotes::of(
            positions.symbol.table(),
            host.prices,
            host.cached,
            marks.sessions(),
            marks.lookback_days(),
        );
        let valuer = Valuer::of(&Scales {
            close: quotes.scale(),
            quantity: positions.quantity.scale(),
            realized: book.frames.events.realized.scale(),
            flow: book.frames.flows.amount.scale(),
            ..Scales::default()
        });
        let last = marks.sessions().last();
        let is_current = last.is_some_and(|&day| Day(day) >= host.today);
        let current = is_current.then(|| CurrentDay::of(positions, host, valuer.scale()));
        Ok(Self {
            opening,
            previous,
            today: host.today,
            quotes,
            valuer,
            reader: HoldingReader::of(positions),
            current: current.transpose()?,
            events: book.events_by_portfolio(),
            flows: SignedFlows::of(&book)?,
            book,
        })
    }

    /// Returns the names of the sectors that rows refer to, ascending.
    pub fn sectors(&self) -> Table {
        let current = self.current.as_ref();
        current.map_or_else(Table::default, |current| current.names().clone())
    }

    fn portfolio<'p>(
        &'p self,
        portfolio: &PortfolioRun<'p>,
        gathered: &'p Gathered,
    ) -> Portfolio<'p> {
        let id = self.opening.portfolio_id.get(portfolio.row).copied();
        Portfolio {
            id: portfolio.id,
            holdings: &gathered.holdings,
            events: &gathered.events,
            flows: &gathered.flows,
            snapshots: self.previous.of(&id.unwrap_or_default()),
            balance: cents(&self.opening.equity, portfolio.row),
            sessions: portfolio.sessions,
            from: portfolio.from,
            quotes: &self.quotes,
            valuer: &self.valuer,
            current: self.current.as_ref().map(|current| (self.today, current)),
            fault: gathered.faults.iter().min(),
        }
    }
}

impl Policy for Legacy<'_> {
    type Gathered = Gathered;
    type Sums<T: Sum> = Sums<T>;

    /// Gathers positions, events and flows of a portfolio, and their unreadable values.
    fn gather(
        &self,
        portfolio: &PortfolioRun<'_>,
        gathered: &mut Gathered,
        _report: &mut Report,
    ) -> Option<u128> {
        let Gathered {
            holdings,
            events,
            flows,
            faults,
        } = gathered;
        let positions = &self.book.frames.positions;
        holdings.clear();
        events.clear();
        flows.clear();
        faults.clear();
        for row in self.book.rows(portfolio.row) {
            if !positions.deleted.get(row).copied().unwrap_or(false) {
                holdings.extend(self.reader.holding(row, positions, faults));
            }
        }
        holdings.sort_unstable_by_key(|holding| positions.id.get(holding.position));
        for &row in self.events.get(portfolio.row) {
            let (row, realized) = (index(row), &self.book.frames.events);
            let amount = realized.realized.get(row);
            faults.extend(Fault::of("realized_pnl", "", amount, true));
            events.extend(realized.day.get(row).ok().zip(amount.ok()));
        }
        events.sort_unstable();
        for row in self.flows.rows(portfolio.row) {
            let amount = self.book.frames.flows.amount.get(row);
            faults.extend(Fault::of("amount", "", amount, true));
            flows.extend(self.flows.signed(row).ok());
        }
        flows.sort_unstable();
        Some(self.portfolio(portfolio, gathered).bound())
    }

    fn roll<T: Sum>(
        &self,
        portfolio: &PortfolioRun<'_>,
        gathered: &Gathered,
        sums: &mut Sums<T>,
        output: &mut PortfolioOutput<'_>,
    ) -> Option<()> {
        let outcome = rolled(&self.portfolio(portfolio, gathered), sums)?;
        let PortfolioOutput { columns, report } = output;
        report.wrote(outcome.rows.len(), !outcome.failures.is_empty());
        let number = i32::try_from(portfolio.row).unwrap_or(i32::MAX);
        for (at, (row, own)) in outcome.rows.into_iter().enumerate() {
            let portfolio = number;
            columns.put(at, &Row { portfolio, ..row });
            report.legacy.push(own);
        }
        report.issues.extend(outcome.failures);
        report.misses.extend(outcome.misses);
        Some(())
    }
}
