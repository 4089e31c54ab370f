//! Valuation: the only module in which quantity, multiplier, price and entry value meet.
//!
//! Whatever has a price is worth its price times [`Size::units`], at one common scale ([`Valuer`]).
#![warn(clippy::arithmetic_side_effects)]

use crate::fixed::{CENTS, Sum, decimal_text, power_of_ten};
use crate::ids::Day;
use crate::pnl::lot::{Class, Closing, Lot};
use crate::pnl::marks::SymbolMarks;
use crate::pnl::splits::RESTATED_SCALE;
use crate::store::Rates;
use crate::store::rates::{Pair, Rate};

/// Money columns are numeric(16, 2): values below it fit (S10).
pub(crate) const MONEY_LIMIT: u64 = 10_000_000_000_000_000;

/// `daily_return` is numeric(8, 6): values below it fit (S10, L4).
pub(crate) const RETURN_LIMIT: u32 = 100_000_000;

/// Units of `daily_return`.
pub(crate) const RETURN_UNIT: u32 = 1_000_000;

/// Which scale a quantity has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuantityKind {
    /// That of positions.
    Position,
    /// That of events.
    Event,
    /// [`RESTATED_SCALE`]: it was converted to another basis (C4).
    Restated,
}

impl QuantityKind {
    /// Returns the scale of a quantity that is stored with `stored` decimals.
    pub(crate) fn scale(self, stored: u32) -> u32 {
        match self {
            Self::Position | Self::Event => stored,
            Self::Restated => RESTATED_SCALE,
        }
    }
}

/// A value for each kind of quantity, such as its decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByKind<T> {
    position: T,
    event: T,
    restated: T,
}

impl<T: Copy> ByKind<T> {
    /// Returns the value for a kind of quantity.
    pub(crate) fn of(self, kind: QuantityKind) -> T {
        match kind {
            QuantityKind::Position => self.position,
            QuantityKind::Event => self.event,
            QuantityKind::Restated => self.restated,
        }
    }

    /// Applies `of` to each.
    fn map<U>(self, of: impl Fn(T) -> U) -> ByKind<U> {
        ByKind {
            position: of(self.position),
            event: of(self.event),
            restated: of(self.restated),
        }
    }

    /// Returns the largest.
    pub(crate) fn most(self) -> T
    where
        T: Ord,
    {
        self.position.max(self.event).max(self.restated)
    }
}

/// A size held: everything that its price is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Signed mantissa.
    pub(crate) quantity: i64,
    /// Which scale the mantissa has.
    pub(crate) kind: QuantityKind,
    /// Shares per unit: 100 for options, else 1.
    pub(crate) multiplier: u32,
}

impl Size {
    /// Returns the amount earned when the price rises by one unit of its scale.
    pub(crate) fn units<T: Sum>(self) -> T {
        T::of(self.quantity).times(T::of(i64::from(self.multiplier)))
    }

    /// Returns the value at a price, at the sum of both scales.
    pub(crate) fn value<T: Sum>(self, price: i64) -> T {
        T::of(price).times(self.units())
    }

    /// Returns the absolute value of the units.
    pub(crate) fn magnitude(self) -> u128 {
        u128::from(self.quantity.unsigned_abs()).saturating_mul(u128::from(self.multiplier))
    }

    /// Returns the value in dollars of a size whose quantity is `shares` (L28).
    #[expect(
        clippy::float_arithmetic,
        reason = "L28 computes in binary64, in this order"
    )]
    pub(crate) fn dollars(self, shares: f64, price: f64) -> f64 {
        shares * price * f64::from(self.multiplier)
    }
}

/// Decimals of everything that is valued or added up; 0 for columns that a policy does not read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scales {
    /// Of closes.
    pub(crate) close: u32,
    /// Of entry prices.
    pub(crate) entry: u32,
    /// Of exit prices.
    pub(crate) exit: u32,
    /// Of positions' quantities.
    pub(crate) quantity: u32,
    /// Of events' quantities.
    pub(crate) event_quantity: u32,
    /// Whether quantities may be restated, which needs more decimals.
    pub(crate) restates: bool,
    /// Of realized amounts.
    pub(crate) realized: u32,
    /// Of market values.
    pub(crate) market_value: u32,
    /// Of flows.
    pub(crate) flow: u32,
}

impl Scales {
    /// Returns the scale of a price times a quantity of each kind.
    fn product(&self, price: u32) -> ByKind<u32> {
        self.quantities()
            .map(|quantity| price.saturating_add(quantity))
    }

    /// Returns the scale of a quantity of each kind.
    pub(crate) fn quantities(&self) -> ByKind<u32> {
        let restated = if self.restates {
            RESTATED_SCALE
        } else {
            self.quantity
        };
        ByKind {
            position: self.quantity,
            event: self.event_quantity,
            restated,
        }
    }
}

/// Converts every value and amount to one common scale, exactly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Valuer {
    /// Factor of close times quantity.
    close: ByKind<u128>,
    /// Factor of entry price times quantity.
    entry: ByKind<u128>,
    /// Factor of exit price times quantity.
    exit: ByKind<u128>,
    realized: u128,
    market_value: u128,
    flow: u128,
    cent: u128,
    /// One at the scale of rates, which convert lots in other currencies to the common scale; 1
    /// without rates.
    unit: u128,
    scale: u32,
    flow_scale: u32,
}

impl Valuer {
    /// Returns the factors; the common scale is at most 36, so each of them fits.
    pub(crate) fn of(scales: &Scales) -> Self {
        let products = [scales.close, scales.entry, scales.exit].map(|price| scales.product(price));
        let amounts = [scales.realized, scales.market_value, scales.flow, CENTS];
        let all = products.map(ByKind::most).into_iter().chain(amounts);
        let scale = all.max().unwrap_or(CENTS);
        let factor = |own: u32| power_of_ten(scale.saturating_sub(own)).unwrap_or(u128::MAX);
        let products = products.map(|product| product.map(factor));
        let [realized, market_value, flow, cent] = amounts.map(factor);
        let [close, entry, exit] = products;
        Self {
            close,
            entry,
            exit,
            realized,
            market_value,
            flow,
            cent,
            unit: 1,
            scale,
            flow_scale: scales.flow,
        }
    }

    /// Returns the factors for lots that `rates` convert (C6): the common scale is that of the
    /// product of a value and a rate.
    pub(crate) fn converting(self, rates: Option<&Rates>) -> Self {
        let Some(rates) = rates else { return self };
        Self {
            unit: power_of_ten(rates.scale()).unwrap_or(u128::MAX),
            scale: self.scale.saturating_add(rates.scale()),
            ..self
        }
    }

    /// Returns the amount that a size in the portfolio's currency earns when the close rises by one
    /// unit.
    pub(crate) fn close_units<T: Sum>(&self, size: Size) -> T {
        self.foreign_units::<T>(size).times(self.unit())
    }

    /// Returns the amount that a size earns at a rate of one unit when the close rises by one.
    pub(crate) fn foreign_units<T: Sum>(&self, size: Size) -> T {
        size.units::<T>()
            .times(T::of_factor(self.close.of(size.kind)))
    }

    fn unit<T: Sum>(&self) -> T {
        T::of_factor(self.unit)
    }

    /// Returns the rate of a lot's currency on a day; 0 where there is none, from which nothing is
    /// computed (C7).
    fn rate<T: Sum>(&self, lot: &Lot<'_>, day: Day) -> T {
        lot.rates.map_or_else(
            || self.unit(),
            |pair| pair.at(day).map_or(T::ZERO, Rate::at_scale),
        )
    }

    /// Returns an upper bound of the amount that a change of the close earns, saturated.
    pub(crate) fn most_change(&self, size: Size, change: u128) -> u128 {
        change
            .saturating_mul(size.magnitude())
            .saturating_mul(self.close.of(size.kind))
    }

    /// Returns the value of a lot at the close of one day (C4) and the rate of another.
    pub(crate) fn close_value<T: Sum>(
        &self,
        lot: &Lot<'_>,
        (close, found): (i64, Day),
        day: Day,
    ) -> T {
        let units: T = self.foreign_units(lot.size_of_close(found));
        T::of(close).times(units).times(self.rate(lot, day))
    }

    /// Returns the value of a lot at its entry price.
    pub(crate) fn entry_value<T: Sum>(&self, lot: &Lot<'_>) -> T {
        self.entry_value_at(lot, lot.start)
    }

    /// Returns the value of a lot at its entry price and the rate of a day.
    pub(crate) fn entry_value_at<T: Sum>(&self, lot: &Lot<'_>, day: Day) -> T {
        let size = lot.size_of_position(lot.start);
        size.value::<T>(lot.entry_price)
            .times(T::of_factor(self.entry.of(size.kind)))
            .times(self.rate(lot, day))
    }

    /// Returns what a public lot has earned, at the close of one day and the rate of another (S6).
    pub(crate) fn earned_at_close<T: Sum>(&self, lot: &Lot<'_>, mark: (i64, Day), day: Day) -> T {
        self.close_value::<T>(lot, mark, day)
            .minus(self.entry_value(lot))
    }

    /// Returns the value of a lot at the exit price of one day (C4) and the rate of another.
    pub(crate) fn exit_value<T: Sum>(
        &self,
        lot: &Lot<'_>,
        (price, end): (i64, Day),
        day: Day,
    ) -> T {
        let size = lot.size_of_position(end);
        let factor = T::of_factor(self.exit.of(size.kind));
        let value = size.value::<T>(price).times(factor);
        value.times(self.rate(lot, day))
    }

    /// Returns what a public lot has earned by `day` at its mark (S6).
    pub(crate) fn earned<T: Sum>(&self, lot: &Lot<'_>, day: Day) -> T {
        lot.mark(day)
            .map_or(T::ZERO, |mark| self.earned_at_close(lot, mark, day))
    }

    /// Returns the amount that a lot ending on `end` adds to `R` (S6, S3).
    pub(crate) fn realized_at<T: Sum>(&self, lot: &Lot<'_>, end: Day) -> T {
        match lot.closing {
            Closing::Given(realized) => self.realized(T::of(realized)),
            Closing::Price(price) => {
                let value: T = self.exit_value(lot, (price, end), end);
                value.minus(self.entry_value(lot))
            }
            Closing::Unpriced | Closing::Expiry if lot.class == Class::Public => {
                self.earned(lot, end)
            }
            Closing::Unpriced | Closing::Expiry => T::ZERO,
        }
    }

    /// Returns the value of a lot held on `day` (S9).
    pub(crate) fn value<T: Sum>(&self, lot: &Lot<'_>, day: Day) -> T {
        match lot.class {
            Class::PrivateAt(value) => self.market_value(value),
            Class::PrivateAtEntry => self.entry_value(lot),
            Class::Public => lot.mark(day).map_or_else(
                || self.entry_value(lot),
                |mark| self.close_value(lot, mark, day),
            ),
        }
    }

    /// Returns a realized amount.
    pub(crate) fn realized<T: Sum>(&self, amount: T) -> T {
        amount.times(T::of_factor(self.realized)).times(self.unit())
    }

    /// Returns a stored market value.
    pub(crate) fn market_value<T: Sum>(&self, value: i64) -> T {
        T::of(value)
            .times(T::of_factor(self.market_value))
            .times(self.unit())
    }

    /// Returns the amount of a flow.
    pub(crate) fn flow<T: Sum>(&self, amount: T) -> T {
        amount.times(T::of_factor(self.flow)).times(self.unit())
    }

    /// Returns the units of a cent.
    pub(crate) fn cent<T: Sum>(&self) -> T {
        T::of_factor(self.cent).times(self.unit())
    }

    /// Returns the units of a cent, saturated.
    pub(crate) fn cent_bound(&self) -> u128 {
        self.cent.saturating_mul(self.unit)
    }

    /// Returns the common scale.
    pub(crate) fn scale(&self) -> u32 {
        self.scale
    }

    /// Returns the decimals of flows.
    pub(crate) fn flow_scale(&self) -> u32 {
        self.flow_scale
    }

    /// Returns an upper bound of the sum of the absolute values of all terms of `lots`, saturated,
    /// for [`crate::fixed::Width::of`].
    pub(crate) fn bound(&self, lots: &[Lot<'_>]) -> u128 {
        let of_lot = |lot: &Lot<'_>| match lot.sizes() {
            Some(sizes) => sizes
                .map(|size| self.bound_of(lot, size))
                .max()
                .unwrap_or(0),
            None => self.bound_of(lot, lot.size()),
        };
        let lots = lots
            .iter()
            .map(of_lot)
            .fold(self.cent_bound(), u128::saturating_add);
        lots.saturating_mul(2)
    }

    /// Returns the bound of one lot, by its largest size.
    fn bound_of(&self, lot: &Lot<'_>, size: Size) -> u128 {
        let close = lot.marks.map_or(0, SymbolMarks::most);
        let (exit, realized) = match lot.closing {
            Closing::Price(price) => (price, 0),
            Closing::Given(realized) => (0, realized),
            Closing::Unpriced | Closing::Expiry => (0, 0),
        };
        let value = match lot.class {
            Class::PrivateAt(value) => value,
            Class::Public | Class::PrivateAtEntry => 0,
        };
        // one more, as the product is formed even where the price is 0
        let prices = [close, lot.entry_price, exit]
            .into_iter()
            .fold(1u128, |sum, price| {
                sum.saturating_add(price.unsigned_abs().into())
            });
        let [close, entry, exit] = [self.close, self.entry, self.exit].map(|f| f.of(size.kind));
        let amount = |amount: i64, factor| {
            u128::from(amount.unsigned_abs())
                .saturating_mul(factor)
                .saturating_mul(self.unit)
        };
        prices
            .saturating_mul(size.magnitude())
            .saturating_mul(close.max(entry).max(exit))
            .saturating_mul(lot.rates.map_or(self.unit, Pair::most))
            .saturating_add(amount(realized, self.realized))
            .saturating_add(amount(value, self.market_value))
    }
}

/// Returns the value if it fits a money column, else column and value as S10 reports them.
///
/// # Errors
///
/// `<column> = <value>`.
pub(crate) fn fitting<T: Sum>(column: &str, value: T) -> Result<i64, String> {
    match value.narrow() {
        Some(cents) if cents.unsigned_abs() < MONEY_LIMIT => Ok(cents),
        _ => Err(format!("{column} = {}", decimal_text(&value.digits(), 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_bring_every_product_to_the_largest_scale() {
        let valuer = Valuer::of(&Scales {
            close: 2,
            entry: 2,
            exit: 4,
            event_quantity: 1,
            realized: 2,
            market_value: 2,
            flow: 2,
            ..Scales::default()
        });
        // prices to 4 decimals, quantities to 1: 5 in all
        let factors = |position, event, restated| ByKind {
            position,
            event,
            restated,
        };
        assert_eq!(valuer.close, factors(1000, 100, 1000));
        assert_eq!(valuer.exit, factors(10, 1, 10));
        assert_eq!((valuer.realized, valuer.cent::<i64>()), (1000, 1000));
    }
}
