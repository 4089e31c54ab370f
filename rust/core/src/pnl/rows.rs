//! What a policy computes: one row, and what it noticed over all of them.

use crate::fixed::State;
use crate::ids::Day;
use crate::pnl::issue::Issue;
use crate::pnl::legacy::columns::Columns;

/// One session of one portfolio; amounts in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Session.
    pub day: Day,
    /// `equity_balance`, S8; but for L25 `total_value` as well.
    pub equity: i64,
    /// `daily_pnl`, S6.
    pub daily_pnl: i64,
    /// `daily_realized_pnl`, S6.
    pub daily_realized: i64,
    /// `daily_capital_flow`, S7.
    pub daily_flow: i64,
    /// `daily_return` in millionths, S8; nothing if out of range, S10.
    pub daily_return: Option<i64>,
    /// `cumulative_pnl`, S8.
    pub cumulative_pnl: i64,
    /// `cumulative_realized_pnl`, S8.
    pub cumulative_realized: i64,
    /// `cumulative_capital_flow`, S8.
    pub cumulative_flow: i64,
    /// `r2(U)`, S6, or why there is none.
    pub unrealized: Result<i64, State>,
    /// `long_value`, S9.
    pub long: i64,
    /// `short_value`, S9.
    pub short: i64,
    /// `gross_exposure`, S9.
    pub gross: i64,
    /// `net_exposure`, S9.
    pub net: i64,
    /// `cash_value`, S9.
    pub cash: i64,
    /// Lots held.
    pub num_positions: i32,
    /// Lots held with a quantity above 0.
    pub num_long: i32,
    /// Lots held with a quantity below 0.
    pub num_short: i32,
    /// Public lots held whose mark is fresh, from lookback, stale, or the entry price.
    pub marks: [i32; 4],
}

/// Lots of one symbol whose mark was stale or the entry price, over the sessions of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// Code in the table of the positions' symbols.
    pub symbol: u32,
    /// Whether the entry price counted, else a stale close.
    pub unpriced: bool,
    /// Lots times sessions.
    pub lot_sessions: u64,
    /// First such session.
    pub first: Day,
    /// Last such session.
    pub last: Day,
}

/// What came of the portfolios beside their [`Room`](crate::pnl::columns::Room).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// What only the policy `legacy` has: no rows under another.
    pub legacy: Columns,
    /// Rows of each portfolio.
    pub written: Vec<i32>,
    /// Whether each portfolio failed.
    pub failed: Vec<bool>,
    /// Sorted by portfolio, name, symbol, day and detail.
    pub issues: Vec<Issue>,
    /// Sorted by symbol, stale before unpriced.
    pub misses: Vec<Miss>,
    count: usize,
}

impl Rows {
    /// Counts the rows of one more portfolio, and whether it failed.
    pub fn wrote(&mut self, rows: usize, failed: bool) {
        self.count = self.count.saturating_add(rows);
        self.written.push(i32::try_from(rows).unwrap_or(i32::MAX));
        self.failed.push(failed);
    }

    /// Appends what came of later portfolios.
    pub fn append(&mut self, mut later: Self) {
        self.legacy.append(later.legacy, self.count);
        self.count = self.count.saturating_add(later.count);
        self.written.append(&mut later.written);
        self.failed.append(&mut later.failed);
        self.issues.append(&mut later.issues);
        self.misses.append(&mut later.misses);
    }

    /// Sorts issues and adds up misses of the same symbol, so that no split shows.
    pub fn settle(&mut self) {
        self.issues.sort_by(|a, b| a.key().cmp(&b.key()));
        self.misses.sort_by_key(|miss| (miss.symbol, miss.unpriced));
        self.misses.dedup_by(|later, kept| {
            let same = (later.symbol, later.unpriced) == (kept.symbol, kept.unpriced);
            if same {
                kept.lot_sessions = kept.lot_sessions.saturating_add(later.lot_sessions);
                kept.first = kept.first.min(later.first);
                kept.last = kept.last.max(later.last);
            }
            same
        });
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
