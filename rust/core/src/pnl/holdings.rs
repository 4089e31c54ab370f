//! The lots held on some sessions with their values (S9) as floats, for the analytics.

use core::num::NonZeroUsize;
use core::ops::Range;
use core::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::fixed::{Wide, Width};
use crate::float::Floats;
use crate::ids::Day;
use crate::pnl::batches::{batches, in_batches};
use crate::pnl::book::{LotBook, PortfolioLots};
use crate::pnl::inputs::Inputs;
use crate::pnl::lot::Lot;
use crate::pnl::value::Valuer;

/// Lots held on at least one of some sessions, by portfolio in input order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holdings {
    /// Row of the portfolio in `Opening`, ascending.
    pub portfolio: Vec<i32>,
    /// Row of the position.
    pub position: Vec<i32>,
    /// Code of its symbol.
    pub symbol: Vec<u32>,
    /// Kind of the lot: 0 a public stock, 1 a public option, 2 anything PRIVATE.
    pub kind: Vec<u8>,
    /// Value in dollars, signed, session by session for each lot; 0 where it is not held.
    pub value: Vec<f64>,
    /// Whether it is held, likewise.
    pub held: Vec<bool>,
}

impl Holdings {
    /// Returns the number of lots.
    pub fn len(&self) -> usize {
        self.portfolio.len()
    }

    /// Returns whether there are no lots.
    pub fn is_empty(&self) -> bool {
        self.portfolio.is_empty()
    }

    fn reserve(&mut self, lots: usize, cells: usize) {
        self.portfolio.reserve_exact(lots);
        self.position.reserve_exact(lots);
        self.symbol.reserve_exact(lots);
        self.kind.reserve_exact(lots);
        self.value.reserve_exact(cells);
        self.held.reserve_exact(cells);
    }

    fn append(&mut self, mut later: Self) {
        self.portfolio.append(&mut later.portfolio);
        self.position.append(&mut later.position);
        self.symbol.append(&mut later.symbol);
        self.kind.append(&mut later.kind);
        self.value.append(&mut later.value);
        self.held.append(&mut later.held);
    }
}

/// Returns the lots of the portfolios of `inputs.opening` that are held on at least one of `days`.
///
/// A lot is held on the days of `[first_day, last_day]` of its portfolio only. Within a portfolio
/// lots are ordered by the bytes of the position's id, those of its events before the remaining
/// one, by day, quantity and realized amount: neither the order of rows nor the number of threads
/// matters (S11). Source: semantics.md, S3, S4 and S9.
///
/// # Errors
///
/// [`crate::error::Error::Value`] unless `days` ascend and are sessions of `marks`; [`Error::Length`] or
/// [`Error::Duplicate`] for frames that contradict themselves; [`Error::Cancelled`] once `cancel` is
/// raised.
///
/// [`Error::Length`]: crate::error::Error::Length
/// [`Error::Duplicate`]: crate::error::Error::Duplicate
/// [`Error::Cancelled`]: crate::error::Error::Cancelled
pub fn hold(
    inputs: &Inputs<'_>,
    days: &[i32],
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<Holdings> {
    inputs.marks.indices(days)?;
    let (book, opening) = (LotBook::of(inputs)?, &inputs.opening);
    let own = Valuer::of(&book.scales(0));
    let valuers = [own, own.converting(inputs.rates)];
    let query = HoldingsQuery {
        days,
        valuers: valuers.map(|valuer| (valuer, Floats::of_scale(valuer.scale()))),
        book,
    };
    let batches = batches(opening.portfolio_id.len());
    let done = in_batches(
        batches.map(|portfolios| (portfolios, Holdings::default())),
        threads,
        cancel,
        |at, lots, holdings| query.append(at, opening.span(at, days), lots, holdings),
    )?;
    let mut holdings = Holdings::default();
    holdings.reserve(
        done.iter().map(Holdings::len).sum(),
        done.iter().map(|part| part.value.len()).sum(),
    );
    for later in done {
        holdings.append(later);
    }
    Ok(holdings)
}

struct HoldingsQuery<'a> {
    days: &'a [i32],
    /// For lots in the currency of the portfolio, and in others.
    valuers: [(Valuer, Floats); 2],
    book: LotBook<'a>,
}

impl<'a> HoldingsQuery<'a> {
    fn append(
        &self,
        at: usize,
        span: Range<usize>,
        gathered: &mut PortfolioLots<'a>,
        holdings: &mut Holdings,
    ) {
        if span.is_empty() {
            return;
        }
        self.book.gather(at, gathered);
        self.book.sort(&mut gathered.lots);
        let number = i32::try_from(at).unwrap_or(i32::MAX);
        for lot in &gathered.lots {
            let held = lot.held(self.days);
            let held = held.start.max(span.start)..held.end.min(span.end);
            if held.is_empty() {
                continue;
            }
            holdings.portfolio.push(number);
            let position = i32::try_from(lot.position).unwrap_or(i32::MAX);
            holdings.position.push(position);
            let symbol = self.book.book.symbol_code(lot.position);
            holdings.symbol.push(symbol);
            holdings.kind.push(lot.kind().byte());
            let cells = holdings.value.len();
            let beyond = cells.saturating_add(self.days.len());
            holdings.value.resize(beyond, 0.0);
            holdings.held.resize(beyond, false);
            let values = holdings.value.get_mut(cells..).unwrap_or_default();
            let holds = holdings.held.get_mut(cells..).unwrap_or_default();
            let own = self.days.get(held.clone()).unwrap_or_default();
            holds.get_mut(held.clone()).unwrap_or_default().fill(true);
            let values = values.get_mut(held).unwrap_or_default();
            self.value(lot, own, values);
        }
    }

    /// Sets the values of a lot on `days`, on which it is held (S9).
    ///
    /// Those in another currency are converted (C6), 0 where there is no rate, as the portfolio has
    /// failed.
    fn value(&self, lot: &Lot<'_>, days: &[i32], values: &mut [f64]) {
        let [own, foreign] = &self.valuers;
        let (exact, floats) = if lot.rates.is_some() { foreign } else { own };
        let width = Width::of(exact.bound(core::slice::from_ref(lot)));
        for (value, &day) in values.iter_mut().zip(days) {
            let day = Day(day);
            *value = match width {
                Width::Narrow | Width::Double => floats.nearest(exact.value::<i128>(lot, day)),
                Width::Wide => floats.nearest(exact.value::<Wide>(lot, day)),
            };
        }
    }
}
