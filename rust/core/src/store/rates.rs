//! Rates between currencies: the value of one unit of a currency in another on a day (C6).
#![warn(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::fixed::{State, Sum, Wide, power_of_ten, short_text};
use crate::frame::{Days, Decimals, Texts, frame, index};
use crate::ids::Day;
use crate::text::{Intern, Table, normalised, trimmed};

/// Decimals to which the quotient of rates is rounded.
const QUOTIENT_SCALE: u32 = 12;

/// Decimals of the ratio of a subunit to its unit.
const SUBUNIT_SCALE: u32 = 2;

frame! {
    /// Rows of the table of rates.
    RateColumns<'a> "rates" {
        /// Currency of which a rate values one unit.
        base: Texts<'a>,
        /// Currency that it is counted in.
        quote: Texts<'a>,
        /// Date.
        day: Days<'a>,
        /// Units of `quote` for one of `base`.
        rate: Decimals<'a>,
    }
}

/// A currency: a unit, or a hundredth of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Currency {
    unit: Vec<u8>,
    is_subunit: bool,
}

impl Currency {
    /// Returns the currency that a text names; nothing for blanks.
    ///
    /// `GBp` and `ZAc` are subunits in this spelling only, GBX and ILA in upper and lower case.
    pub fn of(text: &[u8]) -> Option<Self> {
        let name = normalised(text);
        let unit: Option<&[u8]> = match (trimmed(text), &*name) {
            (b"GBp", _) | (_, b"GBX") => Some(b"GBP"),
            (b"ZAc", _) => Some(b"ZAR"),
            (_, b"ILA") => Some(b"ILS"),
            _ => None,
        };
        let is_subunit = unit.is_some();
        let unit = unit.unwrap_or(&name).to_vec();
        (!unit.is_empty()).then_some(Self { unit, is_subunit })
    }
}

/// A rate: `mantissa * 10^-decimals`, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    mantissa: i128,
    decimals: u32,
    /// Converts the mantissa to the scale of [`Rates::scale`].
    factor: u128,
}

impl Rate {
    fn of(mantissa: i128, decimals: u32) -> Self {
        let (mut mantissa, mut decimals) = (mantissa, decimals);
        while decimals > 0 && mantissa.checked_rem(10) == Some(0) {
            mantissa = mantissa.checked_div(10).unwrap_or(mantissa);
            decimals = decimals.saturating_sub(1);
        }
        Self {
            mantissa,
            decimals,
            factor: 1,
        }
    }

    /// Returns the mantissa in the scale of [`Rates::scale`].
    pub fn at_scale<T: Sum>(self) -> T {
        T::of_signed(self.mantissa).times(T::of_factor(self.factor))
    }

    /// Returns the value, saturated.
    fn bound(self) -> u128 {
        self.mantissa.unsigned_abs().saturating_mul(self.factor)
    }
}

/// The value of one currency in another, on every day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Units, as `EUR/USD`.
    name: String,
    /// Days from which a rate applies, ascending, and that rate.
    days: Vec<i32>,
    rates: Vec<Option<Rate>>,
    /// Rate of each session.
    row: Vec<Option<Rate>>,
    /// Sessions without a rate, ascending.
    gaps: Vec<usize>,
    most: u128,
}

impl Pair {
    /// Returns the rate that applies on a day, if there is one.
    pub fn at(&self, day: Day) -> Option<Rate> {
        let found = self.days.partition_point(|&from| from <= day.0);
        *self.rates.get(found.checked_sub(1)?)?
    }

    /// Returns the rate of each session.
    pub fn row(&self) -> &[Option<Rate>] {
        &self.row
    }

    /// Returns the first session index of `from..to` without a rate.
    pub fn first_gap(&self, from: usize, to: usize) -> Option<usize> {
        let first = self.gaps.partition_point(|&gap| gap < from);
        self.gaps.get(first).copied().filter(|&gap| gap < to)
    }

    /// Returns the units, as `EUR/USD`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns an upper bound of the rates, in the scale of [`Rates::scale`], saturated.
    pub fn most(&self) -> u128 {
        self.most
    }
}

/// Bad rows of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRates {
    /// Units, as `EUR/USD`.
    pub pair: String,
    /// First date.
    pub day: Day,
    /// Number of dates.
    pub dates: usize,
    /// The stored value of the first date.
    pub shown: String,
}

/// The currencies and sessions that rates are made for.
#[derive(Debug, Clone, Copy)]
pub struct RateRules<'a> {
    /// Currencies of lots, as stored.
    pub currencies: &'a Table,
    /// Currencies of portfolios, as stored.
    pub homes: &'a Table,
    /// Sessions of the run, ascending.
    pub sessions: &'a [i32],
    /// Calendar days that a rate may be old.
    pub lookback_days: u32,
    /// The common currency of pairs without a rate of their own.
    pub pivot: &'a [u8],
}

/// Rates of every currency of some lots in every currency of some portfolios.
#[derive(Debug, Clone)]
pub struct Rates {
    pairs: BTreeMap<(Currency, Option<Currency>), Pair>,
    sessions: Vec<i32>,
    scale: u32,
    bad: Vec<BadRates>,
}

impl Rates {
    /// Returns the rates of all pairs, computed once for each day on which they change.
    ///
    /// Bad rows are those from the lookback before the first session to the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the columns differ in length.
    pub fn of(columns: &RateColumns<'_>, rules: &RateRules<'_>) -> Result<Self> {
        columns.check()?;
        let quotes = Quotes::of(columns, rules);
        let own: BTreeSet<_> = rules.currencies.iter().filter_map(Currency::of).collect();
        let homes = rules.homes.iter().map(Currency::of).chain([None]);
        let homes: BTreeSet<_> = homes.collect();
        let mut pairs = BTreeMap::new();
        for currency in own {
            for home in &homes {
                if home.as_ref() != Some(&currency) {
                    let pair = quotes.pair(&currency, home.as_ref());
                    pairs.insert((currency.clone(), home.clone()), pair);
                }
            }
        }
        let all = pairs.values().flat_map(|pair| pair.rates.iter().flatten());
        let scale = all.map(|rate| rate.decimals).max().unwrap_or(0);
        for pair in pairs.values_mut() {
            pair.settle(scale, rules.sessions);
        }
        Ok(Self {
            pairs,
            sessions: rules.sessions.to_vec(),
            scale,
            bad: quotes.bad,
        })
    }

    /// Returns the rates of a currency in another; nothing where they are the same.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] for currencies that the rates were not made for.
    pub fn pair(&self, own: &Currency, home: Option<&Currency>) -> Result<Option<&Pair>> {
        if home == Some(own) {
            return Ok(None);
        }
        let key = (own.clone(), home.cloned());
        self.pairs.get(&key).map(Some).ok_or(Error::Value {
            column: "positions.currency",
            row: 0,
            expected: "currencies that the rates were made for",
        })
    }

    /// Returns the sessions of the rates.
    pub fn sessions(&self) -> &[i32] {
        &self.sessions
    }

    /// Returns the decimals of all rates.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// Returns the rows that are treated as absent, by pair.
    pub fn bad(&self) -> &[BadRates] {
        &self.bad
    }

    /// Returns the first session on which a pair has no rate, and the number of such sessions.
    pub fn gaps(&self, pair: &Pair) -> Option<(Day, usize)> {
        let first = self.sessions.get(*pair.gaps.first()?)?;
        Some((Day(*first), pair.gaps.len()))
    }
}

impl Pair {
    /// Converts the rates to one scale, and looks up those of the sessions.
    fn settle(&mut self, scale: u32, sessions: &[i32]) {
        for rate in self.rates.iter_mut().flatten() {
            let more = scale.saturating_sub(rate.decimals);
            rate.factor = power_of_ten(more).unwrap_or(u128::MAX);
        }
        self.row = sessions.iter().map(|&day| self.at(Day(day))).collect();
        let gaps = self.row.iter().enumerate();
        let gaps = gaps.filter(|(_, rate)| rate.is_none());
        self.gaps = gaps.map(|(at, _)| at).collect();
        let rates = self.rates.iter().flatten();
        self.most = rates.map(|rate| rate.bound()).max().unwrap_or(0);
    }
}

type Units = (Vec<u8>, Vec<u8>);

/// A day with its rate, or the text about an unusable one.
type Dated = (i32, core::result::Result<i64, String>);

/// Rates of a pair of units: days, ascending, and mantissas.
type Series = (Vec<i32>, Vec<i64>);

/// The usable rows, by pair of units.
#[derive(Debug)]
struct Quotes {
    series: BTreeMap<Units, Series>,
    scale: u32,
    lookback_days: u32,
    pivot: Vec<u8>,
    bad: Vec<BadRates>,
}

impl Quotes {
    fn of(columns: &RateColumns<'_>, rules: &RateRules<'_>) -> Self {
        let scale = columns.rate.scale();
        let mut units = Intern::default();
        let mut codes = |texts: &Texts<'_>| -> Vec<Option<u32>> {
            let unit = |text| Currency::of(text).filter(|currency| !currency.is_subunit);
            let texts = texts.table().iter();
            texts.map(|text| units.code(&unit(text)?.unit)).collect()
        };
        let (bases, quotes) = (codes(&columns.base), codes(&columns.quote));
        let mut by_units: BTreeMap<(u32, u32), Vec<Dated>> = BTreeMap::new();
        for row in 0..columns.base.len() {
            let unit = |texts: &Texts<'_>, units: &[Option<u32>]| {
                let code = texts.get(row).ok()?;
                units.get(index(code)).copied().flatten()
            };
            let pair = unit(&columns.base, &bases).zip(unit(&columns.quote, &quotes));
            if let (Some(pair), Ok(day)) = (pair, columns.day.get(row))
                && pair.0 != pair.1
            {
                let rate = usable(columns.rate.get(row), scale);
                by_units.entry(pair).or_default().push((day.0, rate));
            }
        }
        let unit = |code| units.table().bytes(code).unwrap_or_default().to_vec();
        let first = rules.sessions.first().copied().unwrap_or(i32::MAX);
        let lookback = i32::try_from(rules.lookback_days).unwrap_or(i32::MAX);
        let last = rules.sessions.last().copied().unwrap_or(i32::MIN);
        let reported = first.saturating_sub(lookback)..=last;
        let (mut series, mut bad) = (BTreeMap::new(), Vec::new());
        for ((base, quote), mut rows) in by_units {
            let units = (unit(base), unit(quote));
            rows.sort_unstable_by_key(|&(day, _)| day);
            let (mut own, mut faults): (Series, Vec<(i32, String)>) = Default::default();
            for of_day in rows.chunk_by(|(a, _), (b, _)| a == b) {
                let Some(&(day, _)) = of_day.first() else {
                    continue;
                };
                let rates = || of_day.iter().map(|(_, rate)| rate.as_ref());
                let mut fault = rates().filter_map(core::result::Result::err).min().cloned();
                match (rates().flatten().min(), rates().flatten().max()) {
                    (Some(low), Some(high)) if low < high => {
                        let [low, high] = [low, high].map(|&rate| short_text(rate, scale));
                        fault = Some(format!("{low} and {high}"));
                    }
                    (Some(&rate), _) => {
                        own.0.push(day);
                        own.1.push(rate);
                    }
                    (None, _) => {}
                }
                let fault = fault.filter(|_| reported.contains(&day));
                faults.extend(fault.map(|fault| (day, fault)));
            }
            if let Some((day, shown)) = faults.first() {
                bad.push(BadRates {
                    pair: name(&units.0, &units.1),
                    day: Day(*day),
                    dates: faults.len(),
                    shown: shown.clone(),
                });
            }
            series.insert(units, own);
        }
        let pivot = Currency::of(rules.pivot).map(|pivot| pivot.unit);
        Self {
            series,
            scale,
            lookback_days: rules.lookback_days,
            pivot: pivot.unwrap_or_default(),
            bad,
        }
    }

    /// Returns the rates of a pair; those of the sessions come with its scale.
    fn pair(&self, own: &Currency, home: Option<&Currency>) -> Pair {
        let quote = home.map_or(&[][..], |home| &home.unit);
        let mut pair = Pair {
            name: name(&own.unit, quote),
            days: Vec::new(),
            rates: Vec::new(),
            row: Vec::new(),
            gaps: Vec::new(),
            most: 0,
        };
        let Some(home) = home else { return pair };
        let routes = self.routes(&own.unit, quote);
        let is_same = own.unit == quote;
        let days = if is_same {
            [i32::MIN].into()
        } else {
            self.days(&routes)
        };
        for day in days {
            let rate = if is_same {
                Some((1, 0))
            } else {
                self.rate(&routes, day)
            };
            let rate = rate.map(|(mantissa, decimals)| {
                let (mantissa, decimals) = match (own.is_subunit, home.is_subunit) {
                    (true, false) => (mantissa, decimals.saturating_add(SUBUNIT_SCALE)),
                    // a rate has at most 24 digits before its point
                    (false, true) => match decimals.checked_sub(SUBUNIT_SCALE) {
                        Some(decimals) => (mantissa, decimals),
                        None => (mantissa.saturating_mul(100), decimals),
                    },
                    (true, true) | (false, false) => (mantissa, decimals),
                };
                Rate::of(mantissa, decimals)
            });
            if pair.rates.last() != Some(&rate) {
                pair.days.push(day);
                pair.rates.push(rate);
            }
        }
        pair
    }

    /// Returns the ways to a rate, the best first.
    fn routes(&self, base: &[u8], quote: &[u8]) -> Vec<Route<'_>> {
        let leg = |base: &[u8], quote: &[u8]| {
            let find = |one: &[u8], other: &[u8]| self.series.get(&(one.to_vec(), other.to_vec()));
            [find(base, quote), find(quote, base)]
        };
        let mut routes = vec![vec![leg(base, quote)]];
        let pivot = &*self.pivot;
        if pivot != base && pivot != quote {
            routes.push(vec![leg(base, pivot), leg(pivot, quote)]);
        }
        routes
    }

    /// Returns the days on which a rate may change.
    fn days(&self, routes: &[Route<'_>]) -> BTreeSet<i32> {
        let lookback = i32::try_from(self.lookback_days).unwrap_or(i32::MAX);
        let beyond = lookback.saturating_add(1);
        let series = routes.iter().flatten().flatten().flatten();
        let days = series.flat_map(|(days, _)| days);
        days.flat_map(|&day| [day, day.saturating_add(beyond)])
            .collect()
    }

    /// Returns mantissa and decimals of the rate on a day.
    fn rate(&self, routes: &[Route<'_>], day: i32) -> Option<(i128, u32)> {
        let (above, below, decimals) = routes.iter().find_map(|route| {
            let mut product = (1i128, 1i128, 0i64);
            for leg in route {
                // mantissas of 64 bits, two of them at most
                let (above, below, decimals) = self.of_leg(leg, day)?;
                product.0 = product.0.saturating_mul(above.into());
                product.1 = product.1.saturating_mul(below.into());
                product.2 = product.2.saturating_add(decimals);
            }
            Some(product)
        })?;
        match u32::try_from(decimals) {
            Ok(decimals) if below == 1 => Some((above, decimals)),
            _ => quotient(above, below, u32::try_from(decimals.unsigned_abs()).ok()?),
        }
    }

    /// Returns the latest rate of a pair within the lookback, else that of its inverse, as `above /
    /// below * 10^-decimals`.
    fn of_leg(&self, [pair, inverse]: &Leg<'_>, day: i32) -> Option<(i64, i64, i64)> {
        let latest = |series: Option<&Series>| {
            let (days, rates) = series?;
            let found = days.partition_point(|&own| own <= day).checked_sub(1)?;
            let age = Day(day).since(Day(*days.get(found)?));
            let rate = rates.get(found).copied();
            rate.filter(|_| age <= i64::from(self.lookback_days))
        };
        let scale = i64::from(self.scale);
        let direct = latest(*pair).map(|rate| (rate, 1, scale));
        direct.or_else(|| latest(*inverse).map(|rate| (1, rate, scale.saturating_neg())))
    }
}

/// The rows of a pair, and those of its inverse.
type Leg<'a> = [Option<&'a Series>; 2];

/// Pairs of which a product is a rate.
type Route<'a> = Vec<Leg<'a>>;

/// Returns `numerator * 10^scale / denominator`, both above 0, rounded half away to the decimals of
/// quotients; nothing for 0.
fn quotient(numerator: i128, denominator: i128, scale: u32) -> Option<(i128, u32)> {
    let unit = <Wide as Sum>::power_of_ten(scale.saturating_add(QUOTIENT_SCALE))?;
    let numerator = Wide::of_signed(numerator).times(unit);
    let rounded = numerator.rounded(Wide::of_signed(denominator));
    let found = rounded.signed().filter(|&mantissa| mantissa > 0);
    found.map(|mantissa| (mantissa, QUOTIENT_SCALE))
}

/// Returns the mantissa of a rate, or the text about an unusable one.
fn usable(rate: core::result::Result<i64, State>, scale: u32) -> core::result::Result<i64, String> {
    let mantissa = match rate {
        Err(State::NonFinite) => return Err("not finite".to_owned()),
        Err(State::NotRepresentable) => return Err("not_representable".to_owned()),
        Err(State::Null | State::Value) => return Err("NULL".to_owned()),
        Ok(rate) => Wide::of(rate),
    };
    let power = |exponent| <Wide as Sum>::power_of_ten(exponent).unwrap_or(Wide::MAX);
    let fits = mantissa > Wide::ZERO
        && mantissa.times(power(QUOTIENT_SCALE)) >= power(scale)
        && mantissa < power(scale.saturating_add(QUOTIENT_SCALE));
    let rate = mantissa.clamped();
    fits.then_some(rate).ok_or_else(|| short_text(rate, scale))
}

fn name(base: &[u8], quote: &[u8]) -> String {
    let [base, quote] = [base, quote].map(String::from_utf8_lossy);
    format!("{base}/{quote}")
}
