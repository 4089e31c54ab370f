//! Marks of the roll-forward (S2, S4): valid closes by normalised symbol, and the close that is the
//! mark of each session.

use core::ops::Range;
use core::sync::atomic::AtomicBool;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::float::Floats;
use crate::frame::{Texts, index};
use crate::ids::{Day, SymbolId};
use crate::pnl::issue::{Issue, IssueKind};
use crate::pnl::splits::Splits;
use crate::store::PriceStore;
use crate::store::price::{as_of, not_raised};
use crate::text::{Intern, Table, is_normalised, normalised};

/// A session on which a symbol's mark is not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgedMark {
    /// Index of the session.
    pub session: usize,
    /// Whether the close is older than the lookback; else it is 1 to `lookback_days` days old.
    pub stale: bool,
}

/// Day of the latest close where there is none.
const NEVER: i32 = i32::MIN;

/// An invalid close on a session (S2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedClose {
    /// Index of the session.
    pub session: usize,
    /// The close, not above 0; nothing if it is not representable.
    pub close: Option<i64>,
}

/// The marks of one normalised symbol on the sessions of a run.
///
/// The part that the loop reads for every lot is small enough to stay in the cache for thousands of
/// symbols; the rest is kept separately.
#[derive(Debug, Clone)]
pub struct SymbolMarks {
    /// Close as of each session in 32 bits, of all symbols, one after the other.
    small: Arc<[u32]>,
    /// Where the closes of this symbol are; nothing if one does not fit.
    row: Option<Range<usize>>,
    most: i64,
    /// Its index among the symbols.
    number: u32,
    /// First session whose mark is not fresh.
    aged_from: usize,
    /// Whether the close of any session is invalid.
    refuses: bool,
    /// The latest valid closes, last one first: a nightly run needs the last but one for every lot.
    latest: [Option<Close>; 2],
    valid: Box<ValidCloses>,
}

/// A close with its day.
type Close = (i64, Day);

/// The valid closes of a symbol, and its mark on each session.
#[derive(Debug, Clone, Default)]
struct ValidCloses {
    days: Vec<i32>,
    closes: Vec<i64>,
    /// Close as of each session; 0 before the first.
    mark: Vec<i64>,
    /// Day of that close; [`NEVER`] before the first.
    close_day: Vec<i32>,
    aged: Vec<AgedMark>,
    /// Ascending, one for each session.
    refused: Vec<RefusedClose>,
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
    #[must_use]
    pub fn as_of(&self, day: Day) -> Option<Close> {
        let latest = self.latest.iter().flatten();
        let found = latest.copied().find(|&(_, of)| of <= day);
        found.or_else(|| as_of(&self.valid.days, &self.valid.closes, day))
    }

    /// Returns the mark of each session, 0 before the first close.
    #[must_use]
    pub fn mark(&self) -> &[i64] {
        &self.valid.mark
    }

    /// Returns the marks of some sessions in 32 bits, if all marks of the symbol fit.
    #[must_use]
    pub fn small(&self, sessions: Range<usize>) -> Option<&[u32]> {
        self.small.get(self.row.clone()?)?.get(sessions)
    }

    /// Returns whether no mark before session index `to` is older than its session.
    #[must_use]
    pub fn is_fresh_before(&self, to: usize) -> bool {
        to <= self.aged_from
    }

    /// Returns the day of the close that is the mark of a session; the first of all days before the
    /// first close.
    #[must_use]
    pub fn close_day(&self, session: usize) -> Day {
        let day = self.valid.close_day.get(session).copied();
        Day(day.unwrap_or(NEVER))
    }

    /// Returns the first session index of `from..` whose mark is a close of `day` or later.
    #[must_use]
    pub fn first_priced_since(&self, day: Day, from: usize) -> usize {
        let days = self.valid.close_day.get(from..).unwrap_or_default();
        from.saturating_add(days.partition_point(|&d| d < day.0))
    }

    /// Returns the sessions of `from..to` whose mark is not fresh, in order.
    #[must_use]
    pub fn aged(&self, from: usize, to: usize) -> &[AgedMark] {
        if self.is_fresh_before(to) {
            return &[];
        }
        between(&self.valid.aged, from, to, |aged| aged.session)
    }

    /// Returns the invalid closes of sessions in `from..to`, in order.
    #[must_use]
    pub fn refused(&self, from: usize, to: usize) -> &[RefusedClose] {
        if !self.refuses {
            return &[];
        }
        between(&self.valid.refused, from, to, |refused| refused.session)
    }

    /// Returns the index of the symbol among those of the marks.
    #[must_use]
    pub fn number(&self) -> usize {
        index(self.number)
    }

    /// Returns the largest close.
    #[must_use]
    pub fn most(&self) -> i64 {
        self.most
    }

    fn of(
        number: u32,
        valid: Box<ValidCloses>,
        small: &Arc<[u32]>,
        row: Option<Range<usize>>,
    ) -> Self {
        let days = valid.days.iter().copied().map(Day);
        let mut closes = valid.closes.iter().copied().zip(days).rev();
        Self {
            refuses: !valid.refused.is_empty(),
            latest: [closes.next(), closes.next()],
            small: Arc::clone(small),
            row,
            number,
            most: valid.closes.iter().copied().max().unwrap_or(0),
            aged_from: valid.aged.first().map_or(usize::MAX, |aged| aged.session),
            valid,
        }
    }
}

/// Returns the part of `rows`, ascending by session, with sessions in `from..to`.
fn between<T>(rows: &[T], from: usize, to: usize, session: impl Fn(&T) -> usize) -> &[T] {
    let first = rows.partition_point(|row| session(row) < from);
    let rest = rows.get(first..).unwrap_or_default();
    rest.get(..rest.partition_point(|row| session(row) < to))
        .unwrap_or_default()
}

impl ValidCloses {
    fn mark(&mut self, sessions: &[i32], lookback_days: u32) {
        let mut next = 0usize;
        let mut last = (0i64, NEVER);
        self.mark.reserve_exact(sessions.len());
        self.close_day.reserve_exact(sessions.len());
        for (session, &day) in sessions.iter().enumerate() {
            while let (Some(&d), Some(&close)) = (self.days.get(next), self.closes.get(next)) {
                if d > day {
                    break;
                }
                last = (close, d);
                next = next.saturating_add(1);
            }
            self.mark.push(last.0);
            self.close_day.push(last.1);
            if last.1 != day {
                let stale = Day(day).since(Day(last.1)) > i64::from(lookback_days);
                self.aged.push(AgedMark { session, stale });
            }
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
        let mut closes = Vec::with_capacity(names.table().len());
        let mut issues = Vec::new();
        for group in spellings.chunk_by(|(id, ..), (next, ..)| id == next) {
            not_raised(cancel)?;
            let (mut valid, duplicates) = merged(prices, group);
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
            valid.mark(sessions, lookback_days);
            valid.refused = refused(prices, group, sessions);
            closes.push(Box::new(valid));
        }
        drop(spellings);
        let (small, places) = narrowed(&closes);
        let marked = |(number, (valid, row))| SymbolMarks::of(number, valid, &small, row);
        let symbols = (0u32..).zip(closes.into_iter().zip(places));
        let symbols = symbols.map(marked).collect();
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
    #[must_use]
    pub fn with_splits(self, splits: Splits) -> Self {
        Self {
            splits: Some(splits),
            ..self
        }
    }

    /// Returns the splits that restate quantities, if there are any.
    #[must_use]
    pub fn splits(&self) -> Option<&Splits> {
        self.splits.as_ref()
    }

    /// Returns the marks of a symbol as stored on a position; nothing if it has no close.
    #[must_use]
    pub fn find(&self, symbol: &[u8]) -> Option<&SymbolMarks> {
        let id = if is_normalised(symbol) {
            self.names.find(symbol)?
        } else {
            self.names.find(&normalised(symbol))?
        };
        self.symbols
            .get(index(id))
            .filter(|marks| !marks.valid.days.is_empty() || !marks.valid.refused.is_empty())
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
    #[must_use]
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

    /// Returns each symbol, trimmed and upper-cased, by its number, with the days of its valid
    /// closes, ascending, and these closes.
    pub fn closes(&self) -> impl Iterator<Item = (&[u8], &[i32], &[i64])> {
        let symbols = self.names.table().iter().zip(&self.symbols);
        symbols.map(|(name, marks)| (name, &*marks.valid.days, &*marks.valid.closes))
    }

    /// Returns how many symbols there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Returns the sessions, ascending.
    #[must_use]
    pub fn sessions(&self) -> &[i32] {
        &self.sessions
    }

    /// Returns the decimals of the closes.
    #[must_use]
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// Returns how many days old a close may be without being stale.
    #[must_use]
    pub fn lookback_days(&self) -> u32 {
        self.lookback_days
    }

    /// Returns the issues of the prices.
    #[must_use]
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// Returns for each session how many of `symbols` have a valid close on it, how many on it or
    /// in the `lookback_days` days before, and how many on it or ever before: the coverage of S12
    /// is the quotient of the first two, 0 where only the third is above 0.
    #[must_use]
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
            for ((fresh, (recent, known)), (&day, &close)) in
                counts.zip(self.sessions.iter().zip(&marks.valid.close_day))
            {
                if close == NEVER {
                    continue;
                }
                *known = known.saturating_add(1);
                if Day(day).since(Day(close)) <= i64::from(self.lookback_days) {
                    *recent = recent.saturating_add(1);
                }
                if day == close {
                    *fresh = fresh.saturating_add(1);
                }
            }
        }
        [fresh, recent, known]
    }
}

/// Returns the marks of all symbols in 32 bits, one after the other, and where those of each are;
/// nothing if one does not fit.
///
/// Lots read symbols in any order: marks that are close together cause fewer misses of the cache
/// and of its page table, which halved the time of the sums.
fn narrowed(symbols: &[Box<ValidCloses>]) -> (Arc<[u32]>, Vec<Option<Range<usize>>>) {
    let mut small: Vec<u32> = Vec::new();
    let mut places = Vec::with_capacity(symbols.len());
    for valid in symbols {
        let from = small.len();
        small.extend(
            valid
                .mark
                .iter()
                .map_while(|&mark| u32::try_from(mark).ok()),
        );
        let row = from..small.len();
        places.push((row.len() == valid.mark.len()).then_some(row));
    }
    (small.into(), places)
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
fn merged(prices: &PriceStore, spellings: &[Spelling<'_>]) -> (ValidCloses, Duplicates) {
    let mut rows: Vec<(i32, usize, i64)> = Vec::new();
    for (rank, &(.., symbol)) in spellings.iter().enumerate() {
        let (days, closes) = prices.closes(symbol);
        let valid = days.iter().zip(closes).filter(|&(_, &close)| close > 0);
        rows.extend(valid.map(|(&day, &close)| (day, rank, close)));
    }
    if spellings.len() > 1 {
        rows.sort_unstable();
    }
    let mut valid = ValidCloses::default();
    let mut doubled: Vec<i32> = Vec::new();
    let mut winner = 0usize;
    for (day, rank, close) in rows {
        if valid.days.last() == Some(&day) {
            valid.closes.pop();
            if doubled.last() != Some(&day) {
                doubled.push(day);
            }
            if doubled.len() == 1 {
                winner = rank;
            }
        } else {
            valid.days.push(day);
        }
        valid.closes.push(close);
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
    fn a_mark_is_the_latest_close_and_ages() {
        let marks = marks(&[("A", 3, 300), ("A", 5, 500)], &[2, 3, 4, 8], 2).unwrap();
        let symbol = marks.find(b" a ").unwrap();
        assert_eq!(symbol.mark(), [0, 300, 300, 500]);
        assert_eq!(symbol.small(1..3), Some(&[300, 300][..]));
        assert_eq!(symbol.as_of(Day(4)), Some((300, Day(3))));
        assert_eq!(symbol.as_of(Day(2)), None);
        // from the first close on: day 4 is one day behind, day 8 three
        let aged = [(2, false), (3, true)].map(|(session, stale)| AgedMark { session, stale });
        assert_eq!(symbol.aged(1, 4), aged);
        assert_eq!(symbol.aged(3, 4), &aged[1..]);
        assert_eq!(symbol.aged(1, 2), []);
    }

    #[test]
    fn marks_are_small_if_all_of_them_fit_32_bits() {
        let most = i64::from(u32::MAX);
        let marks = marks(
            &[("A", 3, most), ("B", 3, most), ("B", 4, most + 1)],
            &[3, 4],
            10,
        );
        let marks = marks.unwrap();
        assert_eq!(
            marks.find(b"A").unwrap().small(0..2),
            Some(&[u32::MAX; 2][..])
        );
        assert_eq!(marks.find(b"B").unwrap().small(0..1), None);
    }

    #[test]
    fn a_close_before_the_start_of_a_lot_is_none_of_its_marks() {
        let marks = marks(&[("A", 3, 300), ("A", 5, 500)], &[3, 4, 5], 10).unwrap();
        let symbol = marks.find(b"A").unwrap();
        assert_eq!(symbol.first_priced_since(Day(3), 0), 0);
        assert_eq!(symbol.first_priced_since(Day(4), 1), 2);
        assert_eq!(symbol.first_priced_since(Day(6), 0), 3);
    }

    #[test]
    fn closes_of_0_or_below_are_as_if_not_there_but_told() {
        let closes = [
            ("A", 3, 300),
            ("A", 4, 0),
            ("B", 3, -1),
            ("B", 5, -1),
            ("C", 9, -1),
        ];
        let marks = marks(&closes, &[3, 4], 10).unwrap();
        let refused = |session, close| RefusedClose {
            session,
            close: Some(close),
        };
        let a = marks.find(b"A").unwrap();
        assert_eq!(a.mark(), [300, 300]);
        assert_eq!(a.refused(0, 2), [refused(1, 0)]);
        assert_eq!(a.refused(0, 1), []);
        let b = marks.find(b"B").unwrap();
        assert_eq!((b.mark(), b.as_of(Day(9))), (&[0, 0][..], None));
        assert_eq!(b.refused(0, 2), [refused(0, -1)]);
        assert!(marks.find(b"C").is_none());
        assert!(marks.find(b"D").is_none());
    }

    #[test]
    fn of_spellings_of_one_symbol_the_highest_counts() {
        let closes = [
            ("b", 3, 5),
            (" b", 3, 6),
            ("B", 3, 4),
            ("B", 4, 7),
            ("b ", 4, 8),
        ];
        let marks = marks(&closes, &[3, 4], 10).unwrap();
        assert_eq!(marks.find(b"B").unwrap().mark(), [5, 8]);
        let issues: Vec<_> = marks
            .issues()
            .iter()
            .map(|issue| {
                (
                    issue.kind,
                    issue.symbol.as_deref(),
                    issue.day,
                    &*issue.detail,
                )
            })
            .collect();
        let expected = "2 dates; b counts on the first";
        assert_eq!(
            issues,
            [(IssueKind::DuplicatePrice, Some("B"), Some(Day(3)), expected)]
        );
    }

    #[test]
    fn issues_are_sorted_whatever_the_order_of_symbols() {
        let closes = [("b", 1, 1), ("B", 1, 1), ("a", 1, 1), ("A", 1, 1)];
        let marks = marks(&closes, &[1], 10).unwrap();
        let symbols: Vec<_> = marks.issues().iter().map(|i| i.symbol.as_deref()).collect();
        assert_eq!(symbols, [Some("A"), Some("B")]);
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
