//! Marks of the roll-forward (S2, S4): valid closes by normalised symbol, and the close that is the
//! mark of each session.

use core::sync::atomic::AtomicBool;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::float::Floats;
use crate::frame::{Texts, index};
use crate::ids::{Day, SymbolId};
use crate::pnl::issue::{Issue, IssueKind};
use crate::pnl::splits::Splits;
use crate::store::PriceStore;
use crate::store::price::not_raised;
use crate::text::{Intern, Table, is_normalised, normalised};

/// Day of the latest close where there is none.
const NEVER: i32 = i32::MIN;

/// Number of closes at the end that are searched one by one.
const LATEST: usize = 3;

/// An invalid close on a session (S2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedClose {
    /// Index of the session.
    pub session: usize,
    /// The close, not above 0; nothing if it is not representable.
    pub close: Option<i64>,
}

/// A close with its day.
type Close = (i64, Day);

/// The valid closes of one normalised symbol, and its mark on each session of a run.
#[derive(Debug, Clone)]
pub struct SymbolMarks {
    /// Ascending by day.
    closes: Box<[Close]>,
    /// Close as of each session; 0 on [`NEVER`] before the first.
    marks: Box<[Close]>,
    /// Ascending, one for each session.
    refused: Box<[RefusedClose]>,
    /// First session whose mark is not fresh.
    aged_from: usize,
    most: i64,
    /// Its index among the symbols.
    number: usize,
}

/// Marks of all symbols on all sessions of a run, computed once and read by every portfolio.
#[derive(Debug, Clone)]
pub struct Marks {
    sessions: Vec<i32>,
    names: Intern,
    symbols: Vec<SymbolMarks>,
    scale: u32,
    lookback_days: u32,
    issues: Vec<Issue>,
    splits: Option<Splits>,
}

impl SymbolMarks {
    /// Returns the latest valid close on or before `day`, with its day.
    ///
    /// That is mostly one of the last: a nightly run needs the last but one for every lot.
    pub fn as_of(&self, day: Day) -> Option<Close> {
        let before = |&&(_, of): &&Close| of <= day;
        let latest = self.closes.iter().rev().take(LATEST).find(before);
        let found = latest.or_else(|| {
            let after = self.closes.partition_point(|close| before(&close));
            self.closes.get(after.checked_sub(1)?)
        });
        found.copied()
    }

    /// Returns the mark of each session with the day of the close: 0 on the first of all days
    /// before the first close.
    pub fn marks(&self) -> &[Close] {
        &self.marks
    }

    /// Returns whether no mark before session index `to` is older than its session.
    pub fn is_fresh_before(&self, to: usize) -> bool {
        to <= self.aged_from
    }

    /// Returns the first session index of `from..` whose mark is a close of `day` or later.
    pub fn first_priced_since(&self, day: Day, from: usize) -> usize {
        let marks = self.marks.get(from..).unwrap_or_default();
        from.saturating_add(marks.partition_point(|&(_, found)| found < day))
    }

    /// Returns the invalid closes of sessions in `from..to`, in order.
    pub fn refused(&self, from: usize, to: usize) -> &[RefusedClose] {
        let first = self.refused.partition_point(|row| row.session < from);
        let rest = self.refused.get(first..).unwrap_or_default();
        rest.get(..rest.partition_point(|row| row.session < to))
            .unwrap_or_default()
    }

    /// Returns the index of the symbol among those of the marks.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the largest close.
    pub fn most(&self) -> i64 {
        self.most
    }

    fn of(number: usize, closes: Vec<Close>, refused: Vec<RefusedClose>, sessions: &[i32]) -> Self {
        let mut last = (0, Day(NEVER));
        let mut later = closes.iter().peekable();
        let mark = |&session: &i32| {
            while let Some(&close) = later.next_if(|&&(_, day)| day <= Day(session)) {
                last = close;
            }
            last
        };
        let marks: Box<[Close]> = sessions.iter().map(mark).collect();
        let mut days = marks.iter().zip(sessions);
        let aged_from = days.position(|(&(_, found), &day)| found != Day(day));
        Self {
            most: closes.iter().map(|&(close, _)| close).max().unwrap_or(0),
            aged_from: aged_from.unwrap_or(usize::MAX),
            closes: closes.into(),
            refused: refused.into(),
            marks,
            number,
        }
    }
}

impl Marks {
    /// Returns the marks of every symbol of `prices` on `sessions`.
    ///
    /// Symbols that are the same trimmed and upper-cased become one. Of two valid closes of one day
    /// the one under the spelling highest in byte order counts, and the symbol gets an issue.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] unless the sessions ascend.
    pub fn from_prices(prices: &PriceStore, sessions: &[i32], lookback_days: u32) -> Result<Self> {
        Self::from_prices_unless(prices, sessions, lookback_days, &AtomicBool::new(false))
    }

    /// As [`Marks::from_prices`], unless `cancel` is raised meanwhile.
    ///
    /// # Errors
    ///
    /// As `from_prices`; [`Error::Cancelled`] once `cancel` is raised.
    pub fn from_prices_unless(
        prices: &PriceStore,
        sessions: &[i32],
        lookback_days: u32,
        cancel: &AtomicBool,
    ) -> Result<Self> {
        check_ascending("sessions", sessions)?;
        let mut names = Intern::default();
        let mut spellings: Vec<Spelling<'_>> = Vec::new();
        for (code, symbol) in (0u32..).zip(prices.symbols().iter()) {
            if let Some(id) = names.code(&normalised(symbol)) {
                spellings.push((id, symbol, SymbolId(code)));
            }
        }
        spellings.sort_unstable();
        let mut symbols = Vec::with_capacity(names.table().len());
        let mut issues = Vec::new();
        for group in spellings.chunk_by(|(id, ..), (next, ..)| id == next) {
            not_raised(cancel)?;
            let (closes, duplicates) = merged(prices, group);
            if let Some((count, first, winner)) = duplicates {
                let id = group.first().map(|&(id, ..)| id);
                let dates = if count == 1 { "date" } else { "dates" };
                issues.push(Issue {
                    kind: IssueKind::DuplicatePrice,
                    portfolio: None,
                    symbol: id.and_then(|id| names.table().text(id)).map(str::to_owned),
                    day: Some(first),
                    detail: format!("{count} {dates}; {winner} counts on the first"),
                });
            }
            let refused = refused(prices, group, sessions);
            symbols.push(SymbolMarks::of(symbols.len(), closes, refused, sessions));
        }
        drop(spellings);
        issues.sort_by(|a, b| a.key().cmp(&b.key()));
        Ok(Self {
            sessions: sessions.to_vec(),
            names,
            symbols,
            scale: prices.scale(),
            lookback_days,
            issues,
            splits: None,
        })
    }

    /// Returns the marks with splits that restate quantities (C4).
    pub fn with_splits(self, splits: Splits) -> Self {
        Self {
            splits: Some(splits),
            ..self
        }
    }

    /// Returns the splits that restate quantities, if there are any.
    pub fn splits(&self) -> Option<&Splits> {
        self.splits.as_ref()
    }

    /// Returns the marks of a symbol as stored on a position; nothing if it has no close.
    pub fn find(&self, symbol: &[u8]) -> Option<&SymbolMarks> {
        let id = if is_normalised(symbol) {
            self.names.find(symbol)?
        } else {
            self.names.find(&normalised(symbol))?
        };
        self.symbols
            .get(index(id))
            .filter(|marks| !marks.closes.is_empty() || !marks.refused.is_empty())
    }

    /// Returns the indices of some of the sessions.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] unless all of `days` are sessions and ascend.
    pub fn indices(&self, days: &[i32]) -> Result<Vec<usize>> {
        check_ascending("sessions", days)?;
        let found = |(row, day)| {
            self.sessions.binary_search(day).map_err(|_| Error::Value {
                column: "sessions",
                row,
                expected: "a session of the market",
            })
        };
        days.iter().enumerate().map(found).collect()
    }

    /// Returns the valid close of each symbol on each of `days`, in dollars: one row for each day,
    /// one column for each symbol, one after the other. NaN where there is no close on that very
    /// day.
    ///
    /// Closes on both sides of an ex-date are of the same shares: those of the first day (C5).
    pub fn fresh_closes(&self, symbols: &Texts<'_>, days: &[i32]) -> Vec<f64> {
        let floats = Floats::of_scale(self.scale);
        let columns = symbols.len();
        let mut closes = vec![f64::NAN; columns.saturating_mul(days.len())];
        for column in 0..columns {
            let code = symbols.get(column).ok();
            let name = code.and_then(|code| symbols.table().bytes(code));
            let Some(marks) = name.and_then(|name| self.find(name)) else {
                continue;
            };
            let splits = self
                .splits()
                .zip(name)
                .and_then(|(all, name)| all.find(name));
            let cells = closes.iter_mut().skip(column).step_by(columns.max(1));
            for (cell, &day) in cells.zip(days) {
                if let Some((close, found)) = marks.as_of(Day(day))
                    && found == Day(day)
                {
                    let factor = splits.map_or(Some(1.0), |splits| splits.factor_of_close(found));
                    *cell = floats.times(close, factor.unwrap_or(f64::NAN));
                }
            }
        }
        closes
    }

    /// Returns each symbol, trimmed and upper-cased, by its number, with its valid closes and their
    /// days, ascending.
    pub fn closes(&self) -> impl Iterator<Item = (&[u8], &[Close])> {
        let symbols = self.names.table().iter().zip(&self.symbols);
        symbols.map(|(name, marks)| (name, &*marks.closes))
    }

    /// Returns how many symbols there are.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Returns the sessions, ascending.
    pub fn sessions(&self) -> &[i32] {
        &self.sessions
    }

    /// Returns the decimals of the closes.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// Returns how many days old a close may be without being stale.
    pub fn lookback_days(&self) -> u32 {
        self.lookback_days
    }

    /// Returns the issues of the prices.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// Returns for each session how many of `symbols` have a valid close on it, how many on it or
    /// in the `lookback_days` days before, and how many on it or ever before: the coverage of S12
    /// is the quotient of the first two, 0 where only the third is above 0.
    pub fn coverage(&self, symbols: &Table) -> [Vec<u32>; 3] {
        let mut asked: HashMap<u32, ()> = HashMap::new();
        for symbol in symbols.iter() {
            if let Some(id) = self.names.find(&normalised(symbol)) {
                asked.insert(id, ());
            }
        }
        let nobody = vec![0u32; self.sessions.len()];
        let [mut fresh, mut recent, mut known] = [nobody.clone(), nobody.clone(), nobody];
        for marks in asked.keys().filter_map(|&id| self.symbols.get(index(id))) {
            let counts = fresh
                .iter_mut()
                .zip(recent.iter_mut().zip(known.iter_mut()));
            for ((fresh, (recent, known)), (&day, &(_, found))) in
                counts.zip(self.sessions.iter().zip(&marks.marks))
            {
                if found == Day(NEVER) {
                    continue;
                }
                *known = known.saturating_add(1);
                if Day(day).since(found) <= i64::from(self.lookback_days) {
                    *recent = recent.saturating_add(1);
                }
                if found == Day(day) {
                    *fresh = fresh.saturating_add(1);
                }
            }
        }
        [fresh, recent, known]
    }
}

/// Returns an error unless the days of a column ascend.
pub(super) fn check_ascending(column: &'static str, days: &[i32]) -> Result<()> {
    let unsorted = days
        .windows(2)
        .position(|two| matches!(two, [a, b] if a >= b));
    unsorted.map_or(Ok(()), |row| {
        Err(Error::Value {
            column,
            row: row.saturating_add(1),
            expected: "days in ascending order",
        })
    })
}

/// A symbol as stored, after the id of its normalised form (S2).
type Spelling<'a> = (u32, &'a [u8], SymbolId);

type Duplicates = Option<(usize, Day, String)>;

/// Returns the valid closes of several spellings of one symbol, where the later spelling wins a day
/// that two have; and the number of such days, the first of them and its winner.
fn merged(prices: &PriceStore, spellings: &[Spelling<'_>]) -> (Vec<Close>, Duplicates) {
    let mut rows: Vec<(i32, usize, i64)> = Vec::new();
    for (rank, &(.., symbol)) in spellings.iter().enumerate() {
        let (days, closes) = prices.closes(symbol);
        let valid = days.iter().zip(closes).filter(|&(_, &close)| close > 0);
        rows.extend(valid.map(|(&day, &close)| (day, rank, close)));
    }
    if spellings.len() > 1 {
        rows.sort_unstable();
    }
    let mut valid: Vec<Close> = Vec::with_capacity(rows.len());
    let mut doubled: Vec<i32> = Vec::new();
    let mut winner = 0usize;
    for (day, rank, close) in rows {
        if let Some(last) = valid.last_mut().filter(|(_, last)| *last == Day(day)) {
            last.0 = close;
            if doubled.last() != Some(&day) {
                doubled.push(day);
            }
            if doubled.len() == 1 {
                winner = rank;
            }
        } else {
            valid.push((close, Day(day)));
        }
    }
    let duplicates = doubled.first().map(|&first| {
        let name = spellings.get(winner).map_or(&[][..], |&(_, name, _)| name);
        let name = String::from_utf8_lossy(name).into_owned();
        (doubled.len(), Day(first), name)
    });
    (valid, duplicates)
}

/// Returns the invalid closes on sessions of several spellings of one symbol; the later spelling
/// wins a day that two have.
fn refused(prices: &PriceStore, spellings: &[Spelling<'_>], sessions: &[i32]) -> Vec<RefusedClose> {
    let mut found: Vec<(usize, usize, Option<i64>)> = Vec::new();
    let session = |day: i32| sessions.binary_search(&day).ok();
    for (rank, &(.., symbol)) in spellings.iter().enumerate() {
        let (days, closes) = prices.closes(symbol);
        let refused = days.iter().zip(closes).filter(|&(_, &close)| close <= 0);
        found.extend(refused.filter_map(|(&day, &close)| Some((session(day)?, rank, Some(close)))));
        let unreadable = prices.unreadable(symbol).iter();
        found.extend(unreadable.filter_map(|&(_, day)| Some((session(day)?, rank, None))));
    }
    found.sort_unstable();
    let mut refused: Vec<RefusedClose> = Vec::new();
    for (session, _, close) in found {
        if refused.last().is_some_and(|last| last.session == session) {
            refused.pop();
        }
        refused.push(RefusedClose { session, close });
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// Closes of two decimals: symbol as stored, day, mantissa.
    fn marks(closes: &[(&str, i32, i64)], sessions: &[i32], lookback_days: u32) -> Result<Marks> {
        Marks::from_prices(&samples::prices(closes, 2), sessions, lookback_days)
    }

    #[test]
    fn coverage_counts_each_symbol_once() {
        let marks = marks(&[("A", 3, 300), ("B", 4, 400)], &[3, 4, 5], 1).unwrap();
        let mut asked = Intern::default();
        for symbol in ["A", " a", "B", "Z"] {
            asked.code(symbol.as_bytes());
        }
        let [fresh, recent, known] = marks.coverage(asked.table());
        // A is forgotten on day 5, two days after its close
        assert_eq!((fresh, recent), (vec![1, 1, 0], vec![1, 2, 1]));
        assert_eq!(known, [1, 2, 2]);
    }

    #[test]
    fn sessions_have_to_ascend() {
        let error = marks(&[], &[3, 5, 5], 10).unwrap_err();
        assert_eq!(
            error,
            Error::Value {
                column: "sessions",
                row: 2,
                expected: "days in ascending order"
            }
        );
    }
}
