//! Exact contribution of each lot to the P&L of its portfolio between two days (X1).
//!
//! Those of the policy `legacy` are in [`crate::pnl::legacy::contributions`].

use core::num::NonZeroUsize;
use core::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::fixed::{CENTS, Sum, Wide, Width, power_of_ten};
use crate::frame::index;
use crate::ids::Day;
use crate::pnl::batches::{batches, in_batches};
use crate::pnl::book::{LotBook, PortfolioLots};
use crate::pnl::inputs::Inputs;
use crate::pnl::lot::{Class, Closing, Lot};
use crate::pnl::value::{Scales, Valuer};
use crate::store::Rates;
use crate::store::rates::Rate;

/// The mark of a lot on a day (S4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// In the scale of [`Contributions::price_scale`].
    pub price: i128,
    /// Day of the close; nothing where the entry price is used instead.
    pub day: Option<Day>,
    /// 0 fresh, 1 lookback, 2 stale, 3 unpriced.
    pub status: u8,
    /// Value of one unit of the lot's currency, in the scale of [`Contributions::rate_scale`];
    /// nothing without a rate.
    pub rate: Option<Wide>,
}

/// The contribution of one lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contribution {
    /// Row of the portfolio in `Opening`.
    pub portfolio: i32,
    /// Row of the position.
    pub position: i32,
    /// Kind of the lot: 0 a public stock, 1 a public option, 2 anything PRIVATE.
    pub kind: u8,
    /// Signed, in the scale of [`Contributions::quantity_scale`], on the basis of the session or of
    /// its end, if that is earlier (C4); so are the marks.
    pub quantity: i128,
    /// Shares per unit of quantity.
    pub multiplier: u32,
    /// Mark on the day before; nothing where the lot is not held on it, or is PRIVATE.
    pub before: Option<Mark>,
    /// Mark on the session, likewise.
    pub after: Option<Mark>,
    /// Amounts; nothing where a rate is missing (C7).
    pub added: Option<Added>,
    /// Value on the session (S9, L28), in the scale of [`Contributions::value_scale`]; nothing
    /// where it is not held then, or a rate is missing.
    pub value: Option<Wide>,
}

/// The amounts of one contribution, in the scale of [`Contributions::scale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// `V(t) - V(s)`.
    pub unrealized_change: Wide,
    /// Its part of `R(s, t)`.
    pub realized: Wide,
    /// Effect of the price (C8); the rest is the effect of the currency.
    pub price_effect: Wide,
}

impl Added {
    /// Returns the amounts of a lot in the portfolio's currency.
    pub fn at_home(unrealized_change: Wide, realized: Wide) -> Self {
        Self {
            unrealized_change,
            realized,
            price_effect: unrealized_change.plus(realized),
        }
    }

    /// Returns the effect of the currency (C8).
    pub fn currency_effect(&self) -> Wide {
        let whole = self.unrealized_change.plus(self.realized);
        whole.minus(self.price_effect)
    }
}

/// Contributions by portfolio in input order; within one as in [`crate::pnl::holdings::hold`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contributions {
    /// One for each lot.
    pub lots: Vec<Contribution>,
    /// Decimals of marks.
    pub price_scale: u32,
    /// Decimals of quantities.
    pub quantity_scale: u32,
    /// Decimals of amounts.
    pub scale: u32,
    /// Decimals of values.
    pub value_scale: u32,
    /// Decimals of rates.
    pub rate_scale: u32,
}

/// Returns the contribution of each lot to the P&L of its portfolio (X1).
///
/// `inputs.opening` gives the range: `first_day` is `s`, exclusive, or [`i32::MIN`] where the
/// session is a baseline, whose lots are listed and contribute nothing (X3); `last_day` is the
/// session `t`. Lots are listed that are held on either, or end in between. Source: semantics.md,
/// X1, X3, X4, C8.
///
/// # Errors
///
/// As [`crate::pnl::holdings::hold`].
pub fn contributions(
    inputs: &Inputs<'_>,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<Contributions> {
    let Inputs {
        opening,
        marks,
        rates,
        ..
    } = inputs;
    let book = LotBook::of(inputs)?;
    let scales = book.scales(CENTS);
    let query = ContributionQuery {
        valuer: Valuer::of(&scales).converting(*rates),
        rate_scale: rates.map_or(0, Rates::scale),
        price_scale: scales.close.max(scales.entry),
        quantity_scale: scales.quantities().most(),
        scales,
        lookback_days: i64::from(marks.lookback_days()),
        book,
    };
    let batches = batches(opening.portfolio_id.len());
    let batches = batches.map(|portfolios| (portfolios, Vec::new()));
    let done = in_batches(batches, threads, cancel, |at, gathered, lots| {
        let day = |days: &[i32]| Day(days.get(at).copied().unwrap_or(i32::MIN));
        let (from, to) = (day(opening.first_day), day(opening.last_day));
        query.append(at, from, to, gathered, lots);
    })?;
    Ok(Contributions {
        lots: done.into_iter().flatten().collect(),
        price_scale: query.price_scale,
        quantity_scale: query.quantity_scale,
        scale: query.valuer.scale(),
        value_scale: query.valuer.scale(),
        rate_scale: query.rate_scale,
    })
}

struct ContributionQuery<'a> {
    book: LotBook<'a>,
    valuer: Valuer,
    scales: Scales,
    price_scale: u32,
    quantity_scale: u32,
    rate_scale: u32,
    lookback_days: i64,
}

impl<'a> ContributionQuery<'a> {
    fn append(
        &self,
        at: usize,
        from: Day,
        to: Day,
        gathered: &mut PortfolioLots<'a>,
        lots: &mut Vec<Contribution>,
    ) {
        self.book.gather(at, gathered);
        self.book.sort(&mut gathered.lots);
        let portfolio = i32::try_from(at).unwrap_or(i32::MAX);
        for lot in &gathered.lots {
            let bound = self.valuer.bound(core::slice::from_ref(lot));
            let added = match Width::of(bound) {
                Width::Narrow | Width::Double => self.added::<i128>(lot, from, to),
                Width::Wide => self.added::<Wide>(lot, from, to),
            };
            lots.extend(added.map(|added| Contribution { portfolio, ..added }));
        }
    }

    fn added<T: Sum>(&self, lot: &Lot<'_>, from: Day, to: Day) -> Option<Contribution> {
        let (held, holds) = (lot.is_held(from), lot.is_held(to));
        let ended = lot.end.filter(|&end| from < end && end <= to);
        let has_start = from.0 != i32::MIN;
        if !(held || holds || ended.is_some() && has_start) {
            return None;
        }
        let range = Range {
            from: held.then_some(from),
            to: holds.then_some(to),
            ended: ended.filter(|_| has_start),
            has_start,
        };
        let priced = !range.lacks_rate(lot);
        let shown = lot.end.map_or(to, |end| end.min(to));
        let size = lot.size_of_close(shown);
        Some(Contribution {
            portfolio: 0,
            position: i32::try_from(lot.position).unwrap_or(i32::MAX),
            kind: lot.kind().byte(),
            quantity: rescaled(
                size.quantity.into(),
                self.scales.quantities().of(size.kind),
                self.quantity_scale,
            ),
            multiplier: lot.multiplier,
            before: held.then(|| self.mark(lot, from, shown)).flatten(),
            after: holds.then(|| self.mark(lot, to, shown)).flatten(),
            added: priced.then(|| self.amounts::<T>(lot, &range)),
            value: range
                .to
                .filter(|_| priced)
                .map(|to| self.valuer.value::<T>(lot, to).wide()),
        })
    }

    fn amounts<T: Sum>(&self, lot: &Lot<'_>, range: &Range) -> Added {
        let mut change = T::ZERO;
        if lot.class == Class::Public && range.has_start {
            let earned =
                |day: Option<Day>| day.map_or(T::ZERO, |day| self.valuer.earned::<T>(lot, day));
            change = earned(range.to).minus(earned(range.from));
        }
        let realized = range
            .ended
            .map_or(T::ZERO, |end| self.valuer.realized_at(lot, end));
        let at_home = Added::at_home(change.wide(), realized.wide());
        if lot.rates.is_none()
            || !range.has_start
            || matches!(lot.closing, Closing::Given(_)) && range.ended.is_some()
        {
            return at_home;
        }
        Added {
            price_effect: self.price_effect::<T>(lot, range).wide(),
            ..at_home
        }
    }

    /// Returns the effect of the price, at the rate that applies where the range begins (C8).
    fn price_effect<T: Sum>(&self, lot: &Lot<'_>, range: &Range) -> T {
        let valuer = &self.valuer;
        let marked = |day: Option<Day>| {
            let day = day.filter(|_| lot.class == Class::Public)?;
            Some((lot.mark(day)?, day))
        };
        let begins = marked(range.from);
        let rate_day = begins.map_or(lot.start, |(_, day)| day);
        let at_rate = |mark: Option<((i64, Day), Day)>| {
            mark.map_or_else(
                || valuer.entry_value_at::<T>(lot, rate_day),
                |(mark, _)| valuer.close_value(lot, mark, rate_day),
            )
        };
        let ends = match (lot.closing, range.ended) {
            (Closing::Price(price), Some(end)) => valuer.exit_value(lot, (price, end), rate_day),
            (_, ended) => at_rate(marked(ended.or(range.to))),
        };
        ends.minus(at_rate(begins))
    }

    /// Returns the mark on `day` of a public lot that is held on it, on the basis of another day
    /// (C5).
    fn mark(&self, lot: &Lot<'_>, day: Day, shown: Day) -> Option<Mark> {
        if lot.class != Class::Public {
            return None;
        }
        let Some((close, found)) = lot.mark(day) else {
            return Some(Mark {
                price: rescaled(lot.entry_price.into(), self.scales.entry, self.price_scale),
                day: None,
                status: 3,
                rate: self.rate(lot, lot.start),
            });
        };
        let age = day.since(found);
        Some(Mark {
            price: rescaled(
                lot.shown_price((close, found), shown),
                self.scales.close,
                self.price_scale,
            ),
            day: Some(found),
            status: match age {
                0 => 0,
                _ if age <= self.lookback_days => 1,
                _ => 2,
            },
            rate: self.rate(lot, day),
        })
    }

    /// Returns the value of one unit of a lot's currency on a day.
    fn rate(&self, lot: &Lot<'_>, day: Day) -> Option<Wide> {
        match lot.rates {
            Some(pair) => pair.at(day).map(Rate::at_scale),
            None => Sum::power_of_ten(self.rate_scale),
        }
    }
}

/// The days on which a lot is held, and its end, within the range.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// First day of the range, if the lot is held on it.
    from: Option<Day>,
    /// Last day of the range, likewise.
    to: Option<Day>,
    /// End of the lot, if it is within the range.
    ended: Option<Day>,
    has_start: bool,
}

impl Range {
    /// Returns whether a rate is missing that the contribution of a lot needs (C7).
    fn lacks_rate(&self, lot: &Lot<'_>) -> bool {
        let from = self
            .from
            .filter(|&day| self.has_start && lot.is_priced(day));
        let to = self.to.filter(|&day| lot.is_priced(day));
        let ended = self.ended.filter(|&end| lot.converts_at_end(end));
        let holds = self
            .to
            .filter(|_| !matches!(lot.class, Class::PrivateAt(_)));
        let needed = from.or(holds).or(ended).map(|_| lot.start);
        [needed, from, to, ended]
            .into_iter()
            .flatten()
            .any(|day| lot.lacks_rate(day))
    }
}

/// Returns a mantissa at a scale that is at least its own.
fn rescaled(mantissa: i128, from: u32, to: u32) -> i128 {
    let factor = power_of_ten(to.saturating_sub(from)).unwrap_or(1);
    mantissa.saturating_mul(i128::try_from(factor).unwrap_or(i128::MAX))
}

/// Returns the sums of amounts by key: `keys` are below `groups`, one for each amount.
///
/// # Errors
///
/// [`Error::Length`] unless there is a key for each amount; [`Error::Value`] for a key that is not
/// below `groups`.
pub fn sums_by_key(
    keys: &[u32],
    groups: usize,
    amounts: impl ExactSizeIterator<Item = Wide>,
) -> Result<Vec<Wide>> {
    if keys.len() != amounts.len() {
        return Err(Error::Length {
            column: "keys",
            expected: amounts.len(),
            actual: keys.len(),
        });
    }
    let mut sums = vec![Wide::ZERO; groups];
    for (row, (&key, amount)) in keys.iter().zip(amounts).enumerate() {
        let sum = sums.get_mut(index(key)).ok_or(Error::Value {
            column: "keys",
            row,
            expected: "a number below that of the groups",
        })?;
        *sum = sum.plus(amount);
    }
    Ok(sums)
}
