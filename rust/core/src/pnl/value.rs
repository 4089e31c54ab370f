//! What a lot is worth and has earned, exactly: every product at one common scale.
#![warn(clippy::arithmetic_side_effects)]

use crate::fixed::{CENTS, Sum, decimal_text, power_of_ten};
use crate::ids::Day;
use crate::pnl::lot::{Class, Closing, Lot};
use crate::pnl::marks::SymbolMarks;

/// Money columns are numeric(16, 2): values below it fit (S10).
pub const MONEY_LIMIT: u64 = 10_000_000_000_000_000;

/// Decimals of everything that is multiplied, and what brings each product to one scale.
#[derive(Debug, Clone, Copy)]
pub struct Units {
    /// Factor of close times quantity, by whether the quantity is an event's.
    close: [u128; 2],
    /// Factor of entry price times quantity.
    entry: [u128; 2],
    /// Factor of exit price times quantity.
    exit: [u128; 2],
    /// Factor of a realized amount.
    realized: u128,
    /// Factor of a market value.
    market_value: u128,
    /// Units of a cent.
    cent: u128,
    /// The largest factor of a product and of an amount, if 64 bits hold them.
    most: Option<(u64, u64)>,
    /// Decimals of a flow.
    flow_scale: u32,
}

/// Scales of the columns, as handed in.
#[derive(Debug, Clone, Copy)]
pub struct Scales {
    /// Of closes.
    pub close: u32,
    /// Of entry prices.
    pub entry: u32,
    /// Of exit prices.
    pub exit: u32,
    /// Of positions' quantities.
    pub quantity: u32,
    /// Of events' quantities.
    pub event_quantity: u32,
    /// Of realized amounts.
    pub realized: u32,
    /// Of market values.
    pub market_value: u32,
    /// Of flows.
    pub flow: u32,
}

impl Units {
    /// Returns the factors; the common scale is at most 36, so each of them fits.
    #[must_use]
    pub fn of(scales: &Scales) -> Self {
        let price = scales.close.max(scales.entry).max(scales.exit);
        let quantity = scales.quantity.max(scales.event_quantity);
        let common = price
            .saturating_add(quantity)
            .max(scales.realized)
            .max(scales.market_value)
            .max(CENTS);
        let factor = |scale: u32| power_of_ten(common.saturating_sub(scale)).unwrap_or(u128::MAX);
        let product = |price: u32| {
            [scales.quantity, scales.event_quantity]
                .map(|quantity| factor(price.saturating_add(quantity)))
        };
        let (close, entry, exit) = (
            product(scales.close),
            product(scales.entry),
            product(scales.exit),
        );
        let (realized, market_value) = (factor(scales.realized), factor(scales.market_value));
        let products = [close, entry, exit].as_flattened().iter().copied().max();
        let narrow = |factor: u128| u64::try_from(factor).ok();
        Self {
            close,
            entry,
            exit,
            realized,
            market_value,
            most: products
                .and_then(narrow)
                .zip(narrow(realized.max(market_value))),
            cent: factor(CENTS),
            flow_scale: scales.flow,
        }
    }

    /// Returns the factor of a close times the quantity of `lot`, its multiplier included.
    #[must_use]
    pub fn close(&self, lot: &Lot<'_>) -> u128 {
        pick(self.close, lot)
    }

    /// Returns the factor of its entry price times its quantity.
    #[must_use]
    pub fn entry(&self, lot: &Lot<'_>) -> u128 {
        pick(self.entry, lot)
    }

    /// Returns the factor of its exit price times its quantity.
    #[must_use]
    pub fn exit(&self, lot: &Lot<'_>) -> u128 {
        pick(self.exit, lot)
    }

    /// Returns the factor of a realized amount.
    #[must_use]
    pub fn realized(&self) -> u128 {
        self.realized
    }

    /// Returns the factor of a market value.
    #[must_use]
    pub fn market_value(&self) -> u128 {
        self.market_value
    }

    /// Returns how many units a cent has.
    #[must_use]
    pub fn cent(&self) -> u128 {
        self.cent
    }

    /// Returns the decimals of flows.
    #[must_use]
    pub fn flow_scale(&self) -> u32 {
        self.flow_scale
    }
}

fn pick(factors: [u128; 2], lot: &Lot<'_>) -> u128 {
    let [position, event] = factors;
    let factor = if lot.of_event { event } else { position };
    factor.saturating_mul(u128::from(lot.multiplier))
}

/// Returns what the absolute values of all terms of `lots` add up to at most, saturated: what
/// [`crate::fixed::Width::of`] asks for.
#[must_use]
pub fn bound(lots: &[Lot<'_>], units: &Units) -> u128 {
    let term = |lot| narrow_term(lot, units).map_or_else(|| wide_term(lot, units), u128::from);
    let lots = lots
        .iter()
        .fold(0u128, |sum, lot| sum.saturating_add(term(lot)));
    lots.saturating_add(units.cent).saturating_mul(2)
}

fn wide_term(lot: &Lot<'_>, units: &Units) -> u128 {
    let product = |price: i64, factor: u128| {
        u128::from(price.unsigned_abs())
            .saturating_mul(u128::from(lot.quantity.unsigned_abs()))
            .saturating_mul(factor)
    };
    let close = lot
        .marks
        .map_or(0, |marks| product(marks.most(), units.close(lot)));
    let entry = product(lot.entry_price, units.entry(lot));
    let end = match lot.closing {
        Closing::Given(realized) => {
            u128::from(realized.unsigned_abs()).saturating_mul(units.realized)
        }
        Closing::Price(price) => product(price, units.exit(lot)),
        Closing::Unpriced | Closing::Expiry => 0,
    };
    let value = match lot.class {
        Class::PrivateAt(value) => {
            u128::from(value.unsigned_abs()).saturating_mul(units.market_value)
        }
        Class::Public | Class::PrivateAtEntry => 0,
    };
    // units are formed even where the price is 0, so they count as well
    let one = u128::from(lot.quantity.unsigned_abs())
        .saturating_mul(units.close(lot).max(units.entry(lot)).max(units.exit(lot)));
    close
        .saturating_add(entry)
        .saturating_add(end)
        .saturating_add(value)
        .saturating_add(one)
}

/// Returns no less than the same where 64 bits hold it, in a fraction of the time.
fn narrow_term(lot: &Lot<'_>, units: &Units) -> Option<u64> {
    let (of_products, of_amounts) = units.most?;
    let (price, given) = match (lot.closing, lot.class) {
        (Closing::Given(realized), Class::PrivateAt(value)) => (
            0,
            realized.unsigned_abs().checked_add(value.unsigned_abs())?,
        ),
        (Closing::Given(amount), _) | (_, Class::PrivateAt(amount)) => (0, amount.unsigned_abs()),
        (Closing::Price(price), _) => (price.unsigned_abs(), 0),
        (Closing::Unpriced | Closing::Expiry, _) => (0, 0),
    };
    let close = lot.marks.map_or(0, SymbolMarks::most);
    close
        .unsigned_abs()
        .checked_add(lot.entry_price.unsigned_abs())?
        .checked_add(price)?
        .checked_add(1)?
        .checked_mul(lot.quantity.unsigned_abs())?
        .checked_mul(u64::from(lot.multiplier))?
        .checked_mul(of_products)?
        .checked_add(given.checked_mul(of_amounts)?)
}

/// Returns `price * quantity * factor`.
#[must_use]
pub fn amount<T: Sum>(price: i64, quantity: T, factor: u128) -> T {
    T::of(price).times(quantity.times(T::of_factor(factor)))
}

/// Returns the mark of a lot on `day`, or nothing where its entry price counts (S4).
#[must_use]
pub fn mark(lot: &Lot<'_>, day: Day) -> Option<i64> {
    let (close, found) = lot.marks?.as_of(day)?;
    (found >= lot.start).then_some(close)
}

/// Returns what a public lot has earned at `price` (S6).
#[must_use]
pub fn earned_at<T: Sum>(lot: &Lot<'_>, price: i64, factor: u128, units: &Units) -> T {
    let quantity = T::of(lot.quantity);
    amount(price, quantity, factor).minus(amount(lot.entry_price, quantity, units.entry(lot)))
}

/// Returns the value if it fits a money column, else column and value as S10 reports them.
///
/// # Errors
///
/// `<column> = <value>`.
pub fn fitting<T: Sum>(column: &str, value: T) -> Result<i64, String> {
    match value.narrow() {
        Some(cents) if cents.unsigned_abs() < MONEY_LIMIT => Ok(cents),
        _ => Err(format!("{column} = {}", decimal_text(&value.digits(), 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_bring_every_product_to_the_largest_scale() {
        let units = Units::of(&Scales {
            close: 2,
            entry: 2,
            exit: 4,
            quantity: 0,
            event_quantity: 1,
            realized: 2,
            market_value: 2,
            flow: 2,
        });
        // prices to 4 decimals, quantities to 1: 5 in all
        assert_eq!(units.close, [1000, 100]);
        assert_eq!(units.exit, [10, 1]);
        assert_eq!((units.realized, units.cent), (1000, 1000));
    }

    #[test]
    fn a_value_of_17_digits_does_not_fit() {
        let most = 9_999_999_999_999_999;
        assert_eq!(fitting("value", most), Ok(most));
        assert_eq!(fitting("value", -most), Ok(-most));
        let beyond = Err("value = -100000000000000.00".to_owned());
        assert_eq!(fitting("value", -most - 1), beyond);
    }
}
