//! Positions and their events by portfolio: gathers the lots of one.

use crate::error::Result;
use crate::frame::index;
use crate::ids::{PortfolioId, Uuid};
use crate::pnl::groups::{Groups, Owners};
use crate::pnl::inputs::{Events, Opening, Positions};
use crate::pnl::issue::Issue;
use crate::pnl::lot::{Lot, Meanings, Noted, append_lots};
use crate::pnl::marks::Marks;
use crate::pnl::value::Scales;

/// The positions and events of some portfolios, grouped once.
#[derive(Debug)]
pub struct Book<'a> {
    positions: Positions<'a>,
    events: Events<'a>,
    marks: &'a Marks,
    meanings: Meanings<'a>,
    portfolios: Owners<'a>,
    by_portfolio: Groups,
    by_position: Groups,
}

/// What is gathered of one portfolio; reused from one to the next.
#[derive(Debug, Default)]
pub struct Page<'a> {
    /// Its lots.
    pub lots: Vec<Lot<'a>>,
    /// What is left out or odd.
    pub noted: Vec<Noted>,
}

impl<'a> Book<'a> {
    /// Returns the book of the portfolios of `opening`.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] or [`crate::error::Error::Duplicate`] for frames that
    /// contradict themselves.
    pub fn of(
        positions: Positions<'a>,
        events: Events<'a>,
        opening: &Opening<'a>,
        marks: &'a Marks,
    ) -> Result<Self> {
        positions.check()?;
        events.check()?;
        opening.check()?;
        let portfolios = Owners::of("opening.portfolio_id", opening.portfolio_id)?;
        let by_position = if events.position_id.is_empty() {
            Groups::default()
        } else {
            let rows = Owners::of("positions.id", positions.id)?;
            Groups::by_key(events.position_id, &rows)
        };
        Ok(Self {
            positions,
            events,
            marks,
            meanings: Meanings::of(&positions, marks),
            by_portfolio: Groups::by_key(positions.portfolio_id, &portfolios),
            by_position,
            portfolios,
        })
    }

    /// Returns the rows of another frame by portfolio.
    #[must_use]
    pub fn by_portfolio(&self, portfolio_id: &[Uuid]) -> Groups {
        Groups::by_key(portfolio_id, &self.portfolios)
    }

    /// Returns the positions.
    #[must_use]
    pub fn positions(&self) -> &Positions<'a> {
        &self.positions
    }

    /// Returns the marks.
    #[must_use]
    pub fn marks(&self) -> &'a Marks {
        self.marks
    }

    /// Returns the scales of its columns; `flow` is that of flows.
    #[must_use]
    pub fn scales(&self, flow: u32) -> Scales {
        Scales {
            close: self.marks.scale(),
            entry: self.positions.entry_price.scale(),
            exit: self.positions.exit_price.scale(),
            quantity: self.positions.quantity.scale(),
            event_quantity: self.events.quantity.scale(),
            realized: self.events.realized.scale(),
            market_value: self.positions.market_value.scale(),
            flow,
        }
    }

    /// Gathers the lots of the portfolio in row `at` of the opening; those of one position stand
    /// together.
    pub fn gather(&self, at: usize, page: &mut Page<'a>) {
        let Page { lots, noted } = page;
        lots.clear();
        noted.clear();
        for &row in self.by_portfolio.get(at) {
            let row = index(row);
            append_lots(
                row,
                &self.positions,
                self.by_position.get(row),
                &self.events,
                &self.meanings,
                lots,
                noted,
            );
        }
    }

    /// Returns the code of a position's symbol; beyond the table if it has none.
    #[must_use]
    pub fn symbol_code(&self, position: usize) -> u32 {
        self.positions.symbol.get(position).unwrap_or(u32::MAX)
    }

    /// Returns a position's symbol as stored.
    #[must_use]
    pub fn symbol(&self, position: usize) -> Option<String> {
        let symbol = &self.positions.symbol;
        let code = symbol.shown(position)?;
        symbol.table().text(code).map(str::to_owned)
    }

    /// Returns the issue of what was noted about a position.
    #[must_use]
    pub fn issue(&self, portfolio: PortfolioId, noted: &Noted) -> Issue {
        Issue {
            kind: noted.kind,
            portfolio: Some(portfolio),
            symbol: self.symbol(noted.position),
            day: None,
            detail: noted.column.to_owned(),
        }
    }
}
