//! Exact contribution of each position to the P&L of some days (X7).

use core::num::NonZeroUsize;
use core::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::fixed::{Sum, Wide};
use crate::frame::{frame, index};
use crate::ids::Day;
use crate::pnl::batches::{batches, in_batches};
use crate::pnl::book::Book;
use crate::pnl::contributions::{Added, Contribution, Contributions, Mark};
use crate::pnl::groups::Groups;
use crate::pnl::inputs::Inputs;
use crate::pnl::legacy::holding::{Class, Holding, HoldingReader};
use crate::pnl::legacy::quotes::{Age, PREVIOUS_CLOSE_DAYS, Quotes};
use crate::pnl::lot::LotKind;
use crate::pnl::value::{Scales, Valuer};
use crate::significant::Significant;
use crate::store::PriceStore;
use crate::store::price::as_of;

frame! {
    /// Days with a row, by portfolio and day.
    ComputedDays<'a> "days" {
        /// Row of the portfolio in `Opening`, ascending.
        portfolio: &'a [i32],
        /// Ascending within a portfolio.
        day: &'a [i32],
        /// Whether there was a row before it: without one positions earn nothing (L11).
        earns: &'a [bool],
    }
}

/// Decimals of values: those of the shortest text of any float of at least 10^-8.
const VALUE_SCALE: u32 = 24;

/// Returns the contribution of each position to the P&L of its portfolio over some days.
///
/// Positions are listed that are active on the last day of their portfolio, or earned or realized
/// something on any day; ordered within a portfolio by the bytes of their id. Source: X7 of
/// semantics.md.
///
/// # Errors
///
/// [`Error::Value`] for days that do not ascend;
/// [`Error::Length`] or [`Error::Duplicate`] for frames that contradict themselves;
/// [`Error::Cancelled`] once `cancel` is raised.
pub fn contributions<'a>(
    inputs: &Inputs<'a>,
    prices: &PriceStore,
    days: &ComputedDays<'a>,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<Contributions> {
    days.check()?;
    days.check_order()?;
    let book = Book::of(inputs)?;
    let positions = &book.frames.positions;
    let mut sessions = days.day.to_vec();
    sessions.sort_unstable();
    sessions.dedup();
    let symbols = positions.symbol.table();
    let quotes = Quotes::of(symbols, prices, None, &sessions, 0);
    let valuer = Valuer::of(&Scales {
        close: quotes.scale(),
        quantity: positions.quantity.scale(),
        realized: book.frames.events.realized.scale(),
        ..Scales::default()
    });
    let query = Query {
        closes: symbols
            .iter()
            .map(|symbol| Closes {
                exact: prices.closes_of(symbol),
                upper: prices.closes_of(&symbol.to_ascii_uppercase()),
            })
            .collect(),
        reader: HoldingReader::of(positions),
        days,
        sessions,
        quotes,
        valuer,
        by_position: book.events_by_position()?,
        book,
    };
    let batches = batches(inputs.opening.portfolio_id.len());
    let batches = batches.map(|portfolios| (portfolios, Vec::new()));
    let done = in_batches(batches, threads, cancel, |at, rows, found| {
        query.append(at, rows, found);
    })?;
    Ok(Contributions {
        lots: done.into_iter().flatten().collect(),
        price_scale: query.quotes.scale(),
        quantity_scale: inputs.book.positions.quantity.scale(),
        scale: query.valuer.scale(),
        value_scale: VALUE_SCALE,
        rate_scale: 0,
    })
}

impl ComputedDays<'_> {
    fn check_order(&self) -> Result<()> {
        let keys = || self.portfolio.iter().zip(self.day);
        let next = keys().skip(1);
        match keys().zip(next).position(|(key, next)| key >= next) {
            None => Ok(()),
            Some(row) => Err(Error::Value {
                column: "days.day",
                row: row.saturating_add(1),
                expected: "days that ascend by portfolio",
            }),
        }
    }
}

/// Closes of one symbol: days and mantissas.
struct Closes<'a> {
    /// Under the spelling of the position (L10).
    exact: (&'a [i32], &'a [i64]),
    /// Under the upper-case spelling (L12).
    upper: (&'a [i32], &'a [i64]),
}

struct Query<'a> {
    book: Book<'a>,
    days: &'a ComputedDays<'a>,
    /// The distinct days.
    sessions: Vec<i32>,
    quotes: Quotes,
    /// By code of the symbol.
    closes: Vec<Closes<'a>>,
    reader: HoldingReader,
    valuer: Valuer,
    by_position: Groups,
}

/// The days of one portfolio, at least one.
struct Own<'a> {
    days: &'a [i32],
    earns: &'a [bool],
    first: Day,
    last: Day,
}

impl Query<'_> {
    fn append(&self, at: usize, rows: &mut Vec<usize>, found: &mut Vec<Contribution>) {
        let portfolio = i32::try_from(at).unwrap_or(i32::MAX);
        let from = self.days.portfolio.partition_point(|&p| p < portfolio);
        let to = self.days.portfolio.partition_point(|&p| p <= portfolio);
        let days = self.days.day.get(from..to).unwrap_or_default();
        let earns = self.days.earns.get(from..to).unwrap_or_default();
        let (Some(&first), Some(&last)) = (days.first(), days.last()) else {
            return;
        };
        let own = Own {
            days,
            earns,
            first: Day(first),
            last: Day(last),
        };
        rows.clear();
        rows.extend(self.book.rows(at));
        let ids = self.book.frames.positions.id;
        rows.sort_unstable_by_key(|&row| ids.get(row));
        let mut faults = Vec::new();
        let positions = &self.book.frames.positions;
        for &row in rows.iter() {
            let holding = if positions.deleted.get(row) == Some(&true) {
                Some(self.reader.bare(row, positions))
            } else {
                self.reader.holding(row, positions, &mut faults)
            };
            let added = holding.and_then(|holding| self.added(&holding, &own));
            found.extend(added.map(|added| Contribution { portfolio, ..added }));
        }
    }

    fn added(&self, holding: &Holding, own: &Own<'_>) -> Option<Contribution> {
        let row = holding.position;
        let (realized, has_realized) = self.realized(row, own);
        let (change, has_earned) = self.changes(holding, own);
        let holds = holding.entry.is_some_and(|entry| entry <= own.last)
            && holding.exit.is_none_or(|exit| exit > own.last);
        if !(holds || has_realized || has_earned) {
            return None;
        }
        let units: Wide = self.valuer.close_units(holding.size());
        let value = if holds {
            self.value(holding, own.last)
        } else {
            None
        };
        let (before, after) = if holding.earns() {
            self.marks(holding, own)
        } else {
            (None, None)
        };
        Some(Contribution {
            portfolio: 0,
            position: i32::try_from(row).unwrap_or(i32::MAX),
            kind: match (holding.earns(), holding.is_stock, holding.class) {
                (false, ..) => LotKind::Private,
                (_, false, _) | (.., Class::Options) => LotKind::Option,
                _ => LotKind::Stock,
            }
            .byte(),
            quantity: i128::from(holding.quantity),
            multiplier: holding.multiplier,
            before,
            after,
            added: Some(Added::at_home(change.times(units), realized)),
            value,
        })
    }

    /// Returns the amount that the events of a position realized on the days, and whether there was
    /// any (L17).
    fn realized(&self, row: usize, own: &Own<'_>) -> (Wide, bool) {
        let events = &self.book.frames.events;
        let mut sum = Wide::ZERO;
        for &event in self.by_position.get(row) {
            let event = index(event);
            if let Ok(day) = events.day.get(event)
                && let Ok(amount) = events.realized.get(event)
                && own.days.binary_search(&day.0).is_ok()
            {
                sum = sum.plus(Wide::of(amount));
            }
        }
        (self.valuer.realized(sum), sum != Wide::ZERO)
    }

    /// Returns the amount that a unit of a position earned over the days, and whether any day had
    /// one (L8 to L12).
    fn changes(&self, holding: &Holding, own: &Own<'_>) -> (Wide, bool) {
        let (Some(entry), Some(quote), true) = (
            holding.entry,
            self.quotes.get(index(holding.symbol)),
            holding.earns() && holding.quantity != 0,
        ) else {
            return (Wide::ZERO, false);
        };
        let (mut sum, mut is_any) = (Wide::ZERO, false);
        for (&day, &earns) in own.days.iter().zip(own.earns) {
            if Day(day) < entry || !earns {
                continue;
            }
            let place = self.sessions.binary_search(&day).unwrap_or(usize::MAX);
            let change = quote.changes.get(place).copied().unwrap_or(0);
            is_any |= change != 0;
            sum = sum.plus(Wide::of_signed(change));
        }
        (sum, is_any)
    }

    /// Returns the value of an active position (L26 to L28); nothing without a price.
    fn value(&self, holding: &Holding, day: Day) -> Option<Wide> {
        let quote = self.quotes.get(index(holding.symbol))?;
        let place = self.sessions.binary_search(&day.0).ok()?;
        let price = if *quote.ages.get(place)? != Age::Unpriced {
            *quote.prices.get(place)?
        } else if holding.class == Class::Private && self.has_fallback(holding.position) {
            holding.fallback
        } else {
            return None;
        };
        let value = holding.size().dollars(holding.shares, price);
        Significant::shortest(value)?.half_away(VALUE_SCALE)
    }

    /// Returns whether a PRIVATE position has a price where there is no close (L27).
    fn has_fallback(&self, row: usize) -> bool {
        let positions = &self.book.frames.positions;
        positions.entry_price.get(row).is_ok()
            || positions.market_value.get(row).is_ok_and(|value| value > 0)
    }

    /// Returns the close from which the first day is measured, and that of the last (L12, L10).
    fn marks(&self, holding: &Holding, own: &Own<'_>) -> (Option<Mark>, Option<Mark>) {
        let Some(closes) = self.closes.get(index(holding.symbol)) else {
            return (None, None);
        };
        let mark = |(close, day): (i64, Day), status| Mark {
            price: close.into(),
            day: Some(day),
            status,
            rate: Some(Wide::of(1)),
        };
        let (days, values) = closes.upper;
        let eve = Day(own.first.0.saturating_sub(1));
        let before = as_of(days, values, eve)
            .filter(|&(_, found)| own.first.since(found) <= PREVIOUS_CLOSE_DAYS);
        let (days, values) = closes.exact;
        let after =
            as_of(days, values, own.last).filter(|&(close, found)| found == own.last && close > 0);
        (
            before.map(|found| mark(found, 1)),
            after.map(|found| mark(found, 0)),
        )
    }
}
