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
pub fn units(value: Digits28) -> (i128, State) {
    value
        .units()
        .map_or((0, State::NotRepresentable), |units| (units, State::Value))
}
