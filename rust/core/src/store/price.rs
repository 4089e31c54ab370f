//! Closes by symbol as stored and day, with as-of lookup.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::fixed::State;
use crate::frame::{Days, Decimals, Texts, frame, index};
use crate::ids::{Day, SymbolId};
use crate::text::{Intern, Table};

/// Every close that is finite and representable, 0 and negative ones too: the policy decides which
/// of them are prices.
#[derive(Debug, Clone)]
pub struct PriceStore {
    symbols: Intern,
    /// Closes of symbol `i` are `starts[i]..starts[i + 1]`, ascending by day.
    starts: Vec<usize>,
    days: Vec<i32>,
    closes: Vec<i64>,
    /// Symbol and day of closes that are not representable, ascending.
    unreadable: Vec<(u32, i32)>,
    scale: u32,
}

frame! {
    /// The columns that a store is built from.
    PriceColumns<'a> "prices" {
        /// Symbol of each row, as stored.
        symbol: Texts<'a>,
        /// Date of each row.
        day: Days<'a>,
        /// Close of each row.
        close: Decimals<'a>,
    }
}

impl PriceStore {
    /// Returns the store of all rows whose symbol, day and close have a value.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the columns differ in length; [`Error::Duplicate`] if a symbol has two
    /// rows of one day; [`Error::Cancelled`] once `cancel` is raised.
    pub fn from_columns(columns: &PriceColumns<'_>, cancel: &AtomicBool) -> Result<Self> {
        columns.check()?;
        let PriceColumns { symbol, day, close } = columns;
        let rows = 0..symbol.len();
        let dated = |row: usize| Some((symbol.get(row).ok()?, day.get(row).ok()?));
        let valued = |row: usize| {
            let (code, day) = dated(row)?;
            Some((code, day, close.get(row).ok()?))
        };
        let unreadable = rows
            .clone()
            .filter(|&row| close.get(row) == Err(State::NotRepresentable));
        let mut unreadable: Vec<_> = unreadable
            .filter_map(dated)
            .map(|(code, day)| (code, day.0))
            .collect();
        unreadable.sort_unstable();
        unreadable.dedup();
        not_raised(cancel)?;
        let mut groups = vec![Vec::new(); symbol.table().len()];
        for (code, day, close) in rows.clone().filter_map(valued) {
            if let Some(group) = groups.get_mut(index(code)) {
                group.push((day.0, close));
            }
        }
        not_raised(cancel)?;
        let mut starts = vec![0];
        let (mut days, mut closes) = (Vec::new(), Vec::new());
        for mut group in groups {
            group.sort_unstable_by_key(|&(day, _)| day);
            if !group.is_sorted_by(|(one, _), (next, _)| one < next) {
                return Err(duplicate(symbol, rows.map(valued)));
            }
            for (day, close) in group {
                days.push(day);
                closes.push(close);
            }
            starts.push(days.len());
        }
        Ok(Self {
            symbols: Intern::of(symbol.table()),
            starts,
            days,
            closes,
            unreadable,
            scale: close.scale(),
        })
    }

    /// Returns the symbols as stored.
    pub fn symbols(&self) -> &Table {
        self.symbols.table()
    }

    /// Returns the row of a symbol, spelt as stored.
    pub fn find(&self, symbol: &[u8]) -> Option<SymbolId> {
        self.symbols.find(symbol).map(SymbolId)
    }

    /// Returns the days and closes of a symbol, ascending by day.
    pub fn closes(&self, symbol: SymbolId) -> (&[i32], &[i64]) {
        let starts = self.starts.get(index(symbol.0)..).unwrap_or_default();
        let &[from, to, ..] = starts else {
            return (&[], &[]);
        };
        (
            self.days.get(from..to).unwrap_or_default(),
            self.closes.get(from..to).unwrap_or_default(),
        )
    }

    /// Returns the days and closes of a symbol, spelt as stored, ascending by day.
    pub fn closes_of(&self, symbol: &[u8]) -> (&[i32], &[i64]) {
        self.find(symbol)
            .map(|id| self.closes(id))
            .unwrap_or_default()
    }

    /// Returns the row of a symbol and the days, ascending, of its closes that are not
    /// representable.
    pub fn unreadable(&self, symbol: SymbolId) -> &[(u32, i32)] {
        let from = self
            .unreadable
            .partition_point(|&(code, _)| code < symbol.0);
        let rest = self.unreadable.get(from..).unwrap_or_default();
        rest.get(..rest.partition_point(|&(code, _)| code == symbol.0))
            .unwrap_or_default()
    }

    /// Returns the close of a symbol on `day` itself.
    pub fn on(&self, symbol: SymbolId, day: Day) -> Option<i64> {
        let (days, closes) = self.closes(symbol);
        closes.get(days.binary_search(&day.0).ok()?).copied()
    }

    /// Returns the close at a position among all closes, by symbol and day.
    pub(super) fn close_at(&self, position: usize) -> Option<i64> {
        self.closes.get(position).copied()
    }

    /// Returns the latest close of a symbol on a day of `[day - lookback_days, day]`, with its own
    /// day; never a later one.
    pub fn as_of(&self, symbol: SymbolId, day: Day, lookback_days: u32) -> Option<(i64, Day)> {
        let (days, closes) = self.closes(symbol);
        let (close, found) = as_of(days, closes, day)?;
        (day.since(found) <= i64::from(lookback_days)).then_some((close, found))
    }

    /// Returns the decimals of the closes.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// Returns the number of closes.
    pub fn len(&self) -> usize {
        self.closes.len()
    }

    /// Returns whether there is no close.
    pub fn is_empty(&self) -> bool {
        self.closes.is_empty()
    }

    /// Returns the bytes that the store takes.
    pub fn size_bytes(&self) -> usize {
        size_of_val(self.starts.as_slice())
            .saturating_add(size_of_val(self.days.as_slice()))
            .saturating_add(size_of_val(self.closes.as_slice()))
            .saturating_add(self.symbols.size_bytes())
    }
}

/// Number of closes at the end that are searched one by one.
const LATEST: usize = 3;

/// Returns the last of `closes` whose day is not after `day`, with its day.
///
/// That is mostly one of the latest: a nightly run needs the session before the last.
pub fn as_of(days: &[i32], closes: &[i64], day: Day) -> Option<(i64, Day)> {
    let (earlier, latest) = days.split_at(days.len().saturating_sub(LATEST));
    let last = match latest.iter().rposition(|&d| d <= day.0) {
        Some(at) => earlier.len().saturating_add(at),
        None => earlier.partition_point(|&d| d <= day.0).checked_sub(1)?,
    };
    Some((*closes.get(last)?, Day(*days.get(last)?)))
}

/// Returns an error once a flag is raised.
///
/// # Errors
///
/// [`Error::Cancelled`].
pub(crate) fn not_raised(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    Ok(())
}

fn duplicate(symbol: &Texts<'_>, rows: impl Iterator<Item = Option<(u32, Day, i64)>>) -> Error {
    let mut seen = hashbrown::HashMap::new();
    let found = rows.enumerate().find_map(|(row, valued)| {
        let (code, day, _) = valued?;
        let first = seen.insert((symbol.table().bytes(code), day), row)?;
        Some((row, first))
    });
    let (row, first) = found.unwrap_or_default();
    Error::Duplicate {
        column: "prices.symbol",
        row,
        first,
    }
}
