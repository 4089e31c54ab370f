//! The frames that a policy reads: borrowed columns, rows in any order.

use core::ops::Range;

use crate::error::Result;
use crate::frame::{Days, Decimals, Texts, same_length};
use crate::ids::{Day, Uuid};
use crate::store::{PriceStore, ProfileStore};

/// Rows of `positions`.
#[derive(Debug, Clone, Copy)]
pub struct Positions<'a> {
    /// Key of each row, unique.
    pub id: &'a [Uuid],
    /// Portfolio of each row.
    pub portfolio_id: &'a [Uuid],
    /// Symbol as stored.
    pub symbol: Texts<'a>,
    /// LC, LP, SC, SP, LONG or SHORT.
    pub position_type: Texts<'a>,
    /// Signed quantity.
    pub quantity: Decimals<'a>,
    /// Entry price.
    pub entry_price: Decimals<'a>,
    /// First day held.
    pub entry_day: Days<'a>,
    /// Exit price.
    pub exit_price: Decimals<'a>,
    /// First day no longer held.
    pub exit_day: Days<'a>,
    /// Expiry of an option.
    pub expiration_day: Days<'a>,
    /// PRIVATE, or anything else.
    pub investment_class: Texts<'a>,
    /// Price that the host stored last.
    pub last_price: Decimals<'a>,
    /// Value of a position that the host stored last, signed as stored.
    pub market_value: Decimals<'a>,
    /// Whether a row is soft-deleted.
    pub deleted: &'a [bool],
}

/// Rows of `position_realized_events`.
#[derive(Debug, Clone, Copy)]
pub struct Events<'a> {
    /// Position of each row.
    pub position_id: &'a [Uuid],
    /// Portfolio of each row.
    pub portfolio_id: &'a [Uuid],
    /// Trade date.
    pub day: Days<'a>,
    /// Quantity closed, above 0.
    pub quantity: Decimals<'a>,
    /// Realized P&L.
    pub realized: Decimals<'a>,
}

/// Rows of `equity_changes` that are not soft-deleted.
#[derive(Debug, Clone, Copy)]
pub struct Flows<'a> {
    /// Portfolio of each row.
    pub portfolio_id: &'a [Uuid],
    /// Date of the change.
    pub day: Days<'a>,
    /// Amount as stored.
    pub amount: Decimals<'a>,
    /// CONTRIBUTION or WITHDRAWAL.
    pub change_type: Texts<'a>,
}

/// Rows of `position_market_betas`.
#[derive(Debug, Clone, Copy)]
pub struct Betas<'a> {
    /// Position of each row.
    pub position_id: &'a [Uuid],
    /// `calc_date`.
    pub day: Days<'a>,
    /// `beta`.
    pub beta: Decimals<'a>,
}

/// What the policy `legacy` reads beside the frames of both policies.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Every finite close, by symbol as stored.
    pub prices: &'a PriceStore,
    /// Prices that take the place of closes of their symbol and day (L16).
    pub cached: Option<&'a PriceStore>,
    /// Days from it on are current (L32 to L34).
    pub today: Day,
    /// Profiles of companies, by symbol as stored.
    pub profiles: Option<&'a ProfileStore>,
    /// Betas of positions.
    pub betas: Option<Betas<'a>>,
    /// Whether there are weights of the benchmark (L34).
    pub has_benchmark: bool,
}

/// The portfolios of a run, in the order of its results.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Key of each row, unique.
    pub portfolio_id: &'a [Uuid],
    /// `portfolios.equity_balance`.
    pub equity: Decimals<'a>,
    /// Day of the earliest complete snapshot on or after the first session.
    pub earliest_day: Days<'a>,
    /// Its equity.
    pub earliest_equity: Decimals<'a>,
    /// Its daily P&L.
    pub earliest_pnl: Decimals<'a>,
    /// Its daily capital flow.
    pub earliest_flow: Decimals<'a>,
    /// Sessions before it are not run.
    pub first_day: &'a [i32],
    /// Sessions after it are not run.
    pub last_day: &'a [i32],
}

impl Positions<'_> {
    /// Checks that all columns have the same length.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] naming the first that has not.
    pub fn check(&self) -> Result<()> {
        let rows = self.id.len();
        for (name, length) in [
            ("positions.portfolio_id", self.portfolio_id.len()),
            ("positions.symbol", self.symbol.len()),
            ("positions.position_type", self.position_type.len()),
            ("positions.quantity", self.quantity.len()),
            ("positions.entry_price", self.entry_price.len()),
            ("positions.entry_day", self.entry_day.len()),
            ("positions.exit_price", self.exit_price.len()),
            ("positions.exit_day", self.exit_day.len()),
            ("positions.expiration_day", self.expiration_day.len()),
            ("positions.investment_class", self.investment_class.len()),
            ("positions.last_price", self.last_price.len()),
            ("positions.market_value", self.market_value.len()),
            ("positions.deleted", self.deleted.len()),
        ] {
            same_length(name, rows, length)?;
        }
        Ok(())
    }
}

impl Events<'_> {
    /// Checks that all columns have the same length.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] naming the first that has not.
    pub fn check(&self) -> Result<()> {
        let rows = self.position_id.len();
        same_length("events.portfolio_id", rows, self.portfolio_id.len())?;
        same_length("events.day", rows, self.day.len())?;
        same_length("events.quantity", rows, self.quantity.len())?;
        same_length("events.realized", rows, self.realized.len())
    }
}

impl Betas<'_> {
    /// Checks that all columns have the same length.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] naming the first that has not.
    pub fn check(&self) -> Result<()> {
        let rows = self.position_id.len();
        same_length("betas.day", rows, self.day.len())?;
        same_length("betas.beta", rows, self.beta.len())
    }
}

impl Flows<'_> {
    /// Checks that all columns have the same length.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] naming the first that has not.
    pub fn check(&self) -> Result<()> {
        let rows = self.portfolio_id.len();
        same_length("flows.day", rows, self.day.len())?;
        same_length("flows.amount", rows, self.amount.len())?;
        same_length("flows.change_type", rows, self.change_type.len())
    }
}

impl Opening<'_> {
    /// Returns which of `sessions`, ascending, the portfolio in row `at` runs over.
    #[must_use]
    pub fn span(&self, at: usize, sessions: &[i32]) -> Range<usize> {
        let first_day = self.first_day.get(at).copied().unwrap_or(i32::MAX);
        let last_day = self.last_day.get(at).copied().unwrap_or(i32::MIN);
        let from = sessions.partition_point(|&day| day < first_day);
        let to = sessions.partition_point(|&day| day <= last_day);
        from..to.max(from)
    }

    /// Checks that all columns have the same length.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] naming the first that has not.
    pub fn check(&self) -> Result<()> {
        let rows = self.portfolio_id.len();
        for (name, length) in [
            ("opening.equity", self.equity.len()),
            ("opening.earliest_day", self.earliest_day.len()),
            ("opening.earliest_equity", self.earliest_equity.len()),
            ("opening.earliest_pnl", self.earliest_pnl.len()),
            ("opening.earliest_flow", self.earliest_flow.len()),
            ("opening.first_day", self.first_day.len()),
            ("opening.last_day", self.last_day.len()),
        ] {
            same_length(name, rows, length)?;
        }
        Ok(())
    }
}
