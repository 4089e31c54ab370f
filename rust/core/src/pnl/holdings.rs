//! The lots held on some sessions with their values (S9) as floats: what the analytics read.

use core::num::NonZeroUsize;
use core::ops::Range;
use core::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::fixed::{Sum, Wide};
use crate::float::Floats;
use crate::pnl::batches::{batches, in_batches};
use crate::pnl::book::{Book, Page};
use crate::pnl::inputs::{Events, Opening, Positions};
use crate::pnl::lot::{Class, Lot};
use crate::pnl::marks::{Marks, SymbolMarks};

/// Lots held on at least one of some sessions, by portfolio in input order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holdings {
    /// Row of the portfolio in `Opening`, ascending.
    pub portfolio: Vec<i32>,
    /// Row of the position.
    pub position: Vec<i32>,
    /// Code of its symbol.
    pub symbol: Vec<u32>,
    /// Byte of [`crate::pnl::lot::LotKind`].
    pub kind: Vec<u8>,
    /// Value in dollars, signed, session by session for each lot; 0 where it is not held.
    pub value: Vec<f64>,
    /// Whether it is held, likewise.
    pub held: Vec<bool>,
}

impl Holdings {
    /// Returns the number of lots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.portfolio.len()
    }

    /// Returns whether there are no lots.
    #[must_use]
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

/// Returns the lots of the portfolios of `opening` that are held on at least one of `days`.
///
/// A lot is held on the days of `[first_day, last_day]` of its portfolio only. Within a portfolio
/// lots are ordered by the bytes of the position's id, those of its events before what is left, by
/// day, quantity and realized amount: neither the order of rows nor the number of threads shows
/// (S11). Source: semantics.md, S3, S4 and S9.
///
/// # Errors
///
/// [`crate::error::Error::Value`] unless `days` ascend and are sessions of `marks`; otherwise those
/// of [`crate::pnl::run`].
pub fn hold(
    positions: Positions<'_>,
    events: Events<'_>,
    opening: &Opening<'_>,
    marks: &Marks,
    days: &[i32],
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<Holdings> {
    let asked = Asked {
        days,
        sessions: marks.indices(days)?,
        floats: LotFloats::of(&positions, &events, marks),
        book: Book::of(positions, events, opening, marks)?,
    };
    let batches = batches(opening.portfolio_id.len());
    let done = in_batches(
        batches.map(|portfolios| (portfolios, Holdings::default())),
        threads,
        cancel,
        |at, page, holdings| asked.append(at, opening.span(at, days), page, holdings),
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

/// Makes floats of the products of each scale.
struct LotFloats {
    /// Of close times quantity, by whether the quantity is an event's.
    close: [Floats; 2],
    /// Of entry price times quantity.
    entry: [Floats; 2],
    market_value: Floats,
}

impl LotFloats {
    fn of(positions: &Positions<'_>, events: &Events<'_>, marks: &Marks) -> Self {
        let quantities = [positions.quantity.scale(), events.quantity.scale()];
        let product = |price: u32| {
            quantities.map(|quantity| Floats::of_scale(price.saturating_add(quantity)))
        };
        Self {
            close: product(marks.scale()),
            entry: product(positions.entry_price.scale()),
            market_value: Floats::of_scale(positions.market_value.scale()),
        }
    }
}

fn pick([position, event]: [Floats; 2], lot: &Lot<'_>) -> Floats {
    if lot.of_event { event } else { position }
}

struct Asked<'a> {
    days: &'a [i32],
    /// Indices of the days among the sessions of the marks.
    sessions: Vec<usize>,
    floats: LotFloats,
    book: Book<'a>,
}

impl<'a> Asked<'a> {
    fn append(&self, at: usize, span: Range<usize>, page: &mut Page<'a>, holdings: &mut Holdings) {
        if span.is_empty() {
            return;
        }
        self.book.gather(at, page);
        let ids = self.book.positions().id;
        page.lots.sort_unstable_by_key(|lot| {
            let id = ids.get(lot.position).copied().unwrap_or_default();
            (id, !lot.of_event, lot.end, lot.quantity, lot.closing)
        });
        let number = i32::try_from(at).unwrap_or(i32::MAX);
        for lot in &page.lots {
            let held = lot.held(self.days);
            let held = held.start.max(span.start)..held.end.min(span.end);
            if held.is_empty() {
                continue;
            }
            holdings.portfolio.push(number);
            let position = i32::try_from(lot.position).unwrap_or(i32::MAX);
            holdings.position.push(position);
            holdings.symbol.push(self.book.symbol_code(lot.position));
            holdings.kind.push(lot.kind().byte());
            let cells = holdings.value.len();
            let beyond = cells.saturating_add(self.days.len());
            holdings.value.resize(beyond, 0.0);
            holdings.held.resize(beyond, false);
            let (values, holds) = (
                holdings.value.get_mut(cells..).unwrap_or_default(),
                holdings.held.get_mut(cells..).unwrap_or_default(),
            );
            holds.get_mut(held.clone()).unwrap_or_default().fill(true);
            self.value(lot, held, values);
        }
    }

    /// Sets the values of a lot on the days on which it is held (S9).
    fn value(&self, lot: &Lot<'_>, held: Range<usize>, values: &mut [f64]) {
        let entry = || product(lot, lot.entry_price, pick(self.floats.entry, lot));
        let priced = match lot.class {
            Class::PrivateAt(value) => {
                let value = self.floats.market_value.of(value);
                return values.get_mut(held).unwrap_or_default().fill(value);
            }
            Class::PrivateAtEntry => held.end,
            Class::Public => lot.marks.map_or(held.end, |marks| {
                let from = self.sessions.get(held.start).copied().unwrap_or(usize::MAX);
                let first = marks.first_priced_since(lot.start, from);
                let priced = self.sessions.partition_point(|&session| session < first);
                priced.clamp(held.start, held.end)
            }),
        };
        if held.start < priced {
            let unpriced = values.get_mut(held.start..priced).unwrap_or_default();
            unpriced.fill(entry());
        }
        if let Some(marks) = lot.marks.filter(|_| priced < held.end) {
            let values = values.get_mut(priced..held.end).unwrap_or_default();
            let sessions = self.sessions.get(priced..held.end).unwrap_or_default();
            fill_marked(lot, marks, pick(self.floats.close, lot), sessions, values);
        }
    }
}

/// Sets `values` to those of a lot at the marks of `sessions`.
fn fill_marked(
    lot: &Lot<'_>,
    marks: &SymbolMarks,
    floats: Floats,
    sessions: &[usize],
    values: &mut [f64],
) {
    let units = lot.quantity.checked_mul(i64::from(lot.multiplier));
    let fits = units.filter(|units| units.checked_mul(marks.most()).is_some());
    let marked = sessions.iter().map(|&session| {
        let mark = marks.mark().get(session);
        mark.copied().unwrap_or(0)
    });
    let cells = values.iter_mut().zip(marked);
    if let Some(units) = fits {
        cells.for_each(|(value, mark)| *value = floats.of(mark.wrapping_mul(units)));
    } else {
        cells.for_each(|(value, mark)| *value = product(lot, mark, floats));
    }
}

/// Returns what a lot is worth at a price.
fn product(lot: &Lot<'_>, price: i64, floats: Floats) -> f64 {
    let narrow = price
        .checked_mul(lot.quantity)
        .and_then(|product| product.checked_mul(i64::from(lot.multiplier)));
    narrow.map_or_else(
        || {
            let units = Wide::of(lot.quantity).times(Wide::of(i64::from(lot.multiplier)));
            floats.nearest(&Wide::of(price).times(units).digits())
        },
        |narrow| floats.of(narrow),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::pnl::samples::{Closed, Held, LONG, marks, with_frames};

    const CLOSES: [i64; 3] = [1000, 1100, 1250];

    fn held_on(
        days: &[i32],
        held: &[Held],
        closed: &[Closed],
        portfolios: &[(u8, i32, i32)],
    ) -> Result<Holdings> {
        let marks = marks(CLOSES);
        let never = AtomicBool::new(false);
        with_frames(held, closed, portfolios, |positions, events, opening| {
            hold(
                positions,
                events,
                opening,
                &marks,
                days,
                NonZeroUsize::MIN,
                &never,
            )
        })
    }

    fn one(days: &[i32], held: Held) -> Holdings {
        held_on(days, &[held], &[], &[(1, i32::MIN, i32::MAX)]).unwrap()
    }

    #[test]
    fn a_lot_is_worth_its_mark_while_it_is_held() {
        // 3 at 10.00, 11.00, 11.00 (none on day 7), and sold on day 8
        let sold = Held {
            exit_day: Some(8),
            ..LONG
        };
        let holdings = one(&[5, 6, 7, 8], sold);
        assert_eq!(holdings.value, [30.0, 33.0, 33.0, 0.0]);
        assert_eq!(holdings.held, [true, true, true, false]);
        assert_eq!((holdings.portfolio, holdings.position), (vec![0], vec![0]));
        assert_eq!((holdings.symbol, holdings.kind), (vec![0], vec![0]));
        assert!(one(&[8], sold).is_empty());
    }

    #[test]
    fn options_count_a_hundredfold_and_shorts_are_negative() {
        let written = Held {
            kind: "SC",
            quantity: -2,
            ..LONG
        };
        let holdings = one(&[6, 8], written);
        // -2 * 100 * 11.00, then at 12.50
        assert_eq!(holdings.value, [-2200.0, -2500.0]);
        assert_eq!(holdings.kind, [1]);
    }

    #[test]
    fn a_lot_without_a_close_since_its_start_is_worth_its_entry_price() {
        let late = Held {
            entry_day: 7,
            ..LONG
        };
        // bought at 10.00 on day 7, first closed at 12.50 on day 8
        assert_eq!(one(&[6, 7, 8], late).value, [0.0, 30.0, 37.5]);
        let unknown = Held {
            symbol: "ZZZ",
            ..LONG
        };
        assert_eq!(one(&[5, 8], unknown).value, [30.0, 30.0]);
    }

    #[test]
    fn a_private_lot_has_its_market_value_or_that_of_its_entry() {
        let private = Held {
            private: true,
            ..LONG
        };
        let valued = Held {
            market_value: Some(-12_34),
            ..private
        };
        assert_eq!(one(&[5, 8], private).value, [30.0, 30.0]);
        assert_eq!(one(&[5, 8], valued).value, [-12.34, -12.34]);
        assert_eq!(one(&[5], valued).kind, [2]);
    }

    #[test]
    fn lots_come_by_portfolio_and_id_whatever_the_order_of_rows() {
        let second = Held { id: 2, ..LONG };
        let other = Held {
            id: 3,
            portfolio: 2,
            ..LONG
        };
        // of 3 + 2 + 1 of position 2, 1 is sold on day 7 and 2 on day 6
        let closed = [(2, 7, 1), (2, 6, 2)];
        let whole = (i32::MIN, i32::MAX);
        let asked = [(2, whole.0, whole.1), (1, whole.0, whole.1)];
        let rows = [second, other, LONG];
        let holdings = held_on(&[5, 6], &rows, &closed, &asked).unwrap();
        assert_eq!(holdings.portfolio, [0, 1, 1, 1, 1]);
        assert_eq!(holdings.position, [1, 2, 0, 0, 0]);
        let values = [
            [30.0, 33.0],
            [30.0, 33.0],
            [20.0, 0.0],
            [10.0, 11.0],
            [30.0, 33.0],
        ];
        assert_eq!(holdings.value, values.concat());

        let turned: Vec<_> = rows.into_iter().rev().collect();
        let again = held_on(&[5, 6], &turned, &[closed[1], closed[0]], &asked).unwrap();
        assert_eq!(again.value, holdings.value);
        assert_eq!(again.position, [1, 0, 2, 2, 2]);
    }

    #[test]
    fn a_portfolio_counts_on_its_own_days_only() {
        let holdings = held_on(&[5, 6, 8], &[LONG], &[], &[(1, 6, 7)]).unwrap();
        assert_eq!(holdings.held, [false, true, false]);
        assert_eq!(holdings.value, [0.0, 33.0, 0.0]);
        assert!(
            held_on(&[5, 8], &[LONG], &[], &[(1, 6, 7)])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_value_beyond_64_bits_is_the_nearest_float() {
        let most = i64::MAX;
        let huge = Held {
            kind: "LC",
            quantity: most,
            entry_price: most,
            symbol: "ZZZ",
            ..LONG
        };
        // (2^63 - 1)^2 * 100 units of 0.01
        assert_eq!(one(&[5], huge).value, [2f64.powi(126)]);
        let marked = Held {
            symbol: "AAA",
            ..huge
        };
        // (2^63 - 1) * 100 at 10.00
        assert_eq!(one(&[5], marked).value, [2f64.powi(63) * 1000.0]);
    }

    #[test]
    fn days_are_sessions_in_ascending_order() {
        let refused = |days: &[i32]| held_on(days, &[LONG], &[], &[]).unwrap_err();
        let column = "sessions";
        let error = Error::Value {
            column,
            row: 1,
            expected: "a session of the market",
        };
        assert_eq!(refused(&[5, 9]), error);
        let error = Error::Value {
            column,
            row: 1,
            expected: "days in ascending order",
        };
        assert_eq!(refused(&[6, 5]), error);
        assert!(held_on(&[], &[LONG], &[], &[(1, 5, 8)]).unwrap().is_empty());
    }
}
