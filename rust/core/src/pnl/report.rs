//! The report of a run: everything but its rows.

use crate::ids::Day;
use crate::pnl::issue::Issue;
use crate::pnl::legacy::row::LegacyRow;

/// Lots of one symbol whose mark was stale or the entry price, over the sessions of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// Code in the table of the positions' symbols.
    pub symbol: u32,
    /// Whether the entry price was used, else a stale close.
    pub unpriced: bool,
    /// Lots times sessions.
    pub lot_sessions: u64,
    /// First such session.
    pub first: Day,
    /// Last such session.
    pub last: Day,
}

/// Number of portfolios that hold the symbol of a finding (C1) on the first session with any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldFinding {
    /// Row of the findings.
    pub finding: usize,
    /// The session.
    pub first: Day,
    /// Number of portfolios.
    pub portfolios: u64,
}

/// Everything about a run but its [`columns`](crate::pnl::columns).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The further columns of each row under the policy `legacy`; empty under another.
    pub legacy: Vec<LegacyRow>,
    /// Rows of each portfolio.
    pub written: Vec<i32>,
    /// Whether each portfolio failed.
    pub failed: Vec<bool>,
    /// Sorted by portfolio, name, symbol, day and detail.
    pub issues: Vec<Issue>,
    /// Sorted by symbol, stale before unpriced.
    pub misses: Vec<Miss>,
    /// Sorted by finding.
    pub held: Vec<HeldFinding>,
    rows: usize,
}

impl Report {
    /// Counts the rows of one more portfolio, and whether it failed.
    pub fn wrote(&mut self, rows: usize, failed: bool) {
        self.rows = self.rows.saturating_add(rows);
        self.written.push(i32::try_from(rows).unwrap_or(i32::MAX));
        self.failed.push(failed);
    }

    /// Appends the report of later portfolios.
    pub fn append(&mut self, mut later: Self) {
        self.legacy.append(&mut later.legacy);
        self.rows = self.rows.saturating_add(later.rows);
        self.written.append(&mut later.written);
        self.failed.append(&mut later.failed);
        self.issues.append(&mut later.issues);
        self.misses.append(&mut later.misses);
        self.held.append(&mut later.held);
    }

    /// Sorts issues and adds up misses of the same symbol and holders of the same finding, so that
    /// the result does not depend on the batches.
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
        self.held.sort_by_key(|held| (held.finding, held.first));
        self.held.dedup_by(|later, kept| {
            let same = later.finding == kept.finding;
            if same && later.first == kept.first {
                kept.portfolios = kept.portfolios.saturating_add(later.portfolios);
            }
            same
        });
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
}
