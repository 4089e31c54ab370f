//! Snapshots by portfolio and day: the last one before a day (S5, L5).

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::fixed::{CENTS, State, rescaled};
use crate::frame::{Decimals, frame};
use crate::ids::{Day, Uuid};

/// Cents, or why there are none.
pub type Amount = core::result::Result<i64, State>;

/// The state of a portfolio in a stored snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Its date.
    pub day: Day,
    /// `equity_balance`.
    pub equity: Amount,
    /// `cumulative_pnl`.
    pub cumulative_pnl: Amount,
    /// `cumulative_realized_pnl`.
    pub cumulative_realized: Amount,
    /// `cumulative_capital_flow`.
    pub cumulative_flow: Amount,
    /// `is_complete`.
    pub is_complete: bool,
}

frame! {
    /// The columns that a store is built from.
    SnapshotColumns<'a> "previous" {
        /// Portfolio of each row.
        portfolio_id: &'a [Uuid],
        /// Date of each row, in days since 1970-01-01.
        day: &'a [i32],
        /// `equity_balance`.
        equity: Decimals<'a>,
        /// `cumulative_pnl`.
        cumulative_pnl: Decimals<'a>,
        /// `cumulative_realized_pnl`.
        cumulative_realized_pnl: Decimals<'a>,
        /// `cumulative_capital_flow`.
        cumulative_capital_flow: Decimals<'a>,
        /// `is_complete`.
        is_complete: &'a [bool],
    }
}

/// Snapshots of many portfolios.
#[derive(Debug, Clone, Default)]
pub struct SnapshotStore {
    /// First row and number of rows of each portfolio.
    ranges: HashMap<Uuid, (usize, usize)>,
    rows: Vec<Snapshot>,
}

/// Returns the cents of a row.
///
/// # Errors
///
/// The row's [`State`]; an amount with more decimals than cents is not representable.
pub fn cents(column: &Decimals<'_>, row: usize) -> Amount {
    rescaled(column.get(row)?, column.scale(), CENTS).ok_or(State::NotRepresentable)
}

impl SnapshotStore {
    /// Returns the store of all rows.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the columns differ in length; [`Error::Duplicate`] if a portfolio has
    /// two rows of one day.
    pub fn from_columns(columns: &SnapshotColumns<'_>) -> Result<Self> {
        let count = columns.portfolio_id.len();
        columns.check()?;
        let mut order: Vec<(&Uuid, i32, usize)> = columns
            .portfolio_id
            .iter()
            .zip(columns.day)
            .enumerate()
            .map(|(row, (id, &day))| (id, day, row))
            .collect();
        order.sort_unstable();
        let twice = |pair: &[(&Uuid, i32, usize)]| match pair {
            [a, b] if (a.0, a.1) == (b.0, b.1) => Some(Error::Duplicate {
                column: "previous.portfolio_id",
                row: b.2,
                first: a.2,
            }),
            _ => None,
        };
        if let Some(error) = order.windows(2).find_map(twice) {
            return Err(error);
        }
        let mut store = Self {
            ranges: HashMap::new(),
            rows: Vec::with_capacity(count),
        };
        for (id, day, row) in order {
            let next = store.rows.len();
            let range = store.ranges.entry(*id).or_insert((next, 0));
            range.1 = range.1.saturating_add(1);
            store.rows.push(Snapshot {
                day: Day(day),
                equity: cents(&columns.equity, row),
                cumulative_pnl: cents(&columns.cumulative_pnl, row),
                cumulative_realized: cents(&columns.cumulative_realized_pnl, row),
                cumulative_flow: cents(&columns.cumulative_capital_flow, row),
                is_complete: columns.is_complete.get(row).copied().unwrap_or_default(),
            });
        }
        Ok(store)
    }

    /// Returns the latest complete snapshot of a portfolio before `day`.
    pub fn before(&self, portfolio: &Uuid, day: Day) -> Option<&Snapshot> {
        let rows = self.of(portfolio);
        let earlier = rows.get(..rows.partition_point(|row| row.day < day))?;
        earlier.iter().rev().find(|row| row.is_complete)
    }

    /// Returns the snapshots of a portfolio, complete or not, ascending by day.
    pub fn of(&self, portfolio: &Uuid) -> &[Snapshot] {
        let range = self.ranges.get(portfolio);
        range
            .and_then(|&(from, count)| self.rows.get(from..from.checked_add(count)?))
            .unwrap_or_default()
    }
}
