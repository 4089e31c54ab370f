//! Returns of stored sessions, compounded over periods, in decimals of 28 digits (W1, W2, W4).

use core::cmp::Ordering;
use core::num::NonZero;
use core::sync::atomic::{AtomicBool, Ordering as Order};

use crate::digits28::Digits28;
use crate::error::{Error, Result};
use crate::fixed::State;

/// Sessions of portfolios: the rows of one portfolio are consecutive, ordered by date.
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    /// P&L of each, in the units of `basis`.
    pub pnl: &'a [i64],
    /// Amount that the return is a part of; not above 0 where the session has no return.
    pub basis: &'a [i64],
}

/// A period: the first row whose return counts, and the last. The row before the first is where the
/// period begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first row.
    pub first: usize,
    /// The last row.
    pub last: usize,
}

/// The largest fall of the index from a peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    /// Trough divided by peak, less 1.
    pub depth: Digits28,
    /// The row of the peak: the last one before the fall.
    pub peak: usize,
    /// The row of the trough: the first of the lowest value.
    pub trough: usize,
    /// The first row from then on that is not below the peak.
    pub recovered: Option<usize>,
}

/// The compounded result of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compounded {
    /// Product of 1 + return, less 1.
    pub total: Digits28,
    /// The largest fall; nothing where the index never falls.
    pub fall: Option<Fall>,
    /// The index at the end divided by its highest value, less 1.
    pub current: Digits28,
    /// The highest return, and its first row.
    pub best: (Digits28, usize),
    /// The lowest return, and its first row.
    pub worst: (Digits28, usize),
    /// Sessions whose return is above 0.
    pub gains: usize,
}

/// Returns the compounded result of each period, or its first row without a return.
///
/// A period without rows, or beyond them, has no result: its first row counts as without a return.
///
/// # Errors
///
/// [`Error::Cancelled`] once `cancel` is raised, [`Error::Length`] of columns of different lengths.
pub fn compounded(
    sessions: Sessions<'_>,
    periods: impl Iterator<Item = Period>,
    cancel: &AtomicBool,
) -> Result<Vec<core::result::Result<Compounded, usize>>> {
    if sessions.pnl.len() != sessions.basis.len() {
        return Err(Error::Length {
            column: "basis",
            expected: sessions.pnl.len(),
            actual: sessions.basis.len(),
        });
    }
    let returns: Vec<Option<Digits28>> = sessions
        .pnl
        .iter()
        .zip(sessions.basis)
        .map(|(&pnl, &basis)| session_return(pnl, basis))
        .collect();
    periods
        .map(|period| {
            if cancel.load(Order::Relaxed) {
                return Err(Error::Cancelled);
            }
            Ok(of_period(&returns, period))
        })
        .collect()
}

/// Returns `pnl / basis`; nothing if the basis is not above 0 (W1).
#[must_use]
pub fn session_return(pnl: i64, basis: i64) -> Option<Digits28> {
    let basis = u64::try_from(basis).ok().and_then(NonZero::new)?;
    Some(Digits28::quotient(pnl, basis))
}

fn of_period(
    returns: &[Option<Digits28>],
    period: Period,
) -> core::result::Result<Compounded, usize> {
    let Period { first, last } = period;
    let rows = returns.get(first..=last).unwrap_or_default();
    let (mut index, mut peak) = (Digits28::ONE, Digits28::ONE);
    let mut peak_row = first.saturating_sub(1);
    let mut lowest: Option<Lowest> = None;
    let (mut best, mut worst) = (None, None);
    let mut gains = 0;
    for (row, value) in (first..).zip(rows) {
        let Some(value) = *value else {
            return Err(row);
        };
        gains += usize::from(value.is_positive());
        best = beyond(best, value, row, Ordering::Greater);
        worst = beyond(worst, value, row, Ordering::Less);
        let before = index;
        index = index.times(value.plus_one());
        if index.compare(peak) != Ordering::Less {
            (peak, peak_row) = (index, row);
        } else if index.compare(before) == Ordering::Less
            && lowest.is_none_or(|known| known.is_above(index, peak))
        {
            lowest = Some(Lowest {
                trough: index,
                peak,
                rows: (peak_row, row),
                recovered: None,
            });
        }
        if let Some(known) = &mut lowest
            && known.recovered.is_none()
            && index.compare(known.peak) != Ordering::Less
        {
            known.recovered = Some(row);
        }
    }
    let (Some(best), Some(worst)) = (best, worst) else {
        return Err(first);
    };
    let share =
        |of: Digits28, by: Digits28| of.over(by).map_or(Digits28::ZERO, Digits28::minus_one);
    Ok(Compounded {
        total: index.minus_one(),
        fall: lowest.map(|known| Fall {
            depth: share(known.trough, known.peak),
            peak: known.rows.0,
            trough: known.rows.1,
            recovered: known.recovered,
        }),
        current: share(index, peak),
        best,
        worst,
        gains,
    })
}

/// The lowest point of the index relative to the peak before it.
#[derive(Clone, Copy)]
struct Lowest {
    trough: Digits28,
    peak: Digits28,
    rows: (usize, usize),
    recovered: Option<usize>,
}

impl Lowest {
    /// Returns whether an index is lower relative to its peak.
    fn is_above(&self, index: Digits28, peak: Digits28) -> bool {
        self.trough.compare_ratios(self.peak, index, peak) == Ordering::Greater
    }
}

fn beyond(
    known: Option<(Digits28, usize)>,
    value: Digits28,
    row: usize,
    wanted: Ordering,
) -> Option<(Digits28, usize)> {
    match known {
        Some((other, _)) if value.compare(other) != wanted => known,
        _ => Some((value, row)),
    }
}

/// Returns the units of `10^-28` in a value, with its state: more than 38 digits are not
/// representable.
#[must_use]
pub fn units(value: Digits28) -> (i128, State) {
    value
        .units()
        .map_or((0, State::NotRepresentable), |units| (units, State::Value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pnl: &[i64], basis: &[i64]) -> core::result::Result<Compounded, usize> {
        let period = Period {
            first: 1,
            last: pnl.len() - 1,
        };
        let sessions = Sessions { pnl, basis };
        let never = AtomicBool::new(false);
        compounded(sessions, core::iter::once(period), &never).unwrap()[0]
    }

    fn units(value: Digits28) -> i128 {
        value.units().unwrap() / 10_i128.pow(22)
    }

    #[test]
    fn sessions_are_compounded() {
        // + 10 %, - 20 %, + 25 %, + 10 %: the index is 1.1, 0.88, 1.1, 1.21
        let all = found(&[0, 10, -20, 25, 10], &[0, 100, 100, 100, 100]).unwrap();
        assert_eq!(units(all.total), 210_000);
        let fall = all.fall.unwrap();
        assert_eq!(units(fall.depth), -200_000);
        assert_eq!((fall.peak, fall.trough, fall.recovered), (1, 2, Some(3)));
        assert_eq!(all.current, Digits28::ZERO);
        assert_eq!((all.best.1, all.worst.1, all.gains), (3, 2, 3));
    }

    #[test]
    fn a_fall_from_the_start_lasts_until_it_is_made_up_for() {
        // 0.9, 0.9, 0.81
        let all = found(&[0, -10, 0, -10], &[0, 100, 100, 100]).unwrap();
        let fall = all.fall.unwrap();
        assert_eq!((fall.peak, fall.trough, fall.recovered), (0, 3, None));
        assert_eq!(units(fall.depth), -190_000);
        assert_eq!(units(all.current), -190_000);
        assert_eq!(found(&[0, 0, 5], &[0, 1, 1]).unwrap().fall, None);
    }

    #[test]
    fn of_two_falls_as_deep_the_first_counts() {
        let all = found(&[0, -10, 20, -10], &[0, 100, 90, 100]).unwrap();
        let fall = all.fall.unwrap();
        assert_eq!((fall.peak, fall.trough, fall.recovered), (0, 1, Some(2)));
    }

    #[test]
    fn a_session_without_a_return_is_named() {
        assert_eq!(found(&[0, 1, 1, 1], &[0, 1, 0, -1]), Err(2));
        assert_eq!(found(&[0, 1], &[0, i64::MIN]), Err(1));
    }

    #[test]
    fn all_may_be_lost_and_more() {
        let all = found(&[0, -100, 50], &[0, 100, 100]).unwrap();
        assert_eq!(units(all.total), -1_000_000);
        let all = found(&[0, -150], &[0, 100]).unwrap();
        assert_eq!(units(all.total), -1_500_000);
        assert_eq!(units(all.fall.unwrap().depth), -1_500_000);
    }

    #[test]
    fn a_raised_flag_stops_and_columns_must_be_as_long() {
        let periods = || core::iter::once(Period { first: 0, last: 0 });
        let raised = AtomicBool::new(true);
        let pnl = &[1];
        let sessions = Sessions { pnl, basis: &[1] };
        let stopped = compounded(sessions, periods(), &raised);
        assert_eq!(stopped, Err(Error::Cancelled));
        let uneven = Sessions { pnl, basis: &[] };
        assert!(compounded(uneven, periods(), &AtomicBool::new(false)).is_err());
    }
}
