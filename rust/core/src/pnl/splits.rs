//! Splits of symbols (C3), and quantities and prices from one basis to another (C4).
//!
//! A *basis* of a symbol is how many of its splits have taken place: the shares that trade between
//! two ex-dates are of one basis. A basis is exact; a quantity that is converted to another basis
//! is rounded once.
#![warn(clippy::arithmetic_side_effects)]

use crate::error::{Error, Result};
use crate::fixed::{Sum, Wide, power_of_ten};
use crate::float::ratio;
use crate::frame::{Decimals, index};
use crate::ids::Day;
use crate::pnl::inputs::SplitRows;
use crate::text::{Intern, normalised};

/// Decimals of a quantity on another basis (C4).
pub(crate) const RESTATED_SCALE: u32 = 8;

/// Digits of the product of a symbol's splits, in lowest terms, above and below the line.
const MOST_DIGITS: u32 = 38;

/// The basis of closes (C3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceBasis {
    /// Closes are in the shares of their day.
    AsTraded,
    /// Closes are restated for every split of the table.
    Adjusted,
}

/// The basis of quantities and prices of positions (C3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantityBasis {
    /// They stay as entered.
    AsEntered,
    /// They are restated for every split of the table.
    Current,
}

/// A quotient in lowest terms: new and old shares.
type Quotient = [u128; 2];

/// The splits of one symbol.
#[derive(Debug, Clone)]
pub(crate) struct SymbolSplits {
    prices: PriceBasis,
    quantities: QuantityBasis,
    /// Ex-dates, ascending.
    days: Vec<i32>,
    quotients: Vec<Quotient>,
    /// Products of the first splits, by their number; fewer where one has too many digits.
    products: Vec<Quotient>,
}

/// The splits of all symbols.
#[derive(Debug, Clone)]
pub struct Splits {
    names: Intern,
    symbols: Vec<SymbolSplits>,
}

/// A quantity on another basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restated {
    /// At the stored scale.
    Stored(i64),
    /// At [`RESTATED_SCALE`].
    Fine(i64),
}

impl Splits {
    /// Returns the splits of a frame; symbols that are the same trimmed and upper-cased are one.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if columns differ in length; [`Error::Value`] for a row without symbol,
    /// ex-date or shares above 0, [`Error::Duplicate`] for two of one symbol and ex-date.
    pub fn of(rows: &SplitRows<'_>, prices: PriceBasis, quantities: QuantityBasis) -> Result<Self> {
        rows.check()?;
        let mut names = Intern::default();
        let mut found: Vec<(u32, i32, usize, Quotient)> = Vec::with_capacity(rows.symbol.len());
        for row in 0..rows.symbol.len() {
            let wrong = |column, expected| Error::Value {
                column,
                row,
                expected,
            };
            let symbol = rows.symbol.bytes(row);
            let name = symbol.and_then(|symbol| names.code(&normalised(symbol)));
            let name = name.ok_or(wrong("splits.symbol", "a symbol"))?;
            let day = rows.day.get(row).ok();
            let day = day.ok_or(wrong("splits.day", "a date"))?;
            let shares = |column, values: &Decimals<'_>| {
                let shares = values
                    .get(row)
                    .ok()
                    .and_then(|value| u128::try_from(value).ok());
                let shares = shares.filter(|&shares| shares > 0);
                shares.ok_or(wrong(column, "shares above 0"))
            };
            let (new, old) = (
                shares("splits.new", &rows.new)?,
                shares("splits.old", &rows.old)?,
            );
            // of scales up to 18, so 128 bits hold them
            let unit = |scale| power_of_ten(scale).unwrap_or(1);
            let new = new.saturating_mul(unit(rows.old.scale()));
            let old = old.saturating_mul(unit(rows.new.scale()));
            found.push((name, day.0, row, lowest([new, old])));
        }
        found.sort_unstable();
        let mut symbols = Vec::new();
        for of_symbol in found.chunk_by(|one, other| one.0 == other.0) {
            let double = of_symbol.windows(2).find_map(|two| match two {
                [one, other] if one.1 == other.1 => Some((one.2, other.2)),
                _ => None,
            });
            if let Some((one, other)) = double {
                let (first, row) = (one.min(other), one.max(other));
                return Err(Error::Duplicate {
                    column: "splits.day",
                    row,
                    first,
                });
            }
            let days = of_symbol.iter().map(|&(_, day, ..)| day);
            let quotients: Vec<Quotient> = of_symbol.iter().map(|&(.., one)| one).collect();
            symbols.push(SymbolSplits {
                prices,
                quantities,
                days: days.collect(),
                products: products(&quotients),
                quotients,
            });
        }
        Ok(Self { names, symbols })
    }

    /// Returns the splits of a symbol as stored on a position.
    pub(crate) fn find(&self, symbol: &[u8]) -> Option<&SymbolSplits> {
        self.symbols
            .get(index(self.names.find(&normalised(symbol))?))
    }

    /// Returns the product of the splits of a symbol between the closes of two days, as new and old
    /// shares; nothing if nothing has to be restated, or if it needs more than 128 bits.
    pub fn between_closes(&self, symbol: &[u8], after: Day, until: Day) -> Option<(i128, i128)> {
        let splits = self.find(symbol)?;
        let basis = |day| splits.products.get(splits.of_close(day)).copied();
        let ([new_from, old_from], [new_to, old_to]) = (basis(after)?, basis(until)?);
        let ([new_to, new_from], [old_to, old_from]) =
            (lowest([new_to, new_from]), lowest([old_to, old_from]));
        let shares = |one: u128, other: u128| i128::try_from(one.checked_mul(other)?).ok();
        let (new, old) = (shares(new_to, old_from)?, shares(old_to, new_from)?);
        (new != old).then_some((new, old))
    }

    /// Returns the splits of an option: of its symbol, or else of its underlying (C4).
    pub(crate) fn find_option(&self, symbol: &[u8]) -> Option<&SymbolSplits> {
        let of_underlying = || self.find(underlying(&normalised(symbol))?);
        self.find(symbol).or_else(of_underlying)
    }
}

/// Returns the root of an option's symbol of the OSI form: before a date of six digits, C or P, and
/// a strike of eight.
fn underlying(symbol: &[u8]) -> Option<&[u8]> {
    let (root, contract) = symbol.split_last_chunk::<15>()?;
    let (date, rest) = contract.split_first_chunk::<6>()?;
    let (kind, strike) = rest.split_first()?;
    let digits = date.iter().chain(strike).all(u8::is_ascii_digit);
    (digits && matches!(kind, b'C' | b'P') && !root.is_empty()).then_some(root)
}

/// Returns the products of the first of `quotients`, by their number, as far as their digits allow.
fn products(quotients: &[Quotient]) -> Vec<Quotient> {
    let most = power_of_ten(MOST_DIGITS).unwrap_or(u128::MAX);
    let mut products = vec![[1, 1]];
    let mut last = [1, 1];
    for &[new, old] in quotients {
        let ([from_new, to_old], [to_new, from_old]) =
            (lowest([last[0], old]), lowest([new, last[1]]));
        let product = from_new
            .checked_mul(to_new)
            .zip(to_old.checked_mul(from_old));
        let Some((new, old)) = product.filter(|&(new, old)| new < most && old < most) else {
            break;
        };
        last = [new, old];
        products.push(last);
    }
    products
}

fn lowest([new, old]: Quotient) -> Quotient {
    let (mut divisor, mut rest) = (new, old);
    while rest > 0 {
        (divisor, rest) = (rest, divisor.checked_rem(rest).unwrap_or(0));
    }
    [new, old].map(|shares| shares.checked_div(divisor).unwrap_or(shares))
}

impl SymbolSplits {
    /// Returns the basis of the shares that trade on a day.
    fn on(&self, day: Day) -> usize {
        self.days.partition_point(|&ex| ex <= day.0)
    }

    /// Returns the basis of a close of a day.
    pub(crate) fn of_close(&self, day: Day) -> usize {
        match self.prices {
            PriceBasis::AsTraded => self.on(day),
            PriceBasis::Adjusted => self.days.len(),
        }
    }

    /// Returns the basis of the values stored for a position at a day.
    pub(crate) fn of_position(&self, day: Day) -> usize {
        match self.quantities {
            QuantityBasis::AsEntered => self.on(day),
            QuantityBasis::Current => self.days.len(),
        }
    }

    /// Returns the factors that restate closes of all days on one basis; nothing where one has too
    /// many digits.
    pub(crate) fn factor_of_close(&self, day: Day) -> Option<f64> {
        if self.prices == PriceBasis::Adjusted {
            return Some(1.0);
        }
        let &[new, old] = self.products.get(self.on(day))?;
        Some(ratio(new, old))
    }

    /// Returns the bases on and after a day.
    pub(crate) fn since(&self, day: Day) -> impl Iterator<Item = usize> {
        self.on(day)..=self.days.len()
    }

    /// Returns whether there is a split after a day.
    pub(crate) fn is_after(&self, day: Day) -> bool {
        self.days.last().is_some_and(|&ex| ex > day.0)
    }

    /// Returns the day that ends a basis of closes, if there is one.
    pub(crate) fn next(&self, basis: usize) -> Option<Day> {
        self.days.get(basis).copied().map(Day)
    }

    /// Returns ex-date and text of the splits after one day and up to another.
    pub(crate) fn between(&self, after: Day, until: Day) -> impl Iterator<Item = (Day, String)> {
        let taken = self.on(after)..self.on(until).max(self.on(after));
        let days = self.days.get(taken.clone()).unwrap_or_default().iter();
        let quotients = self.quotients.get(taken).unwrap_or_default();
        days.zip(quotients)
            .map(|(&day, [new, old])| (Day(day), format!("{new} for {old}")))
    }

    /// Returns a quantity of a scale on another basis, half away from zero; nothing if neither its
    /// own scale nor [`RESTATED_SCALE`] represents it (C4).
    pub(crate) fn quantity(
        &self,
        quantity: i64,
        scale: u32,
        from: usize,
        to: usize,
    ) -> Option<Restated> {
        if self.products.get(from)? == self.products.get(to)? {
            return Some(Restated::Stored(quantity));
        }
        let fine = self
            .moved(quantity, scale, RESTATED_SCALE, from, to)?
            .signed()?;
        let unit = |more: u32| i128::try_from(power_of_ten(more)?).ok();
        let stored = if let Some(more) = scale.checked_sub(RESTATED_SCALE) {
            fine.checked_mul(unit(more)?)
        } else {
            let unit = unit(RESTATED_SCALE.saturating_sub(scale))?;
            let is_whole = fine.checked_rem(unit)? == 0;
            fine.checked_div(unit).filter(|_| is_whole)
        };
        let narrow = |value: i128| i64::try_from(value).ok();
        stored
            .and_then(narrow)
            .map(Restated::Stored)
            .or_else(|| narrow(fine).map(Restated::Fine))
    }

    /// Returns a price on another basis at its own scale, half away from zero (C5).
    pub(crate) fn price(&self, price: i64, from: usize, to: usize) -> i128 {
        let moved = self.moved(price, 0, 0, to, from).and_then(Sum::signed);
        moved.unwrap_or(i128::from(price))
    }

    /// Returns a number of shares on another basis, at another scale.
    fn moved(&self, value: i64, scale: u32, at: u32, from: usize, to: usize) -> Option<Wide> {
        let ([new_from, old_from], [new_to, old_to]) =
            (self.products.get(from)?, self.products.get(to)?);
        let power = |one: u32, other: u32| power_of_ten(one.saturating_sub(other));
        let above = [*new_to, *old_from, power(at, scale)?];
        let below = [*old_to, *new_from, power(scale, at)?];
        quotient::<i128>(value, above, below)
            .map(Wide::of_signed)
            .or_else(|| quotient(value, above, below))
    }
}

/// Returns a value times some factors and divided by others, half away from zero, if it fits.
fn quotient<T: Sum>(value: i64, above: [u128; 3], below: [u128; 3]) -> Option<T> {
    let product = |first: T, factors: [u128; 3]| {
        factors.into_iter().try_fold(first, |product, factor| {
            product.try_times(T::of_factor(factor))
        })
    };
    Some(product(T::of(value), above)?.rounded(product(T::of(1), below)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(prices: PriceBasis, rows: &[(i32, u128, u128)]) -> SymbolSplits {
        let quotients: Vec<_> = rows
            .iter()
            .map(|&(_, new, old)| lowest([new, old]))
            .collect();
        SymbolSplits {
            prices,
            quantities: QuantityBasis::AsEntered,
            days: rows.iter().map(|&(day, ..)| day).collect(),
            products: products(&quotients),
            quotients,
        }
    }

    #[test]
    fn an_option_has_the_root_of_its_symbol_as_underlying() {
        assert_eq!(underlying(b"AAPL250718C00150000"), Some(&b"AAPL"[..]));
        for other in [
            "250718C00150000",
            "AAPL250718X00150000",
            "AAPL",
            "AAPL25071 C00150000",
        ] {
            assert_eq!(underlying(other.as_bytes()), None);
        }
    }

    #[test]
    fn products_end_where_their_digits_do() {
        let large = 10u128.pow(19);
        let rows = [(5, large, 1), (6, large, 3), (7, 1, large)];
        let found = splits(PriceBasis::AsTraded, &rows);
        assert_eq!(found.products.len(), 2);
        assert_eq!(found.quantity(0, 0, 0, 2), None);
        assert_eq!(lowest([6, 4]), [3, 2]);
    }
}
