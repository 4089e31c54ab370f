//! What is left of each public position on one session, at its mark: exact, to be stored.

use core::num::NonZeroUsize;
use core::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::fixed::{CENTS, Sum, Wide, Width};
use crate::ids::{Day, PortfolioId};
use crate::pnl::batches::{batches, in_batches};
use crate::pnl::book::{Book, Page};
use crate::pnl::inputs::{Events, Opening, Positions};
use crate::pnl::issue::{Issue, IssueKind};
use crate::pnl::lot::{Class, Lot};
use crate::pnl::marks::Marks;
use crate::pnl::value::{Units, amount, bound, earned_at, fitting, mark};

/// Values of positions, by portfolio in input order, then by the bytes of the position's id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionValues {
    /// Row of the position.
    pub position: Vec<i32>,
    /// Mark, in the scale of the closes.
    pub last_price: Vec<i64>,
    /// `r2(mark * q * m)` in cents.
    pub market_value: Vec<i64>,
    /// `r2((mark - c) * q * m)` in cents.
    pub unrealized: Vec<i64>,
    /// Values that do not fit, sorted.
    pub issues: Vec<Issue>,
}

impl PositionValues {
    fn append(&mut self, mut later: Self) {
        self.position.append(&mut later.position);
        self.last_price.append(&mut later.last_price);
        self.market_value.append(&mut later.market_value);
        self.unrealized.append(&mut later.unrealized);
        self.issues.append(&mut later.issues);
    }
}

/// Returns the values, on session `day`, of the public positions of the portfolios of `opening`
/// whose lot of what is left is held then and has a valid close since its start (S4).
///
/// Portfolios whose `[first_day, last_day]` lacks `day` have none. A position with a value that
/// does not fit numeric(16, 2) is left out, with an issue.
///
/// # Errors
///
/// [`crate::error::Error::Value`] unless `day` is a session of `marks`; otherwise those of
/// [`crate::pnl::run`].
pub fn value_positions(
    positions: Positions<'_>,
    events: Events<'_>,
    opening: &Opening<'_>,
    marks: &Marks,
    day: Day,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<PositionValues> {
    marks.indices(&[day.0])?;
    let book = Book::of(positions, events, opening, marks)?;
    let asked = Asked {
        day,
        units: Units::of(&book.scales(CENTS)),
        book,
    };
    let batches = batches(opening.portfolio_id.len());
    let done = in_batches(
        batches.map(|portfolios| (portfolios, PositionValues::default())),
        threads,
        cancel,
        |at, page, values| {
            if !opening.span(at, &[day.0]).is_empty() {
                asked.append(at, page, values);
            }
        },
    )?;
    let mut values = PositionValues::default();
    for later in done {
        values.append(later);
    }
    values.issues.sort_by(|a, b| a.key().cmp(&b.key()));
    Ok(values)
}

struct Asked<'a> {
    day: Day,
    units: Units,
    book: Book<'a>,
}

impl<'a> Asked<'a> {
    fn append(&self, at: usize, page: &mut Page<'a>, values: &mut PositionValues) {
        self.book.gather(at, page);
        page.lots.retain(|lot| {
            let held = lot.held(&[self.day.0]);
            !lot.of_event && lot.class == Class::Public && !held.is_empty()
        });
        let ids = self.book.positions().id;
        let id = |lot: &Lot<'_>| ids.get(lot.position).copied().unwrap_or_default();
        page.lots.sort_unstable_by_key(id);
        for lot in &page.lots {
            let Some(mark) = mark(lot, self.day) else {
                continue;
            };
            let exact = match Width::of(bound(core::slice::from_ref(lot), &self.units)) {
                Width::Narrow => self.rounded::<i64>(lot, mark),
                Width::Double => self.rounded::<i128>(lot, mark),
                Width::Wide => self.rounded::<Wide>(lot, mark),
            };
            match exact {
                Ok((market_value, unrealized)) => {
                    let position = i32::try_from(lot.position).unwrap_or(i32::MAX);
                    values.position.push(position);
                    values.last_price.push(mark);
                    values.market_value.push(market_value);
                    values.unrealized.push(unrealized);
                }
                Err(detail) => values.issues.push(Issue {
                    kind: IssueKind::MarketValueOutOfRange,
                    portfolio: Some(PortfolioId(u32::try_from(at).unwrap_or(u32::MAX))),
                    symbol: self.book.symbol(lot.position),
                    day: Some(self.day),
                    detail,
                }),
            }
        }
    }

    /// Returns market value and unrealized P&L in cents, or column and value of the first that
    /// does not fit.
    fn rounded<T: Sum>(
        &self,
        lot: &Lot<'_>,
        mark: i64,
    ) -> core::result::Result<(i64, i64), String> {
        let cent = T::of_factor(self.units.cent());
        let factor = self.units.close(lot);
        let value: T = amount(mark, T::of(lot.quantity), factor);
        let earned: T = earned_at(lot, mark, factor, &self.units);
        Ok((
            fitting("market_value", value.rounded(cent))?,
            fitting("unrealized_pnl", earned.rounded(cent))?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pnl::samples::{Closed, Held, LONG, marks, with_frames};

    fn valued(day: i32, closes: [i64; 3], held: &[Held], events: &[Closed]) -> PositionValues {
        let marks = marks(closes);
        let never = AtomicBool::new(false);
        let portfolios = [(1, 5, 8)];
        with_frames(held, events, &portfolios, |positions, events, opening| {
            value_positions(
                positions,
                events,
                opening,
                &marks,
                Day(day),
                NonZeroUsize::MIN,
                &never,
            )
            .unwrap()
        })
    }

    #[test]
    fn what_is_left_of_a_position_has_a_value_and_what_it_has_earned() {
        // 3 at 12.50 after 2 were sold; -4 * 100 options at 12.50 that brought 10.00
        let written = Held {
            id: 2,
            kind: "SP",
            quantity: -4,
            ..LONG
        };
        let values = valued(8, [1, 2, 1250], &[written, LONG], &[(1, 9, 2)]);
        assert_eq!(values.position, [1, 0]);
        assert_eq!(values.last_price, [1250, 1250]);
        assert_eq!(values.market_value, [3750, -500_000]);
        assert_eq!(values.unrealized, [750, -100_000]);
        assert_eq!(values.issues, []);
    }

    #[test]
    fn what_has_no_mark_of_its_own_is_left_out() {
        let private = Held {
            private: true,
            ..LONG
        };
        let sold = Held {
            exit_day: Some(7),
            ..LONG
        };
        let late = Held {
            entry_day: 7,
            ..LONG
        };
        let unknown = Held {
            symbol: "ZZZ",
            ..LONG
        };
        let nothing_left = Held {
            quantity: 0,
            ..LONG
        };
        for held in [private, sold, late, unknown, nothing_left] {
            let values = valued(7, [1000, 1100, 1200], &[held], &[(1, 9, 1)]);
            assert_eq!(values, PositionValues::default());
        }
        let values = valued(7, [1000, 1100, 1200], &[LONG], &[]);
        assert_eq!(values.last_price, [1100]);
    }

    #[test]
    fn a_value_that_does_not_fit_is_told() {
        // 10^12 at 100.00 is 10^14
        let large = Held {
            quantity: 1_000_000_000_000,
            entry_price: 0,
            ..LONG
        };
        let whole = valued(5, [10_000, 1, 1], &[large], &[]);
        assert_eq!(whole.position, []);
        let told: Vec<_> = whole
            .issues
            .iter()
            .map(|issue| (issue.kind, issue.day, &*issue.detail))
            .collect();
        let detail = "market_value = 100000000000000.00";
        let kind = IssueKind::MarketValueOutOfRange;
        assert_eq!(told, [(kind, Some(Day(5)), detail)]);
        assert_eq!(whole.issues[0].symbol.as_deref(), Some("AAA"));

        // fits at 99.99, but bought for 200.00 it has lost 10^12 * 100.01
        let bought = Held {
            entry_price: 20_000,
            ..large
        };
        let lost = valued(5, [9999, 1, 1], &[bought], &[]);
        assert_eq!(
            lost.issues[0].detail,
            "unrealized_pnl = -100010000000000.00"
        );
        let fits = valued(5, [9999, 1, 1], &[large], &[]);
        assert_eq!(fits.market_value, [9_999_000_000_000_000]);
    }

    #[test]
    fn numbers_of_any_width_are_exact() {
        let most = i64::MAX;
        let huge = Held {
            quantity: -most,
            entry_price: most,
            kind: "SC",
            ..LONG
        };
        let told = valued(5, [most, 1, 1], &[huge], &[]);
        // 2^63 - 1 contracts of 100 at (2^63 - 1) cents: (2^63 - 1)^2 dollars
        let value = "-85070591730234615847396907784232501249.00";
        let detail = told.issues[0].detail.as_str();
        assert_eq!(detail, format!("market_value = {value}"));
    }
}
