//! The `legacy` policy: what a host computed before it had batchcore, flaws included (L1 to L34).
//!
//! | module      | what it owns                                                      |
//! |-------------|-------------------------------------------------------------------|
//! | [`quotes`]  | what a symbol earns and is worth on each session (L10, L12, L26)   |
//! | [`holding`] | positions, and what none of the rules can read                     |
//! | [`units`]   | factors to one common scale                                        |
//! | [`ledger`]  | the widths of sums                                                 |
//! | [`rolled`]  | one portfolio, day by day (L3 to L31)                              |
//! | [`current`] | provider beta, sectors and concentration (L32 to L34)              |
//! | [`columns`] | the columns that no other policy has                               |
//!
//! Floats are where the rules have them, and nowhere else: values of positions (L28) and the
//! columns of the current day. They are added up in the order of the positions' ids, so that no
//! order of rows shows.

pub mod columns;
pub mod current;
pub mod holding;
pub mod ledger;
pub mod quotes;
pub mod rolled;
pub mod units;

use crate::error::Result;
use crate::fixed::State;
use crate::frame::index;
use crate::ids::{Day, PortfolioId};
use crate::pnl::groups::{Groups, Owners};
use crate::pnl::inputs::Host;
use crate::pnl::issue::Issue;
use crate::pnl::{Filled, Inputs, flow_signs};
use crate::store::snapshot::cents;
use crate::text::Table;
use current::Current;
use holding::{Fault, Holding, Meanings};
use quotes::Quotes;
use rolled::{Portfolio, Scratch, rolled};
use units::{Scales, Units};

/// What is prepared once for all portfolios.
pub(super) struct Prepared<'a> {
    inputs: &'a Inputs<'a>,
    today: Day,
    quotes: Quotes,
    units: Units,
    meanings: Meanings,
    current: Option<Current<'a>>,
    positions: Groups,
    events: Groups,
    flows: Groups,
    /// By code of `change_type`: 1, -1, or nothing.
    flow_signs: Vec<Option<i128>>,
}

/// Buffers of one thread, reused from portfolio to portfolio.
#[derive(Default)]
pub(super) struct Buffers {
    holdings: Vec<Holding>,
    events: Vec<(Day, i64)>,
    flows: Vec<(Day, i128)>,
    faults: Vec<Fault>,
    scratch: Scratch,
}

impl<'a> Prepared<'a> {
    pub(super) fn of(inputs: &'a Inputs<'a>, host: &Host<'_>) -> Result<Self> {
        let Inputs {
            positions,
            events,
            flows,
            opening,
            marks,
            ..
        } = inputs;
        positions.check()?;
        events.check()?;
        flows.check()?;
        opening.check()?;
        let portfolios = Owners::of("opening.portfolio_id", opening.portfolio_id)?;
        let grouped = |keys| Groups::by_key(keys, &portfolios);
        let quotes = Quotes::of(
            positions.symbol.table(),
            host.prices,
            host.cached,
            marks.sessions(),
            marks.lookback_days(),
        );
        let units = Units::of(&Scales {
            change: quotes.scale(),
            quantity: positions.quantity.scale(),
            realized: events.realized.scale(),
            flow: flows.amount.scale(),
        });
        let is_current = marks
            .sessions()
            .last()
            .is_some_and(|&day| Day(day) >= host.today);
        let current = is_current.then(|| Current::of(*positions, host, units.scale));
        Ok(Self {
            inputs,
            today: host.today,
            quotes,
            units,
            meanings: Meanings::of(positions),
            current: current.transpose()?,
            positions: grouped(positions.portfolio_id),
            events: grouped(events.portfolio_id),
            flows: grouped(flows.portfolio_id),
            flow_signs: flow_signs(flows.change_type.table()),
        })
    }

    /// Returns the names of sectors that rows refer to.
    pub(super) fn sectors(&self) -> Table {
        self.current
            .as_ref()
            .map(|current| current.names().clone())
            .unwrap_or_default()
    }

    pub(super) fn portfolio(&self, at: usize, buffers: &mut Buffers, filled: &mut Filled<'_>) {
        let Filled { room, rows } = filled;
        let Inputs {
            opening,
            previous,
            marks,
            ..
        } = self.inputs;
        let span = opening.span(at, marks.sessions());
        self.gather(at, buffers);
        let id = opening.portfolio_id.get(at).copied().unwrap_or_default();
        let outcome = rolled(
            &Portfolio {
                holdings: &buffers.holdings,
                events: &buffers.events,
                flows: &buffers.flows,
                snapshots: previous.of(&id),
                balance: cents(&opening.equity, at),
                sessions: marks.sessions().get(span.clone()).unwrap_or_default(),
                from: span.start,
                quotes: &self.quotes,
                units: &self.units,
                current: self.current.as_ref().map(|current| (self.today, current)),
            },
            buffers.faults.iter().min(),
            &mut buffers.scratch,
        );
        let portfolio = PortfolioId(u32::try_from(at).unwrap_or(u32::MAX));
        let number = i32::try_from(at).unwrap_or(i32::MAX);
        for (place, (row, more)) in (rows.len()..).zip(&outcome.rows) {
            room.put(place, number, row);
            rows.legacy.push(more);
        }
        rows.wrote(outcome.rows.len(), !outcome.failures.is_empty());
        let issues = outcome.failures.into_iter().map(|failure| Issue {
            kind: failure.kind,
            portfolio: Some(portfolio),
            symbol: failure.symbol,
            day: Some(failure.day),
            detail: failure.detail,
        });
        rows.issues.extend(issues);
        rows.misses.extend(outcome.misses);
    }

    /// Gathers positions, events and flows of a portfolio, and what cannot be read of them.
    fn gather(&self, at: usize, buffers: &mut Buffers) {
        let Inputs {
            positions,
            events,
            flows,
            ..
        } = self.inputs;
        let Buffers {
            holdings,
            events: realized,
            flows: moved,
            faults,
            ..
        } = buffers;
        holdings.clear();
        realized.clear();
        moved.clear();
        faults.clear();
        for &row in self.positions.get(at) {
            let row = index(row);
            if !positions.deleted.get(row).copied().unwrap_or(false) {
                holdings.extend(self.meanings.holding(row, positions, faults));
            }
        }
        holdings.sort_unstable_by_key(|holding| positions.id.get(holding.position));
        for &row in self.events.get(at) {
            let row = index(row);
            let amount = events.realized.get(row);
            faults.extend(Fault::of("realized_pnl", "", amount, true));
            if let (Ok(day), Ok(amount)) = (events.day.get(row), amount) {
                realized.push((day, amount));
            }
        }
        realized.sort_unstable();
        for &row in self.flows.get(at) {
            let row = index(row);
            let amount = flows.amount.get(row);
            faults.extend(Fault::of("amount", "", amount, true));
            let sign = |code: core::result::Result<u32, State>| {
                self.flow_signs.get(index(code.ok()?)).copied().flatten()
            };
            if let (Ok(day), Ok(amount), Some(sign)) =
                (flows.day.get(row), amount, sign(flows.change_type.get(row)))
            {
                moved.push((day, i128::from(amount).saturating_mul(sign)));
            }
        }
        moved.sort_unstable();
    }
}
