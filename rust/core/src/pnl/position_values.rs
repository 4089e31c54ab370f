//! Exact values of the open part of each public position on one session, at its mark, to be stored.

use core::num::NonZeroUsize;
use core::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::fixed::{CENTS, Sum, Wide, Width};
use crate::ids::{Day, PortfolioId};
use crate::pnl::batches::{batches, in_batches};
use crate::pnl::book::{LotBook, PortfolioLots};
use crate::pnl::inputs::Inputs;
use crate::pnl::issue::{Issue, IssueKind};
use crate::pnl::lot::{Class, Lot};
use crate::pnl::value::{Valuer, fitting};

/// The value of the open part of one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionValue {
    /// Row of the position.
    pub position: i32,
    /// Mark, in the scale of the closes, in the currency of the position and on the basis of the
    /// session (C5).
    pub last_price: i64,
    /// `r2(mark * q * m)` in cents of the portfolio's currency, like the next (C6).
    pub market_value: i64,
    /// `r2((mark - c) * q * m)` in cents.
    pub unrealized: i64,
}

/// Values of positions, by portfolio in input order, then by the bytes of the position's id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionValues {
    /// Values that fit their columns.
    pub values: Vec<PositionValue>,
    /// Values that do not fit, sorted.
    pub issues: Vec<Issue>,
}

/// Returns the values, on session `day`, of the public positions of the portfolios of `opening`
/// whose remaining lot is held on it and has a valid close since its start (S4).
///
/// Portfolios whose `[first_day, last_day]` lacks `day` have none. A position with a value that
/// does not fit numeric(16, 2) is left out, with an issue, and so is one without a rate, whose
/// portfolio has failed (C7).
///
/// # Errors
///
/// [`crate::error::Error::Value`] unless `day` is a session of `marks`; otherwise as
/// [`crate::pnl::holdings::hold`].
pub fn value_positions<'a>(
    inputs: &Inputs<'a>,
    day: Day,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<PositionValues> {
    inputs.marks.indices(&[day.0])?;
    let (book, opening) = (LotBook::of(inputs)?, &inputs.opening);
    let valuer = Valuer::of(&book.scales(CENTS)).converting(inputs.rates);
    let value = |at: usize, gathered: &mut PortfolioLots<'a>, into: &mut PositionValues| {
        if opening.span(at, &[day.0]).is_empty() {
            return;
        }
        book.gather(at, gathered);
        gathered.lots.retain(|lot| {
            let held = lot.held(&[day.0]);
            !lot.of_event && lot.class == Class::Public && !held.is_empty()
        });
        gathered
            .lots
            .sort_unstable_by_key(|lot| book.position_id(lot));
        for lot in &gathered.lots {
            let Some(mark) = lot.mark(day) else { continue };
            if lot.lacks_rate(day) || lot.lacks_rate(lot.start) {
                continue;
            }
            let shown = i64::try_from(lot.shown_price(mark, day));
            let shown = shown.map_err(|_| "last_price beyond 64 bits".to_owned());
            match shown.and_then(|price| valued(lot, (mark, day), price, &valuer)) {
                Ok(value) => into.values.push(value),
                Err(detail) => {
                    let kind = IssueKind::MarketValueOutOfRange;
                    let issue = Issue::of(kind, PortfolioId::of_row(at), detail);
                    let symbol = book.book.symbol(lot.position);
                    into.issues.push(issue.of_symbol(symbol).on(day));
                }
            }
        }
    };
    let batches = batches(opening.portfolio_id.len());
    let batches = batches.map(|portfolios| (portfolios, PositionValues::default()));
    let mut all = PositionValues::default();
    for mut later in in_batches(batches, threads, cancel, value)? {
        all.values.append(&mut later.values);
        all.issues.append(&mut later.issues);
    }
    all.issues.sort_by(|a, b| a.key().cmp(&b.key()));
    Ok(all)
}

/// Returns the values of a lot at a mark, or column and value of the first that does not fit.
fn valued(
    lot: &Lot<'_>,
    mark: ((i64, Day), Day),
    last_price: i64,
    valuer: &Valuer,
) -> core::result::Result<PositionValue, String> {
    match Width::of(valuer.bound(core::slice::from_ref(lot))) {
        Width::Narrow => rounded::<i64>(lot, mark, last_price, valuer),
        Width::Double => rounded::<i128>(lot, mark, last_price, valuer),
        Width::Wide => rounded::<Wide>(lot, mark, last_price, valuer),
    }
}

fn rounded<T: Sum>(
    lot: &Lot<'_>,
    (mark, day): ((i64, Day), Day),
    last_price: i64,
    valuer: &Valuer,
) -> core::result::Result<PositionValue, String> {
    let cent: T = valuer.cent();
    let value: T = valuer.close_value(lot, mark, day);
    let earned: T = valuer.earned_at_close(lot, mark, day);
    Ok(PositionValue {
        position: i32::try_from(lot.position).unwrap_or(i32::MAX),
        last_price,
        market_value: fitting("market_value", value.rounded(cent))?,
        unrealized: fitting("unrealized_pnl", earned.rounded(cent))?,
    })
}
