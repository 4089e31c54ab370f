//! The frames that a policy reads: borrowed columns, rows in any order.

use core::ops::Range;

use crate::frame::{Column, Days, Decimals, Frame, Kind, Texts, frame};
use crate::ids::{Day, Uuid};
use crate::pnl::marks::Marks;
use crate::store::{PriceStore, Rates};

/// The frames that make and value lots, which every computation over portfolios reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Holdings, and their changes.
    pub book: BookFrames<'a>,
    /// The portfolios, in the order of the results.
    pub opening: Opening<'a>,
    /// Marks of all symbols on the sessions of the run.
    pub marks: &'a Marks,
    /// Rates on the same sessions; without them all amounts are in the portfolio's currency. Only
    /// `rollforward` reads them.
    pub rates: Option<&'a Rates>,
}

impl Inputs<'_> {
    /// Returns the largest number of rows of some portfolios: one for each of their sessions.
    pub(super) fn rows_of(&self, portfolios: Range<usize>) -> usize {
        portfolios
            .map(|at| self.opening.span(at, self.marks.sessions()).len())
            .fold(0, usize::saturating_add)
    }
}

/// The frames of a book, which Python gives by these names.
#[derive(Debug, Clone, Copy)]
pub struct BookFrames<'a> {
    /// Holdings.
    pub positions: Positions<'a>,
    /// Partial closes.
    pub events: Events<'a>,
    /// Cash in and out.
    pub flows: Flows<'a>,
}

impl<'a> Frame<'a> for BookFrames<'a> {
    fn columns() -> Vec<(&'static str, Kind)> {
        [Positions::columns(), Events::columns(), Flows::columns()].concat()
    }

    fn of(columns: &mut impl Iterator<Item = Column<'a>>) -> Option<Self> {
        Some(Self {
            positions: Positions::of(columns)?,
            events: Events::of(columns)?,
            flows: Flows::of(columns)?,
        })
    }
}

frame! {
    /// Rows of `positions`.
    Positions<'a> "positions" {
        /// Key of each row, unique.
        id: &'a [Uuid],
        /// Portfolio of each row.
        portfolio_id: &'a [Uuid],
        /// Symbol as stored.
        symbol: Texts<'a>,
        /// LC, LP, SC, SP, LONG or SHORT.
        position_type: Texts<'a>,
        /// Signed quantity.
        quantity: Decimals<'a>,
        /// Entry price.
        entry_price: Decimals<'a>,
        /// First day held.
        entry_day: Days<'a>,
        /// Exit price.
        exit_price: Decimals<'a>,
        /// First day no longer held.
        exit_day: Days<'a>,
        /// Expiry of an option.
        expiration_day: Days<'a>,
        /// PRIVATE, or anything else.
        investment_class: Texts<'a>,
        /// Latest price stored by the host.
        last_price: Decimals<'a>,
        /// Latest value of the position stored by the host, signed as stored.
        market_value: Decimals<'a>,
        /// Currency of its prices; NULL and blanks mean that of the portfolio.
        currency: Texts<'a>,
        /// Whether a row is soft-deleted.
        deleted: &'a [bool],
    }
}

frame! {
    /// Rows of `position_realized_events`.
    Events<'a> "events" {
        /// Position of each row.
        position_id: &'a [Uuid],
        /// Portfolio of each row.
        portfolio_id: &'a [Uuid],
        /// Trade date.
        day: Days<'a>,
        /// Quantity closed, above 0.
        quantity: Decimals<'a>,
        /// Realized P&L.
        realized: Decimals<'a>,
    }
}

frame! {
    /// Rows of `equity_changes` that are not soft-deleted.
    Flows<'a> "flows" {
        /// Portfolio of each row.
        portfolio_id: &'a [Uuid],
        /// Date of the change.
        day: Days<'a>,
        /// Amount as stored.
        amount: Decimals<'a>,
        /// CONTRIBUTION or WITHDRAWAL.
        change_type: Texts<'a>,
    }
}

frame! {
    /// Rows of `position_market_betas`.
    Betas<'a> "betas" {
        /// Position of each row.
        position_id: &'a [Uuid],
        /// `calc_date`.
        day: Days<'a>,
        /// `beta`.
        beta: Decimals<'a>,
    }
}

frame! {
    /// Splits that count (C3).
    SplitRows<'a> "splits" {
        /// Symbol as stored.
        symbol: Texts<'a>,
        /// Ex-date.
        day: Days<'a>,
        /// Shares since then.
        new: Decimals<'a>,
        /// Shares that they replace.
        old: Decimals<'a>,
    }
}

frame! {
    /// Profiles of companies.
    Profiles<'a> "profiles" {
        /// Symbol of each row, as stored, unique.
        symbol: Texts<'a>,
        /// Beta on the market.
        beta: Decimals<'a>,
        /// Sector.
        sector: Texts<'a>,
        /// Whether it is an exchange-traded fund.
        is_etf: &'a [bool],
    }
}

/// The frames that only the policy `legacy` reads.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Every finite close, by symbol as stored.
    pub prices: &'a PriceStore,
    /// Prices that replace the closes of their symbol and day (L16).
    pub cached: Option<&'a PriceStore>,
    /// Days on or after it are current (L32 to L34).
    pub today: Day,
    /// Profiles of companies, by symbol as stored.
    pub profiles: Option<Profiles<'a>>,
    /// Betas of positions.
    pub betas: Option<Betas<'a>>,
    /// Whether there are weights of the benchmark (L34).
    pub has_benchmark: bool,
}

frame! {
    /// The portfolios of a run, in the order of its results.
    Opening<'a> "opening" {
        /// Key of each row, unique.
        portfolio_id: &'a [Uuid],
        /// `portfolios.equity_balance`.
        equity: Decimals<'a>,
        /// Day of the earliest complete snapshot on or after the first session.
        earliest_day: Days<'a>,
        /// Its equity.
        earliest_equity: Decimals<'a>,
        /// Its daily P&L.
        earliest_pnl: Decimals<'a>,
        /// Its daily capital flow.
        earliest_flow: Decimals<'a>,
        /// Currency of its amounts.
        currency: Texts<'a>,
        /// Sessions before it are not run.
        first_day: &'a [i32],
        /// Sessions after it are not run.
        last_day: &'a [i32],
    }
}

impl Opening<'_> {
    /// Returns the range of `sessions`, ascending, that the portfolio in row `at` runs over.
    pub fn span(&self, at: usize, sessions: &[i32]) -> Range<usize> {
        let first_day = self.first_day.get(at).copied().unwrap_or(i32::MAX);
        let last_day = self.last_day.get(at).copied().unwrap_or(i32::MIN);
        let from = sessions.partition_point(|&day| day < first_day);
        let to = sessions.partition_point(|&day| day <= last_day);
        from..to.max(from)
    }
}
