//! What a policy computes: result columns, and what it noticed.

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

/// Result columns: a row for each portfolio and session, portfolios in input order, sessions
/// ascending.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Row of the portfolio in `Opening`.
    pub portfolio: Vec<i32>,
    /// Session.
    pub day: Vec<i32>,
    /// Cents, see [`Row`].
    pub equity: Vec<i64>,
    /// Cents.
    pub daily_pnl: Vec<i64>,
    /// Cents.
    pub daily_realized: Vec<i64>,
    /// Cents.
    pub daily_flow: Vec<i64>,
    /// Millionths; 0 where there is none.
    pub daily_return: Vec<i64>,
    /// 0, or 1 (NULL) where the return is out of range.
    pub daily_return_state: Vec<u8>,
    /// Cents.
    pub cumulative_pnl: Vec<i64>,
    /// Cents.
    pub cumulative_realized: Vec<i64>,
    /// Cents.
    pub cumulative_flow: Vec<i64>,
    /// Cents; 0 where there is none.
    pub unrealized: Vec<i64>,
    /// 0, 1 (NULL) under a policy without it, or 3 (not representable) beyond 64 bits.
    pub unrealized_state: Vec<u8>,
    /// Cents.
    pub long: Vec<i64>,
    /// Cents.
    pub short: Vec<i64>,
    /// Cents.
    pub gross: Vec<i64>,
    /// Cents.
    pub net: Vec<i64>,
    /// Cents.
    pub cash: Vec<i64>,
    /// Lots.
    pub num_positions: Vec<i32>,
    /// Lots.
    pub num_long: Vec<i32>,
    /// Lots.
    pub num_short: Vec<i32>,
    /// Four counts a row, see [`Row::marks`].
    pub marks: Vec<i32>,
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
}

/// Runs an action on each column that has one value a row.
macro_rules! for_each_column {
    ($rows:expr, |$column:ident| $action:expr) => {
        for_each_column!(
            @ $rows, $column, $action,
            portfolio day equity daily_pnl daily_realized daily_flow daily_return
            daily_return_state cumulative_pnl cumulative_realized cumulative_flow unrealized
            unrealized_state long short gross net cash num_positions num_long num_short
        )
    };
    (@ $rows:expr, $column:ident, $action:expr, $($name:ident)*) => {
        $({
            let $column = &mut $rows.$name;
            $action;
        })*
    };
}

impl Rows {
    /// Makes room for `rows` more rows, so that pushing them moves nothing.
    pub fn reserve(&mut self, rows: usize) {
        for_each_column!(self, |column| column.reserve_exact(rows));
        self.marks.reserve_exact(rows.saturating_mul(4));
    }

    /// Appends one row of a portfolio.
    pub fn push(&mut self, portfolio: i32, row: &Row) {
        self.portfolio.push(portfolio);
        self.day.push(row.day.0);
        self.equity.push(row.equity);
        self.daily_pnl.push(row.daily_pnl);
        self.daily_realized.push(row.daily_realized);
        self.daily_flow.push(row.daily_flow);
        self.daily_return.push(row.daily_return.unwrap_or(0));
        let state = row.daily_return.map_or(State::Null, |_| State::Value);
        self.daily_return_state.push(state.byte());
        self.cumulative_pnl.push(row.cumulative_pnl);
        self.cumulative_realized.push(row.cumulative_realized);
        self.cumulative_flow.push(row.cumulative_flow);
        self.unrealized.push(row.unrealized.unwrap_or(0));
        let state = row.unrealized.err().unwrap_or(State::Value);
        self.unrealized_state.push(state.byte());
        self.long.push(row.long);
        self.short.push(row.short);
        self.gross.push(row.gross);
        self.net.push(row.net);
        self.cash.push(row.cash);
        self.num_positions.push(row.num_positions);
        self.num_long.push(row.num_long);
        self.num_short.push(row.num_short);
        self.marks.extend_from_slice(&row.marks);
    }

    /// Appends the rows of later portfolios.
    pub fn append(&mut self, mut later: Self) {
        self.legacy.append(later.legacy, self.day.len());
        self.portfolio.append(&mut later.portfolio);
        self.day.append(&mut later.day);
        self.equity.append(&mut later.equity);
        self.daily_pnl.append(&mut later.daily_pnl);
        self.daily_realized.append(&mut later.daily_realized);
        self.daily_flow.append(&mut later.daily_flow);
        self.daily_return.append(&mut later.daily_return);
        self.daily_return_state
            .append(&mut later.daily_return_state);
        self.cumulative_pnl.append(&mut later.cumulative_pnl);
        self.cumulative_realized
            .append(&mut later.cumulative_realized);
        self.cumulative_flow.append(&mut later.cumulative_flow);
        self.unrealized.append(&mut later.unrealized);
        self.unrealized_state.append(&mut later.unrealized_state);
        self.long.append(&mut later.long);
        self.short.append(&mut later.short);
        self.gross.append(&mut later.gross);
        self.net.append(&mut later.net);
        self.cash.append(&mut later.cash);
        self.num_positions.append(&mut later.num_positions);
        self.num_long.append(&mut later.num_long);
        self.num_short.append(&mut later.num_short);
        self.marks.append(&mut later.marks);
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
        self.portfolio.len()
    }

    /// Returns whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.portfolio.is_empty()
    }
}
